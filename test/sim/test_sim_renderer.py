import colorsys
import dataclasses
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vla_nav.contract import Camera
from vla_nav.sim import (
    COLOURS,
    SHAPES,
    Renderer,
    RenderingError,
    Simulation,
    sample_scene,
    shared_renderer,
)
from vla_nav.sim.opengl import osmesa_works
from vla_nav.sim.renderer import FLOOR, WALL, project
from vla_nav.sim.task import Outcome

W, H = 320, 240


def hue_of(rgb):
    return colorsys.rgb_to_hsv(*(np.asarray(rgb, float) / 255))[0]


@pytest.mark.parametrize('shape', SHAPES)
def test_the_named_colour_appears_where_geometry_says(renderer, make_scene, shape):
    for colour, rgb in COLOURS.items():
        scene = make_scene((shape, colour, 1.5, 0.4))
        picture = renderer.render(scene, scene.start)
        assert picture.shape == (H, W, 3) and picture.dtype == np.uint8
        (u, v, depth), = project(scene.start, [[1.5, 0.4, 0.15]], W, H)
        assert depth > 0 and u < W / 2  # to the left
        found = hue_of(picture[int(v), int(u)])
        wanted = colorsys.rgb_to_hsv(*rgb)[0]
        assert abs(math.remainder(found - wanted, 1.0)) < 0.05, colour


def test_colours_stay_apart_in_bright_dim_warm_and_cold_light(renderer, make_scene):
    """Each colour's pixels are nearer to its own name than to any other, by chromaticity."""
    def chroma(rgb):
        rgb = np.asarray(rgb, float)
        return rgb / np.linalg.norm(rgb)
    for seed in range(12):
        look = sample_scene(seed, split='dim-light' if seed % 2 else 'seen').look
        for colour in COLOURS:
            scene = make_scene(('box', colour, 1.2, 0.0), look=look)
            picture = renderer.render(scene, scene.start)
            label = renderer.segment(scene, scene.start)
            mean = picture[label == 0].mean(axis=0)
            nearest = min(COLOURS, key=lambda c: np.linalg.norm(chroma(COLOURS[c]) - chroma(mean)))
            assert nearest == colour


@pytest.mark.parametrize('seed', range(5))
def test_segmentation_agrees_with_geometry(renderer, seed):
    scene = sample_scene(seed, 'hard')
    for yaw in np.linspace(-3, 3, 7):
        pose = (*scene.start[:2], yaw)
        labels = renderer.segment(scene, pose)
        assert labels.dtype == np.int8 and labels.min() >= WALL
        order = sorted(range(len(scene.objects)), key=lambda i: math.hypot(
            scene.objects[i].x - pose[0], scene.objects[i].y - pose[1]))
        for i, thing in enumerate(scene.objects):
            # Everything labelled as the object lies within its bounding cylinder's outline.
            around = [[thing.x + thing.radius_m * math.cos(a), thing.y + thing.radius_m
                       * math.sin(a), z] for a in np.linspace(0, 2 * math.pi, 24)
                      for z in (0, thing.height_m)]
            pixels = project(pose, around, W, H)
            rows, columns = np.nonzero(labels == i)
            if len(rows):
                assert pixels[:, 0].min() - 1 <= columns.min() and columns.max() <= \
                    pixels[:, 0].max() + 1
                assert pixels[:, 1].min() - 1 <= rows.min() and rows.max() <= \
                    pixels[:, 1].max() + 1
        nearest = scene.objects[order[0]]
        (u, v, depth), = project(pose, [[nearest.x, nearest.y, 0.5 * nearest.height_m]], W, H)
        if depth > 0.1 and 0 <= u < W and 0 <= v < H:
            assert labels[int(v), int(u)] == order[0]


def test_floor_and_walls_are_told_apart(renderer, make_scene):
    scene = make_scene(('cone', 'red', -2.0, 0.0))
    labels = renderer.segment(scene, scene.start)
    assert set(np.unique(labels)) == {FLOOR, WALL}
    (_, v, _), = project(scene.start, [[3.0, 0.0, 0.0]], W, H)  # foot of the wall ahead
    assert (labels[int(v) + 2:, W // 2] == FLOOR).all()
    assert (labels[:int(v) - 2, W // 2] == WALL).all()


def test_a_smaller_segmentation_shows_the_same(renderer):
    scene = sample_scene(2, 'easy')
    large, small = renderer.segment(scene, scene.start), renderer.segment(
        scene, scene.start, 160, 120)
    assert small.shape == (120, 160)
    assert (large[1::2, 1::2] == small).mean() > 0.98


def test_one_renderer_serves_many_scenes(renderer):
    scenes = [sample_scene(seed, 'hard') for seed in range(3)]
    first = [renderer.render(scene, scene.start) for scene in scenes]
    again = [renderer.render(scene, scene.start) for scene in reversed(scenes)][::-1]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    fresh = Renderer(W, H)
    np.testing.assert_array_equal(fresh.render(scenes[2], scenes[2].start), first[2])
    fresh.close()
    with pytest.raises(RenderingError, match='closed'):
        fresh.render(scenes[0], scenes[0].start)


def test_the_look_changes_the_picture_and_not_the_segmentation(renderer):
    scene = sample_scene(3)
    other = dataclasses.replace(scene, look=sample_scene(4, split='textures').look)
    assert (renderer.render(scene, scene.start) != renderer.render(other, scene.start)).mean() > .5
    np.testing.assert_array_equal(renderer.segment(scene, scene.start),
                                  renderer.segment(other, scene.start))


def test_a_simulation_gives_the_frames_a_policy_gets(renderer, make_scene):
    scene = make_scene(('box', 'blue', 1.5, 0.0))
    simulation = Simulation(scene, renderer=renderer)
    camera = Camera(width=96, height=64, crop=(0.0, 0.25, 1.0, 1.0))
    before = simulation.frame(camera)
    assert before.image.shape == (64, 96, 3) and before.stamp_ns == 0
    simulation.step((0.5, 0.0), 1.0)
    after = simulation.frame(camera)
    assert after.stamp_ns == 1_000_000_000 and simulation.outcome is Outcome.RUNNING
    blue = [np.count_nonzero(frame.image[..., 2] > 2.0 * frame.image[..., 0])
            for frame in (before, after)]
    assert blue[1] > 1.2 * blue[0] > 0  # it came nearer


def test_a_size_out_of_range_is_refused(renderer):
    with pytest.raises(RenderingError, match='image size 8x480'):
        Renderer(8, 480)
    scene = sample_scene(0)
    with pytest.raises(RenderingError, match='640x480 is larger'):
        renderer.segment(scene, scene.start, 640, 480)


def test_a_renderer_stays_in_its_thread_and_each_thread_gets_its_own(renderer):
    scene = sample_scene(0)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(RenderingError, match=r'another thread .* use shared_renderer\(\)'):
            pool.submit(renderer.render, scene, scene.start).result()
        there = pool.submit(lambda: shared_renderer(W, H).render(scene, scene.start)).result()
    np.testing.assert_array_equal(there, renderer.render(scene, scene.start))


def test_a_forked_process_is_told_to_spawn():
    code = """if True:
        import os
        from vla_nav.sim import Renderer, RenderingError
        keep = Renderer(64, 48)
        if os.fork():
            raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
        try:
            Renderer(64, 48)
        except RenderingError as error:
            print(error, flush=True)
        os._exit(0)
        """
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "get_context('spawn')" in done.stdout, done.stderr


def render_in_a_process(**environment):
    clean = {k: v for k, v in os.environ.items()
             if k not in ('MUJOCO_GL', 'PYOPENGL_PLATFORM', 'DISPLAY')}
    return subprocess.run(
        [sys.executable, '-c', 'from vla_nav.sim import Renderer; Renderer(64, 48)'],
        env={**clean, **environment}, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(osmesa_works(), reason='OSMesa steps in where EGL has no driver')
def test_without_a_rendering_library_the_message_says_what_to_install():
    done = render_in_a_process(__EGL_VENDOR_LIBRARY_DIRS='/nonexistent')
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert 'RenderingError: no OpenGL library for drawing without a display was found' in last
    assert "'apt-get install libegl1 libgl1-mesa-dri'" in last and 'libosmesa6' in last


@pytest.mark.parametrize('environment', [
    {'MUJOCO_GL': 'egl', '__EGL_VENDOR_LIBRARY_DIRS': '/nonexistent'},
    {'MUJOCO_GL': 'nonsense'}])
def test_a_chosen_library_that_fails_is_named_with_the_remedy(environment):
    done = render_in_a_process(**environment)
    last = done.stderr.strip().splitlines()[-1]
    assert 'RenderingError' in last and 'apt-get install libegl1 libgl1-mesa-dri' in last
    assert f'MUJOCO_GL={environment["MUJOCO_GL"]}' in last


def test_the_simulator_loads_neither_mujoco_nor_torch_before_it_draws():
    code = ('import sys, vla_nav.sim as s; s.Simulation(s.sample_scene(0)).step((0.1, 0));'
            "print(sorted({'mujoco', 'torch', 'matplotlib', 'rclpy'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=120, check=True)
    assert done.stdout.strip() == '[]'


def test_a_process_ends_quietly_whatever_was_imported_before():
    script = ('import weakref\nclass Early: pass\nearly = Early()\n'
              'weakref.finalize(early, int)\n'
              'from vla_nav.sim import Renderer, sample_scene\n'
              'scene = sample_scene(0)\nrenderer = Renderer(64, 48)\n'
              'renderer.render(scene, scene.start)\n')
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stderr) == (0, '')
