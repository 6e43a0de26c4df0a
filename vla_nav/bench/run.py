"""The sections of the benchmark, one after the other."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vla_nav.bench import machine
from vla_nav.bench.result import BenchError, Result, Skipped
from vla_nav.contract import Frame
from vla_nav.errors import VlaNavError
from vla_nav.policy import Checkpoint, ExportError, Policy, PolicyError
from vla_nav.policy.onnx_engine import read_graph_settings

SECTIONS = ('preprocessing', 'engines', 'chunk', 'node', 'ticks', 'recorder', 'simulator',
            'rollouts', 'training', 'gpu')
"""Modules of this package with a `measure(bench)`, in the order in which they are run."""


@dataclass
class Bench:
    """What the sections measure, and how long."""

    model: Path
    """Folder of a checkpoint."""
    folder: Path
    """For files that are not kept."""
    quick: bool = False
    """Everything once or twice: to see that it works, not how fast it is."""
    seconds: float = 4.0
    """For one function, in most sections."""
    _graphs: dict[str, Path | ExportError] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.quick:
            self.seconds = 0.1
        self.checkpoint = Checkpoint.open(self.model)
        self.cores = len(os.sched_getaffinity(0))

    def frames(self, count: int = 8) -> list[Frame]:
        """Noise of the camera's size."""
        camera, rng = self.checkpoint.contract.camera, np.random.default_rng(0)
        shape = (camera.height, camera.width, 3)
        return [Frame(rng.integers(0, 256, shape, dtype=np.uint8), i) for i in range(count)]

    def policy(self, engine: str, threads: int, precision: str = 'float32') -> Policy:
        """The model on one engine. Raises Skipped where this machine cannot run it."""
        path = self.graph(precision) if engine == 'onnx' else self.model
        policy = Policy.load(path, device='cpu', threads=threads, engine=engine)
        policy.reset('go to the red cone')
        return policy

    def graph(self, precision: str = 'float32') -> Path:
        """A folder of the model that has such an ONNX graph: its own, or a copy made here."""
        if precision not in self._graphs:
            self._graphs[precision] = self._export(precision)
        graph = self._graphs[precision]
        if isinstance(graph, ExportError):
            raise Skipped(str(graph))
        return graph

    def _export(self, precision: str) -> Path | ExportError:
        from vla_nav.policy.export import export

        try:
            if read_graph_settings(self.checkpoint).precision == precision:
                return self.model
        except PolicyError:
            pass  # There is none, or it is of another model.
        copy = copy_checkpoint(self.model, self.folder / precision)
        try:
            export(copy, frames=2 if self.quick else 40, precision=precision)
        except ExportError as error:
            return error
        return copy


def copy_checkpoint(path: Path, target: Path) -> Path:
    """Copy a model's folder; beside the copy, a link to the model whose backbone it shares."""
    shutil.copytree(path, target)
    shared = Checkpoint.open(path, quick=True).backbone.model
    if shared and not (target.parent / shared).exists():
        (target.parent / shared).symlink_to((path.resolve().parent / shared).resolve())
    return target


def run(bench: Bench, sections: Sequence[str], found: Callable[[Result], None],
        skipped: Callable[[str, str], None], begins: Callable[[str], None] = lambda _: None
        ) -> None:
    """Run sections; every figure is handed over when it is there, whatever ends a section."""
    for name in sections:
        begins(name)
        try:
            for result in measured(bench, name):
                found(result)
        except VlaNavError as reason:
            skipped(name, str(reason))


def measured(bench: Bench, section: str) -> Iterator[Result]:
    """Figures of one section."""
    if section not in SECTIONS:
        raise BenchError(f"unknown section '{section}'; known are {', '.join(SECTIONS)}")
    yield from importlib.import_module(f'vla_nav.bench.{section}').measure(bench)


def write_json(path: Path, bench: Bench, results: Sequence[Result], skips: dict[str, str],
               facts: dict[str, str] | None = None) -> None:
    """Write figures, and what they depend on, to a file."""
    path.write_text(json.dumps({
        'machine': facts or machine.facts(), 'model': bench.checkpoint.name,
        'model_sha256': bench.checkpoint.model_sha256, 'quick': bench.quick, 'skipped': skips,
        'results': [result.to_dict() for result in results],
    }, indent=1, default=np.generic.item) + '\n', encoding='utf-8')
