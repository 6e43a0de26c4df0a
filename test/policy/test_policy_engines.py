"""Engines: the form of fixed shapes, its capture, and what falls back to what."""

import numpy as np
import pytest
import torch
from policy_families import FAMILIES, random_images

from vla_nav.policy import (
    Backbone,
    ContextSettings,
    HeadSettings,
    Policy,
    PolicyModel,
    SettingsError,
    TokenSettings,
    Variant,
    choose_token_ids,
    make_head,
)
from vla_nav.policy.capture import Captured
from vla_nav.policy.engines import StaticEngine, TransformersEngine, torch_engine
from vla_nav.policy.static import StaticError, StaticForward
from vla_nav.policy.vision import VISIONS

WORDS = ['go to the red cone', 'go', 'head for the yellow cylinder on the left']
HEADS = {
    'lstm': {'kind': 'lstm'},
    'lstm of a window': {'kind': 'lstm', 'window': 4},
    'mlp': {'kind': 'mlp', 'window': 3},
    'mlp that is told its speed': {
        'kind': 'mlp', 'state_token': True, 'inputs': ('previous_action', 'velocity')},
    'oft': {'kind': 'residual'},
    'oft with film and state': {'kind': 'residual', 'film': True, 'state_token': True},
}


def model_of(backbone, head, pooling='last', layer=-1, prompt='{image}{instruction}<where>'):
    decode = {'residual': 'chunk_oft', 'none': 'tokens'}.get(head['kind'], 'head')
    losses = {'chunk_oft': 'l1', 'tokens': 'cross_entropy', 'head': 'huber'}
    ids = choose_token_ids(backbone.tokenizer, 16, WORDS)
    variant = Variant(
        decode=decode, loss=losses[decode], tokens=TokenSettings(16, ids),
        context=ContextSettings(layer=layer, pooling=pooling, prompt=prompt),
        head=HeadSettings(**{'width': 16, 'layers': 1, 'chunk': 3, **head}))
    torch.manual_seed(0)
    made = make_head(backbone, variant, 64, 64, 2)
    if made.film is not None:
        for layer in made.film.layers:
            torch.nn.init.normal_(layer.weight, std=0.1)
    return PolicyModel(backbone, variant, made, 64, 64).eval()


def run(engine, model, steps=20, rows=3):
    """Chunks and states of an episode with three robots."""
    generator = torch.Generator().manual_seed(0)
    settings, state = model.head.settings, model.head.initial_state(rows)
    prepared, seen = engine.prepare(WORDS[:rows]), []
    for step in range(steps):
        inputs, velocity = torch.rand(rows, 4, generator=generator), torch.rand(
            rows, 2, generator=generator)
        chunks, state = engine.decide(
            random_images(rows, seed=step), prepared, state,
            inputs if settings.inputs else None, velocity if settings.state_token else None)
        seen.append(chunks)
    return torch.stack(seen), state.tensors()


@pytest.fixture(scope='module')
def load(family_folder):
    return lambda family: Backbone.load(family_folder(family))


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('family', sorted(VISIONS))
def test_fixed_shapes_give_the_numbers_of_transformers(load, family, head):
    model = model_of(load(family), HEADS[head])
    chunks, state = run(StaticEngine(model), model)
    expected, expected_state = run(TransformersEngine(model), model)
    torch.testing.assert_close(chunks, expected, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(state, expected_state, atol=2e-5, rtol=1e-4)
    assert (chunks[0] - chunks[1]).abs().max() > 1e-4


@pytest.mark.parametrize('pooling', ['last', 'last+image', 'mean', 'max'])
@pytest.mark.parametrize('layer', [0, 1, -1])
def test_every_context(load, pooling, layer):
    model = model_of(load('paligemma'), HEADS['mlp'], pooling, layer)
    engine = StaticEngine(model)
    for got, expected in zip(run(engine, model, 3)[0], run(TransformersEngine(model), model)[0]):
        torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


def test_blocks_above_the_one_that_is_read_do_not_run(load):
    backbone = load('idefics3')
    model = model_of(backbone, HEADS['mlp'], layer=1)
    engine = torch_engine(model)
    ran = []
    for place, block in enumerate(backbone.base.text_model.layers):
        block.register_forward_hook(lambda *_, place=place: ran.append(place))
    prepared = engine.prepare(['go'])
    ran.clear()
    engine.decide(random_images(1), prepared, model.head.initial_state(1))
    assert ran == [0]


def test_the_prompt_is_embedded_once_per_instruction(load):
    backbone = load('idefics3')
    model = model_of(backbone, HEADS['lstm'])
    engine, calls = torch_engine(model), []
    prepared = engine.prepare(['go'])
    backbone.model.get_input_embeddings().register_forward_hook(lambda *_: calls.append(1))
    state = model.head.initial_state(1)
    for image in random_images(3):
        _, state = engine.decide([image], prepared, state)
    assert not calls
    engine.prepare(['go to the red cone'])
    assert calls


@pytest.mark.parametrize('family', sorted(set(FAMILIES) - set(VISIONS)))
def test_other_families_run_in_transformers(load, family):
    backbone = load(family)
    model = model_of(backbone, HEADS['mlp'])
    engine = torch_engine(model)
    assert isinstance(engine, TransformersEngine)
    assert f"backbone of type '{backbone.model_type}' has no form of fixed shapes" in engine.reason
    assert run(engine, model, 1)[0].isfinite().all()


@pytest.mark.parametrize('head, prompt, reason', [
    ({'kind': 'none'}, '{image}{instruction}', 'one token after another'),
    ({'kind': 'mlp'}, '{instruction}{image}', 'the place of the image moves'),
])
def test_what_has_no_fixed_shapes_runs_in_transformers(load, head, prompt, reason):
    engine = torch_engine(model_of(load('idefics3'), head, prompt=prompt))
    assert isinstance(engine, TransformersEngine) and reason in engine.reason


def test_a_form_that_computes_something_else_is_not_used(load, monkeypatch):
    model = model_of(load('idefics3'), HEADS['mlp'])
    vision = StaticForward._enter
    monkeypatch.setattr(StaticForward, '_enter', lambda self, feed: 1.5 * vision(self, feed))
    with pytest.raises(StaticError, match="off by .* from transformers' own forward"):
        StaticEngine(model)
    assert isinstance(torch_engine(model), TransformersEngine)


def test_a_prompt_too_short_for_the_image(load):
    with pytest.raises(StaticError, match='a prompt of 4 tokens'):
        StaticForward(model_of(load('idefics3'), HEADS['mlp']), 4)


def test_a_capture_that_fails_runs_plainly_and_says_why():
    doubled = Captured(lambda feed: {'y': 2 * feed['x']}, {'x': torch.ones(2)})
    assert doubled.reason
    assert doubled({'x': torch.tensor([1.0, 4.0])})['y'].tolist() == [2.0, 8.0]


def test_an_engine_that_may_capture_falls_back(load):
    """As on a GPU, where a capture may fail: padded to a bucket, and the same numbers."""
    model = model_of(load('idefics3'), HEADS['lstm'])
    engine = StaticEngine(model)
    engine._captures = True
    chunks, _ = run(engine, model)
    expected, _ = run(TransformersEngine(model), model)
    torch.testing.assert_close(chunks, expected, atol=2e-5, rtol=1e-4)
    assert engine.name == 'torch' and 'cpu' in engine.reason


@pytest.mark.parametrize('told', [False, True])
def test_a_graph_is_captured_once_for_what_every_frame_feeds(load, told):
    """The comparison at the start captures what driving replays; other inputs need another."""
    model = model_of(load('idefics3'), HEADS['mlp that is told its speed' if told else 'lstm'])
    engine = StaticEngine(model)
    engine._captures = True
    engine._compare()
    rest = (torch.zeros(1, 4), torch.zeros(1, 2)) if told else ()
    engine.decide([np.zeros((64, 64, 3), np.uint8)], engine.prepare(['go there']),
                  model.head.initial_state(1), *rest)
    assert len(engine._graphs) == 1
    if not told:
        engine.decide([np.zeros((64, 64, 3), np.uint8)], engine.prepare(['go there']),
                      model.head.initial_state(1), None, torch.zeros(1, 2))
        assert len(engine._graphs) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
@pytest.mark.parametrize('head', ['lstm', 'oft'])
def test_a_cuda_graph_gives_the_numbers_of_its_model(family_folder, head):
    backbone = Backbone.load(family_folder('paligemma'), device='cuda', dtype='float32')
    model = model_of(backbone, HEADS[head])
    engine = torch_engine(model)
    chunks, _ = run(engine, model)
    assert engine.name == 'torch (CUDA graph)', engine.reason
    expected, _ = run(TransformersEngine(model), model)
    torch.testing.assert_close(chunks, expected, atol=1e-3, rtol=1e-3)


def test_an_unknown_engine(checkpoint_folder):
    with pytest.raises(SettingsError, match="unknown engine 'onx'; did you mean 'onnx'"):
        Policy.load(checkpoint_folder, engine='onx')


def test_a_policy_tells_its_engine(make_policy, frames):
    policy = make_policy()
    assert policy.engine.name == 'torch' and not policy.engine.reason
    policy.reset('go')
    assert np.isfinite(policy.step(frames[0]).actions).all()
