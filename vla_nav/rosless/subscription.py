"""Subscriptions."""

from __future__ import annotations

import inspect
import time
from enum import Enum

from rosbags.serde import SerdeError

from . import names
from .entity import Endpoints
from .event_handler import SubscriptionEventCallbacks
from .messages import deserialize


class Subscription(Endpoints):
    """Made by `Node.create_subscription`."""

    class CallbackType(Enum):
        MessageOnly = 0
        WithMessageInfo = 1

    def __init__(
        self, node, msg_type, topic, callback, callback_group, qos_profile, raw: bool,
        event_callbacks=None,
    ) -> None:
        self._callback_type = _callback_type(callback)
        events = event_callbacks or SubscriptionEventCallbacks()
        super().__init__(node, callback, callback_group, qos_profile, events)
        self.msg_type = msg_type
        self.topic = topic
        self.raw = raw
        self._open_reader(names.dds_topic(topic), msg_type.__ros_name__)
        self._participant.announce()

    @property
    def topic_name(self) -> str:
        return self.topic

    def _execute(self, sample, executor) -> object:
        try:
            message = (
                sample.payload
                if self.raw
                else deserialize(sample.payload, self.msg_type.__ros_name__)
            )
        except SerdeError as error:
            self._node.get_logger().error(
                f'message on {self.topic} is not a {self.msg_type.__ros_name__}, skipped:'
                f' {error}', throttle_duration_sec=5.0,
            )
            return None
        if self._callback_type is Subscription.CallbackType.MessageOnly:
            return self.callback(message)
        return self.callback(message, {
            'source_timestamp': sample.sample_info.source_timestamp,
            'received_timestamp': time.time_ns(),
            'publication_sequence_number': None,
            'reception_sequence_number': None,
        })

    def get_publisher_count(self) -> int:
        """How many publishers this receives from."""
        self._check()
        return self._reader.get_subscription_matched_status().current_count


def _callback_type(callback) -> Subscription.CallbackType:
    try:
        inspect.signature(callback).bind(object())
        return Subscription.CallbackType.MessageOnly
    except ValueError:
        return Subscription.CallbackType.MessageOnly  # a builtin without a signature
    except TypeError:
        pass
    try:
        inspect.signature(callback).bind(object(), object())
        return Subscription.CallbackType.WithMessageInfo
    except TypeError:
        raise RuntimeError(
            'Subscription.__init__(): callback should be either be callable with one argument'
            ' (to get only the message) or two (to get message and message info)'
        ) from None
