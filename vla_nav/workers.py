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
    return ProcessPoolExecutor(count, multiprocessing.get_context('spawn'), initializer=_begin,
                               initargs=(initializer,))


def _begin(initializer: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
