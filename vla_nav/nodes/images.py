"""How live images are converted: by cv_bridge where it gives the pixels that datasets have.

Compressed images are not its business here: it calls the same cv2.imdecode as `decode_image`, but
leaves grey, 16-bit and turned pictures as they are.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from vla_nav import rosless
from vla_nav.frames import ENCODINGS, check_image, decode_image, row_bytes

rosless.ensure()

from sensor_msgs.msg import Image  # noqa: E402

Decode = Callable[[object], np.ndarray]
"""From an Image or CompressedImage message to uint8 (H, W, 3) RGB; raises FrameError."""

# Not rgb8: it needs no conversion, and cv_bridge would copy it.
_BRIDGED = ('bgr8', 'rgba8', 'bgra8', 'mono8', 'yuv422', 'bayer_rggb8', 'bayer_bggr8',
            'bayer_gbrg8', 'bayer_grbg8')
_HEIGHT, _WIDTH = 38, 54


def image_decoder() -> tuple[Decode, str]:
    """Choose by trying cv_bridge on a small image of each encoding; tells what it is, and why."""
    own = f'OpenCV {cv2.__version__}'
    try:
        from cv_bridge import CvBridge

        decode = _BridgeDecoder(CvBridge())
    except ModuleNotFoundError:
        return decode_image, f'{own}; cv_bridge is not installed'
    except Exception as error:  # Built for another NumPy or OpenCV it may fail in any way.
        return decode_image, f'{own}; cv_bridge fails with {type(error).__name__}: {error}'
    for message in probes():
        try:
            same = np.array_equal(decode(message), decode_image(message))
        except Exception as error:
            return decode_image, f'{own}; cv_bridge fails on {message.encoding}: {error}'
        if not same:
            return decode_image, f'{own}; cv_bridge gives other pixels for {message.encoding}'
    return decode, f'cv_bridge, with the same pixels as {own}'


def probes() -> Iterator[Image]:
    """A small message of every encoding that cv_bridge may convert."""
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 256, (8, 10, 4), dtype=np.uint8),
                        (_WIDTH, _HEIGHT))
    for encoding in _BRIDGED:
        size = ENCODINGS[encoding][0]
        yield Image(encoding=encoding, height=_HEIGHT, width=_WIDTH, step=_WIDTH * size,
                    data=array('B', pixels[..., :size].tobytes()))


class _BridgeDecoder:
    """Converts by cv_bridge what it is known to convert well, and the rest by our own path."""

    def __init__(self, bridge) -> None:
        self._bridge = bridge

    def __call__(self, message: object) -> np.ndarray:
        if getattr(message, 'encoding', None) not in _BRIDGED:
            return decode_image(message)
        check_image(message)
        if message.step != row_bytes(message) or message.is_bigendian:
            return decode_image(message)  # cv_bridge misreads most padded rows.
        return self._bridge.imgmsg_to_cv2(message, 'rgb8')
