"""Publishers."""

from __future__ import annotations

import time

from cyclonedds.core import DDSException

from . import names, wire
from .entity import Endpoints
from .event_handler import PublisherEventCallbacks
from .exceptions import RCLError
from .messages import serialize


class Publisher(Endpoints):
    """Made by `Node.create_publisher`."""

    def __init__(
        self, node, msg_type, topic, qos_profile, callback_group, event_callbacks=None
    ) -> None:
        events = event_callbacks or PublisherEventCallbacks()
        super().__init__(node, None, callback_group, qos_profile, events)
        self.msg_type = msg_type
        self.topic = topic
        self._writer = self._open_writer(names.dds_topic(topic), msg_type.__ros_name__)
        self._participant.announce()

    @property
    def topic_name(self) -> str:
        return self.topic

    def publish(self, msg) -> None:
        """Send a message, or bytes that are one already serialised (with CDR header).

        Raises:
            TypeError: the message is of another type.
            RCLError: the node or the context is gone.
        """
        self._check()
        if isinstance(msg, self.msg_type):
            data = serialize(msg)
        elif isinstance(msg, (bytes, bytearray, memoryview)):
            data = msg
        else:
            raise TypeError(
                f'Expected {self.msg_type}, got {type(msg)}: {self.topic} takes'
                f' {self.msg_type.__ros_name__}'
            )
        if not self._node.context.ok():
            raise RCLError("Failed to publish: publisher's context is invalid")
        try:
            wire.write(self._writer, data)
        except DDSException as error:
            if error.code != DDSException.DDS_RETCODE_TIMEOUT:
                raise RCLError(f'Failed to publish on {self.topic}: {error}') from None
            self._warn_dropped()

    def _warn_dropped(self) -> None:
        self._node.get_logger().warning(
            f'message on {self.topic} dropped: a reliable subscriber has not taken earlier ones'
            f' for {wire.MAX_BLOCKING_NS / 1e9} s; stop it or use best effort',
            throttle_duration_sec=5.0,
        )

    def get_subscription_count(self) -> int:
        """How many subscriptions receive what this publishes."""
        self._check()
        return self._writer.get_publication_matched_status().current_count

    def assert_liveliness(self) -> None:
        """Say that the publisher is alive (for MANUAL_BY_TOPIC)."""
        self._check()
        with self._participant._lock:
            self._writer._dll_handle.dds_assert_liveliness(self._writer._ref)

    def wait_for_all_acked(self, timeout=None) -> bool:
        """Block until all reliable subscribers have everything; False on timeout."""
        self._check()
        limit_ns = timeout.nanoseconds if timeout is not None else -1
        end_ns = time.monotonic_ns() + limit_ns
        while True:
            left_ns = end_ns - time.monotonic_ns() if limit_ns >= 0 else 10**9
            # cyclonedds-python 11.0 fails on the timeout code instead of returning False.
            if self._writer._wait_for_acks(self._writer._ref, max(left_ns, 0)) == 0:
                return True
            if limit_ns >= 0 and left_ns <= 0:
                return False
