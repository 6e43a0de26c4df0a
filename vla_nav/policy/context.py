"""The context vector: what a backbone made of frame and instruction, as the head receives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from vla_nav.policy.backbone import Backbone, HiddenStates
from vla_nav.policy.errors import PolicyError, SettingsError
from vla_nav.policy.heads import Head
from vla_nav.policy.prompts import IMAGE, Tokens
from vla_nav.policy.registry import Registry
from vla_nav.policy.settings import from_dict
from vla_nav.policy.soft import SoftInputs

INSTRUCTION = '{instruction}'

Pooling = Callable[[torch.Tensor, HiddenStates], torch.Tensor]
POOLINGS: Registry[Pooling] = Registry('pooling')


@dataclass(frozen=True)
class ContextSettings:
    """Which hidden states make the context."""

    layer: int = -1
    """Index into the hidden states: 0 the embeddings, then each block; -1 the last, normalised."""
    pooling: str = 'last+image'
    """last, mean, max, or last+image: the last prompt token, then every image token."""
    prompt: str = '{image}{instruction}'
    """Prompt text; `{image}` is where the image goes (in front if it is left out)."""

    def __post_init__(self) -> None:
        POOLINGS[self.pooling]
        if self.prompt.count(INSTRUCTION) != 1:
            raise SettingsError(
                f"context.prompt is '{self.prompt}'; expected {INSTRUCTION} in it exactly once, "
                'as the context must depend on the instruction'
            )
        if self.prompt.count(IMAGE) > 1:
            raise SettingsError(f"context.prompt is '{self.prompt}'; expected one {IMAGE} at most")

    def text(self, instruction: str) -> str:
        """The prompt for one instruction, the image place still in it."""
        return self.prompt.replace(INSTRUCTION, instruction)

    @classmethod
    def from_dict(cls, data: dict) -> ContextSettings:
        """Read settings from plain data; unknown keys are refused with the nearest name."""
        return from_dict(cls, data, 'context')

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self)


@POOLINGS.register('last')
def _last(layer: torch.Tensor, states: HiddenStates) -> torch.Tensor:
    rows = torch.arange(len(layer), device=layer.device)
    return layer[rows, states.last][:, None]


@POOLINGS.register('mean')
def _mean(layer: torch.Tensor, states: HiddenStates) -> torch.Tensor:
    weight = states.mask[..., None].to(layer.dtype)
    return (layer * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)


@POOLINGS.register('max')
def _max(layer: torch.Tensor, states: HiddenStates) -> torch.Tensor:
    return layer.masked_fill(~states.mask[..., None], float('-inf')).amax(1, keepdim=True)


@POOLINGS.register('last+image')
def _last_and_image(layer: torch.Tensor, states: HiddenStates) -> torch.Tensor:
    images = layer[states.image].view(len(layer), -1, layer.shape[-1])
    return torch.cat([_last(layer, states), images], dim=1)


class ContextReader:
    """Computes contexts (B, n, D) of frames of one size with one backbone.

    head: needed where it feeds the backbone (its state encoder).
    """

    def __init__(
        self, backbone: Backbone, settings: ContextSettings, height: int, width: int,
        head: Head | None = None,
    ):
        self.backbone = backbone
        self.settings = settings
        self.height, self.width = height, width
        self.state_encoder = head.state_encoder if head is not None else None
        layers = backbone.layers
        if not -layers - 1 <= settings.layer <= layers:
            raise SettingsError(
                f'context.layer is {settings.layer}; this backbone has hidden states 0 to {layers}'
                f' (or -{layers + 1} to -1)'
            )
        _, image, _ = backbone.masks(backbone.tokens([settings.text('go')], height, width))
        self.image_tokens = int(image.sum())
        """Positions of the prompt that hold image features."""
        if settings.pooling == 'last+image' and not self.image_tokens:
            raise SettingsError(
                "context.pooling 'last+image' needs image tokens in the prompt, and a backbone of "
                f"type '{backbone.model_type}' has none; use last, mean or max"
            )
        self._last_only = settings.layer in (-1, layers)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D) of one context."""
        extra = self.image_tokens if self.settings.pooling == 'last+image' else 0
        return 1 + extra, self.backbone.width

    def suffix(self) -> list[int]:
        """Token ids after every prompt, whose embeddings are replaced."""
        return [self.backbone.pad_id] if self.state_encoder is not None else []

    def tokens(
        self, instructions: Sequence[str], suffixes: Sequence[Sequence[int]] | None = None,
        side: str = 'right',
    ) -> Tokens:
        """The part of the inputs that depends on the instructions alone.

        suffixes: further token ids for each row; side: where rows are padded.
        """
        for instruction in instructions:
            self.backbone.check_instruction(instruction)
        texts = [self.settings.text(i) for i in instructions]
        own = self.suffix()
        more = suffixes if suffixes is not None else [[]] * len(texts)
        rows = [[*own, *ids] for ids in more]
        return self.backbone.tokens(texts, self.height, self.width, rows, side)

    def soft(self, batch: Tokens, velocity: torch.Tensor | None, after: int = 0):
        """What enters beside the tokens; `after` positions follow the state's in each row."""
        if self.state_encoder is None:
            return None
        if velocity is None:
            raise PolicyError('the state token needs the velocity of the base, and none was given')
        length = batch['attention_mask'].shape[1]
        places = torch.arange(length, device=self.backbone.device)
        last = (batch['attention_mask'] * places).argmax(1)
        return SoftInputs((last - after)[:, None], self.state_encoder(velocity))

    def from_batch(self, batch: Tokens, velocity: torch.Tensor | None = None) -> torch.Tensor:
        """Contexts (B, n, D), float32, of a batch made by `tokens` and `Backbone.pixels`.

        velocity: normalised (B, A), where the head has a state token.
        """
        soft = self.soft(batch, velocity)
        states = self.backbone.hidden_states(batch, self._last_only, soft)
        layer = states.layers[-1 if self._last_only else self.settings.layer]
        return POOLINGS[self.settings.pooling](layer, states).float()

    def __call__(
        self, images: Sequence[np.ndarray], instructions: Sequence[str],
        velocity: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Contexts (B, n, D), float32, of uint8 (H, W, 3) frames and their instructions."""
        batch = {**self.tokens(instructions), **self.backbone.pixels(images)}
        return self.from_batch(batch, velocity)
