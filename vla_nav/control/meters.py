"""Running figures for diagnostics: percentiles and rates over a recent window."""

from __future__ import annotations

import numpy as np


class Percentiles:
    """Keeps the last `size` values."""

    def __init__(self, size: int = 256) -> None:
        self._values = np.zeros(size)
        self._count = 0

    def add(self, value: float) -> None:
        """Add one value; the oldest gives way."""
        self._values[self._count % len(self._values)] = value
        self._count += 1

    def at(self, *percents: float) -> tuple[float, ...] | None:
        """The given percentiles; None before the first value."""
        if not self._count:
            return None
        kept = self._values[:min(self._count, len(self._values))]
        return tuple(float(value) for value in np.percentile(kept, percents))


class Rate:
    """Events per second over the last `window_s` seconds."""

    def __init__(self, window_s: float = 3.0, size: int = 1024) -> None:
        self._window_ns = round(window_s * 1e9)
        self._times_ns = np.zeros(size, np.int64)
        self._count = 0

    def add(self, steady_ns: int) -> None:
        """Note an event."""
        self._times_ns[self._count % len(self._times_ns)] = steady_ns
        self._count += 1

    def hz(self, steady_ns: int) -> float:
        """Intervals in the window over the time they took; 0 with fewer than two events."""
        kept = self._times_ns[:min(self._count, len(self._times_ns))]
        recent = kept[kept > steady_ns - self._window_ns]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max((recent.max() - recent.min()) / 1e9, 1e-9)


class Ticks:
    """How late a periodic tick comes, and how many never came.

    The schedule is that of the earliest ticks seen, so no clock but the steady one is needed. A
    tick counts as missed if the next one was due before it came.
    """

    def __init__(self, period_s: float) -> None:
        self._period_ns = round(period_s * 1e9)
        self._due_ns: int | None = None
        self._late = Percentiles(1024)
        self.missed = 0

    def add(self, steady_ns: int) -> None:
        """Note a tick."""
        late_ns = 0 if self._due_ns is None else max(0, steady_ns - self._due_ns)
        self._due_ns = steady_ns - late_ns % self._period_ns + self._period_ns
        self.missed += late_ns // self._period_ns
        self._late.add(late_ns / 1e9)

    def late_s(self) -> tuple[float, float, float] | None:
        """p50, p99 and most of the last 1024 ticks' lateness, in s; None before the first."""
        return self._late.at(50, 99, 100)
