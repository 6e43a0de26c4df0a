"""Frames converted without PIL: the numbers of every family's own image processor."""

import numpy as np
import pytest
import torch
from policy_families import FAMILIES

from vla_nav.policy import Backbone
from vla_nav.policy.images import ImageReader

SIZES = [(64, 64), (48, 64), (96, 72), (240, 320)]


@pytest.fixture(scope='session')
def processor_of(family_folder):
    return lambda family: Backbone.load(family_folder(family)).image_processor


def noise(size, seed):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def processed(processor, image):
    outputs = processor(images=[image], return_tensors='pt')
    return outputs if torch.is_tensor(outputs) else outputs['pixel_values']


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('family', sorted(FAMILIES))
def test_pixels_are_those_of_the_processor_within_one_level(processor_of, family, size):
    processor = processor_of(family)
    reader = ImageReader(processor, *size)
    assert reader.converts
    for seed in (1, 2):
        image = noise(size, seed)
        pixels, expected = reader([image])['pixel_values'], processed(processor, image)
        assert pixels.shape == expected.shape and pixels.dtype == expected.dtype
        levels = (pixels - expected).abs().max() / reader.scale.max()
        assert levels <= 1.01


@pytest.mark.parametrize('family', ['idefics3', 'qwen2_5_vl'])
def test_several_frames_at_once(processor_of, family):
    reader = ImageReader(processor_of(family), 96, 72)
    frames = [noise((96, 72), seed) for seed in (1, 2, 3)]
    each = [reader([frame])['pixel_values'] for frame in frames]
    torch.testing.assert_close(reader(frames)['pixel_values'], torch.cat(each))


def test_a_size_without_resizing_is_direct(processor_of):
    processor = processor_of('paligemma')
    assert ImageReader(processor, 64, 64).direct
    assert not ImageReader(processor, 64, 48).direct


def test_a_filter_that_torch_rounds_differently_is_left_to_pil(processor_of):
    """Enlarged a little, torch's 16-bit weights are off by two levels on noise."""
    processor = processor_of('llava')
    processor.size = {'height': 224, 'width': 224}
    reader = ImageReader(processor, 192, 192)
    image = noise((192, 192), 1)
    assert reader.converts
    difference = (reader([image])['pixel_values'] - processed(processor, image)).abs().max()
    assert difference <= 1e-5


def test_what_is_not_understood_is_left_to_the_processor(processor_of):
    processor = processor_of('llava')

    class Odd:
        """Darkens the corners: nothing that settings tell."""

        def __getattr__(self, name):
            return getattr(processor, name)

        def __call__(self, **options):
            outputs = processor(**options)
            outputs['pixel_values'] *= torch.linspace(0.5, 1, 64)
            return outputs

    reader = ImageReader(Odd(), 64, 64)
    image = noise((64, 64), 1)
    assert not reader.converts and not reader.direct
    expected = processed(processor, image) * torch.linspace(0.5, 1, 64)
    torch.testing.assert_close(reader([image])['pixel_values'], expected)
