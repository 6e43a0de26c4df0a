"""First stage of pretraining: the vision tower, from dense labels of every patch.

A linear layer reads colour, shape and distance of the object in each patch off the tower's last
hidden state. It is thrown away afterwards; what it taught stays.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vla_nav.training.grounding import COLOUR_NAMES, DISTANCES, SHAPE_NAMES, distance_bin
from vla_nav.training.precision import half_precision
from vla_nav.training.resume import cosine_rate, load_state, save_state
from vla_nav.training.views import Views

SAVE_EVERY_STEPS = 200


@dataclass(frozen=True)
class VisionSettings:
    """How the vision tower is trained."""

    samples: int = 150_000
    """Images seen, counting repeats."""
    batch: int = 64
    rate: float = 1.5e-3
    warm_up: int = 200
    """Steps until the learning rate is at its peak."""
    weight_decay: float = 0.05


class PatchLabels(nn.Module):
    """The dense head: (B, P, width) -> logits of colour, shape and distance bin."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = (len(COLOUR_NAMES) + 1, len(SHAPE_NAMES) + 1, DISTANCES)
        self.linear = nn.Linear(width, sum(self.sizes))

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.linear(hidden).split(self.sizes, dim=-1)


def train_vision(tower: nn.Module, width: int, views: Views, settings: VisionSettings, seed: int,
                 state: Path, report: Callable[[int, dict], None]) -> PatchLabels:
    """Train `tower` in place; goes on from `state` where that file exists.

    `report(samples, figures)` is called after each step.
    """
    torch.manual_seed(seed)
    # On CPUs, plain attention trains 1.5 times as fast as the fused one at this length.
    tower.set_attn_implementation('eager')
    head = PatchLabels(width)
    modules = {'tower': tower, 'head': head}
    parameters = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, settings.rate, betas=(0.9, 0.98),
                                  weight_decay=settings.weight_decay)
    steps, step = settings.samples // settings.batch, 0
    if state.exists():
        step = load_state(state, modules, optimizer)['step']
        report(step * settings.batch, {})
    tower.train()
    with ThreadPoolExecutor(1) as loader:
        pending = loader.submit(_batch, views, settings.batch, seed, step)
        while step < steps:
            pixels, colour, shape, distance = pending.result()
            pending = loader.submit(_batch, views, settings.batch, seed, step + 1)
            for group in optimizer.param_groups:
                group['lr'] = cosine_rate(step, steps, settings.warm_up, settings.rate)
            with half_precision():
                hidden = tower(pixel_values=pixels).last_hidden_state
            losses, right = patch_losses(head(hidden.float()), colour, shape, distance)
            sum(losses).backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            report(settings.batch, {'loss': float(sum(losses).detach()), **right})
            if step % SAVE_EVERY_STEPS == 0 or step == steps:
                save_state(state, modules, optimizer, {'step': step})
    tower.eval()
    return head


def patch_losses(logits: tuple[torch.Tensor, ...], colour: torch.Tensor, shape: torch.Tensor,
                 distance: torch.Tensor) -> tuple[list[torch.Tensor], dict[str, float]]:
    """Losses and the share of object patches named right; labels are (B, P), 0 = no object."""
    seen = colour > 0
    # Most patches show no object: they would drown the rest.
    weight = torch.where(seen, 1.0, 0.15)
    losses, right = [], {}
    for name, output, label in (('colour', logits[0], colour), ('shape', logits[1], shape)):
        each = functional.cross_entropy(output.transpose(1, 2), label, reduction='none')
        losses.append((each * weight).sum() / weight.sum())
        right[name] = float((output.argmax(-1) == label)[seen].float().mean())
    losses.append(0.5 * functional.cross_entropy(logits[2][seen], distance[seen]))
    right['distance'] = float((logits[2][seen].argmax(-1) == distance[seen]).float().mean())
    return losses, right


def to_pixels(images: np.ndarray) -> torch.Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W) in [-1, 1], as the nano processor does."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def _batch(views: Views, size: int, seed: int, step: int) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng((seed, step))
    chosen = rng.integers(len(views), size=size)
    images = np.stack([_vary(views.image(i), rng) for i in chosen])
    labels = [views.colour[chosen].astype(np.int64), views.shape[chosen].astype(np.int64),
              distance_bin(views.distance_m[chosen].astype(np.float32))]
    # Neither colour, shape nor distance knows left from right.
    mirrored = rng.random(size) < 0.5
    for array in (images, *labels):
        array[mirrored] = array[mirrored][:, :, ::-1]
    return (to_pixels(images),
            *(torch.from_numpy(label.reshape(size, -1)) for label in labels))


def _vary(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast and noise as cameras do."""
    if rng.random() < 0.3:
        return image
    gain, offset = rng.uniform(0.75, 1.3), rng.uniform(-20, 20)
    varied = image.astype(np.float32) * gain + offset
    if rng.random() < 0.5:
        varied += rng.normal(0, rng.uniform(0, 6), image.shape).astype(np.float32)
    return np.clip(varied, 0, 255).astype(np.uint8)
