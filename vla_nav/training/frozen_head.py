"""Train a policy head over cached contexts; the backbone is never touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vla_nav.contract import Contract
from vla_nav.policy import ActionNormaliser, Head, Variant, build_head
from vla_nav.training.demonstrations import Episode
from vla_nav.training.resume import cosine_rate, load_state, save_state


@dataclass(frozen=True)
class HeadTraining:
    """How a head is trained."""

    epochs: int = 30
    batch: int = 32
    """Episodes per step."""
    rate: float = 1e-3
    warm_up: int = 50
    weight_decay: float = 0.01
    validation: float = 0.1
    """Share of the episodes kept for validation."""
    context_noise: float = 0.05
    """Of the contexts' own spread, added while training."""


def fit_normaliser(episodes: Sequence[Episode], contract: Contract) -> ActionNormaliser:
    """Take action statistics from the episodes."""
    command = contract.command
    actions = np.concatenate([episode.actions for episode in episodes])
    normaliser = ActionNormaliser.fit(actions, command.low, command.high)
    normaliser.check(actions, command.fields)
    return normaliser


def train_head(episodes: Sequence[Episode], variant: Variant, normaliser: ActionNormaliser,
               settings: HeadTraining, seed: int, state: Path,
               report: Callable[[int, dict], None]) -> tuple[Head, dict[str, float]]:
    """Train a head on whole episodes; returns it with its validation errors in SI units.

    Goes on from `state` where that file exists; `report(epochs, figures)` as it goes.
    """
    torch.manual_seed(seed)
    tokens, width = episodes[0].contexts.shape[1:]
    head = build_head(variant.head, tokens, width, normaliser.action_dim)
    optimizer = torch.optim.AdamW(head.parameters(), settings.rate,
                                  weight_decay=settings.weight_decay)
    order = np.random.default_rng(seed).permutation(len(episodes))
    kept = max(1, round(settings.validation * len(episodes)))
    validation = [episodes[i] for i in order[:kept]]
    training = [episodes[i] for i in order[kept:]]
    per_epoch = -(-len(training) // settings.batch)
    epoch = 0
    if state.exists():
        epoch = load_state(state, {'head': head}, optimizer)['epoch']
        report(epoch, {})
    while epoch < settings.epochs:
        head.train()
        rng = np.random.default_rng((seed, epoch))
        for number, chosen in enumerate(_batches(training, settings.batch, rng)):
            for group in optimizer.param_groups:
                group['lr'] = cosine_rate(epoch * per_epoch + number, settings.epochs * per_epoch,
                                          settings.warm_up, settings.rate)
            contexts, targets, mask = _pad(chosen, variant.chunk, normaliser)
            contexts += settings.context_noise * contexts.std() * torch.randn_like(contexts)
            chunks, _ = head(contexts)
            loss = _loss(chunks, targets, mask, variant.loss)
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            report(0, {'loss': float(loss.detach())})
        epoch += 1
        report(1, {})
        save_state(state, {'head': head}, optimizer, {'epoch': epoch})
    return head.eval(), validate_head(head, validation, variant, normaliser)


@torch.inference_mode()
def validate_head(head: Head, episodes: Sequence[Episode], variant: Variant,
                  normaliser: ActionNormaliser) -> dict[str, float]:
    """RMSE of the first action of each chunk, per dimension, in SI units."""
    squared, count = 0.0, 0
    for start in range(0, len(episodes), 32):
        part = episodes[start:start + 32]
        contexts, _, mask = _pad(part, variant.chunk, normaliser)
        predicted = normaliser.denormalise(head(contexts)[0][:, :, 0].numpy())
        for row, episode in enumerate(part):
            error = predicted[row, :len(episode.actions)] - episode.actions
            squared = squared + (error ** 2).sum(0)
            count += len(error)
    rmse = np.sqrt(squared / count)
    return {f'rmse_{i}': float(value) for i, value in enumerate(rmse)}


def _loss(chunks: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor,
          kind: str) -> torch.Tensor:
    if kind == 'huber':
        each = functional.huber_loss(chunks, targets, reduction='none', delta=0.3)
    else:
        each = functional.l1_loss(chunks, targets, reduction='none')
    return (each * mask[..., None]).sum() / (mask.sum() * chunks.shape[-1])


def _batches(episodes: Sequence[Episode], size: int, rng: np.random.Generator):
    """Batches of episodes of like length, in random order: little padding."""
    lengths = np.array([len(e.actions) for e in episodes]) * rng.uniform(0.9, 1.1, len(episodes))
    order = np.argsort(lengths)
    starts = rng.permutation(np.arange(0, len(order), size))
    for start in starts:
        yield [episodes[i] for i in order[start:start + size]]


def _pad(episodes: Sequence[Episode], chunk: int, normaliser: ActionNormaliser) -> tuple:
    """Contexts (B, T, n, D), target chunks (B, T, K, A) and the mask of real ones (B, T, K)."""
    length = max(len(e.actions) for e in episodes)
    first = episodes[0]
    contexts = np.zeros((len(episodes), length, *first.contexts.shape[1:]), np.float32)
    targets = np.zeros((len(episodes), length, chunk, normaliser.action_dim), np.float32)
    mask = np.zeros((len(episodes), length, chunk), np.float32)
    for row, episode in enumerate(episodes):
        steps = len(episode.actions)
        contexts[row, :steps] = episode.contexts
        actions = normaliser.normalise(episode.actions)
        for k in range(min(chunk, steps)):
            targets[row, :steps - k, k] = actions[k:]
            mask[row, :steps - k, k] = 1.0
    return torch.from_numpy(contexts), torch.from_numpy(targets), torch.from_numpy(mask)
