"""Driving and recording by the keys of a real (pseudo) terminal."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import pytest
from geometry_msgs.msg import Twist
from recorded_robot import PATIENCE_S, ROOT, domain

from vla_nav.contract import Command
from vla_nav.nodes import qos
from vla_nav.nodes.teleop import HOLD_S, YIELD_S, Keys, keymap, split_keys

UP, LEFT, RIGHT, DOWN = '\x1b[A', '\x1b[D', '\x1b[C', '\x1b[B'


def test_arrows_are_one_key_each():
    assert split_keys(f'{UP}r{LEFT} ') == ([UP, 'r', LEFT, ' '], '')


@pytest.mark.parametrize('key', ['\x1b[1;5D', '\x1b[1;2S', '\x1b[3~', '\x1bd', '\x1b[200~'],
                         ids=['Ctrl-Left', 'Shift-F4', 'Delete', 'Alt-d', 'paste'])
@pytest.mark.parametrize('wasd', [False, True])
def test_a_key_of_several_characters_is_none_of_those_within(key, wasd):
    keys, rest = split_keys(f'r{key}{UP}')
    assert (keys, rest) == (['r', key, UP], '')
    assert key not in keymap(wasd)


def test_an_arrow_cut_in_two_is_still_one():
    for cut in (1, 2):
        keys, rest = split_keys(UP + LEFT[:cut])
        assert (keys, rest) == ([UP], LEFT[:cut])
        assert split_keys(rest + LEFT[cut:]) == ([LEFT], '')


def test_a_key_counts_for_a_moment_then_the_robot_stands():
    keys = Keys(Command(), speed=1.0)
    keys.press('forward', 10.0)
    assert keys.wanted(10.0) == (0.5, 0.0)
    keys.press('left', 10.1)
    assert keys.wanted(10.2) == (0.5, 1.0)
    assert keys.wanted(10.05 + HOLD_S) == (0.0, 1.0)
    assert keys.wanted(10.2 + HOLD_S) == (0.0, 0.0)


def test_after_the_last_key_it_falls_silent_so_that_a_policy_may_drive():
    keys = Keys(Command())
    assert not keys.speaking(0.0)
    keys.press('left', 10.0)
    assert keys.speaking(10.0 + HOLD_S + YIELD_S - 0.01)
    assert not keys.speaking(10.0 + HOLD_S + YIELD_S + 0.01)


def test_a_halt_holds_until_a_key_drives_again():
    keys = Keys(Command())
    keys.press('forward', 10.0)
    keys.press('halt', 10.1)
    assert keys.wanted(10.1) == (0.0, 0.0)
    assert keys.speaking(1000.0)
    keys.press('right', 1001.0)
    assert keys.wanted(1001.0) == (0.0, pytest.approx(-0.6))


def test_a_robot_without_reverse_does_not_drive_back():
    keys = Keys(Command(low=(0.0, -1.0)))
    keys.press('back', 0.0)
    assert keys.wanted(0.0) == (0.0, 0.0)


def test_speed_stays_within_the_limits():
    keys = Keys(Command())
    for _ in range(20):
        keys.press('faster', 0.0)
    keys.press('forward', 0.0)
    assert keys.wanted(0.0)[0] == pytest.approx(0.5)
    for _ in range(20):
        keys.press('slower', 0.0)
    assert keys.wanted(0.0)[0] == pytest.approx(0.05)


def test_no_key_means_two_things():
    plain, letters = keymap(False), keymap(True)
    assert (plain['s'], plain['d'], plain['r'], plain['m']) == (
        'stop', 'discard', 'start', 'success')
    assert (letters['w'], letters['s'], letters['a'], letters['d']) == (
        'forward', 'back', 'left', 'right')
    assert (letters['S'], letters['D'], letters['r'], letters['m']) == (
        'stop', 'discard', 'start', 'success')


class Terminal:
    """`vla_nav teleop` in a pseudo terminal."""

    def __init__(self, namespace, contract, *words):
        self.screen = ''
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 300, 0, 0))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
        program = ('import sys; from vla_nav.cli import main; '
                   'sys.exit(main(sys.argv[1:]))')
        self.process = subprocess.Popen(
            [sys.executable, '-c', program, 'teleop', '--robot', str(contract), *words,
             '--ros-args', '-r', f'__ns:={namespace}'],
            stdin=slave, stdout=slave, stderr=slave,
            env={**os.environ, 'PYTHONPATH': path, 'ROS_DOMAIN_ID': str(domain())})
        os.close(slave)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while self.process.poll() is None and not self._closing.is_set():
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.screen += os.read(self.master, 4096).decode(errors='replace')
                except OSError:
                    return

    def type(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        self.type('q')
        code = self.process.wait(PATIENCE_S)
        self.close()
        return code

    def close(self):
        self._closing.set()
        self._thread.join()
        os.close(self.master)


def test_keys_drive_and_record(start, tmp_path):
    robot = start()
    robot.say('go')
    robot.until(lambda: robot.figures.get('instruction') == 'go', 'instruction')
    heard = []
    robot.node.create_subscription(Twist, 'teleop_cmd_vel', heard.append, qos.RELIABLE)
    terminal = Terminal(robot.node.get_namespace(), tmp_path / 'robot.yaml', '--takeover')
    robot.until(lambda: 'idle' in terminal.screen, f'the status line\n{terminal.screen}')
    assert not heard
    terminal.type('r')
    robot.until(lambda: 'recording episode_' in terminal.screen, 'a recording')
    deadline = time.monotonic() + PATIENCE_S
    while not any(message.linear.x > 0.2 for message in heard):
        terminal.type(UP)
        time.sleep(0.05)
        assert time.monotonic() < deadline
    terminal.type(' ')
    robot.until(lambda: heard[-1].linear.x == 0.0, 'a halt')
    terminal.type('m')
    robot.until(lambda: 'is a success' in terminal.screen, 'an answer')
    terminal.type('s')
    robot.until(robot.bags, 'a bag')
    assert terminal.end() == 0
    assert (heard[-1].linear.x, heard[-1].angular.z) == (0.0, 0.0)
    from vla_nav.episodes.reader import BagReader
    with BagReader(robot.bags()[0]) as bag:
        assert bag.metadata.outcome == 'success'
        assert bag.topics[bag.resolve('teleop_cmd_vel')][1] > 0


@pytest.mark.parametrize('end', [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, None],
                         ids=['SIGTERM', 'SIGHUP', 'SIGQUIT', 'terminal gone'])
def test_however_it_ends_the_last_commands_are_zeros(start, tmp_path, end):
    robot, heard = start(), []
    robot.node.create_subscription(Twist, 'teleop_cmd_vel', heard.append, qos.RELIABLE)
    terminal = Terminal(robot.node.get_namespace(), tmp_path / 'robot.yaml', '--takeover')
    robot.until(lambda: 'idle' in terminal.screen, f'the status line\n{terminal.screen}')
    deadline = time.monotonic() + PATIENCE_S
    while not any(message.linear.x > 0.2 for message in heard):
        terminal.type(UP)
        time.sleep(0.05)
        assert time.monotonic() < deadline
    if end is None:
        terminal.close()
    else:
        terminal.process.send_signal(end)
    assert terminal.process.wait(PATIENCE_S) == 0
    robot.until(lambda: not any(m.linear.x for m in heard[-3:]), 'zeros')


def test_without_a_terminal_it_says_so():
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    result = subprocess.run(
        [sys.executable, '-c',
         'import sys; from vla_nav.cli import main; sys.exit(main(["teleop"]))'],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': path})
    assert result.returncode == 2
    assert 'needs a terminal' in result.stderr
