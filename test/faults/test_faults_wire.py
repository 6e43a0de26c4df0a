"""Bytes that are no messages, on everything the node listens to."""

import struct
import time

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from harness import Bool, Image, String
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import Odometry
from payloads import mutations
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from rclpy.serialization import serialize_message
from std_srvs.srv import Trigger

from vla_nav import rosless
from vla_nav.nodes import qos

PAYLOADS = 2_500
"""On each topic."""
REQUESTS = 300
"""To each service."""
SEED = 20
TOPICS = {'camera/image_raw': Image, 'instruction': String, 'teleop_cmd_vel': TwistStamped,
          'emergency_stop': Bool, 'odom': Odometry}
SERVICES = {'stop': Trigger, 'resume': Trigger, 'set_parameters': SetParameters,
            'set_parameters_atomically': SetParametersAtomically, 'get_parameters': GetParameters,
            'describe_parameters': DescribeParameters, 'list_parameters': ListParameters,
            'get_state': GetState}
"""Not change_state: there, a damaged request may be a valid order to shut down."""
GAP_S = 0.008
"""A round is one payload on each topic; the node hears them all at this pace."""


def good_message(world, kind):
    makers = {Image: lambda: world.good_image(height=4, width=4),
              String: lambda: String(data='go to the red cone')}
    return makers.get(kind, kind)()


def test_malformed_messages_never_stop_the_node(world):
    node, rng = world.node, np.random.default_rng(SEED)
    publishers = {topic: node.create_publisher(kind, topic, qos.RELIABLE)
                  for topic, kind in TOPICS.items()}
    for publisher in publishers.values():
        world.wait(publisher.get_subscription_count, 'the node to listen')
    payloads = [mutations(rng, serialize_message(good_message(world, kind)), PAYLOADS)
                for kind in TOPICS.values()]
    refused = int(world.diagnostics['images refused'])
    for damaged in zip(*payloads):
        for publisher, payload in zip(publishers.values(), damaged):
            publisher.publish(payload)
        time.sleep(GAP_S)
    heard = len(world.commands)
    world.wait(lambda: len(world.commands) > heard + 10, 'more commands')
    assert all(0.0 <= v <= 0.5 and -1.0 <= w <= 1.0 for _, v, w in world.commands)
    world.wait(lambda: int(world.diagnostics['images refused']) > refused + PAYLOADS // 20,
               'the refusals on /diagnostics')
    if not rosless.is_native():  # Cyclone DDS itself keeps most of them from rclpy
        assert (f'{node.get_namespace()}/camera/image_raw is not a sensor_msgs/msg/Image, skipped'
                in world.process.output)
    for publisher in publishers.values():
        node.destroy_publisher(publisher)
    world.emergency.publish(Bool(data=False))
    time.sleep(1.5)  # A takeover that a damaged command began must end.
    world.drive()


def test_malformed_requests_never_stop_the_node(world):
    if rosless.is_native():
        pytest.skip('rclpy sends no damaged requests')
    from vla_nav.rosless import wire

    rng = np.random.default_rng(SEED)
    drive = f'{world.node.get_namespace()}/drive'
    for name, kind in SERVICES.items():
        client = world.node.create_client(kind, f'{drive}/{name}')
        assert client.wait_for_service(timeout_sec=60.0)
        good = serialize_message(kind.Request())
        good = good[:4] + struct.pack('<qq', 1, 1) + good[4:]
        for payload in mutations(rng, good, REQUESTS):
            wire.write(client._writer, payload)
            time.sleep(GAP_S / 4)
        world.node.destroy_client(client)
    assert world.call('stop').success
    assert world.call('resume').success
    assert world.set_parameter('instruction', 'go to the box') == (True, '')
    world.drive()
