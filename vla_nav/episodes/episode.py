"""From a bag to aligned episodes: what the policy saw, what was done, what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from vla_nav.contract import Contract
from vla_nav.episodes.alignment import (
    Timing,
    Track,
    actions_at,
    choose_frames,
    split_at_gaps,
    takeover_spans,
    timing,
    trim_idle,
)
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.metadata import EpisodeMetadata
from vla_nav.episodes.reader import (
    CLOCKS,
    BagReader,
    Stamps,
    as_track,
    choose_clock,
    clock_doubts,
    header_ns,
    velocity,
)
from vla_nav.frames import FrameError, decode_image, prepare_image

T = TypeVar('T')
MAX_UNREADABLE = 0.1
"""Share of a bag's frames; with more than that, the camera was not in order."""


class UnreadableFramesError(EpisodeError):
    """Some frames cannot be decoded."""

    def __init__(self, text: str, messages: frozenset[int]) -> None:
        super().__init__(text)
        self.messages = messages


@dataclass(frozen=True)
class AlignSettings:
    """How bags become episodes."""

    instruction: str = ''
    """For bags that have none."""
    clock: str = 'auto'
    """Whose time counts: 'header' stamps, the 'receive' time, or 'auto'."""
    trim: bool = True
    keep_idle_s: float = 0.5
    """How much standing still stays at each end, so that stopping can be learnt."""
    max_gap_s: float = 0.5
    """Longer camera silence cuts the episode in two."""
    takeover_hold_s: float = 1.0
    """For bags without intervention marks: how long a human command on the teleop topic counts."""

    def __post_init__(self) -> None:
        if self.clock not in CLOCKS:
            raise EpisodeError(f'clock is {self.clock!r}; expected one of {", ".join(CLOCKS)}')
        for name in ('keep_idle_s', 'max_gap_s', 'takeover_hold_s'):
            if not getattr(self, name) >= 0:
                raise EpisodeError(f'{name} is {getattr(self, name)}; expected 0 or more')


@dataclass(frozen=True)
class Episode:
    """One stretch of aligned rows. N rows at the contract's rate."""

    messages: np.ndarray
    """int64 (N,): which of the camera topic's messages each row shows."""
    stamps_ns: np.ndarray
    """int64 (N,): when its frame was taken."""
    actions: np.ndarray
    """float32 (N, 2), SI units."""
    state: np.ndarray | None
    """float32 (N, 2): the same two fields as measured, if the contract has odometry."""
    intervention: np.ndarray
    """bool (N,): a human had taken over from the policy."""
    instructions: tuple[str, ...]
    """The instruction in force in each row."""
    timing: Timing

    def __len__(self) -> int:
        return len(self.stamps_ns)


@dataclass(frozen=True)
class Recording:
    """Everything a bag yields, except the images, which frames() decodes on the way."""

    metadata: EpisodeMetadata
    contract: Contract
    episodes: tuple[Episode, ...]
    camera: str
    """The camera topic as the bag names it."""
    trimmed_s: tuple[float, float]
    """Idle time cut at head and tail."""
    clock: str
    frames_seen: int
    """Messages on the camera topic."""
    warnings: tuple[str, ...]
    """What a person should know of it."""


@dataclass
class _Rows:
    stamps: list[tuple[int, int]] = field(default_factory=list)
    commands: list = field(default_factory=list)
    teleop: list = field(default_factory=list)
    odometry: list = field(default_factory=list)
    instructions: list[tuple[int, str]] = field(default_factory=list)


def with_frames(bag: BagReader, settings: AlignSettings, use: Callable[[Recording], T]) -> T:
    """Align a bag and return what `use`, which runs through its frames(), returns.

    If some of them cannot be decoded it is aligned, and used, again without them.
    """
    unreadable: frozenset[int] = frozenset()
    while True:
        try:
            return use(align(bag, settings, unreadable))
        except UnreadableFramesError as error:
            unreadable |= error.messages


def align(bag: BagReader, settings: AlignSettings, unreadable: frozenset[int] = frozenset()
          ) -> Recording:
    """Align a bag's messages at its contract's rate.

    The camera's `unreadable` ones count as if they had not come, as in the drive node. Raises
    EpisodeError for a bag without camera, commands, instruction or motion, with stamps that go
    backwards, or with commands that are not finite.
    """
    contract = bag.contract
    camera = bag.require(contract.camera.topic, contract.camera.type, 'camera.topic')
    rows = _read(bag, camera)
    stamps = _stamps(rows.stamps)
    clock = choose_clock(stamps, settings.clock)
    times = stamps.header_ns if clock == 'header' else stamps.receive_ns
    _check_order(bag, camera, times, clock)
    tracks, warnings = [], []
    for found, what in ((rows.commands, 'command'), (rows.teleop, 'teleop command'),
                        (rows.odometry, 'odometry')):
        own = choose_clock(_stamps(found), settings.clock) if clock == 'header' else clock
        tracks.append(_track(bag, found, own, what))
        if clock == 'header':
            warnings += clock_doubts(what, _stamps(found), own, stamps)
    commands, teleop, odometry = tracks
    if unreadable:
        warnings.append(f'{len(unreadable)} frames of the bag cannot be decoded')
    usable = np.setdiff1d(np.arange(len(times)), list(unreadable))
    chosen = usable[choose_frames(times[usable], contract.rate_hz)]
    seen = times[chosen]
    spans = np.array(bag.metadata.interventions, np.int64).reshape(-1, 2)
    if not bag.metadata.started:
        spans = takeover_spans(teleop.times_ns, settings.takeover_hold_s)
    actions, human = actions_at(seen, commands, teleop, spans, contract.step_s)
    kept = slice(0, len(seen))
    if settings.trim:
        kept = trim_idle(actions, contract.idle_speed,
                         round(settings.keep_idle_s * contract.rate_hz))
    if kept.stop - kept.start < 2:
        raise EpisodeError(
            f'{bag.path} has nothing to learn from: {len(seen)} frames, and no command above '
            f'idle_speed {list(contract.idle_speed)}; leave it out, or use --no-trim')
    instructions = _instructions(bag, rows, seen, settings)
    state = odometry.at(seen).astype(np.float32) if rows.odometry else None
    episodes = []
    for part in split_at_gaps(seen[kept], max(settings.max_gap_s, 1.5 * contract.step_s)):
        part = slice(kept.start + part.start, kept.start + part.stop)
        if part.stop - part.start < 2:
            continue
        episodes.append(Episode(
            chosen[part], seen[part], actions[part], None if state is None else state[part],
            human[part], tuple(instructions[part]), timing(seen[part], contract.step_s)))
    if not episodes:
        raise EpisodeError(f'{bag.path} has no two frames within {settings.max_gap_s} s of each '
                           'other; raise --max-gap or leave it out')
    trimmed = ((seen[kept.start] - seen[0]) / 1e9, (seen[-1] - seen[kept.stop - 1]) / 1e9)
    return Recording(bag.metadata, contract, tuple(episodes), camera, trimmed, clock, len(times),
                     tuple(warnings))


def frames(bag: BagReader, recording: Recording
           ) -> Iterator[tuple[int, int, np.ndarray, tuple[int, int]]]:
    """Yield (episode, row, image, size) for every row, in order.

    The image is what the policy sees, uint8 (H, W, 3) RGB; size is width and height of the
    camera's own image. Raises EpisodeError when the size of the images changes or too many
    cannot be decoded; at the end UnreadableFramesError if a few cannot.
    """
    wanted = {int(message): (number, row)
              for number, episode in enumerate(recording.episodes)
              for row, message in enumerate(episode.messages)}
    size = None
    unreadable: dict[int, str] = {}
    for index, (_, _, message) in enumerate(bag.messages(recording.camera)):
        if index not in wanted:
            continue
        try:
            image = decode_image(message)
        except FrameError as error:
            unreadable[index] = str(error)
            continue
        size = size or image.shape
        if image.shape != size:
            raise EpisodeError(
                f'{bag.path}: images on {recording.camera} change from {size[1]}x{size[0]} to '
                f'{image.shape[1]}x{image.shape[0]} at message {index}; do two cameras publish '
                'there? Record them on topics of their own')
        yield (*wanted[index], prepare_image(image, recording.contract.camera),
               (size[1], size[0]))
    if unreadable:
        first, error = next(iter(unreadable.items()))
        text = (f'{bag.path}: {len(unreadable)} of {len(wanted)} frames on {recording.camera} '
                f'cannot be decoded, the first is message {first}: {error}; correct what '
                'publishes there, or leave the bag out')
        if len(unreadable) > MAX_UNREADABLE * len(wanted):
            raise EpisodeError(text)
        raise UnreadableFramesError(text, frozenset(unreadable))


def _read(bag: BagReader, camera: str) -> _Rows:
    contract = bag.contract
    command = bag.require(contract.command.topic, contract.command.type, 'command.topic')
    optional = {
        'teleop': bag.resolve(contract.teleop_topic),
        'odometry': contract.odometry and bag.require(
            contract.odometry.topic, contract.odometry.type, 'odometry.topic'),
        'instructions': bag.resolve(contract.instruction_topic),
    }
    kinds = {command: 'commands',
             **{topic: kind for kind, topic in optional.items() if topic}, camera: 'stamps'}
    rows = _Rows()
    for topic, time_ns, message in bag.messages(*kinds):
        kind = kinds[topic]
        stamp = header_ns(message)
        if kind == 'stamps':
            rows.stamps.append((stamp, time_ns))
        elif kind == 'instructions':
            rows.instructions.append((time_ns, getattr(message, 'data', '').strip()))
        else:
            value = velocity(message, contract.command.fields)
            getattr(rows, kind).append((stamp, time_ns, value))
    return rows


def _stamps(rows: list[tuple]) -> Stamps:
    return Stamps(*np.array([row[:2] for row in rows], np.int64).reshape(-1, 2).T)


def _check_order(bag: BagReader, topic: str, times_ns: np.ndarray, clock: str) -> None:
    back = np.flatnonzero(np.diff(times_ns) < 0)
    if len(back):
        index = int(back[0]) + 1
        step = (times_ns[index - 1] - times_ns[index]) / 1e9
        remedy = ('use --clock receive to align by the time of receipt, or leave it out'
                  if clock == 'header' else 'leave the bag out')
        raise EpisodeError(f'{bag.path}: stamps on {topic} go backwards by {step:.3f} s at '
                           f'message {index}; {remedy}')


def _track(bag: BagReader, rows: list[tuple[int, int, tuple[float, float]]], clock: str,
           what: str) -> Track:
    """Order by the chosen clock; messages without header have only the receive time."""
    track = as_track(sorted(((stamp if clock == 'header' and stamp else time, value)
                             for stamp, time, value in rows), key=lambda row: row[0]))
    if not np.isfinite(track.values).all():
        index = int(np.flatnonzero(~np.isfinite(track.values).all(axis=1))[0])
        raise EpisodeError(f'{bag.path}: {what} {index} is {track.values[index].tolist()}, not '
                           'finite; leave the bag out and mend its source')
    return track


def _instructions(bag: BagReader, rows: _Rows, stamps_ns: np.ndarray,
                  settings: AlignSettings) -> list[str]:
    given = [(time, text) for time, text in rows.instructions if text]
    if not given:
        text = bag.metadata.instruction or settings.instruction
        if not text:
            raise EpisodeError(f'{bag.path} has no instruction; give one with '
                               '--instruction "go to the red cone"')
        return [text] * len(stamps_ns)
    times = np.array([time for time, _ in given])
    index = np.maximum(np.searchsorted(times, stamps_ns, side='right') - 1, 0)
    return [given[i][1] for i in index]
