"""Simulated frames per second: motion, picture, crop and resize."""

from __future__ import annotations

from collections.abc import Iterator

from vla_nav.bench.result import Result, Skipped
from vla_nav.bench.run import Bench
from vla_nav.bench.timing import alternate
from vla_nav.sim import Expert, Renderer, RenderingError, Simulation, sample_scene

SIZES = ((640, 480), (224, 224))


def measure(bench: Bench) -> Iterator[Result]:
    """One step at the contract's rate and what the policy sees of it."""
    contract = bench.checkpoint.contract
    for width, height in SIZES:
        try:
            renderer = Renderer(width, height)
        except RenderingError as error:
            raise Skipped(str(error)) from None
        simulation = Simulation(sample_scene(0), renderer=renderer, time_limit_s=1e9)
        expert = Expert(simulation)

        def step(simulation=simulation, expert=expert) -> None:
            simulation.step(expert.action(), contract.step_s)
            simulation.frame(contract.camera)

        times = alternate({'step': step, 'render': simulation.render}, bench.seconds)
        hz = 1 / times['step'].s
        yield Result('simulator', f'frames at {width} x {height}', hz, 'frames/s',
                     'speed of drawing alone', times['render'].s / times['step'].s)
        yield Result('simulator', f'frames at {width} x {height}', hz, 'frames/s',
                     f'real time at {contract.rate_hz:g} Hz', hz / contract.rate_hz)
