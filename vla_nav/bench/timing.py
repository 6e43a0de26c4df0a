"""Measuring how long functions take, so that what else the machine does falls on all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

LEAST = 3
"""Calls of each function that count, however long they take."""
TURN_S = 0.1
"""How long one function is called before it is the next one's turn."""
SETTLE_S = 0.03
"""How long the threads of the function before take to rest: torch's spin on for 10 ms and more."""


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
    """Call functions in turns, each for about `seconds` in all.

    In each turn the first call, and all that begin before `SETTLE_S`, do not count.
    """
    durations: dict[str, list[float]] = {name: [] for name in functions}
    end_s = time.perf_counter() + seconds * len(functions)
    while time.perf_counter() < end_s or len(durations[next(iter(functions))]) < LEAST:
        for name, function in functions.items():
            durations[name] += _turn(function)
    return {name: Timing(np.array(d)) for name, d in durations.items()}


def _turn(function: Callable[[], object]) -> list[float]:
    """Durations of the calls of one turn that count, at least one."""
    durations: list[float] = []
    turn_s = time.perf_counter()
    function()
    while (began := time.perf_counter()) < turn_s + TURN_S or not durations:
        function()
        if began >= turn_s + SETTLE_S:
            durations.append(time.perf_counter() - began)
    return durations


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
