"""The functions of `rclpy` itself."""

from __future__ import annotations

from . import utilities
from .context import Context, get_default_context
from .executors import Executor, SingleThreadedExecutor
from .node import Node
from .parameter import Parameter  # noqa: F401
from .signals import (
    SignalHandlerOptions,
    install_signal_handlers,
    uninstall_signal_handlers,
)
from .task import Future
from .utilities import get_rmw_implementation_identifier, ok  # noqa: F401

_global_executor: Executor | None = None


class InitContextManager:
    """What `init` returns: shuts down at the end of a `with`."""

    def __init__(self, context: Context, handles_signals: bool) -> None:
        self.context = context
        self._handles_signals = handles_signals

    def __enter__(self) -> InitContextManager:
        return self

    def __exit__(self, *_: object) -> None:
        is_default = self.context is get_default_context()
        try_shutdown(
            context=None if is_default else self.context,
            uninstall_handlers=self._handles_signals,
        )


def init(
    *,
    args: list[str] | None = None,
    context: Context | None = None,
    domain_id: int | None = None,
    signal_handler_options: SignalHandlerOptions | None = None,
) -> InitContextManager:
    """Join the ROS graph. SIGINT and SIGTERM shut the default context down unless told otherwise.

    Raises:
        RoslessError: the domain cannot be joined; says why and what to do.
        RCLError, UnknownROSArgsError: `args` hold something wrong.
    """
    is_default = context is None or context is get_default_context()
    context = context or get_default_context()
    if signal_handler_options is None:
        signal_handler_options = (
            SignalHandlerOptions.ALL if is_default else SignalHandlerOptions.NO
        )
    context.init(args, domain_id=domain_id)
    install_signal_handlers(signal_handler_options)
    return InitContextManager(context, signal_handler_options != SignalHandlerOptions.NO)


def shutdown(
    *, context: Context | None = None, uninstall_handlers: bool | None = None
) -> None:
    """Leave the ROS graph; RCLError if that has been done (by a signal, too)."""
    is_default = context is None or context is get_default_context()
    utilities.shutdown(context=context)
    if uninstall_handlers or (uninstall_handlers is None and is_default):
        uninstall_signal_handlers()


def try_shutdown(
    *, context: Context | None = None, uninstall_handlers: bool | None = None
) -> None:
    """Leave the ROS graph unless that has been done."""
    is_default = context is None or context is get_default_context()
    utilities.try_shutdown(context=context)
    if uninstall_handlers or (uninstall_handlers is None and is_default):
        uninstall_signal_handlers()


def get_global_executor() -> Executor:
    """The executor that `spin` and its kin use by default."""
    global _global_executor
    if _global_executor is None:
        _global_executor = SingleThreadedExecutor()
        _global_executor.context.on_shutdown(_reset_executor)
    elif not _global_executor.context.ok() and get_default_context().ok():
        _global_executor = None
        return get_global_executor()
    return _global_executor


def _reset_executor() -> None:
    global _global_executor
    executor, _global_executor = _global_executor, None
    if executor is not None:
        executor.shutdown(0)


def create_node(node_name: str, **kwargs: object) -> Node:
    """A node; takes what `Node` takes."""
    return Node(node_name, **kwargs)


def spin_once(
    node: Node, *, executor: Executor | None = None, timeout_sec: float | None = None
) -> None:
    """Run one callback, or wait for one until the timeout."""
    executor = executor or get_global_executor()
    try:
        executor.add_node(node)
        executor.spin_once(timeout_sec=timeout_sec)
    finally:
        executor.remove_node(node)


def spin(node: Node, executor: Executor | None = None) -> None:
    """Run callbacks until shutdown.

    Raises:
        KeyboardInterrupt: at Ctrl-C.
        ExternalShutdownException: at SIGTERM, or a shutdown by another thread.
    """
    executor = executor or get_global_executor()
    try:
        executor.add_node(node)
        while executor.context.ok():
            executor.spin_once()
    finally:
        executor.remove_node(node)


def spin_until_future_complete(
    node: Node,
    future: Future,
    executor: Executor | None = None,
    timeout_sec: float | None = None,
) -> None:
    """Run callbacks until a future is done, or the timeout, or shutdown."""
    executor = executor or get_global_executor()
    try:
        executor.add_node(node)
        executor.spin_until_future_complete(future, timeout_sec)
    finally:
        executor.remove_node(node)
