"""A checkpoint's ONNX graph: found, checked against the model, and run by ONNX Runtime."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from vla_nav.policy.backbone import Backbone
from vla_nav.policy.checkpoint import ENGINE, Checkpoint
from vla_nav.policy.context import ContextReader
from vla_nav.policy.errors import CheckpointError, PolicyError
from vla_nav.policy.files import FileEntry, confined, verify
from vla_nav.policy.heads import HeadState

SETTINGS = 'engine.json'
GRAPH = 'policy.onnx'
FORMAT_VERSION = 2
NEXT = 'next_'
"""Before the names of the state's tensors where they are outputs."""
PROVIDERS = ('TensorrtExecutionProvider', 'CUDAExecutionProvider', 'CPUExecutionProvider')
"""In the order in which they are tried."""
_SLOWER = ['SkipLayerNormFusion']
"""ONNX Runtime's optimizations that cost a CPU time."""
PRECISIONS = ('float32', 'int8')
"""Of a graph's matrix products: as trained, or weights rounded to 8 bits."""


class EngineMissing(PolicyError):
    """A checkpoint has no ONNX graph, or nothing here can run it."""


@dataclass(frozen=True)
class GraphSettings:
    """What `engine.json` says of the graph beside it."""

    model_sha256: str
    """Of the model it computes: `Checkpoint.model_sha256`."""
    length: int
    """Tokens that its prompt may have, those of the image included."""
    image: str
    """Its input: image (uint8) or pixels (preprocessed)."""
    max_error: float
    """Largest difference from torch that was seen, in normalised actions."""
    frames: int
    """Number of frames on which it was compared."""
    files: dict[str, FileEntry]
    versions: dict[str, str]
    """Of the libraries that wrote it."""
    precision: str = 'float32'
    """One of PRECISIONS."""
    format_version: int = FORMAT_VERSION

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self)


def read_graph_settings(checkpoint: Checkpoint) -> GraphSettings:
    """Read a checkpoint's engine.json and check it, and the graph, by their hashes.

    Raises EngineMissing where there is none, CheckpointError where it is not of this model.
    """
    folder = checkpoint.path / ENGINE
    path = folder / SETTINGS
    remedy = f'run `vla_nav export --model {checkpoint.path}`'
    if not path.is_file():
        raise EngineMissing(f'{path}: it is missing; {remedy}, or use engine torch')
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
        version = data['format_version']
        if version != FORMAT_VERSION:
            raise ValueError(f'format_version is {version!r}, expected {FORMAT_VERSION}')
        files = {str(k): FileEntry(str(v['sha256']), int(v['size']))
                 for k, v in data['files'].items()}
        settings = GraphSettings(**{**data, 'files': files})
        if settings.precision not in PRECISIONS:
            raise ValueError(f'precision is {settings.precision!r}, expected one of '
                             f'{", ".join(PRECISIONS)}')
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f'{path}: not the settings of an ONNX graph: {error}; {remedy}'
                              ) from None
    if settings.model_sha256 != checkpoint.model_sha256:
        raise CheckpointError(
            f'{path}: the graph was exported from another model (sha256 '
            f'{settings.model_sha256[:16]}..., expected {checkpoint.model_sha256[:16]}...); '
            f'{remedy} again'
        )
    if GRAPH not in files:
        raise CheckpointError(f"{path}: '{GRAPH}' is not among its files; {remedy} again")
    for name in files:
        confined(folder, name)
    verify(folder, files, quick=False)
    return settings


def providers(device: torch.device | str = 'auto') -> list[str]:
    """ONNX Runtime's providers to use, best first. Raises EngineMissing where it is not here."""
    try:
        import onnxruntime
    except ImportError:
        raise EngineMissing(
            "ONNX Runtime is not installed; pip install 'vla_nav[cpu]' (or 'vla_nav[gpu]'), or "
            'use engine torch'
        ) from None
    there = onnxruntime.get_available_providers()
    wanted = PROVIDERS
    if device != 'auto':
        kind = torch.device(device).type
        wanted = PROVIDERS[2:] if kind == 'cpu' else PROVIDERS[:2]
    found = [name for name in wanted if name in there]
    if not found:
        raise EngineMissing(
            f"device '{device}': this ONNX Runtime has {', '.join(there)}; pip install "
            "'vla_nav[gpu]', or use device cpu"
        )
    return found


def _on_gpu(found: list[str], device: torch.device | str) -> list:
    """The providers, with the number of the GPU for those that have a choice."""
    index = None if device == 'auto' else torch.device(device).index
    if index is None:
        return found
    return [(name, {'device_id': str(index)}) if name in PROVIDERS[:2] else name for name in found]


def session_threads(threads: int | None) -> int:
    """CPU threads of a session: those asked for, at most one per core, half of them unless said.

    The other cores are for the camera, the control loop, and whatever else the robot does.
    """
    cores = len(os.sched_getaffinity(0))
    return min(threads or max(1, cores // 2), cores)


class OnnxEngine:
    """One ONNX graph of a decision: image, tokens and state in, chunk and state out."""

    def __init__(
        self, path: Path, settings: GraphSettings, backbone: Backbone, reader: ContextReader,
        device: torch.device | str = 'auto', threads: int | None = None,
    ):
        found = providers(device)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = session_threads(threads)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Between frames its threads sleep: a spinning one would take a core from the node.
        options.add_session_config_entry('session.force_spinning_stop', '1')
        options.add_session_config_entry('session.set_denormal_as_zero', '1')
        self.settings = settings
        self.backbone = backbone
        self.reader = reader
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=_on_gpu(found, device),
                disabled_optimizers=_SLOWER if found == [PROVIDERS[-1]] else None)
        except Exception as error:
            reason = ' '.join(str(error).split())[:300]
            raise CheckpointError(
                f'{path}: ONNX Runtime cannot run it: {reason}; export it again, or use engine '
                'torch') from error
        used = self.session.get_providers()[0]
        self._pads = used != PROVIDERS[-1]  # TensorRT would build an engine for every length.
        kind = 'onnx' if settings.precision == 'float32' else f'onnx {settings.precision}'
        self.name = f"{kind} ({used.removesuffix('ExecutionProvider')})"
        self.reason = ''
        self._inputs = [i.name for i in self.session.get_inputs()]
        self._outputs = [o.name for o in self.session.get_outputs()]

    def fits(self, instructions: Sequence[str]) -> bool:
        return all(self.reader.tokens([i])['input_ids'].shape[1] <= self.settings.length
                   for i in instructions)

    def prepare(self, instructions: Sequence[str]) -> list[dict[str, np.ndarray]]:
        return [self._words(self.reader.tokens([i])) for i in instructions]

    def decide(
        self, images: Sequence[np.ndarray], prepared: list[dict[str, np.ndarray]],
        state: HeadState, inputs: torch.Tensor | None = None,
        velocity: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, HeadState]:
        rows = []
        for row, (image, words) in enumerate(zip(images, prepared)):
            one = {k: v.numpy() for k, v in state.select([row]).tensors().items()}
            extra = {'inputs': inputs, 'velocity': velocity}
            one |= {k: v[row:row + 1].numpy() for k, v in extra.items() if v is not None}
            feed = {**words, **self._frame(image), **one}
            with _no_denormals():
                fetched = self.session.run(None, {name: feed[name] for name in self._inputs})
            rows.append({k: torch.from_numpy(v) for k, v in zip(self._outputs, fetched)})
        states = [HeadState.of({k.removeprefix(NEXT): v for k, v in r.items()}) for r in rows]
        return torch.cat([r['chunk'] for r in rows]), HeadState.stack(states)

    def _words(self, batch: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """As `StaticForward.prepare`."""
        _, image, last = self.backbone.masks(batch)
        ids = batch['input_ids'].masked_fill(image, self.backbone.pad_id)
        if self._pads:
            missing = self.settings.length - ids.shape[1]
            ids = torch.nn.functional.pad(ids, (0, missing), value=self.backbone.pad_id)
        feed = {'tokens': ids.numpy(), 'length': (last + 1).numpy()}
        if 'sentence' in batch:
            feed['sentence'] = batch['sentence'].numpy()
        return feed

    def _frame(self, image: np.ndarray) -> dict[str, np.ndarray]:
        if self.settings.image == 'pixels':
            return {'pixels': self.backbone.pixels([image])['pixel_values'].numpy()}
        self.backbone.reader(*image.shape[:2]).check(image)
        return {'image': image[None]}


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Let this thread take numbers below 1e-38 for zero.

    ONNX Runtime's softmax makes such numbers of every position that a mask hides, and an Intel
    processor takes four times as long for them. The session's own option is for its other threads.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
