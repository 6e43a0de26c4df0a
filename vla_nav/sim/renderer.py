"""Pictures of a scene from the robot's camera: MuJoCo, off screen, without recompiling.

One model holds a slot of every shape for each of MAX_OBJECTS objects; a scene is applied by
editing positions, sizes, colours, materials and lights.
"""
import atexit
import functools
import math
import os
import threading
import weakref

import numpy as np

from vla_nav.sim import room_model
from vla_nav.sim.scene import Scene, SimError

CAMERA_FORWARD_M = 0.0
CAMERA_HEIGHT_M = 0.30
CAMERA_PITCH_RAD = math.radians(8.0)
"""Downwards."""
HORIZONTAL_FOV_RAD = math.pi / 2

FLOOR, WALL = -1, -2
"""Labels in a segmentation; objects have their index."""

INSTALL_HINT = ("install one of them: 'apt-get install libegl1 libgl1-mesa-dri' (faster) or "
                "'apt-get install libosmesa6'")


class RenderingError(SimError):
    """No picture can be made on this machine or from this thread."""


def camera_pose(pose) -> tuple[np.ndarray, np.ndarray]:
    """Position (3,) and rotation (3, 3) of the camera for a robot pose (x, y, yaw).

    The columns of the rotation are the camera's right, up and backward axes, as in OpenGL.
    """
    x, y, yaw = pose
    c, s = math.cos(yaw), math.sin(yaw)
    cp, sp = math.cos(CAMERA_PITCH_RAD), math.sin(CAMERA_PITCH_RAD)
    right, ahead = np.array([s, -c, 0.0]), np.array([c * cp, s * cp, -sp])
    position = np.array([x + CAMERA_FORWARD_M * c, y + CAMERA_FORWARD_M * s, CAMERA_HEIGHT_M])
    return position, np.stack([right, np.cross(right, ahead), -ahead], axis=1)


def project(pose, points, width: int, height: int) -> np.ndarray:
    """Pixel coordinates and depth (n, 3) of world points (n, 3); depth <= 0 lies behind."""
    position, rotation = camera_pose(pose)
    seen = (np.asarray(points, float) - position) @ rotation
    depth = -seen[:, 2]
    focal = width / 2 / math.tan(HORIZONTAL_FOV_RAD / 2)
    safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
    return np.stack([width / 2 + focal * seen[:, 0] / safe,
                     height / 2 - focal * seen[:, 1] / safe, depth], axis=1)


class Renderer:
    """Draws any scene from any pose, at a fixed image size.

    `samples` above 0 smooths edges in hardware; it costs more than half of the speed and is
    not needed where the image is shrunk anyway. Raises RenderingError where no OpenGL library
    for drawing off screen is found. An instance belongs to the thread that made it; a process
    forked from one that has drawn cannot draw, a spawned one can.
    """

    def __init__(self, width: int = 640, height: int = 480, samples: int = 0):
        if not (16 <= width <= 4096 and 16 <= height <= 4096):
            raise RenderingError(f'image size {width}x{height}: each side must be 16 to 4096')
        self.width, self.height = width, height
        self._owner = os.getpid(), threading.get_ident()
        _refuse_fork()
        mujoco = _import_mujoco()
        self._mujoco = mujoco
        self._model = room_model.compile_model(mujoco, width, height, samples)
        self._ids = room_model.Ids.of(mujoco, self._model)
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)
        try:
            self._context = mujoco.GLContext(width, height)
            self._context.make_current()
            self._drawing = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:  # each backend raises its own
            raise RenderingError(
                f'OpenGL by MUJOCO_GL={os.environ.get("MUJOCO_GL", "")} cannot draw off screen '
                f'({error}); {INSTALL_HINT}') from error
        self._finalizer = weakref.finalize(self, _free, self._context, self._drawing, self._owner)
        # MuJoCo ends its EGL display at exit; what is registered later runs earlier.
        atexit.register(self._finalizer)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)
        self._view = mujoco.MjvScene(self._model, maxgeom=100)
        self._options = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = 0
        self._applied = None

    def render(self, scene: Scene, pose) -> np.ndarray:
        """The camera's picture for the robot at `pose` (x, y, yaw), uint8 (height, width, 3)."""
        self._update(scene, pose)
        return self._draw(self.width, self.height)

    def segment(self, scene: Scene, pose, width: int | None = None,
                height: int | None = None) -> np.ndarray:
        """What each pixel shows, int8 (height, width): object index, FLOOR or WALL.

        `width` and `height` may be smaller than the renderer's own.
        """
        width, height = width or self.width, height or self.height
        if width > self.width or height > self.height:
            raise RenderingError(f'segmentation of {width}x{height} is larger than the '
                                 f"renderer's {self.width}x{self.height}")
        self._update(scene, pose)
        flags, kinds = self._view.flags, self._mujoco.mjtRndFlag
        flags[kinds.mjRND_SEGMENT] = flags[kinds.mjRND_IDCOLOR] = 1
        try:
            codes = self._draw(width, height)
        finally:
            flags[kinds.mjRND_SEGMENT] = flags[kinds.mjRND_IDCOLOR] = 0
        labels = np.full(256, WALL, np.int8)
        for geom in self._view.geoms[:self._view.ngeom]:
            if 0 <= geom.segid < 255:
                labels[geom.segid + 1] = self._ids.label(geom.objid)
        return labels[codes[:, :, 0]]

    def close(self) -> None:
        """Free the OpenGL context."""
        self._finalizer()
        atexit.unregister(self._finalizer)
        self._context = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _update(self, scene, pose):
        if self._context is None:
            raise RenderingError('this renderer was closed')
        if self._owner != (os.getpid(), threading.get_ident()):
            _refuse_fork()
            raise RenderingError('a renderer cannot be used in another thread than the one that '
                                 'made it: use shared_renderer(), which has one for each')
        self._context.make_current()
        if scene is not self._applied:
            room_model.apply(self._model, self._data, self._ids, scene)
            self._applied = scene
        self._data.cam_xpos[0], rotation = camera_pose(pose)
        self._data.cam_xmat[0] = rotation.ravel()
        self._mujoco.mjv_updateScene(
            self._model, self._data, self._options, None, self._camera,
            self._mujoco.mjtCatBit.mjCAT_ALL, self._view)

    def _draw(self, width, height):
        area = self._mujoco.MjrRect(0, 0, width, height)
        pixels = np.empty((height, width, 3), np.uint8)
        self._mujoco.mjr_render(area, self._view, self._drawing)
        self._mujoco.mjr_readPixels(pixels, None, area, self._drawing)
        return np.ascontiguousarray(pixels[::-1])


_drawing_pid = None


def _refuse_fork():
    """OpenGL's own threads do not survive a fork: drawing would hang."""
    global _drawing_pid
    if _drawing_pid not in (None, os.getpid()):
        raise RenderingError('this process was forked from one that had drawn: start workers '
                             "with multiprocessing.get_context('spawn')")
    _drawing_pid = os.getpid()


def _free(context, drawing, owner):
    if owner == (os.getpid(), threading.get_ident()):
        context.make_current()
        drawing.free()
        context.free()


def shared_renderer(width: int = 640, height: int = 480) -> Renderer:
    """One renderer of each size per process and thread."""
    return _shared_renderer(width, height, os.getpid(), threading.get_ident())


@functools.cache
def _shared_renderer(width, height, _process, _thread):
    return Renderer(width, height)


def _import_mujoco():
    """MuJoCo, bound to the OpenGL library that works here."""
    # Mesa's software renderer would start a thread per core in every process.
    os.environ.setdefault('LP_NUM_THREADS', '1')
    from vla_nav.sim import opengl
    backend = opengl.choose_backend()
    if backend is None:
        raise RenderingError(
            f'no OpenGL library for drawing without a display was found; {INSTALL_HINT}')
    os.environ['MUJOCO_GL'] = backend
    try:
        import mujoco
        from mujoco import GLContext  # noqa: F401  loads the library
    except ModuleNotFoundError as error:
        if error.name != 'mujoco':
            raise
        raise RenderingError("the simulator needs MuJoCo: pip install 'vla_nav[sim]'") from None
    except Exception as error:  # PyOpenGL raises AttributeError where its library is missing
        raise RenderingError(f'OpenGL by MUJOCO_GL={backend} cannot be loaded ({error}); '
                             f'{INSTALL_HINT}, or unset MUJOCO_GL') from error
    return mujoco
