"""Number formats while training."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from vla_nav.policy import Backbone
from vla_nav.policy.parts import connectors

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


def set_formats(backbone: Backbone, bf16: bool) -> None:
    """What trains is float32; with `bf16`, for passes under autocast, what is frozen bfloat16.

    Models write the image's features into the embeddings in place, which autocast leaves alone:
    both must have one format then, whichever of them train.
    """
    model = backbone.model
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
        elif bf16:
            parameter.data = parameter.data.bfloat16()
    if bf16:
        def cast(module, args, output):
            if isinstance(output, tuple):
                return (output[0].to(model.dtype), *output[1:])
            return output.to(model.dtype) if torch.is_tensor(output) else output

        for module in (model.get_input_embeddings(), *connectors(model)):
            module.register_forward_hook(cast)
