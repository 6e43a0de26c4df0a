"""From image messages to frames: equal pixels for every encoding, plain words for bad ones."""

import struct
import tracemalloc
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from vla_nav.contract import Camera
from vla_nav.frames import FrameError, decode_image, frame_from_message, prepare_image

RNG = np.random.default_rng(0)
RGB = cv2.GaussianBlur(RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8), (9, 9), 4)
HEADER = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=7))


def raw(pixels, encoding, pad=0):
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, pad)))
    return SimpleNamespace(header=HEADER, height=pixels.shape[0], width=pixels.shape[1],
                           encoding=encoding, step=rows.shape[1], data=rows.tobytes())


def compressed(data, kind='jpeg'):
    return SimpleNamespace(header=HEADER, format=kind, data=data)


def png_header(width, height):
    """The beginning of a PNG, which is enough to see how much it would unfold to."""
    chunk = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + chunk + struct.pack(
        '>I', zlib.crc32(chunk)) + b'\0\0\0\0IDAT\0\0\0\0'


@pytest.mark.parametrize('pad', [0, 5])
@pytest.mark.parametrize(('encoding', 'conversion'), [
    ('rgb8', None), ('bgr8', cv2.COLOR_RGB2BGR), ('rgba8', cv2.COLOR_RGB2RGBA),
    ('bgra8', cv2.COLOR_RGB2BGRA)])
def test_colour_encodings_give_the_same_pixels(encoding, conversion, pad):
    pixels = RGB if conversion is None else cv2.cvtColor(RGB, conversion)
    np.testing.assert_array_equal(decode_image(raw(pixels, encoding, pad)), RGB)


def test_grey_becomes_three_equal_channels():
    decoded = decode_image(raw(RGB[..., 0], 'mono8'))
    assert (decoded == RGB[..., :1]).all()


@pytest.mark.parametrize(('encoding', 'luma'), [('yuv422', 1), ('yuv422_yuy2', 0)])
def test_yuv422_is_read_in_its_byte_order(encoding, luma):
    # ITU-R BT.601, limited range, as cameras and OpenCV have it.
    red, green, blue = RGB.astype(float).transpose(2, 0, 1)
    packed = np.empty((48, 64, 2), np.uint8)
    packed[..., luma] = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    u = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
    v = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
    packed[:, 0::2, 1 - luma], packed[:, 1::2, 1 - luma] = u[:, 0::2], v[:, 0::2]
    error = np.abs(decode_image(raw(packed, encoding)).astype(int) - RGB)
    assert error.mean() < 4


@pytest.mark.parametrize(('pattern', 'order'), [
    ('rggb', (0, 1, 1, 2)), ('bggr', (2, 1, 1, 0)),
    ('gbrg', (1, 2, 0, 1)), ('grbg', (1, 0, 2, 1))])
def test_bayer_patterns_are_debayered_to_the_right_colours(pattern, order):
    mosaic = np.empty((48, 64), np.uint8)
    for place, channel in enumerate(order):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = RGB[row::2, column::2, channel]
    error = np.abs(decode_image(raw(mosaic, f'bayer_{pattern}8')).astype(int) - RGB)
    assert error[2:-2, 2:-2].mean() < 6


def test_png_is_exact_and_jpeg_close():
    bgr = RGB[..., ::-1]
    png = cv2.imencode('.png', bgr)[1].tobytes()
    np.testing.assert_array_equal(decode_image(compressed(png, 'png')), RGB)
    jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert np.abs(decode_image(compressed(jpeg)).astype(int) - RGB).mean() < 4


def test_a_frame_has_the_contracts_size_and_the_messages_stamp():
    frame = frame_from_message(raw(RGB, 'rgb8'), Camera(width=16, height=12))
    assert frame.image.shape == (12, 16, 3) and frame.image.dtype == np.uint8
    assert frame.stamp_ns == 3_000_000_007


def test_the_crop_keeps_what_it_says():
    image = np.zeros((40, 40, 3), np.uint8)
    image[20:, 10:30] = 255
    kept = prepare_image(image, Camera(width=20, height=20, crop=(0.25, 0.5, 0.75, 1.0)))
    assert (kept == 255).all()


@pytest.mark.parametrize(('rows', 'columns', 'height', 'width'), [
    (480, 640, 144, 192), (360, 640, 192, 192), (135, 241, 30, 31), (480, 640, 448, 448),
    (50, 640, 100, 20), (480, 640, 120, 160),
])
def test_each_pixel_counts_in_a_smaller_image(rows, columns, height, width):
    """A line of a single pixel shows wherever it is, and in the mean as bright as it is wide."""
    for axis, (length, new) in enumerate(((rows, height), (columns, width))):
        if new > length:
            continue
        shares = []
        for at in range(length):
            image = np.zeros((rows, columns, 3), np.uint8)
            image.swapaxes(0, axis)[at] = 255
            small = prepare_image(image, Camera(width=width, height=height))
            assert small.shape == (height, width, 3)
            shares.append(small.mean() / image.mean())
        assert min(shares) > 0.1
        assert 0.9 < np.mean(shares) < 1.1


def test_the_step_of_a_single_row_takes_no_memory():
    message = SimpleNamespace(**{**vars(raw(RGB[:1], 'rgb8')), 'step': 2**32 - 1})
    tracemalloc.start()
    try:
        image = decode_image(message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (image == RGB[:1]).all()
    assert peak < 1_000_000


@pytest.mark.parametrize(('message', 'said'), [
    (raw(RGB, '32FC1'), r"encoding '32FC1' is not known; expected one of rgb8"),
    (SimpleNamespace(**{**vars(raw(RGB, 'rgb8')), 'width': 0, 'height': 0}),
     r'image is 0x0 pixels'),
    (SimpleNamespace(**{**vars(raw(RGB, 'rgb8')), 'data': b'123'}), r'3 bytes; expected at least'),
    (SimpleNamespace(**{**vars(raw(RGB, 'rgb8')), 'step': 10}), r'step 10 .* at least step 192'),
    (SimpleNamespace(**{**vars(raw(RGB, 'rgb8')), 'width': 2**31, 'height': 2**31}),
     r'at most 64000000 are accepted'),
    (compressed(b''), r'0 bytes .* is empty'),
    (compressed(b'no picture'), r'not a readable JPEG or PNG; is it truncated'),
    (compressed(cv2.imencode('.jpg', RGB)[1].tobytes()[:400]), r'JPEG or PNG; is it truncated'),
    (compressed(cv2.imencode('.png', RGB)[1].tobytes()[:400]), r'JPEG or PNG; is it truncated'),
    (compressed(png_header(9000, 9000), 'png'), r'9000x9000 pixels; at most 64000000 are'),
    (compressed(png_header(60000, 60000), 'png'), r'is too large: .*3600000000 pixels'),
])
def test_bad_images_are_named(message, said):
    with pytest.raises(FrameError, match=said):
        decode_image(message)
