"""Backbones: inputs, hidden states and the checkpoints that are refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from vla_nav.policy import (
    Backbone,
    BackboneError,
    ContextReader,
    ContextSettings,
    InstructionError,
    SettingsError,
)

WORDS = ['go to the red cone', 'go', 'head for the yellow cylinder on the left']


def test_tokens_are_those_of_the_processor(backbone, idefics3_folder, images):
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(idefics3_folder)
    expected = processor(
        images=[[images[0]]], text=['<image>go to the red cone<where>'], return_tensors='pt'
    )
    batch = backbone.inputs(images[:1], ['<image>go to the red cone<where>'])
    assert batch['input_ids'].tolist() == expected['input_ids'].tolist()
    torch.testing.assert_close(batch['pixel_values'], expected['pixel_values'])


def test_direct_pixels_equal_the_processor(backbone, images):
    reader = backbone.reader(64, 64)
    assert reader.direct
    expected = backbone.image_processor(images=[images[1]], return_tensors='pt')['pixel_values']
    got = reader(images[1:2])['pixel_values']
    assert (got - expected).abs().max() <= 1 / 255


def test_an_image_of_another_kind_is_refused(backbone):
    with pytest.raises(BackboneError, match=r'found float32 \(64, 64, 3\), expected uint8'):
        backbone.reader(64, 64)([np.zeros((64, 64, 3), np.float32)])


def test_the_prompt_is_tokenised_once(backbone):
    first = backbone.prompt('{image}turn round', 64, 64)
    assert backbone.prompt('{image}turn round', 64, 64) is first


def test_hidden_states(backbone, images):
    batch = backbone.inputs(images, WORDS)
    states = backbone.hidden_states(batch)
    assert len(states.layers) == backbone.layers + 1
    assert states.layers[-1].shape == (*batch['input_ids'].shape, backbone.width)
    assert states.image.sum(1).tolist() == [4, 4, 4]
    lengths = [backbone.inputs(images[:1], [w])['input_ids'].shape[1] for w in WORDS]
    assert (states.last + 1).tolist() == lengths
    last, = backbone.hidden_states(batch, last_layer_only=True).layers
    torch.testing.assert_close(last, states.layers[-1])


def test_no_logits_are_computed(backbone, images):
    def fail(*_):
        raise AssertionError('the LM head ran')

    hook = backbone.model.get_output_embeddings().register_forward_hook(fail)
    try:
        backbone.hidden_states(backbone.inputs(images, WORDS))
    finally:
        hook.remove()


@pytest.mark.parametrize('pooling, tokens', [
    ('last', 1), ('mean', 1), ('max', 1), ('last+image', 5),
])
@torch.inference_mode()
def test_context(backbone, images, pooling, tokens):
    reader = ContextReader(backbone, ContextSettings(pooling=pooling), 64, 64)
    contexts = reader(images, WORDS)
    assert contexts.shape == (3, tokens, backbone.width) and reader.shape == (tokens, 48)
    alone = torch.cat([reader([i], [w]) for i, w in zip(images, WORDS)])
    torch.testing.assert_close(contexts, alone)
    same_image = reader(images[:1] * 2, WORDS[:2])
    same_words = reader(images[:2], WORDS[:1] * 2)
    assert (same_image[0] - same_image[1]).norm() > 1e-2 * same_image[0].norm()
    assert (same_words[0] - same_words[1]).norm() > 1e-2 * same_words[0].norm()


@torch.inference_mode()
def test_the_layer_is_chosen(backbone, images):
    contexts = [
        ContextReader(backbone, ContextSettings(layer=layer, pooling='mean'), 64, 64)(
            images[:1], WORDS[:1])
        for layer in (0, 1, 2, -1)
    ]
    assert not torch.allclose(contexts[0], contexts[1])
    torch.testing.assert_close(contexts[2], contexts[3])


def test_a_layer_that_is_not_there(backbone):
    with pytest.raises(SettingsError, match='context.layer is 9.*0 to 2'):
        ContextReader(backbone, ContextSettings(layer=9), 64, 64)


@pytest.mark.parametrize('text', ['go to <image>', 'stop</s>now', 'see {image}'])
def test_the_models_own_tokens_are_refused_in_instructions(backbone, images, text):
    reader = ContextReader(backbone, ContextSettings(), 64, 64)
    with pytest.raises(InstructionError, match='control token'):
        reader(images[:1], [text])


def test_braces_in_an_instruction_are_plain_text(backbone, images):
    reader = ContextReader(backbone, ContextSettings(), 64, 64)
    assert reader(images[:1], ['go to {instruction} {0} %s']).isfinite().all()


def test_no_such_folder(tmp_path):
    with pytest.raises(BackboneError, match='there is no such folder'):
        Backbone.load(tmp_path / 'nothing')


def test_an_empty_folder(tmp_path):
    with pytest.raises(BackboneError, match='its configuration cannot be read'):
        Backbone.load(tmp_path)


def test_a_language_model_is_no_backbone(tmp_path):
    from transformers import LlamaConfig

    LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="type 'llama', which is not a vision-language model"):
        Backbone.load(tmp_path)


def test_pickled_weights_are_refused(idefics3_folder, tmp_path):
    folder = shutil.copytree(idefics3_folder, tmp_path / 'pickled')
    (folder / 'model.safetensors').unlink()
    torch.save({'a': torch.zeros(1)}, folder / 'pytorch_model.bin')
    with pytest.raises(BackboneError, match='its weights cannot be loaded'):
        Backbone.load(folder)


def test_remote_code_is_refused(idefics3_folder, tmp_path):
    folder = shutil.copytree(idefics3_folder, tmp_path / 'remote')
    config = json.loads((folder / 'config.json').read_text())
    config |= {'model_type': 'mine', 'auto_map': {'AutoConfig': 'mine.Config'}}
    (folder / 'config.json').write_text(json.dumps(config))
    (folder / 'mine.py').write_text("raise SystemExit('ran')\n")
    with pytest.raises(BackboneError, match='its configuration cannot be read'):
        Backbone.load(folder)


@pytest.mark.parametrize('key', ['attn_implementation', '_attn_implementation'])
@pytest.mark.parametrize('value', [
    'someone/kernels', {'text_config': 'someone/kernels'}, {'vision_config': 'someone/kernels'},
    'flash_attention_2'])
def test_attention_code_from_a_hub_is_refused(idefics3_folder, tmp_path, key, value):
    folder = shutil.copytree(idefics3_folder, tmp_path / 'kernels')
    config = json.loads((folder / 'config.json').read_text())
    other = 'config.4.0.0.json'  # which transformers reads instead where config.json names it
    refused = "has attn_implementation '(someone/kernels|flash_attention_2)', .* is not run"
    for name, said in (('config.json', {}), (other, {'configuration_files': [other]})):
        (folder / name).write_text(json.dumps(config | {key: value}))
        if said:
            (folder / 'config.json').write_text(json.dumps(config | said))
        with pytest.raises(BackboneError, match=refused):
            Backbone.load(folder)


def test_a_kind_of_attention_of_torch_is_not(idefics3_folder, tmp_path):
    folder = shutil.copytree(idefics3_folder, tmp_path / 'eager')
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(config | {'attn_implementation': 'eager'}))
    assert Backbone.load(folder).config._attn_implementation == 'eager'


def test_a_missing_tokenizer_is_named(idefics3_folder, tmp_path):
    folder = shutil.copytree(idefics3_folder, tmp_path / 'bare')
    for name in ('tokenizer.json', 'tokenizer_config.json'):
        (folder / name).unlink()
    with pytest.raises(BackboneError, match='its tokenizer or image processor cannot be loaded'):
        Backbone.load(folder)


def test_hash_covers_every_file(idefics3_folder, backbone, tmp_path):
    folder = shutil.copytree(idefics3_folder, tmp_path / 'copy')
    assert Backbone.load(folder).sha256 == backbone.sha256
    (folder / 'generation_config.json').write_text('{}')
    assert Backbone.load(folder).sha256 != backbone.sha256


def test_a_backbone_of_a_newer_transformers_is_refused(idefics3_folder, tmp_path):
    """It would be read without complaint, and with other numbers."""
    folder = shutil.copytree(idefics3_folder, tmp_path / 'newer')
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, 'transformers_version': '99.1.0'}))
    with pytest.raises(BackboneError, match=r"transformers 99\.1\.0, .*transformers>=99'"):
        Backbone.load(folder)


def test_paligemma_needs_transformers_5(tmp_path, family_folder, monkeypatch):
    import transformers

    folder = shutil.copytree(family_folder('paligemma'), tmp_path / 'paligemma')
    config = json.loads((folder / 'config.json').read_text())
    del config['transformers_version']
    (folder / 'config.json').write_text(json.dumps(config))
    monkeypatch.setattr(transformers, '__version__', '4.57.6')
    with pytest.raises(BackboneError, match=r"'paligemma', which transformers 4\.57\.6 computes"):
        Backbone.load(folder)
