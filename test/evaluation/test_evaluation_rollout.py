"""Closed-loop rollouts: paired by scene, the same however they are spread, never made twice."""

import dataclasses
import json

import numpy as np
import pytest

from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.rollout import (
    Attempt,
    RolloutSettings,
    count_trials,
    rollout,
    summarise,
)
from vla_nav.evaluation.store import Store
from vla_nav.sim import HELD_OUT_TEMPLATES, SEEN_PAIRS, UNSEEN_PAIRS
from vla_nav.sim.visibility import objects_in_view

SETTINGS = RolloutSettings(scenes=3, swap=True, time_limit_s=3.0)


def nothing(count):
    """Progress that nobody watches."""


def attempt(seed, outcome='success', swapped=False, target=0, **facts):
    facts = {'time_s': 8.0, 'distance_m': 0.5, 'path_m': 2.0, 'efficiency': 0.8, **facts}
    return Attempt(seed, target, swapped, 'go', outcome, None, **facts)


@pytest.fixture(scope='module')
def attempts(steady):
    return rollout(steady, SETTINGS, 1, nothing)


def test_each_scene_is_driven_once_and_once_per_object_in_view(attempts):
    plain = [a for a in attempts if not a.swapped]
    assert [a.seed for a in plain] == list(SETTINGS.seeds)
    for seed in SETTINGS.seeds:
        scene = SETTINGS.scene(seed)
        swapped = [a for a in attempts if a.swapped and a.seed == seed]
        assert sorted(a.target for a in swapped) == sorted(objects_in_view(scene, scene.start))
        for a in swapped:
            assert a.instruction == f'go to the {scene.objects[a.target].name}'
    assert len(attempts) == count_trials(SETTINGS)


def test_a_steady_policy_drives_the_circle_it_says(attempts):
    for a in attempts:
        assert a.outcome in ('timeout', 'collision')
        assert a.efficiency == 0.0
        if a.outcome == 'timeout':
            assert a.time_s == pytest.approx(3.0)
            assert a.path_m == pytest.approx(0.3 * 3.0, rel=0.25)
    by_scene = {}
    for a in attempts:
        by_scene.setdefault(a.seed, set()).add(round(a.path_m, 4))
    assert all(len(lengths) == 1 for lengths in by_scene.values()), 'it is deaf, and runs repeat'


def test_processes_change_nothing(attempts, steady):
    counted = []
    assert rollout(steady, SETTINGS, 2, counted.append) == attempts
    assert sum(counted) == len(attempts)


def test_what_was_driven_is_not_driven_again(attempts, steady):
    fresh = []
    again = rollout(steady, SETTINGS, 1, nothing, done=attempts[2:], keep=fresh.extend)
    assert again == attempts
    assert sorted((a.seed, a.target) for a in fresh) == sorted(
        (a.seed, a.target) for a in attempts[:2])


def test_an_interrupted_log_goes_on_where_it_stopped(attempts, tmp_path):
    store = Store(tmp_path)
    key = {'sha256': 'ab' * 32, 'level': 'standard'}
    log = store.attempts(key)
    assert log.read() == []
    log.append(attempts[:2])
    with log.path.open('a') as file:
        file.write(json.dumps(dataclasses.asdict(attempts[2]))[:40])
    assert store.attempts(key).read() == attempts[:2]
    store.attempts(key).append(attempts[2:])
    assert store.attempts(key).read() == attempts
    assert store.attempts({**key, 'level': 'easy'}).read() == []
    log.path.write_text('{}\nnothing\n')
    with pytest.raises(EvaluationError, match='cannot be read .* delete it'):
        log.read()
    log.path.write_text('{"key": {}}\n')
    with pytest.raises(EvaluationError, match='of another model, or under other settings'):
        log.read()


def test_a_policy_that_takes_velocities_is_told_them(save_model):
    """PaLM-E's state token; without the velocity it refuses to drive."""
    path = save_model('palm', 'palm_e_frozen')
    found = rollout(path, dataclasses.replace(SETTINGS, scenes=1, swap=False), 1, nothing)
    assert len(found) == 1


def test_the_shipped_model_reaches_what_it_is_told():
    from vla_nav.policy import resolve_model

    settings = RolloutSettings(scenes=2, level='easy')
    found = rollout(resolve_model('nano'), settings, 1, nothing)
    assert [a.outcome for a in found] == ['success'] * 2
    for a in found:
        scene = settings.scene(a.seed)
        goal = scene.objects[a.target]
        straight = np.hypot(goal.x - scene.start[0], goal.y - scene.start[1])
        assert a.distance_m <= 0.6 and a.rested_at == a.target
        assert a.efficiency == pytest.approx(min(1, (straight - 0.6) / a.path_m))
        assert 0.4 < a.efficiency <= 1.0


@pytest.mark.parametrize('split', ['seen', 'unseen-pairs', 'paraphrases'])
def test_splits_are_what_they_are_called(split):
    settings = RolloutSettings(scenes=20, split=split)
    for seed in settings.seeds:
        scene = settings.scene(seed)
        held_out = any(scene.instruction == template.format(
            colour=scene.target_object.colour, shape=scene.target_object.shape)
            for template in HELD_OUT_TEMPLATES)
        assert held_out == (split == 'paraphrases')
        pairs = UNSEEN_PAIRS if split == 'unseen-pairs' else SEEN_PAIRS
        assert scene.target_object.pair in pairs


def test_sentences_are_swapped_in_held_out_words_where_those_are_tested(frozen):
    settings = RolloutSettings(scenes=2, split='paraphrases', swap=True, time_limit_s=0.2)
    found = rollout(frozen, settings, 1, nothing)
    assert [a for a in found if a.swapped]
    for a in found:
        goal = settings.scene(a.seed).objects[a.target]
        assert any(a.instruction == t.format(colour=goal.colour, shape=goal.shape)
                   for t in HELD_OUT_TEMPLATES), a.instruction


def test_the_summary_counts_and_bounds():
    made = [attempt(1), attempt(2, time_s=12.0), attempt(3, 'collision', efficiency=0.0),
            attempt(4, 'timeout', efficiency=0.0, distance_m=3.0),
            attempt(1, swapped=True), attempt(1, 'wrong_object', True, 1)]
    summary = summarise(made, RolloutSettings(scenes=4, swap=True))
    assert summary['success'] == 0.5
    assert summary['success_low'] == pytest.approx(0.15, abs=0.01)  # Wilson, 2 of 4
    assert summary['success_high'] == pytest.approx(0.85, abs=0.01)
    assert (summary['collisions'], summary['timeouts'], summary['wrong_object']) == (1, 1, 0)
    assert summary['time_s'] == 10.0 and summary['final_distance_m'] == 0.5
    assert summary['path_efficiency'] == pytest.approx(0.4)
    assert (summary['obedience'], summary['swapped']) == (0.5, 2)


@pytest.mark.parametrize(('settings', 'message'), [
    ({'split': 'sen'}, "split is 'sen'; expected one of seen, unseen-pairs"),
    ({'level': 'mad'}, "level is 'mad'; expected one of easy"),
    ({'scenes': 0}, 'scenes is 0; expected at least 1'),
    ({'seed': -1}, 'seed is -1; expected at least 0'),
])
def test_bad_settings_are_named(settings, message):
    with pytest.raises(EvaluationError, match=message):
        RolloutSettings(**settings)
