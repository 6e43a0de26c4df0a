"""Closed-loop rollouts of a policy in unseen simulated scenes."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vla_nav.evaluation.intervals import wilson
from vla_nav.evaluation.lockstep import LockStep, Slot
from vla_nav.sim import Scene, sample_scene
from vla_nav.sim.task import SUCCESS_RADIUS_M, TIME_LIMIT_S
from vla_nav.sim.visibility import objects_in_view

WIDTH = 12
"""Scenes side by side in one process."""
WRONG_OBJECT = 'wrong_object'
"""Outcome of an attempt that came to rest at another object, and is not driven on."""
FIRST_SEED = 1_000_000_000
"""Scene seeds are FIRST_SEED + 1,000,000 * seed + n: training uses none of them."""


@dataclass(frozen=True)
class Trial:
    """One scene with one sentence."""

    seed: int
    """Of the scene."""
    target: int
    """Which of the scene's objects is named."""
    swapped: bool = False
    """Whether the sentence was changed from the scene's own."""
    told: int | None = None
    """Which object the policy is told to go to, where that is not the target."""


@dataclass(frozen=True)
class Attempt:
    """How one trial went."""

    seed: int
    target: int
    swapped: bool
    instruction: str
    outcome: str
    """success, collision, timeout or wrong_object."""
    rested_at: int | None
    """The object it came to rest at."""
    time_s: float
    distance_m: float
    """From the target at the end, centre to centre."""
    path_m: float
    efficiency: float
    """Shortest conceivable path over the driven one; 0 where it failed."""

    @property
    def success(self) -> bool:
        """Whether the task was done."""
        return self.outcome == 'success'


@dataclass(frozen=True)
class RolloutSettings:
    """Which scenes, and what is said in them."""

    scenes: int = 100
    seed: int = 0
    level: str = 'standard'
    split: str = 'seen'
    swap: bool = False
    """Also run each scene once per object in view at the start, only the sentence changed."""
    blind: bool = False
    """Control: the policy hears of a random object of the scene instead of the named one."""

    time_limit_s: float = TIME_LIMIT_S

    def scene(self, seed: int) -> Scene:
        """Draw one of the scenes."""
        return sample_scene(seed, self.level, split=self.split)

    @property
    def seeds(self) -> range:
        """Seeds of the scenes."""
        first = FIRST_SEED + 1_000_000 * self.seed
        return range(first, first + self.scenes)


def rollout(model: Path, settings: RolloutSettings, workers: int,
            progress: Callable[[int], None]) -> list[Attempt]:
    """Drive every trial of `settings` with the checkpoint `model`, in lock-step, in parallel."""
    trials = list(_trials(settings))
    parts = [trials[i::4 * workers] for i in range(4 * workers)]
    attempts: list[Attempt] = []
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, context) as pool:
        jobs = [pool.submit(_drive, model, settings, part) for part in parts if part]
        for job in as_completed(jobs):
            attempts += job.result()
            progress(len(job.result()))
    return sorted(attempts, key=lambda a: (a.swapped, a.seed, a.target))


def count_trials(settings: RolloutSettings) -> int:
    """How many attempts a rollout makes."""
    return sum(1 for _ in _trials(settings))


def summarise(attempts: Sequence[Attempt], settings: RolloutSettings) -> dict:
    """Figures with 95 % Wilson intervals, ready for JSON."""
    plain = [a for a in attempts if not a.swapped]
    done = sum(a.success for a in plain)
    low, high = wilson(done, len(plain))
    summary = {
        **{key: value for key, value in asdict(settings).items() if key != 'scenes'},
        'scenes': len(plain),
        'success': done / max(len(plain), 1), 'success_low': low, 'success_high': high,
        'collisions': sum(a.outcome == 'collision' for a in plain),
        'timeouts': sum(a.outcome == 'timeout' for a in plain),
        'wrong_object': sum(a.outcome == WRONG_OBJECT for a in plain),
        'time_s': _median([a.time_s for a in plain if a.success]),
        'final_distance_m': _median([a.distance_m for a in plain]),
        'path_efficiency': float(np.mean([a.efficiency for a in plain])) if plain else 0.0,
    }
    swapped = [a for a in attempts if a.swapped]
    if settings.swap:
        obeyed = sum(a.success for a in swapped)
        low, high = wilson(obeyed, len(swapped))
        summary |= {'swapped': len(swapped), 'obedience': obeyed / max(len(swapped), 1),
                    'obedience_low': low, 'obedience_high': high}
    return summary


def _trials(settings: RolloutSettings):
    for seed in settings.seeds:
        scene = settings.scene(seed)
        yield _trial(settings, scene, scene.target, False)
        if settings.swap:
            for index in objects_in_view(scene, scene.start):
                yield _trial(settings, scene, index, True)


def _trial(settings, scene, target, swapped):
    told = None
    if settings.blind:
        told = int(np.random.default_rng((scene.seed, target)).integers(len(scene.objects)))
    return Trial(scene.seed, target, swapped, told)


def _drive(model: Path, settings: RolloutSettings, trials: Sequence[Trial]) -> list[Attempt]:
    """Drive trials in this process, on one thread."""
    import torch

    from vla_nav.policy import Policy
    torch.set_num_threads(1)
    policy = Policy.load(model, device='cpu')
    scenes = []
    for trial in trials:
        scene = settings.scene(trial.seed)
        scenes.append(scene.with_target(trial.target) if trial.swapped else scene)
    steps = LockStep(scenes, policy.contract, WIDTH, time_limit_s=settings.time_limit_s)
    batch = policy.batch(len(steps.slots))
    attempts = []
    while begun := steps.start() or steps.driving:
        for row, slot in begun.items():
            if slot.simulation.time_s == 0.0:
                batch.reset([_sentence(scenes[slot.index], trials[slot.index])], rows=[row])
        chunks = batch.step(steps.frames())
        for slot in steps.step(np.stack([chunk.actions[0] for chunk in chunks])):
            attempts.append(_attempt(slot, trials[slot.index]))
    return attempts


def _sentence(scene: Scene, trial: Trial) -> str:
    return scene.instruction if trial.told is None else scene.with_target(trial.told).instruction


def _attempt(slot: Slot, trial: Trial) -> Attempt:
    simulation = slot.simulation
    path = simulation.path[:, :2]
    driven = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    goal = simulation.scene.target_object
    start = simulation.scene.start
    shortest = max(math.hypot(goal.x - start[0], goal.y - start[1]) - SUCCESS_RADIUS_M, 0.0)
    success = simulation.outcome.value == 'success'
    outcome = simulation.outcome.value
    if outcome == 'running':
        outcome = WRONG_OBJECT
    return Attempt(
        trial.seed, trial.target, trial.swapped, simulation.scene.instruction, outcome,
        simulation.rested_at, simulation.elapsed_s,
        simulation.distance_m, driven,
        min(1.0, shortest / max(driven, 1e-6)) if success else 0.0)


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if len(values) else None
