"""Whether the robot may be driven, by whom, and if not, why not."""

from __future__ import annotations

import enum
from typing import NamedTuple


class State(str, enum.Enum):
    """What the controller is doing. Only DRIVING and TAKEOVER ever publish anything but zero."""

    WAITING = 'WAITING'
    """Something needed is not there yet; it drives by itself as soon as it is."""
    DRIVING = 'DRIVING'
    """The policy drives."""
    TAKEOVER = 'TAKEOVER'
    """A human drives."""
    STOPPED = 'STOPPED'
    """Somebody stopped it. Needs `resume` or a new instruction."""
    FAULT = 'FAULT'
    """Something went wrong. Needs `resume` or a new instruction."""
    ESTOP = 'ESTOP'
    """The emergency stop is on."""


class Decision(NamedTuple):
    """What is published in one tick."""

    v0: float
    """First field of the contract's command, m/s."""
    v1: float
    """Second field, m/s or rad/s."""
    state: State
    reason: str
    """Empty while driving; else why it is not, for a human to read."""


class StateMachine:
    """Keeps what outlives a tick: the instruction, a latched stop or fault, the emergency stop."""

    def __init__(self) -> None:
        self.instruction: str | None = None
        self.estop = False
        self.latch: tuple[State, str] | None = None
        self.engaged = False
        """The policy has driven since the last start: what is missing now is a fault."""
        self.epoch = 0
        """Counts starts; what the policy computed for an earlier one is not driven."""

    def instruct(self, text: str, release: bool) -> None:
        """Start on a new instruction; `release` says whether that ends a stop or fault."""
        self.instruction = text
        if self.latch and release:
            self._start()
        self.epoch += 1

    def clear_instruction(self) -> None:
        """Have nothing to do."""
        self.instruction = None
        self._start()
        self.epoch += 1

    def stop(self, reason: str) -> None:
        """Latch a stop that was asked for; a fault stays a fault."""
        if self.latch is None or self.latch[0] is State.STOPPED:
            self.latch = (State.STOPPED, reason)

    def fault(self, reason: str) -> None:
        """Latch a fault; the first one is kept, later ones usually follow from it."""
        if self.latch is None or self.latch[0] is State.STOPPED:
            self.latch = (State.FAULT, reason)

    def resume(self) -> bool:
        """Release what is latched; False while the emergency stop is on."""
        if self.estop:
            return False
        self._start()
        self.epoch += 1
        return True

    def emergency(self, on: bool) -> None:
        """Switch the emergency stop; released, the robot stays stopped."""
        if self.estop and not on:
            self.stop('emergency stop was released; call resume')
        self.estop = on

    def _start(self) -> None:
        self.latch = None
        self.engaged = False
