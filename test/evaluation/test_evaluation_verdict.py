"""Every rule of the verdict, on made-up figures."""

import pytest

from vla_nav.evaluation.paired import Difference
from vla_nav.evaluation.verdict import (
    ALPHA,
    MARGIN,
    SIMILAR,
    Candidate,
    Contrast,
    judge,
    judge_curve,
)


def contrast(outcome='success', value=0.0, adjusted=1.0, half=0.02, units=200):
    return Contrast(outcome, Difference(value, value - half, value + half, adjusted / 3, units),
                    adjusted)


GAIN = contrast('success', 0.12, 0.001)
LOSS = contrast('obedience', -0.20, 0.0004)
EVEN = contrast('success', 0.01)
COSTS = {'trainable parameters': 14.2, 'training time': 30.0, 'latency': 1.5}


def candidate(*contrasts, similarity=0.95, name='lora', frozen=False):
    return Candidate(name, similarity, contrasts, COSTS, frozen)


def text(verdict):
    return ' '.join(verdict.sentences)


def test_alike_and_no_difference_means_frozen_suffices():
    verdict = judge('frozen', [candidate(EVEN)])
    assert verdict.title == 'frozen suffices'
    assert text(verdict) == ('lora: its contexts have similarity 0.95 to those of frozen, and no '
                             'outcome differs; frozen suffices.')


def test_the_threshold_itself_is_alike():
    assert candidate(EVEN, similarity=SIMILAR).finding == 'same'
    assert candidate(EVEN, similarity=SIMILAR - 1e-6).finding == 'moved'


def test_other_contexts_without_a_gain_bought_nothing():
    verdict = judge('frozen', [candidate(EVEN, similarity=0.4)])
    assert verdict.title == 'frozen does as well, though adaptation changed the contexts'
    assert 'similarity 0.40' in text(verdict) and 'bought nothing' in text(verdict)
    assert '14.2 x the trainable parameters, 30 x the training time' in text(verdict)


def test_a_gain_is_told_with_what_it_costs():
    verdict = judge('frozen', [candidate(GAIN, EVEN, similarity=0.5), candidate(
        EVEN, name='oft')])
    assert verdict.title == 'Adaptation pays: lora'
    assert ('it buys +12.0 points (+10.0 to +14.0) of success (p = 0.001), at 14.2 x the '
            'trainable parameters, 30 x the training time, 1.5 x the latency') in text(verdict)


def test_a_gain_counts_even_where_contexts_are_alike():
    assert judge('frozen', [candidate(GAIN, similarity=0.99)]).title == 'Adaptation pays: lora'


def test_a_loss_alone_leaves_the_frozen_model():
    verdict = judge('frozen', [candidate(LOSS, EVEN, similarity=0.3)])
    assert verdict.title == 'frozen suffices'
    assert 'it loses -20.0 points (-22.0 to -18.0) of obedience' in text(verdict)


@pytest.mark.parametrize('adapted, title', [
    ([], 'Another frozen model does better: mlp'),
    ([candidate(EVEN, similarity=0.4)], 'Another frozen model does better: mlp'),
    ([candidate(GAIN)], 'Adaptation pays: lora'),
])
def test_a_frozen_model_that_gains_is_no_adaptation(adapted, title):
    verdict = judge('frozen', [candidate(GAIN, name='mlp', frozen=True), *adapted])
    assert verdict.title == title
    assert verdict.sentences[0].endswith(
        '; it is frozen too, with another head or context; its contexts have similarity 0.95 to '
        'those of frozen. Hold the others against it by --reference mlp.')
    equal = judge('frozen', [candidate(EVEN, similarity=0.4, name='mlp', frozen=True)])
    assert equal.title == 'frozen suffices' and 'adaptation' not in text(equal)


def test_gain_and_loss_are_mixed():
    verdict = judge('frozen', [candidate(GAIN, LOSS)])
    assert verdict.title.startswith('Mixed')
    assert 'buys +12.0 points' in text(verdict) and 'loses -20.0 points' in text(verdict)


@pytest.mark.parametrize('adjusted', [ALPHA, 0.2])
def test_what_could_be_chance_does_not_count(adjusted):
    assert candidate(contrast('success', 0.3, adjusted)).finding == 'same'


def test_contexts_that_could_not_be_compared_are_not_taken_for_alike():
    verdict = judge('frozen', [candidate(EVEN, similarity=None)])
    assert verdict.title == 'frozen does as well, though adaptation changed the contexts'
    assert 'could not be compared' in text(verdict)


def test_few_scenes_leave_the_matter_open():
    wide = contrast('success', 0.02, half=0.18, units=30)
    verdict = judge('frozen', [candidate(wide)])
    assert verdict.title == 'frozen suffices'
    assert ('30 scenes do not settle it: a gain of up to 20 points in success by lora remains '
            'possible') in text(verdict)
    narrow = contrast('success', 0.0, half=MARGIN)
    assert 'do not settle' not in text(judge('frozen', [candidate(narrow)]))


def test_no_frozen_model_no_verdict():
    verdict = judge(None, [])
    assert verdict.title == 'No verdict'
    assert '--variant frozen_head' in text(verdict)
    assert judge('frozen', []).title == 'No verdict'


@pytest.mark.parametrize(('value', 'p', 'half', 'said'), [
    (0.10, 0.001, 0.05, 'it still rises, so more episodes should help'),
    (-0.10, 0.001, 0.05, 'more episodes made it worse'),
    (0.01, 0.6, 0.03, 'it has levelled off'),
    (0.03, 0.4, 0.10, 'cannot be told from 200 scenes'),
])
def test_the_curve_says_whether_more_episodes_help(value, p, half, said):
    last = Difference(value, value - half, value + half, p, 200)
    sentence = judge_curve('lora_head', [50, 100, 500], last)
    assert sentence.startswith('lora_head: from 100 to 500 episodes success changed by')
    assert said in sentence
