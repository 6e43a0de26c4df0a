"""The weights that train: kept, averaged, and put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class Weights:
    """The trainable parameters of a module, by name."""

    def __init__(self, module: nn.Module) -> None:
        self.parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return name to value."""
        return {name: p.detach() for name, p in self.parameters.items()}

    def copy(self) -> dict[str, torch.Tensor]:
        """Return name to a copy, in main memory."""
        return {name: p.detach().to('cpu', copy=True) for name, p in self.parameters.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Fill in values; raises RuntimeError where names or shapes are others."""
        own = {name: tuple(p.shape) for name, p in self.parameters.items()}
        found = {name: tuple(value.shape) for name, value in state.items()}
        if own != found:
            name = sorted(set(own.items()) ^ set(found.items()))[0][0]
            raise RuntimeError(f"'{name}' is {found.get(name)}, expected {own.get(name)}")
        for name, parameter in self.parameters.items():
            parameter.copy_(state[name])


class Average:
    """An exponential moving average of weights (Polyak and Juditsky 1992)."""

    def __init__(self, weights: Weights, decay: float) -> None:
        self._weights, self._decay = weights, decay
        self._values = {n: p.detach().clone() for n, p in weights.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step; the first ones count for less."""
        decay = min(self._decay, (1 + step) / (10 + step))
        parameters = list(self._weights.parameters.values())
        torch._foreach_lerp_(list(self._values.values()), parameters, 1 - decay)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return name to average."""
        return self._values

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Fill in averages that `state_dict` gave."""
        for name, value in self._values.items():
            value.copy_(state[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the weights' place for a while."""
        own = self._weights.copy()
        self._weights.load_state_dict(self._values)
        try:
            yield
        finally:
            self._weights.load_state_dict(own)
