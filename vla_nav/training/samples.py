"""Demonstrations as batches, each a function of seed and step alone.

So a run that goes on after an interruption, or on another number of processes, sees the same
batches. Processes and accumulation divide a batch into parts; each part weighs as much as it has
actions, so that the parts' losses add up to that of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.policy import Variant
from vla_nav.training.augment import (
    mirror_images,
    mirror_instruction,
    mirror_signs,
    vary_images,
)
from vla_nav.training.data import Demonstrations, Leg
from vla_nav.training.questions import Question, Questions
from vla_nav.training.settings import TrainingSettings


class Row(NamedTuple):
    """A sequence of frames of one leg."""

    leg: int
    start: int
    length: int
    first: int
    """The first frame whose chunk is judged; those before it are history alone."""
    stop: int
    """The first behind the judged ones. Both count from the sequence's start."""


@dataclass(frozen=True)
class Batch:
    """B sequences of T frames."""

    targets: torch.Tensor
    """(B, T, K, A), normalised."""
    mask: torch.Tensor
    """(B, T, K): actions that were really taken."""
    actions: np.ndarray
    """(B, T, A): the first action of each chunk, SI units."""
    inputs: torch.Tensor | None = None
    """(B, T, extra)."""
    velocity: torch.Tensor | None = None
    """(B, T, A), normalised."""
    images: np.ndarray | None = None
    """uint8 (B * T, H, W, 3)."""
    instructions: tuple[str, ...] = ()
    """B * T."""
    contexts: torch.Tensor | None = None
    """float16 (B, T, n, D), in the place of images and instructions."""
    questions: tuple[Question, ...] = ()
    answers: tuple[str, ...] = ()
    """Of all questions of the whole batch, whose tokens count alike."""
    weight: float = 1.0
    """What its actions' loss counts: their share of the whole batch's, of what questions leave."""


class Windows:
    """Sequences of `window` frames, of which the first `history` are not judged.

    A leg's first frames have no history and are judged. In a pass every frame is judged
    equally often, the stop at a leg's end as often as the way there.
    """

    def __init__(self, lengths: Sequence[int], legs: Sequence[int], window: int, history: int,
                 batch: int, seed: int) -> None:
        self._lengths, self._window, self._history = lengths, window, history
        self._judged = window - history
        counts = [lengths[leg] + self._judged - 1 for leg in legs]
        self._legs = np.repeat(legs, counts)
        self._begins = np.concatenate([np.arange(count) for count in counts]) - self._judged + 1
        self._batch, self._seed = batch, seed
        self._order = lru_cache(2)(self._shuffled)

    def rows(self, step: int) -> list[Row]:
        """The sequences of one step."""
        total = len(self._begins)
        chosen = [self._order(place // total)[place % total]
                  for place in range(step * self._batch, (step + 1) * self._batch)]
        return [self._row(int(self._legs[i]), int(self._begins[i])) for i in chosen]

    def tiles(self, legs: Sequence[int]) -> list[Row]:
        """Sequences that judge every frame of these legs once."""
        return [self._row(leg, begin) for leg in legs
                for begin in range(0, self._lengths[leg], self._judged)]

    def _row(self, leg: int, begin: int) -> Row:
        """The sequence that judges the leg's frames from `begin` on."""
        start = max(0, begin - self._history)
        stop = min(begin + self._judged, self._lengths[leg])
        return Row(leg, start, self._window, max(0, begin) - start, stop - start)

    def _shuffled(self, number: int) -> np.ndarray:
        return np.random.default_rng((self._seed, number)).permutation(len(self._begins))


class WholeLegs:
    """Batches of whole legs of like length, in random order: little padding."""

    def __init__(self, lengths: Sequence[int], legs: Sequence[int], batch: int, seed: int) -> None:
        self._lengths, self._legs = np.asarray(lengths), np.asarray(legs)
        self._batch, self._seed = min(batch, len(legs)), seed
        self._batches = -(-len(legs) // self._batch)
        self._order = lru_cache(2)(self._shuffled)

    def rows(self, step: int) -> list[Row]:
        """The sequences of one step."""
        chosen = self._order(step // self._batches)[step % self._batches]
        length = int(self._lengths[chosen].max())
        return [Row(int(leg), 0, length, 0, int(self._lengths[leg])) for leg in chosen]

    def _shuffled(self, number: int) -> np.ndarray:
        rng = np.random.default_rng((self._seed, number))
        missing = self._batches * self._batch - len(self._legs)
        legs = np.concatenate([self._legs, rng.choice(self._legs, missing)])
        order = np.argsort(self._lengths[legs] * rng.uniform(0.9, 1.1, len(legs)))
        return rng.permutation(legs[order].reshape(self._batches, self._batch))


class Source:
    """Batches for training and validation; a subclass adds what the model observes.

    legs: those that rows count, of training and validation.
    """

    def __init__(self, data: Demonstrations, legs: Sequence[Leg], variant: Variant,
                 settings: TrainingSettings, sampler: Windows | WholeLegs,
                 validation: Sequence[Row]) -> None:
        self._legs, self._variant, self.normaliser = legs, variant, data.normaliser
        self._settings, self._sampler, self._validation = settings, sampler, validation
        names = variant.head.inputs
        self._needs_state = variant.head.state_token or 'velocity' in names

    @property
    def sequences(self) -> int:
        """How many a step has."""
        return len(self._sampler.rows(0))

    def frames(self, step: int) -> int:
        """Frames in one step, up to the last judged one of each sequence."""
        return sum(row.stop for row in self._sampler.rows(step))

    def batch(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """One part of a step's batch."""
        rows = self._sampler.rows(step)
        total = sum(self._weight(row) for row in rows)
        chosen = range(part, len(rows), parts)
        share = sum(self._weight(rows[i]) for i in chosen) / total
        rngs = [np.random.default_rng((self._settings.seed, 0, step, i)) for i in chosen]
        return self._join([rows[i] for i in chosen], rngs, share)

    def validation(self, part: int = 0, parts: int = 1) -> Iterator[Batch]:
        """The validation data of one process, in batches."""
        rows = self._validation[part::parts]
        size = max(1, self._settings.batch // self._settings.accumulate)
        for start in range(0, len(rows), size):
            yield self._join(rows[start:start + size], None, 1.0)

    def _join(self, rows: Sequence[Row], rngs, share: float) -> Batch:
        raise NotImplementedError

    def _numbers(self, rows: Sequence[Row], rngs, length: int, signs: np.ndarray | None = None
                 ) -> dict:
        """Targets, mask, inputs and velocity of `length` frames.

        signs: (B, A), of rows that are mirrored.
        """
        chunk = self._variant.chunk
        after, valid = map(np.stack, zip(*(
            self._actions(row.leg, row.start, length + chunk - 1) for row in rows)))
        # What is drawn must not depend on how long this part of the batch is.
        previous, state = map(np.stack, zip(*(
            self._motion(row, None if rngs is None else rngs[i]) for i, row in enumerate(rows))))
        previous, state = previous[:, :length], state[:, :length]
        if signs is not None:
            after, previous, state = (x * signs[:, None] for x in (after, previous, state))
        targets = np.lib.stride_tricks.sliding_window_view(after, chunk, axis=1)
        mask = np.lib.stride_tricks.sliding_window_view(valid, chunk, axis=1)
        place = np.arange(length)
        judged = np.stack([(row.first <= place) & (place < row.stop) for row in rows])
        normalise = self.normaliser.normalise
        parts = {'previous_action': normalise(previous), 'velocity': normalise(state)}
        names = self._variant.head.inputs
        return {
            'targets': torch.from_numpy(normalise(targets.transpose(0, 1, 3, 2))),
            'mask': torch.from_numpy(mask.astype(np.float32) * judged[..., None]),
            'actions': after[:, :length],
            'inputs': torch.from_numpy(np.concatenate([parts[n] for n in names], -1))
            if names else None,
            'velocity': torch.from_numpy(parts['velocity']) if self._needs_state else None,
        }

    def _actions(self, leg: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """So many actions of a leg from its row `start` on; which of them are real."""
        taken = self._legs[leg].actions
        places = np.arange(start, start + count)
        valid = places < len(taken)
        actions = taken[np.minimum(places, len(taken) - 1)]
        return np.where(valid[:, None], actions, 0.0).astype(np.float32), valid

    def _motion(self, row: Row, rng) -> tuple[np.ndarray, np.ndarray]:
        """What the policy is told of its own motion, (T, A) each: last actions, velocities."""
        leg, rate = self._legs[row.leg], self._settings.motion_dropout
        places = np.arange(row.start, row.start + row.length)
        if rng is not None and rate:
            others = rng.integers(len(leg.actions), size=row.length)
            places = np.where(rng.random(row.length) < rate, others, places)
        places = np.minimum(places, len(leg.actions))
        previous = np.where(places[:, None] > 0, leg.actions[places - 1], 0.0)
        state = previous
        if self._needs_state:
            state = leg.state[np.minimum(places, len(leg.actions) - 1)]
        return previous.astype(np.float32), state

    def _weight(self, row: Row) -> int:
        """How many actions a sequence's judged chunks hold."""
        left = len(self._legs[row.leg].actions) - row.start
        ends = left - np.arange(row.first, row.stop)
        return int(np.minimum(ends, self._variant.chunk).sum())


class FrameSource(Source):
    """Images of a dataset, and questions beside them where the variant mixes them in."""

    def __init__(self, dataset: EpisodeDataset, data: Demonstrations, variant: Variant,
                 settings: TrainingSettings, questions: Questions | None = None) -> None:
        self._dataset, self._questions = dataset, questions
        self._asked = round(variant.vision_language * settings.batch) if questions else 0
        self._ask = lru_cache(2)(self._draw)
        history = max(0, variant.head.window - 1)
        window = settings.window or 3 * history + 1
        history = min(history, window - 1)
        legs, lengths, training, validation = _numbered(data)
        sampler = Windows(lengths, training, window, history, settings.batch - self._asked,
                          settings.seed)
        every = sampler.tiles(validation)
        count = min(len(every), max(1, settings.validation_frames // (window - history)))
        spread = np.linspace(0, len(every) - 1, count).round().astype(int)
        super().__init__(data, legs, variant, settings, sampler, [every[i] for i in spread])
        self._signs = mirror_signs(data.contract.command.fields)

    def batch(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        batch = super().batch(step, part, parts)
        if not self._asked:
            return batch
        asked = self._ask(step)
        return replace(batch, questions=asked[part::parts], answers=tuple(q.answer for q in asked),
                       weight=(1 - self._variant.vision_language) * batch.weight)

    def _draw(self, step: int) -> tuple[Question, ...]:
        return tuple(self._questions.draw(np.random.default_rng((self._settings.seed, 1, step, i)))
                     for i in range(self._asked))

    def _join(self, rows: Sequence[Row], rngs, share: float) -> Batch:
        settings = self._settings
        longest = max(row.stop for row in rows)  # heads look back only
        images, instructions, signs = [], [], np.ones((len(rows), len(self._signs)), np.float32)
        for i, row in enumerate(rows):
            leg = self._legs[row.leg]
            window = self._dataset.window(leg.episode, leg.start + row.start, longest)
            seen, said = window.images, window.instructions
            if rngs is not None:
                seen = vary_images(seen, settings.colour, settings.shift, rngs[i])
                if rngs[i].random() < settings.mirror:
                    seen, signs[i] = mirror_images(seen), self._signs
                    said = tuple(mirror_instruction(text) for text in said)
            images.append(seen)
            instructions += said
        return Batch(**self._numbers(rows, rngs, longest, signs), images=np.concatenate(images),
                     instructions=tuple(instructions), weight=share)


class ContextSource(Source):
    """Whole legs, from episodes' contexts that the frozen backbone gave, float16 (L, n, D)."""

    def __init__(self, contexts: Sequence[np.ndarray], data: Demonstrations, variant: Variant,
                 settings: TrainingSettings) -> None:
        self._contexts = contexts
        legs, lengths, training, validation = _numbered(data)
        sampler = WholeLegs(lengths, training, settings.batch, settings.seed)
        longest = max(lengths[leg] for leg in validation)
        super().__init__(data, legs, variant, settings, sampler,
                         [Row(leg, 0, longest, 0, lengths[leg]) for leg in validation])

    def _join(self, rows: Sequence[Row], rngs, share: float) -> Batch:
        shape = self._contexts[0].shape[1:]
        contexts = np.zeros((len(rows), rows[0].length, *shape), np.float16)
        for place, row in zip(contexts, rows):
            leg = self._legs[row.leg]
            seen = self._contexts[leg.episode][leg.start:leg.start + row.stop]
            place[:len(seen)] = seen
        return Batch(**self._numbers(rows, rngs, rows[0].length),
                     contexts=torch.from_numpy(contexts), weight=share)


def _numbered(data: Demonstrations) -> tuple[list[Leg], list[int], range, range]:
    """All legs, their lengths, and which of them are trained and which validated on."""
    training = data.legs(data.training)
    legs = training + data.legs(data.validation)
    lengths = [len(leg.actions) for leg in legs]
    return legs, lengths, range(len(training)), range(len(training), len(legs))
