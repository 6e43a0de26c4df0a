"""What latched and ordinary publishers say is handled once."""

import time

import pytest
import rclpy
from harness import PATIENCE_S
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

from vla_nav.nodes import qos
from vla_nav.nodes.latched import LatchedSubscription, Pairs


def test_what_was_sent_once_is_new_once_however_often_it_comes_again():
    pairs = Pairs()
    assert pairs.is_new(1, 'red', 10)
    assert not pairs.is_new(0, 'red', 10)
    assert pairs.is_new(0, 'blue', 20)
    for _ in range(2):  # The link to who said red was lost, and is back.
        assert not pairs.is_new(1, 'red', 10)
    assert pairs.is_new(0, 'red', 30)


def test_where_no_time_is_told_two_within_half_a_second_are_one(monkeypatch):
    pairs, now_ns = Pairs(), 1_000_000_000
    monkeypatch.setattr(time, 'monotonic_ns', lambda: now_ns)
    assert pairs.is_new(0, 'red')
    assert not pairs.is_new(1, 'red')
    assert pairs.is_new(0, 'red')
    now_ns += 600_000_000
    assert pairs.is_new(1, 'red')


@pytest.mark.parametrize('profile', ['RELIABLE', 'LATCHED'])
def test_each_message_of_a_publisher_is_handled_once(profile):
    context, heard = Context(), []
    rclpy.init(args=[], context=context)
    try:
        speaker, listener = (Node(name, context=context) for name in ('speaker', 'listener'))
        executor = SingleThreadedExecutor(context=context)
        for node in (speaker, listener):
            executor.add_node(node)
        LatchedSubscription(listener, String, 'said',
                            lambda message: heard.append(message.data))
        publisher = speaker.create_publisher(String, 'said', getattr(qos, profile))

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
        executor.shutdown()
    finally:
        rclpy.shutdown(context=context)
