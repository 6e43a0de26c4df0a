"""From the arrival of an image to the published command, over the policy alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from vla_nav.bench.result import BenchError, Goal, Result, Skipped
from vla_nav.bench.run import Bench
from vla_nav.bench.timing import paced
from vla_nav.policy import EngineMissing

CAMERA = (640, 480)
"""Of images that the node must shrink; others have the size that the policy sees."""
SENTENCE = 'go to the {} cone'
COLOURS = ('red', 'blue', 'green')
"""A new sentence for each round: without a camera the node has come to a stop."""
OVERHEAD = Goal(1.10, at_most=True)
PATIENCE_S = 120.0


def measure(bench: Bench) -> Iterator[Result]:
    """On each engine: the node in this process, then its policy alone, in turn."""
    camera = bench.checkpoint.contract.camera
    for engine in ('torch', 'onnx'):
        try:
            model = bench.model if engine == 'torch' else bench.graph()
            for size in dict.fromkeys((CAMERA, (camera.width, camera.height))):
                yield from _through(bench, engine, model, size)
        except EngineMissing as reason:
            raise Skipped(str(reason)) from None


def _through(bench: Bench, engine: str, model, size: tuple[int, int]) -> Iterator[Result]:
    from vla_nav.nodes.rig import Rig

    contract = bench.checkpoint.contract
    robot = bench.folder / 'robot.yaml'
    robot.write_text(contract.to_yaml(), encoding='utf-8')
    rig = Rig(contract, *size, [f'model:={model}', f'robot:={robot}', f'engine:={engine}',
                                'device:=cpu'])
    try:
        drive = rig.add_drive()
        if not rig.wait(lambda: drive.worker.policy, PATIENCE_S):
            raise BenchError(f'the drive node has no model: {drive.models.loader.status}')
        policy, frames = drive.worker.policy, bench.frames()
        through, alone, seconds = [], [], 2.5 * bench.seconds / len(COLOURS)
        within, step = [], policy.step
        policy.step = _timed(step, within)
        enough = max(3, int(seconds * contract.rate_hz))
        for colour in COLOURS:
            rig.film(contract.rate_hz)
            rig.say(SENTENCE.format(colour))
            drive.answers_s.clear()
            begun = len(within)
            if not rig.wait(lambda: len(drive.answers_s) > enough, PATIENCE_S):
                raise BenchError(f'the drive node does not drive: {drive.doing}')
            rig.cut()
            through += drive.answers_s[1:]
            within[:] = within[:begun] + within[begun + 1:]
            policy.reset(SENTENCE.format(colour))
            alone.append(paced(_stepping(step, frames), contract.rate_hz, seconds).durations)
        alone = np.concatenate(alone)
    finally:
        rig.close()
    figure = f'{size[0]} x {size[1]} to command, {policy.engine.name}'
    for percent in (50, 99):
        value = np.percentile(through, percent)
        for bare, what, goal in (
                (within, "the policy's own part of it", OVERHEAD if percent == 50 else None),
                (alone, f'the policy alone at {contract.rate_hz:g} Hz', None)):
            own = np.percentile(bare, percent)
            yield Result('node', f'{figure}, p{percent}', 1e3 * value, 'ms',
                         f'{what} ({1e3 * own:.2f} ms)', value / own, goal)


def _timed(step, durations: list[float]):
    def timed(*args):
        began_s = time.perf_counter()
        chunk = step(*args)
        durations.append(time.perf_counter() - began_s)
        return chunk

    return timed


def _stepping(step, frames):
    number = 0

    def stepping() -> None:
        nonlocal number
        number += 1
        step(frames[number % len(frames)])

    return stepping
