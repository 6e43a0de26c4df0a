import math

import numpy as np
import pytest

from vla_nav.sim import COLOURS, ROBOT_RADIUS_M, SHAPES, SimError, Simulation, sample_scene
from vla_nav.sim.labels import (
    COLOUR_NAMES,
    NO_OBJECT,
    patch_labels,
    sample_pose,
    visible_objects,
)
from vla_nav.sim.renderer import CAMERA_FORWARD_M
from vla_nav.sim.top_view import save_top_view, top_view
from vla_nav.sim.visibility import camera_bearing, unhidden_share

CROP = (0.0, 0.25, 1.0, 1.0)


def test_visible_objects_are_listed_with_bearing_and_distance(renderer, make_scene):
    scene = make_scene(('cone', 'red', CAMERA_FORWARD_M + 1.0, 0.5),
                       ('box', 'blue', CAMERA_FORWARD_M + 2.0, -1.0),
                       ('ball', 'green', -1.0, 0.0))
    near, far = visible_objects(renderer.segment(scene, scene.start), scene, scene.start, CROP)
    assert (near.name, near.index, far.name, far.index) == ('red cone', 0, 'blue box', 1)
    assert near.distance_m == pytest.approx(math.hypot(1.0, 0.5))
    assert near.bearing_rad == pytest.approx(math.atan2(0.5, 1.0))
    assert far.bearing_rad == pytest.approx(-math.atan2(1.0, 2.0))
    assert near.share > far.share > 0


def test_a_hidden_object_is_not_visible(renderer, make_scene):
    scene = make_scene(('ball', 'red', 2.5, 0.0), ('cylinder', 'blue', 1.0, 0.0))
    found = visible_objects(renderer.segment(scene, scene.start), scene, scene.start)
    assert [thing.name for thing in found] == ['blue cylinder']
    assert unhidden_share(scene, scene.start, 0) == 0.0
    assert unhidden_share(scene, scene.start, 1) == 1.0


def test_geometry_predicts_what_the_picture_shows(renderer):
    rng = np.random.default_rng(0)
    for seed in range(25):
        scene = sample_scene(seed)
        pose = sample_pose(scene, rng)
        found = {thing.index for thing in visible_objects(
            renderer.segment(scene, pose), scene, pose, CROP)}
        for i, thing in enumerate(scene.objects):
            bearing, _ = camera_bearing(pose, thing)
            if abs(bearing) < math.radians(40) and unhidden_share(scene, pose, i) >= 0.5:
                assert i in found
            if abs(bearing) > math.radians(80):
                assert i not in found


def test_patches_are_labelled_with_the_object_that_covers_them(renderer, make_scene):
    ahead = CAMERA_FORWARD_M + 1.5
    scene = make_scene(('cone', 'red', ahead, 0.6), ('box', 'blue', ahead, -0.6))
    labels = patch_labels(renderer.segment(scene, scene.start), scene, scene.start, (8, 12), CROP)
    red, blue = (1 + COLOUR_NAMES.index(name) for name in ('red', 'blue'))
    cone, box = (1 + SHAPES.index(name) for name in ('cone', 'box'))
    assert labels.colour.shape == (8, 12) and labels.colour.dtype == np.int64
    assert set(np.unique(labels.colour[:, :6])) == {NO_OBJECT, red}
    assert set(np.unique(labels.colour[:, 6:])) == {NO_OBJECT, blue}
    np.testing.assert_array_equal(labels.shape == cone, labels.colour == red)
    np.testing.assert_array_equal(labels.shape == box, labels.colour == blue)
    empty = labels.colour == NO_OBJECT
    assert (labels.distance_m[empty] == 0).all()
    np.testing.assert_allclose(labels.distance_m[~empty], math.hypot(1.5, 0.6), rtol=1e-5)
    assert (labels.bearing_rad[labels.colour == red] > 0.3).all()


def test_the_crop_moves_the_patches(renderer, make_scene):
    scene = make_scene(('cylinder', 'red', 1.0, 0.0))
    segmentation = renderer.segment(scene, scene.start)
    whole = patch_labels(segmentation, scene, scene.start, (12, 12))
    lower = patch_labels(segmentation, scene, scene.start, (9, 12), CROP)
    np.testing.assert_array_equal(whole.colour[3:], lower.colour)


def test_poses_are_free_varied_and_see_something_half_of_the_time(renderer):
    rng = np.random.default_rng(1)
    seen, nearest = 0, []
    for seed in range(100):
        scene = sample_scene(seed)
        pose = sample_pose(scene, rng)
        assert scene.clearance_m(*pose[:2]) > ROBOT_RADIUS_M
        seen += bool(visible_objects(renderer.segment(scene, pose, 160, 120), scene, pose, CROP))
        nearest.append(min(math.hypot(t.x - pose[0], t.y - pose[1]) for t in scene.objects))
    assert 60 < seen < 98
    assert min(nearest) < 0.55 and max(nearest) > 1.5


def test_a_segmentation_of_wrong_shape_is_refused():
    scene = sample_scene(0)
    with pytest.raises(SimError, match=r'shape \(4, 4, 3\): expected \(H, W\)'):
        visible_objects(np.zeros((4, 4, 3), np.int8), scene, scene.start)


def test_the_view_from_above_shows_objects_and_path(make_scene, tmp_path):
    scene = make_scene(('box', 'red', 1.5, 0.0))
    simulation = Simulation(scene)
    simulation.step((0.4, 0.3), 2.0)
    picture = top_view(scene, simulation.path)
    still = top_view(scene, simulation.path[:1])
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    red = np.array(COLOURS['red']) * 255
    assert (np.abs(picture - red).max(axis=2) < 12).sum() > 200
    assert (picture != still).any(axis=2).sum() > 200
    save_top_view(tmp_path / 'path.png', scene, simulation.path)
    assert (tmp_path / 'path.png').read_bytes().startswith(b'\x89PNG')
    assert [file.name for file in tmp_path.iterdir()] == ['path.png']
