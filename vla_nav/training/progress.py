"""A progress bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time

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
    """Counts samples towards a total and shows smoothed figures, rate and time left."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, total, 0
        self._figures: dict[str, float] = {}
        self._began = self._spoke = time.monotonic()
        self._console = Console(stderr=True)
        self._bar = RichProgress(
            TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn('{task.fields[figures]}'),
            console=self._console, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task(title, total=total, figures='')

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
        if not sys.stderr.isatty() and self._done:
            self._say()

    def advance(self, count: int) -> None:
        """Count `count` more samples."""
        self.report(count, {})

    def report(self, count: int, figures: dict[str, float]) -> None:
        """Count `count` more samples and take in their figures."""
        self._done = min(self._done + count, self._total)
        for name, value in figures.items():
            if value == value:
                self._figures[name] = 0.98 * self._figures.get(name, value) + 0.02 * value
        if sys.stderr.isatty():
            self._bar.update(self._task, completed=self._done, figures=self._text())
        elif time.monotonic() - self._spoke > LINE_EVERY_S:
            self._spoke = time.monotonic()
            self._say()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, highlight=False)

    def _text(self) -> str:
        elapsed = max(time.monotonic() - self._began, 1e-3)
        rate = self._done / elapsed
        figures = ' '.join(f'{name} {value:.3f}' for name, value in self._figures.items())
        return f'{rate:.0f}/s {figures}'

    def _say(self) -> None:
        print(f'{self._title}: {self._done}/{self._total} {self._text()}', file=sys.stderr,
              flush=True)
