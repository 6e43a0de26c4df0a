"""Demonstrations in simulation, recorded as the recorder node records a human's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_nav import __version__
from vla_nav.contract import Contract
from vla_nav.episodes.bag import BagWriter
from vla_nav.episodes.lockstep import LockstepRecorder
from vla_nav.episodes.metadata import EpisodeMetadata, wall_time
from vla_nav.sim import Disturbance, Expert, Outcome, Simulation, check_fields, sample_scene

START_NS = 1_000_000_000
"""Simulated recordings begin at one second: stamp 0 means 'no stamp' in ROS."""


@dataclass(frozen=True)
class Demo:
    """One demonstration to make."""

    out: Path
    seed: int
    level: str
    robot: Path
    """The contract's file."""
    disturbed: bool = True
    compress: bool = True
    time_limit_s: float = 40.0

    @property
    def name(self) -> str:
        """The bag's folder."""
        return f'demo_{self.level}_{self.seed:06d}'


@dataclass(frozen=True)
class Recorded:
    """What came of it."""

    name: str
    outcome: str
    steps: int


def record_demo(demo: Demo) -> Recorded:
    """Let the expert drive one scene in lock step and write the bag.

    Raises SimError if nothing can be rendered, EpisodeError if the folder cannot be written.
    """
    contract = Contract.load(demo.robot)
    check_fields(contract)
    scene = sample_scene(demo.seed, demo.level)
    metadata = EpisodeMetadata(
        instruction=scene.instruction, contract=contract, robot=contract.robot,
        started=wall_time(), version=__version__,
        extra={'driver': 'expert', 'seed': str(demo.seed), 'level': demo.level})
    simulation = Simulation(scene, demo.seed, time_limit_s=demo.time_limit_s)
    writer = BagWriter(demo.out, demo.name, metadata, compress=demo.compress)
    try:
        recorder = LockstepRecorder(writer, contract, scene.instruction, START_NS)
        steps = _drive(demo, simulation, recorder, contract)
        success = simulation.outcome is Outcome.SUCCESS
        writer.update(outcome='success' if success else 'failure',
                      stop_reason=simulation.outcome.value)
    except BaseException:  # Half a demonstration would teach to end on the way.
        writer.discard()
        raise
    writer.close()
    return Recorded(demo.name, simulation.outcome.value, steps)


def _drive(demo: Demo, simulation: Simulation, recorder: LockstepRecorder,
           contract: Contract) -> int:
    low, high = np.asarray(contract.command.low), np.asarray(contract.command.high)
    expert = Expert(simulation)
    disturb = Disturbance(np.random.default_rng([demo.seed, 0xDA87]))
    most = round(demo.time_limit_s / contract.step_s) + 1
    step = 0
    while simulation.outcome is Outcome.RUNNING and step < most:
        stamp_ns = simulation.stamp_ns + START_NS
        action = np.clip(expert.action(), low, high)
        recorder.image(simulation.render(), stamp_ns)
        recorder.odometry(simulation.pose, simulation.velocity, stamp_ns)
        recorder.command(action, stamp_ns)
        executed = disturb(action) if demo.disturbed else action
        simulation.step(np.clip(executed, low, high), contract.step_s)
        step += 1
    return step
