"""Subscriptions for recording: serialized bytes, and a quality of service that fits."""

from __future__ import annotations

from collections.abc import Callable

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from vla_nav import rosless

rosless.ensure()

from rclpy.qos import (  # noqa: E402
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

from vla_nav.nodes import qos  # noqa: E402
from vla_nav.nodes.latched import WITH_INFO, Pairs  # noqa: E402

_DEPTH = 100
_IMAGE_DEPTH = 20
_LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""DDS counts the messages of all publishers of a topic together."""
_FOREVER = QosTime(2147483647, 4294967295)

OnBytes = Callable[[str, bytes, int], None]
"""Called with topic, serialized message and its publish time in ns, 0 if not known."""


class RawSubscription:
    """One topic as bytes. Reliable if every publisher is, best effort as soon as one is not."""

    def __init__(self, node, kind, topic: str, on_bytes: OnBytes, callback_group,
                 latched: bool) -> None:
        self._node, self._kind, self.topic = node, kind, topic
        self._on_bytes = on_bytes
        self._group = callback_group
        self._latched = latched
        self._pairs = Pairs()
        self.reliable = latched
        self._subscriptions = self._subscribe()

    def adapt(self, recording: bool) -> None:
        """Follow the publishers; while recording, only where nothing would come otherwise."""
        if self._latched:
            return
        infos = self._node.get_publishers_info_by_topic(self.topic)
        reliable = bool(infos) and all(
            info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in infos)
        if not infos or reliable == self.reliable or (reliable and recording):
            return
        self.reliable = reliable
        self.destroy()
        self._subscriptions = self._subscribe()

    def destroy(self) -> None:
        """Hear nothing more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def offered(self) -> tuple[Qos, ...]:
        """The publishers' profiles, for `ros2 bag play` to offer them again."""
        infos = self._node.get_publishers_info_by_topic(self.topic)
        return tuple(dict.fromkeys(_bag_qos(info.qos_profile) for info in infos))

    def _subscribe(self) -> list:
        if self._latched:
            # Each kind of reader hears what the other does not.
            return [self._create(qos.RELIABLE, self._once(0)),
                    self._create(_LATCHED, self._once(1), **qos.SILENT)]
        image = self._kind.__name__ in ('Image', 'CompressedImage')
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST, depth=_IMAGE_DEPTH if image else _DEPTH,
            reliability=(ReliabilityPolicy.RELIABLE if self.reliable
                         else ReliabilityPolicy.BEST_EFFORT),
            durability=DurabilityPolicy.VOLATILE)
        return [self._create(profile, self._on_bytes)]

    def _create(self, profile: QoSProfile, on_bytes: OnBytes, **events):
        topic = self.topic
        if WITH_INFO:
            def callback(data, info):
                on_bytes(topic, bytes(data), info['source_timestamp'])
        else:
            def callback(data):
                on_bytes(topic, bytes(data), 0)
        return self._node.create_subscription(self._kind, topic, callback, profile, raw=True,
                                              callback_group=self._group, **events)

    def _once(self, source: int) -> OnBytes:
        """Pass a message on unless the other subscription just did."""
        def take(topic: str, data: bytes, publish_ns: int) -> None:
            if self._pairs.is_new(source, data, publish_ns):
                self._on_bytes(topic, data, publish_ns)

        return take


def _bag_qos(profile: QoSProfile) -> Qos:
    latched = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    reliable = profile.reliability == ReliabilityPolicy.RELIABLE
    return Qos(
        QosHistory.KEEP_LAST, max(1, int(profile.depth)),
        QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False)
