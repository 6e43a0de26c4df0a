"""From a uint8 frame to what the vision encoder takes, over the image processor's own way."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import torch

from vla_nav.bench.result import Goal, Result, on_threads
from vla_nav.bench.run import Bench
from vla_nav.bench.timing import alternate
from vla_nav.policy import Backbone
from vla_nav.policy.images import ImageReader

SIZE = (480, 640)
"""Of frames that must be resized; others have the size that a processor works at."""
_HALF = {'image_mean': [0.5] * 3, 'image_std': [0.5] * 3}
_CLIP = {'image_mean': [0.481, 0.458, 0.408], 'image_std': [0.269, 0.261, 0.276]}
PROCESSORS = {
    'PaliGemma, LLaVA (SigLIP)': {
        'image_processor_type': 'SiglipImageProcessor', 'resample': 3, **_HALF,
        'size': {'height': 224, 'width': 224}},
    'Kosmos-2 (CLIP)': {
        'image_processor_type': 'CLIPImageProcessor', 'resample': 3, **_CLIP,
        'size': {'shortest_edge': 224}, 'crop_size': {'height': 224, 'width': 224}},
    'Idefics3, SmolVLM': {
        'image_processor_type': 'Idefics3ImageProcessor', 'resample': 1, **_HALF,
        'do_image_splitting': False, 'size': {'longest_edge': 512},
        'max_image_size': {'longest_edge': 512}},
    'Qwen2.5-VL': {
        'image_processor_type': 'Qwen2VLImageProcessor', 'resample': 3, **_CLIP,
        'patch_size': 14, 'merge_size': 2, 'temporal_patch_size': 2,
        'size': {'shortest_edge': 56 * 56, 'longest_edge': 28 * 28 * 1280}},
}


def measure(bench: Bench) -> Iterator[Result]:
    """For the model's own frames; for the families of backbone, with resizing and without."""
    from transformers import AutoImageProcessor

    camera = bench.checkpoint.contract.camera
    own = Backbone.load(bench.checkpoint.backbone_folder(), weights=lambda: None).image_processor
    yield from _compare(bench, bench.checkpoint.name,
                        ImageReader(own, camera.height, camera.width))
    for index, (name, settings) in enumerate(PROCESSORS.items()):
        folder = bench.folder / f'processor_{index}'
        folder.mkdir()
        (folder / 'preprocessor_config.json').write_text(json.dumps(settings), encoding='utf-8')
        processor = AutoImageProcessor.from_pretrained(folder)
        resizing = ImageReader(processor, *SIZE)
        for reader in (resizing, ImageReader(processor, *resizing.final)):
            yield from _compare(bench, name, reader)


def _compare(bench: Bench, name: str, reader: ImageReader) -> Iterator[Result]:
    """On one thread, and on all cores."""
    height, width = reader.size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for threads in sorted({1, bench.cores}):
        torch.set_num_threads(threads)
        times = alternate({
            'ours': lambda: reader([image]),
            'theirs': lambda: reader.processor(images=[image], return_tensors='pt'),
        }, bench.seconds)
        yield Result('preprocessing', f'{name}, {width} x {height}, {on_threads(threads)}',
                     times['ours'].ms, 'ms', 'speed of the image processor',
                     times['theirs'].s / times['ours'].s, Goal(5))
