"""Signals, rivals, broken data and clocks."""

import os
import signal
import time

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from harness import Bool, Image, String
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock as ClockMessage

from vla_nav.nodes import messages, qos

PAYLOADS = 10_000
SEED = 20


def test_a_frozen_process_wakes_up_to_a_fault(world):
    world.process.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    world.process.process.send_signal(signal.SIGCONT)
    world.assert_stands('FAULT', 'camera stale')
    assert world.call('resume').success
    world.wait_state('DRIVING')


def test_a_killed_node_falls_silent_and_a_new_one_waits_for_a_new_order(start_drive):
    namespace = f'/killed_{os.getpid()}'
    world = start_drive(namespace=namespace)
    world.wait(lambda: world.state.get('model'), 'the model')
    world.drive()
    world.process.process.kill()
    world.process.process.wait()
    time.sleep(0.5)
    heard = len(world.commands)
    time.sleep(0.5)
    # No zero can come from a dead process: the base needs a watchdog of its own.
    assert len(world.commands) == heard
    again = start_drive(namespace=namespace)
    again.wait(lambda: again.state.get('model'), 'the model')
    again.assert_stands('WAITING', 'no instruction')
    again.process.end()


def test_a_rival_on_the_command_topic_is_named(world):
    rival = world.node.create_publisher(TwistStamped, 'cmd_vel', qos.COMMAND)
    world.wait(lambda: world.diagnostics.get('other publishers on command topic') == '1',
               'the rival on /diagnostics')
    assert world.level == b'\x01'
    assert "send a human's commands to teleop_cmd_vel instead" in world.process.output
    world.node.destroy_publisher(rival)
    world.wait(lambda: world.diagnostics['other publishers on command topic'] == '0', 'its end')


def mutations(rng, good: bytes, count: int):
    """Damaged copies of a serialised message: bytes changed, cut short, or noise.

    The four bytes of the CDR header stay: without them DDS itself does not send the data.
    """
    for number in range(count):
        data = bytearray(good)
        kind = number % 4
        if kind == 0:
            data = data[:rng.integers(5, max(6, len(data)))]
        elif kind == 1:
            for place in rng.integers(4, len(data), 4):
                data[place] = rng.integers(256)
        elif kind == 2:
            place = rng.integers(4, max(5, len(data) - 4))
            data[place:place + 4] = rng.bytes(4)
        else:
            data = bytearray(data[:4] + rng.bytes(int(rng.integers(1, 64))))
        yield bytes(data)


@pytest.mark.parametrize(('topic', 'kind'), [
    ('camera/image_raw', Image), ('instruction', String), ('teleop_cmd_vel', TwistStamped),
    ('emergency_stop', Bool), ('odom', Odometry)])
def test_malformed_messages_never_stop_the_node(world, topic, kind):
    good = {Image: lambda: world.good_image(height=4, width=4),
            String: lambda: String(data='go to the red cone')}.get(kind, kind)()
    publisher = world.node.create_publisher(kind, topic, qos.RELIABLE)
    world.wait(publisher.get_subscription_count, 'the node to listen')
    rng, heard = np.random.default_rng(SEED), len(world.commands)
    for number, payload in enumerate(mutations(rng, serialize_message(good), PAYLOADS // 5)):
        publisher.publish(payload)
        if number % 20 == 19:
            time.sleep(0.005)
    world.wait(lambda: len(world.commands) > heard + 10, 'more commands')
    world.node.destroy_publisher(publisher)
    world.emergency.publish(Bool(data=False))
    time.sleep(1.5)  # A takeover that a damaged command began must end.
    world.drive()


def test_a_simulated_clock_that_pauses_or_jumps_is_a_fault(start_drive):
    world = start_drive('-p', 'use_sim_time:=true')
    clock = world.node.create_publisher(ClockMessage, '/clock', qos.COMMAND)
    ticking, offset_s, began_s = [True], [100.0], time.monotonic()

    def now_ns():
        return round((offset_s[0] + time.monotonic() - began_s) * 1e9)

    def tick():
        if ticking[0]:
            clock.publish(ClockMessage(clock=messages.stamp(now_ns())))

    timer = world.node.create_timer(0.02, tick)
    world.now_ns = now_ns
    world.wait(lambda: world.state.get('model'), 'the model')
    world.drive()
    ticking[0] = False
    world.make_image = None
    world.assert_stands('FAULT', 'camera stale: no new image on')
    ticking[0], world.make_image = True, world.good_image
    time.sleep(0.3)
    assert world.call('resume').success
    world.wait_state('DRIVING')
    for jump_s in (3600.0, -1800.0):
        offset_s[0] += jump_s
        world.wait_state('FAULT', 'the clock jumped by ' + f'{jump_s:+}'[:2])
        time.sleep(2.0)
        assert not world.moving
        assert world.call('resume').success
        world.wait_state('DRIVING')
    world.node.destroy_timer(timer)
    world.process.end()
