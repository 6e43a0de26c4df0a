"""What a picture shows, as text and dense supervision need it, from its segmentation.

Bearings and distances are those of an object's centre as seen by the camera: bearing in rad,
positive to the left, distance in m along the floor. Segmentations are of the whole camera image;
`crop` (left, top, right, bottom, fractions of it) is the part that the policy gets.
"""
import math
from dataclasses import dataclass

import cv2
import numpy as np

from vla_nav.sim.scene import COLOURS, ROBOT_RADIUS_M, SHAPES, Scene, SimError
from vla_nav.sim.visibility import camera_bearing

WHOLE = (0.0, 0.0, 1.0, 1.0)
COLOUR_NAMES = tuple(COLOURS)
NO_OBJECT = 0
"""Colour and shape id of a patch without an object; names have their index plus one."""


@dataclass(frozen=True)
class VisibleObject:
    """An object in the picture."""

    index: int
    """In scene.objects."""
    colour: str
    shape: str
    bearing_rad: float
    distance_m: float
    share: float
    """Part of the picture's pixels that show it, 0 to 1."""

    @property
    def name(self) -> str:
        """For example 'red cone'."""
        return f'{self.colour} {self.shape}'


@dataclass(frozen=True)
class PatchLabels:
    """For each patch of the picture, the object that covers most of it."""

    colour: np.ndarray
    """int64 (rows, columns): NO_OBJECT or 1 + index in COLOUR_NAMES."""
    shape: np.ndarray
    """int64 (rows, columns): NO_OBJECT or 1 + index in SHAPES."""
    distance_m: np.ndarray
    """float32 (rows, columns): 0 where there is no object."""
    bearing_rad: np.ndarray
    """float32 (rows, columns): of the object's centre, 0 where there is no object."""


def visible_objects(segmentation: np.ndarray, scene: Scene, pose, crop=WHOLE,
                    min_share: float = 0.0004) -> tuple[VisibleObject, ...]:
    """The objects in a picture, nearest first.

    `segmentation` is int8 (H, W) from Renderer.segment. The default `min_share` is about
    15 pixels of 192 x 192; an object with less does not count as visible.
    """
    picture = _cropped(segmentation, crop)
    counts = np.bincount(picture[picture >= 0].ravel(), minlength=len(scene.objects))
    found = []
    for index, thing in enumerate(scene.objects):
        share = float(counts[index]) / picture.size
        if share >= min_share:
            bearing, distance = camera_bearing(pose, thing)
            found.append(VisibleObject(index, thing.colour, thing.shape, bearing, distance, share))
    return tuple(sorted(found, key=lambda item: item.distance_m))


def patch_labels(segmentation: np.ndarray, scene: Scene, pose, grid: tuple[int, int],
                 crop=WHOLE, min_cover: float = 0.15) -> PatchLabels:
    """Labels for a grid of (rows, columns) patches over the cropped picture.

    A patch of which no object covers `min_cover` has none.
    """
    picture = _cropped(segmentation, crop)
    rows, columns = grid
    cover = np.zeros((len(scene.objects) + 1, rows, columns), np.float32)
    cover[0] = min_cover
    facts = np.zeros((len(scene.objects) + 1, 4), np.float32)
    for index in np.unique(picture[picture >= 0]):
        thing = scene.objects[index]
        mask = (picture == index).astype(np.float32)
        cover[index + 1] = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA)
        bearing, distance = camera_bearing(pose, thing)
        facts[index + 1] = (1 + COLOUR_NAMES.index(thing.colour), 1 + SHAPES.index(thing.shape),
                            distance, bearing)
    labels = facts[cover.argmax(axis=0)]
    return PatchLabels(labels[..., 0].astype(np.int64), labels[..., 1].astype(np.int64),
                       labels[..., 2], labels[..., 3])


def sample_pose(scene: Scene, rng: np.random.Generator) -> tuple[float, float, float]:
    """A pose such as a robot has while it searches (half of them) or approaches an object.

    x, y (m) and yaw (rad), touching nothing; approaches end 0.45 m from an object's centre.
    """
    for _ in range(200):
        if rng.random() < 0.5:
            x, y = (rng.uniform(-half, half) for half in scene.room)
            yaw = rng.uniform(-math.pi, math.pi)
        else:
            thing = scene.objects[rng.integers(len(scene.objects))]
            distance, around = 0.45 * 10 ** rng.uniform(0, 1), rng.uniform(-math.pi, math.pi)
            x, y = (thing.x + distance * math.cos(around), thing.y + distance * math.sin(around))
            off = rng.normal(0, 0.2) if rng.random() < 0.6 else rng.uniform(-0.9, 0.9)
            yaw = math.remainder(around + math.pi + off, 2 * math.pi)
        if scene.clearance_m(x, y) > ROBOT_RADIUS_M:
            return float(x), float(y), float(yaw)
    return scene.start


def _cropped(segmentation, crop):
    """Cut as vla_nav.frames.prepare_image does."""
    if segmentation.ndim != 2:
        raise SimError(f'segmentation has shape {segmentation.shape}: expected (H, W)')
    rows, columns = segmentation.shape
    left, top, right, bottom = crop
    return segmentation[round(top * rows):round(bottom * rows),
                        round(left * columns):round(right * columns)]
