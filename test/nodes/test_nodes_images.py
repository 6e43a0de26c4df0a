"""Live images have the pixels of datasets, whoever converts them."""

import sys
from types import ModuleType

import cv2
import numpy as np
import pytest
from harness import messages

from vla_nav.frames import FrameError, decode_image
from vla_nav.nodes.images import image_decoder, probes

RGB = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)


class AnotherBridge:
    """What is offered as cv_bridge: a real conversion, but not everywhere the same pixels."""

    off = ()

    def imgmsg_to_cv2(self, message, encoding):
        assert encoding == 'rgb8'
        pixels = decode_image(message)
        return pixels[..., ::-1] if message.encoding in self.off else pixels


@pytest.fixture
def offer(monkeypatch):
    """Return a function that puts something in the place of cv_bridge."""

    def put(bridge):
        module = None if bridge is None else ModuleType('cv_bridge')
        if module:
            module.CvBridge = bridge
        monkeypatch.setitem(sys.modules, 'cv_bridge', module)

    return put


def test_without_cv_bridge_it_is_our_own_path(offer):
    offer(None)
    decode, why = image_decoder()
    assert decode is decode_image
    assert why.endswith('cv_bridge is not installed')


@pytest.mark.parametrize(('off', 'reason'), [
    (('bayer_gbrg8',), 'cv_bridge gives other pixels for bayer_gbrg8'),
    (('yuv422', 'bgra8'), 'cv_bridge gives other pixels for bgra8'),
])
def test_a_cv_bridge_that_differs_anywhere_is_not_used(offer, off, reason):
    offer(type('Off', (AnotherBridge,), {'off': off}))
    decode, why = image_decoder()
    assert decode is decode_image
    assert why.endswith(reason)


def test_a_cv_bridge_that_fails_is_not_used(offer):
    class Broken:
        def __init__(self):
            raise ImportError('built for another NumPy')

    offer(Broken)
    decode, why = image_decoder()
    assert decode is decode_image
    assert why.endswith('cv_bridge fails with ImportError: built for another NumPy')


@pytest.fixture
def cv_bridge():
    """Return the conversion by the cv_bridge that is installed."""
    pytest.importorskip('cv_bridge', reason='cv_bridge is not installed')
    decode, why = image_decoder()
    assert decode is not decode_image, why
    return decode


def test_cv_bridge_gives_equal_pixels_for_every_encoding(cv_bridge):
    from cv_bridge import CvBridge

    kinds = [messages.image_message(RGB, 1, 'camera'), *probes()]
    assert [message.encoding for message in kinds] == [
        'rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8', 'yuv422', 'bayer_rggb8', 'bayer_bggr8',
        'bayer_gbrg8', 'bayer_grbg8']
    for message in kinds:
        pixels = CvBridge().imgmsg_to_cv2(message, 'rgb8')
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, decode_image(message), err_msg=message.encoding)
        np.testing.assert_array_equal(pixels, cv_bridge(message), err_msg=message.encoding)


@pytest.mark.parametrize('form', ['jpeg', 'png'])
def test_cv_bridge_gives_equal_pixels_for_compressed_images(cv_bridge, form):
    from cv_bridge import CvBridge

    data = cv2.imencode(f'.{form}', cv2.GaussianBlur(RGB, (5, 5), 2))[1].tobytes()
    message = messages.compressed_message(data, 1, 'camera')
    np.testing.assert_array_equal(CvBridge().compressed_imgmsg_to_cv2(message, 'rgb8'),
                                  cv_bridge(message))


def padded(message):
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    message.data = np.pad(rows, ((0, 0), (0, 5))).tobytes()
    message.step += 5
    return message


def with_fields(**fields):
    message = messages.image_message(RGB, 1, 'camera')
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize('message', [
    padded(with_fields(encoding='bgr8')), with_fields(encoding='8UC3'),
    with_fields(encoding='bgr8', is_bigendian=1), with_fields(encoding='bgr8', step=0),
], ids=['padded rows', 'another encoding', 'big endian', 'no step'])
def test_what_cv_bridge_cannot_do_is_done_all_the_same(cv_bridge, message):
    np.testing.assert_array_equal(cv_bridge(message), decode_image(message))


BAD = [
    (with_fields(encoding='rgb16'), "image encoding 'rgb16' is not known; expected one of rgb8"),
    (with_fields(width=0, encoding='mono8'), 'image is 0x24 pixels; expected some'),
    (with_fields(width=2**31, height=2**31, encoding='yuv422'), 'at most 64000000 are accepted'),
    (with_fields(height=25, encoding='bgr8'),
     'has step 96 and 2304 bytes; expected at least step 96 and 2400'),
    (messages.compressed_message(b'', 1, 'camera'), 'is empty; expected JPEG or PNG data'),
    (messages.compressed_message(b'\xff\xd8\xff', 1, 'camera'), 'is not a readable JPEG or PNG'),
]


@pytest.mark.parametrize('bridge', [None, AnotherBridge])
def test_bad_images_are_named_whoever_converts(offer, bridge):
    offer(bridge)
    decode, _ = image_decoder()
    for message, said in BAD:
        with pytest.raises(FrameError, match=said):
            decode(message)


def test_bad_images_are_named_with_cv_bridge(cv_bridge):
    for message, said in BAD:
        with pytest.raises(FrameError, match=said):
            cv_bridge(message)
