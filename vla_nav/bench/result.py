"""Figures, and what they are held against."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vla_nav.errors import VlaNavError


class BenchError(VlaNavError):
    """A measurement cannot be made."""


class Skipped(BenchError):
    """A section has nothing to measure on this machine; the text says why."""


def on_threads(count: int) -> str:
    """What a figure's name says of the threads it was measured on."""
    return f'{count} thread{"s" if count > 1 else ""}'


@dataclass(frozen=True)
class Goal:
    """What a figure should be."""

    limit: float
    at_most: bool = False
    of_value: bool = False
    """Of the value, although there is a ratio."""

    def met(self, figure: float) -> bool:
        """Whether a figure is on the right side."""
        return figure <= self.limit if self.at_most else figure >= self.limit

    def __str__(self) -> str:
        return f'{"at most" if self.at_most else "at least"} {self.limit:g}'


@dataclass(frozen=True)
class Result:
    """One figure."""

    section: str
    name: str
    value: float
    unit: str
    against: str = ''
    """What the ratio is a multiple of: measured in the same process, or computed from it."""
    ratio: float | None = None
    goal: Goal | None = None
    """Of the ratio, or of the value where there is none."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        of_value = self.ratio is None or self.goal.of_value
        return self.goal.met(self.value if of_value else self.ratio)

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return {**asdict(self), 'goal': str(self.goal) if self.goal else None, 'met': self.met}
