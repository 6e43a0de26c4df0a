"""What recorded data offer to an evaluation: episodes nobody trained on, frames to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.models import Model
from vla_nav.training.data import fingerprint

FEWEST = 8
"""Frames on which contexts can be compared."""


@dataclass(frozen=True)
class Sample:
    """Frames of a dataset with what was said, and what might have been said instead."""

    images: np.ndarray
    """uint8 (N, H, W, 3)."""
    instructions: tuple[str, ...]
    others: tuple[str, ...]
    """For each frame another sentence of the dataset; empty where it has only one."""
    velocities: np.ndarray | None
    """float32 (N, A), SI units, where odometry was recorded."""

    def __len__(self) -> int:
        return len(self.images)


def open_dataset(path: Path) -> EpisodeDataset:
    """Open a dataset of `vla_nav dataset`; raises EpisodeError or EvaluationError."""
    dataset = EpisodeDataset(path)
    if not dataset.rows:
        raise EvaluationError(f'{path} has no frames; record episodes and build it again')
    return dataset


def held_out(models: Sequence[Model], dataset: EpisodeDataset) -> list[int]:
    """Episodes that none of the models is known to be trained on, in order; perhaps none at all.

    A model knows the episodes it was trained on in other datasets too, if it is not too old:
    `remembers` says so. The other pieces of a bag that it was trained on show the same minutes,
    and do not count.
    """
    episodes = set(range(len(dataset)))
    for model in models:
        data = _origin(model)
        if data.get('dataset_sha256') == dataset.sha256:
            used = data.get('training_episodes', len(dataset))
            used = set(used) if isinstance(used, list) else set(range(used))
            used -= set(data.get('validation_episodes', ()))
        else:
            known = set(data.get('trained_on', ()))
            used = {e for e in episodes if fingerprint(_actions(dataset, e)) in known}
        bags = {entry.bag for entry in dataset.episodes if entry.index in used}
        episodes -= {entry.index for entry in dataset.episodes if entry.bag in bags}
    return sorted(episodes)


def remembers(model: Model, dataset: EpisodeDataset) -> bool:
    """Whether its checkpoint can tell which of these episodes it was trained on."""
    data = _origin(model)
    return 'trained_on' in data or data.get('dataset_sha256') in (None, dataset.sha256)


def chosen_episodes(model: Model, dataset: EpisodeDataset, validation: bool) -> list[int]:
    """All episodes, or those the model was not trained on; raises where none are known."""
    if validation and not remembers(model, dataset):
        raise EvaluationError(
            f'{model.label} was trained on another build of a dataset, and its policy.json does '
            f'not tell its episodes apart, so {dataset.root} may hold them too; leave out '
            '--validation, give the dataset it was trained on, or train it again')
    episodes = held_out([model], dataset) if validation else list(range(len(dataset)))
    if not episodes:
        raise EvaluationError(f'{model.label} was trained on every episode of {dataset.root}, '
                              'and held none out; leave out --validation, or give other data')
    return episodes


def _origin(model: Model) -> dict:
    """What a checkpoint says of the data it was trained on."""
    data = model.checkpoint.provenance.get('data')
    return data if isinstance(data, dict) else {}


def _actions(dataset: EpisodeDataset, episode: int) -> np.ndarray:
    entry = dataset.episodes[episode]
    return dataset.actions[entry.first_row:entry.first_row + entry.length]


def draw_sample(dataset: EpisodeDataset, count: int, episodes: Sequence[int],
                seed: int = 0) -> Sample:
    """Draw frames evenly from the episodes: as many as asked for, or as there are.

    Raises EvaluationError for fewer than FEWEST.
    """
    rng = np.random.default_rng(seed)
    rows = np.concatenate([np.arange(entry.length) + entry.first_row
                           for entry in (dataset.episodes[e] for e in episodes)])
    if min(count, len(rows)) < FEWEST:
        raise EvaluationError(f'{count} frames were asked for, and {dataset.root} has {len(rows)} '
                              f'to compare on; expected at least {FEWEST}')
    rows = np.sort(rng.permutation(rows)[:count])
    firsts = np.array([entry.first_row for entry in dataset.episodes])
    images, said, others = [], [], []
    sentences = sorted(set(dataset.tasks))
    for row in rows.tolist():
        episode = int(np.searchsorted(firsts, row, side='right')) - 1
        step = row - dataset.episodes[episode].first_row
        images.append(dataset.frames(episode, step, step + 1)[0])
        said.append(dataset.instruction(row))
        if len(sentences) > 1:
            further = 1 + int(rng.integers(len(sentences) - 1))
            others.append(sentences[(sentences.index(said[-1]) + further) % len(sentences)])
    velocities = None if dataset.state is None else dataset.state[rows]
    return Sample(np.stack(images), tuple(said), tuple(others), velocities)
