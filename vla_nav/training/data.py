"""Demonstrations to train on: their numbers checked, split by episode, and their statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_nav.contract import Contract
from vla_nav.episodes.lerobot import STATS_PATH
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.policy import ActionNormaliser, NormaliserError, Variant
from vla_nav.training.errors import TrainError
from vla_nav.training.samples import Track


def read_tracks(dataset: EpisodeDataset, variant: Variant, episodes: int = 0) -> list[Track]:
    """Return the numbers of the first `episodes` episodes (0: all), checked.

    Raises TrainError for what cannot be trained on.
    """
    if episodes > len(dataset):
        raise TrainError(f'{dataset.root} has {len(dataset)} episodes, {episodes} were asked for; '
                         'ask for fewer, or record more')
    fields = dataset.contract.command.fields
    if dataset.actions.shape[1:] != (len(fields),):
        raise TrainError(
            f'{dataset.root}: its actions have {dataset.actions.shape[1]} dimensions, its '
            f'contract {len(fields)} ({", ".join(fields)}); expected as many. A head of another '
            'action dimension can be begun from by --init-from, a dataset cannot be trained on')
    needs_state = variant.head.state_token or 'velocity' in variant.head.inputs
    if needs_state and dataset.state is None:
        raise TrainError(
            f"{dataset.root} has no observation.state, the measured velocity, which variant "
            f"'{variant.name}' takes (head.state_token or head.inputs); record odometry (it "
            'stands in the contract), or choose another variant')
    columns = {'action': dataset.actions}
    if needs_state:
        columns['observation.state'] = dataset.state
    for name, values in columns.items():
        bad = ~np.isfinite(values).all(1)
        if bad.any():
            row = int(bad.argmax())
            raise TrainError(
                f'{dataset.root}: {name} is not finite in {int(bad.sum())} of {len(bad)} rows, '
                f'first in row {row}: {values[row].tolist()}; leave that episode out and build '
                'the dataset again')
    return [Track(dataset.actions[e.first_row:e.first_row + e.length],
                  dataset.state[e.first_row:e.first_row + e.length] if needs_state else None)
            for e in dataset.episodes[:episodes or None]]


def split_episodes(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the episodes for training and those for validation: at least one of each."""
    if count < 2:
        raise TrainError(f'found {count} episodes to train on; expected at least 2, one of them '
                         'for validation: record more')
    order = np.random.default_rng(seed).permutation(count).tolist()
    kept = min(count - 1, max(1, round(share * count)))
    return sorted(order[kept:]), sorted(order[:kept])


def fit_normaliser(tracks: Sequence[Track], contract: Contract) -> ActionNormaliser:
    """Take action statistics from episodes. Raises NormaliserError on unusable data."""
    command = contract.command
    actions = np.concatenate([track.actions for track in tracks])
    return ActionNormaliser.fit(actions, command.low, command.high)


def check_statistics(dataset: EpisodeDataset) -> None:
    """Compare the dataset's own statistics of its actions with the actions.

    Raises TrainError where they are missing, NormaliserError, with the numbers, where they are
    of other data: then the dataset was put together wrongly.
    """
    said = dataset.statistics.get('action', {})
    names = ('q01', 'q99', 'mean', 'std')
    missing = [name for name in names if len(said.get(name, ())) != dataset.actions.shape[1]]
    if missing:
        raise TrainError(f'{dataset.root / STATS_PATH} lacks {", ".join(missing)} of the actions; '
                         'build the dataset again with `vla_nav dataset`')
    low, high, mean, std = (tuple(map(float, said[name])) for name in names)
    narrow = tuple(b - a < 1e-6 for a, b in zip(low, high))
    high = tuple(b + 1e-6 if n else b for b, n in zip(high, narrow))
    try:
        stored = ActionNormaliser(low, high, narrow, mean, std, dataset.rows)
        stored.check(dataset.actions, dataset.contract.command.fields)
    except NormaliserError as error:
        raise NormaliserError(f'{dataset.root / STATS_PATH}: {error}') from None
