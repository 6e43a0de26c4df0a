"""Hearing latched and ordinary publishers alike."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from vla_nav import rosless

rosless.ensure()

from rclpy.subscription import Subscription  # noqa: E402

from vla_nav.nodes import qos  # noqa: E402

WITH_INFO = hasattr(Subscription, 'CallbackType')
"""Whether a callback may ask when a message was sent."""
_PAIR_NS = 500_000_000
_REMEMBERED = 256


class Pairs:
    """Tells which messages of two subscriptions on one topic are new.

    A transient-local reader gets what was said before it came, but is not connected to volatile
    writers such as `ros2 topic pub`; a volatile reader hears both kinds, from now on only. What
    a latched writer said last comes again whenever its link does: it is known by when it was
    sent. Where nobody tells that, the same from both within half a second is taken for one.
    """

    def __init__(self) -> None:
        self._sent: deque = deque(maxlen=_REMEMBERED)
        self._heard: tuple[deque, deque] = (deque(maxlen=32), deque(maxlen=32))

    def is_new(self, source: int, content: object, sent_ns: int = 0) -> bool:
        """Whether this, heard by subscription 0 or 1, was not heard before."""
        if sent_ns > 0:
            message = sent_ns, hash(content)
            new = message not in self._sent
            if new:
                self._sent.append(message)
            return new
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
            if WITH_INFO:
                return lambda message, info: pairs.is_new(
                    source, message.data, info['source_timestamp']) and callback(message)
            return lambda message: pairs.is_new(source, message.data) and callback(message)

        self._subscriptions = [
            node.create_subscription(kind, topic, once(0), qos.RELIABLE,
                                     callback_group=callback_group, **events),
            node.create_subscription(kind, topic, once(1), qos.LATCHED,
                                     callback_group=callback_group, **qos.SILENT)]
