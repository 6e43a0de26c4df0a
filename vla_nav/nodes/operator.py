"""What a human at a keyboard does: say, stop, resume. A node for the length of one command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence

from vla_nav import rosless

rosless.ensure()

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_msgs.msg import Bool, String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_nav.nodes import qos  # noqa: E402
from vla_nav.nodes.runner import start_ros, valid_names  # noqa: E402

_SETTLE_S = 0.5


class Operator:
    """A short-lived node; use it in a `with` statement. Raises StartError for invalid names."""

    def __init__(self, namespace: str = '/', ros_args: Sequence[str] = ()) -> None:
        self._namespace = namespace
        self._ros_args = list(ros_args)

    @valid_names()
    def __enter__(self) -> Operator:
        start_ros(self._ros_args)
        self._node = Node(f'operator_{os.getpid()}', namespace=self._namespace)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        return self

    def __exit__(self, *_) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    @property
    def reach(self) -> str:
        """Where others can be heard, as the end of a sentence."""
        where = f'in ROS_DOMAIN_ID {os.environ.get("ROS_DOMAIN_ID", "0")}'
        if rosless.is_native() or os.environ.get('CYCLONEDDS_URI'):
            return where
        from vla_nav.rosless.config import discovery_range, static_peers

        if discovery_range() != 'LOCALHOST' or static_peers():
            return where
        return (f'{where}, on this machine (for others set '
                'ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET)')

    def topic(self, name: str) -> str:
        """A topic's full name."""
        return self._node.resolve_topic_name(name)

    def say(self, text: str, topic: str, wait_s: float) -> list[str]:
        """Publish an instruction once somebody listens; returns the nodes that do."""
        return self._publish(String, String(data=text), topic, wait_s)

    def emergency_stop(self, topic: str, wait_s: float) -> list[str]:
        """Publish the emergency stop; returns the nodes that listen."""
        return self._publish(Bool, Bool(data=True), topic, wait_s)

    def company(self, topics: Sequence[str], wait_s: float) -> list[str]:
        """Nodes that publish or hear any of these topics, as far as they show up in time."""
        found: set[str] = set()

        def look() -> set[str]:
            for topic in map(self.topic, topics):
                for info in (*self._node.get_publishers_info_by_topic(topic),
                             *self._node.get_subscriptions_info_by_topic(topic)):
                    found.add(_full_name(info))
            return found

        self._until(look, time.monotonic() + wait_s)
        return sorted(found)

    @valid_names()
    def call(self, service: str, wait_s: float):
        """Call a Trigger service; None if it does not answer in time."""
        client = self._node.create_client(Trigger, service)
        deadline = time.monotonic() + wait_s
        while not client.wait_for_service(timeout_sec=0.1):
            if time.monotonic() > deadline:
                return None
        future = client.call_async(Trigger.Request())
        self._until(future.done, deadline)
        return future.result() if future.done() else None

    def states(self, nodes: Sequence[str], wait_s: float = 2.0) -> dict[str, str]:
        """What the drive nodes among `nodes` say they are doing."""
        found: dict[str, str] = {}

        def listen(node):
            def note(message):
                data = json.loads(message.data)
                found[node] = ': '.join(filter(None, [data['state'], data['reason']]))
            self._node.create_subscription(String, f'{node}/state', note, qos.LATCHED)

        for node in nodes:
            listen(node)
        deadline_s = time.monotonic() + wait_s
        # Only a drive node has a state; it takes a moment to see who publishes one.
        self._until(lambda: len(found) == len(nodes), time.monotonic() + _SETTLE_S)
        self._until(lambda: all(node in found for node in nodes
                                if self._node.count_publishers(f'{node}/state')), deadline_s)
        return found

    @valid_names()
    def _publish(self, kind, message, topic: str, wait_s: float) -> list[str]:
        publisher = self._node.create_publisher(kind, topic, qos.LATCHED)
        if not self._until(publisher.get_subscription_count, time.monotonic() + wait_s):
            return []
        # Others may be discovered a moment after the first.
        self._until(lambda: False, time.monotonic() + _SETTLE_S)
        publisher.publish(message)
        self._until(lambda: False, time.monotonic() + _SETTLE_S)
        infos = self._node.get_subscriptions_info_by_topic(self._node.resolve_topic_name(topic))
        return sorted({_full_name(info) for info in infos})

    def _until(self, condition: Callable[[], object], deadline_s: float) -> bool:
        while not condition():
            if time.monotonic() > deadline_s:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True


def _full_name(info) -> str:
    """Of the node that an endpoint belongs to."""
    return f'{info.node_namespace.rstrip("/")}/{info.node_name}'
