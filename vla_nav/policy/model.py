"""Backbone, context and head as one model: what a variant trains and a policy runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vla_nav.policy.action_tokens import ActionTokens, generate_ids, token_loss
from vla_nav.policy.backbone import Backbone
from vla_nav.policy.context import ContextReader
from vla_nav.policy.heads import Head, HeadState, build_head
from vla_nav.policy.oft import PlaceholderReader
from vla_nav.policy.prompts import Tokens
from vla_nav.policy.variant import Variant

HUBER_DELTA = 0.3
"""Of normalised actions: errors beyond this count linearly."""


def make_reader(
    backbone: Backbone, variant: Variant, height: int, width: int, action_dim: int,
    head: Head | None = None,
) -> ContextReader:
    """Return what reads the head's input from the backbone, as the variant decodes."""
    if variant.decode == 'chunk_oft':
        placeholders = variant.chunk * action_dim
        return PlaceholderReader(backbone, variant.context, height, width, placeholders, head)
    return ContextReader(backbone, variant.context, height, width, head)


def make_head(
    backbone: Backbone, variant: Variant, height: int, width: int, action_dim: int
) -> Head:
    """Make the head of a variant for a backbone and image size, freshly initialised."""
    shape = make_reader(backbone, variant, height, width, action_dim).shape
    vision = backbone.vision_shape if variant.head.film else None
    return build_head(variant.head, *shape, action_dim, vision)


def action_loss(
    chunks: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor, kind: str
) -> torch.Tensor:
    """Huber or L1 loss of normalised chunks (..., K, A) where mask (..., K) is not zero."""
    if kind == 'huber':
        each = functional.huber_loss(chunks, targets, reduction='none', delta=HUBER_DELTA)
    else:
        each = functional.l1_loss(chunks, targets, reduction='none')
    weights = mask[..., None].to(each.dtype)
    return (each * weights).sum() / (weights.sum() * chunks.shape[-1]).clamp(min=1)


class PolicyModel(nn.Module):
    """Frames and sentences to normalised chunks; `forward` is the loss, for training loops."""

    def __init__(
        self, backbone: Backbone, variant: Variant, head: Head, height: int, width: int
    ):
        super().__init__()
        self.backbone = backbone
        self.variant = variant
        self.vlm = backbone.model  # registered, so that accelerate and optimisers see it
        self.head = head.to(backbone.device)
        self.reader = make_reader(backbone, variant, height, width, head.action_dim, head)
        self.words = ActionTokens(variant.tokens) if variant.decode == 'tokens' else None

    def tokens(self, instructions: Sequence[str]) -> Tokens:
        """What of a decision's inputs depends on the instructions alone."""
        if self.words is not None:
            return self.reader.tokens(instructions, side='left')
        return self.reader.tokens(instructions)

    @torch.inference_mode()
    def decide(
        self, batch: Tokens, state: HeadState, inputs: torch.Tensor | None = None,
        velocity: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, HeadState]:
        """Normalised chunks (B, K, A) for one frame per row, and the state after it.

        batch: of `tokens` and `Backbone.pixels`; inputs: (B, extra); velocity: (B, A).
        """
        if self.words is not None:
            count = self.variant.chunk * self.head.action_dim
            soft = self.reader.soft(batch, velocity)
            ids = generate_ids(self.backbone, batch, self.words.ids.tolist(), count, soft)
            chunks = torch.from_numpy(self.words.decode(ids.cpu().numpy()))
            chunks = chunks.view(len(ids), self.variant.chunk, -1).to(self.backbone.device)
            return chunks, HeadState(state.age + 1)
        context = self.reader.from_batch(batch, velocity)
        extra = None if inputs is None else inputs[:, None]
        chunks, state = self.head(context[:, None], extra, state)
        return chunks[:, 0], state

    def context(
        self, images: Sequence[np.ndarray], instructions: Sequence[str],
        velocity: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The contexts (B, n, D) at the head's input: what comparisons speak of.

        With action tokens it is the hidden state that the first of them is predicted from.
        """
        return self.reader(images, instructions, velocity)

    def forward(
        self, images: Sequence[np.ndarray], instructions: Sequence[str], targets: torch.Tensor,
        mask: torch.Tensor, inputs: torch.Tensor | None = None,
        velocity: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Loss of B sequences of T frames.

        images: B * T uint8 frames, row after row; instructions: B * T; targets: (B, T, K, A)
        normalised; mask: (B, T, K), steps that are real; inputs: (B, T, extra); velocity:
        (B, T, A) normalised.
        """
        rows, steps = targets.shape[:2]
        velocity = None if velocity is None else velocity.flatten(0, 1)
        if self.words is not None:
            return self._token_loss(images, instructions, targets, mask, velocity)
        context = self.context(images, instructions, velocity).unflatten(0, (rows, steps))
        chunks, _ = self.head(context, inputs)
        return action_loss(chunks, targets, mask, self.variant.loss)

    def _token_loss(self, images, instructions, targets, mask, velocity) -> torch.Tensor:
        flat = targets.flatten(0, 1)  # (B * T, K, A)
        ids = self.words.encode(flat.cpu().numpy()).reshape(len(flat), -1)
        batch = self.reader.tokens(instructions, suffixes=ids.tolist())
        soft = self.reader.soft(batch, velocity, after=ids.shape[1])
        batch |= self.backbone.pixels(images)
        weights = mask.flatten(0, 1).repeat_interleave(flat.shape[-1], dim=1)
        ids = torch.from_numpy(ids).to(self.backbone.device)
        return token_loss(self.backbone, batch, ids, weights.to(ids.device), soft,
                          self.words.ids.tolist())


def answer_ids(backbone: Backbone, answers: Sequence[str]) -> list[list[int]]:
    """Token ids of answers, which end with the end-of-text token, where the tokenizer has one."""
    tokenizer = backbone.tokenizer
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    return [[*tokenizer(a, add_special_tokens=False)['input_ids'], *end] for a in answers]


def language_loss(
    backbone: Backbone, images: Sequence[np.ndarray], prompts: Sequence[str],
    answers: Sequence[str],
) -> torch.Tensor:
    """Cross-entropy of answers after prompts: the vision-language half of co-fine-tuning.

    It is the mean over all tokens of the answers (`answer_ids`).
    """
    ids = answer_ids(backbone, answers)
    longest = max(map(len, ids))
    height, width = images[0].shape[:2]
    padded = [[*row, *[backbone.pad_id] * (longest - len(row))] for row in ids]
    batch = backbone.tokens(prompts, height, width, padded) | backbone.pixels(images)
    mask = torch.tensor([[1.0] * len(row) + [0.0] * (longest - len(row)) for row in ids])
    padded_ids = torch.tensor(padded, device=backbone.device)
    return token_loss(backbone, batch, padded_ids, mask.to(backbone.device))
