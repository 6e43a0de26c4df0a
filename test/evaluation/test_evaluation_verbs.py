"""The verbs of evaluation as a user meets them: tables, files, and one line for bad input."""

import json
import shutil

import pytest

from vla_nav.cli import main
from vla_nav.evaluation.models import open_model
from vla_nav.evaluation.store import AttemptLog


@pytest.fixture
def run(capsys):
    """Run a verb in this process; returns exit code, output and errors."""
    def call(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err
    return call


def test_offline_prints_a_table_and_writes_figures(run, steady, dataset_folder, tmp_path):
    code, out, _ = run('offline', '--model', steady, '--data', dataset_folder, '--json',
                       tmp_path / 'deep' / 'errors.json', '--plot', tmp_path / 'errors.png')
    assert code == 0
    assert 'RMSE' in out and 'm/s' in out and '0.70 s' in out
    figures = json.loads((tmp_path / 'deep' / 'errors.json').read_text())
    assert len(figures['dimensions'][1]['rmse']) == 8
    assert (tmp_path / 'errors.png').read_bytes().startswith(b'\x89PNG')


def test_similarity_prints_how_alike_they_are(run, frozen, lora, dataset_folder, tmp_path):
    code, out, _ = run('similarity', frozen, lora, '--data', dataset_folder, '--frames', '20',
                       '--json', tmp_path / 'alike.json', '--plot', tmp_path / 'alike.png')
    assert code == 0
    for text in ('cosine', 'linear CKA', 'frozen moved by the sentence', 'all tokens'):
        assert text in out
    figures = json.loads((tmp_path / 'alike.json').read_text())
    assert figures['similarity'] == pytest.approx(min(figures['cosine']['p50'], figures['cka']))
    assert (tmp_path / 'alike.png').read_bytes().startswith(b'\x89PNG')


def test_rollout_writes_every_attempt(run, steady, tmp_path):
    code, out, _ = run('rollout', '--model', steady, '--scenes', '2', '--level', 'easy',
                       '--workers', '1', '--json', tmp_path / 'attempts.json')
    assert code == 0 and 'path efficiency' in out
    figures = json.loads((tmp_path / 'attempts.json').read_text())
    assert [a['seed'] for a in figures['attempts']] == [1_000_000_000, 1_000_000_001]
    assert figures['sha256'] and figures['split'] == 'seen'


def test_an_interrupted_rollout_goes_on(run, steady, tmp_path, monkeypatch):
    words = ['rollout', '--model', steady, '--level', 'easy', '--workers', '1', '--json',
             tmp_path / 'attempts.json']
    run(*words, '--scenes', '3')
    whole = (tmp_path / 'attempts.json').read_text()
    append = AttemptLog.append

    def interrupted(log, attempts):
        append(log, attempts)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AttemptLog, 'append', interrupted)
        run(*words, '--scenes', '1')
    log = tmp_path / 'attempts.json.part'
    assert len(log.read_text().splitlines()) == 2
    driven = []
    monkeypatch.setattr(AttemptLog, 'append', lambda _, attempts: driven.extend(attempts))
    assert run(*words, '--scenes', '3')[0] == 0
    assert len(driven) == 2 and not log.exists()
    assert (tmp_path / 'attempts.json').read_text() == whole


def test_compare_writes_a_report(run, comparison, frozen, lora, dataset_folder, out, tmp_path,
                                 monkeypatch):
    """On top of what another comparison of these models left."""
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(out, tmp_path / 'out')
    models = [shutil.copytree(model, tmp_path / model.name) for model in (lora, frozen)]
    code, printed, _ = run('compare', *models, '--data', dataset_folder, '--scenes', '1',
                           '--frames', '16', '--workers', '1', '--out', folder, '--record')
    assert code == 0
    assert 'parameters trained' in printed and 'report.html' in printed
    for name in ('report.md', 'report.html', 'compare.json'):
        assert (folder / name).stat().st_size > 1000
    figures = json.loads((folder / 'compare.json').read_text())
    assert [each['path'] for each in figures['models'].values()] == ['lora', 'frozen']
    for model in models:
        card = (model / 'README.md').read_text()
        assert '| success (standard, unseen-pairs) |' in card and '| obedience (' in card
        open_model(model)


def test_bad_input_is_one_line(run, frozen, lora, dataset_folder, tmp_path):
    empty = tmp_path / 'empty'
    shutil.copytree(dataset_folder, empty)
    shutil.rmtree(empty / 'videos')
    (tmp_path / 'file').write_text('')
    good = ('--data', dataset_folder)
    for words, message in [
        (('offline', '--model', 'nowhere', *good), "model 'nowhere': not found"),
        (('offline', '--model', frozen, '--data', tmp_path / 'nothing'), 'does not exist'),
        (('offline', '--model', frozen, '--data', empty), 'is not a readable video'),
        (('offline', '--model', frozen, *good, '--device', 'abacus'), "device 'abacus'"),
        (('similarity', frozen, frozen, *good), 'are the same model'),
        (('similarity', frozen, lora, *good, '--frames', '3'), 'at least 8'),
        (('similarity', frozen, lora, *good, '--frames', '0'), '0 frames were asked for'),
        (('rollout', '--model', frozen, '--split', 'sen'), "split is 'sen'"),
        (('rollout', '--model', frozen, '--workers', '0'), '--workers is 0'),
        (('compare', frozen, *good, '--out', tmp_path / 'out'), 'at least two'),
        (('compare', frozen, lora, *good, '--out', tmp_path / 'out', '--scenes', '0'),
         'scenes is 0'),
        (('compare', frozen, lora, *good, '--out', tmp_path / 'out', '--level', 'hrad'),
         "level is 'hrad'"),
        (('compare', frozen, lora, *good, '--out', tmp_path / 'file'), 'cannot write'),
        (('compare', frozen, lora, *good, '--out', tmp_path / 'out', '--report-only', '--record'),
         'without --episodes and --record'),
        (('compare', frozen, lora, *good, '--out', tmp_path / 'out', '--report-only'),
         'latency of '),
    ]:
        code, _, err = run(*words)
        assert code == 2, words
        assert message in err, err
        assert 'Traceback' not in err


@pytest.mark.parametrize('verb', ['offline', 'similarity', 'compare', 'rollout'])
def test_help_has_examples(verb, capsys):
    with pytest.raises(SystemExit, match='0'):
        main([verb, '--help'])
    assert f'vla_nav {verb}' in capsys.readouterr().out.split('examples:')[1]
