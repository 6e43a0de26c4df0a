"""Self-attention as an operator of ONNX Runtime, in the graphs that are written for it.

Written as torch has it, its many small steps take a tenth of a small model's time. The operators
are those of https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

IMAGE = ('CLIPAttention', 'Idefics3VisionAttention', 'SiglipAttention', 'SmolVLMVisionAttention')
TEXT = ('LlamaAttention',)
"""transformers' layers whose arithmetic is that of the operators, without a mask."""


def with_operator(attention: nn.Module) -> nn.Module:
    """A layer that is an operator where it is exported without a mask, and itself elsewhere.

    Others than `IMAGE` and `TEXT`, and those whose queries, keys and values are not one product,
    are returned as they are.
    """
    product = getattr(attention._modules.get('q_proj'), 'product', None)
    if product is None or not hasattr(torch.onnx, 'ops'):  # torch before 2.8
        return attention
    name = type(attention).__name__
    if name in IMAGE and product.bias is not None:
        return _Attention(attention, _image)
    if name in TEXT and attention.num_key_value_groups == 1:
        return _Attention(attention, _text)
    return attention


class _Attention(nn.Module):

    def __init__(self, attention: nn.Module, operator: Callable[..., torch.Tensor]):
        super().__init__()
        self.attention, self._operator = attention, operator

    def forward(self, hidden_states: torch.Tensor, attention_mask=None, **others):
        """Input and output (B, L, D)."""
        if attention_mask is None and torch.onnx.is_in_onnx_export():
            return self._operator(self.attention, hidden_states, **others), None
        return self.attention(hidden_states, attention_mask=attention_mask, **others)


def _image(attention: nn.Module, x: torch.Tensor, **_) -> torch.Tensor:
    product = attention.q_proj.product
    return attention.out_proj(_write(
        'Attention', x, (x, product.weight.T, product.bias),
        num_heads=attention.num_heads, scale=attention.scale))


def _text(attention: nn.Module, x: torch.Tensor, position_embeddings, **_) -> torch.Tensor:
    queries, keys, values = (
        getattr(attention, name)(x) for name in ('q_proj', 'k_proj', 'v_proj'))
    half = attention.head_dim // 2  # of the two that are alike
    tables = [table[0, :, :half] for table in position_embeddings]
    first = torch.zeros(1, dtype=torch.long)
    heads = queries.shape[-1] // attention.head_dim
    turned = [_write('RotaryEmbedding', each, (each, first, *tables), num_heads=heads)
              for each in (queries, keys)]
    return attention.o_proj(_write(
        'MultiHeadAttention', values, (*turned, values),
        num_heads=heads, scale=attention.scaling, unidirectional=1))


def _write(name: str, like: torch.Tensor, inputs: tuple, **attributes) -> torch.Tensor:
    return torch.onnx.ops.symbolic(f'com.microsoft::{name}', inputs, attributes,
                                   dtype=like.dtype, shape=like.shape, version=1)
