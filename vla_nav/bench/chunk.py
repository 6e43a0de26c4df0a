"""A chunk in one forward pass (OFT) against action tokens, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vla_nav.bench import backbones
from vla_nav.bench.result import Goal, Result
from vla_nav.bench.run import Bench
from vla_nav.bench.timing import alternate
from vla_nav.policy import (
    Backbone,
    ContextSettings,
    HeadSettings,
    PolicyModel,
    TokenSettings,
    Variant,
    make_head,
)
from vla_nav.policy.engines import TransformersEngine, torch_engine

CHUNK = 8
PARALLEL = Goal(10)
SENTENCE = 'go to the red cone'


def measure(bench: Bench) -> Iterator[Result]:
    """Over the model's own backbone and over one of 256 million parameters."""
    torch.set_num_threads(bench.cores)
    folder = bench.checkpoint.backbone_folder()
    yield from _over(bench, 'its backbone', Backbone.load(folder))
    if not bench.quick:
        large = backbones.like(folder, backbones.SMOLVLM_256M, bench.folder / 'smolvlm')
        yield from _over(bench, 'SmolVLM-256M', large)


def _over(bench: Bench, name: str, backbone: Backbone) -> Iterator[Result]:
    oft = torch_engine(_model(bench, backbone, 'chunk_oft', CHUNK))
    calls = {'oft': _decide(bench, oft)}
    for chunk in (CHUNK, 1):
        engine = TransformersEngine(_model(bench, backbone, 'tokens', chunk))
        calls[f'tokens {chunk}'] = _decide(bench, engine)
    times = alternate(calls, bench.seconds)
    parallel = CHUNK / times['oft'].s
    for chunk in (CHUNK, 1):
        rate = chunk / times[f'tokens {chunk}'].s
        yield Result('chunk', f'{name}: chunk of {CHUNK} in parallel', parallel, 'actions/s',
                     f'tokens, chunk of {chunk} ({rate:.1f} actions/s)', parallel / rate,
                     PARALLEL)


def _model(bench: Bench, backbone: Backbone, decode: str, chunk: int) -> PolicyModel:
    camera = bench.checkpoint.contract.camera
    ids = tuple(range(min(255, len(backbone.tokenizer))))  # which ones makes no difference
    kind, loss = ('residual', 'l1') if decode == 'chunk_oft' else ('none', 'cross_entropy')
    variant = Variant(
        decode=decode, loss=loss, tokens=TokenSettings(len(ids) + 1, ids),
        context=ContextSettings(pooling='last'), head=HeadSettings(kind=kind, chunk=chunk))
    head = make_head(backbone, variant, camera.height, camera.width, 2)
    return PolicyModel(backbone, variant, head, camera.height, camera.width).eval()


def _decide(bench: Bench, engine):
    prepared, images = engine.prepare([SENTENCE]), [frame.image for frame in bench.frames(1)]
    state = engine.model.head.initial_state(1)
    return lambda: engine.decide(images, prepared, state)
