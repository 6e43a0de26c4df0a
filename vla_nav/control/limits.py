"""No command leaves the limits of the robot's contract."""

from __future__ import annotations

import math

from vla_nav.contract import Command


class Limiter:
    """Clamps velocity and acceleration of both action fields, and remembers the last velocity.

    Velocities are in the units of `command.fields`, accelerations in those per second.
    """

    def __init__(self, command: Command) -> None:
        self._low0, self._low1 = command.low
        self._high0, self._high1 = command.high
        self._accel0, self._accel1 = command.max_accel
        self.v0 = 0.0
        self.v1 = 0.0

    @property
    def moving(self) -> bool:
        """Whether the last velocity was anything but zero."""
        return self.v0 != 0.0 or self.v1 != 0.0

    def approach(self, target0: float, target1: float, dt_s: float) -> None:
        """Go towards the target, no faster than max_accel * dt_s."""
        self.v0 = _step(self.v0, _clamp(target0, self._low0, self._high0), self._accel0 * dt_s)
        self.v1 = _step(self.v1, _clamp(target1, self._low1, self._high1), self._accel1 * dt_s)

    def take(self, v0: float, v1: float) -> None:
        """Go there at once: a human asked for it. Velocity limits hold, NaN and Inf are zero."""
        finite = math.isfinite(v0) and math.isfinite(v1)
        self.v0 = _clamp(v0, self._low0, self._high0) if finite else 0.0
        self.v1 = _clamp(v1, self._low1, self._high1) if finite else 0.0

    def stop(self) -> None:
        """Be at zero at once; the base brakes as hard as it can."""
        self.v0 = 0.0
        self.v1 = 0.0


def _clamp(value: float, low: float, high: float) -> float:
    return low if value < low else high if value > high else value


def _step(value: float, target: float, most: float) -> float:
    if target > value + most:
        return value + most
    if target < value - most:
        return value - most
    return target
