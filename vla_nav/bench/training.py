"""Training a head from contexts that were kept, over computing them for every frame anew."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vla_nav.bench.result import Goal, Result
from vla_nav.bench.run import Bench
from vla_nav.bench.timing import alternate
from vla_nav.policy.model import action_loss

ROWS, STEPS = 16, 32
"""Sequences in a batch, and frames in each."""
FRESH_STEPS = 2
"""Frames in each where the backbone runs too."""
CACHED = Goal(50)


def measure(bench: Bench) -> Iterator[Result]:
    """Frames per second of optimiser steps, forward and backward, on all cores."""
    torch.set_num_threads(bench.cores)
    model = bench.policy('torch', bench.cores).model
    if model.words is not None:
        return
    optimizer = torch.optim.AdamW(model.head.parameters(), 1e-4)
    dim = model.head.action_dim
    contexts = torch.randn(ROWS, STEPS, *model.head.context_shape)
    images = [frame.image for frame in bench.frames(ROWS)] * FRESH_STEPS
    words = ['go to the red cone'] * len(images)
    velocity = torch.zeros(len(images), dim) if model.head.state_encoder is not None else None

    def train(contexts: torch.Tensor) -> None:
        rows, steps = contexts.shape[:2]
        extra = len(model.head.settings.inputs) * dim
        inputs = torch.zeros(rows, steps, extra) if extra else None
        chunks, _ = model.head(contexts, inputs)
        mask = torch.ones(rows, steps, model.variant.chunk)
        action_loss(chunks, torch.zeros_like(chunks), mask, model.variant.loss).backward()
        optimizer.step()
        optimizer.zero_grad()

    def fresh() -> None:
        with torch.no_grad():
            context = model.context(images, words, velocity)
        train(context.unflatten(0, (ROWS, FRESH_STEPS)))

    times = alternate({'kept': lambda: train(contexts), 'fresh': fresh}, bench.seconds)
    kept, anew = ROWS * STEPS / times['kept'].s, ROWS * FRESH_STEPS / times['fresh'].s
    yield Result('training', f'{model.head.settings.kind} head, contexts kept', kept, 'frames/s',
                 f'contexts computed anew ({anew:.0f} frames/s)', kept / anew, CACHED)
