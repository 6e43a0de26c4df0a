"""Managed nodes: the states and transitions of the ROS 2 design article "Managed nodes"."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import wraps
from typing import NamedTuple

from .exceptions import RCLError
from .messages import message_class, service_class
from .node import Node as _PlainNode
from .publisher import Publisher as _PlainPublisher

_STATES = {
    0: 'unknown', 1: 'unconfigured', 2: 'inactive', 3: 'active', 4: 'finalized',
    10: 'configuring', 11: 'cleaningup', 12: 'shuttingdown', 13: 'activating',
    14: 'deactivating', 15: 'errorprocessing',
}
_ERROR = 15
# What is asked for: transition id, label, from, through, and where success and failure lead.
_REQUESTS = (
    (1, 'configure', 1, 10, 2, 1),
    (2, 'cleanup', 2, 11, 1, 2),
    (3, 'activate', 2, 13, 3, 2),
    (4, 'deactivate', 3, 14, 2, 3),
    (5, 'shutdown', 1, 12, 4, 4),
    (6, 'shutdown', 2, 12, 4, 4),
    (7, 'shutdown', 3, 12, 4, 4),
)
_CALLBACKS = {
    10: 'on_configure', 11: 'on_cleanup', 12: 'on_shutdown', 13: 'on_activate',
    14: 'on_deactivate', 15: 'on_error',
}


class TransitionCallbackReturn(IntEnum):
    """How a transition went."""

    SUCCESS = 97
    FAILURE = 98
    ERROR = 99

    def to_label(self) -> str:
        return f'transition_{self.name.lower()}'


class LifecycleState(NamedTuple):
    label: str
    state_id: int


@dataclass(frozen=True)
class _Transition:
    id: int
    label: str
    start: int
    goal: int


def _transitions() -> list[_Transition]:
    found = [_Transition(*request[:4]) for request in _REQUESTS]
    outcomes = {through: (success, failure) for *_, through, success, failure in _REQUESTS}
    first_ids = {10: 10, 11: 20, 13: 30, 14: 40, 12: 50}
    for through, (success, failure) in outcomes.items():
        goals = (success, failure, _ERROR)
        found += _outcomes(first_ids[through], through, goals)
    return found + _outcomes(60, _ERROR, (1, 4, 4))


def _outcomes(first_id: int, start: int, goals: tuple[int, int, int]) -> list[_Transition]:
    return [
        _Transition(first_id + index, kind.to_label(), start, goal)
        for index, (kind, goal) in enumerate(zip(TransitionCallbackReturn, goals))
    ]


TRANSITIONS = tuple(_transitions())


class ManagedEntity:
    """Something that takes part in a node's transitions; override what matters."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.SUCCESS


class SimpleManagedEntity(ManagedEntity):
    """Knows whether its node is active."""

    def __init__(self) -> None:
        self._enabled = False

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._enabled = True
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._enabled = False
        return TransitionCallbackReturn.SUCCESS

    @property
    def is_activated(self) -> bool:
        return self._enabled

    @staticmethod
    def when_enabled(wrapped=None, *, when_not_enabled: Callable[[], None] | None = None):
        """Make a method do nothing (or `when_not_enabled`) while not active."""
        if wrapped is None:
            return lambda method: SimpleManagedEntity.when_enabled(
                method, when_not_enabled=when_not_enabled
            )

        @wraps(wrapped)
        def only_when_enabled(self, *args, **kwargs):
            if self._enabled:
                return wrapped(self, *args, **kwargs)
            return when_not_enabled() if when_not_enabled else None

        return only_when_enabled


class LifecyclePublisher(SimpleManagedEntity, _PlainPublisher):
    """Publishes while its node is active, and is silent otherwise."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        SimpleManagedEntity.__init__(self)
        _PlainPublisher.__init__(self, *args, **kwargs)

    @SimpleManagedEntity.when_enabled
    def publish(self, msg) -> None:
        _PlainPublisher.publish(self, msg)


class LifecycleNodeMixin(ManagedEntity):
    """States and transitions for a `Node`; override `on_configure` and its kin.

    Each `on_...` gets the previous state and returns a TransitionCallbackReturn. An exception
    counts as ERROR. What is private here has two underscores, so that nodes may use any name.
    """

    def __init__(
        self, *, enable_communication_interface: bool = True, callback_group=None
    ) -> None:
        self.__state = 1
        self.__state_lock = threading.RLock()
        self.__managed_entities: list[ManagedEntity] = []
        self.__event_publisher = None
        if enable_communication_interface:
            self.__serve(callback_group)

    def __serve(self, callback_group) -> None:
        self.__event_publisher = self.create_publisher(
            message_class('lifecycle_msgs/msg/TransitionEvent'), '~/transition_event', 10
        )
        for name, kind, answer in (
            ('change_state', 'ChangeState', self.__answer_change),
            ('get_state', 'GetState', self.__answer_state),
            ('get_available_states', 'GetAvailableStates', self.__answer_states),
            ('get_available_transitions', 'GetAvailableTransitions', self.__answer_available),
            ('get_transition_graph', 'GetAvailableTransitions', self.__answer_graph),
        ):
            self.create_service(
                service_class(f'lifecycle_msgs/srv/{kind}'), f'~/{name}', answer,
                callback_group=callback_group,
            )

    def add_managed_entity(self, entity: ManagedEntity) -> None:
        """Have an entity take part in transitions."""
        if not isinstance(entity, ManagedEntity):
            raise TypeError('Expected a rclpy.lifecycle.ManagedEntity instance.')
        self.__managed_entities.append(entity)

    def create_lifecycle_publisher(self, *args: object, **kwargs: object) -> LifecyclePublisher:
        """A publisher that is silent unless the node is active."""
        publisher = self.create_publisher(*args, publisher_class=LifecyclePublisher, **kwargs)
        self.add_managed_entity(publisher)
        return publisher

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        if publisher in self.__managed_entities:
            self.__managed_entities.remove(publisher)
        return self.destroy_publisher(publisher)

    def __all(self, name: str, state: LifecycleState) -> TransitionCallbackReturn:
        for entity in self.__managed_entities:
            result = getattr(entity, name)(state)
            if result != TransitionCallbackReturn.SUCCESS:
                return result
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__all('on_configure', state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__all('on_cleanup', state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__all('on_shutdown', state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__all('on_activate', state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__all('on_deactivate', state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.__all('on_error', state)

    def trigger_configure(self) -> TransitionCallbackReturn:
        return self.__change('configure')

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        return self.__change('cleanup')

    def trigger_activate(self) -> TransitionCallbackReturn:
        return self.__change('activate')

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        return self.__change('deactivate')

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        return self.__change('shutdown')

    def __available(self) -> list[_Transition]:
        return [t for t in TRANSITIONS if t.start == self.__state]

    def __change(self, label: str) -> TransitionCallbackReturn:
        with self.__state_lock:
            found = next((t for t in self.__available() if t.label == label), None)
            if found is None:
                raise RCLError(
                    f"'{label}' is not possible in state '{_STATES[self.__state]}'; possible:"
                    f' {", ".join(t.label for t in self.__available()) or "nothing"}'
                )
            before = LifecycleState(_STATES[self.__state], self.__state)
            self.__move(found)
            result = self.__run_callback(before)
            if result == TransitionCallbackReturn.ERROR:
                self.__run_callback(before)
            return result

    def __run_callback(self, before: LifecycleState) -> TransitionCallbackReturn:
        name = _CALLBACKS[self.__state]
        try:
            result = TransitionCallbackReturn(getattr(self, name)(before))
        except Exception as error:
            self.get_logger().error(f'{name}: {type(error).__name__}: {error}')
            result = TransitionCallbackReturn.ERROR
        self.__move(next(t for t in self.__available() if t.label == result.to_label()))
        return result

    def __move(self, transition: _Transition) -> None:
        self.__state = transition.goal
        if self.__event_publisher is not None and self.context.ok():
            event = message_class('lifecycle_msgs/msg/TransitionEvent')()
            _describe(transition, event)
            event.timestamp = self.get_clock().now().nanoseconds
            self.__event_publisher.publish(event)

    def __answer_change(self, request, response):
        wanted = request.transition
        matches = [
            t for t in self.__available()
            if t.label == wanted.label or (not wanted.label and t.id == wanted.id)
        ]
        if matches:
            result = self.__change(matches[0].label)
            response.success = result == TransitionCallbackReturn.SUCCESS
        return response

    def __answer_state(self, request, response):
        _name(response.current_state, self.__state)
        return response

    def __answer_states(self, request, response):
        for number in _STATES:
            state = message_class('lifecycle_msgs/msg/State')()
            _name(state, number)
            response.available_states.append(state)
        return response

    def __answer_available(self, request, response):
        return _list(response, self.__available())

    def __answer_graph(self, request, response):
        return _list(response, TRANSITIONS)


def _list(response, transitions):
    for transition in transitions:
        description = message_class('lifecycle_msgs/msg/TransitionDescription')()
        _describe(transition, description)
        response.available_transitions.append(description)
    return response


def _describe(transition: _Transition, message) -> None:
    message.transition.id, message.transition.label = transition.id, transition.label
    _name(message.start_state, transition.start)
    _name(message.goal_state, transition.goal)


def _name(state, number: int) -> None:
    state.id, state.label = number, _STATES[number]


class LifecycleNode(LifecycleNodeMixin, _PlainNode):
    """A managed node."""

    def __init__(
        self, node_name: str, *, enable_communication_interface: bool = True, **kwargs: object
    ) -> None:
        _PlainNode.__init__(self, node_name, **kwargs)
        LifecycleNodeMixin.__init__(
            self, enable_communication_interface=enable_communication_interface
        )


Node = LifecycleNode
NodeMixin = LifecycleNodeMixin
Publisher = LifecyclePublisher
State = LifecycleState
