"""What the robot's camera can see of an object, from geometry alone."""
import math

import numpy as np

from vla_nav.sim.renderer import CAMERA_FORWARD_M, CAMERA_HEIGHT_M
from vla_nav.sim.scene import Scene, SceneObject

CLEAR_HALF_ANGLE = math.radians(39)
CLEAR_SHARE = 0.5
"""An object is seen clearly within this angle (rad), and if more of its width than this shows."""
_RAYS = np.linspace(-0.9, 0.9, 9)


def camera_bearing(pose, thing: SceneObject) -> tuple[float, float]:
    """Bearing (rad, positive to the left) and distance (m) of an object's centre.

    Seen from the camera of a robot at `pose` (x, y, yaw).
    """
    x, y, yaw = pose
    dx = thing.x - x - CAMERA_FORWARD_M * math.cos(yaw)
    dy = thing.y - y - CAMERA_FORWARD_M * math.sin(yaw)
    return math.remainder(math.atan2(dy, dx) - yaw, 2 * math.pi), math.hypot(dx, dy)


def unhidden_share(scene: Scene, pose, index: int) -> float:
    """Share of an object's width that no nearer object covers up to half of its height.

    The edges of the image do not count. 0 to 1.
    """
    goal = scene.objects[index]
    bearing, distance = camera_bearing(pose, goal)
    half = math.asin(min(1.0, goal.half_width_m / max(distance, 1e-6)))
    rays = bearing + half * _RAYS
    middle = (goal.height_m / 2 - CAMERA_HEIGHT_M) / max(distance, 1e-6)
    free = np.ones(len(rays), bool)
    for i, other in enumerate(scene.objects):
        beside, away = camera_bearing(pose, other)
        if i == index or away >= distance:
            continue
        if (other.height_m - CAMERA_HEIGHT_M) / max(away, 1e-6) < middle:
            continue
        wide = math.asin(min(1.0, other.half_width_m / max(away, 1e-6)))
        free &= np.abs((rays - beside + math.pi) % (2 * math.pi) - math.pi) > wide
    return float(free.mean())


def objects_in_view(scene: Scene, pose) -> list[int]:
    """Indices of the objects that a camera at `pose` shows clearly.

    Inside the image's edges, and for more than half of their width not hidden by others.
    """
    return [index for index, thing in enumerate(scene.objects)
            if abs(camera_bearing(pose, thing)[0]) < CLEAR_HALF_ANGLE
            and unhidden_share(scene, pose, index) > CLEAR_SHARE]
