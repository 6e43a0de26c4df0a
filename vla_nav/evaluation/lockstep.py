"""Many simulated robots side by side, in step, so that a policy answers them all at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_nav.contract import Contract, Frame
from vla_nav.sim import Expert, Outcome, Scene, Simulation, check_fields
from vla_nav.sim.task import TIME_LIMIT_S


class Slot:
    """One place in the batch: the episode that drives in it."""

    def __init__(self, index: int, scene: Scene, time_limit_s: float, linger: int) -> None:
        self.index = index
        """Which of the scenes it is."""
        self.simulation = Simulation(scene, time_limit_s=time_limit_s)
        self.expert = Expert(self.simulation)
        self.linger = linger
        """Steps that go on after success."""

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be driven."""
        outcome = self.simulation.outcome
        if outcome is Outcome.SUCCESS:
            return self.linger <= 0
        return outcome is not Outcome.RUNNING or self.simulation.rested_at is not None


class LockStep:
    """Drives scenes in `width` slots at the contract's rate; a slot that ends takes the next."""

    def __init__(self, scenes: Sequence[Scene], contract: Contract, width: int, *,
                 time_limit_s: float = TIME_LIMIT_S, linger_s: float = 0.0) -> None:
        check_fields(contract)
        self._scenes = scenes
        self._next = 0
        self._contract = contract
        self._limits = (time_limit_s, round(linger_s * contract.rate_hz))
        camera = contract.camera
        self._blank = Frame(np.zeros((camera.height, camera.width, 3), np.uint8), 0)
        self.slots: list[Slot | None] = [None] * min(width, len(scenes))

    def start(self) -> dict[int, Slot]:
        """Put waiting scenes into free slots; returns the slots that begin."""
        begun = {}
        for row, slot in enumerate(self.slots):
            if slot is None and self._next < len(self._scenes):
                self.slots[row] = begun[row] = Slot(
                    self._next, self._scenes[self._next], *self._limits)
                self._next += 1
        return begun

    @property
    def driving(self) -> dict[int, Slot]:
        """The slots with an episode in them."""
        return {row: slot for row, slot in enumerate(self.slots) if slot is not None}

    def frames(self) -> list[Frame]:
        """What every slot's policy sees now; empty slots see black."""
        camera = self._contract.camera
        return [self._blank if slot is None else slot.simulation.frame(camera)
                for slot in self.slots]

    def velocities(self) -> np.ndarray:
        """How fast each slot's robot is (v, w), float32 (slots, 2); empty slots rest."""
        return np.array([(0.0, 0.0) if slot is None else slot.simulation.velocity
                         for slot in self.slots], np.float32)

    def step(self, actions: np.ndarray) -> list[Slot]:
        """Hold each slot's action (v, w) for one step; returns the slots that ended."""
        command = self._contract.command
        actions = np.clip(actions, command.low, command.high)
        ended = []
        for row, slot in self.driving.items():
            if slot.simulation.step(actions[row], self._contract.step_s) is Outcome.SUCCESS:
                slot.linger -= 1
            if slot.ended:
                ended.append(slot)
                self.slots[row] = None
        return ended

    def close_up(self) -> list[int]:
        """Give up empty slots that no scene waits for; returns the rows that stay, in order."""
        if self._next < len(self._scenes):
            return list(range(len(self.slots)))
        rows = list(self.driving)
        self.slots = [self.slots[row] for row in rows]
        return rows
