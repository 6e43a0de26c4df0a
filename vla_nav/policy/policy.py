"""The policy at run time: frame and instruction in, action chunk out."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from vla_nav.contract import ActionChunk, Contract, Frame
from vla_nav.policy.backbone import Backbone
from vla_nav.policy.checkpoint import ENGINE, HEAD, Checkpoint
from vla_nav.policy.engines import Engine, torch_engine
from vla_nav.policy.errors import CheckpointError, PolicyError
from vla_nav.policy.heads import Head, build_head
from vla_nav.policy.instruction import clean_instruction
from vla_nav.policy.locate import resolve_model
from vla_nav.policy.model import PolicyModel, make_reader
from vla_nav.policy.normaliser import ActionNormaliser
from vla_nav.policy.onnx_engine import GRAPH, EngineMissing, OnnxEngine, read_graph_settings
from vla_nav.policy.registry import unknown
from vla_nav.policy.settings import ENGINES
from vla_nav.policy.tune import load_tuned
from vla_nav.policy.variant import Variant


class BatchPolicy:
    """One policy driving n robots in lock step; row i gets the numbers it would get alone.

    Rows start with `reset`, each with its own instruction and history.
    """

    def __init__(self, policy: Policy, rows: int):
        self._policy = policy
        self._rows = rows
        self._state = policy.head.initial_state(rows)
        self._instructions: list[str | None] = [None] * rows
        self.engine: Engine = policy.engine
        self._prepared: Any = None
        action_dim = policy.head.action_dim
        self._previous = np.zeros((rows, action_dim), np.float32)  # normalised

    @torch.inference_mode()
    def reset(self, instructions: str | Sequence[str], rows: Sequence[int] | None = None) -> None:
        """Begin episodes: give the rows (all of them unless said) a sentence and no history.

        Raises InstructionError for a sentence that cannot be followed; then nothing changes.
        """
        rows = list(range(self._rows)) if rows is None else list(rows)
        if isinstance(instructions, str):
            instructions = [instructions] * len(rows)
        if len(instructions) != len(rows):
            raise PolicyError(
                f'reset: found {len(instructions)} instructions, expected {len(rows)}, one per row'
            )
        cleaned = [clean_instruction(i) for i in instructions]
        backbone = self._policy.backbone
        for instruction in cleaned:
            backbone.check_instruction(instruction)
        for row, instruction in zip(rows, cleaned):
            self._instructions[row] = instruction
        self._prepare()
        self._state.reset(torch.tensor(rows, device=self._state.age.device))
        self._previous[rows] = self._policy.resting_action

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order; the others' episodes are over."""
        self._rows = len(rows)
        self._instructions = [self._instructions[row] for row in rows]
        self._state = self._state.select(rows)
        self._previous = self._previous[list(rows)]
        self._prepare()

    def step(
        self, frames: Sequence[Frame], velocities: np.ndarray | None = None
    ) -> list[ActionChunk]:
        """Decide on one frame per row; velocities (rows, A) in SI units where the head asks."""
        policy = self._policy
        self._check(frames)
        velocity = self._velocity(velocities)
        with torch.inference_mode():
            chunks, self._state = self.engine.decide(
                [f.image for f in frames], self._prepared, self._state, self._inputs(velocity),
                velocity)
            normalised = chunks.float().cpu().numpy()
        if not np.isfinite(normalised).all():
            row = int(np.argmin(np.isfinite(normalised).all(axis=(1, 2))))
            raise PolicyError(
                f"policy '{policy.name}': its output is not finite for the frame stamped "
                f'{frames[row].stamp_ns} ns; expected numbers. Train or copy the model again'
            )
        self._previous = np.clip(normalised[:, 0], -1, 1)
        actions = policy.normaliser.denormalise(normalised)
        step_s = policy.contract.step_s
        return [ActionChunk(a, f.stamp_ns, step_s) for a, f in zip(actions, frames)]

    def executed(self, actions: np.ndarray) -> None:
        """Say what was done since the last step: (rows, A), SI units.

        Without it, each row is taken to have done the first action of its chunk.
        """
        self._previous = self._policy.normaliser.normalise(actions)

    def context(
        self, frames: Sequence[Frame], velocities: np.ndarray | None = None
    ) -> np.ndarray:
        """The contexts (rows, n, D), float32, that enter the head for these frames."""
        self._check(frames)
        images = [f.image for f in frames]
        with torch.inference_mode():
            velocity = self._velocity(velocities)
            return self._policy.model.context(images, self._instructions, velocity).cpu().numpy()

    def _prepare(self) -> None:
        self._prepared = None
        if None not in self._instructions:
            self.engine = self._policy.engine_for(self._instructions)
            self._prepared = self.engine.prepare(self._instructions)

    def _check(self, frames: Sequence[Frame]) -> None:
        if len(frames) != self._rows:
            raise PolicyError(f'step: found {len(frames)} frames, expected {self._rows}')
        if self._prepared is None:
            raise PolicyError('no instruction: call reset(instruction) before step')
        for frame in frames:
            self._policy.check_frame(frame)

    def _velocity(self, velocities: np.ndarray | None) -> torch.Tensor | None:
        """Velocities in SI units, normalised as the actions are; None where nothing asks."""
        policy = self._policy
        if not policy.needs_velocity:
            return None
        if velocities is None or np.shape(velocities) != self._previous.shape:
            found = None if velocities is None else np.shape(velocities)
            raise PolicyError(
                f"policy '{policy.name}' takes the base's velocity: found {found}, expected "
                f'{self._previous.shape} in SI units; the robot needs odometry in its contract'
            )
        return torch.from_numpy(policy.normaliser.normalise(velocities)).to(policy.device)

    def _inputs(self, velocity: torch.Tensor | None) -> torch.Tensor | None:
        names = self._policy.head.settings.inputs
        if not names:
            return None
        previous = torch.from_numpy(self._previous).to(self._policy.device)
        parts = {'previous_action': previous, 'velocity': velocity}
        return torch.cat([parts[name] for name in names], dim=1)


class Policy:
    """(frame, instruction, history) -> action chunk; built by `Policy.load` or from parts.

    make_engine: gives what computes; torch unless said.
    """

    def __init__(
        self, backbone: Backbone, head: Head, variant: Variant, normaliser: ActionNormaliser,
        contract: Contract, name: str = 'policy', sha256: str = '',
        make_engine: Callable[[Policy], Engine] | None = None,
    ):
        camera = contract.camera
        self.backbone = backbone
        self.head = head.to(backbone.device).eval()
        self.variant = variant
        self.reader = make_reader(
            backbone, variant, camera.height, camera.width, head.action_dim, head)
        self.normaliser = normaliser
        self.contract = contract
        self.name = name
        self.sha256 = sha256
        expected = head.context_shape
        if self.reader.shape != expected:
            raise PolicyError(
                f"policy '{name}': its backbone gives contexts of shape {self.reader.shape} for "
                f'images of {camera.width} x {camera.height}, its head expects {expected}; the '
                'head was trained with another backbone, context or image size'
            )
        rest = np.zeros((1, normaliser.action_dim), np.float32)
        self.resting_action = normaliser.normalise(rest)[0]
        self.engine = self.torch if make_engine is None else make_engine(self)
        # By a proxy: in a cycle, the weights would stay until Python's collector comes by.
        self._single = BatchPolicy(weakref.proxy(self), 1)

    @classmethod
    def load(
        cls, path: str | os.PathLike, contract: Contract | None = None,
        device: str | torch.device = 'auto', threads: int | None = None, engine: str = 'auto',
    ) -> Policy:
        """Load a checkpoint by folder or name, every hash verified.

        contract: of the robot it shall drive; a policy made for another is refused. device:
        auto takes a GPU where there is one. threads: of the CPU. engine: torch; onnx, which
        `vla_nav export` writes; auto takes onnx on a CPU where it is in order.
        """
        if engine not in ENGINES:
            raise unknown('engine', engine, ENGINES)
        checkpoint = Checkpoint.open(resolve_model(path), contract)
        if threads is not None:
            torch.set_num_threads(threads)
        device, note = device if engine == 'onnx' else pick_device(device), ''
        if engine == 'onnx' or (engine == 'auto' and device.type == 'cpu'):
            try:
                return cls._of(checkpoint, contract, *_with_onnx(checkpoint, device, threads))
            except (CheckpointError, EngineMissing) as error:
                if engine == 'onnx':
                    raise
                note = str(error)
        policy = cls._of(checkpoint, contract, _with_weights(checkpoint, device))
        policy.engine.reason = policy.engine.reason or note
        return policy

    @classmethod
    def _of(
        cls, checkpoint: Checkpoint, contract: Contract | None, backbone: Backbone,
        make_engine: Callable[[Policy], Engine] | None = None,
    ) -> Policy:
        policy = cls(
            backbone, load_head(checkpoint), checkpoint.variant, checkpoint.normaliser,
            contract or checkpoint.contract, checkpoint.name, checkpoint.sha256, make_engine,
        )
        checkpoint.check_unchanged()
        return policy

    @cached_property
    def model(self) -> PolicyModel:
        """Backbone and head in torch; loads the weights where ONNX Runtime computes."""
        camera = self.contract.camera
        return PolicyModel(
            self.backbone, self.variant, self.head, camera.height, camera.width)

    @cached_property
    def torch(self) -> Engine:
        """The engine in torch, which can be told any sentence."""
        return torch_engine(self.model)

    def engine_for(self, instructions: Sequence[str]) -> Engine:
        """The engine that is told these sentences: a graph has room for so many tokens only."""
        return self.engine if self.engine.fits(instructions) else self.torch

    @property
    def engine_in_use(self) -> Engine:
        """The one that was told the present instruction."""
        return self._single.engine

    def must_load(self, instruction: str) -> bool:
        """Whether `reset` must first read the weights, as ONNX Runtime has computed so far."""
        return 'torch' not in self.__dict__ and not self.engine.fits([instruction])

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.backbone.device

    @property
    def needs_velocity(self) -> bool:
        """Whether `step` must be given the base's velocity."""
        settings = self.head.settings
        return settings.state_token or 'velocity' in settings.inputs

    def batch(self, rows: int) -> BatchPolicy:
        """A batch of `rows` robots driven by this policy; its own state, the same weights."""
        return BatchPolicy(self, rows)

    def reset(self, instruction: str) -> None:
        """Begin an episode: a sentence, and no history. Raises InstructionError."""
        self._single.reset(instruction)

    def step(self, frame: Frame, velocity: np.ndarray | None = None) -> ActionChunk:
        """Decide on a frame; `velocity` (A,) in SI units where the head asks for it.

        Raises PolicyError before `reset`, for an image of another size, and where the result is
        not finite.
        """
        velocities = None if velocity is None else np.asarray(velocity, np.float32)[None]
        return self._single.step([frame], velocities)[0]

    def context(self, frame: Frame, velocity: np.ndarray | None = None) -> np.ndarray:
        """The context (n, D), float32, that enters the head for a frame; leaves history alone."""
        velocities = None if velocity is None else np.asarray(velocity, np.float32)[None]
        return self._single.context([frame], velocities)[0]

    def warm_up(self, steps: int = 3) -> float:
        """Run on blank frames apart from the episode; returns the last step's duration in s."""
        camera = self.contract.camera
        frame = Frame(np.zeros((camera.height, camera.width, 3), np.uint8), 0)
        batch = self.batch(1)
        batch.reset('go')
        velocities = np.zeros((1, self.normaliser.action_dim), np.float32)
        elapsed = 0.0
        for _ in range(steps):
            start = time.perf_counter()
            batch.step([frame], velocities)
            elapsed = time.perf_counter() - start
        return elapsed

    def check_frame(self, frame: Frame) -> None:
        """Raise PolicyError for an image that is not what the contract's camera gives."""
        camera, image = self.contract.camera, frame.image
        expected = (camera.height, camera.width, 3)
        if image.dtype != np.uint8 or image.shape != expected:
            raise PolicyError(
                f'frame: found {image.dtype} {image.shape}, expected uint8 {expected} (height, '
                'width, RGB) as in camera.height and camera.width of the contract'
            )


@torch.inference_mode(False)  # `reset` is in it, and this may be called there
def _with_weights(checkpoint: Checkpoint, device: torch.device | str = 'cpu') -> Backbone:
    backbone = Backbone.load(checkpoint.backbone_folder(), device=device)
    load_tuned(backbone, checkpoint.path)
    checkpoint.check_unchanged()
    return backbone


def _with_onnx(checkpoint: Checkpoint, device: torch.device | str, threads: int | None):
    """The backbone without its weights, and what makes the engine."""
    settings = read_graph_settings(checkpoint)
    backbone = Backbone.load(
        checkpoint.backbone_folder(), weights=lambda: _with_weights(checkpoint).model)
    graph = checkpoint.path / ENGINE / GRAPH

    def make_engine(policy: Policy) -> OnnxEngine:
        engine = OnnxEngine(graph, settings, backbone, policy.reader, device, threads)
        if read_graph_settings(checkpoint) != settings:
            raise CheckpointError(f'{graph}: it was changed while it was read; load it again')
        return engine

    return backbone, make_engine


def load_head(checkpoint: Checkpoint) -> Head:
    """Build a checkpoint's head and fill in its weights."""
    with torch.device('meta'):  # takes no memory, should policy.json ask for a lot
        head = build_head(
            checkpoint.variant.head, *checkpoint.context_shape, checkpoint.normaliser.action_dim,
            checkpoint.vision_shape,
        )
    try:
        head.load_state_dict(checkpoint.head_state(), assign=True)
    except RuntimeError as error:
        raise CheckpointError(
            f'{checkpoint.path / HEAD}: its weights are not those of the head in policy.json: '
            f'{" ".join(str(error).split())[:300]}'
        ) from None
    return head


def pick_device(name: str | torch.device) -> torch.device:
    """Resolve auto to the GPU where there is one; raises PolicyError for one that is not there."""
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError:
        raise PolicyError(f"device '{name}' is not known; expected auto, cpu or cuda") from None
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise PolicyError(f"device '{name}': torch sees no GPU here; use auto or cpu")
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise PolicyError(f"device '{name}': torch sees {torch.cuda.device_count()} GPU here, "
                          'counted from cuda:0')
    return device
