"""A queue between subscriptions and a disk: bounded in bytes, never blocking, counting drops."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

JUMP_NS = 1_000_000_000
"""Messages of several threads may be out of order by less than this."""
SMALL_BYTES = 65_536
SMALL_RESERVE = 1 / 8
"""Share of the queue that is kept for small messages: an image lost is worth less than the
commands of a second."""


@dataclass(frozen=True)
class Received:
    """A serialized message as it came in."""

    topic: str
    data: bytes
    log_ns: int
    publish_ns: int


class BoundedQueue:
    """Messages on their way to the disk. One thread takes, any thread puts."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.dropped: Counter[str] = Counter()
        """Messages per topic that found no room."""
        self._messages: deque[Received] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are queued or being written."""
        return self._bytes

    def put(self, message: Received) -> bool:
        """Append a message, or drop and count it if there is no room."""
        size = len(message.data)
        limit = self.limit_bytes
        if size > SMALL_BYTES:
            limit -= round(limit * SMALL_RESERVE)
        with self._changed:
            if self._bytes + size > limit:
                self.dropped[message.topic] += 1
                return False
            self._append(message)
        return True

    def put_all(self, messages: list[Received]) -> None:
        """Append messages that are in memory anyway, whatever the limit."""
        with self._changed:
            for message in messages:
                self._append(message)

    def take(self, timeout_s: float) -> list[Received]:
        """Take everything there is, waiting at most `timeout_s` for the first message."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._closed, timeout_s)
            taken = list(self._messages)
            self._messages.clear()
            return taken

    def written(self, message: Received) -> None:
        """Give back the room of a message that was taken."""
        with self._changed:
            self._bytes -= len(message.data)

    def close(self) -> None:
        """Wake the taker: nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def _append(self, message: Received) -> None:
        self._messages.append(message)
        self._bytes += len(message.data)
        self._changed.notify()


class Latched:
    """The last messages of a latched topic that differ; all of them, if it has many publishers."""

    LIMIT_BYTES = 1_000_000
    """More than one is kept as long as they have no more bytes than this."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: list[Received] = []

    def put(self, message: Received) -> None:
        """Keep a message; the oldest give way."""
        kept = [each for each in self._messages if each.data != message.data] + [message]
        while len(kept) > 1 and (len(kept) > self._limit or
                                 sum(len(each.data) for each in kept) > self.LIMIT_BYTES):
            del kept[0]
        self._messages = kept

    def messages(self) -> list[Received]:
        """Those kept, the oldest first."""
        return list(self._messages)


class PreRoll:
    """The last seconds before an episode, bounded in time and bytes; the oldest give way."""

    def __init__(self, span_s: float, limit_bytes: int) -> None:
        self._span_ns = round(span_s * 1e9)
        self._limit_bytes = limit_bytes
        self._messages: deque[Received] = deque()
        self._bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """Bytes kept."""
        return self._bytes

    def put(self, message: Received) -> None:
        """Keep a message for a while."""
        if self._messages and message.log_ns < self._messages[-1].log_ns - JUMP_NS:
            self.take(message.log_ns)  # the clock was set back: the others are of another time
        self._messages.append(message)
        self._bytes += len(message.data)
        oldest_ns = message.log_ns - self._span_ns
        while self._messages and (self._bytes > self._limit_bytes
                                  or self._messages[0].log_ns < oldest_ns):
            self._bytes -= len(self._messages.popleft().data)

    def take(self, now_ns: int) -> list[Received]:
        """Hand over what is not too old, and begin anew."""
        kept = [message for message in self._messages
                if -self._span_ns <= message.log_ns - now_ns <= JUMP_NS]
        self._messages.clear()
        self._bytes = 0
        return kept
