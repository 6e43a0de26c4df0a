"""Closed-loop rollouts of a policy in unseen simulated scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.intervals import wilson
from vla_nav.evaluation.lockstep import LockStep, Slot
from vla_nav.evaluation.models import load_policy
from vla_nav.sim import LEVELS, SPLITS, Scene, sample_scene
from vla_nav.sim.task import SUCCESS_RADIUS_M, TIME_LIMIT_S
from vla_nav.sim.visibility import objects_in_view
from vla_nav.workers import worker_pool

if TYPE_CHECKING:
    from vla_nav.policy import Policy

WIDTH = 12
"""Scenes side by side in one process."""
PART = 2 * WIDTH
"""Trials handed to a process at once: what an interruption may cost."""
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
    """Shortest conceivable path, straight to the success radius, over the driven one; 0 where it
    failed. Its mean is SPL (Anderson et al. 2018, arXiv 1807.06757) but for the straight line."""

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

    def __post_init__(self) -> None:
        for name, known in (('level', LEVELS), ('split', SPLITS)):
            if getattr(self, name) not in known:
                raise EvaluationError(f'{name} is {getattr(self, name)!r}; expected one of '
                                      f'{", ".join(known)}')
        for name, least in (('scenes', 1), ('seed', 0)):
            if getattr(self, name) < least:
                raise EvaluationError(f'{name} is {getattr(self, name)}; expected at least '
                                      f'{least}')

    def scene(self, seed: int) -> Scene:
        """Draw one of the scenes."""
        return sample_scene(seed, self.level, split=self.split)

    @property
    def facts(self) -> dict:
        """What an attempt depends on: all but how many there are."""
        return {name: value for name, value in asdict(self).items()
                if name not in ('scenes', 'swap')}

    @property
    def seeds(self) -> range:
        """Seeds of the scenes."""
        first = FIRST_SEED + 1_000_000 * self.seed
        return range(first, first + self.scenes)


def rollout(
    model: Path, settings: RolloutSettings, workers: int, progress: Callable[[int], None], *,
    device: str = 'cpu', engine: str = 'torch', done: Collection[Attempt] = (),
    keep: Callable[[Sequence[Attempt]], None] = lambda attempts: None,
) -> list[Attempt]:
    """Drive every trial of `settings` with the checkpoint `model`, in lock-step, in parallel.

    workers: processes, each with the model on `device` and `engine`; one worker is this process.
    done: attempts made earlier, whose trials are not driven again; keep: is handed new attempts as
    they come. Returns all attempts, in order.
    """
    made = {_key(attempt): attempt for attempt in done}
    trials = _trials(settings)
    waiting = [trial for trial in trials if _key(trial) not in made]
    progress(len(trials) - len(waiting))
    count = max(-(-len(waiting) // PART), min(workers, len(waiting)))
    parts = [waiting[i::count] for i in range(count)]
    for attempts in _driven(model, settings, parts, workers, device, engine):
        keep(attempts)
        made |= {_key(attempt): attempt for attempt in attempts}
        progress(len(attempts))
    return [made[_key(trial)] for trial in
            sorted(trials, key=lambda trial: (trial.swapped, trial.seed, trial.target))]


def count_trials(settings: RolloutSettings, done: Collection[Attempt] = ()) -> int:
    """How many attempts a rollout makes, beside those that were made earlier."""
    made = {_key(attempt) for attempt in done}
    return sum(_key(trial) not in made for trial in _trials(settings))


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


def _key(trial: Trial | Attempt) -> tuple[int, int, bool]:
    return trial.seed, trial.target, trial.swapped


@lru_cache(maxsize=4)
def _trials(settings: RolloutSettings) -> tuple[Trial, ...]:
    """Drawn once for all models: to see what is in view takes a moment a scene."""
    trials = []
    for seed in settings.seeds:
        scene = settings.scene(seed)
        trials.append(_trial(settings, scene, scene.target, False))
        if settings.swap:
            trials += [_trial(settings, scene, index, True)
                       for index in objects_in_view(scene, scene.start)]
    return tuple(trials)


def _trial(settings, scene, target, swapped):
    told = None
    if settings.blind:
        told = int(np.random.default_rng((scene.seed, target)).integers(len(scene.objects)))
    return Trial(scene.seed, target, swapped, told)


def _driven(model: Path, settings: RolloutSettings, parts: Sequence[Sequence[Trial]],
            workers: int, device: str, engine: str) -> Iterator[list[Attempt]]:
    """The attempts of each part, as they are finished."""
    if workers == 1 or not parts:
        for part in parts:
            yield _drive(model, settings, part, device, engine)
        return
    with worker_pool(min(workers, len(parts))) as pool:
        jobs = [pool.submit(_drive, model, settings, part, device, engine) for part in parts]
        for job in as_completed(jobs):
            yield job.result()


def _drive(model: Path, settings: RolloutSettings, trials: Sequence[Trial], device: str,
           engine: str) -> list[Attempt]:
    """Drive trials in this process, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _drive_trials(load_policy(model, device, engine), settings, trials)
    finally:
        torch.set_num_threads(threads)


def _drive_trials(policy: Policy, settings: RolloutSettings, trials: Sequence[Trial]
                  ) -> list[Attempt]:
    scenes = []
    for trial in trials:
        scene = settings.scene(trial.seed)
        scenes.append(_retold(scene, trial.target) if trial.swapped else scene)
    steps = LockStep(scenes, policy.contract, WIDTH, time_limit_s=settings.time_limit_s)
    batch = policy.batch(len(steps.slots))
    attempts = []
    while begun := steps.start() or steps.driving:
        for row, slot in begun.items():
            if slot.simulation.time_s == 0.0:
                batch.reset([_sentence(scenes[slot.index], trials[slot.index])], rows=[row])
        chunks = batch.step(steps.frames(), steps.velocities())
        ended = steps.step(np.stack([chunk.actions[0] for chunk in chunks]))
        attempts += [_attempt(slot, trials[slot.index]) for slot in ended]
        # On a GPU each width would be a graph of its own, and rows cost next to nothing.
        if ended and policy.device.type == 'cpu':
            rows = steps.close_up()
            if 0 < len(rows) < len(chunks):
                batch.keep(rows)
    return attempts


def _retold(scene: Scene, target: int) -> Scene:
    """The scene with another object named: in plain words, or in its own where they matter."""
    if scene.split != 'paraphrases':
        return scene.with_target(target)
    goal = scene.target_object
    words = scene.instruction.replace(goal.colour, '{colour}').replace(goal.shape, '{shape}')
    return scene.with_target(target, words)


def _sentence(scene: Scene, trial: Trial) -> str:
    return scene.instruction if trial.told is None else _retold(scene, trial.told).instruction


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
