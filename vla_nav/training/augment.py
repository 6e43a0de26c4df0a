"""Changes of images that change neither what is left and right nor what is red and blue."""

from __future__ import annotations

import re

import cv2
import numpy as np

SIDES = re.compile(
    r'\b(?:left|right)(?=(?:most|hand|wards?|side)?\b)'
    r'(?:(?<=\bthe left)|(?<=\bthe right)|(?!\s+(?:now|away|here|there|before|behind|in front)))'
    r'|\b(?:counter|anti)-?clockwise\b|\bclockwise\b', re.IGNORECASE)
"""Words of direction; not the 'right' of 'right away'."""
LATERAL = ('linear.y', 'angular.z')
"""Fields of a command that change sign in a mirror (REP-103: y and yaw are positive to the left).
"""


def vary_images(images: np.ndarray, colour: float, shift: float, rng: np.random.Generator
                ) -> np.ndarray:
    """Change uint8 (T, H, W, 3) images of one sequence, all in the same way.

    colour: largest change of brightness and contrast; shift: largest shift, as a share of the
    size, by a crop that is scaled up again.
    """
    if colour:
        gain, offset = rng.uniform(1 - colour, 1 + colour), 128 * rng.uniform(-colour, colour)
        saturation = rng.uniform(1 - 2 * colour, 1 + 2 * colour)
        images = np.stack([_recolour(image, gain, offset, saturation) for image in images])
    if shift:
        height, width = images.shape[1:3]
        size = 1 - rng.uniform(0, shift)
        left, top = rng.uniform(0, 1 - size, 2) * (width, height)
        move = np.array([[1 / size, 0, -left / size], [0, 1 / size, -top / size]], np.float32)
        images = np.stack([cv2.warpAffine(image, move, (width, height),
                                          borderMode=cv2.BORDER_REPLICATE) for image in images])
    return images


def _recolour(image: np.ndarray, gain: float, offset: float, saturation: float) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    # Away from or towards grey, which keeps the hue.
    return cv2.addWeighted(image, gain * saturation, grey, gain * (1 - saturation),
                           offset + 128 * (1 - gain))


def mirror_images(images: np.ndarray) -> np.ndarray:
    """Mirror (..., H, W, 3) images."""
    return np.ascontiguousarray(images[..., ::-1, :])


def mirror_instruction(text: str) -> str:
    """Swap left and right, clockwise and counterclockwise."""
    return SIDES.sub(lambda found: _other_side(found[0]), text)


def _other_side(word: str) -> str:
    lower = word.lower()
    if lower.endswith('clockwise'):
        other = 'counterclockwise' if lower == 'clockwise' else 'clockwise'
    else:
        other = 'right' if lower == 'left' else 'left'
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other


def mirror_signs(fields: tuple[str, ...]) -> np.ndarray:
    """What actions (..., A) of these fields are multiplied by in a mirror, float32 (A,)."""
    return np.array([-1.0 if field in LATERAL else 1.0 for field in fields], np.float32)
