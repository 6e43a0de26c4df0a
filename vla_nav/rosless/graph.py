"""The ROS graph as this participant sees it: nodes, topics, services and who serves them."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cyclonedds.builtin import (
    BuiltinDataReader,
    BuiltinTopicDcpsParticipant,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
)
from cyclonedds.core import InstanceState
from rosbags.serde import SerdeError

from . import names, wire
from .logging import get_logger
from .messages import deserialize
from .topic_endpoint_info import TopicEndpointInfo, TopicEndpointTypeEnum

BATCH = 256
_log = get_logger('rosless')


@dataclass(frozen=True)
class Endpoint:
    """A discovered DDS writer or reader."""

    gid: bytes
    participant: bytes
    topic: str
    type: str
    qos: object
    writer: bool


@dataclass(frozen=True)
class NodeEntry:
    """A node, as its participant announces it."""

    namespace: str
    name: str
    readers: frozenset[bytes]
    writers: frozenset[bytes]

    @property
    def full_name(self) -> str:
        return names.fully_qualified(self.namespace, self.name)


class Graph:
    """Discovery data; `update()` is called by the participant's thread, the rest by anyone."""

    def __init__(self, participant, own_guid: bytes) -> None:
        self._own_guid = own_guid
        self.changed = threading.Condition()
        self._endpoints: dict[bytes, Endpoint] = {}
        self._participants: set[bytes] = {own_guid}
        self._nodes: dict[bytes, list[NodeEntry]] = {}
        with wire.qos_lock:
            self.readers = [
                BuiltinDataReader(participant, topic)
                for topic in (
                    BuiltinTopicDcpsParticipant,
                    BuiltinTopicDcpsPublication,
                    BuiltinTopicDcpsSubscription,
                )
            ]

    def update(self, reader) -> None:
        """Take what a builtin reader has to say."""
        kind = self.readers.index(reader)
        while True:
            with wire.qos_lock:
                samples = reader.take(BATCH)
            with self.changed:
                for sample in samples:
                    self._apply(kind, sample)
                self.changed.notify_all()
            if len(samples) < BATCH:
                return

    def _apply(self, kind: int, sample) -> None:
        alive = sample.sample_info.instance_state == InstanceState.Alive
        key = sample.key.bytes
        if kind == 0:
            self._participants.add(key) if alive else self._participants.discard(key)
            if not alive:
                self._nodes.pop(key, None)
        elif not alive:
            self._endpoints.pop(key, None)
        elif sample.qos is not None:
            self._endpoints[key] = Endpoint(
                key, sample.participant_key.bytes, sample.topic_name, sample.type_name,
                sample.qos, writer=kind == 1,
            )

    def update_nodes(self, payload: bytes) -> None:
        """Take a participant's announcement of its nodes."""
        try:
            info = deserialize(payload, 'rmw_dds_common/msg/ParticipantEntitiesInfo')
        except SerdeError:
            _log.warning(
                'the nodes of a participant cannot be told: it is of another release of ROS 2;'
                ' set ROS_DISTRO=humble to hear Humble, unset it to hear later ones', once=True,
            )
            return
        sender = info.gid.data[:16].tobytes()
        if sender == self._own_guid:
            return  # known at first hand, and newer
        entries = [
            NodeEntry(
                node.node_namespace, node.node_name,
                frozenset(gid.data[:16].tobytes() for gid in node.reader_gid_seq),
                frozenset(gid.data[:16].tobytes() for gid in node.writer_gid_seq),
            )
            for node in info.node_entities_info_seq
        ]
        self._replace_nodes(sender, entries)

    def update_own_nodes(self, nodes: Iterable) -> None:
        """Take the nodes of this process."""
        self._replace_nodes(self._own_guid, [
            NodeEntry(n.namespace, n.name, frozenset(n.readers), frozenset(n.writers))
            for n in nodes
        ])

    def _replace_nodes(self, participant: bytes, entries: list[NodeEntry]) -> None:
        with self.changed:
            self._nodes[participant] = entries
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout_sec: float | None) -> bool:
        """Block until a condition on the graph holds; False on timeout."""
        with self.changed:
            return self.changed.wait_for(condition, timeout_sec)

    def nodes(self) -> list[NodeEntry]:
        """All nodes of living participants."""
        with self.changed:
            return [
                entry
                for key, entries in self._nodes.items()
                if key in self._participants
                for entry in entries
            ]

    def endpoints(self) -> list[Endpoint]:
        with self.changed:
            return list(self._endpoints.values())

    def node(self, namespace: str, name: str) -> NodeEntry | None:
        return next(
            (n for n in self.nodes() if n.name == name and n.namespace == namespace), None
        )

    def topics(self, among: Iterable[Endpoint] | None = None) -> list[tuple[str, list[str]]]:
        """Topics with the types seen on them, sorted."""
        return self._named(among, names.ros_topic)

    def services(self, among: Iterable[Endpoint] | None = None) -> list[tuple[str, list[str]]]:
        """Services with the types seen on them, sorted."""
        return self._named(among, names.ros_service)

    def _named(self, among, ros_name) -> list[tuple[str, list[str]]]:
        found: dict[str, set[str]] = defaultdict(set)
        for endpoint in self.endpoints() if among is None else among:
            name = ros_name(endpoint.topic)
            if name:
                found[name].add(names.ros_type(endpoint.type))
        return [(name, sorted(types)) for name, types in sorted(found.items())]

    def of_node(self, entry: NodeEntry) -> tuple[list[Endpoint], list[Endpoint]]:
        """The node's writers and readers."""
        endpoints = self.endpoints()
        return (
            [e for e in endpoints if e.gid in entry.writers],
            [e for e in endpoints if e.gid in entry.readers],
        )

    def on(self, dds_topic: str, *, writers: bool) -> list[Endpoint]:
        """The writers, or the readers, of a DDS topic."""
        return [e for e in self.endpoints() if e.topic == dds_topic and e.writer == writers]

    def endpoint_infos(self, topic: str, *, writers: bool) -> list[TopicEndpointInfo]:
        """Publishers, or subscriptions, of a ROS topic with the nodes that own them."""
        owners = {
            gid: entry for entry in self.nodes() for gid in entry.writers | entry.readers
        }
        kind = TopicEndpointTypeEnum.PUBLISHER if writers else TopicEndpointTypeEnum.SUBSCRIPTION
        infos = []
        for endpoint in self.on(names.dds_topic(topic), writers=writers):
            owner = owners.get(endpoint.gid)
            infos.append(TopicEndpointInfo(
                node_name=owner.name if owner else '_NODE_NAME_UNKNOWN_',
                node_namespace=owner.namespace if owner else '_NODE_NAMESPACE_UNKNOWN_',
                topic_type=names.ros_type(endpoint.type),
                topic_type_hash=wire.user_data_values(endpoint.qos).get('typehash', 'INVALID'),
                endpoint_type=kind,
                endpoint_gid=list(endpoint.gid),
                qos_profile=wire.ros_qos(endpoint.qos),
            ))
        return infos
