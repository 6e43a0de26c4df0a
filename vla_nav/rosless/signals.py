"""SIGINT and SIGTERM shut all contexts down, as rclpy does it."""

from __future__ import annotations

import signal
import threading
import weakref
from enum import IntEnum

contexts: weakref.WeakSet = weakref.WeakSet()
_previous: dict[int, object] = {}


class SignalHandlerOptions(IntEnum):
    NO = 0
    SIGINT = 1
    SIGTERM = 2
    ALL = 3


def _on_signal(signum: int, frame) -> None:
    for context in list(contexts):
        context._interrupt()
    previous = _previous.get(signum)
    if callable(previous):
        previous(signum, frame)


def install_signal_handlers(options: SignalHandlerOptions = SignalHandlerOptions.ALL) -> None:
    """Handle the signals in `options`; earlier handlers are called after ours."""
    # Python allows this in the main thread only; elsewhere the application owns its signals.
    if threading.current_thread() is not threading.main_thread():
        return
    for signum, bit in ((signal.SIGINT, 1), (signal.SIGTERM, 2)):
        if options & bit and signum not in _previous:
            _previous[signum] = signal.signal(signum, _on_signal)


def uninstall_signal_handlers() -> None:
    """Give the signals back to whom they belonged."""
    if threading.current_thread() is not threading.main_thread():
        return
    for signum, previous in list(_previous.items()):
        if signal.getsignal(signum) is _on_signal:
            signal.signal(signum, previous)
        del _previous[signum]


def get_current_signal_handlers_options() -> SignalHandlerOptions:
    installed = (signal.SIGINT in _previous) + 2 * (signal.SIGTERM in _previous)
    return SignalHandlerOptions(installed)
