"""Similarity of contexts: what it must say of policies that are alike, turned, or deaf."""

import numpy as np
import pytest

from vla_nav.evaluation.data import draw_sample
from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.similarity import (
    Contexts,
    compare_contexts,
    contexts,
    linear_cka,
    movement,
    project,
)
from vla_nav.policy import Policy


@pytest.fixture(scope='module')
def sample(dataset):
    return draw_sample(dataset, 24, range(len(dataset)))


def made_up(said, other=None, form='max'):
    return Contexts(np.asarray(said, np.float32)[:, None], None if other is None else
                    np.asarray(other, np.float32)[:, None], form)


def test_a_sample_is_drawn_evenly_and_again_the_same(dataset):
    first, second = (draw_sample(dataset, 12, [0, 2], seed=3) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    assert len(first) == 12
    assert set(first.instructions) <= set(dataset.episodes[0].tasks + dataset.episodes[2].tasks)
    assert all(a != b for a, b in zip(first.instructions, first.others))
    everything = draw_sample(dataset, 10 ** 6, range(len(dataset)))
    assert np.array_equal(everything.images[:5], dataset.frames(0, 0, 5))
    assert len(everything) == dataset.rows


def test_a_policy_is_like_itself(sample, frozen):
    found = contexts(Policy.load(frozen, device='cpu'), sample)
    similarity = compare_contexts(found, found)
    assert similarity.score == pytest.approx(1.0, abs=1e-5)
    assert similarity.compared == 'all tokens'
    assert similarity.chance < 1.0


def test_contexts_are_those_of_single_frames(sample, frozen):
    policy = Policy.load(frozen, device='cpu')
    found = contexts(policy, sample)
    from vla_nav.contract import Frame
    for index in (0, 17):
        for sentence, kept in ((sample.instructions, found.said), (sample.others, found.other)):
            policy.reset(sentence[index])
            own = policy.context(Frame(sample.images[index], 0))
            assert kept[index] == pytest.approx(own, abs=1e-4)


def test_stronger_adaptation_is_less_alike(sample, save_model, frozen):
    own = contexts(Policy.load(frozen, device='cpu'), sample)
    scores = []
    for shift in (0.0, 0.03, 0.3):
        adapted = save_model(f'lora_{shift}', 'lora_head', shift=shift)
        scores.append(compare_contexts(own, contexts(Policy.load(adapted, device='cpu'),
                                                     sample)).score)
    assert scores[0] == pytest.approx(1.0, abs=1e-4), 'LoRA begins as nothing'
    assert scores[0] > scores[1] > scores[2]


def test_contexts_that_begin_with_the_last_token_are_compared_by_it(sample, frozen, save_model):
    """One image token more or less is no adaptation."""
    own = contexts(Policy.load(frozen, device='cpu'), sample)
    tokens = contexts(Policy.load(save_model('words', 'openvla_lora'), device='cpu'), sample)
    assert own.shape == (5, 32) and tokens.shape == (1, 32)
    found = compare_contexts(own, tokens)
    assert found.compared == 'last token of the prompt'
    assert found.score == pytest.approx(1.0, abs=1e-4), 'this LoRA has learned nothing'


def test_contexts_of_another_kind_are_pooled_and_of_another_width_have_no_cosine(
        sample, frozen, save_model):
    own = contexts(Policy.load(frozen, device='cpu'), sample)
    oft = contexts(Policy.load(save_model('oft', 'openvla_oft'), device='cpu'), sample)
    pooled = compare_contexts(own, oft)
    assert (pooled.compared, oft.shape) == ('mean over tokens', (6, 32))
    assert pooled.cosine is not None and 0 <= pooled.cka <= 1
    wider = Contexts(np.concatenate([own.said, own.said], axis=2), None, own.form)
    found = compare_contexts(own, wider)
    assert found.cosine is None and found.chance is None
    assert found.score == found.cka == pytest.approx(1.0, abs=1e-5)


def test_cka_sees_through_turns_and_scales_but_not_through_chance(rng):
    rows = rng.normal(size=(80, 30))
    turn = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    assert linear_cka(rows, 3 * rows @ turn + 7) == pytest.approx(1.0)
    assert linear_cka(rows, rng.normal(size=(80, 4000))) < 0.1, 'the plain estimate says 0.4'


def test_a_large_constant_part_does_not_pass_for_likeness(rng):
    constant = 50 * rng.normal(size=40)
    found = compare_contexts(made_up(constant + rng.normal(size=(60, 40))),
                             made_up(constant + rng.normal(size=(60, 40))))
    assert np.median(found.cosine) > 0.99 and found.chance > 0.99
    assert found.score == found.cka < 0.2


def test_turned_contexts_do_not_pass_for_likeness(rng):
    """The head would not understand them, though CKA does."""
    rows = rng.normal(size=(60, 40))
    found = compare_contexts(made_up(rows), made_up(rows @ np.linalg.qr(
        rng.normal(size=(40, 40)))[0]))
    assert found.cka > 0.99 and found.score < 0.3


def test_movement_tells_the_deaf_from_those_who_listen(rng):
    frames, words = rng.normal(size=(50, 16)), rng.normal(size=(50, 16))
    deaf = made_up(frames, frames)
    hears = made_up(frames, words)
    assert movement(deaf) == pytest.approx(np.zeros(50), abs=1e-6)
    assert np.median(movement(hears)) == pytest.approx(1.0, abs=0.2)
    assert movement(made_up(frames)) is None


def test_the_projection_shows_the_directions_of_most_variance(rng):
    rows = rng.normal(size=(100, 5)) * (10, 3, 0.1, 0.1, 0.1)
    found = project(made_up(rows, rows + (0, 2, 0, 0, 0)))
    assert np.ptp(np.array(found.said)[:, 0]) > np.ptp(np.array(found.said)[:, 1])
    assert sum(found.variance) > 0.99
    moved = np.array(found.other) - np.array(found.said)
    assert np.linalg.norm(moved, axis=1) == pytest.approx(np.full(100, 2.0), rel=1e-2)


def test_contexts_that_do_not_vary_are_refused():
    still = np.ones((20, 8))
    with pytest.raises(EvaluationError, match='do not vary from frame to frame'):
        compare_contexts(made_up(still), made_up(still))


def test_too_few_frames_are_refused(rng):
    rows = rng.normal(size=(5, 8))
    with pytest.raises(EvaluationError, match='5 and 5 frames; expected .* at least 8'):
        compare_contexts(made_up(rows), made_up(rows))
