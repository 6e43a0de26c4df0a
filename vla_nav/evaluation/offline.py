"""Open loop: how far a policy's chunks are from what the demonstrator did next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vla_nav.contract import Frame
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.paired import Difference, bootstrap, sign_flip
from vla_nav.policy import Policy

ROWS = 8
"""Episodes side by side."""
BLOCK = 32
"""Frames of one episode decoded at once."""


@dataclass(frozen=True)
class OfflineErrors:
    """Errors per episode, chunk step and action dimension, in SI units.

    The steps of a chunk that lie behind the end of an episode, or under a new sentence, count
    nowhere.
    """

    squared: np.ndarray
    """float64 (E, K, A): sums of squared errors."""
    absolute: np.ndarray
    """float64 (E, K, A): sums of absolute errors."""
    count: np.ndarray
    """int64 (E, K): how many were summed."""

    @property
    def rmse(self) -> np.ndarray:
        """Root mean square error (K, A)."""
        return np.sqrt(self.squared.sum(0) / self.count.sum(0)[:, None])

    @property
    def mae(self) -> np.ndarray:
        """Mean absolute error (K, A)."""
        return self.absolute.sum(0) / self.count.sum(0)[:, None]

    def interval(self, step: int, seed: int = 0) -> np.ndarray:
        """95 % intervals (A, 2) of one step's RMSE, by bootstrap over episodes."""
        count = self.count[:, step]
        return np.array([
            bootstrap(lambda rows, column=column: _rmse(column, count, rows), len(count), seed)
            for column in self.squared[:, step].T])


def rmse_difference(first: OfflineErrors, second: OfflineErrors, step: int, dimension: int,
                    seed: int = 0) -> Difference:
    """How much larger the first's RMSE is on the same episodes.

    Bootstrap over episodes; p of the sign-flip test of their summed squared errors.
    """
    count = first.count[:, step]
    if not np.array_equal(count, second.count[:, step]):
        raise ValueError('expected errors on the same episodes')
    one, other = (e.squared[:, step, dimension] for e in (first, second))

    def statistic(rows: np.ndarray) -> np.ndarray:
        return _rmse(one, count, rows) - _rmse(other, count, rows)

    everything = np.arange(len(count))[None]
    low, high = bootstrap(statistic, len(count), seed)
    return Difference(float(statistic(everything)[0]), low, high, sign_flip(one - other, seed),
                      len(count))


def offline_errors(policy: Policy, dataset: EpisodeDataset, episodes: Sequence[int],
                   progress: Callable[[int], None] = lambda frames: None) -> OfflineErrors:
    """Stream episodes through a policy as it would drive, and compare every chunk.

    Heads with memory carry it through the episode and begin anew with a new sentence; a head
    that takes the previous action gets the demonstrator's. progress: is handed how many frames
    were done. Raises EvaluationError where the data lack what the policy needs.
    """
    if policy.needs_velocity and dataset.state is None:
        raise EvaluationError(f"policy '{policy.name}' takes the base's velocity, and "
                              f'{dataset.root} has no odometry (observation.state); record with '
                              'odometry in the contract')
    chunk, dim = policy.variant.chunk, policy.normaliser.action_dim
    place = {episode: number for number, episode in enumerate(episodes)}
    squared, absolute = np.zeros((2, len(place), chunk, dim))
    count = np.zeros((len(place), chunk), np.int64)
    waiting = deque(_Lane(dataset, episode) for episode in place)
    lanes = [waiting.popleft() for _ in range(min(ROWS, len(waiting)))]
    batch = policy.batch(len(lanes))
    while any(not lane.ended for lane in lanes):
        fresh = [row for row, lane in enumerate(lanes) if lane.begins]
        if fresh:
            batch.reset([lanes[row].instruction for row in fresh], rows=fresh)
        batch.executed(np.stack([lane.previous for lane in lanes]))
        chunks = batch.step([lane.frame for lane in lanes],
                            np.stack([lane.velocity for lane in lanes]))
        for row, (lane, predicted) in enumerate(zip(lanes, chunks)):
            if lane.ended:
                continue
            wanted = lane.wanted(chunk)
            error = predicted.actions[:len(wanted)].astype(float) - wanted
            number = place[lane.episode]
            squared[number, :len(wanted)] += error ** 2
            absolute[number, :len(wanted)] += abs(error)
            count[number, :len(wanted)] += 1
            lane.step += 1
            progress(1)
            if lane.ended and waiting:
                lanes[row] = waiting.popleft()
    return OfflineErrors(squared, absolute, count)


def describe(errors: OfflineErrors, dataset: EpisodeDataset, episodes: Sequence[int]) -> dict:
    """The figures as plain data: per dimension, per chunk step."""
    command = dataset.contract.command
    actions = np.concatenate([dataset.actions[entry.first_row:entry.first_row + entry.length]
                              for entry in (dataset.episodes[e] for e in episodes)])
    intervals = np.array([errors.interval(step) for step in range(len(errors.rmse))])
    return {
        'episodes': list(episodes), 'frames': len(actions), 'step_s': dataset.contract.step_s,
        'counts': errors.count.sum(0).tolist(),
        'dimensions': [{
            'name': name, 'unit': unit, 'rmse': errors.rmse[:, i].tolist(),
            'rmse_interval': intervals[:, i].tolist(), 'mae': errors.mae[:, i].tolist(),
            'spread': float(actions[:, i].std()),
        } for i, (name, unit) in enumerate(zip(command.fields, command.units))]}


class _Lane:
    """One episode on its way through the batch."""

    def __init__(self, dataset: EpisodeDataset, episode: int) -> None:
        entry = dataset.episodes[episode]
        self.episode = episode
        self.step = 0
        self._dataset = dataset
        self._first = entry.first_row
        self._length = entry.length
        rows = slice(entry.first_row, entry.first_row + entry.length)
        self._actions = dataset.actions[rows]
        self._changes = np.flatnonzero(np.diff(dataset.task_index[rows])) + 1
        self._state = None if dataset.state is None else dataset.state[rows]
        self._images = np.empty(0)

    @property
    def ended(self) -> bool:
        return self.step >= self._length

    @property
    def begins(self) -> bool:
        """Whether this is the first frame under its sentence."""
        return self.step == 0 or self.step in self._changes

    @property
    def instruction(self) -> str:
        return self._dataset.instruction(self._first + self.step)

    @property
    def previous(self) -> np.ndarray:
        still = self.begins or self.ended
        return np.zeros_like(self._actions[0]) if still else self._actions[self.step - 1]

    @property
    def velocity(self) -> np.ndarray:
        rests = self._state is None or self.ended
        return np.zeros_like(self._actions[0]) if rests else self._state[self.step]

    @property
    def frame(self) -> Frame:
        """What the camera shows; an episode that ended repeats its last frame."""
        step = min(self.step, self._length - 1)
        if step % BLOCK == 0 and not self.ended:
            self._images = self._dataset.frames(self.episode, step,
                                                min(step + BLOCK, self._length))
        return Frame(self._images[step % BLOCK], step)

    def wanted(self, chunk: int) -> np.ndarray:
        """What the demonstrator did from here on under this sentence, at most (chunk, A)."""
        stop = min([self.step + chunk, *self._changes[self._changes > self.step]])
        return self._actions[self.step:stop]


def _rmse(squared: np.ndarray, count: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """RMSE of each resample: rows (R, E) into per-episode sums (E,)."""
    return np.sqrt(squared[rows].sum(-1) / np.maximum(count[rows].sum(-1), 1))
