"""Tiny random policies over one backbone, and demonstrations of the scripted expert."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'nodes'))

from tiny_models import CONTRACT, build_backbone, build_model


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def backbone_folder(tmp_path_factory):
    return build_backbone(tmp_path_factory.mktemp('backbone') / 'vlm')


@pytest.fixture(scope='session')
def save_model(tmp_path_factory, backbone_folder):
    """Return a maker of random checkpoints; `shift` moves what LoRA learned away from nothing."""
    import torch

    from vla_nav.policy import (
        ActionNormaliser,
        Backbone,
        Tuning,
        choose_token_ids,
        load_variant,
        make_head,
        make_reader,
        save_checkpoint,
    )

    def save(name, preset='frozen_head', shift=0.0, contract=CONTRACT, provenance=None,
             **settings):
        backbone = Backbone.load(backbone_folder)
        camera, command = contract.camera, contract.command
        variant = load_variant(preset)
        if variant.decode == 'tokens':
            settings |= {'tokens.bins': 16,
                         'tokens.ids': choose_token_ids(backbone.tokenizer, 16, ['go to'])}
        changes = {'head.chunk': 3, **settings}
        if variant.head.kind in ('lstm', 'mlp'):
            changes = {'head.width': 16, 'head.layers': 1, 'head.token_width': 8, **changes}
        variant = variant.with_settings(changes)
        torch.manual_seed(1)
        tuning = Tuning(backbone, variant.tune, variant.lora)
        with torch.no_grad():
            for parameter in tuning.parameters():
                parameter.add_(shift * torch.randn_like(parameter))
        head = make_head(backbone, variant, camera.height, camera.width, 2)
        shape = make_reader(backbone, variant, camera.height, camera.width, 2).shape
        normaliser = ActionNormaliser(command.low, command.high, (False, False), (0.1, 0.0),
                                      (0.1, 0.5), 100)
        folder = tmp_path_factory.mktemp('models') / name
        save_checkpoint(folder, variant=variant, head=head, backbone=backbone,
                        context_shape=shape, contract=contract, normaliser=normaliser,
                        tuning=tuning, provenance=provenance or {})
        return folder

    return save


@pytest.fixture(scope='session')
def frozen(save_model):
    return save_model('frozen')


@pytest.fixture(scope='session')
def lora(save_model):
    return save_model('lora', 'lora_head', shift=0.05)


@pytest.fixture(scope='session')
def steady(tmp_path_factory, backbone_folder):
    """A policy whose every action is 0.3 m/s and 0.2 rad/s."""
    from vla_nav.policy import Backbone

    return build_model(tmp_path_factory.mktemp('models') / 'steady',
                       Backbone.load(backbone_folder), (0.3, 0.2))


@pytest.fixture(scope='session')
def robot_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('robot') / 'tiny.yaml'
    path.write_text(CONTRACT.to_yaml(), encoding='utf-8')
    return path


@pytest.fixture(scope='session')
def dataset_folder(tmp_path_factory, robot_file):
    """Three short demonstrations, made by the verbs' own code."""
    from vla_nav.episodes.dataset import DatasetSettings, build_dataset
    from vla_nav.training.demo_bags import Demo, record_demo

    folder = tmp_path_factory.mktemp('data')
    for seed in range(3):
        record_demo(Demo(folder / 'bags', seed, 'easy', robot_file, time_limit_s=4.0))
    build_dataset([folder / 'bags'], folder / 'dataset', DatasetSettings(include_failed=True))
    return folder / 'dataset'


@pytest.fixture(scope='session')
def dataset(dataset_folder):
    from vla_nav.evaluation.data import open_dataset

    return open_dataset(dataset_folder)


@pytest.fixture(scope='session')
def out(tmp_path_factory):
    """Where `comparison` keeps its results."""
    return tmp_path_factory.mktemp('out') / 'compare'


@pytest.fixture(scope='session')
def comparison(frozen, lora, dataset_folder, out):
    from vla_nav.evaluation.comparison import CompareSettings, compare

    settings = CompareSettings(scenes=2, frames=16, time_limit_s=1.5)
    return compare([lora, frozen], dataset_folder, out, settings)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
