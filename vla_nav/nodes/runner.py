"""Running a node from its first line to its last: signals, errors, and a clean end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vla_nav import rosless
from vla_nav.errors import VlaNavError

rosless.ensure()

import rclpy  # noqa: E402
from rclpy.exceptions import NameValidationException  # noqa: E402
from rclpy.executors import (  # noqa: E402
    ExternalShutdownException,
    MultiThreadedExecutor,
    SingleThreadedExecutor,
)
from rclpy.signals import SignalHandlerOptions  # noqa: E402

from vla_nav.nodes.output import unblocked_output  # noqa: E402
from vla_nav.nodes.processes import orphaned  # noqa: E402

_SWITCH_S = 0.001
"""A thread that computes lets others, such as the control loop, go on after this; Python's own
5 ms can fall on one tick several times."""
SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP
"""What ends a node; the last comes when a terminal is closed."""


class StartError(VlaNavError):
    """ROS cannot be started as it was asked for."""


def start_ros(args: list[str] | None = None) -> None:
    """Initialise rclpy, leaving signals alone. Raises StartError.

    What it does not like (an unknown argument, a domain or interface that is not there) it says
    in RuntimeErrors of several kinds.
    """
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        text = str(error)
        if type(error).__name__ == 'UnknownROSArgsError':  # rclpy gives a bare list
            text = f'unknown ROS argument {text.strip("[]")}'
        raise StartError(text) from error


@contextmanager
def valid_names() -> Iterator[None]:
    """Raise StartError for what breaks ROS' rules for names: of nodes, namespaces and topics."""
    try:
        yield
    except NameValidationException as error:  # Several lines, the last a caret.
        raise StartError(' '.join(str(error).split()).rstrip(' ^')) from error


def _without_trace(error: RuntimeError) -> str:
    """What rclpy could not make a node for; raises errors of other kinds."""
    if type(error).__name__ != 'RCLError':
        raise error
    return (f'{error}; is ROS_DOMAIN_ID {os.environ.get("ROS_DOMAIN_ID", "0")!r} a number up to '
            '101, and is each network interface of CYCLONEDDS_URI there?')


def run(make_node: Callable, args: list[str] | None = None, threads: int = 1) -> int:
    """Spin a node until a signal, shutdown or its parent's end; returns the exit code.

    rclpy's own signal handlers would close the context first, and with it the publisher that has
    to say the last zero. Here the node's `close` comes first.
    """
    sys.setswitchinterval(_SWITCH_S)
    ending: list[int] = []
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # by nohup
            signal.signal(number, lambda *_: ending.append(1))
    with unblocked_output():
        code, clean = _run(make_node, args, threads, ending)
    if not clean:
        # A thread that is busy in a library would keep the process alive.
        os._exit(code)
    return code


def _run(make_node: Callable, args: list[str] | None, threads: int,
         ending: list[int]) -> tuple[int, bool]:
    """Exit code, and whether all threads of the node have ended."""
    try:
        start_ros(args)
        with valid_names():
            node = make_node()
    except VlaNavError as error:
        print(f'error: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 2, True
    except RuntimeError as error:
        print(f'error: {_without_trace(error)}', file=sys.stderr)
        rclpy.try_shutdown()
        return 2, True
    executor = SingleThreadedExecutor() if threads == 1 else MultiThreadedExecutor(threads)
    executor.add_node(node)
    try:
        while not ending and rclpy.ok() and not orphaned():
            _spin(executor, node)
    finally:
        clean = node.close() is not False
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()
    return 0, clean


def _spin(executor, node) -> None:
    try:
        executor.spin_once(timeout_sec=0.1)
    except ExternalShutdownException:
        pass  # The loop around it sees that too.
    except Exception as error:  # One bad callback or message must not silence the node.
        node.get_logger().error(f'{type(error).__name__}: {error}', throttle_duration_sec=1.0)
