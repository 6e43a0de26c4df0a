"""Vision encoders at a fixed image size, without the checks of values in transformers' forwards.

Such checks cannot be exported or captured. What depends on the size alone is computed once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from vla_nav.policy.backbone import Backbone
from vla_nav.policy.parts import blocks
from vla_nav.policy.registry import Registry

VISIONS: Registry[Callable[[Backbone, torch.Tensor], nn.Module]] = Registry('vision encoder')
"""Model type to what makes its encoder: pixels (B, 3, h, w) to image features (B, n, D)."""


@VISIONS.register('idefics3')
@VISIONS.register('smolvlm')
class IdeficsVision(nn.Module):
    """Idefics3 and SmolVLM: one image that fills its frame, so that no patch is masked."""

    def __init__(self, backbone: Backbone, pixels: torch.Tensor):
        super().__init__()
        base = backbone.base
        tower = base.vision_model
        self.patches = tower.embeddings.patch_embedding
        self.blocks = blocks(backbone.model, 'vision')
        self.norm = tower.post_layernorm
        self.connector = base.connector
        blank = torch.zeros_like(pixels[:1])
        side = tower.patch_size
        full = torch.ones(
            1, blank.shape[2] // side, blank.shape[3] // side, dtype=torch.bool,
            device=blank.device,
        )
        with torch.no_grad():
            places = tower.embeddings(blank, full) - self._embed(blank)
        self.register_buffer('places', places, persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self._embed(pixels) + self.places
        for block in self.blocks:
            x = block(x, None)
            x = x[0] if isinstance(x, tuple) else x
        return self.connector(self.norm(x))

    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.patches(pixels).flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, hw, D)


@VISIONS.register('llava')
@VISIONS.register('paligemma')
class TowerVision(nn.Module):
    """LLaVA and PaliGemma: a tower of fixed size, then a projector."""

    def __init__(self, backbone: Backbone, pixels: torch.Tensor):
        super().__init__()
        self.base = backbone.base

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.base.get_image_features(pixel_values=pixels)
        features = getattr(features, 'pooler_output', features)
        return torch.stack(list(features)) if isinstance(features, (list, tuple)) else features
