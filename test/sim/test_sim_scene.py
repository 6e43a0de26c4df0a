import dataclasses
import itertools
import math

import pytest

from vla_nav.sim import (
    COLOURS,
    HELD_OUT_TEMPLATES,
    LEVELS,
    SHAPES,
    SPLITS,
    TEMPLATES,
    UNSEEN_PAIRS,
    SceneObject,
    SimError,
    sample_scene,
    textures,
)
from vla_nav.sim.sampling import reachable

SEEDS = range(60)


def test_the_same_seed_gives_the_same_scene():
    assert sample_scene(7) == sample_scene(7)
    assert sample_scene(7) != sample_scene(8)
    assert sample_scene(7, 'easy').objects != sample_scene(7, 'hard').objects


@pytest.mark.parametrize('level', LEVELS)
def test_objects_are_distinct_apart_and_reachable(level):
    least = {'easy': 1.0, 'standard': 1.0, 'hard': 0.88}[level]
    for scene in (sample_scene(seed, level) for seed in SEEDS):
        assert len({thing.pair for thing in scene.objects}) == len(scene.objects)
        for a, b in itertools.combinations(scene.objects, 2):
            assert math.hypot(a.x - b.x, a.y - b.y) >= least
        for thing in scene.objects:
            assert scene.room[0] - abs(thing.x) >= 0.6 and scene.room[1] - abs(thing.y) >= 0.6
            assert math.hypot(thing.x - scene.start[0], thing.y - scene.start[1]) >= 1.0
        assert reachable(scene.room, scene.objects, scene.start, scene.target_object)
        assert scene.target_object.name in scene.instruction


def test_easy_shows_the_target_among_distinct_colours_and_shapes():
    for scene in (sample_scene(seed, 'easy') for seed in SEEDS):
        assert len(scene.objects) == 3
        assert len({thing.colour for thing in scene.objects}) == 3
        assert len({thing.shape for thing in scene.objects}) == 3
        x, y, yaw = scene.start
        goal = scene.target_object
        bearing = math.remainder(math.atan2(goal.y - y, goal.x - x) - yaw, 2 * math.pi)
        assert abs(bearing) <= math.radians(35)


def test_standard_always_has_a_confusable_distractor_and_targets_all_around():
    counts, behind = set(), 0
    for scene in (sample_scene(seed) for seed in SEEDS):
        goal = scene.target_object
        counts.add(len(scene.objects))
        assert any(thing is not goal and (thing.colour == goal.colour or thing.shape == goal.shape)
                   for thing in scene.objects)
        x, y, yaw = scene.start
        behind += math.cos(math.atan2(goal.y - y, goal.x - x) - yaw) < 0
    assert counts == {3, 4, 5}
    assert 15 < behind < 45


def test_hard_is_dim_crowded_and_uses_textures_of_its_own():
    for seed in SEEDS:
        hard, standard = sample_scene(seed, 'hard'), sample_scene(seed)
        assert 5 <= len(hard.objects) <= 7
        brightness = [look.ambient + look.light_intensity for look in (hard.look, standard.look)]
        assert brightness[0] < 0.6 < 0.9 < brightness[1]
        assert hard.look.floor_texture in textures.UNSEEN_FLOORS
        assert hard.look.wall_texture in textures.UNSEEN_WALLS
    assert not set(textures.UNSEEN_FLOORS + textures.UNSEEN_WALLS) & set(
        textures.SEEN_FLOORS + textures.SEEN_WALLS)


def test_unseen_pairs_appear_only_in_their_split():
    for seed in SEEDS:
        assert not {thing.pair for thing in sample_scene(seed).objects} & set(UNSEEN_PAIRS)
        assert sample_scene(seed, split='unseen-pairs').target_object.pair in UNSEEN_PAIRS
    assert {c for c, _ in UNSEEN_PAIRS} < set(COLOURS) and len(UNSEEN_PAIRS) == 4


@pytest.mark.parametrize('split', ['paraphrases', 'dim-light', 'textures'])
def test_other_splits_change_one_thing_alone(split):
    assert split in SPLITS
    for seed in range(10):
        seen, other = sample_scene(seed), sample_scene(seed, split=split)
        assert (seen.objects, seen.start, seen.target) == (other.objects, other.start,
                                                          other.target)
        assert (seen.instruction != other.instruction) == (split == 'paraphrases')
        same = {field.name for field in dataclasses.fields(seen.look)
                if getattr(seen.look, field.name) == getattr(other.look, field.name)}
        changed = {field.name for field in dataclasses.fields(seen.look)} - same
        assert changed == {'paraphrases': set(),
                           'dim-light': {'light_intensity', 'ambient'},
                           'textures': {'floor_texture', 'wall_texture'}}[split]


def test_enough_sentences_and_none_in_both_sets():
    assert len(set(TEMPLATES)) >= 13 and len(set(HELD_OUT_TEMPLATES)) >= 4
    assert not set(TEMPLATES) & set(HELD_OUT_TEMPLATES)
    for template in TEMPLATES + HELD_OUT_TEMPLATES:
        assert '{colour}' in template and '{shape}' in template


def test_pairs_can_be_restricted():
    pairs = [(colour, shape) for colour in ('red', 'blue') for shape in SHAPES]
    scene = sample_scene(3, pairs=pairs, pairs_for_target=[('red', 'cone')])
    assert scene.target_object.pair == ('red', 'cone')
    assert {thing.colour for thing in scene.objects} <= {'red', 'blue'}


def test_another_target_changes_the_sentence_alone():
    scene = sample_scene(5)
    other = scene.with_target((scene.target + 1) % len(scene.objects), 'find the {colour} {shape}')
    assert other.instruction == f'find the {other.target_object.name}'
    assert dataclasses.replace(other, target=scene.target, instruction=scene.instruction) == scene


@pytest.mark.parametrize('call, message', [
    (lambda: sample_scene(0, 'impossible'), "unknown level 'impossible': expected one of easy"),
    (lambda: sample_scene(0, split='other'), "unknown split 'other'.*unseen-pairs"),
    (lambda: sample_scene(0, 'easy', pairs=[('red', 'cone'), ('red', 'box')]),
     'cannot make up a scene of 3 objects'),
    (lambda: sample_scene(0, pairs_for_target=[]), 'no .* pair is left for the target'),
    (lambda: sample_scene(0).with_target(9), 'target index 9'),
    (lambda: SceneObject('pyramid', 'red', 0, 0), "unknown shape 'pyramid'.*cone"),
    (lambda: SceneObject('cone', 'mauve', 0, 0), "unknown colour 'mauve'.*red"),
])
def test_bad_requests_are_named(call, message):
    with pytest.raises(SimError, match=message):
        call()
