"""Timing, results, and the sections that this machine cannot run as they are meant."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from harness import ROOT

from vla_nav.bench import gpu
from vla_nav.bench.machine import Others
from vla_nav.bench.result import Goal, Result, Skipped
from vla_nav.bench.run import Bench, copy_checkpoint, measured, run, write_json
from vla_nav.bench.timing import alternate, paced
from vla_nav.policy import Checkpoint, validate

TINY = {
    'vision_config': {
        'model_type': 'siglip_vision_model', 'hidden_size': 32, 'intermediate_size': 64,
        'num_hidden_layers': 2, 'num_attention_heads': 2, 'patch_size': 14, 'image_size': 56,
        'vision_use_head': False},
    'text_config': {
        'model_type': 'gemma', 'hidden_size': 48, 'intermediate_size': 96,
        'num_hidden_layers': 2, 'num_attention_heads': 2, 'num_key_value_heads': 1,
        'head_dim': 24, 'vocab_size': 512},
}


@pytest.fixture
def bench(models, tmp_path):
    return Bench(models / 'forward', tmp_path, quick=True)


def test_what_others_take_of_the_machine():
    """A process beside this one counts, its own work does not."""
    others = Others()
    busy = subprocess.Popen([sys.executable, '-c', 'while True: pass'])
    time.sleep(1.0)
    share = others.share()
    others = Others()
    busy.kill()
    busy.wait()
    assert share is None or share > 0.05
    assert others.share() is None or others.share() >= 0


def test_a_function_is_not_charged_for_the_one_before():
    """Whose threads are in its way for a while."""
    until_s = 0.0

    def ours():
        time.sleep(0.008 if time.perf_counter() < until_s else 0.001)

    def theirs():
        nonlocal until_s
        time.sleep(0.001)
        until_s = time.perf_counter() + 0.02

    times = alternate({'ours': ours, 'theirs': theirs}, 0.5)
    assert 0.001 <= times['ours'].s < 0.006
    assert all(len(t.durations) >= 30 for t in times.values())


def test_of_a_slow_function_every_second_call_counts():
    calls = []
    times = alternate({'slow': lambda: (calls.append('s'), time.sleep(0.11)),
                       'quick': lambda: calls.append('q')}, 0.01)
    assert ''.join(calls).startswith('ssq') and 'qss' in ''.join(calls)
    assert len(times['slow'].durations) == calls.count('s') / 2 == 3
    assert times['slow'].s >= 0.11 > times['quick'].s


def test_a_paced_function_waits_for_its_time():
    began, calls = time.perf_counter(), []
    timing = paced(lambda: calls.append(1), 50.0, 0.2)
    assert time.perf_counter() - began >= 0.18
    assert 3 <= len(calls) <= 12 and timing.s < 0.02


@pytest.mark.parametrize('result, met', [
    (Result('s', 'n', 9.0, 'ms', 'it', 2.0, Goal(2)), True),
    (Result('s', 'n', 9.0, 'ms', 'it', 1.9, Goal(2)), False),
    (Result('s', 'n', 9.0, 'ms', 'it', 1.9, Goal(2, at_most=True)), True),
    (Result('s', 'n', 9.0, 'ms', 'it', 1.0, Goal(5, at_most=True, of_value=True)), False),
    (Result('s', 'n', 31.0, 'Hz', goal=Goal(30)), True),
    (Result('s', 'n', 31.0, 'Hz'), None),
])
def test_goals(result, met):
    assert result.met is met


def test_what_was_measured_before_an_interrupt_is_kept(bench, monkeypatch, tmp_path):
    def sections(bench, name):
        if name == 'node':
            raise KeyboardInterrupt
        if name == 'engines':
            raise Skipped('nothing to run')
        yield Result(name, 'a figure', 1.0, 'ms')

    monkeypatch.setattr('vla_nav.bench.run.measured', sections)
    results, skips = [], {}
    with pytest.raises(KeyboardInterrupt):
        run(bench, ['preprocessing', 'engines', 'node', 'ticks'], results.append,
            skips.__setitem__)
    write_json(tmp_path / 'speed.json', bench, results, skips)
    said = json.loads((tmp_path / 'speed.json').read_text())
    assert [r['section'] for r in said['results']] == ['preprocessing']
    assert said['skipped'] == {'engines': 'nothing to run'}


def test_without_onnx_the_other_engines_are_measured(bench, monkeypatch):
    def graph(precision):
        raise Skipped('no exporter')

    monkeypatch.setattr(bench, 'graph', graph)
    results = []
    with pytest.raises(Skipped, match='no exporter'):
        for result in measured(bench, 'engines'):
            results.append(result)
    assert results and not any('onnx' in result.name for result in results)


def test_a_graph_that_is_refused_takes_no_figures_of_the_other(bench, monkeypatch):
    monkeypatch.setattr('vla_nav.policy.export.INT8_TOLERANCE', -1.0)
    names = []
    with pytest.raises(Skipped, match='onnx int8: .* expected at most -1; use precision float32'):
        for result in measured(bench, 'engines'):
            names.append(result.name)
    assert any(name.startswith('onnx (CPU)') for name in names)


def test_the_gpu_section_at_a_tiny_shape(bench):
    """As on a GPU, but that nothing can be captured: image to chunk against its floor."""
    import torch

    results = list(gpu.image_to_chunk(bench, TINY, 'cpu', torch.float32))
    eager, floor = results
    assert 'torch' in eager.name and eager.ratio > 0.2
    assert floor.ratio > 1 and 'TFLOP' in floor.against


def test_training_steps_at_a_tiny_shape(bench):
    import torch

    head, lora, again = gpu.training_steps(bench, TINY, 'cpu', torch.float32)
    assert head.ratio == 1.0 and min(lora.value, again.value) > 0
    assert 'LoRA' in lora.name and 'checkpointing' in again.name


def test_the_gpu_section_without_a_gpu(bench, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(Skipped, match='torch sees no GPU here'):
        list(measured(bench, 'gpu'))


def test_frames_are_of_the_models_size(bench):
    camera = bench.checkpoint.contract.camera
    first, second = bench.frames(2)
    assert first.image.shape == (camera.height, camera.width, 3)
    assert not np.array_equal(first.image, second.image)


def test_a_copy_of_a_model_finds_the_backbone_it_shares(tmp_path):
    shared = ROOT / 'models' / 'nano_lora'
    copy = copy_checkpoint(shared, tmp_path / 'second_model')
    assert validate(copy).model_sha256 == Checkpoint.open(shared, quick=True).model_sha256
    assert not (copy_checkpoint(ROOT / 'models' / 'nano', tmp_path / 'own')).is_symlink()
    assert (tmp_path / 'nano').is_symlink()
