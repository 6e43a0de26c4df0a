"""What latched and ordinary publishers say is handled once."""

import time

import pytest
import rclpy
from harness import PATIENCE_S
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool, String

from vla_nav.nodes import qos
from vla_nav.nodes.latched import WITH_INFO, LatchedSubscription, Pairs


@pytest.fixture
def node():
    context = Context()
    rclpy.init(args=[], context=context)
    node = Node('listener', context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_what_was_sent_once_is_new_once_however_often_it_comes_again():
    pairs = Pairs()
    assert pairs.is_new(1, 'red', 10)
    assert not pairs.is_new(0, 'red', 10)
    assert pairs.is_new(0, 'blue', 20)
    for _ in range(2):  # The link to who said red was lost, and is back.
        assert not pairs.is_new(1, 'red', 10)
    assert pairs.is_new(0, 'red', 30)


def test_what_is_latched_is_remembered_whoever_else_speaks():
    pairs = Pairs()
    assert pairs.is_new(1, 'red', 10)
    for sent_ns in range(20, 2020):
        assert pairs.is_new(0, 'blue', sent_ns)
    assert len(pairs._sent) < 1000
    assert not pairs.is_new(1, 'red', 10)


@pytest.mark.skipif(not WITH_INFO, reason='nobody tells when it was sent')
def test_what_does_not_count_when_it_comes_late_may_still_come_in_time(node, monkeypatch):
    now_ns, heard = 1_000_000_000, []
    monkeypatch.setattr(time, 'monotonic_ns', lambda: now_ns)
    pair = LatchedSubscription(node, Bool, 'button', heard.append, counts=bool)
    live, latched = ((lambda data, sent_ns, take=subscription.callback:
                      take(Bool(data=data), {'source_timestamp': sent_ns}))
                     for subscription in pair._subscriptions)
    latched(True, 10)
    live(True, 10)
    latched(False, 20)
    assert [message.data for message in heard] == [True]
    live(False, 20)
    assert [message.data for message in heard] == [True, False]
    latched(False, 30)
    now_ns += 600_000_000
    live(False, 30)  # repeated by a link that is back
    assert len(heard) == 2


def test_where_no_time_is_told_two_within_half_a_second_are_one(monkeypatch):
    pairs, now_ns = Pairs(), 1_000_000_000
    monkeypatch.setattr(time, 'monotonic_ns', lambda: now_ns)
    assert pairs.is_new(0, 'red')
    assert not pairs.is_new(1, 'red')
    assert pairs.is_new(0, 'red')
    now_ns += 600_000_000
    assert pairs.is_new(1, 'red')


@pytest.mark.parametrize('profile', ['RELIABLE', 'LATCHED'])
def test_each_message_of_a_publisher_is_handled_once(node, profile):
    heard, executor = [], SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    said = LatchedSubscription(node, String, 'said', lambda message: heard.append(message.data))
    publisher = node.create_publisher(String, 'said', getattr(qos, profile))

    def spin_until(condition):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            executor.spin_once(timeout_sec=0.05)
            assert time.monotonic() < deadline

    spin_until(lambda: publisher.get_subscription_count() == 1 + (profile == 'LATCHED'))
    for count in range(1, 4):
        publisher.publish(String(data='red'))
        spin_until(lambda count=count: len(heard) >= count)
    for _ in range(10):
        executor.spin_once(timeout_sec=0.05)
    assert heard == ['red'] * 3
    assert len(said._pairs._sent) == (3 if WITH_INFO else 0)
    executor.shutdown()
