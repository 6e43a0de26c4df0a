"""Hearing latched and ordinary publishers alike."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from vla_nav.nodes import qos

_PAIR_NS = 500_000_000


class Pairs:
    """Tells which messages of two subscriptions on one topic are new.

    A transient-local reader gets what was said before it came, but is not connected to volatile
    writers such as `ros2 topic pub`; a volatile reader hears both kinds, from now on only. A
    message of a latched writer that arrives twice within half a second is taken for one.
    """

    def __init__(self) -> None:
        self._heard: tuple[deque, deque] = (deque(maxlen=32), deque(maxlen=32))

    def is_new(self, source: int, content: object) -> bool:
        """Whether this, heard by subscription 0 or 1, is not what the other one just heard."""
        now_ns = time.monotonic_ns()
        other = self._heard[1 - source]
        while other and now_ns - other[0][1] > _PAIR_NS:
            other.popleft()
        for entry in other:
            if entry[0] == content:
                other.remove(entry)
                return False
        self._heard[source].append((content, now_ns))
        return True


class LatchedSubscription:
    """Two subscriptions on one topic of a std_msgs type, each message handled once."""

    def __init__(self, node, kind, topic: str, callback, callback_group=None, **events) -> None:
        pairs = Pairs()

        def once(source: int) -> Callable:
            return lambda message: pairs.is_new(source, message.data) and callback(message)

        self._subscriptions = [
            node.create_subscription(kind, topic, once(0), qos.RELIABLE,
                                     callback_group=callback_group, **events),
            node.create_subscription(kind, topic, once(1), qos.LATCHED,
                                     callback_group=callback_group, **qos.SILENT)]
