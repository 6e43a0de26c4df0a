"""A scripted driver with full knowledge of the scene that uses no more than a camera could give.

It looks for the named object as a camera would have to, turning left, and forgets it a few
seconds after losing sight; so what it does can be learned from pictures and a short memory.
"""
import math

import numpy as np

from vla_nav.sim.scene import ROBOT_RADIUS_M
from vla_nav.sim.simulation import Simulation
from vla_nav.sim.visibility import (
    CLEAR_HALF_ANGLE,
    CLEAR_SHARE,
    camera_bearing,
    unhidden_share,
)

STOP_M = 0.48
"""Distance between centres at which it aims to stand; contact is at 0.31 to 0.40."""
MAX_V = 0.5
MAX_W = 1.0
SEARCH_W = 0.8

_ARRIVED_M = 0.505
_LEFT_M = 0.56
_GAIN_V = 1.1
_GAIN_W = 2.0
_LOST_HALF_ANGLE = math.radians(44)
_LOST_SHARE = 0.2
_MEMORY_S = 5.0
_FULL_TURN = 2 * math.pi + 0.35
_BESIDE_M = 0.75
_MOVE_ON_S = 8.0
_MARGINS_M = (0.13, 0.07, 0.03)
_DIRECTIONS = np.linspace(-math.pi, math.pi, 120, endpoint=False)


class Expert:
    """Says what to do in a simulation that it, or anyone else, drives.

    `action` may be called every step while another driver moves the robot: it follows the state
    it finds, not its own advice.
    """

    def __init__(self, simulation: Simulation):
        self._simulation = simulation
        self._reset()

    def _reset(self):
        self._task = self._simulation.scene.target
        self._last_yaw = self._simulation.pose[2]
        self._seen_s = None
        self._visible = False
        self._arrived = False
        self._turned = 0.0
        self._waypoint = None
        self._waypoint_until_s = 0.0
        self._looked_behind = []
        self._way = 0.0

    @property
    def sees_target(self) -> bool:
        """Whether the target was visible at the last call of `action`."""
        return self._visible

    def action(self) -> np.ndarray:
        """Advice for the present state: v (m/s) and w (rad/s), float32 (2,)."""
        if self._simulation.scene.target != self._task:
            self._reset()
        self._look()
        if self._seen_s is None:
            return np.array(self._search(), np.float32)
        return np.array(self._approach(), np.float32)

    def _look(self):
        simulation = self._simulation
        pose, now = simulation.pose, simulation.time_s
        bearing, _ = camera_bearing(pose, simulation.scene.target_object)
        share = unhidden_share(simulation.scene, pose, simulation.scene.target)
        if self._visible:
            self._visible = abs(bearing) < _LOST_HALF_ANGLE and share > _LOST_SHARE
        else:
            self._visible = abs(bearing) < CLEAR_HALF_ANGLE and share > CLEAR_SHARE
        if self._visible:
            self._seen_s = now
            self._turned, self._waypoint = 0.0, None
        elif self._seen_s is not None and now - self._seen_s > _MEMORY_S:
            self._seen_s, self._arrived = None, False
        self._turned += abs(math.remainder(pose[2] - self._last_yaw, 2 * math.pi))
        self._last_yaw = pose[2]

    def _approach(self):
        goal, distance = self._simulation.scene.target_object, self._simulation.distance_m
        self._arrived = distance < (_LEFT_M if self._arrived else _ARRIVED_M)
        if self._arrived:
            return 0.0, 0.0
        v, w = self._drive_towards(goal.x, goal.y, STOP_M)
        return min(v, max(0.05, _GAIN_V * (distance - STOP_M + 0.02))), w

    def _search(self):
        """Turn left once around, then look behind the object that hides most, and so on."""
        x, y, _ = self._simulation.pose
        if self._waypoint is None:
            if self._turned < _FULL_TURN:
                return 0.0, SEARCH_W
            self._waypoint = self._point_behind()
            self._waypoint_until_s = self._simulation.time_s + _MOVE_ON_S
        to_x, to_y = self._waypoint
        arrived = math.hypot(to_x - x, to_y - y) < 0.2
        if arrived or self._simulation.time_s > self._waypoint_until_s:
            self._turned, self._waypoint = 0.0, None
            return 0.0, SEARCH_W
        return self._drive_towards(to_x, to_y, 0.0)

    def _point_behind(self):
        """A free point beside the object that hides most floor from here, on its left if it can.

        Objects looked behind before come last; with no free point, stay.
        """
        scene, (x, y, _) = self._simulation.scene, self._simulation.pose
        self._looked_behind = self._looked_behind[-len(scene.objects) + 2:]
        ranked = sorted((self._looked_behind.count(i), -self._hidden_floor(thing), i)
                        for i, thing in enumerate(scene.objects) if i != scene.target)
        for _, _, i in ranked:
            thing = scene.objects[i]
            along = math.atan2(thing.y - y, thing.x - x)
            self._looked_behind.append(i)
            for aside in (1.12, -1.12, 1.57, -1.57):  # left and a little beyond, right, ...
                point = (thing.x + _BESIDE_M * math.cos(along + aside),
                         thing.y + _BESIDE_M * math.sin(along + aside))
                if scene.clearance_m(*point) > ROBOT_RADIUS_M + _MARGINS_M[1]:
                    return point
        return x, y

    def _hidden_floor(self, thing):
        """Area behind an object that cannot be seen from here, about, m^2."""
        x, y, _ = self._simulation.pose
        away = math.hypot(thing.x - x, thing.y - y)
        c, s = (thing.x - x) / away, (thing.y - y) / away
        wall = min((half - math.copysign(at, at * part)) / max(abs(part), 1e-9)
                   for at, part, half in zip((x, y), (c, s), self._simulation.scene.room,
                                             strict=True))
        return math.asin(min(1.0, thing.half_width_m / away)) * (wall ** 2 - away ** 2)

    def _drive_towards(self, to_x, to_y, stop_m):
        """Velocities towards a point, around what stands in between."""
        x, y, yaw = self._simulation.pose
        direction = self._free_direction(to_x, to_y, stop_m)
        error = math.remainder(direction - yaw, 2 * math.pi)
        w = min(max(_GAIN_W * error, -MAX_W), MAX_W)
        v = MAX_V * max(0.0, (math.cos(error) - 0.3) / 0.7)
        for _ in range(4):
            if self._is_safe(v, w):
                return v, w
            v *= 0.5
        return 0.0, w

    def _free_direction(self, to_x, to_y, stop_m):
        """The free direction nearest to the goal's.

        After the vector field histogram (Borenstein and Koren 1991, doi 10.1109/70.88137).
        """
        x, y, yaw = self._simulation.pose
        scene = self._simulation.scene
        ahead = math.atan2(to_y - y, to_x - x)
        far = math.hypot(to_x - x, to_y - y) - stop_m
        directions = ahead + _DIRECTIONS
        cost = np.abs(_DIRECTIONS) + 0.15 * np.abs(_wrap(directions - yaw))
        # Keep to the side once chosen.
        cost += 0.25 * np.abs(_wrap(_DIRECTIONS - self._way))
        for margin in _MARGINS_M:
            blocked, reach = np.zeros(len(directions), bool), 0.5
            for thing in scene.objects:
                if stop_m and thing is scene.target_object:
                    continue
                wide = ROBOT_RADIUS_M + thing.radius_m + margin
                away = math.hypot(thing.x - x, thing.y - y)
                tangent = math.sqrt(max(0.0, away * away - wide * wide))
                if tangent > far:
                    continue
                half = (math.asin(wide / away) if away > wide
                        else math.pi / 2 + 0.4 * (1 - away / wide))
                apart = np.abs(_wrap(directions - math.atan2(thing.y - y, thing.x - x)))
                blocked |= apart < half
                if apart[len(apart) // 2] < half:
                    reach = max(reach, tangent + 0.2)
            blocked |= self._leaves_room(directions, min(reach, max(far, 0.0)), margin)
            if not blocked.all():
                best = int(np.argmin(np.where(blocked, np.inf, cost)))
                self._way = float(_DIRECTIONS[best])
                return float(directions[best])
        return ahead

    def _leaves_room(self, directions, reach, margin):
        """Whether a step of `reach` ends too near to a wall, and nearer than now."""
        x, y, _ = self._simulation.pose
        blocked = np.zeros(len(directions), bool)
        ends = (x + reach * np.cos(directions), y + reach * np.sin(directions))
        for at, end, half in zip((x, y), ends, self._simulation.scene.room, strict=True):
            limit = half - ROBOT_RADIUS_M - margin
            blocked |= (np.abs(end) > limit) & (np.abs(end) > abs(at))
        return blocked

    def _is_safe(self, v, w):
        """Whether the next 0.8 s under this command touch nothing."""
        x, y, yaw = self._simulation.pose
        start = self._simulation.scene.clearance_m(x, y)
        for t in (0.2, 0.4, 0.6, 0.8):
            angle = yaw + w * t / 2
            gap = self._simulation.scene.clearance_m(
                x + v * t * math.cos(angle), y + v * t * math.sin(angle))
            if gap < ROBOT_RADIUS_M + 0.03 and gap < start:
                return False
        return True


def _wrap(angles):
    return (angles + math.pi) % (2 * math.pi) - math.pi
