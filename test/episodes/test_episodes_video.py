"""Videos keep what matters, join without loss and are read at random."""

import numpy as np
import pytest

from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.video import VideoEncoder, VideoReader, join_videos, psnr_db


def encode(path, images, rate_hz=10.0):
    with VideoEncoder(path, images.shape[2], images.shape[1], rate_hz) as encoder:
        for image in images:
            encoder.add(image)
    return path


@pytest.mark.parametrize('cell', [1, 4, 16])
def test_even_noise_keeps_38_db(tmp_path, cell):
    rng = np.random.default_rng(cell)
    images = np.kron(rng.integers(0, 256, (12, 48 // cell, 64 // cell, 3), np.uint8),
                     np.ones((1, cell, cell, 1), np.uint8))
    reader = VideoReader(encode(tmp_path / 'a.mp4', images), 10.0)
    assert min(psnr_db(*pair) for pair in zip(images, reader.read(range(12)))) >= 38


def test_saturated_colours_keep_38_db(tmp_path):
    images = np.zeros((6, 48, 64, 3), np.uint8)
    for index in range(6):
        images[index, :, ::2, index % 3] = 255
        images[index, ::2, :, (index + 1) % 3] = 255
    reader = VideoReader(encode(tmp_path / 'a.mp4', images), 10.0)
    assert min(psnr_db(*pair) for pair in zip(images, reader.read(range(6)))) >= 38


@pytest.mark.parametrize('rate_hz', [7.5, 10.0, 29.97])
def test_joined_videos_are_their_parts(tmp_path, rate_hz):
    rng = np.random.default_rng(0)
    parts, expected = [], []
    for index, count in enumerate((7, 1, 12)):
        images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
        parts.append(encode(tmp_path / f'{index}.mp4', images, rate_hz))
        expected.append(VideoReader(parts[-1], rate_hz).read(range(count)))
    join_videos(parts, tmp_path / 'all.mp4')
    expected = np.concatenate(expected)
    reader = VideoReader(tmp_path / 'all.mp4', rate_hz)
    assert np.array_equal(reader.read(range(20)), expected)
    for number in (19, 0, 7, 6, 8, 13, 2):
        assert np.array_equal(reader.read([number])[0], expected[number])
    with pytest.raises(EpisodeError, match='ends before frame 20'):
        reader.read([20])


def test_a_file_that_is_no_video_is_named(tmp_path):
    (tmp_path / 'a.mp4').write_bytes(b'not a video')
    with pytest.raises(EpisodeError, match=r'a.mp4 is not a readable video'):
        VideoReader(tmp_path / 'a.mp4', 10.0)
