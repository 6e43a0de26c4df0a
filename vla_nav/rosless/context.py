"""The life of a process in ROS: from init to shutdown."""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from collections.abc import Callable
from inspect import ismethod

from . import arguments, logging, signals
from .exceptions import NotInitializedException, RCLError
from .participant import Participant

_default: Context | None = None
_default_lock = threading.Lock()


class Context:
    """One DDS participant and the arguments of its command line."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._participant: Participant | None = None
        self._initialized = False
        self._valid = False
        self._callbacks: list = []
        self._wakers: weakref.WeakSet = weakref.WeakSet()
        self.arguments = arguments.Arguments()

    @property
    def handle(self) -> Participant | None:
        return self._participant

    @property
    def participant(self) -> Participant:
        """The DDS side.

        Raises:
            NotInitializedException: before init or after shutdown.
        """
        if self._participant is None:
            raise NotInitializedException()
        return self._participant

    def init(
        self,
        args: list[str] | None = None,
        *,
        initialize_logging: bool = True,
        domain_id: int | None = None,
    ) -> None:
        """Join the DDS domain; `args` defaults to the process' command line."""
        with self._lock:
            if domain_id is not None and domain_id < 0:
                raise RuntimeError(f'Domain id ({domain_id}) should not be lower than zero.')
            if self._initialized:
                raise RuntimeError('Context.init() must only be called once')
            self.arguments = arguments.parse(sys.argv if args is None else args)
            if initialize_logging:
                logging.configure(self.arguments)
            self._participant = Participant(domain_id)
            self._initialized = self._valid = True
            signals.contexts.add(self)

    def ok(self) -> bool:
        return self._valid

    def get_domain_id(self) -> int:
        if not self._initialized:
            raise RuntimeError('Context must be initialized before it can have a domain id')
        return self.participant.domain_id

    def _interrupt(self) -> None:
        # Runs inside a signal handler: marks and wakes, nothing that could wait for a lock that
        # the interrupted code holds.
        self._valid = False
        for waker in list(self._wakers):
            waker.wake()

    def shutdown(self) -> None:
        """Leave the domain.

        Raises:
            RCLError: already shut down, by another call or by a signal.
        """
        if not self._initialized:
            raise RuntimeError('Context must be initialized before it can be shutdown')
        if not self._valid:
            self._close()
            raise RCLError(
                'failed to shutdown: rcl_shutdown already called on the given context'
            )
        self._shutdown()

    def try_shutdown(self) -> None:
        """Leave the domain, unless that has been done."""
        if self._valid:
            self._shutdown()
        else:
            self._close()

    def _shutdown(self) -> None:
        with self._lock:
            self._interrupt()
            callbacks, self._callbacks = self._callbacks, []
            for reference in callbacks:
                callback = reference() if isinstance(reference, weakref.WeakMethod) else reference
                if callback is not None:
                    callback()
            self._close()

    def _close(self) -> None:
        with self._lock:
            participant, self._participant = self._participant, None
        if participant is not None:
            participant.close()

    def on_shutdown(self, callback: Callable[[], None]) -> None:
        """Call back at shutdown; at once if it has happened."""
        if not callable(callback):
            raise TypeError(f'callback should be a callable, got {type(callback)}')
        with self._lock:
            if self._initialized and not self._valid:
                callback()
            elif ismethod(callback):
                self._callbacks.append(weakref.WeakMethod(callback))
            else:
                self._callbacks.append(callback)

    def __enter__(self) -> Context:
        if not self._initialized:
            self.init()
        return self

    def __exit__(self, *_: object) -> None:
        self.try_shutdown()


def get_default_context(*, shutting_down: bool = False) -> Context | None:
    """The process' context; with `shutting_down`, forget it, and None if there is none."""
    global _default
    with _default_lock:
        if shutting_down:
            context, _default = _default, None
            return context
        if _default is None:
            _default = Context()
        return _default


@atexit.register
def _leave_all() -> None:
    for context in list(signals.contexts):
        context._close()
