"""A tiny nano VLM, random but real, and the robot it fits."""

import pytest

from vla_nav.contract import Camera, Contract


@pytest.fixture(scope='session', autouse=True)
def one_thread():
    """Torch's threads spin while they wait, which a shared machine pays for dearly."""
    import torch
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def tiny_contract():
    return Contract(camera=Camera(width=64, height=64, crop=(0.0, 0.25, 1.0, 1.0)))


@pytest.fixture(scope='session')
def tiny_backbone(tmp_path_factory):
    from vla_nav.training import nano
    settings = nano.NanoSettings(image_size=64, width=64, vision_layers=1, text_layers=1,
                                 words=400)
    tokenizer = nano.build_tokenizer(settings)
    path = tmp_path_factory.mktemp('backbone') / 'vlm'
    nano.save(nano.build_model(settings, tokenizer), nano.build_processor(settings, tokenizer),
              path)
    return path


@pytest.fixture(scope='session')
def dataset(tmp_path_factory):
    """A dataset of six short drawn episodes."""
    from drawn_world import write_dataset
    return write_dataset(tmp_path_factory.mktemp('drawn'))


@pytest.fixture
def dataset_copy(dataset, tmp_path):
    """A dataset that a test may damage."""
    import shutil
    return shutil.copytree(dataset, tmp_path / 'dataset')
