"""A progress bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

LINE_EVERY_S = 20.0


class Progress:
    """Counts samples towards a total and shows smoothed figures, rate and time left.

    begun: samples that were done before, which the rate leaves out; silent: shows nothing.
    """

    def __init__(self, title: str, total: int, *, unit: str = '', begun: int = 0,
                 silent: bool = False) -> None:
        self._title, self._total, self._done, self._begun = title, total, begun, begun
        self._unit = unit and f' {unit}'
        self._figures: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self._began = self._spoke = time.monotonic()
        self._console = Console(stderr=True, quiet=silent)
        self._lines = not silent and not sys.stderr.isatty()
        self._bar = RichProgress(
            TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn('{task.fields[figures]}'),
            console=self._console, disable=silent or self._lines)
        self._task = self._bar.add_task(title, total=total, completed=begun, figures='')

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
        if self._lines and self._done > self._begun:
            self._say()

    def advance(self, count: int) -> None:
        """Count `count` more samples."""
        self.report(count, {})

    def report(self, count: int, figures: dict[str, float],
               latest: dict[str, float] | None = None) -> None:
        """Count `count` more samples; their figures are smoothed, the latest are shown as is."""
        self._done = min(self._done + count, self._total)
        for name, value in figures.items():
            if value == value:
                self._figures[name] = 0.9 * self._figures.get(name, value) + 0.1 * value
        self._latest |= latest or {}
        if self._lines and time.monotonic() - self._spoke > LINE_EVERY_S:
            self._spoke = time.monotonic()
            self._say()
        elif not self._lines:
            self._bar.update(self._task, completed=self._done, figures=self._text())

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, highlight=False, markup=False)

    @property
    def _rate(self) -> float:
        elapsed = max(time.monotonic() - self._began, 1e-3)
        return (self._done - self._begun) / elapsed

    def _text(self) -> str:
        figures = {**self._figures, **self._latest}
        said = ' '.join(f'{name} {value:.3g}' for name, value in figures.items())
        return f'{self._rate:.3g}{self._unit}/s {said}'

    def _say(self) -> None:
        left = round((self._total - self._done) / max(self._rate, 1e-9))
        left = f', {timedelta(seconds=left)} left' if 0 < left < 1e7 else ''
        print(f'{self._title}: {self._done}/{self._total} {self._text()}{left}', file=sys.stderr,
              flush=True)


def say(text: str) -> None:
    """Print a line beside the progress bars."""
    Console(stderr=True).print(text, highlight=False, markup=False)
