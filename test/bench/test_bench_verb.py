"""`vla_nav bench`: every section gives figures; that they are quick is nobody's promise here."""

import json
import subprocess
import sys

import pytest
from harness import PATIENCE_S, environment

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


@pytest.fixture(scope='module')
def bench(models):
    """Run `vla_nav bench ...` on the tiny model."""
    def run(*words):
        return subprocess.run(
            [sys.executable, '-m', 'vla_nav', 'bench', '--model', str(models / 'forward'), *words],
            capture_output=True, text=True, timeout=6 * PATIENCE_S, check=False,
            env=environment())
    return run


@pytest.fixture(scope='module')
def everything(bench, tmp_path_factory):
    """All sections in one run, and what it wrote."""
    path = tmp_path_factory.mktemp('bench') / 'speed.json'
    done = bench('--quick', '--json', str(path))
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, json.loads(path.read_text())


def test_every_section_has_figures_or_a_reason(everything):
    from vla_nav.bench.run import SECTIONS

    _, said = everything
    measured = {result['section'] for result in said['results']}
    assert measured | set(said['skipped']) == set(SECTIONS)
    assert set(said['skipped']) <= {'gpu', 'simulator', 'rollouts'}
    if 'gpu' in said['skipped']:
        assert 'torch sees no GPU here' in said['skipped']['gpu']


def test_figures_stand_beside_what_they_are_held_against(everything):
    _, said = everything
    assert said['quick'] and said['machine']['processor'] and said['machine']['torch']
    for result in said['results']:
        assert result['value'] >= 0 and (result['ratio'] is None) == (not result['against'])
        assert (result['met'] is None) == (result['goal'] is None)
    sections = {section: [r for r in said['results'] if r['section'] == section]
                for section in ('engines', 'node', 'ticks')}
    for name in ('transformers', 'torch, fixed shapes', 'onnx (CPU)', 'onnx int8 (CPU)'):
        assert any(name in r['name'] for r in sections['engines'])
    through = ' '.join(r['name'] for r in sections['node'])
    assert 'torch' in through and 'onnx' in through
    assert any('max' in r['name'] for r in sections['ticks'])
    assert any('swaps' in r['name'] for r in sections['ticks'])


def test_the_table_says_which_goals_are_met(everything):
    table, said = everything
    assert table.count('met: ') == sum(r['met'] is True for r in said['results'])
    assert table.count('missed: ') == sum(r['met'] is False for r in said['results'])


@pytest.mark.parametrize('words, message', [
    (('engine',), "unknown section 'engine'; known are preprocessing, engines"),
    (('--seconds', '0'), '--seconds is 0; expected more than 0'),
    (('--model', 'nowhere/nothing'), 'found nothing there'),
])
def test_bad_input_is_one_line(bench, words, message):
    done = bench(*words)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count('\n') == 1
