"""A differential-drive base: limits, delay and noise between a command and the motion."""
import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from vla_nav.sim.scene import SimError

STEP_S = 0.02
STEP_NS = 20_000_000


@dataclass(frozen=True)
class BaseSettings:
    """How the base behaves."""

    max_speed_mps: float = 0.6
    """Fastest drive either way."""
    max_turn_radps: float = 1.5
    """Fastest turn either way."""
    max_accel_mps2: float = 1.0
    """Limit of acceleration and braking."""
    max_turn_accel_radps2: float = 3.0
    """Limit of angular acceleration."""
    delay_s: float = 0.08
    """From command to its effect."""
    track_m: float = 0.28
    """Distance between the wheels."""
    wheel_bias: float = 0.02
    """Standard deviation of each wheel's constant relative speed error."""
    wheel_noise: float = 0.02
    """Standard deviation of the relative speed noise per step."""
    wheel_noise_mps: float = 0.004
    """Standard deviation of the additive speed noise per step of a turning wheel."""
    watchdog_s: float = 0.5
    """A command older than this no longer counts: the base brakes to rest."""

    def __post_init__(self):
        for name in ('max_speed_mps', 'max_turn_radps', 'max_accel_mps2', 'max_turn_accel_radps2',
                     'track_m', 'watchdog_s'):
            if not getattr(self, name) > 0:
                raise SimError(f'{name} must be positive, got {getattr(self, name)}')
        if self.delay_s < 0:
            raise SimError(f'delay_s must not be negative, got {self.delay_s}')


class Base:
    """Pose and velocity of a differential drive under commands, advanced in steps of STEP_S."""

    def __init__(self, pose: tuple[float, float, float], seed: int,
                 settings: BaseSettings = BaseSettings()):
        self.settings = settings
        self.pose = tuple(float(value) for value in pose)
        self.velocity = (0.0, 0.0)
        """Actual v (m/s) and w (rad/s), wheel noise included."""
        self._rng = np.random.default_rng([seed, 0xBA5E])
        self._bias = 1.0 + settings.wheel_bias * self._rng.standard_normal(2)
        self._noise = np.empty((0, 4))
        self._smooth = (0.0, 0.0)
        self._pending = deque()
        self._wanted = (0.0, 0.0)
        self._command_at_s = -math.inf
        self.time_ns = 0

    @property
    def time_s(self) -> float:
        """Simulated seconds since the start."""
        return self.time_ns * 1e-9

    def command(self, v: float, w: float) -> None:
        """Ask for v (m/s) and w (rad/s) from now on; non-finite values count as zero."""
        s = self.settings
        v = min(max(v, -s.max_speed_mps), s.max_speed_mps) if math.isfinite(v) else 0.0
        w = min(max(w, -s.max_turn_radps), s.max_turn_radps) if math.isfinite(w) else 0.0
        self._pending.append((self.time_s + s.delay_s - 1e-9, v, w))
        self._command_at_s = self.time_s

    def advance(self) -> None:
        """Move on by STEP_S."""
        s = self.settings
        while self._pending and self._pending[0][0] <= self.time_s:
            _, *wanted = self._pending.popleft()
            self._wanted = tuple(wanted)
        if self.time_s - self._command_at_s > s.watchdog_s:
            self._wanted = (0.0, 0.0)
            self._pending.clear()
        v = _approach(self._smooth[0], self._wanted[0], s.max_accel_mps2 * STEP_S)
        w = _approach(self._smooth[1], self._wanted[1], s.max_turn_accel_radps2 * STEP_S)
        self._smooth = (v, w)
        self.velocity = self._slip(v, w)
        self._integrate(*self.velocity)
        self.time_ns += STEP_NS

    def block(self, pose: tuple[float, float, float]) -> None:
        """Something stands in the way: stay at `pose` with no speed ahead."""
        self.pose = pose
        self._smooth = (0.0, self._smooth[1])
        self.velocity = (0.0, self.velocity[1])

    def _slip(self, v, w):
        """Wheel noise; a wheel that is not driven does not move."""
        if v == 0.0 and w == 0.0:
            return 0.0, 0.0
        if not len(self._noise):
            self._noise = self._rng.standard_normal((256, 4))
        noise, self._noise = self._noise[0], self._noise[1:]
        s = self.settings
        wheels = []
        for side, sign in enumerate((-1.0, 1.0)):
            speed = v + sign * w * s.track_m / 2
            if speed != 0.0:
                speed *= self._bias[side] + s.wheel_noise * noise[side]
                speed += s.wheel_noise_mps * noise[2 + side]
            wheels.append(float(speed))
        left, right = wheels
        return (left + right) / 2, (right - left) / s.track_m

    def _integrate(self, v, w):
        """Exact motion along an arc."""
        x, y, yaw = self.pose
        turn = w * STEP_S
        chord = v * STEP_S * (1.0 if abs(turn) < 1e-9 else math.sin(turn / 2) / (turn / 2))
        x += chord * math.cos(yaw + turn / 2)
        y += chord * math.sin(yaw + turn / 2)
        self.pose = (x, y, wrap(yaw + turn))


def wrap(angle: float) -> float:
    """The angle in -pi to pi."""
    return math.remainder(angle, 2 * math.pi)


def _approach(value, goal, step):
    return goal if abs(goal - value) <= step else value + math.copysign(step, goal - value)
