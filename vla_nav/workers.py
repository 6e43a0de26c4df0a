"""Processes that work for this one, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor


def worker_pool(count: int, initializer: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """Return a pool of `count` fresh processes; a killed parent leaves none of them behind.

    They are spawned, not forked: OpenGL and torch's threads do not survive a fork.
    """
    return _Pool(count, multiprocessing.get_context('spawn'), initializer=_begin,
                 initargs=(initializer,))


class _Pool(ProcessPoolExecutor):
    """Left by an exception, such as Ctrl-C, it begins no further work."""

    def __exit__(self, kind, *_) -> None:
        self.shutdown(wait=True, cancel_futures=kind is not None)


def _begin(initializer: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
