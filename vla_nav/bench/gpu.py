"""A backbone of 3 billion parameters on a GPU: driving over what the GPU can do, and training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from vla_nav.bench import backbones, machine
from vla_nav.bench.result import Goal, Result, Skipped
from vla_nav.bench.run import Bench
from vla_nav.bench.timing import alternate
from vla_nav.bench.timing import measure as timed
from vla_nav.policy import (
    ContextSettings,
    HeadSettings,
    PolicyModel,
    Tuning,
    Variant,
    load_variant,
    make_head,
)
from vla_nav.policy.engines import Engine, TransformersEngine, torch_engine
from vla_nav.policy.heads import HeadState
from vla_nav.training.objective import FrameObjective
from vla_nav.training.samples import Batch

EAGER = Goal(5)
FLOOR = Goal(2, at_most=True)
SENTENCE = 'go to the red cone'
ROWS = 16
"""Frames in a training step."""


def measure(bench: Bench) -> Iterator[Result]:
    """Image to chunk at 224 x 224, bfloat16."""
    if not torch.cuda.is_available():
        raise Skipped('torch sees no GPU here')
    yield from image_to_chunk(bench, backbones.PALIGEMMA_3B, 'cuda', torch.bfloat16)
    yield from training_steps(bench, backbones.PALIGEMMA_3B, 'cuda', torch.bfloat16)


def image_to_chunk(bench: Bench, shape: Mapping, device: str, dtype: torch.dtype
                   ) -> Iterator[Result]:
    """The engine of fixed shapes against transformers' forward and against the floor."""
    base = bench.checkpoint.backbone_folder()
    backbone = backbones.paligemma(base, shape, bench.folder / 'paligemma', device, dtype)
    side = shape['vision_config']['image_size']
    variant = Variant(context=ContextSettings(pooling='last'), head=HeadSettings())
    head = make_head(backbone, variant, side, side, 2)
    model = PolicyModel(backbone, variant, head, side, side).eval()
    engine, own = torch_engine(model), TransformersEngine(model)
    image = torch.randint(0, 256, (side, side, 3), dtype=torch.uint8).numpy()
    calls = {name: machine.synchronised(_decide(e, image), device)
             for name, e in (('engine', engine), ('own', own))}
    times = alternate(calls, 2.5 * bench.seconds)
    rate = machine.matmul_rate(device, dtype, bench.seconds, 8192 if device == 'cuda' else 512)
    bandwidth = machine.copy_bandwidth(device, bench.seconds, 1024 if device == 'cuda' else 16)
    with FlopCounterMode(display=False) as counter:
        calls['own']()
    used = _bytes(model)
    floor_s = max(counter.get_total_flops() / rate, used / bandwidth)
    name = f'PaliGemma of {used / 1e9:.1f} GB in use, {engine.name}'
    took = times['engine']
    yield Result('gpu', name, took.ms, 'ms', "speed of transformers' forward",
                 times['own'].s / took.s, EAGER)
    yield Result('gpu', name, took.ms, 'ms',
                 f'the floor ({counter.get_total_flops() / 1e12:.2f} TFLOP at '
                 f'{rate / 1e12:.0f} TFLOP/s, {used / 1e9:.1f} GB at {bandwidth / 1e9:.0f} GB/s)',
                 took.s / floor_s, FLOOR)
    if engine.reason:
        raise Skipped(f'CUDA graph: {engine.reason}')


def training_steps(bench: Bench, shape: Mapping, device: str, dtype: torch.dtype
                   ) -> Iterator[Result]:
    """Frames/s of steps of the optimiser: of a head over the frozen backbone, then with LoRA."""
    base = bench.checkpoint.backbone_folder()
    backbone = backbones.paligemma(base, shape, bench.folder / 'trained', device, dtype)
    frozen = None
    for name, preset, checkpointing in (
            ('a head, its contexts computed anew', 'frozen_head', False),
            ('LoRA and a head', 'lora_head', False),
            ('the same, checkpointing', 'lora_head', True)):
        if checkpointing:
            backbone.model.gradient_checkpointing_enable({'use_reentrant': False})
        step = _training_step(backbone, load_variant(preset), shape['vision_config']['image_size'],
                              dtype)
        machine.forget_peak(device)
        rate = ROWS / timed(machine.synchronised(step, device), bench.seconds).s
        frozen = frozen or rate
        memory = machine.peak(device)
        name = f'training {name}, {ROWS} frames a step' + (
            f', peak {memory / 1e9:.1f} GB' if memory else '')
        yield Result('gpu', name, rate, 'frames/s', 'training the head alone', rate / frozen)


def _training_step(backbone, variant: Variant, side: int, dtype: torch.dtype):
    """A step on sequences of one frame, as `vla_nav train` does it."""
    head = make_head(backbone, variant, side, side, 2)
    model = PolicyModel(backbone, variant, head, side, side)
    adapted = any('lora' in name for name, _ in backbone.model.named_parameters())
    if not adapted:
        Tuning(backbone, variant.tune, variant.lora)
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    objective = FrameObjective(model, dtype is torch.bfloat16).train()
    optimizer = torch.optim.AdamW(trained, 1e-4)
    images = np.random.default_rng(0).integers(0, 256, (ROWS, side, side, 3), np.uint8)
    shape = ROWS, 1, variant.chunk
    batch = Batch(torch.zeros(*shape, 2), torch.ones(shape), np.zeros((ROWS, 1, 2)),
                  images=images, instructions=(SENTENCE,) * ROWS)

    def step() -> None:
        objective(batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _decide(engine: Engine, image):
    prepared = engine.prepare([SENTENCE])
    state: HeadState = engine.model.head.initial_state(1)
    return lambda: engine.decide([image], prepared, state)


def _bytes(model: PolicyModel) -> int:
    """Of the weights that one decision reads: not of the embeddings, nor of the LM head."""
    vlm = model.vlm
    ends = {id(p) for module in (vlm.get_input_embeddings(), vlm.get_output_embeddings())
            for p in (module.parameters() if module is not None else ())}
    return sum(p.numel() * p.element_size() for p in model.parameters() if id(p) not in ends)
