"""Tiny random backbones, built here with their tokenizers and processors: no download."""

import numpy as np
import pytest
import torch
from policy_families import FAMILIES, build_idefics3

torch.set_num_threads(1)  # for models this small more threads only wait for each other


@pytest.fixture(scope='session')
def idefics3_folder(tmp_path_factory):
    return build_idefics3(tmp_path_factory.mktemp('idefics3'))


@pytest.fixture(scope='session')
def family_folder(tmp_path_factory):
    """Return a function that gives the folder of a tiny backbone of a family, built once."""
    folders = {}

    def get(name):
        import transformers

        if name == 'paligemma' and transformers.__version__.startswith('4.'):
            pytest.skip('PaliGemma needs transformers 5')
        if name not in folders:
            folders[name] = FAMILIES[name](tmp_path_factory.mktemp(name))
        return folders[name]

    return get


@pytest.fixture(scope='session')
def backbone(idefics3_folder):
    from vla_nav.policy import Backbone

    return Backbone.load(idefics3_folder)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def images(rng):
    return [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]


@pytest.fixture(scope='session')
def contract():
    from vla_nav.contract import Camera, Contract

    return Contract(camera=Camera(width=64, height=64))


@pytest.fixture(scope='session')
def normaliser(contract):
    from vla_nav.policy import ActionNormaliser

    actions = np.random.default_rng(0).uniform((0.0, -0.8), (0.4, 0.8), (500, 2))
    return ActionNormaliser.fit(actions, contract.command.low, contract.command.high)


@pytest.fixture(scope='session')
def make_policy(backbone, contract, normaliser):
    """Return a maker of policies over the tiny backbone, with a random head."""
    from vla_nav.policy import (
        ContextReader,
        ContextSettings,
        HeadSettings,
        Policy,
        Variant,
        build_head,
    )

    def make(context=None, **head_settings):
        settings = HeadSettings(**{'width': 32, 'layers': 1, 'token_width': 16, **head_settings})
        variant = Variant(context=context or ContextSettings(), head=settings)
        shape = ContextReader(backbone, variant.context, 64, 64).shape
        torch.manual_seed(1)
        head = build_head(settings, *shape, 2)
        return Policy(backbone, head, variant, normaliser, contract, 'tiny')

    return make


@pytest.fixture(scope='session')
def save_policy():
    """Return a function that writes a policy to a folder."""
    from vla_nav.policy import save_checkpoint

    def save(policy, folder, **options):
        return save_checkpoint(
            folder, variant=policy.variant, head=policy.head, backbone=policy.backbone,
            context_shape=policy.reader.shape, contract=policy.contract,
            normaliser=policy.normaliser, **options,
        )

    return save


@pytest.fixture(scope='session')
def checkpoint_folder(make_policy, save_policy, tmp_path_factory):
    folder = tmp_path_factory.mktemp('models') / 'tiny'
    save_policy(make_policy(), folder, provenance={'seed': 3, 'measured': {'success': 0.5}})
    return folder


@pytest.fixture
def checkpoint_copy(checkpoint_folder, tmp_path):
    """A checkpoint that a test may damage."""
    import shutil

    return shutil.copytree(checkpoint_folder, tmp_path / 'models' / 'tiny')


@pytest.fixture
def frames(images):
    from vla_nav.contract import Frame

    return [Frame(image, 1000 * i) for i, image in enumerate(images)]
