"""Writing a policy's decision as one ONNX graph, compared with torch before it is kept."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vla_nav.contract import Frame
from vla_nav.policy.checkpoint import ENGINE, Checkpoint
from vla_nav.policy.engines import TOLERANCE, TransformersEngine
from vla_nav.policy.errors import PolicyError
from vla_nav.policy.files import list_files, replace_folder, write_json
from vla_nav.policy.locate import resolve_model
from vla_nav.policy.onnx_engine import (
    GRAPH,
    NEXT,
    PRECISIONS,
    SETTINGS,
    GraphSettings,
    OnnxEngine,
)
from vla_nav.policy.policy import Policy
from vla_nav.policy.static import Feed, StaticForward

WORDS = 24
"""Tokens an instruction may have in the graph, unless said."""
LIMIT_BYTES = 1_500_000_000
"""Weights beyond this go into a file beside the graph: protobuf ends at 2 GB."""
INT8_TOLERANCE = 0.2
"""How far a graph of 8-bit weights may be from torch, in normalised actions on images of noise.

On a camera's images it is nearer; rollouts judge what it makes of a drive.
"""
SENTENCES = ('go', 'go to the red cone', 'turn left and stop in front of the blue ball')


class ExportError(PolicyError):
    """A policy cannot be written as an ONNX graph, or the graph computes something else."""


class _Flat(nn.Module):
    """A form of fixed shapes with its tensors in a row, as the exporter wants them."""

    def __init__(self, form: StaticForward, names: list[str]):
        super().__init__()
        self.form, self.names = form, names

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.form(dict(zip(self.names, tensors))).values())


def export(
    path: Path, words: int = WORDS, frames: int = 200, precision: str = 'float32',
    progress: Callable[[int], None] = lambda _: None,
) -> GraphSettings:
    """Write `engine/` into a checkpoint's folder; an older one stays if anything fails.

    words: tokens that the graph has for the instruction; longer sentences run on torch. frames:
    on how many it is compared with transformers' own forward, histories carried along.
    precision: int8 rounds the weights of the matrix products, for speed on a CPU.
    """
    if precision not in PRECISIONS:
        raise ExportError(f'precision is {precision!r}; expected one of {", ".join(PRECISIONS)}')
    checkpoint = Checkpoint.open(resolve_model(path))
    policy = Policy.load(checkpoint.path, device='cpu', engine='torch')
    if isinstance(policy.engine, TransformersEngine):
        raise ExportError(f'{path}: cannot be exported: {policy.engine.reason}')
    shortest = policy.model.tokens(['go'])['input_ids'].shape[1]
    form = StaticForward(policy.model, shortest + words).eval()
    target = checkpoint.path / ENGINE
    temporary = Path(tempfile.mkdtemp(prefix=f'.{ENGINE}.', dir=checkpoint.path))
    try:
        write_graph(form, _example(policy, form), temporary / GRAPH, precision)
        settings = GraphSettings(
            checkpoint.model_sha256, form.length, form.image_name, 0.0, frames,
            list_files(temporary), _versions(), precision)
        engine = OnnxEngine(temporary / GRAPH, settings, policy.backbone, policy.reader, 'cpu')
        error = compare(policy, engine, frames, progress)
        limit = INT8_TOLERANCE if precision == 'int8' else TOLERANCE[policy.backbone.dtype]
        if not error <= limit:
            raise ExportError(
                f'{path}: the graph is off by {error:.2g} of normalised actions from torch, '
                f'expected at most {limit:g}; use '
                f'{"precision float32" if precision == "int8" else "engine torch"}')
        settings = GraphSettings(**{**vars(settings), 'max_error': error})
        write_json(temporary / SETTINGS, settings.to_dict())
        replace_folder(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return settings


def write_graph(
    form: StaticForward, example: Feed, path: Path, precision: str = 'float32'
) -> None:
    """Write one form to an ONNX file. Raises ExportError where a library is missing or fails."""
    if torch.__version__ < '2.6':
        raise ExportError(f'torch {torch.__version__} cannot write ONNX graphs of this kind; '
                          "expected 2.6 or newer: pip install --upgrade 'torch>=2.6', or keep "
                          'engine torch')
    names = list(example)
    with torch.no_grad():
        fetched = form(example)
    outputs = [name if name == 'chunk' else NEXT + name for name in fetched]
    size = sum(p.numel() * p.element_size() for p in form.parameters())
    words = torch.export.Dim('words', min=form.after + 1, max=form.length)
    try:
        with _quiet():
            program = torch.onnx.export(
                _Flat(form, names), tuple(example.values()), dynamo=True, verbose=False,
                input_names=names, output_names=outputs, optimize=True,
                dynamic_shapes=(tuple({1: words} if name == 'tokens' else {} for name in names),))
            external_data = size > LIMIT_BYTES
            if precision == 'float32':
                program.save(str(path), external_data=external_data)
            else:
                with tempfile.TemporaryDirectory(prefix='.whole.', dir=path.parent) as folder:
                    whole = Path(folder) / path.name
                    program.save(str(whole), external_data=external_data)
                    round_weights(whole, path, external_data)
    except ImportError as error:
        raise ExportError(
            f"{error.name or error} is not installed; pip install 'vla_nav[train]'") from None
    except Exception as error:
        reason = ' '.join(str(error).split())[:300]
        raise ExportError(f'torch cannot write this policy as ONNX: {reason}') from error


def round_weights(path: Path, target: Path, external_data: bool) -> None:
    """Write a graph again with 8-bit weights in its matrix products, a scale for each column.

    A weight takes 7 of the 8 bits: AVX2 and AVX-512 add pairs of products in 16 bits.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        path, target, op_types_to_quantize=['MatMul', 'Gemm', 'Attention'], per_channel=True,
        reduce_range=True, weight_type=QuantType.QInt8, use_external_data_format=external_data)


def compare(
    policy: Policy, engine: OnnxEngine, frames: int, progress: Callable[[int], None]
) -> float:
    """Largest difference of normalised chunks from transformers' own forward over frames."""
    own = TransformersEngine(policy.model)
    worst, head = 0.0, policy.head
    rng = np.random.default_rng(0)
    for sentence, images in _episodes(policy, frames):
        states = [head.initial_state(1), head.initial_state(1)]
        prepared = [own.prepare([sentence]), engine.prepare([sentence])]
        for frame in images:
            extra, chunks = _extra(policy, rng), []
            for index, each in enumerate((own, engine)):
                chunk, states[index] = each.decide(
                    [frame.image], prepared[index], states[index], *extra)
                chunks.append(chunk)
            worst = max(worst, float((chunks[0] - chunks[1]).abs().max()))
            progress(1)
    return worst


def _episodes(policy: Policy, frames: int) -> Iterator[tuple[str, list[Frame]]]:
    """Sentences and images to compare on: noise of every coarseness, 20 frames of history."""
    camera, rng = policy.contract.camera, np.random.default_rng(0)
    for first in range(0, frames, 20):
        images = []
        for stamp in range(first, min(first + 20, frames)):
            side = int(rng.choice([4, 16, 64]))
            coarse = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            rows = np.arange(camera.height) * side // camera.height
            columns = np.arange(camera.width) * side // camera.width
            images.append(Frame(coarse[rows][:, columns], stamp))
        yield SENTENCES[first // 20 % len(SENTENCES)], images


def _extra(policy: Policy, rng: np.random.Generator):
    """Inputs and velocity for one row, where the head asks."""
    dim = policy.head.action_dim
    inputs = len(policy.head.settings.inputs) * dim
    draw = [torch.from_numpy(rng.uniform(-1, 1, (1, n)).astype(np.float32)) for n in (inputs, dim)]
    return (draw[0] if inputs else None,
            draw[1] if policy.head.state_encoder is not None else None)


def _example(policy: Policy, form: StaticForward) -> Feed:
    """Inputs of the graph, in their order."""
    camera = policy.contract.camera
    blank = np.zeros((camera.height, camera.width, 3), np.uint8)
    feed = {}
    if form.image_name == 'image':
        feed['image'] = torch.from_numpy(blank)[None]
    else:
        feed['pixels'] = policy.backbone.pixels([blank])['pixel_values']
    feed |= form.prepare(policy.model.tokens(['go']))
    inputs, velocity = _extra(policy, np.random.default_rng(0))
    feed |= {k: v for k, v in (('inputs', inputs), ('velocity', velocity)) if v is not None}
    return {**feed, **policy.head.initial_state(1).tensors()}


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ('torch', 'transformers', 'onnx', 'onnxscript')}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporter says of packages, and of passes, that no policy needs."""
    logs = [logging.getLogger('torch.onnx'), logging.getLogger()]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for log, level in zip(logs, levels):
            log.setLevel(level)
