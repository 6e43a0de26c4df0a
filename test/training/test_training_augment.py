"""Augmentation: left stays left and red stays red, unless everything is mirrored."""

import cv2
import numpy as np
import pytest
from drawn_world import draw

from vla_nav.training.augment import (
    mirror_images,
    mirror_instruction,
    mirror_signs,
    vary_images,
)


def hue(image):
    """Hue of the ball in degrees."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    ball = hsv[..., 1] > 100
    return 2.0 * np.median(hsv[ball][:, 0]), ball


def test_hue_stays_while_brightness_changes():
    image = draw(0.0)
    before, _ = hue(image)
    rng = np.random.default_rng(0)
    varied = [vary_images(image[None], 0.2, 0.0, rng)[0] for _ in range(50)]
    differences = [abs(hue(v)[0] - before) for v in varied]
    assert max(min(d, 360 - d) for d in differences) <= 8
    assert np.std([v.mean() for v in varied]) > 8


def test_a_shift_is_small_and_the_same_in_a_sequence():
    images = np.stack([draw(-0.5)] * 3)
    rng = np.random.default_rng(0)
    places = []
    for _ in range(50):
        varied = vary_images(images, 0.0, 0.05, rng)
        assert (varied == varied[0]).all()
        places.append(np.argwhere(hue(varied[0])[1])[:, 1].mean())
    before = np.argwhere(hue(images[0])[1])[:, 1].mean()
    assert np.abs(np.array(places) - before).max() <= 0.06 * 64
    assert np.std(places) > 0.2


def test_no_change_asked_no_change_made():
    images = draw(0.3)[None]
    assert vary_images(images, 0.0, 0.0, np.random.default_rng(0)) is images


@pytest.mark.parametrize('text, mirrored', [
    ('turn left at the door, then Right', 'turn right at the door, then Left'),
    ('go right away to the cone on the right', 'go right away to the cone on the left'),
    ('the leftmost ball, on the right in front of you', 'the rightmost ball, on the left in front '
     'of you'),
    ('turn CLOCKWISE then counter-clockwise', 'turn COUNTERCLOCKWISE then clockwise'),
    ('the bright ball', 'the bright ball'),
])
def test_sides_are_swapped_in_sentences(text, mirrored):
    assert mirror_instruction(text) == mirrored


def test_a_mirror_swaps_sides_and_turns_the_other_way():
    assert (mirror_images(draw(0.4)[None])[0] == draw(0.4)[:, ::-1]).all()
    assert mirror_signs(('linear.x', 'angular.z')).tolist() == [1.0, -1.0]
    assert mirror_signs(('linear.x', 'linear.y')).tolist() == [1.0, -1.0]
