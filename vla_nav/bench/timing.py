"""Measuring how long functions take, so that what else the machine does falls on all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

LEAST = 3
"""Calls of each function that count, however long they take."""


@dataclass(frozen=True)
class Timing:
    """Durations of many calls of one function, in s."""

    durations: np.ndarray

    def at(self, percent: float) -> float:
        """A percentile, in s."""
        return float(np.percentile(self.durations, percent))

    @property
    def s(self) -> float:
        """The median, in s."""
        return self.at(50)

    @property
    def ms(self) -> float:
        """The median, in ms."""
        return 1e3 * self.s


def alternate(functions: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Timing]:
    """Call functions in turn for about `seconds` each, twice each time; every second call counts.

    When a function ends, the threads of its library do not rest at once, and would be in the way
    of the next one's.
    """
    durations: dict[str, list[float]] = {name: [] for name in functions}
    end_s = time.perf_counter() + seconds * len(functions)
    while time.perf_counter() < end_s or len(durations[next(iter(functions))]) < LEAST:
        for name, function in functions.items():
            function()
            began = time.perf_counter()
            function()
            durations[name].append(time.perf_counter() - began)
    return {name: Timing(np.array(d)) for name, d in durations.items()}


def measure(function: Callable[[], object], seconds: float) -> Timing:
    """Call one function for about `seconds`."""
    return alternate({'it': function}, seconds)['it']


def paced(function: Callable[[], object], rate_hz: float, seconds: float) -> Timing:
    """Call a function at a steady rate, the processor idle in between, as on a robot."""
    function()
    durations, due_s = [], time.perf_counter()
    end_s = due_s + seconds
    while (began := time.perf_counter()) < end_s or len(durations) < LEAST:
        function()
        durations.append(time.perf_counter() - began)
        due_s += 1 / rate_hz
        time.sleep(max(0.0, due_s - time.perf_counter()))
    return Timing(np.array(durations))
