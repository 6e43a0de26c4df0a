"""Processes that work for this one, and end with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor


def worker_pool(count: int, initializer: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """Return a pool of `count` fresh processes; a killed parent leaves none of them behind.

    They are spawned, not forked: OpenGL and torch's threads do not survive a fork. Left by an
    exception, such as Ctrl-C, it interrupts what is under way and begins nothing more.
    """
    return _Pool(count, multiprocessing.get_context('spawn'), initializer=_begin,
                 initargs=(initializer,))


class _Pool(ProcessPoolExecutor):
    def submit(self, work: Callable, /, *args, **options) -> Future:
        # A worker that is starting gets no Ctrl-C before it knows what to do then.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(_interruptible, work, *args, **options)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            for process in (self._processes or {}).copy().values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)
        self.shutdown(wait=True, cancel_futures=kind is not None)


class _State:
    """Of this worker: whether it is at work, and whether it was interrupted."""

    working = False
    interrupted = False


def _begin(initializer: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in a shell's background
        signal.signal(signal.SIGINT, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if initializer is not None:
        initializer()


def _interrupt(*_) -> None:
    # From a terminal it comes twice: from there, and from the parent.
    first, _State.interrupted = not _State.interrupted, True
    if first and _State.working:
        raise KeyboardInterrupt


def _interruptible(work: Callable, /, *args, **options):
    _State.working = True
    try:
        if _State.interrupted:
            raise KeyboardInterrupt
        return work(*args, **options)
    finally:
        _State.working = False


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
