"""What computes a decision: torch or ONNX Runtime, with the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from vla_nav.policy.capture import Captured
from vla_nav.policy.heads import HeadState
from vla_nav.policy.model import PolicyModel
from vla_nav.policy.prompts import Tokens
from vla_nav.policy.static import Feed, StaticError, StaticForward, refuse_static

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""How far another form of a model may be from transformers' own, in normalised actions."""
FORMS = 64
"""Lengths of prompt for which the form of fixed shapes is kept."""
BUCKET = 16
"""On a GPU prompts are padded to multiples of this, so that one graph serves many sentences."""


class Engine(Protocol):
    """Computes decisions."""

    name: str
    """For people, such as `onnx (CPU)`."""
    reason: str
    """Why it is not a quicker one, where it might be."""

    def fits(self, instructions: Sequence[str]) -> bool:
        """Whether it can be told these sentences."""

    def prepare(self, instructions: Sequence[str]) -> Any:
        """Compute what depends on the instructions alone, one for each row."""

    def decide(
        self, images: Sequence[np.ndarray], prepared: Any, state: HeadState,
        inputs: torch.Tensor | None = None, velocity: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, HeadState]:
        """Normalised chunks (B, K, A) for uint8 frames, one per row, and the state after them.

        inputs: (B, extra) and velocity: (B, A), normalised, where the head asks.
        """


class TransformersEngine:
    """The model's own forward in transformers: every family, every decode."""

    def __init__(self, model: PolicyModel, reason: str = ''):
        self.model = model
        self.name = 'torch (transformers)'
        self.reason = reason

    def fits(self, instructions: Sequence[str]) -> bool:
        return True

    def prepare(self, instructions: Sequence[str]) -> Tokens:
        return self.model.tokens(instructions)

    def decide(
        self, images: Sequence[np.ndarray], prepared: Tokens, state: HeadState,
        inputs: torch.Tensor | None = None, velocity: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, HeadState]:
        batch = {**prepared, **self.model.backbone.pixels(images)}
        return self.model.decide(batch, state, inputs, velocity)


class StaticEngine:
    """The form of fixed shapes; on a GPU captured as a CUDA graph."""

    def __init__(self, model: PolicyModel):
        refuse_static(model)
        self.model = model
        self._forms: dict[int, StaticForward] = {}
        self._graphs: dict[tuple[StaticForward, int], Captured] = {}
        self._captures = model.backbone.device.type == 'cuda'
        self.reason = ''
        self._compare()

    @property
    def name(self) -> str:
        return 'torch (CUDA graph)' if self._captures and not self.reason else 'torch'

    def fits(self, instructions: Sequence[str]) -> bool:
        return True

    @torch.inference_mode()
    def prepare(self, instructions: Sequence[str]) -> tuple[StaticForward, Feed]:
        batch = self.model.tokens(instructions)
        length = batch['input_ids'].shape[1]
        form = self._form(-(-length // BUCKET) * BUCKET if self._captures else length)
        return form, form.prompt(form.prepare(batch))

    @torch.inference_mode()
    def decide(
        self, images: Sequence[np.ndarray], prepared: tuple[StaticForward, Feed],
        state: HeadState, inputs: torch.Tensor | None = None,
        velocity: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, HeadState]:
        form, words = prepared
        feed = {**words, **self._frames(form, images), **state.tensors()}
        feed |= {k: v for k, v in (('inputs', inputs), ('velocity', velocity)) if v is not None}
        step = self._graph(form, feed) if self._captures else form.step
        fetched = step(feed)
        return fetched['chunk'], HeadState.of(fetched)

    def _form(self, length: int) -> StaticForward:
        if length not in self._forms:
            if len(self._forms) >= FORMS:
                oldest = self._forms.pop(next(iter(self._forms)))
                self._graphs = {k: v for k, v in self._graphs.items() if k[0] is not oldest}
            self._forms[length] = StaticForward(self.model, length).eval()
        return self._forms[length]

    def _graph(self, form: StaticForward, feed: Feed) -> Captured:
        key = (form, len(feed['words']), frozenset(feed))
        if key not in self._graphs:
            self._graphs[key] = Captured(form.step, feed)
            self.reason = self.reason or self._graphs[key].reason or ''
        return self._graphs[key]

    def _frames(self, form: StaticForward, images: Sequence[np.ndarray]) -> Feed:
        backbone, reader = self.model.backbone, self.model.reader
        if form.image_name == 'pixels':
            return {'pixels': backbone.pixels(images)['pixel_values']}
        convert = backbone.reader(reader.height, reader.width)
        for image in images:
            convert.check(image)
        frames = images[0][None] if len(images) == 1 else np.stack(images)
        return {'image': torch.from_numpy(frames).to(backbone.device, non_blocking=True)}

    def _compare(self) -> None:
        """Raise StaticError unless the numbers are those of transformers' own forward."""
        own, rng = TransformersEngine(self.model), np.random.default_rng(0)
        reader, head = self.model.reader, self.model.head
        image = rng.integers(0, 256, (reader.height, reader.width, 3), dtype=np.uint8)
        device = self.model.backbone.device
        extra = len(head.settings.inputs) * head.action_dim
        inputs = torch.zeros(1, extra, device=device) if extra else None
        velocity = None if head.state_encoder is None else torch.zeros(
            1, head.action_dim, device=device)
        chunks = [
            engine.decide([image], engine.prepare(['go there']), head.initial_state(1), inputs,
                          velocity)[0]
            for engine in (own, self)
        ]
        error = float((chunks[0] - chunks[1]).abs().max())
        if not error <= TOLERANCE[self.model.backbone.dtype]:
            raise StaticError(
                f"its form of fixed shapes is off by {error:.2g} from transformers' own forward"
            )


def torch_engine(model: PolicyModel) -> StaticEngine | TransformersEngine:
    """The quickest engine in torch that gives a model's numbers."""
    try:
        return StaticEngine(model)
    except StaticError as error:
        return TransformersEngine(model, str(error))
    except Exception as error:  # Parts of a model may have other names in another transformers.
        return TransformersEngine(model, f'{type(error).__name__}: {error}')
