"""Which precision a processor is quick in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

_INSTRUCTIONS = {'avx512_bf16', 'amx_bf16'}


@cache
def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; elsewhere it is dozens of times slower."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith('flags')), '')
    return not _INSTRUCTIONS.isdisjoint(flags.split())


def half_precision() -> torch.autocast:
    """Autocast to bfloat16 where the processor has it; elsewhere the context changes nothing."""
    return torch.autocast('cpu', torch.bfloat16, enabled=cpu_has_bfloat16())
