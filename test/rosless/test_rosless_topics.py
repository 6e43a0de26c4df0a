"""Topics: within a process, between processes, raw, latched, queues, names."""

import re

import pytest
import rclpy
from rclpy.context import Context
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSPresetProfiles,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import Int32, String

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_a_message_goes_to_another_process_and_back(server, node, spin):
    heard = []
    publisher = node.create_publisher(String, '/peer/say', 10)
    node.create_subscription(String, '/peer/echo', heard.append, 10)
    assert spin(lambda: publisher.get_subscription_count() == 1
                and node.count_publishers('/peer/echo') == 1, node)

    def answered():
        publisher.publish(String(data='hello'))
        return bool(heard)

    assert spin(answered, node)
    assert heard[0] == String(data='hello')


def test_an_image_arrives_whole(server, node, spin):
    images = []
    node.create_subscription(Image, '/peer/image', images.append, 10)
    shutter = node.create_publisher(String, '/peer/photograph', 10)

    def photographed():
        shutter.publish(String())
        return bool(images)

    assert spin(photographed, node)
    assert (images[0].width, images[0].height, len(images[0].data)) == (640, 480, 921600)
    assert bytes(images[0].data[:256]) == bytes(range(256))


def test_a_latched_message_reaches_who_comes_late(server, node, spin):
    heard = []
    node.create_subscription(String, '/peer/state', heard.append, LATCHED)
    assert spin(lambda: heard, node)
    assert heard[0].data == 'latched'


def test_a_volatile_subscription_misses_what_was_said_before(node, spin):
    heard, latched = [], []
    node.create_publisher(String, 'state', LATCHED).publish(String(data='old'))
    node.create_subscription(String, 'state', heard.append, 1)
    node.create_subscription(String, 'state', latched.append, LATCHED)
    assert spin(lambda: latched, node)
    assert heard == []


def test_a_raw_subscription_gets_the_bytes(node, spin):
    heard = []
    publisher = node.create_publisher(String, 'chat', 10)
    node.create_subscription(String, 'chat', heard.append, 10, raw=True)
    assert spin(lambda: publisher.get_subscription_count() == 1, node)
    publisher.publish(String(data='raw'))
    assert spin(lambda: heard, node)
    assert isinstance(heard[0], bytes)
    assert deserialize_message(heard[0], String) == String(data='raw')


def test_serialised_bytes_can_be_published(node, spin):
    heard = []
    publisher = node.create_publisher(String, 'chat', 10)
    node.create_subscription(String, 'chat', heard.append, 10)
    assert spin(lambda: publisher.get_subscription_count() == 1, node)
    publisher.publish(serialize_message(String(data='as bytes')))
    assert spin(lambda: heard, node)
    assert heard[0].data == 'as bytes'


def test_a_queue_keeps_the_newest(node, spin):
    heard = []
    publisher = node.create_publisher(Int32, 'numbers', 10)
    node.create_subscription(Int32, 'numbers', lambda m: heard.append(m.data), 2)
    assert spin(lambda: publisher.get_subscription_count() == 1, node)
    for number in range(8):
        publisher.publish(Int32(data=number))
    assert spin(lambda: 7 in heard, node)
    assert heard == [6, 7]


def test_keep_all_keeps_all(node, spin):
    heard = []
    everything = QoSProfile(history=HistoryPolicy.KEEP_ALL)
    publisher = node.create_publisher(Int32, 'numbers', everything)
    node.create_subscription(Int32, 'numbers', lambda m: heard.append(m.data), everything)
    assert spin(lambda: publisher.get_subscription_count() == 1, node)
    for number in range(50):
        publisher.publish(Int32(data=number))
    assert spin(lambda: len(heard) == 50, node)
    assert heard == list(range(50))


def test_a_callback_may_ask_for_message_info(node, spin):
    if not hasattr(Subscription, 'CallbackType'):
        pytest.skip('Humble has none')
    heard = []
    publisher = node.create_publisher(String, 'chat', 10)
    node.create_subscription(String, 'chat', lambda m, info: heard.append(info), 10)
    assert spin(lambda: publisher.get_subscription_count() == 1, node)
    publisher.publish(String())
    assert spin(lambda: heard, node)
    info = heard[0]
    assert 0 < info['source_timestamp'] <= info['received_timestamp']


def test_a_callback_that_takes_no_message_is_refused(node):
    with pytest.raises(RuntimeError, match='callback'):
        node.create_subscription(String, 'chat', lambda: None, 10)


def test_best_effort_does_not_satisfy_reliable(node, spin):
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(String, 'chat', best_effort)
    node.create_subscription(String, 'chat', print, 1)
    node.create_subscription(String, 'chat', print, qos_profile_sensor_data)
    assert spin(lambda: publisher.get_subscription_count() == 1, node)
    assert spin(lambda: node.count_subscribers('chat') == 2, node)
    assert publisher.get_subscription_count() == 1


def test_a_mismatch_is_told(node, spin, capfd):
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_publisher(String, 'chat', best_effort)
    node.create_subscription(String, 'chat', print, 1)
    lines = []

    def told():
        lines.extend(capfd.readouterr().err.splitlines())
        return len(lines) >= 2

    assert spin(told, node)
    text = '\n'.join(sorted(lines))
    assert re.search("New publisher discovered on topic '/?chat', offering incompatible", text)
    assert re.search("New subscription discovered on topic '/?chat', requesting incomp", text)
    assert text.count('Last incompatible policy: RELIABILITY') == 2


def test_a_mismatch_may_be_left_untold(node, spin, capfd):
    event_handler = pytest.importorskip('rclpy.event_handler')
    silent = event_handler.SubscriptionEventCallbacks(use_default_callbacks=False)
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(String, 'chat', print, 1, event_callbacks=silent)
    node.create_publisher(String, 'chat', best_effort)
    lines = []

    def told():
        lines.extend(capfd.readouterr().err.splitlines())
        return bool(lines)

    assert spin(told, node)
    spin(lambda: False, node, patience_s=0.2)
    assert told()
    assert not [line for line in lines if 'New publisher discovered' in line]


def test_events_call_back(node, spin):
    event_handler = pytest.importorskip('rclpy.event_handler')
    mismatches, matches = [], []
    node.create_subscription(
        String, 'chat', print, LATCHED,
        event_callbacks=event_handler.SubscriptionEventCallbacks(
            incompatible_qos=mismatches.append, matched=matches.append))
    node.create_publisher(String, 'chat', 1)
    assert spin(lambda: mismatches, node)
    assert mismatches[0].total_count == 1
    assert int(mismatches[0].last_policy_kind) == QoSPolicyKind.DURABILITY
    node.create_publisher(String, 'chat', LATCHED)
    assert spin(lambda: matches, node)
    assert matches[0].current_count == 1


def test_one_message_can_be_waited_for(server, node):
    from rclpy.wait_for_message import wait_for_message
    assert wait_for_message(String, node, '/nobody', time_to_wait=0.05) == (False, None)
    found, message = wait_for_message(
        String, node, '/peer/state', qos_profile=LATCHED, time_to_wait=20.0)
    assert (found, message) == (True, String(data='latched'))


def test_a_node_of_its_own_class_may_wait_for_a_message():
    """Whatever its constructor takes, and with each remap applied once."""
    from rclpy.wait_for_message import wait_for_message

    class Waiting(Node):
        def __init__(self, context):
            super().__init__('waiting', context=context)

    context = Context()
    rclpy.init(args=['prog', '--ros-args', '-r', 'a:=b', '-r', 'b:=c'], context=context)
    try:
        node = Waiting(context)
        node.create_publisher(String, 'a', LATCHED).publish(String(data='here'))
        assert wait_for_message(String, node, 'a', qos_profile=LATCHED, time_to_wait=20.0) == (
            True, String(data='here'))
        node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)


def test_a_message_of_another_type_is_refused(node):
    publisher = node.create_publisher(String, 'chat', 10)
    with pytest.raises(TypeError):
        publisher.publish(Int32())


def test_a_destroyed_subscription_hears_nothing(node, spin):
    heard, control = [], []
    publisher = node.create_publisher(Int32, 'numbers', 10)
    gone = node.create_subscription(Int32, 'numbers', heard.append, 10)
    node.create_subscription(Int32, 'numbers', control.append, 10)
    assert spin(lambda: publisher.get_subscription_count() == 2, node)
    assert node.destroy_subscription(gone)
    assert spin(lambda: publisher.get_subscription_count() == 1, node)
    publisher.publish(Int32())
    assert spin(lambda: control, node)
    assert heard == []


@pytest.mark.parametrize('name, expected', [
    ('a', '/ns/a'), ('a/b', '/ns/a/b'), ('/a', '/a'), ('~/a', '/ns/tested/a'),
    ('{node}/a', '/ns/tested/a'),
])
def test_names_expand(make_node, name, expected):
    node = make_node(namespace='/ns')
    assert node.create_publisher(String, name, 1).topic_name == expected
    assert node.resolve_topic_name(name) == expected


@pytest.mark.parametrize('name', ['', 'a b', 'a//b', 'a/', '1a', 'a/~/b', 'ü'])
def test_a_bad_name_is_refused(node, name):
    with pytest.raises(InvalidTopicNameException):
        node.create_publisher(String, name, 1)


def test_names_are_remapped(make_node):
    node = make_node(namespace='/ns', cli_args=[
        '--ros-args', '-r', 'camera:=front/image', '-r', '/ns/out:=/elsewhere'])
    assert node.create_publisher(String, 'camera', 1).topic_name == '/ns/front/image'
    assert node.create_publisher(String, 'out', 1).topic_name == '/elsewhere'
    assert node.resolve_topic_name('camera', only_expand=True) == '/ns/camera'


def test_names_are_remapped_for_one_node_and_one_kind(make_node):
    node = make_node(cli_args=['--ros-args', '-r', 'tested:rostopic://a:=/n', '-r',
                               'rosservice://b:=/m', '-r', 'other:c:=/o'])
    assert [node.resolve_topic_name(name) for name in 'abc'] == ['/n', '/b', '/c']
    assert [node.resolve_service_name(name) for name in 'abc'] == ['/a', '/m', '/c']


def test_depth_may_stand_for_a_profile(node):
    with pytest.raises(ValueError):
        node.create_publisher(String, 'chat', -1)
    with pytest.raises(TypeError):
        node.create_publisher(String, 'chat', 'ten')


def test_profiles():
    assert qos_profile_sensor_data.reliability == ReliabilityPolicy.BEST_EFFORT
    assert qos_profile_sensor_data.depth == 5
    assert QoSProfile(depth=3).history == HistoryPolicy.KEEP_LAST
    assert QoSProfile(depth=3) == QoSProfile(depth=3)
    assert QoSProfile(depth=3) != QoSProfile(depth=4)
    assert QoSPresetProfiles.get_from_short_key('sensor_data') == qos_profile_sensor_data
