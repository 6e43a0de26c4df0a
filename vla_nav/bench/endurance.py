"""Endurance: a drive node in simulation, with new sentences and other models all the time."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vla_nav.bench.result import BenchError
from vla_nav.bench.run import copy_checkpoint
from vla_nav.contract import Contract
from vla_nav.control import Ticks
from vla_nav.sim import TEMPLATES

_START_TIMEOUT_S = 300.0
_PERIOD_S = 0.05
_SAMPLE_S = 1.0
MOST_GROWTH = 0.05


@dataclass(frozen=True)
class EnduranceSettings:
    """How long, and how restless."""

    minutes: float = 30.0
    say_every_s: float = 20.0
    """Between two sentences."""
    swap_every_s: float = 60.0
    """Between two changes of the model."""
    settle_s: float = 300.0
    """Memory counts from here on, held against the peak of the swap before."""

    def __post_init__(self) -> None:
        if not 0 < self.say_every_s <= self.swap_every_s <= self.settle_s:
            raise BenchError(
                f'--say-every {self.say_every_s:g}, --swap-every {self.swap_every_s:g}, --settle '
                f'{self.settle_s:g}; expected more than 0 s, and none longer than the next')
        if self.settle_s + self.swap_every_s > 60 * self.minutes:
            raise BenchError(
                f'--minutes {self.minutes:g} is {60 * self.minutes:g} s; expected at least '
                f'{self.settle_s + self.swap_every_s:g} s, as --settle is {self.settle_s:g} and '
                f'--swap-every {self.swap_every_s:g}: make these less, or drive longer')


@dataclass
class Sample:
    """The nodes at one moment."""

    time_s: float
    """Since the robot began to drive."""
    drive_mib: float
    sim_mib: float
    """Most memory in use (resident set) since the sample before."""
    drive_threads: int
    driving: bool


class Endurance:
    """One run; `on_sample(sample, state)` is called every second."""

    def __init__(self, settings: EnduranceSettings, model: Path, contract: Contract, robot: str,
                 level: str, out: Path,
                 on_sample: Callable[[Sample, dict], None] = lambda *_: None) -> None:
        self._settings = settings
        self._contract, self._robot, self._level = contract, robot, level
        self._out = out
        self._on_sample = on_sample
        # Two names for the same weights, so that the robot drives equally well with both.
        self._models = [str(model.resolve()), str(copy_checkpoint(model, out / 'second_model'))]
        self.samples: list[Sample] = []
        self.swapped_s: list[float] = []
        """When another model took over, on the samples' clock."""
        self._wanted = self._models[0]
        self._refusals: list[str] = []
        self._said = self._faults = self._taken_over = 0

    def run(self) -> dict:
        """Do it; returns the figures, with what is wrong under `failures`."""
        from vla_nav.nodes.monitor import Monitor
        from vla_nav.nodes.processes import NodeProcesses, parameter_words

        self._nodes = nodes = NodeProcesses(self._out)
        self._monitor = monitor = Monitor(self._contract)
        try:
            sim = nodes.start('sim', parameter_words(level=self._level, robot=self._robot))
            nodes.wait(lambda: monitor.task, _START_TIMEOUT_S, 'the simulated robot')
            drive = nodes.start('drive', parameter_words(model=self._models[0],
                                                         robot=self._robot))
            nodes.wait(lambda: (monitor.drive or {}).get('model'), _START_TIMEOUT_S, 'the model')
            self._say()
            nodes.wait(lambda: monitor.drive['state'] == 'DRIVING', _START_TIMEOUT_S,
                       'the robot to drive')
            missed = self._missed()
            with _BareLoop() as bare:
                self._live(drive, sim)
            missed = self._missed() - missed
        finally:
            codes = nodes.end()
            monitor.close()
            shutil.rmtree(self._models[1], ignore_errors=True)
        return self._figures(missed, bare.ticks, codes)

    def _live(self, drive: int, sim: int) -> None:
        settings, monitor, nodes = self._settings, self._monitor, self._nodes
        began_s = time.monotonic()
        say_s, swap_s, sample_s = settings.say_every_s, settings.swap_every_s, 0.0
        # A swap's peak lasts for less than the time between two samples.
        peaks = [0.0, 0.0]
        state, model = monitor.drive['state'], monitor.drive['model']
        while (passed_s := time.monotonic() - began_s) < 60 * settings.minutes:
            before, state = state, monitor.drive['state']
            self._faults += state == 'FAULT' != before
            before, model = model, monitor.drive['model']
            self._taken_over += model != before
            nodes.check()
            peaks = [max(pair) for pair in zip(peaks, _memories(drive, sim))]
            if passed_s >= sample_s:
                sample_s += _SAMPLE_S
                self._sample(passed_s, peaks, drive)
                peaks = [0.0, 0.0]
            if passed_s >= say_s:
                say_s += settings.say_every_s
                self._say()
            if passed_s >= swap_s:
                swap_s += settings.swap_every_s
                self._swap(passed_s)
            time.sleep(_PERIOD_S)
        nodes.wait(lambda: monitor.drive['model'] == self._wanted, _START_TIMEOUT_S,
                   'the last model')
        self._taken_over += self._wanted != model
        time.sleep(_SAMPLE_S)
        self._sample(time.monotonic() - began_s, _memories(drive, sim), drive)

    def _sample(self, passed_s: float, memories: list[float], drive: int) -> None:
        state = self._monitor.drive
        sample = Sample(round(passed_s, 2), *memories, _threads(drive),
                        state['state'] == 'DRIVING')
        self.samples.append(sample)
        self._on_sample(sample, state)

    def _say(self) -> None:
        """Name the next object, in other words than before; in a new scene after a bump."""
        monitor = self._monitor
        if (monitor.outcome or {}).get('collided'):
            task = monitor.task
            monitor.call('sim/next')
            self._nodes.wait(lambda: monitor.task is not task, _START_TIMEOUT_S, 'the next scene')
        objects = monitor.task['objects']
        colour, shape = objects[self._said % len(objects)]['name'].split()
        template = TEMPLATES[self._said % len(TEMPLATES)]
        monitor.say(template.format(colour=colour, shape=shape))
        self._said += 1

    def _swap(self, passed_s: float) -> None:
        wanted = self._models[self._models[0] == self._wanted]
        refusal = self._monitor.set_model(wanted)
        if refusal:
            self._refusals.append(refusal)
        else:
            self._wanted = wanted
            self.swapped_s.append(round(passed_s, 2))

    def _missed(self) -> int:
        """What the node says in the next report but one: the next may be on its way already."""
        for _ in range(2):
            self._monitor.diagnostics = {}
            deadline_s = time.monotonic() + 10.0
            while not self._monitor.diagnostics:
                if time.monotonic() > deadline_s:
                    raise BenchError('the drive node says nothing on /diagnostics any more')
                time.sleep(0.05)
        return int(self._monitor.diagnostics['ticks missed'])

    def _figures(self, missed: int, bare: Ticks, codes: dict[str, int]) -> dict:
        settings, said = self._settings, self._monitor.diagnostics
        figures = {
            'minutes': settings.minutes, 'sentences': self._said, 'swaps': len(self.swapped_s),
            'models that took over': self._taken_over, 'swaps refused': self._refusals,
            'faults': self._faults,
            'share of the time driving': round(
                float(np.mean([s.driving for s in self.samples])), 3),
            'ticks missed by the node': missed,
            'ticks missed by a bare loop beside it': bare.missed,
            'ticks late, last 1024, p99 (s)': float(said['tick late p99 (s)']),
            'image to command, last 256, p50 (s)': float(said['latency p50 (s)']),
            'image to command, last 256, p99 (s)': float(said['latency p99 (s)']),
            'drive': self._memory('drive_mib'), 'sim': self._memory('sim_mib'),
            **self._thread_counts(), 'exit codes': codes}
        return {**figures, 'settings': asdict(settings), 'failures': _failures(figures)}

    def _before(self) -> list[Sample]:
        """The last swap before it counts."""
        settled_s = self._settings.settle_s
        return [s for s in self.samples
                if settled_s - self._settings.swap_every_s <= s.time_s < settled_s]

    def _after(self) -> list[Sample]:
        return [s for s in self.samples if s.time_s >= self._settings.settle_s]

    def _last_tenth(self) -> list[Sample]:
        after = self._after()
        return after[-max(1, len(after) // 10):]

    def _thread_counts(self) -> dict[str, int]:
        """Usual numbers, without those that load a model for a second."""
        return {'threads when settled': _usual(self._before()),
                'threads at the end': _usual(self._last_tenth())}

    def _memory(self, name: str) -> dict[str, float]:
        """Peak of the last swap before it counts, and of all afterwards, in MiB."""
        before = [getattr(s, name) for s in self._before()]
        after = [getattr(s, name) for s in self._after()]
        return {'settled (MiB)': round(max(before), 1), 'peak after (MiB)': round(max(after), 1),
                'median of the last tenth (MiB)': round(float(
                    np.median([getattr(s, name) for s in self._last_tenth()])), 1),
                'growth': round(max(after) / max(before) - 1, 4)}


class _BareLoop:
    """Ticks in a thread that only sleeps; those it misses are the machine's fault."""

    def __init__(self) -> None:
        self.ticks = Ticks(_PERIOD_S)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name='bare loop', daemon=True)

    def __enter__(self) -> _BareLoop:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            self.ticks.add(time.monotonic_ns())
            due_s += _PERIOD_S


def plot(samples: list[Sample], swapped_s: list[float], settle_s: float, file: Path) -> None:
    """Draw memory over time, with the swaps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout='constrained')
    axes = figure.add_subplot(xlabel='minutes', ylabel='resident memory, MiB',
                              title='Memory while driving; each line is a change of the model')
    minutes = [s.time_s / 60 for s in samples]
    for node in ('drive', 'sim'):
        axes.plot(minutes, [getattr(s, f'{node}_mib') for s in samples], label=f'{node} node')
    for swap_s in swapped_s:
        axes.axvline(swap_s / 60, color='0.85', linewidth=0.8, zorder=0)
    axes.axvline(settle_s / 60, color='0.4', linestyle='--', label='counts from here on')
    axes.set_ylim(bottom=0)
    axes.legend(loc='lower right')
    figure.savefig(file, dpi=110)


def _failures(figures: dict) -> list[str]:
    """What must not be, in words."""
    found = [f'memory of the {node} node grew by {100 * figures[node]["growth"]:.1f} %; expected '
             f'at most {100 * MOST_GROWTH:g} %' for node in ('drive', 'sim')
             if figures[node]['growth'] > MOST_GROWTH]
    if figures['ticks missed by the node']:
        found.append(f'{figures["ticks missed by the node"]} control ticks were missed (a bare '
                     f'loop beside it missed {figures["ticks missed by a bare loop beside it"]})')
    if figures['threads at the end'] > figures['threads when settled']:
        found.append(f'{figures["threads at the end"]} threads at the end, '
                     f'{figures["threads when settled"]} before')
    if figures['faults']:
        found.append(f'{figures["faults"]} faults')
    found += [f'swap refused: {reason}' for reason in figures['swaps refused']]
    if figures['models that took over'] != figures['swaps']:
        found.append(f'{figures["swaps"]} swaps were asked for, '
                     f'{figures["models that took over"]} took place')
    found += [f'the {node} node ended with code {code}'
              for node, code in figures['exit codes'].items() if code]
    return found


def _usual(samples: list[Sample]) -> int:
    return int(np.median([s.drive_threads for s in samples]))


def _memories(*pids: int) -> list[float]:
    return [int(_status(pid, 'VmRSS').split()[0]) / 1024 for pid in pids]


def _threads(pid: int) -> int:
    return int(_status(pid, 'Threads'))


def _status(pid: int, name: str) -> str:
    for line in Path(f'/proc/{pid}/status').read_text(encoding='utf-8').splitlines():
        if line.startswith(f'{name}:'):
            return line.split(':', 1)[1].strip()
    raise BenchError(f'/proc/{pid}/status has no {name}; endurance is measured on Linux')
