"""Closed-loop rollouts per second, over the number of processes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from vla_nav.bench.result import Result
from vla_nav.bench.run import Bench

SCENES = 48
MOST = 8
"""Processes."""


def measure(bench: Bench) -> Iterator[Result]:
    """The same scenes with 1, 2, 4... processes, their start included."""
    from vla_nav.evaluation.rollout import RolloutSettings, rollout

    settings = RolloutSettings(scenes=2, time_limit_s=1.0) if bench.quick else RolloutSettings(
        scenes=SCENES)
    counts = [n for n in (1, 2, 4, MOST) if n <= bench.cores]
    one = 0.0
    for processes in counts[:1] if bench.quick else counts:
        began = time.perf_counter()
        rollout(bench.model, settings, processes, lambda count: None)
        rate = settings.scenes / (time.perf_counter() - began)
        one = one or rate
        yield Result('rollouts', f'{settings.scenes} scenes, {processes} process'
                     f'{"es" if processes > 1 else ""}', rate, 'rollouts/s',
                     'one process', rate / one)
