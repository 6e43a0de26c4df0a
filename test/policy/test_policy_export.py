"""A checkpoint's ONNX graph: written, compared, verified, and run by ONNX Runtime."""

import json
import shutil
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from policy_families import random_images
from transformers import AutoConfig, AutoModelForImageTextToText

from vla_nav.contract import Camera, Contract, Frame
from vla_nav.policy import (
    Backbone,
    CheckpointError,
    ContextSettings,
    HeadSettings,
    Policy,
    TokenSettings,
    Variant,
    choose_token_ids,
    make_head,
)
from vla_nav.policy.measured import record_measured
from vla_nav.policy.onnx_engine import EngineMissing, providers, session_threads

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

from vla_nav.policy.export import ExportError, export  # noqa: E402

WORDS = ['go to the red cone', 'go', 'head for the yellow cylinder on the left']


@pytest.fixture(scope='module')
def exported(checkpoint_folder, tmp_path_factory):
    """A checkpoint with its graph."""
    folder = shutil.copytree(checkpoint_folder, tmp_path_factory.mktemp('models') / 'exported')
    export(folder, frames=40)
    return folder


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / 'exported')


def episode(policy, sentence, steps=20):
    policy.reset(sentence)
    return np.stack([policy.step(Frame(random_images(1, seed=i)[0], i)).actions
                     for i in range(steps)])


def test_the_graph_says_what_it_is(exported):
    said = json.loads((exported / 'engine' / 'engine.json').read_text())
    assert 0 <= said['max_error'] < 1e-4 and said['frames'] == 40
    assert said['image'] == 'image' and set(said['files']) == {'policy.onnx'}
    assert {'torch', 'onnx', 'transformers'} <= set(said['versions'])


def operators(folder):
    """How often a checkpoint's graph has each operator."""
    import onnx

    return Counter(n.op_type for n in onnx.load(folder / 'engine' / 'policy.onnx').graph.node)


def test_attention_is_one_operator(exported):
    found = operators(exported)
    assert found['Attention'] == 2 and found['MultiHeadAttention'] == 2  # image, text
    assert found['RotaryEmbedding'] == 4 and not found['Softmax']


def test_attention_with_fewer_keys_than_queries_is_as_torch_writes_it(
        family_folder, tmp_path, normaliser, contract, save_policy):
    folder = shutil.copytree(family_folder('idefics3'), tmp_path / 'backbone')
    config = AutoConfig.from_pretrained(folder)
    config.text_config.num_key_value_heads = 1
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    backbone = Backbone.load(folder)
    variant = Variant(head=HeadSettings(kind='mlp', width=16, layers=1, chunk=2))
    head = make_head(backbone, variant, 64, 64, 2)
    save_policy(Policy(backbone, head, variant, normaliser, contract), tmp_path / 'saved')
    assert export(tmp_path / 'saved', frames=4).max_error < 1e-4
    found = operators(tmp_path / 'saved')
    assert found['Attention'] == 2 and not found['MultiHeadAttention'] and found['Softmax'] == 2


def test_the_graph_gives_the_actions_of_torch_with_the_state_carried(exported):
    torch_policy = Policy.load(exported, engine='torch')
    policy = Policy.load(exported, engine='onnx')
    assert policy.engine.name.startswith('onnx (') and torch_policy.engine.name == 'torch'
    for sentence in WORDS:
        expected = episode(torch_policy, sentence)
        np.testing.assert_allclose(episode(policy, sentence), expected, atol=1e-5)
    # Twenty steps with a history are not twenty first steps.
    torch_policy.reset(WORDS[0])
    first = torch_policy.step(Frame(random_images(1, seed=19)[0], 19)).actions
    assert np.abs(first - episode(torch_policy, WORDS[0])[19]).max() > 1e-3


def test_a_prompt_is_padded_for_none_but_a_gpu(exported):
    engine = Policy.load(exported, engine='onnx').engine
    short, long = (engine.prepare([words])[0]['tokens'].shape[1] for words in ('go', WORDS[2]))
    assert short < long < engine.settings.length
    plain = engine.prepare(['go'])
    engine._pads = True  # What a session on a GPU sets.
    padded = engine.prepare(['go'])
    assert padded[0]['tokens'].shape[1] == engine.settings.length
    state = Policy.load(exported, engine='onnx').head.initial_state(1)
    chunks = [engine.decide(random_images(1), words, state)[0] for words in (plain, padded)]
    np.testing.assert_allclose(chunks[0], chunks[1], atol=1e-5)


def test_a_decision_leaves_the_arithmetic_of_its_thread_as_it_was(exported):
    episode(Policy.load(exported, engine='onnx'), 'go', 1)
    assert float(torch.tensor(1e-30) * torch.tensor(1e-12)) > 0


def test_rows_of_a_batch(exported):
    batches = [Policy.load(exported, engine=e).batch(3) for e in ('torch', 'onnx')]
    for step in range(3):
        frames = [Frame(image, step) for image in random_images(3, seed=step)]
        for batch in batches:
            if step == 0:
                batch.reset(WORDS)
            if step == 2:
                batch.reset('go', rows=[1])
        chunks = [np.stack([c.actions for c in batch.step(frames)]) for batch in batches]
        np.testing.assert_allclose(chunks[0], chunks[1], atol=1e-5)


def test_torch_weights_are_not_read_until_they_are_needed(exported):
    policy = Policy.load(exported, engine='onnx')
    episode(policy, 'go', 2)
    assert 'model' not in vars(policy.backbone)
    frame = Frame(random_images(1)[0], 0)
    expected = Policy.load(exported, engine='torch')
    expected.reset('go')
    np.testing.assert_allclose(policy.context(frame), expected.context(frame), atol=1e-5)


LONG = ' '.join(['turn left at the blue ball and then'] * 20)


def test_weights_that_were_changed_since_are_not_read_for_a_long_sentence(copy):
    policy = Policy.load(copy, engine='onnx')
    weights = copy / 'backbone' / 'model.safetensors'
    data = bytearray(weights.read_bytes())
    data[-100:] = bytes(100)
    weights.write_bytes(data)
    policy.reset('go')
    with pytest.raises(CheckpointError, match='model.safetensors: it was changed after'):
        policy.reset(LONG)


def test_a_sentence_longer_than_the_graph_runs_in_torch(exported):
    sentence = LONG
    policy = Policy.load(exported, engine='onnx')
    assert policy.must_load(sentence) and not policy.must_load('go')
    expected = episode(Policy.load(exported, engine='torch'), sentence, 3)
    np.testing.assert_allclose(episode(policy, sentence, 3), expected, atol=1e-5)
    assert policy.engine_in_use.name == 'torch' and not policy.must_load(sentence)
    assert not any(p.is_inference() for p in policy.backbone.model.parameters())
    policy.reset('go')
    assert policy.engine_in_use.name.startswith('onnx (')


def test_auto_takes_the_graph_on_a_cpu_and_torch_without_one(exported, checkpoint_folder):
    assert Policy.load(exported, device='cpu').engine.name == 'onnx (CPU)'
    policy = Policy.load(checkpoint_folder, device='cpu')
    assert policy.engine.name == 'torch'
    assert 'vla_nav export --model' in policy.engine.reason


def test_onnx_without_a_graph(checkpoint_folder):
    with pytest.raises(EngineMissing, match=r'engine\.json: it is missing; run `vla_nav export'):
        Policy.load(checkpoint_folder, engine='onnx')


def test_a_graph_of_another_model_is_refused(copy, make_policy, save_policy):
    engine = shutil.move(copy / 'engine', copy.parent / 'engine')
    policy = make_policy()
    policy.head.output.bias.data += 0.1
    save_policy(policy, copy)
    shutil.move(engine, copy / 'engine')
    policy.head.output.bias.data -= 0.1
    with pytest.raises(CheckpointError, match='the graph was exported from another model'):
        Policy.load(copy, engine='onnx')
    policy = Policy.load(copy, device='cpu')
    assert policy.engine.name == 'torch' and 'another model' in policy.engine.reason


def test_a_changed_graph_is_refused(copy):
    graph = copy / 'engine' / 'policy.onnx'
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(CheckpointError, match=r'policy\.onnx: wrong hash'):
        Policy.load(copy, engine='onnx')
    graph.unlink()
    with pytest.raises(CheckpointError, match=r'policy\.onnx: it is missing'):
        Policy.load(copy, engine='onnx')


@pytest.mark.parametrize('change, reason', [
    ({'format_version': 9}, 'format_version is 9, expected 2'),
    ({'files': {'../../secret': {'sha256': '0', 'size': 1}}}, "'policy.onnx' is not among"),
    ({'files': {'policy.onnx': {'sha256': '0', 'size': 1},
                '../secret': {'sha256': '0', 'size': 1}}}, 'outside the checkpoint folder'),
    ({'colour': 'red'}, 'colour'),
    ({'precision': 'int4'}, "precision is 'int4', expected one of float32, int8"),
])
def test_settings_that_are_not_in_order(copy, change, reason):
    path = copy / 'engine' / 'engine.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=reason):
        Policy.load(copy, engine='onnx')


def test_figures_do_not_make_the_graph_stale(copy):
    record_measured(copy, {'success': '90 %'})
    assert Policy.load(copy, engine='onnx').engine.name.startswith('onnx')


def test_what_cannot_be_exported(backbone, contract, normaliser, save_policy, tmp_path):
    ids = choose_token_ids(backbone.tokenizer, 16, WORDS)
    variant = Variant(decode='tokens', loss='cross_entropy', tokens=TokenSettings(16, ids),
                      head=HeadSettings(kind='none', chunk=2))
    head = make_head(backbone, variant, 64, 64, 2)
    save_policy(Policy(backbone, head, variant, normaliser, contract), tmp_path / 'words')
    with pytest.raises(ExportError, match='one token after another'):
        export(tmp_path / 'words')
    assert not (tmp_path / 'words' / 'engine').exists()


def test_a_graph_that_computes_something_else_is_not_kept(copy, monkeypatch):
    from vla_nav.policy.static import StaticForward

    before = (copy / 'engine' / 'engine.json').read_bytes()
    forward = StaticForward.forward

    def wrong(self, feed):
        fetched = forward(self, feed)
        return {**fetched, 'chunk': fetched['chunk'] + 0.1}

    monkeypatch.setattr(StaticForward, 'forward', wrong)
    with pytest.raises(ExportError, match='off by 0.1'):
        export(copy, frames=2)
    assert (copy / 'engine' / 'engine.json').read_bytes() == before
    assert [p.name for p in copy.iterdir() if p.name.startswith('.')] == []


def test_a_torch_that_is_too_old(copy, monkeypatch):
    before = (copy / 'engine' / 'engine.json').read_bytes()
    monkeypatch.setattr(torch, '__version__', type(torch.__version__)('2.5.1+cu124'))
    with pytest.raises(ExportError, match=r'torch 2\.5\.1\+cu124 cannot write.*2\.6 or newer'):
        export(copy, frames=2)
    assert (copy / 'engine' / 'engine.json').read_bytes() == before


def test_weights_of_8_bits(exported, copy):
    """About the actions of torch, from a smaller graph, and the checkpoint says which it is."""
    assert export(copy, frames=40, precision='int8').max_error < 0.1
    graphs = [folder / 'engine' / 'policy.onnx' for folder in (exported, copy)]
    assert graphs[1].stat().st_size < graphs[0].stat().st_size
    found = operators(copy)
    assert found['MatMulInteger'] and found['QAttention'] and not found['Attention']
    policy = Policy.load(copy, engine='onnx')
    assert policy.engine.name == 'onnx int8 (CPU)'
    expected = episode(Policy.load(copy, engine='torch'), WORDS[0])
    actions = episode(policy, WORDS[0])
    assert 0 < np.abs(actions - expected).max() < 0.1 < np.ptp(expected)


def test_weights_of_8_bits_that_are_too_far_off(copy, monkeypatch):
    before = (copy / 'engine' / 'engine.json').read_bytes()
    monkeypatch.setattr('vla_nav.policy.export.INT8_TOLERANCE', 1e-5)
    with pytest.raises(ExportError, match='expected at most 1e-05; use precision float32'):
        export(copy, frames=2, precision='int8')
    assert (copy / 'engine' / 'engine.json').read_bytes() == before
    with pytest.raises(ExportError, match="'int4'; expected one of float32, int8"):
        export(copy, precision='int4')


@pytest.mark.parametrize('family, head, words', [
    ('paligemma', {'kind': 'residual', 'film': True, 'state_token': True}, 8),
    ('llava', {'kind': 'mlp', 'window': 3, 'inputs': ('previous_action', 'velocity')}, 20),
])
def test_other_families_and_heads(family_folder, family, head, words, tmp_path, normaliser,
                                  contract, save_policy):
    backbone = Backbone.load(family_folder(family))
    decode = 'chunk_oft' if head['kind'] == 'residual' else 'head'
    variant = Variant(decode=decode, loss='l1' if decode == 'chunk_oft' else 'huber',
                      head=HeadSettings(width=16, layers=1, chunk=3, **head))
    made = make_head(backbone, variant, 64, 64, 2)
    save_policy(Policy(backbone, made, variant, normaliser, contract), tmp_path / 'saved')
    assert export(tmp_path / 'saved', words, frames=20).max_error < 1e-4
    found = operators(tmp_path / 'saved')  # a mask, as PaliGemma's, leaves attention as it is
    assert found['Attention'] == 2 and bool(found['Softmax']) == (family == 'paligemma')
    policies = [Policy.load(tmp_path / 'saved', engine=e) for e in ('torch', 'onnx')]
    for policy in policies:
        policy.reset('find the green box')
    for image in random_images(5):
        actions = [p.step(Frame(image, 0), np.array([0.2, 0.1])).actions for p in policies]
        np.testing.assert_allclose(actions[0], actions[1], atol=1e-5)


def test_frames_that_are_resized_first(backbone, normaliser, save_policy, tmp_path):
    contract = Contract(camera=Camera(width=96, height=72))
    variant = Variant(context=ContextSettings(pooling='last'),
                      head=HeadSettings(kind='mlp', width=16, layers=1, chunk=2))
    head = make_head(backbone, variant, 72, 96, 2)
    save_policy(Policy(backbone, head, variant, normaliser, contract), tmp_path / 'saved')
    assert export(tmp_path / 'saved', frames=2).image == 'pixels'
    noise = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    actions = []
    for engine in ('torch', 'onnx'):
        policy = Policy.load(tmp_path / 'saved', engine=engine)
        policy.reset('go')
        actions.append(policy.step(Frame(noise, 0)).actions)
    np.testing.assert_allclose(actions[0], actions[1], atol=1e-5)


def test_the_order_of_providers(monkeypatch):
    there = ['CPUExecutionProvider', 'CUDAExecutionProvider', 'TensorrtExecutionProvider']
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: there)
    tensorrt, cuda, cpu = there[::-1]
    assert providers('auto') == [tensorrt, cuda, cpu]
    assert providers('cuda') == [tensorrt, cuda]
    assert providers('cpu') == [cpu]
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: there[:1])
    assert providers('auto') == [cpu]
    with pytest.raises(EngineMissing, match='this ONNX Runtime has CPUExecutionProvider'):
        providers('cuda')


def test_without_onnx_runtime(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(EngineMissing, match='ONNX Runtime is not installed'):
        Policy.load(exported, engine='onnx')
    policy = Policy.load(exported, device='cpu')
    assert policy.engine.name == 'torch' and 'not installed' in policy.engine.reason


def test_threads(monkeypatch):
    monkeypatch.setattr('os.sched_getaffinity', lambda _: set(range(8)))
    assert [session_threads(n) for n in (None, 1, 3, 99)] == [4, 1, 3, 8]
    monkeypatch.setattr('os.sched_getaffinity', lambda _: {0})
    assert session_threads(None) == 1
