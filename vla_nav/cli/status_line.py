"""What is seen while a robot drives: one live line, or plain lines where there is no terminal."""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

_PLAIN_PERIOD_S = 1.0
_STYLES = {'DRIVING': 'bold green', 'TAKEOVER': 'bold cyan', 'WAITING': 'yellow',
           'STOPPED': 'bold yellow', 'FAULT': 'bold red', 'ESTOP': 'bold red'}


class StatusLine:
    """Shows state, instruction, command, rates and distance; use it in a `with` statement."""

    def __init__(self, out: Path) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._out = out
        self._live = None
        self._shown_s = 0.0
        self._state: str | None = None

    def __enter__(self) -> StatusLine:
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Show what is being done before the robot drives."""
        if self._live:
            from rich.spinner import Spinner

            self._live.update(Spinner('dots', f'{text} ...'))
        else:
            print(f'{text} ...', flush=True)

    def typed(self) -> str | None:
        """A sentence typed at the terminal since the last call."""
        if not (self._live and sys.stdin.isatty() and select.select([sys.stdin], [], [], 0)[0]):
            return None
        return sys.stdin.readline().strip() or None

    def show(self, monitor) -> None:
        """Show the newest of everything."""
        now_s, state = time.monotonic(), monitor.drive['state']
        if self._live:
            from rich.text import Text

            line = Text.assemble((f'{state} ', _STYLES.get(state, '')), _line(monitor))
            line.no_wrap, line.overflow = True, 'ellipsis'
            self._live.update(line)
        elif state != self._state or now_s - self._shown_s >= _PLAIN_PERIOD_S:
            print(f'{state} {_line(monitor)}', flush=True)
            self._state, self._shown_s = state, now_s

    def conclude(self, figures: dict, files: list[Path]) -> None:
        """Say how it ended and where the files are."""
        from rich.text import Text

        outcome = figures.get('outcome', 'failed')
        style = 'bold green' if outcome == 'success' else 'bold red'
        told = figures.get('instruction')
        self._console.print(Text.assemble((outcome, style), f': {told}' if told else ''))
        if figures.get('reason'):
            self._console.print(f'  {figures["reason"]}', markup=False)
        if figures.get('distance_m') is not None:
            self._console.print(f'  {figures["distance_m"]:.2f} m from the {figures["target"]} '
                                f'after {figures["elapsed_s"]:.1f} s')
        for file in files:
            self._console.print(f'  {file}', soft_wrap=True, markup=False)


def _line(monitor) -> str:
    figures, outcome = monitor.diagnostics, monitor.outcome
    v0, v1 = monitor.command
    parts = [f'"{monitor.drive["instruction"]}"', f'v {v0:+.2f}', f'w {v1:+.2f}',
             f'policy {_number(figures, "policy rate (Hz)", 1)} Hz',
             f'image {_number(figures, "frame age (s)", 2)} s old',
             f'{outcome["distance_m"]:.2f} m to go', f'{outcome["elapsed_s"]:.0f} s']
    if monitor.drive['reason']:
        parts.insert(0, monitor.drive['reason'])
    return '  '.join(parts)


def _number(figures: dict[str, str], name: str, digits: int) -> str:
    try:
        return f'{float(figures[name]):.{digits}f}'
    except (KeyError, ValueError):
        return '-'
