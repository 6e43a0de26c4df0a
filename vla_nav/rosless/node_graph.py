"""What a node can ask about the ROS graph."""

from __future__ import annotations

import time

from . import names
from .topic_endpoint_info import TopicEndpointInfo


class NodeNameNonExistentError(RuntimeError):
    """No node of that name is known."""


class NodeGraph:
    """Graph queries of `Node`; a mixin to keep them apart."""

    @property
    def _graph(self):
        return self._participant.graph

    def get_topic_names_and_types(
        self, no_demangle: bool = False
    ) -> list[tuple[str, list[str]]]:
        """All topics, with their types."""
        if not no_demangle:
            return self._graph.topics()
        found: dict[str, set[str]] = {}
        for endpoint in self._graph.endpoints():
            found.setdefault(endpoint.topic, set()).add(endpoint.type)
        return [(name, sorted(types)) for name, types in sorted(found.items())]

    def get_service_names_and_types(self) -> list[tuple[str, list[str]]]:
        """All services, with their types."""
        return self._graph.services()

    def get_node_names(self) -> list[str]:
        return [entry.name for entry in self._graph.nodes()]

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        return [(entry.name, entry.namespace) for entry in self._graph.nodes()]

    def get_node_names_and_namespaces_with_enclaves(self) -> list[tuple[str, str, str]]:
        return [(entry.name, entry.namespace, '/') for entry in self._graph.nodes()]

    def get_fully_qualified_node_names(self) -> list[str]:
        return [entry.full_name for entry in self._graph.nodes()]

    def _of_node(self, name: str, namespace: str):
        entry = self._graph.node(namespace, name)
        if entry is None:
            full_name = names.fully_qualified(namespace, name)
            raise NodeNameNonExistentError(f"cannot get names and types: no node '{full_name}'")
        return self._graph.of_node(entry)

    def get_publisher_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> list[tuple[str, list[str]]]:
        writers, _ = self._of_node(node_name, node_namespace)
        return self._graph.topics(writers)

    def get_subscriber_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> list[tuple[str, list[str]]]:
        _, readers = self._of_node(node_name, node_namespace)
        return self._graph.topics(readers)

    def get_service_names_and_types_by_node(
        self, node_name: str, node_namespace: str
    ) -> list[tuple[str, list[str]]]:
        _, readers = self._of_node(node_name, node_namespace)
        return self._graph.services(e for e in readers if e.topic.startswith('rq/'))

    def get_client_names_and_types_by_node(
        self, node_name: str, node_namespace: str
    ) -> list[tuple[str, list[str]]]:
        writers, _ = self._of_node(node_name, node_namespace)
        return self._graph.services(e for e in writers if e.topic.startswith('rq/'))

    def count_publishers(self, topic_name: str) -> int:
        """Publishers on a topic, in all processes."""
        return len(self._on_topic(topic_name, writers=True))

    def count_subscribers(self, topic_name: str) -> int:
        """Subscriptions to a topic, in all processes."""
        return len(self._on_topic(topic_name, writers=False))

    def _on_topic(self, topic_name: str, *, writers: bool) -> list:
        full = self.resolve_topic_name(topic_name)
        return self._graph.on(names.dds_topic(full), writers=writers)

    def count_services(self, service_name: str) -> int:
        full = self.resolve_service_name(service_name)
        return len(self._graph.on(f'rq{full}Request', writers=False))

    def count_clients(self, service_name: str) -> int:
        full = self.resolve_service_name(service_name)
        return len(self._graph.on(f'rq{full}Request', writers=True))

    def get_publishers_info_by_topic(
        self, topic_name: str, no_mangle: bool = False
    ) -> list[TopicEndpointInfo]:
        """The publishers on a topic, with node, QoS and type hash."""
        return self._graph.endpoint_infos(self.resolve_topic_name(topic_name), writers=True)

    def get_subscriptions_info_by_topic(
        self, topic_name: str, no_mangle: bool = False
    ) -> list[TopicEndpointInfo]:
        """The subscriptions to a topic, with node, QoS and type hash."""
        return self._graph.endpoint_infos(self.resolve_topic_name(topic_name), writers=False)

    def wait_for_node(self, fully_qualified_node_name: str, timeout: float) -> bool:
        """Block until a node is there; False on timeout."""
        end = time.monotonic() + timeout
        return self._graph.wait_for(
            lambda: fully_qualified_node_name in self.get_fully_qualified_node_names(),
            max(end - time.monotonic(), 0.0),
        )
