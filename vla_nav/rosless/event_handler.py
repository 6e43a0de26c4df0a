"""Callbacks for what happens to a publisher or subscription: matches, deadlines, mismatches."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from cyclonedds.core import DDSStatus

from .entity import Entity
from .qos import QoSPolicyKind

# DDS policy ids, as far as ROS knows the policy.
_POLICIES = {
    2: QoSPolicyKind.DURABILITY, 4: QoSPolicyKind.DEADLINE, 8: QoSPolicyKind.LIVELINESS,
    11: QoSPolicyKind.RELIABILITY,
}


class UnsupportedEventTypeError(RuntimeError):
    """Never raised here; rclpy has it."""


class EventHandler(Entity):
    """Calls back, in the executor, with the newest status of one kind."""

    def __init__(self, owner, callback: Callable, callback_group, read: Callable) -> None:
        super().__init__(owner._node, callback, callback_group)
        self._read = read
        self._status: SimpleNamespace | None = None

    def fire(self) -> None:
        """Note that the status has changed; called from the participant's thread."""
        status = self._read()
        values = {name: getattr(status, name) for name, _ in status._fields_}
        if 'last_policy_id' in values:
            policy = values.pop('last_policy_id')
            values['last_policy_kind'] = _POLICIES.get(policy, QoSPolicyKind.INVALID)
        self._status = SimpleNamespace(**values)
        self._wake()

    def _is_ready(self) -> bool:
        return self._status is not None and not self._destroyed

    def _take(self) -> object:
        status, self._status = self._status, None
        return status

    def _execute(self, work, executor) -> object:
        return self.callback(work)


class _EventCallbacks:
    # event: DDS status bit and the name of the method that reads it
    _kinds: dict[str, tuple[int, str]] = {}
    _mismatch = ''

    def __init__(self, use_default_callbacks: bool, **callbacks: Callable | None) -> None:
        self.use_default_callbacks = use_default_callbacks
        for name in self._kinds:
            setattr(self, name, callbacks.get(name))

    def handlers(self, owner, endpoint, callback_group) -> dict[int, EventHandler]:
        """The handlers of an endpoint by their DDS status bit."""
        found = {}
        for name, (bit, reader) in self._kinds.items():
            callback = getattr(self, name)
            if callback is None and name == 'incompatible_qos' and self.use_default_callbacks:
                callback = self._warning(owner)
            if callback is not None:
                found[bit] = EventHandler(
                    owner, callback, callback_group, getattr(endpoint, reader)
                )
        return found

    def _warning(self, owner) -> Callable:
        def warn(status) -> None:
            owner._node.get_logger().warning(
                f'{self._mismatch.format(owner.topic)} Last incompatible policy:'
                f' {status.last_policy_kind.name}'
            )

        return warn


class SubscriptionEventCallbacks(_EventCallbacks):
    """What to call for a subscription's events; a mismatch is logged unless told otherwise."""

    _kinds = {
        'deadline': (DDSStatus.RequestedDeadlineMissed, 'get_requested_deadline_missed_status'),
        'liveliness': (DDSStatus.LivelinessChanged, 'get_liveliness_changed_status'),
        'message_lost': (DDSStatus.SampleLost, 'get_sample_lost_status'),
        'incompatible_qos': (
            DDSStatus.RequestedIncompatibleQos, 'get_requested_incompatible_qos_status'
        ),
        'matched': (DDSStatus.SubscriptionMatched, 'get_subscription_matched_status'),
    }
    _mismatch = (
        "New publisher discovered on topic '{}', offering incompatible QoS. No messages will be"
        ' received from it.'
    )

    def __init__(
        self,
        *,
        deadline=None,
        liveliness=None,
        message_lost=None,
        incompatible_qos=None,
        incompatible_type=None,
        matched=None,
        use_default_callbacks: bool = True,
    ) -> None:
        super().__init__(
            use_default_callbacks, deadline=deadline, liveliness=liveliness,
            message_lost=message_lost, incompatible_qos=incompatible_qos, matched=matched,
        )


class PublisherEventCallbacks(_EventCallbacks):
    """What to call for a publisher's events; a mismatch is logged unless told otherwise."""

    _kinds = {
        'deadline': (DDSStatus.OfferedDeadlineMissed, 'get_offered_deadline_missed_status'),
        'liveliness': (DDSStatus.LivelinessLost, 'get_liveliness_lost_status'),
        'incompatible_qos': (
            DDSStatus.OfferedIncompatibleQos, 'get_offered_incompatible_qos_status'
        ),
        'matched': (DDSStatus.PublicationMatched, 'get_publication_matched_status'),
    }
    _mismatch = (
        "New subscription discovered on topic '{}', requesting incompatible QoS. No messages will"
        ' be sent to it.'
    )

    def __init__(
        self,
        *,
        deadline=None,
        liveliness=None,
        incompatible_qos=None,
        incompatible_type=None,
        matched=None,
        use_default_callbacks: bool = True,
    ) -> None:
        super().__init__(
            use_default_callbacks, deadline=deadline, liveliness=liveliness,
            incompatible_qos=incompatible_qos, matched=matched,
        )
