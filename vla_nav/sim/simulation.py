"""One episode in lock-step: nothing moves until `step` or `advance` is called."""
import math

import numpy as np

from vla_nav.contract import Camera, Contract, Frame
from vla_nav.frames import prepare_image
from vla_nav.sim.base import STEP_S, Base, BaseSettings
from vla_nav.sim.renderer import Renderer, shared_renderer
from vla_nav.sim.scene import ROBOT_RADIUS_M, Scene, SimError
from vla_nav.sim.task import TIME_LIMIT_S, Judge, Outcome

_CLEAR_M = 0.03
"""Gap from which on a robot has left what it touched: more than the wheels' noise on a turn."""


def check_fields(contract: Contract) -> None:
    """Raise SimError unless the contract's commands are what the simulated base obeys."""
    if contract.command.fields != ('linear.x', 'angular.z'):
        raise SimError(f"contract '{contract.robot}': command.fields is "
                       f'{", ".join(contract.command.fields)}; the simulated robot takes linear.x '
                       'and angular.z, in this order')


class Simulation:
    """A robot in a scene.

    For rollouts, `step(action)` holds a command for a while; for a node, `command` and `advance`
    let commands grow old as they do on a robot. Motion goes on after the outcome is settled, so
    that a next instruction (`retarget`) can follow. A robot that touches something stays there
    until it turns away; what it still stands at when the next instruction comes, is no collision
    of that one.
    """

    def __init__(self, scene: Scene, seed: int | None = None, *,
                 renderer: Renderer | None = None, settings: BaseSettings | None = None,
                 time_limit_s: float = TIME_LIMIT_S):
        self.scene = scene
        self.base = Base(scene.start, scene.seed if seed is None else seed,
                         settings or BaseSettings())
        self.collided = False
        """Whether the robot touched anything since the instruction was given."""
        self._still_there = False  # at what it touched before the instruction
        self._time_limit_s = time_limit_s
        self._judge = Judge(scene, time_limit_s=time_limit_s)
        self._renderer = renderer
        self._path = [self.base.pose]

    @property
    def pose(self) -> tuple[float, float, float]:
        """x, y (m) and yaw (rad, -pi to pi)."""
        return self.base.pose

    @property
    def velocity(self) -> tuple[float, float]:
        """Actual v (m/s) and w (rad/s)."""
        return self.base.velocity

    @property
    def time_s(self) -> float:
        """Simulated time since the start."""
        return self.base.time_s

    @property
    def stamp_ns(self) -> int:
        """Simulated time since the start."""
        return self.base.time_ns

    @property
    def outcome(self) -> Outcome:
        """How the present task stands; the first end is final."""
        return self._judge.outcome

    @property
    def rested_at(self) -> int | None:
        """Index of the object that the robot came to rest at, see Judge."""
        return self._judge.rested_at

    @property
    def elapsed_s(self) -> float:
        """Simulated time since the instruction was given."""
        return self.time_s - self._judge.start_s

    @property
    def distance_m(self) -> float:
        """From the robot's centre to the target's."""
        goal = self.scene.target_object
        return math.hypot(goal.x - self.pose[0], goal.y - self.pose[1])

    @property
    def path(self) -> np.ndarray:
        """Every pose from the instruction to the end of its task, (n, 3), STEP_S apart."""
        return np.array(self._path)

    def step(self, action, duration_s: float = 0.1) -> Outcome:
        """Hold the command `action` (v in m/s, w in rad/s) for `duration_s`."""
        v, w = (float(value) for value in action)
        for _ in range(_steps(duration_s)):
            self.base.command(v, w)
            self._advance()
        return self.outcome

    def command(self, v: float, w: float) -> None:
        """Ask for v (m/s) and w (rad/s); it ends BaseSettings.watchdog_s after the last call."""
        self.base.command(v, w)

    def advance(self, duration_s: float) -> Outcome:
        """Let time pass under the commands given so far."""
        for _ in range(_steps(duration_s)):
            self._advance()
        return self.outcome

    def retarget(self, index: int, template: str = 'go to the {colour} {shape}') -> None:
        """Name another object from here on: a new task with its own time limit."""
        self.scene = self.scene.with_target(index, template)
        self._still_there |= self.collided
        self.collided = False
        self._judge = Judge(self.scene, self.time_s, self._time_limit_s)
        self._path = [self.pose]

    def render(self) -> np.ndarray:
        """What the camera sees now, uint8 (height, width, 3) RGB.

        640x480 unless the renderer given is of another size.
        """
        return (self._renderer or shared_renderer()).render(self.scene, self.pose)

    def frame(self, camera: Camera | None = None) -> Frame:
        """The frame a policy gets: rendered, cropped and resized as `camera` says."""
        return Frame(prepare_image(self.render(), camera or Camera()), self.stamp_ns)

    def _advance(self):
        before = self.base.pose
        self.base.advance()
        gap_m = self.scene.clearance_m(*self.pose[:2]) - ROBOT_RADIUS_M
        if gap_m < 0:
            self.base.block((*before[:2], self.pose[2]))
        self._still_there &= gap_m < _CLEAR_M
        touched = gap_m < 0 and not self._still_there
        self.collided |= touched
        if self.outcome is Outcome.RUNNING:  # A node drives on for days.
            self._path.append(self.pose)
        self._judge.observe(self.time_s, *self.pose[:2], *self.velocity, touched)


def _steps(duration_s):
    count = round(duration_s / STEP_S)
    if count < 1 or abs(count * STEP_S - duration_s) > 1e-6:
        raise SimError(f'duration {duration_s} s is not a positive multiple of {STEP_S} s')
    return count
