"""Models come and go beside the running policy: checked at once, loaded in the background."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import threading
from collections.abc import Callable

from vla_nav.contract import Contract
from vla_nav.errors import VlaNavError

_NO_MEMORY = re.compile(r'allocate memory|out of memory|MemoryError', re.IGNORECASE)
"""How torch, safetensors and CUDA put it."""


class ModelLoader:
    """Loads the policy asked for last, and hands it over when it is ready to drive.

    A request that is superseded while it loads is dropped without a word to `on_ready`. Both
    callbacks run in the loading thread.
    """

    def __init__(self, contract: Contract, device: str, engine: str, threads: int,
                 on_ready: Callable[[str, object], None],
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
        self._thread: threading.Thread | None = None
        self._closed = self._spared = False
        self.status = 'no model asked for'
        """For diagnostics: what is loading and how far, or how the last request ended."""

    def check(self, name: str) -> None:
        """Raise VlaNavError unless `name` is a model that may drive this robot. Takes no load."""
        from vla_nav.policy import CheckpointError, resolve_model, validate

        try:
            validate(resolve_model(name), self._contract, quick=True)
        except Exception as error:  # An answer is owed whatever a folder holds.
            if not isinstance(error, VlaNavError):
                error = CheckpointError(f"model '{name:.200}': cannot be checked: "
                                        f'{type(error).__name__}: {error}')
            if self._wanted is None:
                self.status = f'model refused: {error}'
            raise error

    def request(self, name: str) -> None:
        """Load a model in the background; whatever is loading now is superseded."""
        with self._lock:
            self._wanted = name
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
                name = self._wanted
                if name is None:
                    self._thread = None
                    self._lock.notify_all()
                    return
            policy, problem = self._load(name)
            with self._lock:
                if name != self._wanted:
                    continue
                self._wanted = None
                self.status = problem or f'running {name}'
            try:
                if policy is None:
                    self._on_failed(name, problem)
                else:
                    self._on_ready(name, policy)
            except Exception as error:  # Without this thread nothing would ever be loaded again.
                with self._lock:
                    self.status = f'{type(error).__name__}: {error}'
            del policy

    def _progress(self, status: str, name: str) -> None:
        with self._lock:
            if name == self._wanted:
                self.status = status

    def _spare_libraries(self) -> None:
        """Once: a collection that looks through all of torch takes several control ticks.

        So does counting what is spared already (`gc.get_freeze_count`).
        """
        if not self._spared:
            gc.collect()
            gc.freeze()
            self._spared = True

    def _load(self, name: str) -> tuple[object | None, str | None]:
        try:
            from transformers.utils import logging

            from vla_nav.policy import Policy

            logging.disable_progress_bar()  # Not in a node's log.
            policy = Policy.load(name, self._contract, self._device, self._threads,
                                 self._engine)
            self._progress(f'warming up {name}', name)
            policy.warm_up()
            self._spare_libraries()
            return policy, None
        except Exception as error:  # Whatever a model file does to a library, the robot goes on.
            if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
                return None, f'model {name} does not fit into memory beside what runs: {error}'
            if isinstance(error, VlaNavError):
                return None, f'model refused: {error}'
            return None, f'model {name} cannot be loaded: {type(error).__name__}: {error}'


_TRIM = getattr(ctypes.CDLL(None), 'malloc_trim', None) if sys.platform == 'linux' else None


def free_memory() -> None:
    """Give back what models held that nobody uses any more, on the GPU too."""
    gc.collect()
    if _TRIM is not None:
        _TRIM(0)  # Else glibc keeps the holes between what stays, and each swap makes new ones.
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
