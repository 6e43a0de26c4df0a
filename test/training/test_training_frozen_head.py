"""A head is trained from cached contexts, resumes bit for bit, and drives."""

import hashlib
import json

import numpy as np
import pytest
import torch

from vla_nav.contract import Frame
from vla_nav.evaluation.rollout import RolloutSettings, count_trials, rollout, summarise
from vla_nav.policy import Policy, load_variant
from vla_nav.sim import Disturbance
from vla_nav.training.demonstrations import Episode, load_episodes
from vla_nav.training.frozen_head import HeadTraining, fit_normaliser, train_head
from vla_nav.training.train import (
    TrainError,
    TrainSettings,
    train_in_simulation,
    train_on_dataset,
)

VARIANT = load_variant('frozen_head').with_settings(
    {'head.width': 32, 'head.token_width': 16, 'head.chunk': 4})
TRAINING = HeadTraining(epochs=3, batch=4, warm_up=1)


def made_up_episodes(count=12):
    """Contexts that say what to do, for heads to find out."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(count):
        actions = np.stack([rng.uniform(0, 0.5, 30), rng.uniform(-1, 1, 30)], 1)
        contexts = 0.1 * rng.normal(size=(30, 3, 8))
        contexts[:, 0, :2] += actions * (4, 2) - (1, 0)
        episodes.append(Episode(contexts.astype(np.float16), actions.astype(np.float32)))
    return episodes


def head_of(state, tiny_contract, training, report=lambda count, figures: None):
    episodes = made_up_episodes()
    normaliser = fit_normaliser(episodes, tiny_contract)
    return train_head(episodes, VARIANT, normaliser, training, 0, state, report)


def test_a_head_learns_what_the_contexts_say(tmp_path, tiny_contract):
    training = HeadTraining(epochs=60, batch=4, warm_up=5, rate=5e-3)
    _, errors = head_of(tmp_path / 'state.safetensors', tiny_contract, training)
    # Uniform actions spread by 0.14 m/s and 0.58 rad/s.
    assert errors['rmse_0'] < 0.09 and errors['rmse_1'] < 0.3


def test_training_resumes_bit_for_bit(tmp_path, tiny_contract):
    whole, _ = head_of(tmp_path / 'whole.safetensors', tiny_contract, TRAINING)
    epochs = []

    def interrupt(count, figures):
        epochs.append(count)
        if sum(epochs) == 2 and figures:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        head_of(tmp_path / 'parts.safetensors', tiny_contract, TRAINING, interrupt)
    parts, _ = head_of(tmp_path / 'parts.safetensors', tiny_contract, TRAINING)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


def test_a_resting_robot_is_not_disturbed_by_drift():
    disturb = Disturbance(np.random.default_rng(0))
    executed = np.array([disturb(np.zeros(2)) for _ in range(300)])
    assert (np.abs(executed).sum(1) == 0).mean() > 0.7


@pytest.fixture(scope='module')
def trained(tmp_path_factory, tiny_backbone, tiny_contract):
    folder = tmp_path_factory.mktemp('trained')
    settings = TrainSettings(VARIANT, episodes=4, rounds=1, round_episodes=2, training=TRAINING)
    before = {p.name: hashlib.sha256(p.read_bytes()).hexdigest()
              for p in tiny_backbone.iterdir()}
    checkpoint = train_in_simulation(tiny_backbone, folder / 'policy', folder / 'work',
                                     tiny_contract, settings, workers=1)
    after = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in tiny_backbone.iterdir()}
    return folder, checkpoint, before == after


def test_the_backbone_stays_frozen(trained):
    _, checkpoint, same = trained
    assert same and checkpoint.backbone.path == 'backbone'


def test_the_checkpoint_says_where_it_comes_from(trained):
    _, checkpoint, _ = trained
    data = checkpoint.provenance['data']
    assert (data['demonstrations'], data['correction_episodes']) == (4, 2)
    assert checkpoint.provenance['measured']['validation']['rmse_0'] > 0


def test_corrections_are_the_experts(trained):
    folder, _, _ = trained
    episodes = load_episodes(folder / 'work' / 'round_1')
    assert len(episodes) == 2
    # An untrained policy does not get there; the expert still says where to go.
    assert all(len(e.actions) == len(e.contexts) for e in episodes)
    assert any(np.abs(e.actions).max() >= 0.4 for e in episodes)


def test_live_contexts_are_the_cached_ones(trained, tiny_contract):
    from vla_nav.sim import Simulation, sample_scene
    from vla_nav.training.demonstrations import LEVELS
    from vla_nav.training.train import FIRST_SEED
    folder, checkpoint, _ = trained
    cached = load_episodes(folder / 'work' / 'round_0')[0].contexts[0]
    scene = sample_scene(FIRST_SEED, LEVELS[FIRST_SEED % len(LEVELS)])
    policy = Policy.load(checkpoint.path)
    policy.reset(scene.instruction)
    live = policy.context(Simulation(scene).frame(tiny_contract.camera))
    np.testing.assert_allclose(cached.astype(np.float32), live, atol=5e-3)


def test_other_settings_in_the_same_folder_are_refused(trained, tiny_backbone, tiny_contract):
    folder, _, _ = trained
    with pytest.raises(TrainError, match=r'settings\.json was begun with other settings'):
        train_in_simulation(tiny_backbone, folder / 'policy', folder / 'work', tiny_contract,
                            TrainSettings(VARIANT, episodes=5), workers=1)


def test_rollouts_count_scenes_and_swapped_sentences(trained):
    _, checkpoint, _ = trained
    settings = RolloutSettings(scenes=2, level='easy', swap=True, time_limit_s=8.0)
    attempts = rollout(checkpoint.path, settings, 1, lambda n: None)
    summary = summarise(attempts, settings)
    assert len(attempts) == count_trials(settings) == summary['scenes'] + summary['swapped']
    assert summary['scenes'] == 2
    # On level easy the target is in view, so each scene has at least that sentence.
    assert summary['swapped'] >= 2
    assert 0 <= summary['success_low'] <= summary['success'] <= summary['success_high'] <= 1
    assert json.dumps(summary)


def test_rollouts_are_repeatable(trained):
    _, checkpoint, _ = trained
    settings = RolloutSettings(scenes=2, level='easy', time_limit_s=5.0)
    first, again = (rollout(checkpoint.path, settings, 1, lambda n: None) for _ in range(2))
    assert first == again


@pytest.fixture(scope='module')
def dataset(tmp_path_factory, tiny_contract):
    """Three short demonstrations, recorded as bags and built into a dataset."""
    from vla_nav.cli import main
    folder = tmp_path_factory.mktemp('recorded')
    robot = folder / 'robot.yaml'
    robot.write_text(tiny_contract.to_yaml())
    assert main(['demos', '--episodes', '3', '--level', 'easy', '--robot', str(robot), '--jobs',
                 '1', '--out', str(folder / 'bags')]) == 0
    assert main(['dataset', str(folder / 'bags'), '--images', 'png', '--out',
                 str(folder / 'dataset')]) == 0
    return folder / 'dataset'


def test_a_recorded_dataset_trains_a_policy(dataset, tiny_backbone, tmp_path):
    from vla_nav.episodes.windows import EpisodeDataset
    train_on_dataset(tiny_backbone, tmp_path / 'policy', tmp_path / 'work', dataset, VARIANT,
                     TRAINING, seed=0)
    recorded = EpisodeDataset(dataset)
    cached = load_episodes(tmp_path / 'work' / 'contexts')
    assert [len(e.actions) for e in cached] == [e.length for e in recorded.episodes]
    policy = Policy.load(tmp_path / 'policy')
    policy.reset(recorded.instruction(0))
    frame = Frame(recorded.frames(0, 0, 1)[0], 0)
    np.testing.assert_allclose(cached[0].contexts[0].astype(np.float32), policy.context(frame),
                               atol=5e-3)
    assert np.isfinite(policy.step(frame).actions).all()


def test_one_episode_is_too_few(tmp_path, tiny_backbone, tiny_contract):
    with pytest.raises(TrainError, match='found 1 episodes to train on; expected at least 2'):
        train_in_simulation(tiny_backbone, tmp_path / 'policy', tmp_path / 'work', tiny_contract,
                            TrainSettings(VARIANT, episodes=1, training=TRAINING), workers=1)
