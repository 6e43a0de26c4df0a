"""How long a policy takes for one frame, each policy in a process of its own."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_nav.contract import Frame
from vla_nav.evaluation.models import load_policy
from vla_nav.workers import worker_pool

STEPS, FEWEST, LIMIT_S = 300, 30, 60.0
"""Frames measured; fewer of a slow policy, but never less than FEWEST, within LIMIT_S."""
WARM_UP = 10


@dataclass(frozen=True)
class Latency:
    """From a frame in memory to its chunk, one frame at a time."""

    p50_s: float
    p99_s: float
    steps: int
    """Frames measured."""
    parameters: int
    """Of backbone and head together."""
    memory_bytes: int
    """Largest resident set of the process; on a GPU, largest memory torch held there."""


def measure_latency(model: Path, device: str, threads: int) -> Latency:
    """Measure a checkpoint in a fresh process, so that no other model is in its way."""
    with worker_pool(1) as pool:
        return pool.submit(_measure, model, device, threads).result()


def machine(device: str, threads: int) -> dict:
    """What latencies depend on beside the model, and how busy the machine is."""
    import torch

    name = torch.cuda.get_device_name() if device.startswith('cuda') else _processor()
    return {'device': device, 'hardware': name, 'cores': os.cpu_count(), 'threads': threads,
            'torch': torch.__version__, 'load': round(os.getloadavg()[0], 2)}


def _measure(model: Path, device: str, threads: int) -> Latency:
    import torch

    torch.set_num_threads(threads)
    policy = load_policy(model, device)
    camera = policy.contract.camera
    rng = np.random.default_rng(0)
    frames = [Frame(rng.integers(0, 256, (camera.height, camera.width, 3), np.uint8), stamp)
              for stamp in range(8)]
    still = np.zeros(policy.normaliser.action_dim, np.float32)
    policy.reset('go to the red cone')
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < WARM_UP + STEPS:
        if len(taken) >= WARM_UP + FEWEST and time.perf_counter() - begun > LIMIT_S:
            break
        start = time.perf_counter()
        policy.step(frames[len(taken) % len(frames)], still)
        taken.append(time.perf_counter() - start)
    p50, p99 = np.percentile(taken[WARM_UP:], [50, 99])
    parameters = sum(p.numel() for part in (policy.backbone.model, policy.head)
                     for p in part.parameters())
    memory = (torch.cuda.max_memory_allocated() if policy.device.type == 'cuda'
              else _peak_resident_bytes())
    return Latency(float(p50), float(p99), len(taken) - WARM_UP, parameters, memory)


def _peak_resident_bytes() -> int:
    """Of this process; `getrusage` would count what its parent had before it."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM'):
            return int(line.split()[1]) * 1024
    return 0


def _processor() -> str:
    try:
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
