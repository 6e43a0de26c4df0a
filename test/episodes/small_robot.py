"""A small robot in a drawn world, recorded by the package's own writer."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from vla_nav.contract import Camera, Contract, Odometry
from vla_nav.episodes.bag import BagWriter
from vla_nav.episodes.lockstep import LockstepRecorder
from vla_nav.episodes.metadata import EpisodeMetadata, wall_time

CONTRACT = Contract(robot='test', rate_hz=10.0, odometry=Odometry(),
                    camera=Camera(width=64, height=48, crop=(0.0, 0.25, 1.0, 1.0)))
SECOND = 1_000_000_000


def scene(step: int, width: int = 160, height: int = 120) -> np.ndarray:
    """Draw a ball that grows on a floor with texture: uint8 (height, width, 3) RGB."""
    rng = np.random.default_rng(7)
    floor = cv2.GaussianBlur(rng.integers(90, 160, (height, width, 3), np.uint8), (0, 0), 2)
    cv2.circle(floor, (width // 2 + step, height // 2), 8 + step // 3, (200, 40, 30), -1,
               cv2.LINE_AA)
    return floor


@dataclasses.dataclass
class Robot:
    """Writes bags; every field can be bent to make a bad one."""

    contract: Contract = CONTRACT
    steps: int = 40
    idle_head: int = 8
    idle_tail: int = 12
    instruction: str = 'go to the red ball'
    outcome: str = 'success'
    embed_contract: bool = True
    size: tuple[int, int] = (160, 120)

    def stamps(self) -> list[int]:
        return [SECOND + round(i * SECOND / 10) for i in range(self.steps)]

    def action(self, step: int) -> np.ndarray:
        if step < self.idle_head or step >= self.steps - self.idle_tail:
            return np.zeros(2)
        return np.array([0.1 + 0.3 * step / self.steps, 0.5 * np.sin(step / 5)])

    def metadata(self) -> EpisodeMetadata:
        return EpisodeMetadata(
            instruction=self.instruction, robot='test', outcome=self.outcome,
            contract=self.contract if self.embed_contract else None, started=wall_time())

    def write(self, root, name='bag'):
        """Write a bag and return its path."""
        with BagWriter(root, name, self.metadata()) as writer:
            recorder = LockstepRecorder(writer, self.contract, self.instruction, SECOND)
            for step, stamp in enumerate(self.stamps()):
                recorder.image(scene(step, *self.size), stamp)
                recorder.odometry((0.0, 0.0, 0.0), tuple(self.action(step)), stamp)
                recorder.command(self.action(step), stamp)
        return root / name
