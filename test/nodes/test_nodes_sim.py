"""The simulated robot as a process: its scenes, its topics, and what it is to lose it."""

import json

import numpy as np
import pytest
from harness import (
    PATIENCE_S,
    Parameter,
    ParameterType,
    ParameterValue,
    SetParameters,
    Trigger,
    messages,
    qos,
)
from harness import NodeProcess as Process
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from vla_nav.frames import decode_image

SENTENCE = 'go to the red cone'


@pytest.fixture(scope='module')
def robot(start_drive, models, tmp_path_factory):
    """A drive node whose camera is a process, and the function that starts that."""
    world = start_drive()
    world.make_image = None
    world.tasks = []
    namespace = world.node.get_namespace()
    world.node.create_subscription(
        String, f'{namespace}/sim/task', lambda m: world.tasks.append(json.loads(m.data)),
        qos.LATCHED)
    started = []

    def start(*words):
        for process in started:
            process.end()
        started.append(Process(
            tmp_path_factory.mktemp('sim') / 'log', ['-m', 'vla_nav.nodes.sim'], '--ros-args',
            '-r', f'__ns:={namespace}', '-p', f'robot:={models / "tiny.yaml"}', '-p',
            'command_type:=TwistStamped', '-p', 'width:=64', '-p', 'height:=48', *words))
        seen = len(world.tasks)
        world.wait(lambda: len(world.tasks) > seen, 'the simulated robot')
        return started[-1]

    yield world, start
    for process in started:
        process.end()


def call(world, service):
    client = world.node.create_client(Trigger, f'{world.node.get_namespace()}/sim/{service}')
    assert client.wait_for_service(timeout_sec=PATIENCE_S)
    return world._result(client, Trigger.Request())


def set_scene(world, seed, level):
    client = world.node.create_client(
        SetParameters, f'{world.node.get_namespace()}/sim/set_parameters')
    assert client.wait_for_service(timeout_sec=PATIENCE_S)
    values = {'seed': ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed),
              'level': ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=level)}
    return world._result(client, SetParameters.Request(parameters=[
        Parameter(name=name, value=value) for name, value in values.items()])).results


def test_killing_the_camera_stops_the_robot_until_it_is_back(robot):
    world, start = robot
    camera = start()
    world.wait_model()
    world.say(SENTENCE)
    world.wait(lambda: world.moving, 'a velocity')
    killed_ns = world.now_ns()
    camera.process.kill()
    # Which limit comes first, of arrival or of stamps, is a matter of the machine's pace.
    world.assert_stands('FAULT', 'camera stale')
    world.assert_stopped_in_time(killed_ns)
    start()
    assert world.call('resume').success
    world.wait_state('DRIVING')
    world.wait(lambda: world.moving, 'a velocity')


def test_a_scene_begins_anew_by_its_seed(robot):
    world, start = robot
    start()
    assert all(result.successful for result in set_scene(world, 7, 'easy'))
    assert call(world, 'reset').message == 'scene 7 (easy)'
    world.wait(lambda: (world.tasks[-1]['seed'], world.tasks[-1]['level']) == (7, 'easy'),
               'the scene')
    first = world.tasks[-1]
    assert call(world, 'next').message == 'scene 8 (easy)'
    world.wait(lambda: world.tasks[-1]['seed'] == 8, 'the next scene')
    assert world.tasks[-1]['objects'] != first['objects']
    set_scene(world, 7, 'easy')
    call(world, 'reset')
    world.wait(lambda: world.tasks[-1]['seed'] == 7, 'the scene')
    assert world.tasks[-1] == first
    refused = set_scene(world, -1, 'easy')
    assert not refused[0].successful and 'out of range' in refused[0].reason


def test_it_films_in_jpeg_and_tells_the_time(robot):
    world, start = robot
    topic = f'{world.node.get_namespace()}/camera/image_raw'
    images, jpegs, times = [], [], []
    heard = [world.node.create_subscription(kind, name, into.append, profile)
             for kind, name, into, profile in (
                 (Image, topic, images, qos.SENSOR),
                 (CompressedImage, f'{topic}/compressed', jpegs, qos.SENSOR),
                 (Clock, '/clock', times, qos.CLOCK))]
    start('-p', 'compressed:=true', '-p', 'publish_clock:=true', '-p', 'rate_hz:=5.0')
    images.clear()
    world.wait(lambda: len(jpegs) > 5, 'images')
    assert not images
    assert decode_image(jpegs[-1]).shape == (48, 64, 3)
    stamps = np.array([messages.nanoseconds(jpeg.header.stamp) for jpeg in jpegs])
    clock = np.array([messages.nanoseconds(time.clock) for time in times])
    assert (np.diff(clock) > 0).all()
    assert set(np.diff(stamps)[1:]) == {200_000_000}
    assert clock.min() <= stamps[-1] <= clock.max() + 20_000_000
    for subscription in heard:
        world.node.destroy_subscription(subscription)
