"""What is minimised: modules from a batch to its loss, and to the actions it predicts."""

from __future__ import annotations

import torch
from torch import nn

from vla_nav.policy import Head, PolicyModel, Variant, language_loss
from vla_nav.policy.model import action_loss, answer_ids
from vla_nav.training.samples import Batch


class Objective(nn.Module):
    """`forward` is a batch's share of the loss of the whole batch, so that parts add up."""

    def __init__(self, head: Head, variant: Variant, device: torch.device, bf16: bool) -> None:
        super().__init__()
        self.head = head.to(device)
        self.variant = variant
        self.device = device
        self._bf16 = bf16

    def forward(self, batch: Batch) -> torch.Tensor:
        with self.autocast():
            return self.loss(batch).float()

    def loss(self, batch: Batch) -> torch.Tensor:
        raise NotImplementedError

    def predict(self, batch: Batch) -> torch.Tensor:
        """Normalised chunks (B, T, K, A)."""
        raise NotImplementedError

    def autocast(self):
        """Compute in bfloat16 where that was asked for."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)

    def _numbers(self, batch: Batch) -> tuple:
        """Targets, mask, inputs and velocity, on the device."""
        tensors = (batch.targets, batch.mask, batch.inputs, batch.velocity)
        return tuple(None if t is None else t.to(self.device) for t in tensors)


class FrameObjective(Objective):
    """A whole policy on images; questions are mixed in at the variant's share (RT-2).

    Every token of a batch's answers counts as much, whichever part of the batch it is in.
    """

    def __init__(self, model: PolicyModel, bf16: bool) -> None:
        super().__init__(model.head, model.variant, model.backbone.device, bf16)
        self.model = model

    def train(self, mode: bool = True) -> FrameObjective:
        super().train(mode)
        if self.variant.tune == 'head':
            self.model.vlm.eval()
        return self

    def loss(self, batch: Batch) -> torch.Tensor:
        loss = self.model(batch.images, batch.instructions, *self._numbers(batch)) * batch.weight
        if not batch.questions:
            return loss
        images, prompts, answers = zip(*((q.image, q.prompt, q.answer) for q in batch.questions))
        backbone = self.model.backbone
        own, every = (sum(map(len, answer_ids(backbone, said)))
                      for said in (answers, batch.answers))
        share = self.variant.vision_language * (own / max(every, 1))
        return loss + share * language_loss(backbone, images, prompts, answers)

    def predict(self, batch: Batch) -> torch.Tensor:
        _, _, inputs, velocity = self._numbers(batch)
        rows, steps = batch.targets.shape[:2]
        model = self.model
        velocity = None if velocity is None else velocity.flatten(0, 1)
        if model.words is None:
            context = model.context(batch.images, batch.instructions, velocity)
            return model.head(context.unflatten(0, (rows, steps)), inputs)[0]
        tokens = model.tokens(batch.instructions) | model.backbone.pixels(batch.images)
        state = model.head.initial_state(rows * steps)
        return model.decide(tokens, state, None, velocity)[0].unflatten(0, (rows, steps))


class ContextObjective(Objective):
    """A head on cached contexts."""

    def __init__(self, head: Head, variant: Variant, noise: float, device: torch.device) -> None:
        super().__init__(head, variant, device, bf16=False)
        self._noise = noise

    def loss(self, batch: Batch) -> torch.Tensor:
        targets, mask, inputs, _ = self._numbers(batch)
        contexts = batch.contexts.to(self.device).float()
        if self._noise:
            contexts = contexts + self._noise * contexts.std() * torch.randn_like(contexts)
        chunks, _ = self.head(contexts, inputs)
        return action_loss(chunks, targets, mask, self.variant.loss) * batch.weight

    def predict(self, batch: Batch) -> torch.Tensor:
        _, _, inputs, _ = self._numbers(batch)
        return self.head(batch.contexts.to(self.device).float(), inputs)[0]
