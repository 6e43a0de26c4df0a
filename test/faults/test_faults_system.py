"""Signals, a dead process, and rivals."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from harness import PERIOD_NS, Bool, NodeProcess, drive_words

from vla_nav.nodes import qos
from vla_nav.sim.base import STEP_S, Base, BaseSettings


def test_a_frozen_process_wakes_up_to_a_fault(world):
    world.process.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    heard, woken_ns = len(world.commands), time.monotonic_ns()
    world.process.process.send_signal(signal.SIGCONT)
    world.assert_stands('FAULT', 'camera stale')
    assert not any(any(speed) for _, *speed in world.commands[heard + 1:])
    assert world.moved_ns - woken_ns <= PERIOD_NS
    assert world.call('resume').success
    world.wait_state('DRIVING')


def assert_ends_with_zeros(world, number):
    assert world.process.end(number) == 0
    assert [speed for _, *speed in world.commands[-3:]] == [[0.0, 0.0]] * 3


@pytest.mark.parametrize('number', [
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_told_to_end_while_a_model_loads_the_last_commands_are_zeros(start_drive, number):
    world = start_drive(model='left')
    world.wait_model()
    world.drive()
    assert world.set_parameter('model', 'forward') == (True, '')
    assert_ends_with_zeros(world, number)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_while_the_policy_hangs_the_last_commands_are_zeros(start_drive, number):
    world = start_drive(script='faulty_drive')
    world.wait_model()
    world.drive()
    world.say('freeze now')
    world.wait_state('FAULT', 'it hangs')
    assert_ends_with_zeros(world, number)


def test_a_log_that_nobody_reads_does_not_stop_the_control_loop(start_drive):
    """As in a terminal after Ctrl-S."""
    reader, writer = os.pipe()
    world = start_drive(sink=writer)
    os.close(writer)
    world.wait_model()
    world.drive()
    for number in range(400):
        text = f'number {number} ' + 'x' * 400
        world.say(text)
        world.wait(lambda said=text: world.state.get('instruction') == said, 'it to arrive')
    world.wait_state('DRIVING')
    world.make_image = None
    world.assert_stands('FAULT', 'camera stale')
    world.assert_stopped_in_time(world.image_stamp_ns)
    world.drive()
    world.emergency.publish(Bool(data=True))
    world.assert_stands('ESTOP', 'emergency stop is on')
    assert world.process.end() == 0
    os.close(reader)


def test_a_human_s_command_that_is_no_number_is_a_stop(world):
    heard, command = len(world.commands), TwistStamped()
    command.twist.linear.x = float('nan')
    for _ in range(10):
        world.teleop.publish(command)
        time.sleep(0.05)
    world.wait_state('TAKEOVER')
    assert np.isfinite([speed for _, *speed in world.commands[heard:]]).all()
    assert not world.moving
    world.wait_state('DRIVING')


def test_a_stick_that_is_stuck_does_not_outdo_a_stop(world):
    command, let_go = TwistStamped(), threading.Event()
    command.twist.linear.x = 0.15

    def push():
        while not let_go.wait(0.05):
            world.teleop.publish(command)

    stick = threading.Thread(target=push)
    stick.start()
    try:
        world.wait_state('TAKEOVER')
        world.wait(lambda: world.moving, "the human's command")
        assert world.call('stop').success
        world.assert_stands('STOPPED', 'stop was called; a human drives again after letting go')
    finally:
        let_go.set()
        stick.join()
    world.wait(lambda: world.state['reason'] == 'stop was called', 'a pause')
    world.teleop.publish(command)
    world.wait_state('TAKEOVER')
    world.assert_stands('STOPPED', 'stop was called')


def test_two_sentences_that_are_repeated_release_no_stop(world):
    def repeat(times):
        for _ in range(times):
            for colour in ('red', 'blue'):
                world.say(f'go to the {colour} box')
                time.sleep(0.1)

    repeat(2)
    world.wait_state('DRIVING')
    assert world.call('stop').success
    repeat(5)
    world.assert_stands('STOPPED', 'stop was called')
    world.say('go to the green box')
    world.wait_state('DRIVING')


class Rolling:
    """A base that obeys the commands heard, in the time that really passes."""

    def __init__(self, world, **settings) -> None:
        self._world = world
        self._base = Base((0.0, 0.0, 0.0), 0, BaseSettings(**settings))
        self._since_s = time.monotonic()

    def speed_mps(self) -> float:
        """Speed after all commands heard so far."""
        self._base.command(*self._world.commands[-1][1:])
        return self._passed()

    def coasting_mps(self) -> float:
        """Speed if nothing more was heard."""
        return self._passed()

    def _passed(self) -> float:
        while self._since_s < time.monotonic():
            self._base.advance()
            self._since_s += STEP_S
        return self._base.velocity[0]


def test_a_killed_node_falls_silent_and_only_the_base_can_stop(start_drive):
    namespace = f'/killed_{os.getpid()}'
    world = start_drive(namespace=namespace)
    world.wait_model()
    world.drive()
    careful, careless = Rolling(world), Rolling(world, watchdog_s=3600.0)
    world.wait(lambda: min(careful.speed_mps(), careless.speed_mps()) > 0.2, 'both to roll')
    world.process.process.kill()
    world.process.process.wait()
    time.sleep(0.5)
    heard = len(world.commands)
    time.sleep(1.0)
    assert len(world.commands) == heard
    assert world.moving, 'a dead process cannot say zero'
    assert careful.coasting_mps() == 0.0
    assert careless.coasting_mps() > 0.2
    again = start_drive(namespace=namespace)
    again.assert_stands('WAITING', 'no instruction')
    again.process.end()


def test_a_rival_on_the_command_topic_is_named(world):
    rival = world.node.create_publisher(TwistStamped, 'cmd_vel', qos.COMMAND)
    world.wait(lambda: world.diagnostics.get('other publishers on command topic') == '1',
               'the rival on /diagnostics')
    assert world.level == b'\x01'
    assert '1 other publisher(s) on' in world.summary
    assert "send a human's commands to teleop_cmd_vel instead" in world.process.output
    assert world.state['state'] == 'DRIVING'
    world.node.destroy_publisher(rival)
    world.wait(lambda: world.diagnostics['other publishers on command topic'] == '0', 'its end')
    world.wait(lambda: world.level == b'\x00', 'the warning to go')


def test_a_second_drive_node_on_the_same_topic_is_named_by_both(world, models, tmp_path):
    words = drive_words(models, world.node.get_namespace(), '-r', '__node:=drive_too')
    second = NodeProcess(tmp_path / 'log', ['-m', 'vla_nav.nodes.drive'], *words,
                         VLA_NAV_MODELS=str(models))
    try:
        world.wait(lambda: world.diagnostics.get('other publishers on command topic') == '1',
                   'the rival on /diagnostics')
        world.wait(lambda: '1 other publisher(s) on' in second.output, 'the rival to say so')
    finally:
        code = second.end()
    assert code == 0
    world.wait(lambda: world.diagnostics['other publishers on command topic'] == '0', 'its end')
    world.drive()
