"""Nodes in processes of their own, watched until they are told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vla_nav.errors import VlaNavError

PARENT = 'VLA_NAV_PARENT'
"""Variable of the environment: the process id with which a node ends. The launch files set it too,
as `ros2 launch` dies of SIGTERM, SIGHUP and SIGKILL without a word to its nodes."""
_END_TIMEOUT_S = 8.0


class RunError(VlaNavError):
    """A node of a run did not start or did not live."""


def orphaned() -> bool:
    """Whether this process is to end with another, which is gone."""
    parent = os.environ.get(PARENT, '')
    if not parent.isdecimal() or os.getppid() == int(parent):
        return False
    try:  # Between it and us there may be a debugger or a terminal.
        return ') Z ' in Path(f'/proc/{parent}/stat').read_text()
    except OSError:
        return True


class NodeProcesses:
    """Starts nodes; the output of each goes to `<name>.log` in a folder.

    They end with this process, even if that is killed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen] = {}

    def start(self, node: str, words: Sequence[str]) -> int:
        """Start a node of this package with these arguments; returns its process id."""
        with open(self._log(node), 'wb') as log:
            process = self._processes[node] = subprocess.Popen(
                [sys.executable, '-m', f'vla_nav.nodes.{node}', *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, env={**os.environ, PARENT: str(os.getpid())})
        return process.pid

    def wait(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Wait for a condition; raises RunError if it takes too long, or a node ends."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            self.check()
            if time.monotonic() > deadline_s:
                raise RunError(f'waited {timeout_s:g} s for {what}; see {self._folder}/*.log')
            time.sleep(0.05)

    def check(self) -> None:
        """Raise RunError if a node has ended."""
        for node, process in self._processes.items():
            if process.poll() is not None:
                lines = self._log(node).read_text(errors='replace').strip().splitlines()
                last = lines[-1] if lines else 'without a word'
                raise RunError(f'the {node} node ended with code {process.returncode}: {last} '
                               f'(see {self._log(node)})')

    def end(self) -> dict[str, int]:
        """Tell all nodes to end, and kill those that do not; returns their exit codes."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + _END_TIMEOUT_S
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return {node: process.returncode for node, process in self._processes.items()}

    def _log(self, node: str) -> Path:
        return self._folder / f'{node}.log'


def parameter_words(**values: str | int | bool | None) -> list[str]:
    """A node's command line for these parameters, but for those that are None.

    The later one of two parameters for the same nodes counts: these words come after those of
    the user, and what was not asked for stays out, so that files of parameters count there.
    """
    words = ['--ros-args']
    for name, value in values.items():
        if value is not None:
            words += ['-p', f'{name}:={json.dumps(value, ensure_ascii=False)}']
    return words
