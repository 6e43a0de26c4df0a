"""Contexts of a recorded dataset: one pass of the frozen backbone, kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.policy import Backbone, ContextReader, Variant
from vla_nav.training.demonstrations import write_episodes

BATCH = 16
"""Frames in one pass of the backbone."""


def cache_dataset(folder: Path, dataset: EpisodeDataset, backbone: Backbone, variant: Variant,
                  progress: Callable[[int], None]) -> None:
    """Write the contexts and actions of every episode as shards to `folder`.

    Episodes that are there already are kept, so a second call goes on.
    """
    import torch
    folder.mkdir(parents=True, exist_ok=True)
    camera = dataset.contract.camera
    reader = ContextReader(backbone, variant.context, camera.height, camera.width)
    for number, entry in enumerate(dataset.episodes):
        path = folder / f'episodes_{number:06d}.safetensors'
        if not path.exists():
            parts = []
            for start in range(0, entry.length, BATCH):
                count = min(BATCH, entry.length - start)
                window = dataset.window(number, start, count)
                with torch.inference_mode():
                    contexts = reader(list(window.images), window.instructions)
                parts.append(contexts.cpu().numpy().astype(np.float16))
            actions = dataset.window(number, 0, entry.length, images=False).actions
            write_episodes(path, [np.concatenate(parts)], [actions])
        progress(1)
