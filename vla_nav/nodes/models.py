"""Models come and go beside the running policy: checked at once, loaded in the background."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from vla_nav.contract import Contract
from vla_nav.errors import VlaNavError, not_installed

if TYPE_CHECKING:
    from vla_nav.policy import Checkpoint

_NO_MEMORY = re.compile(r'allocate memory|out of memory|MemoryError', re.IGNORECASE)
"""How torch, safetensors and CUDA put it."""


class ModelLoader:
    """Loads the policy asked for last, and hands it over when it is ready to drive.

    Both callbacks run in the loading thread. `on_ready` gets the name, the policy, and a function
    that it calls under whatever lock its requests are made: False if this one was superseded or
    cancelled by then. One that was is dropped without a word to `on_failed`.
    """

    def __init__(self, contract: Contract, device: str, engine: str, threads: int,
                 on_ready: Callable[[str, object, Callable[[], bool]], None],
                 on_failed: Callable[[str, str], None]) -> None:
        self._contract = contract
        self._device = device
        self._engine = engine
        # All of them would wait for each other whenever one is busy with something else.
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) // 2)
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._lock = threading.Condition()
        self._wanted: str | None = None
        self._number = 0
        """Of the newest request: the same name may be asked for twice."""
        self._thread: threading.Thread | None = None
        self._closed = self._spared = False
        self.status = 'no model asked for'
        """For diagnostics: what is loading and how far, or how the last request ended."""

    def check(self, name: str) -> Checkpoint:
        """Look at a model's folder. Raises VlaNavError unless it may drive this robot."""
        from vla_nav.policy import CheckpointError, resolve_model, validate

        try:
            return validate(resolve_model(name), self._contract, quick=True)
        except Exception as error:  # An answer is owed whatever a folder holds.
            if not isinstance(error, VlaNavError):
                error = CheckpointError(
                    f"model '{name:.200}': cannot be checked: {_reason(error)}")
            raise error

    def request(self, name: str) -> None:
        """Load a model in the background; whatever is loading now is superseded."""
        with self._lock:
            self._wanted = name
            self._number += 1
            self.status = f'loading {name}'
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name='model', daemon=True)
                self._thread.start()

    def cancel(self) -> None:
        """Drop what is loading."""
        with self._lock:
            if self._wanted is not None:
                self.status = f'loading {self._wanted} was cancelled'
            self._wanted = None

    def wait(self) -> None:
        """Block until nothing is being loaded any more, or the loader is closed."""
        with self._lock:
            self._lock.wait_for(lambda: self._thread is None or self._closed)

    def close(self) -> bool:
        """Drop what is loading; False if a library is still busy with it."""
        self.cancel()
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        return self._thread is None

    @property
    def loading(self) -> str | None:
        """Name of the model that is being loaded."""
        return self._wanted

    def _run(self) -> None:
        while True:
            with self._lock:
                name, number = self._wanted, self._number
                if name is None:
                    self._thread = None
                    self._lock.notify_all()
                    return
            policy, problem = self._load(name, number)
            try:
                if policy is not None:
                    self._on_ready(name, policy, partial(self._end, number, f'running {name}'))
                elif self._end(number, problem):
                    self._on_failed(name, problem)
                self._end(number, f'{name} was loaded for nobody')
            except BaseException as error:  # Without this thread nothing is loaded any more.
                self._end(number, '')
                with self._lock:
                    self.status = f'{type(error).__name__}: {error}'
            del policy

    def _end(self, number: int, status: str) -> bool:
        """End a request, unless it is not the newest one any more."""
        with self._lock:
            if self._wanted is None or number != self._number:
                return False
            self._wanted, self.status = None, status
            return True

    def _progress(self, status: str, number: int) -> None:
        with self._lock:
            if self._wanted is not None and number == self._number:
                self.status = status

    def _spare_libraries(self) -> None:
        """Once: a collection that looks through all of torch takes several control ticks.

        So does counting what is spared already (`gc.get_freeze_count`).
        """
        if not self._spared:
            gc.collect()
            gc.freeze()
            self._spared = True

    def _load(self, name: str, number: int) -> tuple[object | None, str | None]:
        try:
            from transformers.utils import logging

            from vla_nav.policy import Policy

            logging.disable_progress_bar()  # Not in a node's log.
            policy = Policy.load(name, self._contract, self._device, self._threads,
                                 self._engine)
            self._progress(f'warming up {name}', number)
            policy.warm_up()
            self._spare_libraries()
            return policy, None
        except BaseException as error:  # Whatever a file does to a library, the robot goes on.
            if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
                return None, f'model {name} does not fit into memory beside what runs: {error}'
            if isinstance(error, VlaNavError):
                return None, f'model refused: {error}'
            return None, f'model {name} cannot be loaded: {_reason(error)}'


def _reason(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return not_installed(error)
    return f'{type(error).__name__}: {error}'


_TRIM = getattr(ctypes.CDLL(None), 'malloc_trim', None) if sys.platform == 'linux' else None


def free_memory() -> None:
    """Give back what models held that nobody uses any more, on the GPU too."""
    gc.collect()
    if _TRIM is not None:
        _TRIM(0)  # Else glibc keeps the holes between what stays, and each swap makes new ones.
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
