"""Without a dataset the expert demonstrates in simulation, and corrects what the policy does."""

import hashlib

import numpy as np
import pytest

from vla_nav.policy import Policy
from vla_nav.sim import Disturbance, Expert, Simulation, sample_scene
from vla_nav.training.demonstrations import LEVELS, draw_scene, is_hidden, load_episodes
from vla_nav.training.settings import load_recipe
from vla_nav.training.train import FIRST_SEED, Job, train

RECIPE = load_recipe('frozen_head').with_settings({
    'head.width': 32, 'head.token_width': 16, 'head.chunk': 4, 'training.steps': 3,
    'training.batch': 4, 'training.warm_up': 1})


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.fixture(scope='module')
def trained(tmp_path_factory, tiny_backbone, tiny_contract):
    folder = tmp_path_factory.mktemp('trained')
    before = hashes(tiny_backbone)
    checkpoint = train(Job(
        RECIPE, str(tiny_backbone), folder / 'policy', folder / 'work', cache=folder / 'cache',
        contract=tiny_contract, episodes=5, rounds=1, round_episodes=3))
    return folder, checkpoint, before == hashes(tiny_backbone)


def episodes(folder, count):
    """The cached episodes of the round that has so many."""
    rounds = [load_episodes(path) for path in (folder / 'cache').iterdir()]
    return next(found for found in rounds if len(found) == count)


def test_the_backbone_stays_frozen(trained):
    _, checkpoint, same = trained
    assert same and checkpoint.backbone.path == 'backbone'


def test_the_checkpoint_says_where_it_comes_from(trained):
    _, checkpoint, _ = trained
    data = checkpoint.provenance['data']
    assert (data['demonstrations'], data['correction_episodes']) == (5, 2)
    assert data['demonstrated_searches'] == 1
    assert checkpoint.provenance['measured']['validation']['RMSE of linear.x (m/s)'] > 0


def test_corrections_are_the_experts(trained):
    folder, _, _ = trained
    corrections = episodes(folder, 3)
    # An untrained policy does not get there; the expert still says where to go.
    assert all(len(e.actions) == len(e.contexts) for e in corrections)
    assert any(np.abs(e.actions).max() >= 0.4 for e in corrections)


def test_the_expert_demonstrates_searches(trained):
    folder, _, _ = trained
    search = episodes(folder, 3)[2].actions
    assert np.abs(search[:60]).max(axis=0)[0] == 0.0  # it turns, and sees nothing
    assert search[:, 0].max() > 0.4 and not search[-10:].any()  # it goes there, and stands


def test_searches_are_scenes_that_chance_seldom_gives():
    seeds = range(FIRST_SEED, FIRST_SEED + 10)
    own = [draw_scene(seed) for seed in seeds]
    assert own == [sample_scene(seed, LEVELS[seed % len(LEVELS)]) for seed in seeds]
    assert sum(map(is_hidden, own)) < 5
    for scene in [draw_scene(seed, hidden=True) for seed in seeds if LEVELS[seed % 4] != 'easy']:
        simulation = Simulation(scene)
        expert = Expert(simulation)
        for _ in range(60):  # 4.8 rad
            simulation.step(expert.action(), 0.1)
            assert not expert.sees_target


def test_live_contexts_are_the_cached_ones(trained, tiny_contract):
    folder, checkpoint, _ = trained
    cached = episodes(folder, 5)[0].contexts[0]
    scene = sample_scene(FIRST_SEED, LEVELS[FIRST_SEED % len(LEVELS)])
    policy = Policy.load(checkpoint.path)
    policy.reset(scene.instruction)
    live = policy.context(Simulation(scene).frame(tiny_contract.camera))
    np.testing.assert_allclose(cached.astype(np.float32), live, atol=5e-3)


def test_placeholders_of_a_frozen_backbone_are_demonstrated_too(tmp_path, tiny_backbone,
                                                                 tiny_contract):
    recipe = load_recipe('openvla_oft').with_settings({
        'tune': 'head', 'head.width': 16, 'head.chunk': 3, 'training.steps': 1,
        'training.batch': 2})
    train(Job(recipe, str(tiny_backbone), tmp_path / 'policy', tmp_path / 'work',
              cache=tmp_path / 'cache', contract=tiny_contract, episodes=2))
    assert episodes(tmp_path, 2)[0].contexts.shape[1:] == (3 * 2, 64)


def test_closed_loop_success_can_be_the_judge(trained, tmp_path, tiny_backbone, tiny_contract):
    folder, _, _ = trained
    recipe = RECIPE.with_settings({
        'training.judge': 'success', 'training.judge_scenes': 1, 'training.steps': 1})
    checkpoint = train(Job(
        recipe, str(tiny_backbone), tmp_path / 'policy', tmp_path / 'work', contract=tiny_contract,
        cache=folder / 'cache', episodes=5))
    assert checkpoint.provenance['measured']['validation']['success'] in (0.0, 1.0)


def test_a_resting_robot_is_not_disturbed_by_drift():
    disturb = Disturbance(np.random.default_rng(0))
    executed = np.array([disturb(np.zeros(2)) for _ in range(300)])
    assert (np.abs(executed).sum(1) == 0).mean() > 0.7
