"""Fewer and larger kernels: the numbers of the module they are made from, and its parameters."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaMLP, GemmaRMSNorm
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from vla_nav.policy.fused import fused


class Attention(nn.Module):
    """Three layers; `other` is what keys and values are made from."""

    def __init__(self, width=8, wide=8, bias=True):
        super().__init__()
        self.q_proj = nn.Linear(width, 6, bias)
        self.k_proj = nn.Linear(wide, 4, bias)
        self.v_proj = nn.Linear(wide, 4, bias)

    def forward(self, x, other=None):
        other = x if other is None else other
        return torch.cat([self.v_proj(other), self.q_proj(x), self.k_proj(other)], -1)


def products(module):
    """How many matrix products a call of a module takes."""
    calls = []

    class Count(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            calls.append(function is nn.functional.linear)
            return function(*args, **(kwargs or {}))

    def run(*inputs):
        calls.clear()
        with Count():
            out = module(*inputs)
        return out, sum(calls)

    return run


@pytest.mark.parametrize('bias', [True, False])
def test_layers_of_one_input_are_one_product(bias):
    plain = Attention(bias=bias)
    twin = fused(plain)
    for x in torch.randn(3, 5, 8):
        (expected, three), (got, one) = products(plain)(x), products(twin)(x)
        torch.testing.assert_close(got, expected)
        assert (three, one) == (3, 1)


def test_inputs_that_differ_are_kept_apart():
    plain = Attention()
    twin, x, other = fused(plain), torch.randn(5, 8), torch.randn(5, 8)
    torch.testing.assert_close(twin(x, other), plain(x, other))
    torch.testing.assert_close(twin(other, x), plain(other, x))


def test_layers_that_cannot_be_one_stay():
    plain = Attention(wide=7)
    assert type(fused(plain).q_proj) is nn.Linear
    assert type(fused(Attention(bias=False).bfloat16()).q_proj) is not nn.Linear


def test_the_module_itself_stays_and_so_does_its_file(tmp_path):
    plain, x = Attention(), torch.randn(5, 8)
    names = {name: value.clone() for name, value in plain.state_dict().items()}
    expected = plain(x)
    twin = fused(plain)
    assert type(plain.q_proj) is nn.Linear
    torch.testing.assert_close(plain(x), expected)
    torch.testing.assert_close(dict(plain.state_dict()), names)
    save_file(plain.state_dict(), tmp_path / 'weights.safetensors')
    with torch.no_grad():
        plain.v_proj.weight.add_(1)
    torch.testing.assert_close(twin(x), plain(x))


def test_a_second_twin_takes_no_memory():
    plain = Attention()
    first, second = fused(plain), fused(plain)
    assert first.q_proj.product.weight.data_ptr() == second.q_proj.product.weight.data_ptr()
    assert plain.q_proj.weight.data_ptr() == first.q_proj.product.weight.data_ptr()


def test_a_module_whose_twin_was_made_in_inference_mode_can_be_trained():
    plain, x = Attention(), torch.randn(5, 8)
    with torch.inference_mode():
        fused(plain)(x)
    plain(x).sum().backward()
    assert all(p.grad is not None and not p.is_inference() for p in plain.parameters())


def test_gate_and_up():
    config = LlamaConfig(hidden_size=8, intermediate_size=12, num_attention_heads=2)
    for plain in (LlamaMLP(config), GemmaMLP(config)):
        x = torch.randn(2, 3, 8)
        (expected, three), (got, two) = products(plain)(x), products(fused(plain))(x)
        torch.testing.assert_close(got, expected)
        assert (three, two) == (3, 2)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('kind', [LlamaRMSNorm, GemmaRMSNorm])
def test_rms_norms_are_those_of_torch(kind, dtype):
    plain = kind(64).to(dtype)
    nn.init.uniform_(plain.weight, 0.5, 2.0)
    twin, x = fused(plain), torch.randn(3, 64, dtype=dtype)
    assert type(twin) is not kind
    torch.testing.assert_close(twin(x), plain(x), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def test_a_norm_that_is_none_in_spite_of_its_name_stays():
    class ShiftedRMSNorm(LlamaRMSNorm):
        def forward(self, x):
            return super().forward(x) + 0.1

    plain = ShiftedRMSNorm(8)
    assert type(fused(plain)) is ShiftedRMSNorm
