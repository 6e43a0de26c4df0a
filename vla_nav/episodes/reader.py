"""Read a bag, ours or anybody's, through a contract."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection

from vla_nav.contract import IMAGE_TYPES, Contract
from vla_nav.episodes.alignment import Track
from vla_nav.episodes.definitions import standard_types
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.metadata import EpisodeMetadata

CLOCKS = ('auto', 'header', 'receive')
MAX_CLOCK_OFFSET_NS = 10_000_000_000
"""Header stamps further than this from the receive times come from another clock."""
MAX_SKEW_NS = 200_000_000
"""Topics that are further apart than this, by their stamps, deserve a look."""


@dataclass(frozen=True)
class Stamps:
    """Times of the messages of one topic, in the order they were received."""

    header_ns: np.ndarray
    """int64 (N,); 0 where the message has no header."""
    receive_ns: np.ndarray
    """int64 (N,): the bag's log times."""


class BagReader:
    """One bag, opened; use as a context manager."""

    def __init__(self, path: str | os.PathLike, contract: Contract | None = None) -> None:
        """Open a bag folder or file; `contract` is needed if the bag carries none.

        Raises EpisodeError naming the file and what to do.
        """
        self.path = Path(path)
        if not self.path.exists():
            raise EpisodeError(f'{self.path} does not exist; give a bag folder')
        if self.path.is_dir() and not (self.path / 'metadata.yaml').exists():
            bags = sorted(self.path.glob('*/metadata.yaml'))
            if bags:
                raise EpisodeError(f'{self.path} holds episodes; give one of them, such as '
                                   f'{bags[0].parent}')
            if any(self.path.glob('*.mcap')):
                raise EpisodeError(f'{self.path} has no metadata.yaml: it was interrupted; '
                                   f'`vla_nav recover {self.path}` completes it')
            raise EpisodeError(f'{self.path} is no bag; a bag has a metadata.yaml')
        try:
            self._reader = AnyReader([self.path], default_typestore=standard_types())
            self._reader.open()
        except Exception as error:  # Damaged bytes can raise anything.
            raise EpisodeError(f'{self.path} cannot be read ({_said(error)}); if it was cut '
                               f'short, `vla_nav recover {self.path}` completes it, else leave '
                               'it out') from None
        try:
            custom = getattr(self._reader.readers[0], 'storage', None)
            custom = custom.metadata.custom if custom is not None else None
            self.metadata = EpisodeMetadata.from_custom_data(custom, str(self.path))
            self.contract = contract or self.metadata.contract
            if self.contract is None:
                raise EpisodeError(f'{self.path} carries no contract; give one: '
                                   '--contract config/robots/sim.yaml')
        except BaseException:
            self.close()
            raise

    @property
    def topics(self) -> dict[str, tuple[str, int]]:
        """Type and number of messages of each topic."""
        return {connection.topic: (connection.msgtype, connection.msgcount)
                for connection in self._reader.connections}

    @property
    def span_ns(self) -> tuple[int, int]:
        """Log times of the first and last message."""
        return self._reader.start_time, self._reader.end_time

    def resolve(self, topic: str) -> str | None:
        """Find the bag's name for a contract's topic, in whatever namespace it was recorded.

        Raises EpisodeError if it is there in several.
        """
        name = '/' + topic.lstrip('/')
        if topic.startswith('/') or name in self.topics:
            return name if name in self.topics else None
        found = [known for known in self.topics if known.endswith(name)]
        if len(found) > 1:
            raise EpisodeError(f'{self.path} has {" and ".join(sorted(found))}; write the one '
                               f'to use into the contract instead of {topic}')
        return found[0] if found else None

    def require(self, topic: str, msgtype: str, field: str) -> str:
        """Find a topic that must be there with this type.

        Raises EpisodeError naming the contract's `field`.
        """
        name = self.resolve(topic)
        if name is None or not self.topics[name][1]:
            same = [known for known, (kind, _) in self.topics.items() if kind in
                    (IMAGE_TYPES if msgtype in IMAGE_TYPES else (msgtype,))]
            has = f'topics of that kind: {", ".join(same)}' if same else 'none of that kind'
            raise EpisodeError(f'{self.path} has no messages on {topic} ({msgtype}); it has '
                               f'{has}. Correct {field} in the contract, or leave this bag out')
        found = self.topics[name][0]
        if found != msgtype:
            raise EpisodeError(f'{self.path} has {found} on {name}, the contract says {msgtype}; '
                               f'correct {field.rpartition(".")[0]}.type in the contract')
        return name

    def messages(self, *topics: str) -> Iterator[tuple[str, int, object]]:
        """Yield (topic, log time in ns, message) in the order of log time.

        Raises EpisodeError when damaged data is met.
        """
        connections = [c for c in self._reader.connections if c.topic in topics]
        if not connections:
            return
        try:
            for connection, time_ns, data in self._reader.messages(connections):
                yield connection.topic, time_ns, self._decode(connection, data)
        except EpisodeError:
            raise
        except Exception as error:  # As above.
            raise EpisodeError(f'{self.path} is damaged ({_said(error)}); `vla_nav recover` '
                               'completes bags that were cut short, others must be left out'
                               ) from None

    def raw_messages(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, log time in ns, serialized message) in the order of log time."""
        for connection, time_ns, data in self._reader.messages():
            yield connection.topic, time_ns, bytes(data)

    def close(self) -> None:
        """Close the files."""
        with suppress(AnyReaderError):
            self._reader.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _decode(self, connection: Connection, data: bytes) -> object:
        try:
            return self._reader.deserialize(data, connection.msgtype)
        except Exception as error:
            raise EpisodeError(f'{self.path} holds a message on {connection.topic} that is not '
                               f'{connection.msgtype} ({error}); leave the bag out') from None


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, AnyReaderError) else f'{type(error).__name__}: {error}'


def header_ns(message: object) -> int:
    """The header stamp of a message in ns, 0 if it has no header."""
    header = getattr(message, 'header', None)
    if header is None:
        return 0
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def choose_clock(stamps: Stamps, clock: str) -> str:
    """Decide whether header stamps or receive times say when a topic's messages were made.

    'auto' prefers header stamps, unless they are missing or come from another clock than the
    receive times, to which commands without header are bound.
    """
    if clock != 'auto' or not len(stamps.header_ns):
        return 'header' if clock == 'auto' else clock
    offset = np.median(np.abs(stamps.header_ns - stamps.receive_ns))
    return 'receive' if offset > MAX_CLOCK_OFFSET_NS else 'header'


def clock_doubts(what: str, stamps: Stamps, clock: str, camera: Stamps) -> list[str]:
    """What speaks against aligning a topic by `clock` with a camera's header stamps."""
    doubts = []
    if clock == 'receive' and stamps.header_ns.any():
        doubts.append(f'{what} aligned by the time of receipt: its stamps are of another clock')
    apart = _lead_ns(stamps, clock) - _lead_ns(camera, 'header')
    if len(stamps.header_ns) and abs(apart) > MAX_SKEW_NS:
        doubts.append(f'{what} {abs(apart) / 1e9:.2f} s {"ahead of" if apart > 0 else "behind"} '
                      'the camera by its stamps; if a clock is wrong, use --clock receive')
    return doubts


def _lead_ns(stamps: Stamps, clock: str) -> float:
    """How far the times that count are ahead of the receive times."""
    if clock == 'receive' or not len(stamps.header_ns):
        return 0.0
    return float(np.median(np.where(stamps.header_ns, stamps.header_ns - stamps.receive_ns, 0)))


def velocity(message: object, fields: tuple[str, str]) -> tuple[float, float]:
    """The two action fields of a Twist, TwistStamped or Odometry message, in SI units."""
    twist = message
    while hasattr(twist, 'twist'):
        twist = twist.twist
    first, second = (getattr(getattr(twist, part), axis)
                     for part, axis in (field.split('.') for field in fields))
    return float(first), float(second)


def as_track(rows: list[tuple[int, tuple[float, ...]]], width: int = 2) -> Track:
    """Collect (time in ns, values) into a Track."""
    times = np.array([time for time, _ in rows], np.int64)
    values = np.array([value for _, value in rows], np.float64).reshape(len(rows), width)
    return Track(times, values)
