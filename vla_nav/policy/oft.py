"""Parallel decoding of a whole chunk: the mechanism of OpenVLA-OFT (arXiv 2502.19645).

After the prompt come K x A placeholder positions whose embeddings are zero. They see the prompt
and each other in both directions, so one forward pass fills all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vla_nav.policy.backbone import Backbone
from vla_nav.policy.context import ContextReader, ContextSettings
from vla_nav.policy.heads import Head
from vla_nav.policy.prompts import Tokens
from vla_nav.policy.soft import SoftInputs


class PlaceholderReader(ContextReader):
    """Contexts (B, K * A, D): the last hidden states of the placeholders."""

    def __init__(
        self, backbone: Backbone, settings: ContextSettings, height: int, width: int,
        placeholders: int, head: Head | None = None,
    ):
        self.placeholders = placeholders
        super().__init__(backbone, settings, height, width, head)
        self.film = head.film if head is not None else None
        if self.film is not None:
            backbone.port.install_film()

    @property
    def shape(self) -> tuple[int, int]:
        return self.placeholders, self.backbone.width

    def suffix(self) -> list[int]:
        return super().suffix() + [self.backbone.pad_id] * self.placeholders

    def tokens(
        self, instructions: Sequence[str], suffixes: Sequence[Sequence[int]] | None = None,
        side: str = 'right',
    ) -> Tokens:
        batch = super().tokens(instructions, suffixes, side)
        if self.film is not None:
            batch['sentence'] = self._sentences(instructions)
        return batch

    def soft(self, batch: Tokens, velocity: torch.Tensor | None, after: int = 0) -> SoftInputs:
        valid = batch['attention_mask'].bool()
        last = valid.sum(1) - 1  # padded on the right
        back = torch.arange(self.placeholders - 1, -1, -1, device=last.device)
        places = last[:, None] - back
        attend = torch.zeros_like(valid).scatter(1, places, True)
        embeddings = None
        state = super().soft(batch, velocity, self.placeholders)
        if state is not None:
            places = torch.cat([state.positions, places], dim=1)
            zeros = state.embeddings.new_zeros(len(last), self.placeholders, self.backbone.width)
            embeddings = torch.cat([state.embeddings, zeros], dim=1)
        film = self.film(batch['sentence']) if self.film is not None else None
        return SoftInputs(places, embeddings, attend, valid, film)

    def from_batch(self, batch: Tokens, velocity: torch.Tensor | None = None) -> torch.Tensor:
        soft = self.soft(batch, velocity)
        states = self.backbone.hidden_states(batch, self._last_only, soft)
        layer = states.layers[-1 if self._last_only else self.settings.layer]
        places = soft.positions[:, -self.placeholders:]
        return layer.gather(1, places[..., None].expand(-1, -1, layer.shape[-1])).float()

    def _sentences(self, instructions: Sequence[str]) -> torch.Tensor:
        """Mean input embeddings (B, D) of the instructions' tokens, as FiLM wants them."""
        embed = self.backbone.model.get_input_embeddings()
        self.backbone.feed(None)
        rows = []
        for instruction in instructions:
            ids = self.backbone.tokenizer(instruction, add_special_tokens=False)['input_ids']
            with torch.no_grad():
                vectors = embed(torch.tensor([ids], device=self.backbone.device))
            rows.append(vectors.mean(1))
        return torch.cat(rows).float()
