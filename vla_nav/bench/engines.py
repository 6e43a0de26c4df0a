"""One decision of the model: torch, the form of fixed shapes, ONNX Runtime, CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vla_nav.bench.machine import matmul_rate
from vla_nav.bench.result import Goal, Result, Skipped
from vla_nav.bench.run import Bench
from vla_nav.bench.timing import alternate
from vla_nav.policy import EngineMissing, Policy
from vla_nav.policy.engines import TransformersEngine

HZ = Goal(30)
ONNX = Goal(2)
EAGER = 'speed of eager transformers'


def measure(bench: Bench) -> Iterator[Result]:
    """On one thread, and on all cores."""
    for threads in sorted({1, bench.cores}):
        yield from _on(bench, threads)


def _on(bench: Bench, threads: int) -> Iterator[Result]:
    policies = {'transformers': bench.policy('torch', threads),
                'torch': bench.policy('torch', threads)}
    policies['transformers'].engine = TransformersEngine(policies['transformers'].model)
    policies['transformers'].reset('go to the red cone')
    reason = ''
    try:
        policies['onnx'] = bench.policy('onnx', threads)
    except (Skipped, EngineMissing) as error:
        reason = str(error)
    frames = bench.frames()
    times = alternate({n: _stepping(p, frames) for n, p in policies.items()}, bench.seconds)
    where = f'{threads} thread{"s" if threads > 1 else ""}'
    own = times['transformers'].s
    yield Result('engines', f'torch, eager transformers, {where}', 1e3 * own, 'ms')
    name = policies['torch'].engine.name
    yield Result('engines', f'{name}, fixed shapes, {where}', times['torch'].ms, 'ms',
                 EAGER, own / times['torch'].s)
    yield Result('engines', f'{name}, fixed shapes, {where}', 1 / times['torch'].s, 'Hz', goal=HZ)
    if reason:
        raise Skipped(f'onnx: {reason}')
    onnx = policies['onnx'].engine.name
    yield Result('engines', f'{onnx}, {where}', times['onnx'].ms, 'ms',
                 EAGER, own / times['onnx'].s, ONNX)
    yield Result('engines', f'{onnx}, {where}', times['onnx'].ms, 'ms',
                 'speed of torch with fixed shapes', times['torch'].s / times['onnx'].s)
    floor = flops(policies['torch']) / matmul_rate('cpu', torch.float32, bench.seconds, 1024)
    yield Result('engines', f'{onnx}, {where}', times['onnx'].ms, 'ms',
                 'its FLOP at the rate of large matrix products', times['onnx'].s / floor)
    yield Result('engines', f'{onnx}, {where}', 1 / times['onnx'].s, 'Hz', goal=HZ)


def _stepping(policy: Policy, frames):
    number = 0

    def step() -> None:
        nonlocal number
        number += 1
        policy.step(frames[number % len(frames)])

    return step


def flops(policy: Policy) -> int:
    """Multiplications and additions of the matrix products in one decision."""
    from torch.utils.flop_counter import FlopCounterMode

    from vla_nav.contract import Frame

    camera = policy.contract.camera
    image = torch.zeros(camera.height, camera.width, 3, dtype=torch.uint8).numpy()
    with FlopCounterMode(display=False) as counter:
        policy.step(Frame(image, 0))
    return counter.get_total_flops()
