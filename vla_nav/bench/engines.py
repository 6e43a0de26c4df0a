"""One decision of the model: torch, the form of fixed shapes, ONNX Runtime, CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vla_nav.bench.machine import matmul_rate
from vla_nav.bench.result import Goal, Result, Skipped, on_threads
from vla_nav.bench.run import Bench
from vla_nav.bench.timing import alternate
from vla_nav.policy import EngineMissing, Policy
from vla_nav.policy.engines import TransformersEngine
from vla_nav.policy.onnx_engine import PRECISIONS

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
        for precision in PRECISIONS:
            policies[precision] = bench.policy('onnx', threads, precision)
    except (Skipped, EngineMissing) as error:
        reason = str(error)
    frames = bench.frames()
    times = alternate({n: _stepping(p, frames) for n, p in policies.items()}, bench.seconds)
    where = on_threads(threads)
    own = times['transformers'].s
    yield Result('engines', f'torch, eager transformers, {where}', 1e3 * own, 'ms')
    name = policies['torch'].engine.name
    yield Result('engines', f'{name}, fixed shapes, {where}', times['torch'].ms, 'ms',
                 EAGER, own / times['torch'].s)
    yield Result('engines', f'{name}, fixed shapes, {where}', 1 / times['torch'].s, 'Hz', goal=HZ)
    floor = flops(policies['torch']) / matmul_rate('cpu', torch.float32, bench.seconds, 1024)
    for precision in PRECISIONS:
        if precision not in policies:
            raise Skipped(f'onnx {precision}: {reason}')
        time, graph = times[precision], f'{policies[precision].engine.name}, {where}'
        yield Result('engines', graph, time.ms, 'ms', EAGER, own / time.s, ONNX)
        yield Result('engines', graph, time.ms, 'ms', 'speed of torch with fixed shapes',
                     times['torch'].s / time.s)
        yield Result('engines', graph, time.ms, 'ms',
                     'its FLOP at the rate of large fp32 matrix products', time.s / floor)
        yield Result('engines', graph, 1 / time.s, 'Hz', goal=HZ)


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
