"""Data efficiency: variants are trained on the first so many episodes, once, and driven."""

import dataclasses

import pytest

from vla_nav.evaluation.curve import measure_curves, parse_counts
from vla_nav.evaluation.errors import EvaluationError
from vla_nav.policy import Checkpoint
from vla_nav.training.settings import TrainingSettings

TRAINING = TrainingSettings(steps=2, batch=2, warm_up=1, validation_frames=16)


@pytest.fixture(scope='module')
def short(comparison):
    """The comparison, of models that say they were trained in two steps."""
    def told(measured):
        checkpoint = dataclasses.replace(measured.model.checkpoint, provenance={
            'training': TRAINING.to_dict()})
        return dataclasses.replace(measured, model=dataclasses.replace(
            measured.model, checkpoint=checkpoint))

    lora, frozen = map(told, comparison.measured)
    return dataclasses.replace(comparison, measured=(lora, frozen), frozen=frozen)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('curves')


@pytest.fixture(scope='module')
def curves(short, folder):
    return measure_curves(short, [2, 3], folder)


def test_each_variant_is_trained_on_the_first_episodes(curves, short, folder, dataset):
    found = {}
    for path in folder.glob('curve/*/policy.json'):
        checkpoint = Checkpoint.open(path.parent)
        data = checkpoint.provenance['data']
        assert data['dataset_sha256'] == dataset.sha256
        found[checkpoint.variant.name, data['training_episodes']] = checkpoint
    assert set(found) == {('lora_head', 2), ('lora_head', 3), ('frozen_head', 2),
                          ('frozen_head', 3)}
    assert {c.provenance['seed'] for c in found.values()} == {short.settings.seed}
    assert found['lora_head', 3].variant == short.measured[0].model.checkpoint.variant


def test_all_are_driven_through_the_same_scenes(curves, short):
    assert [curve.label for curve in curves] == ['lora', 'frozen']
    for curve in curves:
        assert list(curve.attempts) == [2, 3]
        for attempts in curve.attempts.values():
            assert [a.seed for a in attempts] == list(short.settings.seen.seeds)
        assert curve.finding.startswith(f'{curve.label}: from 2 to 3 episodes')


def test_nothing_is_trained_or_driven_twice(curves, short, folder):
    def state():
        return {path: path.stat().st_mtime_ns for pattern in ('curve/*/*', 'rollouts/*')
                for path in folder.glob(pattern)}

    before = state()
    again = measure_curves(short, [2, 3], folder)
    assert state() == before
    assert [curve.attempts for curve in again] == [curve.attempts for curve in curves]


def test_a_fully_trained_model_needs_the_backbone_it_began_with(short, save_model, tmp_path):
    from vla_nav.evaluation.models import open_model
    full = dataclasses.replace(short.measured[0], model=open_model(
        save_model('everything', 'openvla_full')))
    alone = dataclasses.replace(short, measured=(full, short.measured[0]), frozen=None)
    with pytest.raises(EvaluationError, match='everything was trained with tune: full.*give a '
                       'frozen model'):
        measure_curves(alone, [2, 3], tmp_path)


@pytest.mark.parametrize('said', [{'backbone_sha256': 'f' * 64}, {'backbone_parameters': 256}])
def test_a_fully_trained_model_does_not_begin_with_another_backbone(short, save_model, tmp_path,
                                                                    said):
    from vla_nav.evaluation.models import open_model
    full = dataclasses.replace(short.measured[0], model=open_model(
        save_model('everything', 'openvla_full', provenance=said)))
    frozen = dataclasses.replace(short.frozen, model=dataclasses.replace(
        short.frozen.model, checkpoint=dataclasses.replace(
            short.frozen.model.checkpoint, provenance={'backbone_parameters': 500})))
    mixed = dataclasses.replace(short, measured=(full, frozen), frozen=frozen)
    with pytest.raises(EvaluationError, match='that of frozen is another; give a frozen model'):
        measure_curves(mixed, [2, 3], tmp_path)


@pytest.mark.parametrize('text', ['50', '3,2', '2,2', '1,2', 'two,3', ''])
def test_counts_must_ascend(text, dataset_folder):
    with pytest.raises(EvaluationError, match='expected at least two ascending numbers'):
        parse_counts(text, dataset_folder)


def test_more_episodes_than_there_are_is_said_before_anything_is_measured(dataset_folder):
    assert parse_counts('2,3', dataset_folder) == [2, 3]
    with pytest.raises(EvaluationError, match='500 episodes were asked for, .* has 3;'):
        parse_counts('2,500', dataset_folder)
