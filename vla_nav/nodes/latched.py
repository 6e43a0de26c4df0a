"""Hearing latched and ordinary publishers alike."""

from __future__ import annotations

import time
from collections import deque

from vla_nav.nodes import qos

_PAIR_NS = 500_000_000


class LatchedSubscription:
    """Two subscriptions on one topic, each message handled once.

    A transient-local reader gets what was said before it came, but is not connected to volatile
    writers such as `ros2 topic pub`; a volatile reader hears both kinds, from now on only. A
    message of a latched writer that arrives twice within half a second is taken for one.
    """

    def __init__(self, node, kind, topic: str, callback, callback_group=None, **events) -> None:
        self._callback = callback
        self._seen: tuple[deque, deque] = (deque(maxlen=32), deque(maxlen=32))
        self._subscriptions = [
            node.create_subscription(kind, topic, lambda message: self._take(0, message),
                                     qos.RELIABLE, callback_group=callback_group, **events),
            node.create_subscription(kind, topic, lambda message: self._take(1, message),
                                     qos.LATCHED, callback_group=callback_group,
                                     **qos.SILENT)]

    def _take(self, source: int, message) -> None:
        now_ns = time.monotonic_ns()
        other = self._seen[1 - source]
        while other and now_ns - other[0][1] > _PAIR_NS:
            other.popleft()
        for entry in other:
            if entry[0] == message.data:
                other.remove(entry)
                return
        self._seen[source].append((message.data, now_ns))
        self._callback(message)
