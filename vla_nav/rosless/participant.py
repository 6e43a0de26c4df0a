"""This process in a DDS domain: endpoints, one thread that waits for data, announced nodes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from cyclonedds.core import DDSException, DDSStatus, Entity, GuardCondition, WaitSet
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.internal import dds_infinity
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

from . import wire
from .config import cyclonedds_config, domain_id_from, participant_failure
from .graph import Graph
from .logging import get_logger
from .messages import dds_type_name, message_class, serialize
from .qos import DurabilityPolicy, QoSProfile
from .typestore import type_hash

_DISCOVERY_TYPE = 'rmw_dds_common/msg/ParticipantEntitiesInfo'
_domains: dict[int, tuple[Domain, int]] = {}
_domains_lock = threading.Lock()


def _acquire_domain(domain_id: int) -> None:
    with _domains_lock:
        domain, users = _domains.get(domain_id, (None, 0))
        if domain is None:
            try:
                domain = Domain(domain_id, cyclonedds_config(domain_id))
            except DDSException as error:
                raise participant_failure(domain_id, error) from None
        _domains[domain_id] = (domain, users + 1)


def _release_domain(domain_id: int) -> None:
    with _domains_lock:
        domain, users = _domains.pop(domain_id)
        if users > 1:
            _domains[domain_id] = (domain, users - 1)
        else:
            delete(domain)


def delete(entity: Entity) -> None:
    """Delete a DDS entity now, not when Python gets to it."""
    entity.__del__()


@dataclass
class LocalNode:
    """A node of this process and the GUIDs of its endpoints."""

    namespace: str
    name: str
    readers: list[bytes] = field(default_factory=list)
    writers: list[bytes] = field(default_factory=list)


class Participant:
    """One DDS participant. Every method may be called from any thread."""

    def __init__(self, domain_id: int | None = None) -> None:
        self.domain_id = domain_id_from(domain_id)
        _acquire_domain(self.domain_id)
        try:
            qos = Qos(Policy.Userdata(data=b'enclave=/;'))
            self._dds = DomainParticipant(self.domain_id, qos)
        except DDSException as error:
            _release_domain(self.domain_id)
            raise participant_failure(self.domain_id, error) from None
        self.guid = self._dds.get_guid().bytes
        self._lock = threading.RLock()
        self._topics: dict[tuple[str, str], Topic] = {}
        self._nodes: list[LocalNode] = []
        self._nodes_changed = False
        self._watched: dict[Entity, dict[int, Callable[[], None]]] = {}
        self._stopping = self._closed = False
        self._waitset = WaitSet(self._dds)
        self._wake = GuardCondition(self._dds)
        self._waitset.attach(self._wake)
        self.graph = Graph(self._dds, self.guid)
        for reader in self.graph.readers:
            self.watch(reader, {DDSStatus.DataAvailable: partial(self.graph.update, reader)})
        self._join_discovery()
        self._thread = threading.Thread(target=self._run, name='rosless-dds', daemon=True)
        self._thread.start()

    def _join_discovery(self) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        everything = QoSProfile(history=2, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        kind = dds_type_name(_DISCOVERY_TYPE)
        data = wire.user_data(type_hash(_DISCOVERY_TYPE))
        self._announcer = self.create_writer('ros_discovery_info', kind, latched, data)
        reader = self.create_reader('ros_discovery_info', kind, everything, data)

        def update():
            while (sample := wire.take(reader)) is not None:
                self.graph.update_nodes(sample.payload)

        self.watch(reader, {DDSStatus.DataAvailable: update})

    def _topic(self, name: str, dds_type: str) -> Topic:
        key = (name, dds_type)
        if key not in self._topics:
            self._topics[key] = Topic(self._dds, name, wire.raw_type(dds_type))
        return self._topics[key]

    def create_writer(
        self, topic: str, dds_type: str, profile: QoSProfile, data: Policy.Userdata
    ) -> DataWriter:
        with self._lock, wire.qos_lock:
            return DataWriter(
                self._dds, self._topic(topic, dds_type), wire.dds_qos(profile, data)
            )

    def create_reader(
        self, topic: str, dds_type: str, profile: QoSProfile, data: Policy.Userdata
    ) -> DataReader:
        with self._lock, wire.qos_lock:
            return DataReader(
                self._dds, self._topic(topic, dds_type), wire.dds_qos(profile, data)
            )

    def watch(self, endpoint: Entity, reactions: dict[int, Callable[[], None]]) -> None:
        """Call, from the participant's thread, what belongs to a DDS status when it changes."""
        if not reactions:
            return
        endpoint.set_status_mask(sum(reactions))
        with self._lock:
            self._watched[endpoint] = reactions
            self._waitset.attach(endpoint)
        # What came before it was attached does not wake the thread.
        if DDSStatus.DataAvailable in reactions:
            reactions[DDSStatus.DataAvailable]()

    def destroy(self, *endpoints: DataReader | DataWriter) -> None:
        """Delete endpoints, unless they went with the participant."""
        for endpoint in endpoints if not self._closed else ():
            with self._lock:
                if self._watched.pop(endpoint, None):
                    self._waitset.detach(endpoint)
            delete(endpoint)

    def add_node(self, namespace: str, name: str) -> LocalNode:
        node = LocalNode(namespace, name)
        with self._lock:
            self._nodes.append(node)
        self.announce()
        return node

    def remove_node(self, node: LocalNode) -> None:
        with self._lock:
            if node in self._nodes:
                self._nodes.remove(node)
        self.announce()

    def announce(self) -> None:
        """Have the participant's thread publish the current nodes and endpoints."""
        with self._lock:
            if self._stopping:
                return
            self._nodes_changed = True
            self.graph.update_own_nodes(self._nodes)
            self._wake.set(True)

    def _publish_nodes(self) -> None:
        gid = message_class('rmw_dds_common/msg/Gid')
        entry = message_class('rmw_dds_common/msg/NodeEntitiesInfo')
        length = len(gid().data)  # 16, in Humble 24

        def gids(guids):
            return [gid(data=list(guid.ljust(length, b'\0'))) for guid in guids]

        with self._lock:
            self._nodes_changed = False
            message = message_class(_DISCOVERY_TYPE)(
                gid=gids([self.guid])[0],
                node_entities_info_seq=[
                    entry(
                        node_namespace=node.namespace, node_name=node.name,
                        reader_gid_seq=gids(node.readers), writer_gid_seq=gids(node.writers),
                    )
                    for node in self._nodes
                ],
            )
            wire.write(self._announcer, serialize(message))

    def _run(self) -> None:
        while True:
            self._waitset.wait(dds_infinity)
            if self._wake.take() and self._stopping:
                return
            # Without this thread the process would hear nothing any more.
            try:
                if self._nodes_changed:
                    self._publish_nodes()
            except Exception as error:
                get_logger('rosless').error(f'{type(error).__name__}: {error}')
            with self._lock:
                watched = list(self._watched.items())
            for endpoint, reactions in watched:
                try:
                    self._react(endpoint, reactions)
                except Exception as error:
                    if endpoint in self._watched:
                        get_logger('rosless').error(f'{type(error).__name__}: {error}')

    def _react(self, endpoint: Entity, reactions: dict[int, Callable[[], None]]) -> None:
        status = endpoint.take_status(sum(reactions))
        for bit in reactions if status else ():
            if status & bit:
                reactions[bit]()

    def close(self) -> None:
        """Leave the domain; peers see all nodes vanish at once."""
        with self._lock:
            if self._stopping:
                return
            self._nodes.clear()
            self._publish_nodes()
            self._stopping = True
            self._wake.set(True)
        self._thread.join(timeout=5.0)
        # Deleting a participant with all that hangs on it takes DDS ten times as long.
        self.destroy(self._announcer, *self._watched)
        self._closed = True
        for entity in (self._waitset, self._dds):
            delete(entity)
        _release_domain(self.domain_id)
