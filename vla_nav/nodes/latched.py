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
    a latched writer said last comes again, to both, whenever its link does: it is known by when
    it was sent. Where nobody tells that, the same from both within half a second is taken for one.
    """

    def __init__(self) -> None:
        self._sent: dict[tuple[int, int], tuple[int, bool, bool]] = {}
        """When each was heard first, whether it is latched, and whether it was heeded."""
        self._heard: tuple[deque, deque] = (deque(maxlen=32), deque(maxlen=32))

    def is_new(self, source: int, content: object, sent_ns: int = 0, heeded: bool = True) -> bool:
        """Whether this, heard by subscription 0 or 1, is new; not `heeded`, the other's may be."""
        now_ns = time.monotonic_ns()
        if sent_ns > 0:
            message = sent_ns, hash(content)
            first_ns, latched, done = self._sent.pop(message, (now_ns, False, False))
            new = not done and now_ns - first_ns <= _PAIR_NS
            self._sent[message] = first_ns, latched or source == 1, done or (new and heeded)
            if len(self._sent) > _REMEMBERED:
                # What a link may repeat is remembered longest.
                del self._sent[next((key for key, (_, latched, _) in self._sent.items()
                                     if not latched), next(iter(self._sent)))]
            return new and heeded
        if not heeded:
            return False
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
    """Two subscriptions on one topic of a std_msgs type, each message handled once.

    `counts` tells of what may have been said before anybody listened whether it is handled.
    With `lossy` publishers of best effort are heard too.
    """

    def __init__(self, node, kind, topic: str, callback, callback_group=None, *,
                 counts: Callable[[object], bool] = lambda data: True, lossy: bool = False,
                 **events) -> None:
        self._pairs = Pairs()

        def once(source: int) -> Callable:
            def take(message, info) -> None:
                heeded = source == 0 or counts(message.data)
                if self._pairs.is_new(source, message.data, info['source_timestamp'], heeded):
                    callback(message)

            return take if WITH_INFO else lambda message: take(message, {'source_timestamp': 0})

        self._subscriptions = [
            node.create_subscription(kind, topic, once(0), qos.RELIABLE,
                                     callback_group=callback_group, **events),
            node.create_subscription(kind, topic, once(1), qos.LATCHED,
                                     callback_group=callback_group, **qos.SILENT)]
        if lossy:
            self._subscriptions.append(node.create_subscription(
                kind, topic, once(0), qos.SENSOR, callback_group=callback_group))
