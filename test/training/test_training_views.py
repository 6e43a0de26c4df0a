"""Labels of views agree with geometry."""

import dataclasses
import math

import numpy as np
import pytest

from vla_nav.contract import Camera
from vla_nav.sim import ROBOT_RADIUS_M, SceneObject, sample_scene, shared_renderer
from vla_nav.training.grounding import COLOUR_NAMES, SHAPE_NAMES
from vla_nav.training.views import SEGMENTATION_SIZE, label_view, sample_pose

CAMERA = Camera(width=192, height=192, crop=(0.0, 0.25, 1.0, 1.0))


@pytest.fixture(scope='module')
def labelled():
    """A cylinder 2 m ahead, half a metre to the left, and a cone behind the robot."""
    scene = dataclasses.replace(
        sample_scene(0, 'easy'), start=(0.0, 0.0, 0.0), target=0,
        objects=(SceneObject('cylinder', 'red', 2.0, 0.5), SceneObject('cone', 'blue', -2.0, 0.0)))
    segmentation = shared_renderer().segment(scene, scene.start, *SEGMENTATION_SIZE)
    return label_view(segmentation, scene, scene.start, CAMERA, 12)


def test_only_what_is_in_front_is_listed(labelled):
    objects = labelled[3]
    assert (objects[:, 0] >= 0).sum() == 1
    colour, shape, bearing, distance, share = objects[0]
    assert (COLOUR_NAMES[int(colour)], SHAPE_NAMES[int(shape)]) == ('red', 'cylinder')
    assert bearing == pytest.approx(math.atan2(0.5, 2.0))
    assert distance == pytest.approx(math.hypot(0.5, 2.0))
    assert 0.005 < share < 0.1


def test_patches_are_labelled_where_the_object_is(labelled):
    colour, shape, distance, _ = labelled
    rows, columns = np.nonzero(colour)
    # 0.5 m to the left at 2 m: a quarter of the way from the middle to the left edge.
    assert columns.min() >= 3 and columns.max() <= 5
    assert set(colour[rows, columns]) == {1 + COLOUR_NAMES.index('red')}
    assert set(shape[rows, columns]) == {1 + SHAPE_NAMES.index('cylinder')}
    assert distance[rows, columns] == pytest.approx(math.hypot(0.5, 2.0), abs=0.01)


def test_poses_touch_nothing_and_come_close():
    rng = np.random.default_rng(0)
    scene = sample_scene(1)
    poses = [sample_pose(scene, rng) for _ in range(300)]
    assert all(scene.clearance_m(x, y) > ROBOT_RADIUS_M for x, y, _ in poses)
    nearest = [min(math.hypot(thing.x - x, thing.y - y) for thing in scene.objects)
               for x, y, _ in poses]
    assert min(nearest) < 0.6 and max(nearest) > 2.0
