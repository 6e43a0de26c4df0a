"""The machine: what it is, and how fast it can be."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from vla_nav.bench.timing import measure

_PACKAGES = ('torch', 'transformers', 'onnxruntime', 'onnxruntime-gpu', 'mujoco', 'numpy')


def facts() -> dict[str, str]:
    """What figures depend on."""
    found = {
        'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d'),
        'processor': _processor(),
        'cores': str(len(os.sched_getaffinity(0))),
        'memory': f'{os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30:.0f} GiB',
        'GPU': torch.cuda.get_device_name() if torch.cuda.is_available() else 'none',
        'python': platform.python_version(),
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class Others:
    """What other processes take of the machine while figures are measured (Linux)."""

    def __init__(self) -> None:
        self._before = self._now()

    def share(self) -> float | None:
        """Their share of all cores since this object was made; None where it is not known."""
        now = self._now()
        if now is None or self._before is None:
            return None
        busy, total, own = (after - before for after, before in zip(now, self._before))
        return max(0.0, (busy - own) / max(total, 1e-9))

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds of all cores: busy, in all, and of this process and those it has waited for."""
        try:
            words = Path('/proc/stat').read_text(encoding='utf-8').splitlines()[0].split()[1:9]
        except OSError:
            return None
        ticks = [int(word) / os.sysconf('SC_CLK_TCK') for word in words]
        idle = ticks[3] + ticks[4]
        return sum(ticks) - idle, sum(ticks), sum(os.times()[:4])


def matmul_rate(device: str, dtype: torch.dtype, seconds: float, side: int = 2048) -> float:
    """FLOP/s of large matrix products."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / _fastest(lambda: a @ b, device, seconds)


def copy_bandwidth(device: str, seconds: float, megabytes: int = 256) -> float:
    """Bytes/s read and written by a large copy."""
    source = torch.empty(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _fastest(lambda: target.copy_(source), device, seconds)


def synchronised(function: Callable[[], object], device: str) -> Callable[[], object]:
    """The function, waiting for a GPU to be done."""
    if torch.device(device).type != 'cuda':
        return function

    def both() -> None:
        function()
        torch.cuda.synchronize()

    return both


def forget_peak(device: str) -> None:
    """Let `peak` count from now on."""
    if torch.device(device).type == 'cuda':
        torch.cuda.reset_peak_memory_stats()


def peak(device: str) -> int | None:
    """The most bytes that tensors took on a GPU; None on a CPU, where nobody counts them."""
    return torch.cuda.max_memory_allocated() if torch.device(device).type == 'cuda' else None


def _fastest(function: Callable[[], object], device: str, seconds: float) -> float:
    return measure(synchronised(function, device), seconds).at(10)


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
        return next(line.split(':', 1)[1].strip() for line in lines if 'model name' in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
