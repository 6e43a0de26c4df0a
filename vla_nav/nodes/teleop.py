"""Driving and recording by the keys of a terminal, where ROS has no teleop."""

from __future__ import annotations

import math
import os
import re
import select
import signal
import sys
import termios
import threading
import time
import tty
from contextlib import suppress
from dataclasses import dataclass

from vla_nav import rosless
from vla_nav.contract import Command, Contract, contract_file
from vla_nav.control import Limiter
from vla_nav.errors import VlaNavError

rosless.ensure()

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from vla_nav.nodes import messages, qos  # noqa: E402
from vla_nav.nodes.drive_parameters import CONTRACT  # noqa: E402
from vla_nav.nodes.parameters import Parameter, declare  # noqa: E402
from vla_nav.nodes.runner import SIGNALS, valid_names  # noqa: E402

RATE_HZ = 20.0
HOLD_S = 0.6
"""A key counts this long: terminals repeat a held key, but only after a pause."""
YIELD_S = 0.4
"""Zeros go out this long after the last key before a policy may drive again."""
ARROWS = {'\x1b[A': 'forward', '\x1b[B': 'back', '\x1b[D': 'left', '\x1b[C': 'right',
          '\x1bOA': 'forward', '\x1bOB': 'back', '\x1bOD': 'left', '\x1bOC': 'right'}
LETTERS = {'w': 'forward', 's': 'back', 'a': 'left', 'd': 'right'}
COMMANDS = {'r': 'start', 's': 'stop', 'd': 'discard', 'm': 'success', 'n': 'failure'}
_KEY = re.compile(r'\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b[^\x1b[O]|\x1b(?=\x1b)|[^\x1b]', re.DOTALL)
PARAMETERS = (
    Parameter('robot', 'sim', 'Robot: the path of a contract, or a name in config/robots/.'),
    Parameter('takeover', False, "Publish on the contract's teleop topic, for the drive node to "
              'yield to; silent while no key is pressed.'),
    Parameter('topic', CONTRACT, "Command topic instead of the contract's."),
    Parameter('recorder', 'record', 'Name of the recorder node.'),
    Parameter('wasd', False, 'Letters drive too; the recorder then takes Shift-r, s and d.'),
)
HELP = """arrows{letters} drive   space halts   + - speed   q quits
{prefix}r record   {prefix}s stop   {prefix}d discard   m success   n failure
"""
MOVES = {'forward': (0, 1.0), 'back': (0, -1.0), 'left': (1, 1.0), 'right': (1, -1.0)}


def keymap(wasd: bool) -> dict[str, str]:
    """What each key does. With letters driving, the recorder's keys need Shift."""
    keys = {**ARROWS, ' ': 'halt', 'q': 'quit', '\x03': 'quit', '+': 'faster', '-': 'slower'}
    keys |= {letter.upper(): action for letter, action in COMMANDS.items()}
    letters = LETTERS if wasd else {}
    return keys | {letter: action for letter, action in COMMANDS.items()
                   if letter not in letters} | letters


def split_keys(text: str) -> tuple[list[str], str]:
    """Split what a terminal sent into keys, and what may be the beginning of another.

    An arrow with Ctrl, or a letter with Alt, is one key too (ECMA-48, 5.4), and none of ours.
    """
    keys = []
    while key := _KEY.match(text):
        keys.append(key[0])
        text = text[key.end():]
    return keys, text


@dataclass
class Keys:
    """What the keys pressed so far ask for."""

    command: Command
    speed: float = 0.6
    """Share of the contract's limits."""
    halted: bool = False

    def __post_init__(self) -> None:
        self._until = [-math.inf, -math.inf]
        self._sign = [0.0, 0.0]

    def press(self, action: str, now_s: float) -> None:
        """Take in a key that drives."""
        if action == 'halt':
            self.halted, self._until = True, [-math.inf, -math.inf]
        elif action in ('faster', 'slower'):
            self.speed = min(1.0, max(0.1, self.speed + (0.1 if action == 'faster' else -0.1)))
        elif action in MOVES:
            axis, sign = MOVES[action]
            self.halted = False
            self._sign[axis], self._until[axis] = sign, now_s + HOLD_S

    def wanted(self, now_s: float) -> tuple[float, float]:
        """The velocity asked for, in the command's fields and SI units."""
        low, high = self.command.low, self.command.high
        speeds = []
        for axis in range(2):
            share = self._sign[axis] * self.speed if now_s < self._until[axis] else 0.0
            speeds.append(share * (high[axis] if share > 0 else -low[axis]))
        return speeds[0], speeds[1]

    def speaking(self, now_s: float) -> bool:
        """Whether anything should be published: a human at the keys, or a halt."""
        return self.halted or now_s < max(self._until) + YIELD_S


class TeleopNode(Node):
    """Publishes the keys' velocity and calls the recorder's services."""

    def __init__(self) -> None:
        super().__init__('teleop')
        values = declare(self, PARAMETERS)
        contract = Contract.load(contract_file(values['robot']))
        recorder, topic = values['recorder'], contract.command.topic
        if values['takeover']:
            topic = contract.teleop_topic
        elif values['topic'] != CONTRACT:
            topic = values['topic']
        self.keymap = keymap(values['wasd'])
        self.help = HELP.format(letters=', w a s d' if values['wasd'] else '',
                                prefix='Shift-' if values['wasd'] else '')
        self.keys = Keys(contract.command)
        self.limiter = Limiter(contract.command)
        self.status = ''
        self.answer = ''
        self._always = not values['takeover']
        self._recorder = self.resolve_topic_name(recorder)
        self._message = messages.CommandMessage(contract.command, 'base_link')
        self._publisher = self.create_publisher(messages.TYPES[contract.command.type], topic,
                                                qos.COMMAND)
        self._triggers = {name: self.create_client(Trigger, f'{recorder}/{name}')
                          for name in ('start', 'stop', 'discard')}
        self._marker = self.create_client(SetBool, f'{recorder}/mark')
        self.create_subscription(DiagnosticArray, '/diagnostics', self._hear, qos.RELIABLE)
        self.create_timer(1.0 / RATE_HZ, self._tick)

    def do(self, action: str) -> None:
        """Act on a key."""
        if action in ('start', 'stop', 'discard'):
            self._call(self._triggers[action], Trigger.Request(), action)
        elif action in ('success', 'failure'):
            self._call(self._marker, SetBool.Request(data=action == 'success'), action)
        else:
            self.keys.press(action, time.monotonic())

    def stand_still(self) -> None:
        """Say zero a few times."""
        for _ in range(5):
            self._publisher.publish(
                self._message.fill(0.0, 0.0, self.get_clock().now().nanoseconds))
            time.sleep(0.02)

    def _tick(self) -> None:
        now_s = time.monotonic()
        if self.keys.halted:
            self.limiter.stop()
        else:
            self.limiter.approach(*self.keys.wanted(now_s), 1.0 / RATE_HZ)
        if self._always or self.limiter.moving or self.keys.speaking(now_s):
            self._publisher.publish(self._message.fill(
                self.limiter.v0, self.limiter.v1, self.get_clock().now().nanoseconds))

    def _call(self, client, request, action: str) -> None:
        if not client.service_is_ready():
            self.answer = (f'no recorder at {self._recorder}: start `vla_nav record`, or give its '
                           'name with --recorder')
            return
        self.answer = f'{action} ...'
        client.call_async(request).add_done_callback(self._answered)

    def _answered(self, future) -> None:
        response = future.result()
        self.answer = response.message if response.success else f'refused: {response.message}'

    def _hear(self, message: DiagnosticArray) -> None:
        name = f'{self._recorder.strip("/")}: recorder'
        for status in message.status:
            if status.name == name:
                values = {pair.key: pair.value for pair in status.values}
                seconds = f' {float(values["seconds"]):.0f} s' if values['episode'] else ''
                self.status = status.message + seconds


def main(args: list[str] | None = None) -> int:
    """Drive by keys until q."""
    if not sys.stdin.isatty():
        print('error: teleop needs a terminal on its standard input; start it in one, or use a '
              'gamepad with teleop_twist_joy', file=sys.stderr)
        return 2
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        with valid_names():
            node = TeleopNode()
    except VlaNavError as error:
        print(f'error: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    ending = threading.Event()
    spinner = threading.Thread(target=_spin, args=(executor, node, ending), daemon=True)
    before = termios.tcgetattr(sys.stdin)
    for number in SIGNALS:
        signal.signal(number, _end)
    spinner.start()
    try:
        print(node.help)
        tty.setcbreak(sys.stdin)
        _listen(node)
    except (KeyboardInterrupt, OSError, termios.error):
        pass  # a signal, or the terminal is gone
    finally:
        _ignore_signals()
        ending.set()
        spinner.join()
        node.stand_still()
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()
        with suppress(OSError, termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
            print()
    return 0


def _end(*_: object) -> None:
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    """Zeros first, whoever insists; a closed terminal is told twice, by the shell too."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _listen(node: TeleopNode) -> None:
    rest = ''
    while True:
        if not select.select([sys.stdin], [], [], 0.1)[0]:
            rest = ''  # the Escape key by itself
        else:
            text = os.read(sys.stdin.fileno(), 256).decode(errors='ignore')
            if not text:
                return
            keys, rest = split_keys(rest + text)
            for key in keys:
                action = node.keymap.get(key)
                if action == 'quit':
                    return
                if action:
                    node.do(action)
        fields = node.keys.command.fields
        halted = '  halted' if node.keys.halted else ''
        line = (f'{fields[0]} {node.limiter.v0:+.2f}  {fields[1]} {node.limiter.v1:+.2f}{halted}'
                f'  |  {node.status or "no recorder"}  |  {node.answer}')
        columns = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 120
        print(f'\r\x1b[K{line[:columns - 1]}', end='', flush=True)


def _spin(executor: SingleThreadedExecutor, node: TeleopNode, ending: threading.Event) -> None:
    while not ending.is_set():
        try:
            executor.spin_once(timeout_sec=0.1)
        except ExternalShutdownException:
            return
        except Exception as error:  # The base would go on with the last velocity.
            node.answer = f'{type(error).__name__}: {error}'


if __name__ == '__main__':
    raise SystemExit(main())
