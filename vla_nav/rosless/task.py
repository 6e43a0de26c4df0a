"""Futures, and tasks that an executor runs."""

from __future__ import annotations

import inspect
import threading
import warnings
import weakref
from collections.abc import Callable


class Future:
    """A value that comes later; `await` it in a callback, or add a done callback."""

    def __init__(self, *, executor=None) -> None:
        self._condition = threading.Condition()
        self._done = False
        self._cancelled = False
        self._result: object = None
        self._exception: Exception | None = None
        self._fetched = False
        self._callbacks: list[Callable] = []
        self._executor = None
        self._set_executor(executor)

    def __await__(self):
        while not self.done():
            yield self
        return self.result()

    def cancel(self) -> None:
        """Give up, unless done."""
        self._finish(cancelled=True)

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        """Whether there is a result or an exception, or it was cancelled."""
        return self._done or self._cancelled

    def result(self) -> object:
        """The result (None if not done); raises what the task raised."""
        if self._exception:
            raise self._exception
        return self._result

    def exception(self) -> Exception | None:
        self._fetched = True
        return self._exception

    def set_result(self, result: object) -> None:
        self._finish(result=result)

    def set_exception(self, exception: Exception) -> None:
        self._finish(exception=exception)

    def _finish(self, result=None, exception=None, cancelled=False) -> None:
        with self._condition:
            if self.done():
                return
            self._result, self._exception = result, exception
            self._cancelled, self._done = cancelled, not cancelled
            callbacks, self._callbacks = self._callbacks, []
            self._condition.notify_all()
        for callback in callbacks:
            self._call(callback)

    def _call(self, callback: Callable) -> None:
        executor = self._executor() if self._executor else None
        if executor is not None:
            executor.create_task(callback, self)
            return
        try:
            callback(self)
        except Exception as error:
            # As rclpy: one bad callback must not keep the others from being called.
            warnings.warn(f'Unhandled exception in done callback: {error}', stacklevel=2)

    def _set_executor(self, executor) -> None:
        self._executor = weakref.ref(executor) if executor is not None else None

    def _wait(self, timeout_sec: float | None) -> bool:
        with self._condition:
            return self._condition.wait_for(self.done, timeout_sec)

    def add_done_callback(self, callback: Callable) -> None:
        """Call `callback(future)` when done; at once if it is."""
        with self._condition:
            if not self.done():
                self._callbacks.append(callback)
                return
        self._call(callback)

    def remove_done_callback(self, callback: Callable) -> bool:
        with self._condition:
            found = callback in self._callbacks
            self._callbacks = [c for c in self._callbacks if c is not callback]
            return found


class Task(Future):
    """A function, coroutine function or coroutine that an executor runs."""

    def __init__(self, handler, args=None, kwargs=None, executor=None) -> None:
        super().__init__(executor=executor)
        self._handler = handler
        self._args, self._kwargs = args or (), kwargs or {}
        self._coroutine = handler if inspect.iscoroutine(handler) else None
        self._running = threading.Lock()

    def __call__(self) -> None:
        """Run until the end or the next `await` of something not done."""
        if self.done() or not self._running.acquire(blocking=False):
            return
        try:
            if self._coroutine is None:
                result = self._handler(*self._args, **self._kwargs)
                if not inspect.iscoroutine(result):
                    self.set_result(result)
                    return
                self._coroutine = result
            self._step()
        except Exception as error:
            self.set_exception(error)
        finally:
            self._running.release()

    def _step(self) -> None:
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as end:
            self.set_result(end.value)
            return
        executor = self._executor() if self._executor else None
        if executor is None:
            return
        if isinstance(awaited, Future):
            awaited.add_done_callback(lambda _: executor._resume(self))
        else:
            executor._resume(self)

    def executing(self) -> bool:
        return self._running.locked()
