"""Which frame, command and state belong together: the one alignment of recordings.

Frames are chosen by frames.Pacer from their stamps alone, as the drive node chooses them, so a
dataset holds exactly the frames a policy would have seen. The action of a frame is the command
that was in force at the middle of the step that begins with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_nav.frames import Pacer


@dataclass(frozen=True)
class Track:
    """Values over time, each in force until the next."""

    times_ns: np.ndarray
    """int64 (N,), not decreasing."""
    values: np.ndarray
    """float64 (N, D)."""

    def at(self, times_ns: np.ndarray, before: np.ndarray | float = 0.0) -> np.ndarray:
        """Values in force at `times_ns` (M,), `before` where there was none yet: (M, D)."""
        index = np.searchsorted(self.times_ns, times_ns, side='right') - 1
        if not len(self.times_ns):
            return np.full((len(times_ns), self.values.shape[1]), before)
        return np.where(index[:, None] >= 0, self.values[np.maximum(index, 0)], before)


@dataclass(frozen=True)
class Timing:
    """How well a stretch of frames keeps to the contract's rate."""

    gaps: int
    """Steps without a frame of their own."""
    error_mean_s: float
    """Mean distance of a frame from the even grid that the dataset assumes."""
    error_max_s: float


def choose_frames(stamps_ns: np.ndarray, rate_hz: float) -> np.ndarray:
    """Indices (M,) of the frames a policy at `rate_hz` sees of a camera's stamps (N,)."""
    pacer = Pacer(rate_hz)
    return np.flatnonzero([pacer.admit(int(stamp)) for stamp in stamps_ns])


def actions_at(stamps_ns: np.ndarray, commands: Track, teleop: Track, spans: np.ndarray,
               step_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the action of each frame, float32 (M, 2), and whether a human took over, bool (M,).

    `spans` (S, 2) are the times in ns in which the commands of `teleop` count instead.
    """
    middle = stamps_ns + round(step_s * 1e9 / 2)
    human = inside(middle, spans)
    actions = commands.at(middle)
    if human.any() and len(teleop.times_ns):
        actions[human] = teleop.at(middle[human])
    return actions.astype(np.float32), human


def inside(times_ns: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Whether each time lies in one of the spans (S, 2), each [start, stop): bool (M,)."""
    if not len(spans):
        return np.zeros(len(times_ns), bool)
    starts, stops = np.asarray(spans).T
    return ((times_ns[:, None] >= starts) & (times_ns[:, None] < stops)).any(axis=1)


def takeover_spans(times_ns: np.ndarray, hold_s: float) -> np.ndarray:
    """Spans int64 (S, 2) from each first human command to `hold_s` after the last."""
    if not len(times_ns):
        return np.zeros((0, 2), np.int64)
    hold_ns = round(hold_s * 1e9)
    first = np.flatnonzero(np.diff(times_ns, prepend=times_ns[0] - hold_ns - 1) > hold_ns)
    last = np.append(first[1:] - 1, len(times_ns) - 1)
    return np.stack([times_ns[first], times_ns[last] + hold_ns], axis=1)


def split_at_gaps(stamps_ns: np.ndarray, max_gap_s: float) -> list[slice]:
    """Cut where no frame came for longer than `max_gap_s`."""
    cuts = np.flatnonzero(np.diff(stamps_ns) > max_gap_s * 1e9) + 1
    edges = [0, *cuts.tolist(), len(stamps_ns)]
    return [slice(a, b) for a, b in zip(edges, edges[1:]) if b > a]


def trim_idle(actions: np.ndarray, idle_speed: tuple[float, float], keep: int) -> slice:
    """The stretch without idle ends; `keep` idle rows stay at each end, to learn stopping.

    Empty if the robot never moved.
    """
    moving = np.flatnonzero((np.abs(actions) > np.asarray(idle_speed)).any(axis=1))
    if not len(moving):
        return slice(0, 0)
    return slice(max(0, moving[0] - keep), min(len(actions), moving[-1] + 1 + keep))


def timing(stamps_ns: np.ndarray, step_s: float) -> Timing:
    """Judge how evenly a stretch of frames is spaced."""
    step_ns = step_s * 1e9
    steps = np.maximum(np.round(np.diff(stamps_ns) / step_ns), 1)
    error = np.abs(np.diff(stamps_ns) - step_ns) / 1e9
    return Timing(int((steps - 1).sum()), float(error.mean()) if len(error) else 0.0,
                  float(error.max()) if len(error) else 0.0)
