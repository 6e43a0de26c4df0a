"""Settings, registries and instructions: what is refused, and how it is said."""

import pytest

from vla_nav.policy import (
    ContextSettings,
    HeadSettings,
    InstructionError,
    SettingsError,
    Variant,
    clean_instruction,
    load_variant,
    variant_names,
)
from vla_nav.policy.registry import Registry


def test_registry_refuses_a_duplicate():
    registry = Registry('thing')
    registry.register('a')(1)
    with pytest.raises(SettingsError, match="thing 'a' is registered twice"):
        registry.register('a')(2)


def test_registry_suggests_the_nearest_name():
    with pytest.raises(SettingsError, match="unknown head 'lstn'; did you mean 'lstm'"):
        HeadSettings(kind='lstn')


def test_unknown_setting_suggests_the_nearest_name():
    with pytest.raises(SettingsError, match="setting of head 'windw'; did you mean 'window'"):
        HeadSettings.from_dict({'windw': 12})


@pytest.mark.parametrize('settings, message', [
    ({'chunk': 0}, 'head.chunk is 0'),
    ({'width': 0}, 'head.width is 0'),
    ({'dropout': 1.0}, 'head.dropout is 1.0'),
    ({'output': 'relu'}, 'linear or tanh'),
    ({'inputs': ('speed',)}, 'previous_action or velocity'),
])
def test_head_settings_out_of_range(settings, message):
    with pytest.raises(SettingsError, match=message):
        HeadSettings(**settings)


def test_a_prompt_must_contain_the_instruction():
    with pytest.raises(SettingsError, match='must depend on the instruction'):
        ContextSettings(prompt='{image}what do you see?')


def test_settings_survive_plain_data():
    variant = Variant(head=HeadSettings(kind='mlp', inputs=('velocity',)))
    assert Variant.from_dict(variant.to_dict()) == variant


def test_single_settings_by_dotted_name():
    assert Variant().with_settings({'head.window': 12}).head.window == 12
    with pytest.raises(SettingsError, match="did you mean 'head.window'"):
        Variant().with_settings({'head.windo': 12})
    with pytest.raises(SettingsError, match="did you mean 'head'"):
        Variant().with_settings({'haed.window': 12})


@pytest.mark.parametrize('name', variant_names())
def test_presets_load(name):
    assert load_variant(name).name == name


def test_unknown_variant_suggests_the_nearest():
    with pytest.raises(SettingsError, match="variant 'fozen_head'; did you mean 'frozen_head'"):
        load_variant('fozen_head')


def test_variant_file_is_named_in_its_errors(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('head: {kind: lstn}')
    with pytest.raises(SettingsError, match=r'mine\.yaml: unknown head'):
        load_variant(path)
    path.write_text('head: [')
    with pytest.raises(SettingsError, match=r'mine\.yaml: not valid YAML'):
        load_variant(path)


def test_instruction_loses_control_characters():
    assert clean_instruction(' go\tto\x00 the\x1b red\n cone\u200b ') == 'go to the red cone'


@pytest.mark.parametrize('text', ['', '   ', '\x00\x01', '\u200b'])
def test_an_empty_instruction_is_refused(text):
    with pytest.raises(InstructionError, match='it is empty'):
        clean_instruction(text)


def test_a_long_instruction_is_refused():
    with pytest.raises(InstructionError, match='found 100000 characters, expected at most 2000'):
        clean_instruction('a' * 100_000)


def test_an_instruction_must_be_text():
    with pytest.raises(InstructionError, match='found bytes'):
        clean_instruction(b'go')


def test_a_head_must_suit_the_decode():
    with pytest.raises(SettingsError, match='head.kind is .lstm.; expected residual with decode'):
        Variant(decode='chunk_oft', loss='l1')
    with pytest.raises(SettingsError, match='loss is .huber.; expected cross_entropy'):
        Variant(decode='tokens', head=HeadSettings(kind='none'))


@pytest.mark.parametrize('name, expected', [
    ('frozen_head', {'tune': 'head', 'decode': 'head', 'loss': 'huber'}),
    ('roboflamingo', {'tune': 'connector', 'context.pooling': 'max', 'head.layers': 4,
                      'head.window': 12, 'head.output': 'tanh', 'head.output_reach': 2.0,
                      'head.output_layers': 4, 'loss': 'huber'}),
    ('lora_head', {'tune': 'lora', 'decode': 'head'}),
    ('openvla_lora', {'tune': 'lora', 'decode': 'tokens', 'lora.rank': 32, 'lora.alpha': 16,
                      'lora.dropout': 0.0, 'lora.init': 'gaussian', 'tokens.bins': 256}),
    ('openvla_full', {'tune': 'full', 'decode': 'tokens', 'loss': 'cross_entropy'}),
    ('openvla_oft', {'decode': 'chunk_oft', 'loss': 'l1', 'head.kind': 'residual',
                     'head.layers': 2}),
    ('rt2', {'tune': 'full', 'decode': 'tokens', 'vision_language': 0.4}),
    ('palm_e_frozen', {'tune': 'vision', 'head.state_token': True}),
    ('palm_e_full', {'tune': 'full', 'head.state_token': True}),
])
def test_presets_have_the_mechanisms_of_their_names(name, expected):
    data = load_variant(name).to_dict()
    for dotted, value in expected.items():
        room = data
        for part in dotted.split('.'):
            room = room[part]
        assert room == value, dotted
