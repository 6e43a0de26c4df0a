"""Tests and intervals for two policies that met the same scenes or episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vla_nav.evaluation.intervals import wilson

RESAMPLES = 10_000
"""Of the bootstrap and of the sign-flip test."""


@dataclass(frozen=True)
class Difference:
    """How much more one policy has of something than another, over the same units."""

    value: float
    low: float
    """95 % interval."""
    high: float
    p: float
    """Two-sided, of no difference."""
    units: int
    """Pairs it rests on."""


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p of McNemar's test (McNemar 1947): a binomial tail over discordant pairs.

    only_first, only_second: pairs in which only the one, only the other succeeded.
    """
    discordant = only_first + only_second
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2 ** discordant)


def proportions(first: Sequence[bool], second: Sequence[bool]) -> Difference:
    """Difference of two success rates, first minus second, with McNemar's exact p.

    The interval is Newcombe's for paired data (1998, Statistics in Medicine 17, 2635, method
    10): Wilson's intervals of both rates, joined with their correlation.
    """
    first, second = _pairs(first, second, bool)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    count = len(first)
    p1, p2 = first.mean(), second.mean()
    (low1, high1), (low2, high2) = wilson(first.sum(), count), wilson(second.sum(), count)
    margins = first.sum() * (~first).sum() * second.sum() * (~second).sum()
    covariance = both * neither - only_first * only_second
    if covariance > 0:
        covariance = max(covariance - count / 2, 0)
    phi = covariance / math.sqrt(margins) if margins else 0.0

    def joined(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    value = float(p1 - p2)
    return Difference(value, value - joined(p1 - low1, high2 - p2),
                      value + joined(high1 - p1, p2 - low2), mcnemar(only_first, only_second),
                      count)


def means(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Difference:
    """Difference of two means over the same units, first minus second.

    Percentile bootstrap over the pairs (Efron 1979); p of the sign-flip test (Fisher 1935).
    """
    first, second = _pairs(first, second, float)
    each = first - second
    low, high = bootstrap(lambda rows: each[rows].mean(axis=-1), len(each), seed)
    return Difference(float(each.mean()), low, high, sign_flip(each, seed), len(each))


def rates(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]],
          seed: int = 0) -> Difference:
    """Difference of two success rates whose trials come in groups, first minus second.

    Each pair is one group (a scene) as (successes, trials): trials of one scene are not
    independent, so whole groups are resampled and flipped.
    """
    first, second = _pairs(first, second, float)
    if not np.array_equal(first[:, 1], second[:, 1]):
        raise ValueError('expected the same trials in both')
    each, trials = first[:, 0] - second[:, 0], first[:, 1]
    low, high = bootstrap(
        lambda rows: each[rows].sum(axis=-1) / trials[rows].sum(axis=-1), len(each), seed)
    return Difference(float(each.sum() / trials.sum()), low, high, sign_flip(each, seed),
                      len(each))


def bootstrap(statistic: Callable[[np.ndarray], np.ndarray], units: int, seed: int = 0,
              resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % percentile interval of a statistic over units drawn with replacement.

    statistic: from indices (R, units) to values (R,).
    """
    rng = np.random.default_rng(seed)
    step = max(1, 2_000_000 // units)
    values = np.concatenate([
        np.atleast_1d(statistic(rng.integers(units, size=(min(step, resamples - start), units))))
        for start in range(0, resamples, step)])
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def sign_flip(differences: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> float:
    """Two-sided p that paired differences are as likely positive as negative.

    Every sign pattern where there are few differences, else random ones.
    """
    each = np.asarray(differences, float)
    each = each[each != 0]
    if not len(each):
        return 1.0
    seen = abs(each.sum()) * (1 - 1e-12)
    if len(each) <= 12:
        signs = 1 - 2 * ((np.arange(2 ** len(each))[:, None] >> np.arange(len(each))) & 1)
        return float((abs(signs @ each) >= seen).mean())
    rng = np.random.default_rng(seed)
    step = max(1, 2_000_000 // len(each))
    extreme = 0
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        signs = rng.integers(2, size=(count, len(each)), dtype=np.int8) * 2 - 1
        extreme += int((abs(signs @ each) >= seen).sum())
    return (extreme + 1) / (resamples + 1)


def holm(values: Sequence[float]) -> list[float]:
    """Values of p adjusted for how many there are (Holm 1979): each may be held against 0.05."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = highest
    return adjusted


def _pairs(first, second, kind) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, kind), np.asarray(second, kind)
    if first.shape != second.shape or not len(first):
        raise ValueError(f'expected as many of both, and at least one pair; found {len(first)} '
                         f'and {len(second)}')
    return first, second
