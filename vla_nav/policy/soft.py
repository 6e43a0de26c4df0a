"""Vectors that enter a language model without being tokens of its vocabulary.

Works by hooks on the input embedding, the language blocks and the vision blocks, so that it does
not depend on a model's own forward. The hooks stay in place and read `SoftPort.inputs`, which
holds from one forward to the next: gradient checkpointing runs blocks again in the backward pass.
"""

from __future__ import annotations

import inspect
import weakref
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from vla_nav.policy.parts import blocks


@dataclass
class SoftInputs:
    """What one forward pass takes beside its tokens."""

    positions: torch.Tensor
    """int64 (B, n): positions whose embeddings are replaced."""
    embeddings: torch.Tensor | None = None
    """(B, n, D); None for zeros."""
    attend: torch.Tensor | None = None
    """bool (B, L): positions that see each other and the whole prompt, not only what is before."""
    valid: torch.Tensor | None = None
    """bool (B, L): positions that are not padding; needed with `attend`."""
    film: list[tuple[torch.Tensor, torch.Tensor]] | None = None
    """Per vision block gamma and beta, (B, V): its output x becomes x (1 + gamma) + beta."""


class StateEncoder(nn.Module):
    """The base's velocity as one soft token of the language model (PaLM-E's robot state)."""

    def __init__(self, action_dim: int, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(action_dim, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width)
        )

    def forward(self, velocity: torch.Tensor) -> torch.Tensor:
        """Normalised velocities (B, A) to embeddings (B, 1, D)."""
        return self.body(velocity)[:, None]


class FiLM(nn.Module):
    """Per vision block a scale and a shift computed from the sentence (arXiv 1709.07871)."""

    def __init__(self, width: int, blocks: int, vision_width: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, 2 * vision_width) for _ in range(blocks))
        for layer in self.layers:  # begins as the vision encoder is
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, sentence: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Mean embeddings of the sentence (B, D) to gamma and beta (B, V) of each block."""
        return [layer(sentence).chunk(2, dim=-1) for layer in self.layers]


class SoftPort:
    """The hooks of one model."""

    def __init__(self, model: nn.Module, layers: int):
        self.inputs: SoftInputs | None = None
        self._length = 0
        model.get_input_embeddings().register_forward_hook(self._embed)
        for block in blocks(model, 'language', layers):
            block.register_forward_pre_hook(self._open, with_kwargs=True)
        self._model = weakref.proxy(model)  # which holds this by its hooks
        self._film_installed = False

    def install_film(self) -> None:
        """Put hooks on the vision blocks."""
        if not self._film_installed:
            for index, block in enumerate(blocks(self._model, 'vision')):
                block.register_forward_hook(self._modulator(index))
            self._film_installed = True

    def _embed(self, module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor | None:
        soft = self.inputs
        if soft is None or output.shape[1] <= int(soft.positions.max()):
            return None  # a later step of generation
        vectors = soft.embeddings
        if vectors is None:
            vectors = output.new_zeros(*soft.positions.shape, output.shape[-1])
        index = soft.positions[..., None].expand(-1, -1, output.shape[-1])
        return output.scatter(1, index, vectors.to(output.dtype))

    def _open(self, block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        soft = self.inputs
        if soft is None or soft.attend is None:
            return None
        place = _mask_place(type(block))
        if place < len(args):
            mask = _opened(args[place], soft, block)
            return (*args[:place], mask, *args[place + 1:]), kwargs
        mask = _opened(kwargs.get('attention_mask'), soft, block)
        return args, {**kwargs, 'attention_mask': mask}

    def _modulator(self, index: int):
        def modulate(module: nn.Module, args: tuple, output):
            soft = self.inputs
            if soft is None or soft.film is None:
                return None
            x = output[0] if isinstance(output, tuple) else output
            gamma, beta = soft.film[index]
            if x.ndim == 2:  # patches of all images in one row, as Qwen-VL has them
                repeats = len(x) // len(gamma)
                gamma, beta = (v.repeat_interleave(repeats, 0) for v in (gamma, beta))
            else:
                gamma, beta = gamma[:, None], beta[:, None]
            x = x * (1 + gamma.to(x.dtype)) + beta.to(x.dtype)
            return (x, *output[1:]) if isinstance(output, tuple) else x

        return modulate


@lru_cache
def _mask_place(kind: type[nn.Module]) -> int:
    """Which argument of a block's forward the attention mask is (some models pass it by place)."""
    return list(inspect.signature(kind.forward).parameters).index('attention_mask') - 1


def _opened(mask: torch.Tensor | None, soft: SoftInputs, block: nn.Module) -> torch.Tensor:
    """The block's own mask with the rows of `attend` open to every position that is real."""
    rows, length = soft.attend.shape
    if mask is None:
        allowed = soft.valid[:, None, None, :].expand(rows, 1, length, length)
        if all(getattr(module, 'is_causal', True) for module in block.modules()):
            allowed = allowed & torch.ones_like(allowed[0, 0]).tril()
    else:
        allowed = mask if mask.dtype == torch.bool else mask >= 0
    allowed = allowed | (soft.attend[:, None, :, None] & soft.valid[:, None, None, :])
    if mask is None or mask.dtype == torch.bool:
        return allowed
    closed = torch.finfo(mask.dtype).min
    return torch.zeros_like(allowed, dtype=mask.dtype).masked_fill(~allowed, closed)
