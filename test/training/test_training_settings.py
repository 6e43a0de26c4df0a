"""Recipes: presets say how they are trained, and bad settings are named."""

import pytest

from vla_nav.policy import SettingsError, variant_names
from vla_nav.training.settings import TrainingSettings, load_recipe, parse_changes


@pytest.mark.parametrize('name', variant_names())
def test_every_preset_says_how_it_is_trained(name):
    recipe = load_recipe(name)
    assert recipe.variant.name == name
    assert 100 <= recipe.training.steps <= 10_000


def test_values_are_read_as_in_yaml_and_1e_3_is_a_number():
    assert parse_changes(['a=3', 'b.c=1e-3', 'd=[x, 2]', 'e=true']) == {
        'a': 3, 'b.c': 1e-3, 'd': ['x', 2], 'e': True}


def test_settings_of_variant_and_training_change_by_dotted_name():
    recipe = load_recipe('lora_head').with_settings({'training.steps': 7, 'head.window': 3})
    assert (recipe.training.steps, recipe.variant.head.window) == (7, 3)


@pytest.mark.parametrize('name, nearest', [
    ('training.step', 'training.steps'), ('steps', 'training.steps'),
    ('head.windw', 'head.window'), ('lora.ranc', 'lora.rank'),
])
def test_an_unknown_option_suggests_the_nearest(name, nearest):
    with pytest.raises(SettingsError, match=f"'{name}'; did you mean '{nearest}'"):
        load_recipe('lora_head').with_settings({name: 1})


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(SettingsError, match='--set is .head.layers.; expected NAME=VALUE'):
        parse_changes(['head.layers'])


@pytest.mark.parametrize('settings, message', [
    ({'validation': 0.0}, r'training\.validation is 0\.0; expected a number above 0 and below 1'),
    ({'steps': 0}, r'training\.steps is 0; expected a whole number of at least 1'),
    ({'rate': '0.1.2'}, r"training\.rate is '0\.1\.2'; expected a number from 0 to 1"),
    ({'precision': 'fp8'}, 'expected auto or bf16 or fp32'),
    ({'motion_dropout': -0.5}, r'training\.motion_dropout is -0.5; expected a number from 0 to 1'),
    ({'mirror': 2}, r'training\.mirror is 2; expected a number from 0 to 1'),
])
def test_settings_out_of_range(settings, message):
    with pytest.raises(SettingsError, match=message):
        TrainingSettings(**settings)


def test_a_file_may_hold_a_recipe_and_is_named_in_its_errors(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('head: {kind: mlp}\ntraining: {steps: 9}')
    assert load_recipe(path).training.steps == 9
    path.write_text('training: {stepps: 9}')
    with pytest.raises(SettingsError, match=r"mine\.yaml: training 'stepps'; did you mean"):
        load_recipe(path)
