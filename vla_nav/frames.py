"""From an image message to what the policy sees: one path for robot, recorder and training."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from vla_nav.contract import Camera, Frame
from vla_nav.errors import VlaNavError

MAX_PIXELS = 64_000_000
"""Larger images are refused: no camera is that large, but a corrupt header can be."""

# encoding: bytes per pixel, OpenCV conversion to RGB (sensor_msgs/image_encodings.hpp).
# OpenCV names Bayer patterns by the second row's second and third pixel, ROS by the first two.
ENCODINGS = {
    'rgb8': (3, None),
    'bgr8': (3, cv2.COLOR_BGR2RGB),
    'rgba8': (4, cv2.COLOR_RGBA2RGB),
    'bgra8': (4, cv2.COLOR_BGRA2RGB),
    'mono8': (1, cv2.COLOR_GRAY2RGB),
    '8UC1': (1, cv2.COLOR_GRAY2RGB),
    '8UC3': (3, cv2.COLOR_BGR2RGB),
    'yuv422': (2, cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': (2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': (2, cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': (2, cv2.COLOR_YUV2RGB_YUY2),
    'bayer_rggb8': (1, cv2.COLOR_BayerBG2RGB),
    'bayer_bggr8': (1, cv2.COLOR_BayerRG2RGB),
    'bayer_gbrg8': (1, cv2.COLOR_BayerGR2RGB),
    'bayer_grbg8': (1, cv2.COLOR_BayerGB2RGB),
}


class FrameError(VlaNavError):
    """An image message cannot be turned into a frame."""


def decode_image(message: object) -> np.ndarray:
    """Decode a sensor_msgs Image or CompressedImage to uint8 (H, W, 3) RGB. Raises FrameError."""
    if hasattr(message, 'encoding'):
        return _decode_raw(message)
    return _decode_compressed(message)


def frame_from_message(message: object, camera: Camera,
                       decode: Callable[[object], np.ndarray] = decode_image) -> Frame:
    """Turn a sensor_msgs Image or CompressedImage into the frame the policy sees.

    `message` is anything with the fields of either type, `decode` anything that does what
    `decode_image` does. Raises FrameError.
    """
    stamp = message.header.stamp
    return Frame(prepare_image(decode(message), camera),
                 int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec))


def prepare_image(image: np.ndarray, camera: Camera) -> np.ndarray:
    """Crop and resize uint8 (H, W, 3) RGB to the contract's (height, width, 3)."""
    rows, columns = image.shape[:2]
    left, top, right, bottom = camera.crop
    cropped = image[round(top * rows):max(round(bottom * rows), round(top * rows) + 1),
                    round(left * columns):max(round(right * columns), round(left * columns) + 1)]
    return np.ascontiguousarray(_resized(cropped, camera.height, camera.width))


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by a factor below two, bilinearly, and then by halves: so each pixel counts.

    OpenCV's area filter gives little better images, and takes two to four times as long.
    """
    size = height, width
    finer = tuple(2 * new if 2 * new <= old else new for new, old in zip(size, image.shape))
    if finer != size:
        image = _resized(image, *finer)
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def check_image(message: object) -> None:
    """Raise FrameError unless the fields of a sensor_msgs Image agree with each other."""
    width, height, encoding = int(message.width), int(message.height), str(message.encoding)
    if encoding not in ENCODINGS:
        raise FrameError(f'image encoding {encoding[:40]!r} is not known; expected one of '
                         f'{", ".join(ENCODINGS)}')
    if width == 0 or height == 0:
        raise FrameError(f'image is {width}x{height} pixels; expected some; restart the camera or '
                         'check its driver')
    if width * height > MAX_PIXELS:
        raise FrameError(f'image is {width}x{height} pixels; at most {MAX_PIXELS} are accepted')
    row = row_bytes(message)
    step = int(message.step) or row
    size, needed = memoryview(message.data).nbytes, step * (height - 1) + row
    if step < row or size < needed:
        raise FrameError(f'image of {width}x{height} {encoding} has step {step} and '
                         f'{size} bytes; expected at least step {row} and {needed} bytes')
    if ENCODINGS[encoding][0] == 2 and width % 2:
        raise FrameError(f'image of {width}x{height} {encoding} has an odd width; '
                         'this encoding stores pixels in pairs')
    if 'bayer' in encoding and (width < 3 or height < 3):
        raise FrameError(f'image of {width}x{height} {encoding} is too small to debayer')


def row_bytes(message: object) -> int:
    """Bytes of one row of pixels of a sensor_msgs Image, without padding."""
    return int(message.width) * ENCODINGS[message.encoding][0]


def _decode_raw(message: object) -> np.ndarray:
    check_image(message)
    width, height, row = int(message.width), int(message.height), row_bytes(message)
    size, conversion = ENCODINGS[message.encoding]
    step = row if height == 1 else int(message.step) or row  # of no meaning with a single row
    data = np.frombuffer(message.data, np.uint8)
    if data.size < step * height:
        data = np.pad(data, (0, step * height - data.size))
    pixels = data[:step * height].reshape(height, step)[:, :row]
    pixels = pixels.reshape(height, width, size) if size > 1 else pixels
    return (pixels if conversion is None
            else cv2.cvtColor(np.ascontiguousarray(pixels), conversion))


def _decode_compressed(message: object) -> np.ndarray:
    data = np.frombuffer(message.data, np.uint8)
    found = f'compressed image of {data.size} bytes with format {str(message.format)[:40]!r}'
    if data.size == 0:
        raise FrameError(f'{found} is empty; expected JPEG or PNG data')
    _check_compressed(data, found)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise FrameError(f'{found} cannot be decoded: {error.err}') from None
    if image is None:
        raise FrameError(f'{found} is not a readable JPEG or PNG; is it truncated?')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _check_compressed(data: np.ndarray, found: str) -> None:
    """Look at the header only: a few kilobytes can unfold to gigabytes of pixels."""
    try:
        width, height = Image.open(BytesIO(data), formats=('JPEG', 'PNG', 'WEBP')).size
    except Image.DecompressionBombError as error:
        raise FrameError(f'{found} is too large: {error}') from None
    except Exception:
        raise FrameError(f'{found} is not a readable JPEG or PNG; is it truncated?') from None
    if width * height > MAX_PIXELS:
        raise FrameError(f'image is {width}x{height} pixels; at most {MAX_PIXELS} are accepted')


class Pacer:
    """Chooses which of a camera's frames the policy sees, live and in datasets alike.

    A head with memory learnt how the world changes in one step of its contract's rate; a camera
    three times as fast would show it a world in slow motion.
    """

    EARLY = 0.25
    """A frame may be this share of a step early, for jitter."""
    SLEW = 0.02
    """Share of a step by which each frame may shift the grid, for clocks that drift."""
    RESTART_NS = 1_000_000_000
    """A stamp further back than this is a clock set back, not a message out of order."""

    def __init__(self, rate_hz: float) -> None:
        self._step_ns = round(1e9 / rate_hz)
        self._due_ns: int | None = None
        self._last_ns = 0

    def admit(self, stamp_ns: int) -> bool:
        """Whether a frame of this stamp is due; if so, it counts as seen."""
        step = self._step_ns
        if self._due_ns is None or stamp_ns < self._last_ns - self.RESTART_NS:
            self._due_ns = stamp_ns
        elif stamp_ns <= self._last_ns or stamp_ns < self._due_ns - self.EARLY * step:
            return False
        late = stamp_ns - self._due_ns
        if late > step // 2:
            self._due_ns = stamp_ns
        else:
            self._due_ns += round(min(max(late, -self.SLEW * step), self.SLEW * step))
        self._due_ns += step
        self._last_ns = stamp_ns
        return True
