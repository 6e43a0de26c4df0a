"""Live figures of a recorded topic: rate, bytes, gaps, silence."""

from __future__ import annotations

import statistics
import struct
from collections import deque
from dataclasses import dataclass

from vla_nav.episodes.definitions import standard_types

WINDOW_NS = 3_000_000_000
PERIODS = 31
"""The expected period is the median of this many."""
MIN_PERIODS = 5
GAP = 1.5
"""A distance of stamps above this many periods is a gap."""


@dataclass(frozen=True)
class TopicFigures:
    """A topic at one moment."""

    messages: int
    size_bytes: int
    rate_hz: float
    gaps: int
    """Messages missing by their header stamps, against the usual period."""
    silent_s: float
    """Since the last message, or since the episode began."""


class TopicMeter:
    """Counts the messages of one topic; times are log times."""

    def __init__(self, msgtype: str) -> None:
        self._stamped = _begins_with_header(msgtype)
        self._recent: deque[int] = deque()
        self._periods: deque[int] = deque(maxlen=PERIODS)
        self._last_stamp_ns = 0
        self._last_ns: int | None = None
        self.restart(0)

    def restart(self, now_ns: int) -> None:
        """Begin to count for a new episode."""
        self._messages = self._bytes = self._gaps = 0
        self._since_ns = now_ns

    def add(self, data: bytes, now_ns: int) -> None:
        """Note a serialized message."""
        if self._last_ns is not None and now_ns < self._last_ns - WINDOW_NS:
            self._recent.clear()  # the clock was set back
            self._since_ns = now_ns
        self._messages += 1
        self._bytes += len(data)
        self._last_ns = now_ns
        self._recent.append(now_ns)
        self._forget(now_ns)
        stamp_ns = self._stamp(data)
        if stamp_ns:
            self._count_gaps(stamp_ns)

    def figures(self, now_ns: int) -> TopicFigures:
        """The figures at `now_ns`."""
        self._forget(now_ns)
        recent = self._recent
        span = recent[-1] - recent[0] if len(recent) > 1 else 0
        since = self._since_ns if self._last_ns is None else max(self._since_ns, self._last_ns)
        return TopicFigures(
            self._messages, self._bytes, (len(recent) - 1) / span * 1e9 if span > 0 else 0.0,
            self._gaps, max(0.0, (now_ns - since) / 1e9))

    def _forget(self, now_ns: int) -> None:
        while self._recent and self._recent[0] < now_ns - WINDOW_NS:
            self._recent.popleft()

    def _stamp(self, data: bytes) -> int:
        if not self._stamped or len(data) < 12:
            return 0
        # CDR: 4 bytes of encapsulation, the second says the byte order; then the header's time.
        sec, nanosec = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, 4)
        return sec * 1_000_000_000 + nanosec

    def _count_gaps(self, stamp_ns: int) -> None:
        distance, self._last_stamp_ns = stamp_ns - self._last_stamp_ns, stamp_ns
        if distance <= 0 or distance == stamp_ns:
            return
        if len(self._periods) >= MIN_PERIODS:
            period = statistics.median(self._periods)
            if distance > GAP * period:
                self._gaps += round(distance / period) - 1
        self._periods.append(distance)


def _begins_with_header(msgtype: str) -> bool:
    definition = standard_types().fielddefs.get(msgtype)
    return bool(definition and definition[1]
                and definition[1][0][1][1] == 'std_msgs/msg/Header')
