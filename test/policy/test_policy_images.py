"""Frames converted without PIL: the numbers of every family's own image processor."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from policy_families import FAMILIES
from torch.nn import functional

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


def test_what_torch_rounds_too_coarsely_is_done_exactly(processor_of):
    """Enlarged a little, torch's 16-bit weights are off by two levels on noise."""
    processor = processor_of('llava')
    processor.size = {'height': 224, 'width': 224}
    reader = ImageReader(processor, 192, 192)
    assert reader.converts
    image = noise((192, 192), 1)
    pixels = functional.interpolate(torch.from_numpy(image).permute(2, 0, 1)[None], (224, 224),
                                    mode='bicubic', antialias=True)
    expected = processed(processor, image)
    levels = [(found - expected).abs().max() / reader.scale.max() for found in (
        torch.addcmul(reader.shift[:, None, None], pixels, reader.scale[:, None, None]),
        reader([image])['pixel_values'])]
    assert levels[0] > 1.99 and levels[1] <= 1.01


@pytest.mark.parametrize('resample', [Image.LANCZOS, Image.BICUBIC, Image.BILINEAR, Image.BOX])
@pytest.mark.parametrize('size', [(224, 280), (360, 520), (238, 330), (360, 200)], ids=str)
def test_filters_and_sizes(processor_of, size, resample):
    """Pillow 13 begins with the rows where the height shrinks and the width grows."""
    processor = processor_of('llava')
    processor.size, processor.crop_size = {'height': size[0], 'width': size[1]}, None
    processor.do_center_crop, processor.resample = False, int(resample)
    reader = ImageReader(processor, 240, 320)
    assert reader.converts and reader.final == size
    for seed in (1, 2):
        image = noise((240, 320), seed)
        difference = reader([image])['pixel_values'] - processed(processor, image)
        assert difference.abs().max() / reader.scale.max() <= 1.01


def test_threads_do_not_disturb_each_other(processor_of):
    """One prepares batches while another validates."""
    processor = processor_of('llava')
    processor.size = {'height': 448, 'width': 448}
    processor.crop_size = processor.size
    reader = ImageReader(processor, 480, 480)
    assert reader.converts
    images = [noise((480, 480), seed) for seed in range(20)]
    expected = [reader([image])['pixel_values'] for image in images]
    with ThreadPoolExecutor(4) as pool:
        for found, each in zip(pool.map(lambda image: reader([image])['pixel_values'], images),
                               expected):
            assert torch.equal(found, each)


def test_a_thread_may_begin_in_inference_mode(processor_of):
    """Each thread has its own memory, made at its first frame."""
    processor = processor_of('llava')
    processor.size = {'height': 224, 'width': 224}
    reader = ImageReader(processor, 192, 192)
    image = noise((192, 192), 1)

    def convert(inference):
        with torch.inference_mode(inference):
            return reader([image])['pixel_values']

    with ThreadPoolExecutor(1) as pool:
        first, second = (pool.submit(convert, each).result() for each in (True, False))
    assert first.is_inference() and torch.equal(first, second)


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
