"""Helpers around the default context."""

from __future__ import annotations

import sys

from .arguments import without_ros_args
from .context import Context, get_default_context


def ok(*, context: Context | None = None) -> bool:
    """Whether a context (the default one) is initialised and not shut down."""
    return (context or get_default_context()).ok()


def shutdown(*, context: Context | None = None) -> None:
    """Shut a context (the default one) down."""
    if context is not None:
        context.shutdown()
        return
    default = get_default_context()
    try:
        default.shutdown()
    finally:
        get_default_context(shutting_down=True)


def try_shutdown(*, context: Context | None = None) -> None:
    """Shut a context (the default one) down unless that has been done."""
    if context is None:
        context = get_default_context(shutting_down=True)
    if context is not None:
        context.try_shutdown()


def get_rmw_implementation_identifier() -> str:
    return 'rosless_cyclonedds'


def remove_ros_args(args: list[str] | None = None) -> list[str]:
    """A command line without its ROS arguments."""
    return without_ros_args(sys.argv if args is None else args)


def timeout_sec_to_nsec(timeout_sec: float | None) -> int:
    """Nanoseconds of a timeout, -1 for none."""
    return -1 if timeout_sec is None or timeout_sec < 0 else int(timeout_sec * 1e9)
