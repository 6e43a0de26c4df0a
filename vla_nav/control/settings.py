"""How the controller behaves: every limit in time, and the rate it works at."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vla_nav.errors import VlaNavError


class SettingsError(VlaNavError):
    """A control setting is out of its range."""


@dataclass(frozen=True)
class ControlSettings:
    """Settings of a Controller; the drive node's parameters of the same names."""

    control_rate_hz: float = 20.0
    """How often a velocity is published, whatever the policy does."""
    execution_horizon: int = 5
    """Steps of one action chunk that are driven before the robot ramps to zero."""
    interpolate: bool = False
    """Blend linearly from one action to the next instead of holding each for its step."""
    stale_timeout_s: float = 0.5
    """The robot never moves on a frame older than this, by its stamp or by a steady clock."""
    freeze_timeout_s: float = 0.5
    """Same pixels for this long while the robot is told to move: the camera hangs. 0: off."""
    stamp_tolerance_s: float = 0.1
    """How far a stamp may lie in the future; synchronised clocks differ by less."""
    policy_timeout_s: float = 2.0
    """No usable action for this long although images arrive: a fault."""
    teleop_timeout_s: float = 0.3
    """A human's last command is driven for this long; after that, zeros."""
    takeover_hold_s: float = 1.0
    """The policy takes no part until this long after a human's last command."""

    def __post_init__(self) -> None:
        self._within('control_rate_hz', 1.0, 200.0)
        self._within('execution_horizon', 1, 1000)
        self._within('stale_timeout_s', 0.05, 10.0)
        self._within('freeze_timeout_s', 0.0, 60.0)
        self._within('stamp_tolerance_s', 0.0, 10.0)
        self._within('policy_timeout_s', 0.1, 600.0)
        self._within('teleop_timeout_s', 0.05, 10.0)
        self._within('takeover_hold_s', 0.05, 60.0)
        if self.takeover_hold_s < self.teleop_timeout_s:
            raise SettingsError(
                f'takeover_hold_s is {self.takeover_hold_s}, shorter than teleop_timeout_s '
                f'({self.teleop_timeout_s}): the policy would cut a human off; make it longer')

    def _within(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not math.isfinite(value) or not low <= value <= high:
            raise SettingsError(f'{name} is {value}; expected {low} to {high}')

    @property
    def period_s(self) -> float:
        """Time between two ticks."""
        return 1.0 / self.control_rate_hz
