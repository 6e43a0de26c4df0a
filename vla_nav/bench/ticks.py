"""How punctual the control loop is while the policy takes every core, and during swaps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vla_nav.bench.result import BenchError, Goal, Result
from vla_nav.bench.run import Bench, copy_checkpoint

RATE_HZ = 100.0
"""Of the policy: more than it can reach, so that it never rests."""
CAMERA_HZ = 60.0
CAMERA = (640, 480)
CONTROL_HZ = 20.0
SWAPS = 20
WINDOW = 1024
"""Ticks over which the node's percentiles are taken."""
PATIENCE_S = 180.0
PUNCTUAL = Goal(5.0, at_most=True, of_value=True)
NONE = Goal(0, at_most=True)
_LOOP = """
import sys, time
from vla_nav.control import Ticks
period_s, seconds = float(sys.argv[1]), float(sys.argv[2])
ticks, due = Ticks(period_s), time.monotonic()
for _ in range(int(seconds / period_s)):
    due += period_s
    time.sleep(max(0.0, due - time.monotonic()))
    ticks.add(time.monotonic_ns())
print(*ticks.late_s())
"""
"""The same ticks in a process that does nothing else: what the machine allows."""


def measure(bench: Bench) -> Iterator[Result]:
    """In a drive node of its own process, with all threads, and 60 images per second."""
    seconds = 4.0 if bench.quick else WINDOW / CONTROL_HZ + 2
    with _driving(bench) as (rig, models):
        loop = subprocess.Popen(
            [sys.executable, '-c', _LOOP, str(1 / CONTROL_HZ), str(seconds)],
            stdout=subprocess.PIPE, text=True)
        before = _missed(rig)
        bare = [float(word) for word in loop.communicate()[0].split()]
        said = _fresh(rig)
        hz = float(said['policy rate (Hz)'])
        for index, name in enumerate(('p50', 'p99', 'max')):
            late = float(said[f'tick late {name} (s)'])
            yield Result('ticks', f'lateness of a tick, {name}, policy at {hz:.0f} Hz',
                         1e3 * late, 'ms', f'a loop that only sleeps ({1e3 * bare[index]:.2f} ms)',
                         late / bare[index], PUNCTUAL if name == 'p99' else None)
        missed = _missed(rig) - before
        yield Result('ticks', f'ticks missed in {seconds:.0f} s', missed, '', goal=NONE)
        swaps = 2 if bench.quick else SWAPS
        before = _missed(rig)
        for number in range(swaps):
            _swap(rig, models[(number + 1) % 2])
        yield Result('ticks', f'ticks missed in {swaps} swaps of the model',
                     _missed(rig) - before, '', goal=NONE)


@contextmanager
def _driving(bench: Bench):
    """A rig whose drive node drives, and the two models it may be given."""
    from vla_nav.nodes.processes import PARENT
    from vla_nav.nodes.rig import Rig

    contract = replace(bench.checkpoint.contract, rate_hz=RATE_HZ)
    robot = bench.folder / 'fast_robot.yaml'
    robot.write_text(contract.to_yaml(), encoding='utf-8')
    models = [_faster(bench, name) for name in ('fast_one', 'fast_two')]
    words = [f'model:={models[0]}', f'robot:={robot}', 'device:=cpu', f'threads:={bench.cores}',
             f'control_rate_hz:={CONTROL_HZ}', 'policy_timeout_s:=600.0',
             'stale_timeout_s:=10.0']  # Its answers come late, which is no fault here.
    log = bench.folder / 'drive.log'
    with open(log, 'wb') as file:
        drive = subprocess.Popen(
            [sys.executable, '-m', 'vla_nav.nodes.drive', '--ros-args',
             *(w for word in words for w in ('-p', word))],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, PARENT: str(os.getpid())})
    rig = None
    try:
        rig = Rig(contract, *CAMERA)
        rig.film(CAMERA_HZ)
        rig.say('go to the red cone')
        if not rig.wait(lambda: float(rig.diagnostics.get('policy rate (Hz)', 0)) > 0
                        or drive.poll() is not None, PATIENCE_S) or drive.poll() is not None:
            last = log.read_text(errors='replace').strip().splitlines()[-1:]
            raise BenchError(f'the drive node does not drive: {rig.diagnostics} {last}')
        yield rig, models
    finally:
        drive.terminate()
        drive.wait()
        if rig is not None:
            rig.close()


def _faster(bench: Bench, name: str) -> Path:
    """A copy of the model that says it was trained at RATE_HZ."""
    copy = copy_checkpoint(bench.model, bench.folder / name)
    path = copy / 'policy.json'
    manifest = json.loads(path.read_text(encoding='utf-8'))
    manifest['contract']['rate_hz'] = RATE_HZ
    path.write_text(json.dumps(manifest), encoding='utf-8')
    return copy


def _fresh(rig) -> dict[str, str]:
    """The next diagnostics but one: the next may be on its way already."""
    count = rig.reports
    if not rig.wait(lambda: rig.reports >= count + 2, PATIENCE_S):
        raise BenchError('the drive node says nothing on /diagnostics any more')
    return rig.diagnostics


def _missed(rig) -> int:
    return int(_fresh(rig)['ticks missed'])


def _swap(rig, model: Path) -> None:
    refusal = rig.set_model(str(model))
    if refusal:
        raise BenchError(f'the swap was refused: {refusal}')
    if not rig.wait(lambda: rig.diagnostics['model status'] == f'running {model}', PATIENCE_S):
        raise BenchError(f'the swap came to no end: {rig.diagnostics["model status"]}')
