"""How much faster a head trains from cached contexts than from images."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.policy import PolicyModel
from vla_nav.training.data import Demonstrations, read_tracks
from vla_nav.training.objective import FrameObjective
from vla_nav.training.samples import FrameSource
from vla_nav.training.settings import load_recipe
from vla_nav.training.train import Job, Training
from vla_nav.training.trainer import Trainer


def head_training_speed(data: Path, backbone: str, variant: str = 'frozen_head',
                        cached_steps: int = 20, live_steps: int = 6) -> dict[str, float]:
    """Train a head both ways in this process; returns frames/s of each, and their ratio.

    cached: on contexts computed before; recomputed: the backbone runs on every frame again.
    """
    recipe = load_recipe(variant).with_settings(
        {'training.steps': cached_steps, 'training.validate_every': 10**6})
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        training = Training(Job(recipe, backbone, work / 'model', work, data=data,
                                cache=work / 'cache'))
        dataset = EpisodeDataset(data)
        demonstrations = Demonstrations.of(
            read_tracks(dataset, recipe.variant), dataset.contract, recipe.training.validation, 0,
            {})
        head = training.new_head(demonstrations)
        contexts = training.contexts(dataset, recipe.variant, len(dataset))
        cached = training.head_trainer('cached', head, recipe.variant, contexts, demonstrations,
                                       cached_steps)
        cached.run()
        settings = replace(recipe.training, steps=live_steps, batch=4, window=16, colour=0.0,
                           shift=0.0, validation_frames=16)
        camera = dataset.contract.camera
        model = PolicyModel(training.backbone, recipe.variant, head, camera.height, camera.width)
        model.vlm.requires_grad_(False)
        source = FrameSource(dataset, demonstrations, recipe.variant, settings)
        live = Trainer('recomputed', training.accelerator, FrameObjective(model, training.bf16),
                       source, settings, work / 'recomputed.safetensors')
        live.run()
    return {'cached': cached.frames_per_s, 'recomputed': live.frames_per_s,
            'ratio': cached.frames_per_s / live.frames_per_s}
