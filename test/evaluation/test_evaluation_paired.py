"""Paired tests and intervals, against published values and against what chance does."""

import numpy as np
import pytest

from vla_nav.evaluation.paired import (
    bootstrap,
    holm,
    mcnemar,
    means,
    proportions,
    rates,
    sign_flip,
)


def table(both, only_first, only_second, neither):
    first = [1] * (both + only_first) + [0] * (only_second + neither)
    second = [1] * both + [0] * only_first + [1] * only_second + [0] * neither
    return first, second


@pytest.mark.parametrize(('cells', 'low', 'high'), [
    ((36, 12, 2, 0), 0.0569, 0.3404),  # Newcombe 1998 (paired), table III, method 10
    ((14, 5, 0, 22), 0.0115, 0.2265),  # by hand from its formula, with the correction of phi
])
def test_interval_agrees_with_newcombe(cells, low, high):
    found = proportions(*table(*cells))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        easy = rng.random(60) < 0.5  # scenes in which both do well
        first = rng.random(60) < np.where(easy, 0.9, 0.4)
        second = rng.random(60) < np.where(easy, 0.8, 0.3)
        found = proportions(first, second)
        held += found.low <= 0.1 <= found.high
    assert 0.93 <= held / 1000 <= 0.98


@pytest.mark.parametrize(('first', 'second', 'p'), [
    (0, 0, 1.0), (3, 3, 1.0), (0, 5, 2 / 32), (12, 2, 2 * (1 + 14 + 91) / 2 ** 14)])
def test_mcnemar_is_a_binomial_tail(first, second, p):
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(second, first) == pytest.approx(p)


def test_two_policies_alike_in_every_scene_do_not_differ():
    found = proportions([1, 0] * 50, [1, 0] * 50)
    assert (found.value, found.p, found.units) == (0.0, 1.0, 100)
    assert found.low < 0 < found.high, 'a hundred scenes leave something open'


def test_sign_flip_of_yes_and_no_is_mcnemar():
    assert sign_flip([1] * 8 + [-1] * 2 + [0] * 5) == pytest.approx(mcnemar(8, 2))
    assert sign_flip([1] * 30 + [-1] * 12) == pytest.approx(mcnemar(30, 12), abs=0.005)
    assert sign_flip([0.0, 0.0]) == 1.0


def test_sign_flip_rejects_as_seldom_as_it_says():
    rng = np.random.default_rng(0)
    rejected = sum(sign_flip(rng.normal(size=40), seed, 500) < 0.05 for seed in range(400))
    assert 0.02 <= rejected / 400 <= 0.08


def test_means_are_compared_pair_by_pair(rng):
    ease = rng.normal(size=50)
    found = means(ease + 0.1 + 0.02 * rng.normal(size=50), ease)
    assert found.value == pytest.approx(0.1, abs=0.01)
    assert 0.09 < found.low < found.value < found.high < 0.11
    assert found.p < 0.001
    assert means(ease, ease).p == 1.0


def test_bootstrap_agrees_with_the_normal_interval_of_a_mean(rng):
    values = rng.normal(2.0, 1.0, 400)
    low, high = bootstrap(lambda rows: values[rows].mean(-1), len(values))
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_trials_of_one_scene_do_not_count_as_many():
    """Ten sentences that all fail in one scene are one scene's failure."""
    first = [(10, 10)] * 3 + [(5, 10)] * 20
    second = [(0, 10)] * 3 + [(5, 10)] * 20
    found = rates(first, second)
    assert found.value == pytest.approx(30 / 230)
    assert found.p == pytest.approx(mcnemar(3, 0))


def test_holm_adjusts_for_the_number_of_comparisons():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_other_scenes_cannot_be_paired():
    with pytest.raises(ValueError, match='found 2 and 3'):
        proportions([1, 0], [1, 0, 1])
    with pytest.raises(ValueError, match='the same trials'):
        rates([(1, 2)], [(1, 3)])
