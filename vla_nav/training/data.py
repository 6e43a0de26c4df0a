"""Demonstrations to train on: their numbers checked, split by recording, and their statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vla_nav.contract import Contract
from vla_nav.episodes.lerobot import STATS_PATH
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.policy import ActionNormaliser, NormaliserError, Variant
from vla_nav.training.augment import mirror_signs
from vla_nav.training.errors import TrainError


@dataclass(frozen=True)
class Track:
    """The numbers of one episode."""

    actions: np.ndarray
    """float32 (L, A), SI units."""
    state: np.ndarray | None = None
    """float32 (L, A): measured velocities, SI units."""
    changes: tuple[int, ...] = ()
    """Rows at which another sentence begins."""
    bag: int | None = None
    """Number of the bag of which it is a piece; None if it is a recording of its own."""


@dataclass(frozen=True)
class Leg:
    """What an episode holds under one sentence.

    With a new one a robot begins anew: no history, no chunk goes on. So each leg is learned from
    by itself.
    """

    episode: int
    start: int
    """Its first row in the episode."""
    actions: np.ndarray
    """float32 (L, A), SI units."""
    state: np.ndarray | None
    """float32 (L, A): measured velocities, SI units."""


@dataclass(frozen=True)
class Demonstrations:
    """Episodes of one robot, split, with the statistics of those that are trained on."""

    contract: Contract
    tracks: Sequence[Track]
    training: list[int]
    """Episodes to train on."""
    validation: list[int]
    """Episodes to validate on, at least one."""
    normaliser: ActionNormaliser
    facts: dict
    """Where they come from."""

    @classmethod
    def of(cls, tracks: Sequence[Track], contract: Contract, share: float, seed: int,
           facts: dict) -> Demonstrations:
        """Keep a share of the recordings for validation; raises TrainError for fewer than two."""
        pieces: dict[tuple, list[int]] = {}
        for episode, track in enumerate(tracks):
            key = (episode,) if track.bag is None else ('bag', track.bag)
            pieces.setdefault(key, []).append(episode)
        recordings, count = list(pieces.values()), len(pieces)
        if count < 2:
            raise TrainError('expected episodes of at least 2 recordings to train on, one of them '
                             f'for validation; found {len(tracks)}, of {count}: record more')
        order = np.random.default_rng(seed).permutation(count).tolist()
        kept = min(count - 1, max(1, round(share * count)))
        training, validation = (sorted(e for number in part for e in recordings[number])
                                for part in (order[kept:], order[:kept]))
        command = contract.command
        actions = np.concatenate([tracks[episode].actions for episode in training])
        normaliser = ActionNormaliser.fit(actions, command.low, command.high)
        return cls(contract, tracks, training, validation, normaliser, {
            # Of the first so many episodes all but these are trained on.
            **facts, 'training_episodes': len(tracks), 'validation_episodes': validation,
            'frames': sum(len(track.actions) for track in tracks)})

    def mirrored(self) -> Demonstrations:
        """With statistics of the mirrored actions as well, lest these are clipped."""
        command = self.contract.command
        actions = np.concatenate([self.tracks[episode].actions for episode in self.training])
        actions = np.concatenate([actions, actions * mirror_signs(command.fields)])
        return replace(self, normaliser=ActionNormaliser.fit(actions, command.low, command.high))

    def legs(self, episodes: Sequence[int]) -> list[Leg]:
        """The legs of these episodes, in order."""
        found = []
        for episode in episodes:
            track = self.tracks[episode]
            ends = (*track.changes, len(track.actions))
            found += [Leg(episode, start, track.actions[start:stop],
                          None if track.state is None else track.state[start:stop])
                      for start, stop in zip((0, *track.changes), ends)]
        return found


def fingerprint(actions: np.ndarray) -> str:
    """What an episode's actions (L, A) are known by, in whichever dataset it is."""
    return hashlib.sha256(np.ascontiguousarray(actions, '<f4').tobytes()).hexdigest()[:16]


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
    tracks = []
    for entry in dataset.episodes[:episodes or None]:
        rows = slice(entry.first_row, entry.first_row + entry.length)
        changes = np.flatnonzero(np.diff(dataset.task_index[rows])) + 1
        tracks.append(Track(dataset.actions[rows], dataset.state[rows] if needs_state else None,
                            tuple(changes.tolist()), entry.bag))
    return tracks


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
