"""Clocks: system, steady, and ROS time, which follows `/clock` when a node uses sim time."""

from __future__ import annotations

import threading
import time
from enum import IntEnum

from .clock_type import ClockType
from .duration import Duration
from .exceptions import NotInitializedException
from .time import Time


class ClockChange(IntEnum):
    ROS_TIME_NO_CHANGE = 1
    ROS_TIME_ACTIVATED = 2
    ROS_TIME_DEACTIVATED = 3
    SYSTEM_TIME_NO_CHANGE = 4


class JumpThreshold:
    """How far ROS time must jump for a callback to hear of it."""

    def __init__(
        self,
        *,
        min_forward: Duration | None,
        min_backward: Duration | None,
        on_clock_change: bool = True,
    ) -> None:
        if min_forward is not None and min_forward.nanoseconds <= 0:
            raise ValueError('min_forward must be a positive non-zero duration')
        if min_backward is not None and min_backward.nanoseconds >= 0:
            raise ValueError('min_backward must be a negative non-zero duration')
        if min_forward is None and min_backward is None and not on_clock_change:
            raise ValueError('At least one jump threshold must be enabled')
        self.min_forward = min_forward
        self.min_backward = min_backward
        self.on_clock_change = on_clock_change

    def reached(self, change: ClockChange, delta_ns: int) -> bool:
        if change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED):
            return self.on_clock_change
        if self.min_forward is not None and delta_ns >= self.min_forward.nanoseconds:
            return True
        return self.min_backward is not None and delta_ns <= self.min_backward.nanoseconds


class TimeJump:
    """What happened to ROS time."""

    def __init__(self, clock_change: ClockChange, delta: Duration) -> None:
        self.clock_change = clock_change
        self.delta = delta


class JumpHandle:
    """A registered jump callback; `unregister()` ends it."""

    def __init__(self, *, clock, threshold, pre_callback, post_callback) -> None:
        if pre_callback is None and post_callback is None:
            raise ValueError('One of pre_callback or post_callback must be callable')
        self._clock = clock
        self.threshold = threshold
        self.pre_callback = pre_callback
        self.post_callback = post_callback
        clock._jump_handles.append(self)

    def unregister(self) -> None:
        if self in self._clock._jump_handles:
            self._clock._jump_handles.remove(self)

    def __enter__(self) -> JumpHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.unregister()


class Clock:
    """A clock: `Clock(clock_type=ClockType.STEADY_TIME).now()`."""

    def __new__(cls, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> Clock:
        if not isinstance(clock_type, ClockType):
            raise TypeError('Clock type must be a ClockType enum')
        self = object.__new__(ROSClock if clock_type is ClockType.ROS_TIME else cls)
        self._clock_type = clock_type
        self._jump_handles = []
        self._listeners = []
        self._changed = threading.Condition()
        return self

    @property
    def clock_type(self) -> ClockType:
        return self._clock_type

    def __repr__(self) -> str:
        return f'Clock(clock_type={self.clock_type.name})'

    def _now_ns(self) -> int:
        if self._clock_type is ClockType.STEADY_TIME:
            return time.monotonic_ns()
        return time.time_ns()

    def _timer_now_ns(self) -> int:
        """What timers count by: never moved by a correction of the wall clock."""
        return time.monotonic_ns()

    @property
    def _runs_freely(self) -> bool:
        """Whether time passes by itself, so that a timer's deadline can be slept until."""
        return True

    def now(self) -> Time:
        return Time(nanoseconds=self._now_ns(), clock_type=self._clock_type)

    def create_jump_callback(self, threshold, *, pre_callback=None, post_callback=None):
        """Call back before and after a jump of this clock (only ROS time jumps)."""
        return JumpHandle(
            clock=self,
            threshold=threshold,
            pre_callback=pre_callback,
            post_callback=post_callback,
        )

    def sleep_until(self, until: Time, context=None) -> bool:
        """Sleep until a point in time of this clock; False if shut down or the clock changed."""
        if until.clock_type != self._clock_type:
            raise ValueError("until's clock type does not match this clock's type")
        return self._sleep_until(until.nanoseconds, context)

    def sleep_for(self, rel_time: Duration, context=None) -> bool:
        """Sleep for a span of this clock's time; False if shut down or the clock changed."""
        return self._sleep_until(self._now_ns() + rel_time.nanoseconds, context)

    def _sleep_until(self, until_ns: int, context) -> bool:
        from .context import get_default_context

        context = context or get_default_context()
        if not context.ok():
            raise NotInitializedException()
        free = self._runs_freely
        with self._changed:
            while context.ok() and self._runs_freely == free:
                left_ns = until_ns - self._now_ns()
                if left_ns <= 0:
                    return True
                # Sim time wakes by notification; the bound is for a shutdown meanwhile.
                self._changed.wait(min(left_ns / 1e9, 0.1) if free else 0.1)
        return False


class ROSClock(Clock):
    """System time, or the time of `/clock` once a node's `use_sim_time` is true."""

    _sim_ns = 0
    _sim_active = False

    def __new__(cls) -> ROSClock:
        return Clock.__new__(Clock, clock_type=ClockType.ROS_TIME)

    @property
    def ros_time_is_active(self) -> bool:
        return self._sim_active

    @property
    def _runs_freely(self) -> bool:
        return not self._sim_active

    def _now_ns(self) -> int:
        return self._sim_ns if self._sim_active else time.time_ns()

    def _timer_now_ns(self) -> int:
        return self._sim_ns if self._sim_active else time.monotonic_ns()

    def _set_ros_time_is_active(self, enabled: bool) -> None:
        if enabled == self._sim_active:
            return
        change = (
            ClockChange.ROS_TIME_ACTIVATED if enabled else ClockChange.ROS_TIME_DEACTIVATED
        )
        before = self._now_ns()
        after = self._sim_ns if enabled else time.time_ns()
        self._jump(change, after - before, lambda: setattr(self, '_sim_active', enabled))

    def set_ros_time_override(self, now: Time) -> None:
        """Set the time that counts while sim time is active."""
        if now.clock_type != ClockType.ROS_TIME:
            raise TypeError('Argument must be a ROS time')
        after = now.nanoseconds
        if not self._sim_active:
            self._sim_ns = after
            return
        delta = after - self._sim_ns
        self._jump(
            ClockChange.ROS_TIME_NO_CHANGE, delta, lambda: setattr(self, '_sim_ns', after)
        )

    def _jump(self, change: ClockChange, delta_ns: int, apply) -> None:
        handles = [h for h in self._jump_handles if h.threshold.reached(change, delta_ns)]
        for handle in handles:
            if handle.pre_callback:
                handle.pre_callback()
        with self._changed:
            apply()
            self._changed.notify_all()
        for handle in handles:
            if handle.post_callback:
                handle.post_callback(TimeJump(change, Duration(nanoseconds=delta_ns)))
        for listener in list(self._listeners):
            listener(change)
