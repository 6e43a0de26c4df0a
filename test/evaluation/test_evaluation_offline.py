"""Open-loop errors are what a loop over single frames gives, padded tails left out."""

import copy
import dataclasses

import numpy as np
import pytest

from vla_nav.contract import Frame
from vla_nav.evaluation.data import chosen_episodes, held_out, open_dataset, remembers
from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.models import check_alike, open_model
from vla_nav.evaluation.offline import describe, offline_errors, rmse_difference
from vla_nav.policy import Policy
from vla_nav.training.data import fingerprint


def test_constant_predictions_have_the_errors_one_can_compute(dataset, steady):
    policy = Policy.load(steady, device='cpu')
    episodes = [0, 2]
    errors = offline_errors(policy, dataset, episodes)
    for number, episode in enumerate(episodes):
        entry = dataset.episodes[episode]
        actions = dataset.actions[entry.first_row:entry.first_row + entry.length]
        for k in range(policy.variant.chunk):
            wanted = actions[k:]
            assert errors.count[number, k] == len(wanted) == entry.length - k
            error = np.array([0.3, 0.2]) - wanted
            assert errors.squared[number, k] == pytest.approx((error ** 2).sum(0), rel=1e-4)
            assert errors.absolute[number, k] == pytest.approx(abs(error).sum(0), rel=1e-4)
    every = np.concatenate([dataset.actions[dataset.episodes[e].first_row:][
        :dataset.episodes[e].length] for e in episodes])
    assert errors.rmse[0] == pytest.approx(
        np.sqrt(((np.array([0.3, 0.2]) - every) ** 2).mean(0)), rel=1e-4)


@pytest.mark.parametrize('settings', [
    {}, {'head.kind': 'mlp', 'head.inputs': ['previous_action']},
    {'head.window': 3}, {'head.inputs': ['velocity']}])
def test_side_by_side_is_as_one_after_the_other(dataset, save_model, settings):
    """Memory runs through each episode by itself; the demonstrator's last action is fed back."""
    policy = Policy.load(save_model('streamed', **settings), device='cpu')
    episodes = range(len(dataset))
    errors = offline_errors(policy, dataset, episodes)
    for episode in episodes:
        window = dataset.window(episode, 0, dataset.episodes[episode].length)
        batch = policy.batch(1)
        batch.reset(window.instructions[0])
        squared = np.zeros_like(errors.squared[episode])
        for step, image in enumerate(window.images):
            if step:
                batch.executed(window.actions[step - 1:step])
            chunk = batch.step([Frame(image, step)], window.state[step:step + 1])[0].actions
            wanted = window.actions[step:step + len(chunk)]
            squared[:len(wanted)] += (chunk[:len(wanted)] - wanted) ** 2
        assert errors.squared[episode] == pytest.approx(squared, rel=1e-3)


def test_a_new_sentence_begins_anew(dataset, save_model):
    """As the drive node does it: memory, the last action and chunks end with a sentence."""
    policy = Policy.load(save_model('told', **{'head.inputs': ['previous_action']}), device='cpu')
    changed = open_dataset(dataset.root)
    entry = changed.episodes[1]
    middle = entry.length // 2
    other = next(i for i, task in enumerate(changed.tasks) if task not in entry.tasks)
    changed.task_index = changed.task_index.copy()
    changed.task_index[entry.first_row + middle:entry.first_row + entry.length] = other
    errors = offline_errors(policy, changed, [1])
    squared = np.zeros_like(errors.squared[0])
    images = changed.frames(1)
    actions = changed.actions[entry.first_row:entry.first_row + entry.length]
    batch = policy.batch(1)
    for step, image in enumerate(images):
        if step in (0, middle):
            batch.reset([changed.instruction(entry.first_row + step)], rows=[0])
        else:
            batch.executed(actions[step - 1:step])
        chunk = batch.step([Frame(image, step)])[0].actions
        wanted = actions[step:middle if step < middle else None][:len(chunk)]
        squared[:len(wanted)] += (chunk[:len(wanted)] - wanted) ** 2
    assert errors.squared[0] == pytest.approx(squared, rel=1e-3)
    unbroken = offline_errors(policy, dataset, [1])
    assert abs(errors.squared - unbroken.squared).max() > 1e-6


@pytest.mark.parametrize('preset', ['openvla_lora', 'openvla_oft', 'roboflamingo'])
def test_every_way_of_decoding_is_measured(dataset, save_model, preset):
    policy = Policy.load(save_model(preset, preset), device='cpu')
    errors = offline_errors(policy, dataset, [0])
    assert errors.rmse.shape == (3, 2)
    assert (errors.rmse >= errors.mae).all() and (errors.mae > 0).all()


def test_the_figures_are_in_si_units_per_step(dataset, steady):
    policy = Policy.load(steady, device='cpu')
    episodes = list(range(len(dataset)))
    errors = offline_errors(policy, dataset, episodes)
    figures = describe(errors, dataset, episodes)
    assert figures['frames'] == dataset.rows
    assert [d['unit'] for d in figures['dimensions']] == ['m/s', 'rad/s']
    assert figures['counts'][0] == dataset.rows
    for dimension in figures['dimensions']:
        assert len(dimension['rmse']) == len(dimension['mae']) == policy.variant.chunk
        for value, (low, high) in zip(dimension['rmse'], dimension['rmse_interval']):
            assert low <= value <= high


def test_a_worse_policy_has_the_larger_error_by_episode(dataset, steady, tmp_path,
                                                        backbone_folder):
    from tiny_models import build_model

    from vla_nav.policy import Backbone
    worse = build_model(tmp_path / 'worse', Backbone.load(backbone_folder), (0.0, 1.0))
    errors = [offline_errors(Policy.load(path, device='cpu'), dataset, range(len(dataset)))
              for path in (worse, steady)]
    difference = rmse_difference(*errors, step=0, dimension=1)
    assert difference.value == pytest.approx(errors[0].rmse[0, 1] - errors[1].rmse[0, 1])
    assert 0 < difference.low <= difference.value <= difference.high
    assert difference.units == len(dataset)


def test_episodes_that_training_used_are_not_held_out(dataset, save_model):
    mine = {'data': {'dataset_sha256': dataset.sha256, 'validation_episodes': [1]}}
    first = save_model('first', provenance={'data': {**mine['data'], 'training_episodes': 2}})
    whole, elsewhere = save_model('whole', provenance=mine), save_model('elsewhere')
    models = [open_model(path) for path in (first, whole, elsewhere)]
    assert held_out(models[:1], dataset) == [1, 2]
    assert held_out(models[1:2], dataset) == [1]
    assert held_out(models[2:], dataset) == [0, 1, 2]
    assert held_out(models, dataset) == [1]
    pieces = copy.copy(dataset)
    pieces.episodes = [dataclasses.replace(entry, bag=min(entry.index, 1))
                       for entry in dataset.episodes]
    models = [open_model(save_model('last', provenance={'data': {
        'dataset_sha256': dataset.sha256, 'validation_episodes': [0, 1]}}))]
    assert held_out(models, dataset) == [0, 1]
    assert held_out(models, pieces) == [0]


def test_episodes_are_known_again_in_another_dataset(dataset, save_model):
    """One that was built again, with an episode more."""
    entry = dataset.episodes[1]
    seen = fingerprint(dataset.actions[entry.first_row:entry.first_row + entry.length])
    before = {'dataset_sha256': 'that of the dataset before', 'training_episodes': 2,
              'validation_episodes': [0]}
    new, old = (open_model(save_model(name, provenance={'data': data})) for name, data in (
        ('new', {**before, 'trained_on': [seen]}), ('old', before)))
    assert held_out([new], dataset) == chosen_episodes(new, dataset, validation=True) == [0, 2]
    assert remembers(new, dataset) and not remembers(old, dataset)
    assert held_out([old], dataset) == [0, 1, 2]
    with pytest.raises(EvaluationError, match='old was trained on another build .* may hold them '
                       'too; leave out --validation'):
        chosen_episodes(old, dataset, validation=True)


def test_no_episode_held_out_is_said(dataset, save_model):
    model = open_model(save_model('greedy', provenance={
        'data': {'dataset_sha256': dataset.sha256}}))
    assert chosen_episodes(model, dataset, validation=False) == [0, 1, 2]
    with pytest.raises(EvaluationError, match='greedy was trained on every episode .* leave out '
                       '--validation'):
        chosen_episodes(model, dataset, validation=True)


def test_missing_odometry_is_said(dataset, save_model):
    policy = Policy.load(save_model('asks', **{'head.inputs': ['velocity']}), device='cpu')
    blind = open_dataset(dataset.root)
    blind.state = None
    with pytest.raises(EvaluationError, match="'asks' takes the base's velocity.*no odometry"):
        offline_errors(policy, blind, [0])


def test_another_camera_is_said(dataset, save_model):
    from tiny_models import CONTRACT

    contract = dataclasses.replace(CONTRACT, rate_hz=5.0, camera=dataclasses.replace(
        CONTRACT.camera, width=96))
    model = open_model(save_model('wide', contract=contract))
    with pytest.raises(EvaluationError, match='rate_hz is 5.0 in wide and 10.0 in demos; '
                       'camera.width is 96 in wide and 64 in demos'):
        check_alike([model], dataset.contract, 'demos')
