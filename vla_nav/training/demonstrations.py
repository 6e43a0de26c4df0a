"""Demonstrations in simulation, as contexts of a frozen backbone: what a head trains from.

The expert says what to do at every step. In the first round it drives itself, disturbed now and
then so that recoveries are seen (Laskey et al. 2017, DART, arXiv 1703.09327); in later rounds the
policy drives and the expert only corrects (Ross et al. 2011, DAgger, arXiv 1011.0686), except that
it goes on to demonstrate what is rare: to look behind something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_nav.contract import ACTION_DIM, Contract
from vla_nav.evaluation.lockstep import LockStep
from vla_nav.policy import Backbone, Checkpoint, Variant, load_head
from vla_nav.policy.model import make_reader
from vla_nav.sim import Disturbance, Scene, sample_scene
from vla_nav.sim.task import TIME_LIMIT_S
from vla_nav.sim.visibility import objects_in_view
from vla_nav.workers import worker_pool

SHARD = 16
"""Episodes driven side by side and written together."""
LINGER_S = 1.5
"""An episode goes on for this long after success: standing still is learned too."""
EXPERT_LIMIT_S = 30.0
"""The expert is done by then; a policy has the time that a rollout gives it."""
LEVELS = ('easy', 'standard', 'standard', 'standard')
"""Of the scenes, in turn."""
SEARCHES = 4
"""One in so many episodes of a later round is a search: the target stands behind something, and
the expert drives. By chance it stands so in 4 of 100 scenes, too few to learn from; and to
correct a policy that turns on the spot does not show where searching leads."""


@dataclass(frozen=True)
class Episode:
    """One episode as a head sees it."""

    contexts: np.ndarray
    """float16 (T, n, D)."""
    actions: np.ndarray
    """float32 (T, 2): what the expert would do, SI units."""


def collect(folder: Path, backbone: Path, variant: Variant, contract: Contract,
            driver: Path | None, seeds: Sequence[int], workers: int,
            progress: Callable[[int], None]) -> None:
    """Drive one episode per seed; write contexts and the expert's actions as shards to `folder`.

    `driver` is the checkpoint that drives, or None for the expert. Shards that exist are kept,
    so a second call goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [list(seeds[i:i + SHARD]) for i in range(0, len(seeds), SHARD)]
    with worker_pool(workers) as pool:
        jobs = {}
        for number, part in enumerate(parts):
            path = folder / f'episodes_{number:04d}.safetensors'
            if path.exists():
                progress(len(part))
            else:
                job = pool.submit(_drive, path, backbone, variant, contract, driver, part)
                jobs[job] = len(part)
        for job in as_completed(jobs):
            job.result()
            progress(jobs[job])


def write_episodes(path: Path, contexts: Sequence[np.ndarray],
                   actions: Sequence[np.ndarray]) -> None:
    """Write one shard: for each episode contexts (T, n, D) and actions (T, 2)."""
    from safetensors.numpy import save_file
    temporary = path.with_suffix('.tmp')
    save_file({'contexts': np.concatenate(contexts), 'actions': np.concatenate(actions),
               'ends': np.cumsum([len(part) for part in actions])}, temporary)
    temporary.replace(path)


def load_episodes(folder: Path) -> list[Episode]:
    """Read every shard of a folder."""
    return [episode for path in sorted(folder.glob('episodes_*.safetensors'))
            for episode in load_shard(path)]


def load_shard(path: Path) -> list[Episode]:
    """Read one shard."""
    from safetensors.numpy import load_file
    data = load_file(path)
    ends = data['ends'][:-1]
    return [Episode(*pair) for pair in zip(np.split(data['contexts'], ends),
                                           np.split(data['actions'], ends))]


def is_search(seed: int) -> bool:
    """Whether this episode of a later round is a search."""
    return seed % SEARCHES == SEARCHES - 1


def draw_scene(seed: int, hidden: bool = False) -> Scene:
    """The scene of an episode; with `hidden`, one in which the target is."""
    number = 0
    while True:
        # No other episode, and no rollout, has seeds so large.
        scene = sample_scene(seed + (number << 40), LEVELS[seed % len(LEVELS)])
        if not hidden or is_hidden(scene):
            return scene
        number += 1


def is_hidden(scene: Scene) -> bool:
    """Whether the target cannot be seen well from the start, whichever way the robot turns."""
    (x, y, _), goal = scene.start, scene.target_object
    facing = x, y, math.atan2(goal.y - y, goal.x - x)
    return scene.target not in objects_in_view(scene, facing)


def _drive(path: Path, backbone: Path, variant: Variant, contract: Contract,
           driver: Path | None, seeds: Sequence[int]) -> None:
    """Drive the episodes of one shard in this process and write it."""
    import torch
    torch.set_num_threads(1)
    camera = contract.camera
    reader = make_reader(Backbone.load(backbone), variant, camera.height, camera.width, ACTION_DIM)
    pilot = Pilot(driver) if driver else None
    searches = [pilot is not None and is_search(seed) for seed in seeds]
    scenes = [draw_scene(*each) for each in zip(seeds, searches)]
    steps = LockStep(scenes, contract, len(scenes), linger_s=LINGER_S,
                     time_limit_s=EXPERT_LIMIT_S if pilot is None else TIME_LIMIT_S)
    begun = steps.start()
    disturb = {row: Disturbance(np.random.default_rng(seeds[row])) for row in begun}
    contexts: list[list] = [[] for _ in scenes]
    actions: list[list] = [[] for _ in scenes]
    while driving := steps.driving:
        frames = steps.frames()
        rows = list(driving)
        with torch.inference_mode():
            seen = reader([frames[row].image for row in rows],
                          [scenes[row].instruction for row in rows])
        advice = np.zeros((len(scenes), ACTION_DIM), np.float32)
        for place, row in enumerate(rows):
            advice[row] = driving[row].expert.action()
            contexts[row].append(seen[place].numpy().astype(np.float16))
            actions[row].append(advice[row])
        executed = advice.copy() if pilot is None else pilot(seen, rows, len(scenes))
        for row in rows:
            executed[row] = disturb[row](advice[row] if searches[row] else executed[row])
        steps.step(executed)
    write_episodes(path, [np.stack(part) for part in contexts],
                   [np.stack(part) for part in actions])


class Pilot:
    """A checkpoint's head, driving from contexts that were computed already."""

    def __init__(self, path: Path) -> None:
        checkpoint = Checkpoint.open(path)
        self._head = load_head(checkpoint).eval()
        self._normaliser = checkpoint.normaliser
        self._state = None

    def __call__(self, contexts, rows: Sequence[int], width: int) -> np.ndarray:
        """Actions (width, A) from contexts (len(rows), n, D) of these rows."""
        import torch
        if self._state is None:
            self._state = self._head.initial_state(width)
        everyone = contexts.new_zeros(width, 1, *contexts.shape[1:])
        everyone[list(rows), 0] = contexts
        with torch.inference_mode():
            chunks, self._state = self._head(everyone, None, self._state)
        return self._normaliser.denormalise(chunks[:, 0, 0].numpy())
