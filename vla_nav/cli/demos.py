"""vla_nav demos: the scripted expert drives in simulation and is recorded."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EXAMPLES = """examples:
  vla_nav demos --episodes 20 --out data/demos
  vla_nav demos --episodes 500 --seed 1000 --level standard --out data/demos
  vla_nav dataset data/demos --out data/demos_dataset
"""
LAG_NS = 1_000_000_000
"""Simulated recordings begin at one second: stamp 0 means 'no stamp' in ROS."""


@dataclass(frozen=True)
class Disturbance:
    """Noise on what is executed, while the expert's own command is what is recorded.

    The policy then sees how the expert recovers (DART, Laskey et al. 2017, arXiv 1703.09327).
    """

    sigma: tuple[float, float] = (0.08, 0.25)
    """Standard deviation in m/s and rad/s."""
    correlation_s: float = 0.8
    """How long a push lasts."""
    share: float = 0.5
    """Share of the time in which it acts."""

    def sample(self, rng: np.random.Generator, steps: int, step_s: float) -> np.ndarray:
        """Return float64 (steps, 2) of noise: an Ornstein-Uhlenbeck process, on and off."""
        keep = np.exp(-step_s / self.correlation_s)
        fresh = rng.standard_normal((steps, 2)) * np.sqrt(1 - keep ** 2)
        noise = np.zeros((steps, 2))
        for row in range(1, steps):
            noise[row] = keep * noise[row - 1] + fresh[row]
        period = max(1, round(2.0 / step_s))
        active = np.repeat(rng.random(steps // period + 1) < self.share, period)[:steps]
        return noise * np.asarray(self.sigma) * active[:, None]


@dataclass(frozen=True)
class Job:
    """One demonstration to make."""

    out: Path
    seed: int
    level: str
    robot: Path
    disturbance: Disturbance | None
    compress: bool
    time_limit_s: float

    @property
    def name(self) -> str:
        """The bag's folder."""
        return f'demo_{self.level}_{self.seed:06d}'


@dataclass(frozen=True)
class Result:
    """What came of it."""

    name: str
    outcome: str
    steps: int


def record_demo(job: Job) -> Result:
    """Let the expert drive one scene and write the bag.

    Raises SimError if nothing can be rendered, EpisodeError if the folder cannot be written.
    """
    from vla_nav import __version__
    from vla_nav.contract import Contract
    from vla_nav.episodes.bag import BagWriter
    from vla_nav.episodes.lockstep import LockstepRecorder
    from vla_nav.episodes.metadata import EpisodeMetadata, wall_time
    from vla_nav.sim import Expert, Outcome, Simulation, sample_scene

    contract = Contract.load(job.robot)
    scene = sample_scene(job.seed, job.level)
    simulation = Simulation(scene, job.seed, time_limit_s=job.time_limit_s)
    expert = Expert(simulation)
    steps = round(job.time_limit_s / contract.step_s) + 1
    noise = np.zeros((steps, 2))
    if job.disturbance:
        rng = np.random.default_rng([job.seed, 0xDA87])
        noise = job.disturbance.sample(rng, steps, contract.step_s)
    low, high = np.asarray(contract.command.low), np.asarray(contract.command.high)
    metadata = EpisodeMetadata(
        instruction=scene.instruction, contract=contract, robot=contract.robot,
        started=wall_time(), version=__version__,
        extra={'driver': 'expert', 'seed': str(job.seed), 'level': job.level})
    with BagWriter(job.out, job.name, metadata, compress=job.compress) as writer:
        recorder = LockstepRecorder(writer, contract, scene.instruction, LAG_NS)
        step = 0
        while simulation.outcome is Outcome.RUNNING and step < steps:
            stamp_ns = simulation.stamp_ns + LAG_NS
            action = np.clip(expert.action(), low, high)
            recorder.image(simulation.render(), stamp_ns)
            recorder.odometry(simulation.pose, simulation.velocity, stamp_ns)
            recorder.command(action, stamp_ns)
            executed = action + noise[step] if action.any() else action
            simulation.step(np.clip(executed, low, high), contract.step_s)
            step += 1
        success = simulation.outcome is Outcome.SUCCESS
        writer.update(outcome='success' if success else 'failure',
                      stop_reason=simulation.outcome.value)
    return Result(job.name, simulation.outcome.value, step)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        'demos', help='let the scripted expert drive in simulation and record it',
        description='Record demonstrations in simulation: the scripted expert drives in '
        'lock-step, and every episode becomes a bag as the recorder node writes it. Bags that '
        'are there already are kept, so an interrupted run goes on where it stopped.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--episodes', type=int, default=20, help='how many (default: 20)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the first scene (default: 0)')
    parser.add_argument('--level', default='standard', help='easy, standard or hard')
    parser.add_argument('--out', type=Path, required=True, help='folder for the bags')
    parser.add_argument('--robot', type=Path, help='contract (default: config/robots/sim.yaml)')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(),
                        help='processes (default: one per CPU)')
    parser.add_argument('--no-noise', action='store_true',
                        help='execute exactly what the expert says')
    parser.add_argument('--no-compress', action='store_true',
                        help='write chunks without zstd: six times larger, faster to read')
    parser.add_argument('--time-limit', type=float, default=40.0, metavar='S',
                        help='simulated seconds per episode (default: 40)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Record; exit status 1 if an episode could not be made."""
    from vla_nav.episodes.recovery import recover
    from vla_nav.share import share_path

    robot = args.robot or share_path('config/robots/sim.yaml')
    if args.out.exists():
        recover(args.out)
    jobs = [Job(args.out, seed, args.level, robot, None if args.no_noise else Disturbance(),
                not args.no_compress, args.time_limit)
            for seed in range(args.seed, args.seed + args.episodes)]
    waiting = [job for job in jobs if not (args.out / job.name).exists()]
    return _record_all(waiting, len(jobs) - len(waiting), max(1, args.jobs))


def _record_all(jobs: list[Job], present: int, processes: int) -> int:
    from collections import Counter

    from rich.console import Console

    from vla_nav.cli.progress import map_in_processes
    from vla_nav.errors import VlaNavError

    console = Console()
    if present:
        console.print(f'{present} episodes are there already')
    outcomes: Counter[str] = Counter()
    steps = failed = 0
    for job, result in map_in_processes(record_demo, jobs, processes, 'demonstrations'):
        if isinstance(result, VlaNavError):
            failed += 1
            console.print(f'[red]{job.name}: {result}[/red]')
            continue
        outcomes[result.outcome] += 1
        steps += result.steps
    made = ', '.join(f'{count} {outcome}' for outcome, count in outcomes.most_common())
    console.print(f'{sum(outcomes.values())} episodes recorded ({made or "none"}), {steps} frames')
    return 1 if failed else 0
