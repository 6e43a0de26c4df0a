"""How alike two policies' contexts are, and how far a sentence moves each of them.

A context is what enters the head: n vectors of size D for one frame and one sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vla_nav.contract import Frame
from vla_nav.evaluation.data import FEWEST, Sample
from vla_nav.evaluation.errors import EvaluationError
from vla_nav.policy import Policy

BATCH = 16
"""Frames in one pass."""


@dataclass(frozen=True)
class Contexts:
    """One policy's contexts of a sample."""

    said: np.ndarray
    """float32 (N, n, D): each frame with its own sentence."""
    other: np.ndarray | None
    """The same frames with another sentence."""
    form: str
    """What the n vectors are: the pooling's name, or placeholders."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D)."""
        return self.said.shape[1:]


@dataclass(frozen=True)
class Similarity:
    """Two policies' contexts of the same frames and sentences."""

    compared: str
    """What of the contexts was compared."""
    cosine: np.ndarray | None
    """(N,), per frame; None between contexts of different size."""
    chance: float | None
    """Median cosine of *different* frames: what the cosine is to be held against."""
    cka: float
    """Linear CKA, debiased; 1 where one is the other turned and scaled, 0 where unrelated."""

    @property
    def score(self) -> float:
        """The lesser of median cosine and CKA; CKA where there is no cosine.

        The cosine alone is high between any two contexts that share a large constant part, and
        CKA alone does not see a rotation, which the head would.
        """
        return self.cka if self.cosine is None else min(float(np.median(self.cosine)), self.cka)


@dataclass(frozen=True)
class Projection:
    """Contexts in the plane of most variance."""

    said: list[list[float]]
    """(N, 2)."""
    other: list[list[float]] | None
    """The same frames with another sentence, in the same plane."""
    variance: list[float]
    """Share of the variance along each axis."""


def contexts(policy: Policy, sample: Sample,
             progress: Callable[[int], None] = lambda frames: None) -> Contexts:
    """Compute a policy's contexts of a sample; raises EvaluationError where data are missing."""
    if policy.needs_velocity and sample.velocities is None:
        raise EvaluationError(f"policy '{policy.name}' takes the base's velocity, and the dataset "
                              'has no odometry (observation.state)')
    oft = policy.variant.decode == 'chunk_oft'
    said, other = [], []
    for start in range(0, len(sample), BATCH):
        part = slice(start, start + BATCH)
        frames = [Frame(image, 0) for image in sample.images[part]]
        velocities = None if sample.velocities is None else sample.velocities[part]
        batch = policy.batch(len(frames))
        for sentences, kept in ((sample.instructions, said), (sample.others, other)):
            if sentences:
                batch.reset(sentences[part])
                kept.append(batch.context(frames, velocities))
        progress(len(frames))
    return Contexts(np.concatenate(said), np.concatenate(other) if other else None,
                    'placeholders' if oft else policy.variant.context.pooling)


def compare_contexts(first: Contexts, second: Contexts) -> Similarity:
    """Compare two policies' contexts of one sample.

    Contexts of one form and shape are compared whole, token beside token; those that both begin
    with the last token of the prompt, by that; others by the mean over their tokens. Raises
    EvaluationError for contexts that do not vary.
    """
    if len(first.said) != len(second.said) or len(first.said) < FEWEST:
        raise EvaluationError(f'contexts of {len(first.said)} and {len(second.said)} frames; '
                              f'expected the same frames, at least {FEWEST}')
    if first.form == second.form and first.shape == second.shape:
        compared = 'all tokens'
        one, other = (c.said.reshape(len(c.said), -1) for c in (first, second))
    elif {first.form, second.form} <= {'last', 'last+image'}:
        compared = 'last token of the prompt'
        one, other = first.said[:, 0], second.said[:, 0]
    else:
        compared = 'mean over tokens'
        one, other = first.said.mean(1), second.said.mean(1)
    cosine = chance = None
    if first.shape[1] == second.shape[1]:
        cosine = cosines(one, other)
        chance = float(np.median(cosines(one, np.roll(other, len(other) // 2, axis=0))))
    return Similarity(compared, cosine, chance, linear_cka(one, other))


def describe(similarity: Similarity) -> dict:
    """The figures as plain data."""
    return {'compared': similarity.compared, 'similarity': similarity.score, 'cka': similarity.cka,
            'cosine': quantiles(similarity.cosine),
            'cosine_of_different_frames': similarity.chance}


def quantiles(values: np.ndarray | None) -> dict[str, float] | None:
    """5th, 50th and 95th percentile."""
    if values is None:
        return None
    return dict(zip(('p5', 'p50', 'p95'), np.percentile(values, [5, 50, 95]).tolist()))


def movement(contexts: Contexts) -> np.ndarray | None:
    """How far the sentence moves each context (N,): 0 for a policy deaf to language.

    The distance between a frame's contexts under two sentences, over the median distance between
    contexts of different frames. None where the sample has one sentence only.
    """
    if contexts.other is None:
        return None
    said = contexts.said.reshape(len(contexts.said), -1)
    other = contexts.other.reshape(len(said), -1)
    between = np.linalg.norm(said - np.roll(said, len(said) // 2, axis=0), axis=1)
    return np.linalg.norm(said - other, axis=1) / max(float(np.median(between)), 1e-12)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows of (N, D)."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(1) / np.maximum(lengths, 1e-12)


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centred kernel alignment of (N, D) and (N, E).

    Kornblith et al. 2019, arXiv 1905.00414, with the unbiased estimator of HSIC (Song et al.
    2012): the plain one nears 1 for anything with more features than frames.
    """
    grams = []
    for rows in (first, second):
        centred = rows - rows.mean(0)
        if np.linalg.norm(centred) <= 1e-5 * np.linalg.norm(rows):
            raise EvaluationError('contexts do not vary from frame to frame; is the camera of the '
                                  'dataset blocked, or the model broken?')
        gram = (centred @ centred.T).astype(float)
        np.fill_diagonal(gram, 0.0)
        grams.append(gram / max(float(np.abs(gram).max()), 1e-30))
    own = _hsic(grams[0], grams[0]) * _hsic(grams[1], grams[1])
    return float(np.clip(_hsic(*grams) / np.sqrt(own), 0.0, 1.0))


def project(contexts: Contexts) -> Projection:
    """Principal components of the mean tokens, found from the frames with their own sentences."""
    said = contexts.said.mean(1)
    mean = said.mean(0)
    _, lengths, directions = np.linalg.svd(said - mean, full_matrices=False)
    plane = directions[:2].T
    variance = lengths ** 2 / max(float((lengths ** 2).sum()), 1e-30)
    other = None if contexts.other is None else (contexts.other.mean(1) - mean) @ plane
    return Projection(((said - mean) @ plane).tolist(), None if other is None else other.tolist(),
                      variance[:2].tolist())


def _hsic(one: np.ndarray, other: np.ndarray) -> float:
    """Unbiased HSIC of two Gram matrices (N, N) with empty diagonals."""
    n = len(one)
    total = (one * other).sum() + one.sum() * other.sum() / ((n - 1) * (n - 2))
    return float(total - 2 / (n - 2) * (one.sum(0) @ other.sum(0))) / (n * (n - 3))
