"""Contexts of demonstrations: one pass of the frozen backbone over each frame, kept on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vla_nav.contract import ACTION_DIM
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.policy import Backbone, Variant
from vla_nav.policy.model import make_reader
from vla_nav.training.demonstrations import load_shard, write_episodes
from vla_nav.training.errors import TrainError
from vla_nav.training.folders import keyed_folder
from vla_nav.training.settings import Recipe

BATCH = 16
"""Frames in one pass of the backbone."""
VERSION = 1
"""Raised when the way from frame and instruction to context changes."""
SECONDS = 'seconds.json'


def can_cache(variant: Variant) -> bool:
    """Whether a variant's contexts depend on nothing that trains."""
    head = variant.head
    return (variant.tune == 'head' and variant.decode != 'tokens'
            and not (head.state_token or head.film))


def check_source(recipe: Recipe, simulated: bool, rounds: int) -> None:
    """Raise TrainError for what cannot be learned from contexts, or from images.

    simulated: whether the expert demonstrates in simulation, and policies drive further rounds.
    """
    variant, window = recipe.variant, recipe.training.window
    head = variant.head
    if not can_cache(variant):
        if simulated:
            raise TrainError(
                f"variant '{variant.name}' trains on images (tune {variant.tune}): give --data "
                'DATASET, which `vla_nav demos` and `vla_nav dataset` make')
        if head.kind == 'lstm' and head.window == 0 and window < 2:
            raise TrainError(
                f"variant '{variant.name}' trains on images (tune {variant.tune}), and its LSTM "
                'carries its state without end (head.window is 0): from sequences of one frame '
                'it would not learn to. Set head.window=12, or training.window to the frames of '
                'a sequence')
    if simulated and 'velocity' in head.inputs:
        raise TrainError('head.inputs has velocity, which is not measured in simulation without '
                         '--data; give --data DATASET, or leave it out')
    if simulated and rounds and 'previous_action' in head.inputs:
        raise TrainError('head.inputs has previous_action, which no policy is told that drives '
                         'for --rounds; give --rounds 0 or --data DATASET, or leave it out')


def context_facts(backbone: Backbone, variant: Variant, contract) -> dict:
    """What a context depends on beside frame and instruction."""
    camera = contract.camera
    return {'version': VERSION, 'backbone_sha256': backbone.sha256,
            'dtype': str(backbone.dtype).removeprefix('torch.'),
            'context': variant.context.to_dict(), 'decode': variant.decode,
            'chunk': variant.chunk if variant.decode == 'chunk_oft' else 0,
            'image': [camera.width, camera.height, *camera.crop]}


def own_episodes(episodes: Sequence[int], accelerator) -> Sequence[int]:
    """Those whose contexts this process computes."""
    return episodes[accelerator.process_index::accelerator.num_processes]


def cache_contexts(root: Path, dataset: EpisodeDataset, episodes: Sequence[int],
                   backbone: Backbone, variant: Variant, accelerator,
                   progress: Callable[[int], None]) -> tuple[list[np.ndarray], float]:
    """Return float16 (L, n, D) contexts of the episodes, and the seconds that making them took.

    What lies under `root` is used where backbone, layer, pooling, prompt, image geometry, frames
    and instructions are the same; the rest is computed. Each process has its own episodes,
    whatever the others have made by then.
    """
    folder = keyed_folder(root, {**context_facts(backbone, variant, dataset.contract),
                                 'dataset_sha256': dataset.sha256,
                                 'tasks_sha256': dataset.tasks_sha256})
    paths = {episode: folder / f'episodes_{episode:06d}.safetensors' for episode in episodes}
    own = own_episodes(episodes, accelerator)
    missing = [episode for episode in own if not paths[episode].exists()]
    camera = dataset.contract.camera
    reader = make_reader(backbone, variant, camera.height, camera.width, ACTION_DIM)
    began = time.monotonic()
    progress(len(own) - len(missing))
    for episode in missing:
        contexts = _contexts(dataset, episode, reader)
        actions = dataset.window(episode, 0, len(contexts), images=False).actions
        write_episodes(paths[episode], [contexts], [actions])
        progress(1)
    accelerator.wait_for_everyone()
    seconds = _add_seconds(folder / SECONDS, time.monotonic() - began if missing else 0.0,
                           accelerator.is_main_process)
    return [load_shard(paths[episode])[0].contexts for episode in episodes], seconds


def _contexts(dataset: EpisodeDataset, episode: int, reader) -> np.ndarray:
    import torch
    parts = []
    length = dataset.episodes[episode].length
    for start in range(0, length, BATCH):
        window = dataset.window(episode, start, min(BATCH, length - start))
        with torch.no_grad():
            contexts = reader(list(window.images), window.instructions)
        parts.append(contexts.cpu().numpy().astype(np.float16))
    contexts = np.concatenate(parts)
    if not np.isfinite(contexts).all():
        raise TrainError(f'contexts of episode {episode} are not finite in float16, as which they '
                         'are cached; choose another context.layer, or a tune that trains')
    return contexts


def _add_seconds(path: Path, seconds: float, write: bool) -> float:
    try:
        before = float(path.read_text())
    except (OSError, ValueError):  # not there yet, or cut off
        before = 0.0
    if write and seconds:
        temporary = path.with_suffix('.tmp')
        temporary.write_text(json.dumps(before + seconds))
        temporary.replace(path)
    return before + seconds
