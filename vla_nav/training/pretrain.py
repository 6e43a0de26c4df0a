"""From nothing to the nano VLM: views, vision tower, language model, figures, folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from vla_nav.contract import Camera
from vla_nav.errors import VlaNavError
from vla_nav.policy import Backbone
from vla_nav.training import nano
from vla_nav.training.grounding import BEARINGS, DISTANCES, WHERE
from vla_nav.training.language import (
    LOCATION,
    Asker,
    LanguageSettings,
    cache_features,
    hidden_states,
    train_language,
)
from vla_nav.training.progress import Progress
from vla_nav.training.views import Views, load_views, make_views
from vla_nav.training.vision import VisionSettings, patch_losses, to_pixels, train_vision

PROMPT = '{image}{instruction}' + WHERE
HELD_OUT_SEED = 987_654_321


class PretrainError(VlaNavError):
    """Pretraining cannot start or go on."""


@dataclass(frozen=True)
class PretrainSettings:
    """Everything that determines the nano VLM."""

    start: str = ''
    """A nano VLM of the same shape to go on from; empty: from nothing."""
    views: int = 90_000
    """Rendered frames."""
    held_out: int = 2000
    """Further frames, for the figures."""
    seed: int = 0
    nano: nano.NanoSettings = field(default_factory=nano.NanoSettings)
    vision: VisionSettings = field(default_factory=VisionSettings)
    language: LanguageSettings = field(default_factory=LanguageSettings)


def pretrain(out: Path, work: Path, camera: Camera, settings: PretrainSettings,
             workers: int) -> dict:
    """Make the nano VLM in folder `out` and return its held-out figures.

    `work` keeps views, features and training states; a second call goes on from there.
    """
    if (camera.width, camera.height) != (settings.nano.image_size,) * 2:
        raise PretrainError(
            f"the contract's camera is {camera.width}x{camera.height} pixels; the nano VLM "
            f'takes {settings.nano.image_size}x{settings.nano.image_size}: set camera.width and '
            'camera.height to that in the contract')
    # Before the views: what cannot be gone on from should be said at once.
    model, processor = _start(settings)
    tokenizer = processor.tokenizer
    _remember(work, settings)
    grid = settings.nano.grid
    with Progress('views', settings.views) as progress:
        make_views(work / 'views', camera, settings.views, settings.seed, grid, workers,
                   progress.advance)
    with Progress('held-out views', settings.held_out) as progress:
        make_views(work / 'held_out', camera, settings.held_out, HELD_OUT_SEED, grid, workers,
                   progress.advance)
    views = load_views(work / 'views', settings.views)
    held_out = load_views(work / 'held_out', settings.held_out)

    tower = model.model.vision_model
    with Progress('vision tower', settings.vision.samples) as progress:
        head = train_vision(tower, settings.nano.width, views, settings.vision, settings.seed,
                            work / 'vision.safetensors', progress.report)
    figures = {'patches': vision_figures(tower, head, held_out)}
    progress.note(_line('patches named right', figures['patches']))

    asker = Asker(tokenizer, prefix_ids(processor), settings.language.questions)
    with Progress('features', settings.views) as progress:
        features = _features(tower, views, work / 'features.npy', settings.nano.width, progress)
    with Progress('language model', settings.language.samples) as progress:
        train_language(model, asker, features, views, settings.language, settings.seed,
                       work / 'language.safetensors', progress.report)
    figures['answers'] = answer_figures(model, asker, held_out)
    progress.note(_line('answers', figures['answers']))
    nano.save(model, processor, out)
    (out / 'pretraining.json').write_text(json.dumps(
        {'prompt': PROMPT, 'settings': asdict(settings), 'figures': figures},
        indent=1))
    return figures


def _start(settings: PretrainSettings) -> tuple:
    """Make the model and its processor, or read them."""
    if not settings.start:
        tokenizer = nano.build_tokenizer(settings.nano, settings.seed)
        model = nano.build_model(settings.nano, tokenizer, settings.seed)
    else:
        backbone = Backbone.load(settings.start, dtype=torch.float32)
        model, tokenizer = backbone.model, backbone.tokenizer
        if WHERE not in tokenizer.get_vocab() or nano.shape(model.config) != settings.nano:
            raise PretrainError(f'{settings.start} is no nano VLM of the shape {settings.nano}: '
                                'one can go on only from what `vla_nav pretrain` made')
    return model, nano.build_processor(settings.nano, tokenizer)


def prefix_ids(processor) -> list[int]:
    """Token ids that the processor puts where an image stands."""
    image = np.zeros((processor.image_processor.size['longest_edge'],) * 2 + (3,), np.uint8)
    inputs = processor(images=[[image]], text=[nano.IMAGE], add_special_tokens=False)
    return list(inputs['input_ids'][0])


def vision_figures(tower, head, views: Views, count: int = 1000) -> dict[str, float]:
    """Share of object patches whose colour, shape and distance bin the tower knows."""
    from vla_nav.training.grounding import distance_bin
    with torch.inference_mode():
        count = min(count, len(views))
        pixels = to_pixels(np.stack([views.image(i) for i in range(count)]))
        hidden = torch.cat([tower(pixel_values=part).last_hidden_state
                            for part in pixels.split(100)])
        labels = [torch.from_numpy(label[:count].reshape(count, -1).astype(np.int64))
                  for label in (views.colour, views.shape,
                                distance_bin(views.distance_m.astype(np.float32)))]
        return patch_losses(head(hidden), *labels)[1]


def answer_figures(model, asker: Asker, views: Views) -> dict[str, float]:
    """Ask the model about held-out views, five questions each."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    right: dict[str, list] = {'cell': [], 'bearing': [], 'distance': [], 'absent': []}
    with torch.inference_mode():
        for start in range(0, len(views), 100):
            chosen = range(start, min(start + 100, len(views)))
            packed = asker.pack(views.objects[list(chosen)], rng)
            pixels = to_pixels(np.stack([views.image(i) for i in chosen]))
            features = model.model.vision_model(pixel_values=pixels).last_hidden_state
            hidden = hidden_states(model, features, packed)
            # The caption is segment 1; the questions stand behind it.
            places = (packed.kind == LOCATION) & (packed.segment > 1)
            best = model.lm_head(hidden[places]).argmax(-1)
            bearing, distance = packed.bearing[places], packed.distance[places]
            seen = bearing >= 0
            cell = best - asker.first_location
            is_cell = (cell >= 0) & (cell < BEARINGS * DISTANCES)
            got_bearing = torch.where(is_cell, cell // DISTANCES, -99)
            got_distance = torch.where(is_cell, cell % DISTANCES, -99)
            right['cell'] += ((got_bearing == bearing) & (got_distance == distance))[seen].tolist()
            right['bearing'] += ((got_bearing - bearing).abs() <= 1)[seen].tolist()
            right['distance'] += ((got_distance - distance).abs() <= 1)[seen].tolist()
            right['absent'] += (best == asker.nowhere)[~seen].tolist()
    return {name: float(np.mean(values)) for name, values in right.items()}


def _features(tower, views, path, width, progress):
    done = path.with_suffix('.done')
    if done.exists():
        progress.advance(len(views))
        return np.load(path, mmap_mode='r')
    features = cache_features(tower, views, path, width, progress.advance)
    done.touch()
    return features


def _remember(work: Path, settings: PretrainSettings) -> None:
    """Refuse to go on in a folder that was begun with other settings."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / 'settings.json'
    text = json.dumps(asdict(settings), indent=1)
    if path.exists() and path.read_text() != text:
        raise PretrainError(f'{path} was begun with other settings; give the same ones to go '
                            'on, or another --work folder to start afresh')
    path.write_text(text)


def _line(title: str, figures: dict[str, float]) -> str:
    return f'{title}: ' + ', '.join(f'{name} {100 * value:.1f} %'
                                    for name, value in figures.items())
