"""The parts of a vision-language model, told apart by the names transformers gives them."""

from __future__ import annotations

import re

import torch
from torch import nn

from vla_nav.policy.errors import BackboneError

CONNECTOR = re.compile(
    r'(^|\.)(connector|modality_projection|multi_modal_projector|mm_projector|merger|'
    r'deepstack_merger_list|image_to_text_projection|perceiver_resampler|resampler|perceiver|'
    r'gated_cross_attn_layers|qformer|embedding_projection|aligner|adapter)(\.|$)'
)
"""What joins vision and language: projectors, resamplers, gated cross-attention."""
VISION = re.compile(
    r'(^|\.)(vision_model|vision_tower|visual|vision_encoder|vision_backbone|image_encoder)(\.|$)'
)
"""The vision encoder."""


def part_of(name: str) -> str:
    """Return 'connector', 'vision' or 'language' for the name of a parameter or module."""
    if CONNECTOR.search(name):
        return 'connector'
    return 'vision' if VISION.search(name) else 'language'


def blocks(model: nn.Module, part: str, count: int | None = None) -> nn.ModuleList:
    """Return the transformer blocks of the vision or the language part.

    count: how many there must be. Raises BackboneError where no such list is found.
    """
    found = [
        module for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and part_of(name) == part and len(module)
        and (count is None or len(module) == count)
    ]
    if not found:
        raise BackboneError(
            f"backbone of type '{model.config.model_type}': its {part} blocks were not found; "
            'choose a variant that does not reach into them'
        )
    return max(found, key=lambda m: sum(p.numel() for p in m.parameters()))


def connectors(model: nn.Module) -> list[nn.Module]:
    """Return the modules, none inside another, that join vision and language."""
    return [module for name, module in model.named_modules()
            if CONNECTOR.search(name) and not CONNECTOR.search(name.rpartition('.')[0])]


def hidden_size(block: nn.Module) -> int:
    """Size of the vectors a transformer block passes on: that of its layer norms."""
    for module in block.modules():
        weight = getattr(module, 'weight', None)
        if isinstance(weight, torch.Tensor) and weight.ndim == 1:
            return weight.numel()
    raise BackboneError(f'{type(block).__name__}: no layer norm in it tells its size')
