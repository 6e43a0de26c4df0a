"""Pretraining end to end, on a few frames: stages run, resume bit for bit, and make a backbone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vla_nav.cli import build_parser
from vla_nav.contract import Camera
from vla_nav.training import nano
from vla_nav.training.language import LanguageSettings
from vla_nav.training.pretrain import PretrainError, PretrainSettings, pretrain
from vla_nav.training.views import load_views, make_views
from vla_nav.training.vision import VisionSettings, train_vision

CAMERA = Camera(width=64, height=64, crop=(0.0, 0.25, 1.0, 1.0))
NANO = nano.NanoSettings(image_size=64, width=64, vision_layers=1, text_layers=1, words=400)
SETTINGS = PretrainSettings(
    views=60, held_out=30, nano=NANO, vision=VisionSettings(samples=64, batch=16, warm_up=1),
    language=LanguageSettings(samples=64, batch=16, questions=3, warm_up=1))


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    return tmp_path_factory.mktemp('work')


@pytest.fixture(scope='module')
def backbone(work):
    out = work / 'vlm'
    figures = pretrain(out, work, CAMERA, SETTINGS, workers=1)
    return out, figures


def test_figures_are_shares(backbone):
    _, figures = backbone
    for group in figures.values():
        assert all(0.0 <= value <= 1.0 for value in group.values())


def test_the_folder_is_an_ordinary_vision_language_model(backbone):
    from transformers import AutoModelForImageTextToText
    out, _ = backbone
    model = AutoModelForImageTextToText.from_pretrained(out)
    assert model.config.model_type == 'idefics3'
    assert not list(out.glob('*.bin'))


def test_other_settings_in_the_same_folder_are_refused(backbone, work):
    with pytest.raises(PretrainError, match=r'settings\.json was begun with other settings'):
        pretrain(work / 'other', work, CAMERA, replace(SETTINGS, seed=1), workers=1)


def test_a_camera_of_another_size_is_refused(tmp_path):
    with pytest.raises(PretrainError, match='192x192 pixels; the nano VLM takes 64x64'):
        pretrain(tmp_path / 'vlm', tmp_path, Camera(), SETTINGS, workers=1)


def test_one_can_go_on_from_a_model_of_the_same_shape(backbone, tmp_path):
    from safetensors.torch import load_file
    out, _ = backbone
    nothing = replace(SETTINGS, views=10, held_out=10, start=str(out),
                      vision=replace(SETTINGS.vision, samples=0),
                      language=replace(SETTINGS.language, samples=0))
    pretrain(tmp_path / 'same', tmp_path, CAMERA, nothing, workers=1)
    before, after = (load_file(folder / 'model.safetensors')
                     for folder in (out, tmp_path / 'same'))
    assert all(torch.equal(before[name], after[name]) for name in before)

    other = replace(nothing, nano=replace(NANO, width=128))
    with pytest.raises(PretrainError, match='is no nano VLM of the shape'):
        pretrain(tmp_path / 'other', tmp_path / 'other_work', CAMERA, other, workers=1)


def test_views_know_what_they_show(work, backbone):
    views = load_views(work / 'views', 60)
    in_view = (views.objects[:, :, 0] >= 0).any(1)
    labelled = (views.colour > 0).any((1, 2))
    assert in_view.any() and not in_view.all()
    assert not labelled[~in_view].any()
    assert ((views.colour > 0) == (views.shape > 0)).all()
    assert ((views.distance_m > 0) == (views.shape > 0)).all()


def test_views_do_not_depend_on_how_often_one_was_interrupted(tmp_path, work, backbone):
    make_views(tmp_path, CAMERA, 60, SETTINGS.seed, NANO.grid, 1, lambda n: None)
    again, first = load_views(tmp_path, 60), load_views(work / 'views', 60)
    assert (again.objects == first.objects).all()
    assert all((a == b).all() for a, b in zip(again.jpegs, first.jpegs))


def test_a_resumed_vision_stage_goes_on_bit_for_bit(work, backbone, tmp_path):
    views = load_views(work / 'views', 60)
    settings = VisionSettings(samples=96, batch=16, warm_up=1)

    def train(state: Path, stop: int | None):
        tower = nano.build_model(NANO, nano.build_tokenizer(NANO)).model.vision_model

        def report(count, figures):
            steps.append(count)
            if stop and len(steps) == stop:
                raise KeyboardInterrupt

        steps: list[int] = []
        train_vision(tower, NANO.width, views, settings, 0, state, report)
        return tower.state_dict()

    import vla_nav.training.vision as vision
    every = vision.SAVE_EVERY_STEPS
    vision.SAVE_EVERY_STEPS = 2
    try:
        whole = train(tmp_path / 'whole.safetensors', None)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / 'parts.safetensors', 5)
        parts = train(tmp_path / 'parts.safetensors', None)
    finally:
        vision.SAVE_EVERY_STEPS = every
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name


def test_the_defaults_of_the_verb_are_those_of_the_settings():
    args, settings = build_parser().parse_args(['pretrain']), PretrainSettings()
    assert (args.views, args.vision_samples, args.language_samples, args.seed) == (
        settings.views, settings.vision.samples, settings.language.samples, settings.seed)
