"""Timers and rates."""

from __future__ import annotations

import threading

from .entity import Entity
from .exceptions import ROSInterruptException


class Timer(Entity):
    """Made by `Node.create_timer`: calls back every `timer_period_ns` of its clock."""

    def __init__(
        self, node, callback, callback_group, timer_period_ns: int, clock, autostart: bool = True
    ) -> None:
        if timer_period_ns < 0:
            raise ValueError('timer period must not be negative')
        super().__init__(node, callback, callback_group)
        self._clock = clock
        self._period_ns = int(timer_period_ns)
        self._canceled = not autostart
        self._last_ns = clock._timer_now_ns()
        self._next_ns = self._last_ns + self._period_ns
        clock._listeners.append(self._on_clock)

    @property
    def clock(self):
        return self._clock

    @property
    def timer_period_ns(self) -> int:
        return self._period_ns

    @timer_period_ns.setter
    def timer_period_ns(self, value: int) -> None:
        self._period_ns = int(value)
        self._wake()

    def _on_clock(self, change) -> None:
        now_ns = self._clock._timer_now_ns()
        # Time that jumps back, or is now counted by another clock, starts a new period.
        if change.name != 'ROS_TIME_NO_CHANGE' or now_ns < self._last_ns:
            self._last_ns, self._next_ns = now_ns, now_ns + self._period_ns
        self._wake()

    def is_ready(self) -> bool:
        return self._is_ready()

    def _is_ready(self) -> bool:
        return (
            not self._canceled
            and not self._destroyed
            and self._clock._timer_now_ns() >= self._next_ns
        )

    def _take(self) -> object:
        now_ns = self._clock._timer_now_ns()
        self._last_ns = now_ns
        self._next_ns += self._period_ns
        if self._next_ns < now_ns and self._period_ns:
            # Missed calls are dropped; the phase stays.
            self._next_ns += -(-(now_ns - self._next_ns) // self._period_ns) * self._period_ns
        elif not self._period_ns:
            self._next_ns = now_ns
        return True

    def _execute(self, work, executor) -> object:
        return None if self._canceled or self._destroyed else self.callback()

    def _sleepable_ns(self) -> int | None:
        """How long an executor may sleep for this timer; None if it need not wake for it."""
        if self._canceled or self._destroyed or not self._clock._runs_freely:
            return None
        return max(self._next_ns - self._clock._timer_now_ns(), 0)

    def cancel(self) -> None:
        """Stop; `reset` starts it again."""
        self._check()
        self._canceled = True

    def is_canceled(self) -> bool:
        self._check()
        return self._canceled

    def reset(self) -> None:
        """Start a new period now."""
        self._check()
        self._canceled = False
        self._next_ns = self._clock._timer_now_ns() + self._period_ns
        self._wake()

    def time_since_last_call(self) -> int:
        """Nanoseconds."""
        return self._clock._timer_now_ns() - self._last_ns

    def time_until_next_call(self) -> int | None:
        """Nanoseconds; None when cancelled."""
        return None if self._canceled else self._next_ns - self._clock._timer_now_ns()

    def destroy(self) -> None:
        super().destroy()
        if self._on_clock in self._clock._listeners:
            self._clock._listeners.remove(self._on_clock)


class Rate:
    """Made by `Node.create_rate`; its node must be spun by another thread."""

    def __init__(self, timer: Timer, *, context) -> None:
        self._timer = timer
        self._event = threading.Event()
        self._context = context
        self._destroyed = False
        timer.callback = self._event.set

    def sleep(self) -> None:
        """Block until the timer ticks.

        Raises:
            ROSInterruptException: shut down, or the rate destroyed, meanwhile.
        """
        self._event.clear()
        while not self._event.wait(0.1):
            if not self._context.ok() or self._destroyed:
                break
        if self._destroyed or not self._context.ok():
            raise ROSInterruptException()

    def destroy(self) -> None:
        self._destroyed = True
        self._event.set()
