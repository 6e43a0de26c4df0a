"""Managed nodes: states, callbacks, services."""

import pytest
from lifecycle_msgs.msg import TransitionEvent
from lifecycle_msgs.srv import (
    ChangeState,
    GetAvailableStates,
    GetAvailableTransitions,
    GetState,
)
from rclpy.lifecycle import LifecycleNode, SimpleManagedEntity, TransitionCallbackReturn
from std_msgs.msg import String

SUCCESS = TransitionCallbackReturn.SUCCESS


class Managed(LifecycleNode):
    """Notes which callbacks were called, and returns what it is told."""

    def __init__(self, context):
        super().__init__('managed', context=context)
        self.calls = []
        self.answers = {}
        # A node's own names: rclpy leaves these free.
        self._state = self._change = self._serve = self._enter = 'my own'

    def answer(self, name, state):
        self.calls.append((name, state.label))
        answer = self.answers.get(name, SUCCESS)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def on_configure(self, state):
        super().on_configure(state)
        return self.answer('configure', state)

    def on_activate(self, state):
        super().on_activate(state)
        return self.answer('activate', state)

    def on_deactivate(self, state):
        super().on_deactivate(state)
        return self.answer('deactivate', state)

    def on_cleanup(self, state):
        return self.answer('cleanup', state)

    def on_shutdown(self, state):
        return self.answer('shutdown', state)

    def on_error(self, state):
        return self.answer('error', state)


@pytest.fixture
def managed(context):
    """Return a managed node."""
    node = Managed(context)
    yield node
    node.destroy_node()


@pytest.fixture
def ask(call, managed, node, executor):
    """Return a function that calls a lifecycle service of the managed node."""
    executor.add_node(managed)

    def ask_service(kind, name, request=None):
        return call(node, kind, f'/managed/{name}', request or kind.Request())

    return ask_service


@pytest.fixture
def change(ask):
    """Return a function that asks for a transition by its label."""

    def change_state(label):
        request = ChangeState.Request()
        request.transition.label = label
        return ask(ChangeState, 'change_state', request).success

    return change_state


@pytest.fixture
def state(ask):
    """Return a function that tells the state."""
    return lambda: ask(GetState, 'get_state').current_state.label


def test_a_whole_life(managed, change, state):
    assert state() == 'unconfigured'
    for label, after in (
        ('configure', 'inactive'), ('activate', 'active'), ('deactivate', 'inactive'),
        ('cleanup', 'unconfigured'), ('configure', 'inactive'), ('shutdown', 'finalized'),
    ):
        assert change(label)
        assert state() == after
    assert managed.calls[:2] == [('configure', 'unconfigured'), ('activate', 'inactive')]
    assert managed.calls[-1] == ('shutdown', 'inactive')


def test_an_unknown_transition_is_refused(change, state):
    assert not change('fly')
    assert state() == 'unconfigured'


def test_a_failure_leads_back(managed, change, state):
    managed.answers['configure'] = TransitionCallbackReturn.FAILURE
    assert not change('configure')
    assert state() == 'unconfigured'


def test_an_exception_is_an_error(managed, change, state):
    managed.answers['configure'] = ValueError('no model')
    assert not change('configure')
    assert ('error', 'unconfigured') in managed.calls
    assert state() == 'unconfigured'


def test_an_error_that_is_not_handled_finalizes(managed, change, state):
    managed.answers['activate'] = TransitionCallbackReturn.ERROR
    managed.answers['error'] = TransitionCallbackReturn.FAILURE
    assert change('configure')
    assert not change('activate')
    assert state() == 'finalized'


def test_what_is_available(ask, change):
    states = ask(GetAvailableStates, 'get_available_states').available_states
    assert {(s.id, s.label) for s in states} >= {
        (1, 'unconfigured'), (2, 'inactive'), (3, 'active'), (4, 'finalized')}
    change('configure')
    found = ask(GetAvailableTransitions, 'get_available_transitions').available_transitions
    assert {(t.transition.id, t.transition.label, t.goal_state.label) for t in found} == {
        (2, 'cleanup', 'cleaningup'), (3, 'activate', 'activating'),
        (6, 'shutdown', 'shuttingdown')}
    graph = ask(GetAvailableTransitions, 'get_transition_graph').available_transitions
    assert len(graph) == 25


def test_a_managed_publisher_is_silent_unless_active(managed, node, spin):
    heard = []
    publisher = managed.create_lifecycle_publisher(String, 'chat', 10)
    node.create_subscription(String, 'chat', lambda m: heard.append(m.data), 10)
    assert spin(lambda: publisher.get_subscription_count() == 1, node, managed)
    publisher.publish(String(data='too early'))
    assert managed.trigger_configure() == SUCCESS
    assert managed.trigger_activate() == SUCCESS
    assert publisher.is_activated
    publisher.publish(String(data='in time'))
    assert managed.trigger_deactivate() == SUCCESS
    publisher.publish(String(data='too late'))
    assert spin(lambda: heard, node, managed)
    assert heard == ['in time']


def test_a_wrong_trigger_is_refused(managed):
    with pytest.raises(RuntimeError):
        managed.trigger_activate()


def test_transitions_are_published(managed, node, spin):
    events = []
    node.create_subscription(TransitionEvent, '/managed/transition_event', events.append, 10)
    assert spin(lambda: node.count_publishers('/managed/transition_event') >= 1, node)
    spin(lambda: False, node, patience_s=0.2)
    managed.trigger_configure()
    assert spin(lambda: len(events) == 2, node)
    assert [e.goal_state.label for e in events] == ['configuring', 'inactive']


def test_an_entity_hears_of_transitions(managed):
    entity = SimpleManagedEntity()
    managed.add_managed_entity(entity)
    managed.trigger_configure()
    managed.trigger_activate()
    assert entity.is_activated
    with pytest.raises(TypeError):
        managed.add_managed_entity(object())
