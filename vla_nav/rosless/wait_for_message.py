"""Waiting for one message."""

from __future__ import annotations

import time

from .executors import SingleThreadedExecutor
from .node import Node
from .qos import QoSProfile


def wait_for_message(
    msg_type: type,
    node,
    topic: str,
    *,
    qos_profile: QoSProfile | int = 1,
    time_to_wait: float = -1,
) -> tuple[bool, object]:
    """(True, the next message of a topic), or (False, None) at the timeout or shutdown."""
    received: list = []
    # A node is spun by one executor: this must not take it from the one it has.
    helper = Node('_wait_for_message', context=node.context, namespace=node.get_namespace(),
                  use_global_arguments=False, start_parameter_services=False, enable_rosout=False)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(helper)
    end = None if time_to_wait < 0 else time.monotonic() + time_to_wait
    try:
        helper.create_subscription(
            msg_type, node.resolve_topic_name(topic), received.append, qos_profile
        )
        while node.context.ok() and not received:
            left = 0.5 if end is None else min(0.5, end - time.monotonic())
            if left <= 0:
                break
            executor.spin_once(timeout_sec=left)
    finally:
        helper.destroy_node()
    return (True, received[0]) if received else (False, None)
