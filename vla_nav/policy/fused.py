"""A model's blocks with fewer and larger kernels: the same parameters, the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from vla_nav.policy.operators import with_operator

SIBLINGS = (('q_proj', 'k_proj', 'v_proj'), ('gate_proj', 'up_proj'))
"""Names of linear layers that are given the same input."""


def fused(module: nn.Module) -> nn.Module:
    """A twin of a module, which stays as it is; parameters are shared.

    Linear layers with the same input are one product, and RMS norms torch's own, which is one
    kernel on a GPU. The weights of such layers are moved in memory, one behind the other. Some
    attention layers are one operator where they are exported.
    """
    norm = _norm(module)
    if norm is not None:
        return norm
    twin = module.__new__(type(module))
    twin.__dict__ = {**module.__dict__, '_modules': {
        name: child if child is None else fused(child)
        for name, child in module._modules.items()}}
    for names in SIBLINGS:
        layers = [twin._modules.get(name) for name in names]
        if _alike(layers):
            twin._modules.update(zip(names, _parts(layers)))
    return with_operator(twin)


class _Part(nn.Module):
    """One of several linear layers that are computed together."""

    def __init__(self, product: _Product, index: int):
        super().__init__()
        self.product, self.index = product, index

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.product(x)[self.index]


class _Product(nn.Module):
    """Linear layers as one, computed once for all of them that are called with the same input."""

    def __init__(self, layers: Sequence[nn.Linear]):
        super().__init__()
        weight = _joined([layer.weight for layer in layers])
        bias = None if layers[0].bias is None else _joined([layer.bias for layer in layers])
        self.register_buffer('weight', weight, persistent=False)
        self.register_buffer('bias', bias, persistent=False)
        self._sizes = [layer.out_features for layer in layers]
        self._last = _Last()

    def forward(self, x: torch.Tensor) -> Sequence[torch.Tensor]:
        last = self._last
        if last.input is not x:
            whole = functional.linear(x, self.weight, self.bias)
            last.input, last.outputs, last.left = x, whole.split(self._sizes, -1), len(self._sizes)
        outputs = last.outputs
        last.left -= 1
        if not last.left:
            last.input, last.outputs = None, ()
        return outputs


@dataclass
class _Last:
    """What a product was last given and gave, until every part has been asked for."""

    input: torch.Tensor | None = None
    outputs: Sequence[torch.Tensor] = ()
    left: int = 0


class _Norm(nn.Module):
    """The RMS norm of torch (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, gain: torch.Tensor, eps: float):
        super().__init__()
        self.register_buffer('gain', gain, persistent=False)
        self._eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling():  # As ONNX Runtime knows it, to make it one kernel.
            wide = x.float()
            return self.gain * (wide / (wide.pow(2).mean(-1, True) + self._eps).sqrt()).to(x.dtype)
        return functional.rms_norm(x, self.gain.shape, self.gain, self._eps)


def _parts(layers: Sequence[nn.Linear]) -> list[_Part]:
    product = _Product(layers)
    return [_Part(product, index) for index in range(len(layers))]


def _alike(layers: Sequence[nn.Module | None]) -> bool:
    """Whether they are plain linear layers that could be one."""
    return all(type(layer) is nn.Linear for layer in layers) and 1 == len({
        (layer.in_features, layer.bias is None, layer.weight.dtype, layer.weight.device)
        for layer in layers})


@torch.inference_mode(False)  # a tensor made in inference mode can never be trained again
@torch.no_grad()
def _joined(parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """One tensor in whose memory the parameters lie one behind the other; moved if need be."""
    first = parameters[0].data
    start, place = first.storage_offset(), first.storage_offset()
    whole = None
    for parameter in parameters:
        data = parameter.data
        if (data.untyped_storage().data_ptr() != first.untyped_storage().data_ptr()
                or data.storage_offset() != place or not data.is_contiguous()):
            whole = torch.cat([p.data for p in parameters])
            break
        place += data.numel()
    if whole is None:
        shape = (sum(len(p) for p in parameters), *first.shape[1:])
        return first.as_strided(shape, first.stride(), start)
    for parameter, part in zip(parameters, whole.split([len(p) for p in parameters])):
        parameter.data = part
    return whole


@torch.no_grad()
def _norm(module: nn.Module) -> _Norm | None:
    """The module as torch's RMS norm, if that is what it turns out to be."""
    weight = getattr(module, 'weight', None)
    eps = getattr(module, 'variance_epsilon', getattr(module, 'eps', None))
    if not type(module).__name__.endswith('RMSNorm') or eps is None or weight is None:
        return None
    probe = torch.linspace(-2, 3, weight.numel(), device=weight.device).to(weight.dtype)
    expected = module(probe[None])
    for gain in (weight.data, 1 + weight.data):  # Gemma's is about one
        found = _Norm(gain, eps)
        error = (found(probe[None]) - expected).abs().max()
        if error <= 2 * torch.finfo(weight.dtype).eps * expected.abs().max():
            return found
    return None
