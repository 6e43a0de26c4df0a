"""Models are measured on the same things, once, and held against the frozen one pair by pair."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from vla_nav.contract import Camera
from vla_nav.evaluation.comparison import CompareSettings, compare
from vla_nav.evaluation.contrasts import candidates, costs, further, outcomes
from vla_nav.evaluation.curve import Curve
from vla_nav.evaluation.document import Rate, Table, write_html, write_markdown
from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.models import open_model, open_models, trainable_parameters
from vla_nav.evaluation.offline import offline_errors
from vla_nav.evaluation.report import Report
from vla_nav.evaluation.rollout import Attempt
from vla_nav.evaluation.store import Store
from vla_nav.policy import CheckpointError, Policy


def drawn(outcomes, distance=0.5, swapped=False):
    """Attempts at scenes 0, 1, 2 ... of which `outcomes` says whether they succeed."""
    return [Attempt(seed, 0, swapped, 'go', 'success' if done else 'timeout', None, 9.0, distance,
                    2.0, 0.8 * done) for seed, done in enumerate(outcomes)]


def made_up(measured, plain, unseen=None, **facts):
    return dataclasses.replace(measured, seen=drawn(plain), unseen=drawn(unseen or plain),
                               **facts)


def test_the_frozen_model_is_the_reference(comparison):
    assert [m.model.label for m in comparison.measured] == ['lora', 'frozen']
    assert comparison.frozen.model.label == 'frozen'
    lora, frozen = comparison.measured
    assert frozen.similarity is None and 0 < lora.similarity.score < 1
    assert len(lora.movement) == len(frozen.movement) == 16


def test_everything_is_measured_on_the_same_things(comparison, dataset, lora):
    for one, other in [comparison.measured]:
        assert [(a.seed, a.target, a.instruction) for a in one.seen] == [
            (a.seed, a.target, a.instruction) for a in other.seen]
    errors = offline_errors(Policy.load(lora, device='cpu'), dataset, comparison.episodes)
    assert comparison.measured[0].errors.rmse == pytest.approx(errors.rmse)
    assert comparison.episodes == (0, 1, 2) and comparison.unseen_data


def test_a_second_call_measures_nothing_and_finds_the_same(comparison, frozen, lora,
                                                           dataset_folder, out):
    before = {path: path.stat().st_mtime_ns for path in out.glob('*/*.json*')}
    assert len(before) == 5 + 5, 'per model two logs, errors, contexts and latency'
    again = compare([lora, frozen], dataset_folder, out, comparison.settings)
    assert {path: path.stat().st_mtime_ns for path in out.glob('*/*.json*')} == before
    for one, other in zip(comparison.measured, again.measured):
        assert one.seen == other.seen and one.unseen == other.unseen
        assert one.latency == other.latency
        assert one.errors.rmse == pytest.approx(other.errors.rmse)
        assert one.movement == pytest.approx(other.movement)


def test_a_model_that_is_added_costs_only_its_own_measurements(
        comparison, frozen, save_model, dataset_folder, out, tmp_path):
    copied = shutil.copytree(out, tmp_path / 'out')
    before = {path: path.stat().st_mtime_ns for path in copied.glob('*/*.json*')}
    added = save_model('added', provenance={'data': {'dataset_sha256': 'another'}},
                       **{'head.width': 8})
    found = compare([frozen, added], dataset_folder, copied, comparison.settings)
    after = {path: path.stat().st_mtime_ns for path in copied.glob('*/*.json*')}
    assert {path: after[path] for path in before} == before
    sha256 = open_model(added).sha256
    assert [path.name[:12] for path in after if path not in before] == [sha256[:12]] * 5
    assert found.frozen.latency == comparison.frozen.latency
    assert not found.unseen_data, 'the one added may know these episodes from that dataset'


@pytest.fixture
def moved(comparison, frozen, lora, out, tmp_path):
    """Models and results as brought from another machine, without the weights."""
    folder = shutil.copytree(out, tmp_path / 'out')
    for path in folder.glob('latency/*.json'):
        kept = json.loads(path.read_text())
        path.unlink()
        Store(folder).get('latency', kept['key'] | {'hardware': 'Another Machine'},
                          lambda kept=kept: kept['result'])
    models = []
    for model in (lora, frozen):
        models.append(tmp_path / model.name)
        models[-1].mkdir()
        said = json.loads((model / 'policy.json').read_text())
        said['provenance'] = {'measured': {'training': {
            'trainable_parameters': trainable_parameters(open_model(model))}}}
        (models[-1] / 'policy.json').write_text(json.dumps(said))
    return models, folder


def test_a_report_needs_no_weights(comparison, moved, dataset_folder):
    models, folder = moved
    before = {path: path.stat().st_mtime_ns for path in folder.glob('*/*.json*')}
    with pytest.raises(CheckpointError, match='it is missing'):
        compare(models, dataset_folder, folder, comparison.settings)
    found = compare(models, dataset_folder, folder, comparison.settings, measure=False)
    assert {path: path.stat().st_mtime_ns for path in folder.glob('*/*.json*')} == before
    assert found.machine == comparison.machine | {'hardware': 'Another Machine'}
    for one, other in zip(comparison.measured, found.measured):
        assert one.seen == other.seen and one.unseen == other.unseen
        assert one.latency == other.latency
        assert one.errors.rmse == pytest.approx(other.errors.rmse)
    assert Report(found).overview().rows == Report(comparison).overview().rows


def test_latencies_of_two_machines_are_told_apart(comparison, frozen, lora, moved, save_model,
                                                  dataset_folder):
    models, folder = moved
    added = save_model('added', **{'head.width': 8})
    compare([frozen, added], dataset_folder, folder, comparison.settings)
    for path in folder.glob(f'latency/{open_model(frozen).sha256[:12]}*'):
        if 'Another' not in path.read_text():
            path.unlink()
    found = compare([*models, added], dataset_folder, folder, comparison.settings, measure=False)
    assert found.machine['hardware'] == 'Another Machine'
    report = Report(found)
    latencies = [row[report.overview().header.index('latency p50 / p99')]
                 for row in report.overview().rows]
    here = comparison.machine['hardware']
    assert [f'({here})' in latency for latency in latencies] == [False, False, True]
    assert 'latency' in costs(found.measured[0], found.frozen)
    assert 'latency' not in costs(found.measured[2], found.frozen)


@pytest.mark.parametrize('kind, missing', [
    ('rollouts', '[23] rollouts .*of lora'), ('offline', 'errors of lora'),
    ('contexts', 'contexts of lora'), ('latency', 'latency of lora')])
def test_a_report_says_what_was_not_measured(comparison, lora, moved, dataset_folder, kind,
                                             missing):
    models, folder = moved
    for path in folder.glob(f'{kind}/{open_model(lora).sha256[:12]}*'):
        path.unlink()
    with pytest.raises(EvaluationError, match=f'{missing}.* without --report-only'):
        compare(models, dataset_folder, folder, comparison.settings, measure=False)
    assert not list(folder.glob('*/*.part'))


def test_more_scenes_keep_those_driven_before(comparison, frozen, lora, dataset_folder, out,
                                              tmp_path):
    copied = shutil.copytree(out, tmp_path / 'out')
    logs = {path: path.read_text() for path in copied.glob('rollouts/*.jsonl')}
    more = compare([lora, frozen], dataset_folder, copied,
                   dataclasses.replace(comparison.settings, scenes=3))
    assert len(more.measured[0].plain) == 3
    assert more.measured[0].plain[:2] == comparison.measured[0].plain
    for path, text in logs.items():
        assert path.read_text().startswith(text) and path.read_text() != text


def test_the_model_card_does_not_decide_whether_it_was_measured(save_model, frozen):
    from vla_nav.policy.measured import record_measured

    path = save_model('card', **{'head.width': 8})
    before = open_model(path)
    record_measured(path, {'success': '3 of 4'})
    after = open_model(path)
    assert before.checkpoint.sha256 != after.checkpoint.sha256
    assert before.sha256 == after.sha256 != open_model(frozen).sha256


def test_latency_is_that_of_the_model_alone(comparison, frozen):
    latency = comparison.frozen.latency
    policy = Policy.load(frozen, device='cpu')
    assert 0 < latency.p50_s <= latency.p99_s
    assert latency.steps >= 30
    assert latency.parameters == sum(
        p.numel() for part in (policy.backbone.model, policy.head) for p in part.parameters())
    assert latency.memory_bytes > 2 ** 26


def test_trained_parameters_are_counted_in_the_files(frozen, lora, save_model):
    head = sum(p.numel() for p in Policy.load(frozen, device='cpu').head.parameters())
    assert trainable_parameters(open_model(frozen)) == head
    from vla_nav.policy import Backbone, Tuning
    model = open_model(lora)
    tuning = Tuning(Backbone.load(model.path / 'backbone'), 'lora',
                    model.checkpoint.variant.lora)
    assert trainable_parameters(model) == head + sum(p.numel() for p in tuning.parameters())
    full = open_model(save_model('full', 'openvla_full'))
    backbone = Backbone.load(full.path / 'backbone').model
    assert trainable_parameters(full) == sum(p.numel() for p in backbone.parameters())


def test_differences_are_paired_by_scene(comparison):
    lora, frozen = comparison.measured
    better = made_up(lora, [1] * 30 + [0] * 10)
    worse = made_up(frozen, [1] * 20 + [0] * 20)
    found = outcomes(better, worse)
    assert found['success'].value == pytest.approx(0.25)
    assert found['success'].p == pytest.approx(2 / 2 ** 10), 'ten scenes differ, all one way'
    assert 'obedience' not in found, 'no sentence was swapped'
    with pytest.raises(ValueError, match='the same scenes'):
        outcomes(better, made_up(frozen, [1] * 39))


def test_obedience_is_compared_scene_by_scene(comparison):
    lora, frozen = comparison.measured
    obeys, ignores = (dataclasses.replace(
        measured, seen=drawn([1] * 8) + drawn(done, swapped=True), unseen=drawn([1] * 8))
        for measured, done in ((lora, [1] * 8), (frozen, [0] * 8)))
    difference = outcomes(obeys, ignores)['obedience']
    assert difference.value == 1.0 and difference.p == pytest.approx(2 / 2 ** 8)


def test_p_is_adjusted_for_all_models_and_outcomes(comparison):
    lora, frozen = comparison.measured
    reference = made_up(frozen, [1] * 20 + [0] * 20)
    three = [made_up(lora, [1] * count + [0] * (40 - count), model=dataclasses.replace(
        lora.model, label=f'lora{count}')) for count in (20, 27, 32)]
    changed = dataclasses.replace(comparison, measured=(reference, *three), frozen=reference)
    found = candidates(changed)
    assert [c.name for c in found] == ['lora20', 'lora27', 'lora32']
    raw = found[1].contrasts[0].difference.p
    assert raw == pytest.approx(2 / 2 ** 7)
    assert raw < 0.05 < found[1].contrasts[0].adjusted <= 1, '6 comparisons'
    assert [c.finding for c in found][2] == 'pays'
    again = dataclasses.replace(comparison, measured=(reference, made_up(frozen, [1] * 40)),
                                frozen=reference)
    assert [c.frozen for c in found + candidates(again)] == [False] * 3 + [True]


def test_costs_are_multiples_of_what_is_known(comparison):
    lora, frozen = comparison.measured
    found = costs(lora, frozen)
    assert set(found) == {'trainable parameters', 'latency'}
    assert found['trainable parameters'] == pytest.approx(
        trainable_parameters(lora.model) / trainable_parameters(frozen.model))

    def told(m, seconds, **place):
        return dataclasses.replace(m, model=dataclasses.replace(
            m.model, checkpoint=dataclasses.replace(m.model.checkpoint, provenance={'measured': {
                'training': {'seconds': seconds, 'peak_memory_bytes': 2 ** 30,
                             'trainable_parameters': 100, **place}}})))

    here = {'device': 'cpu, 2 threads', 'processes': 1}
    everywhere = {'trainable parameters': 1.0,
                  'latency': lora.latency.p50_s / frozen.latency.p50_s}
    assert costs(told(lora, 90.0, **here), told(frozen, 30.0, **here)) == {
        **everywhere, 'training time': 3.0, 'peak memory of training': 1.0}
    for place in ({**here, 'device': 'NVIDIA H200'}, {**here, 'processes': 2}, {}):
        assert costs(told(lora, 90.0, **place), told(frozen, 30.0, **here)) == everywhere


def test_continuous_figures_are_compared_too(comparison):
    figures = {f.figure: f for f in further(comparison, comparison.measured[0])}
    assert set(figures) == {'RMSE of linear.x', 'RMSE of angular.z', 'final distance',
                            'path efficiency'}, 'nothing succeeded, so no times'
    lora, frozen = comparison.measured
    assert figures['RMSE of angular.z'].difference.value == pytest.approx(
        lora.errors.rmse[0, 1] - frozen.errors.rmse[0, 1])
    assert figures['final distance'].difference.value == pytest.approx(
        np.mean([a.distance_m for a in lora.plain]) - np.mean([a.distance_m
                                                               for a in frozen.plain]))


def test_the_report_is_complete_and_needs_nothing_else(comparison, tmp_path):
    curve = Curve('lora_head', {10: drawn([1, 0, 0]), 20: drawn([1, 1, 0])})
    report = Report(comparison, [curve])
    report.write(tmp_path)
    page = (tmp_path / 'report.html').read_text()
    assert page.count('data:image/png;base64,') == 6
    assert 'http' not in page and 'src="plots' not in page
    assert report.verdict.title in page
    for text in ('McNemar', 'Holm', 'scene seeds 1000000000 to 1000000001', 'unseen pairs',
                 'lora_head: from 10 to 20 episodes'):
        assert text in page, text
    text = (tmp_path / 'report.md').read_text()
    assert f'> **{report.verdict.title}.**' in text
    for name in ('outcomes', 'errors', 'cosines', 'movement', 'contexts', 'episodes'):
        assert f'(plots/{name}.png)' in text
        assert (tmp_path / 'plots' / f'{name}.png').read_bytes().startswith(b'\x89PNG')
    figures = json.loads((tmp_path / 'compare.json').read_text())
    assert set(figures['models']) == {'lora', 'frozen'}
    assert figures['models']['lora']['seen']['scenes'] == 2
    assert figures['contrasts']['lora']['outcomes']['success']['units'] == 2
    assert figures['verdict']['sentences'] == list(report.verdict.sentences)


def test_a_report_without_a_frozen_model_says_so(comparison, tmp_path):
    measured = tuple(dataclasses.replace(m, similarity=None) for m in comparison.measured)
    report = Report(dataclasses.replace(comparison, measured=measured, frozen=None))
    assert report.verdict.title == 'No verdict'
    report.write(tmp_path)
    assert 'No verdict' in (tmp_path / 'report.html').read_text()
    assert json.loads((tmp_path / 'compare.json').read_text())['contrasts'] == {}


def test_text_from_models_cannot_become_markup(tmp_path):
    table = Table(['model'], [['<b>a|b</b>'], [Rate(0.5, 0.25, 0.75)]])
    write_html(tmp_path / 'a.html', 'A & B', [table])
    page = (tmp_path / 'a.html').read_text()
    assert '&lt;b&gt;a|b&lt;/b&gt;' in page and 'A &amp; B' in page
    write_markdown(tmp_path / 'a.md', 'A', [table])
    assert '| <b>a\\|b</b> |\n| 50.0 % (25.0 to 75.0) |' in (tmp_path / 'a.md').read_text()


def test_one_model_is_not_enough(frozen, dataset_folder, out):
    with pytest.raises(EvaluationError, match='1 model given; expected at least two'):
        compare([frozen], dataset_folder, out, CompareSettings())


def test_the_same_model_twice_is_refused(frozen, dataset_folder, tmp_path, out):
    copy = shutil.copytree(frozen, tmp_path / 'copy')
    with pytest.raises(EvaluationError, match='copy and .*frozen are the same model'):
        compare([frozen, copy], dataset_folder, out, CompareSettings())


def test_models_for_different_cameras_are_refused(frozen, save_model, dataset_folder, out):
    from tiny_models import CONTRACT
    wide = save_model('wide', contract=dataclasses.replace(CONTRACT, camera=Camera(
        width=96, height=64, crop=CONTRACT.camera.crop)))
    with pytest.raises(EvaluationError, match='camera.width is 96 in wide and 64 in frozen'):
        compare([frozen, wide], dataset_folder, out, CompareSettings())


def test_a_reference_must_be_there_and_frozen(frozen, lora, dataset_folder, out):
    with pytest.raises(EvaluationError, match='reference nano is not among .* lora, frozen'):
        compare([lora, frozen], dataset_folder, out, CompareSettings(), 'nano')
    with pytest.raises(EvaluationError, match='reference lora was trained with tune: lora'):
        compare([lora, frozen], dataset_folder, out, CompareSettings(), 'lora')


def test_models_of_one_name_are_told_apart(tmp_path, frozen, lora):
    paths = [shutil.copytree(source, tmp_path / name / 'policy')
             for name, source in (('monday', frozen), ('tuesday', lora))]
    assert [m.label for m in open_models(paths)] == ['monday/policy', 'tuesday/policy']
