"""Executors: which callback runs next, and in which thread."""

from __future__ import annotations

import inspect
import math
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as PoolFuture
from concurrent.futures import ThreadPoolExecutor

from .context import Context, get_default_context
from .task import Future, Task

# Python handles a signal when the main thread is next awake, and one that another thread takes,
# or that comes just before the main thread falls asleep, does not wake it.
_LONGEST_SLEEP_S = 0.5


class TimeoutException(Exception):
    """Nothing became ready in time."""


class ShutdownException(Exception):
    """The executor was shut down."""


class ExternalShutdownException(Exception):
    """The context was shut down, for instance by a signal."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(args or ('the context has been shut down',)))


class ConditionReachedException(Exception):
    """What was waited for has happened."""


class Executor:
    """Base of executors: finds the next piece of work."""

    def __init__(self, *, context: Context | None = None) -> None:
        self._context = context or get_default_context()
        self._nodes: list = []
        self._condition = threading.Condition()
        self._woken = False
        self._is_shutdown = False
        self._tasks: deque[Task] = deque()
        self._batch: deque = deque()
        self._active = 0
        self._most_active: float = math.inf
        self._local = threading.local()
        self._context._wakers.add(self)

    @property
    def context(self) -> Context:
        return self._context

    def add_node(self, node) -> bool:
        """Run this node's callbacks; False if it was added before."""
        with self._condition:
            if node in self._nodes:
                return False
            self._nodes.append(node)
        node.executor = self
        self.wake()
        return True

    def remove_node(self, node) -> None:
        with self._condition:
            if node in self._nodes:
                self._nodes.remove(node)
            self._batch = deque(work for work in self._batch if work[1] is not node)
        self.wake()

    def get_nodes(self) -> list:
        return list(self._nodes)

    def wake(self) -> None:
        """Look for work again."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def create_task(self, callback, *args: object, **kwargs: object) -> Task:
        """Run a function, coroutine function or coroutine while spinning."""
        task = Task(callback, args, kwargs, executor=self)
        self._resume(task)
        return task

    def _resume(self, task: Task) -> None:
        self._tasks.append(task)
        self.wake()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Stop; False if callbacks are still running after the timeout."""
        self._is_shutdown = True
        self.wake()
        timeout = None if timeout_sec is None or timeout_sec < 0 else timeout_sec
        # A callback that calls this does not wait for itself.
        mine = int(getattr(self._local, 'inside', False))
        with self._condition:
            done = self._condition.wait_for(lambda: self._active <= mine, timeout)
        if done:
            self._nodes = []
        return done

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def spin(self) -> None:
        """Run callbacks until shutdown."""
        while self._context.ok() and not self._is_shutdown:
            self.spin_once()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback, or wait for one until the timeout (None: for ever)."""
        self._spin_once(timeout_sec, lambda: False)

    def spin_until_future_complete(
        self, future: Future, timeout_sec: float | None = None
    ) -> None:
        """Run callbacks until a future is done, or the timeout."""
        future.add_done_callback(lambda _: self.wake())
        end = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while self._context.ok() and not future.done() and not self._is_shutdown:
            left = None if end is None else max(end - time.monotonic(), 0.0)
            self._spin_once(left, future.done)
            if end is not None and time.monotonic() >= end:
                return

    def spin_once_until_future_complete(
        self, future: Future, timeout_sec: float | None = None
    ) -> None:
        """Run one callback, unless the future is done first."""
        future.add_done_callback(lambda _: self.wake())
        self._spin_once(timeout_sec, future.done)

    def _spin_once(self, timeout_sec: float | None, reached: Callable[[], bool]) -> None:
        raise NotImplementedError()

    def _next_work(
        self, timeout_sec: float | None, reached: Callable[[], bool]
    ) -> Callable[[], None]:
        """The next piece of work, claimed; calling it runs it."""
        end = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while True:
            # Before the checks, so that a wake-up during them is not lost.
            self._woken = False
            if self._is_shutdown:
                raise ShutdownException()
            if not self._context.ok():
                raise ExternalShutdownException()
            if reached():
                raise ConditionReachedException()
            work = self._find_work()
            if work is not None:
                return work
            self._sleep(end)

    def _sleep(self, end: float | None) -> None:
        waits = [_LONGEST_SLEEP_S]
        if end is not None:
            waits.append(end - time.monotonic())
            if waits[-1] <= 0:
                raise TimeoutException()
        for node in self.get_nodes():
            for timer in list(node._timers):
                left_ns = timer._sleepable_ns()
                if left_ns is not None and timer.callback_group.can_execute(timer):
                    waits.append(left_ns / 1e9)
        with self._condition:
            if not self._woken:
                self._condition.wait(min(waits))

    def _find_work(self) -> Callable[[], None] | None:
        while self._tasks:
            task = self._tasks.popleft()
            if not task.done():
                return lambda: self._run_task(task)
        if self._active >= self._most_active:
            return None  # what is not taken yet may still be replaced by something newer
        for _ in range(2):
            while self._batch:
                work = self._begin(self._batch.popleft()[0])
                if work is not None:
                    return work
            self._fill_batch()
        return None

    def _begin(self, entity) -> Callable[[], None] | None:
        group = entity.callback_group
        if not entity._is_ready() or not group.beginning_execution(entity):
            return None
        taken = None
        try:
            taken = entity._take()
        finally:
            if taken is None:
                group.ending_execution(entity)
        if taken is None:
            return None
        with self._condition:
            self._active += 1
        return lambda: self._run_entity(entity, taken)

    def _fill_batch(self) -> None:
        for node in self.get_nodes():
            for entity in node._executable():
                if entity._is_ready() and entity.callback_group.can_execute(entity):
                    self._batch.append((entity, node))

    def _run_task(self, task: Task) -> None:
        task()
        if task.done() and task.exception() is not None:
            raise task.exception()

    def _run_entity(self, entity, taken: object) -> None:
        coroutine = None
        self._local.inside = True
        try:
            result = entity._execute(taken, self)
            if inspect.iscoroutine(result):
                coroutine = result
        finally:
            self._local.inside = False
            if coroutine is None:
                self._end(entity)
        if coroutine is not None:
            self._run_task(Task(self._await(coroutine, entity), executor=self))

    async def _await(self, coroutine, entity) -> None:
        # The callback group stays claimed while the coroutine waits.
        try:
            await coroutine
        finally:
            self._end(entity)

    def _end(self, entity) -> None:
        entity.callback_group.ending_execution(entity)
        with self._condition:
            self._active -= 1
            self._woken = True
            self._condition.notify_all()


class SingleThreadedExecutor(Executor):
    """Runs callbacks in the thread that spins."""

    def _spin_once(self, timeout_sec: float | None, reached: Callable[[], bool]) -> None:
        try:
            work = self._next_work(timeout_sec, reached)
        except (ShutdownException, TimeoutException, ConditionReachedException):
            return
        work()


class MultiThreadedExecutor(Executor):
    """Runs callbacks in a pool of threads; the thread that spins only hands them out."""

    def __init__(
        self, num_threads: int | None = None, *, context: Context | None = None
    ) -> None:
        super().__init__(context=context)
        if num_threads is None:
            num_threads = max(_usable_cpus(), 2)
        if num_threads == 1:
            warnings.warn(
                'MultiThreadedExecutor is used with a single thread.\n'
                'Use the SingleThreadedExecutor instead.', stacklevel=2,
            )
        self._most_active = num_threads
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix='rosless-callback')
        self._failed: deque[PoolFuture] = deque()
        # All threads now: one that starts in the middle of a drive looks like one that leaked.
        started = threading.Barrier(num_threads)
        for _ in range(num_threads):
            self._pool.submit(started.wait)

    def _spin_once(self, timeout_sec: float | None, reached: Callable[[], bool]) -> None:
        try:
            work = self._next_work(timeout_sec, lambda: bool(self._failed) or reached())
        except (
            ExternalShutdownException, ShutdownException, TimeoutException,
            ConditionReachedException,
        ):
            work = None
        if work is not None:
            self._pool.submit(work).add_done_callback(self._note_failure)
        if self._failed:
            self._failed.popleft().result()

    def _note_failure(self, future: PoolFuture) -> None:
        if not future.cancelled() and future.exception() is not None:
            self._failed.append(future)
            self.wake()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        done = super().shutdown(timeout_sec)
        self._pool.shutdown(wait=False)
        return done


def _usable_cpus() -> int:
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 2
