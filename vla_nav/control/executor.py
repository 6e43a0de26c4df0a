"""From an action chunk to the action of this moment."""

from __future__ import annotations

import numpy as np

from vla_nav.contract import ACTION_DIM, ActionChunk
from vla_nav.errors import VlaNavError

STEP_LIMITS_S = (0.001, 10.0)


class ChunkError(VlaNavError):
    """A policy gave something that cannot be driven."""


def check_chunk(chunk: ActionChunk) -> None:
    """Raise ChunkError unless `chunk` holds finite actions (K, 2) and a sensible step."""
    actions = chunk.actions
    if not isinstance(actions, np.ndarray) or actions.dtype.kind != 'f':
        kind = getattr(actions, 'dtype', type(actions).__name__)
        raise ChunkError(f'policy gave actions of type {kind}; expected a float32 array (K, 2)')
    if actions.ndim != 2 or actions.shape[0] == 0 or actions.shape[1] != ACTION_DIM:
        raise ChunkError(f'policy gave actions of shape {actions.shape}; expected (K, 2), K >= 1')
    finite = np.isfinite(actions)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ChunkError(f'policy gave {actions[row, column]} in step {row}, field {column}; '
                         'expected finite numbers; resume tries again, another model may do')
    low, high = STEP_LIMITS_S
    if not low <= chunk.step_s <= high:
        raise ChunkError(f'policy gave a step of {chunk.step_s} s; expected {low} to {high}')


class ChunkExecutor:
    """Executes the newest chunk, from the step that belongs to the present moment on.

    Row k of a chunk is meant for the time k steps after its frame was taken. The time that the
    image, the policy and the way here took is thus skipped, not driven late.
    """

    def __init__(self, horizon: int, interpolate: bool = False) -> None:
        self._horizon = horizon
        self._interpolate = interpolate
        self.clear()

    def clear(self) -> None:
        """Forget the chunk."""
        self._actions: list[list[float]] = []
        self._stamp_ns = 0
        self._step_ns = 1
        self._end = 0
        self.late_s = 0.0

    @property
    def stamp_ns(self) -> int:
        """Stamp of the frame behind the chunk."""
        return self._stamp_ns

    @property
    def empty(self) -> bool:
        """Whether there is no chunk at all."""
        return not self._actions

    def accept(self, chunk: ActionChunk, now_ns: int) -> None:
        """Replace the chunk by a newer one. Raises ChunkError and keeps the old one."""
        check_chunk(chunk)
        self._actions = chunk.actions.tolist()
        self._stamp_ns = int(chunk.stamp_ns)
        self._step_ns = int(round(chunk.step_s * 1e9))
        first = max(0, (now_ns - self._stamp_ns) // self._step_ns)
        self._end = min(len(self._actions), first + self._horizon)
        # How long ago the whole chunk was over when it came: the policy is slower than its chunk.
        over_ns = now_ns - self._stamp_ns - len(self._actions) * self._step_ns
        self.late_s = max(0.0, over_ns / 1e9)

    def target(self, now_ns: int) -> tuple[float, float] | None:
        """The action meant for `now_ns`; None if there is none or the horizon is reached."""
        elapsed = max(0, now_ns - self._stamp_ns)
        index = elapsed // self._step_ns
        if index >= self._end:
            return None
        v0, v1 = self._actions[index]
        if self._interpolate and index + 1 < len(self._actions):
            part = (elapsed - index * self._step_ns) / self._step_ns
            next0, next1 = self._actions[index + 1]
            v0, v1 = v0 + part * (next0 - v0), v1 + part * (next1 - v1)
        return v0, v1
