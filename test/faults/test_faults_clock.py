"""Clocks that stand still, jump, or disagree."""

import time

import numpy as np
import pytest
from harness import PERIOD_NS, STALE_NS, messages
from payloads import mutations
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock as ClockMessage
from stepped_drive import STEPS_S

from vla_nav import rosless
from vla_nav.nodes import qos


def assert_stopped_within(world, since_ns):
    assert world.moved_ns - since_ns <= STALE_NS + PERIOD_NS


def assert_drives_again(world):
    assert world.call('resume').success
    world.wait_state('DRIVING')
    world.wait(lambda: world.moving, 'a velocity')


class SimulatedClock:
    """Publishes /clock; the world's camera stamps by it."""

    def __init__(self, world) -> None:
        self._world = world
        self._publisher = world.node.create_publisher(ClockMessage, '/clock', qos.COMMAND)
        self._offset_ns = 100 * 10**9 - time.monotonic_ns()
        self._paused_ns = None
        world.now_ns = self.now_ns
        world.node.create_timer(0.02, self._tick)

    def now_ns(self) -> int:
        return self._paused_ns or time.monotonic_ns() + self._offset_ns

    def pause(self) -> None:
        self._paused_ns = self.now_ns()

    def go_on(self) -> None:
        self._offset_ns = self._paused_ns - time.monotonic_ns()
        self._paused_ns = None

    def jump(self, seconds: float) -> None:
        self._offset_ns += round(seconds * 1e9)

    def _tick(self) -> None:
        self._publisher.publish(ClockMessage(clock=messages.stamp(self.now_ns())))


@pytest.fixture(scope='module')
def simulated_world(start_drive):
    """A drive node on simulated time, and its clock."""
    world = start_drive('-p', 'use_sim_time:=true')
    clock = SimulatedClock(world)
    world.wait_model()
    yield world, clock
    world.process.end()


@pytest.fixture
def simulated(simulated_world):
    """The same, driving."""
    simulated_world[0].drive()
    return simulated_world


def test_the_simulation_pauses_with_its_camera(simulated):
    world, clock = simulated
    clock.pause()
    world.make_image, since_ns = None, time.monotonic_ns()
    world.assert_stands('FAULT', 'camera stale: no new image on')
    assert_stopped_within(world, since_ns)
    clock.go_on()
    world.make_image = world.good_image
    time.sleep(0.3)
    assert not world.moving
    assert_drives_again(world)


def test_the_simulation_pauses_and_its_camera_films_on(simulated):
    world, clock = simulated
    clock.pause()
    since_ns = time.monotonic_ns()
    world.assert_stands('FAULT', 'its stamp is the one before')
    assert_stopped_within(world, since_ns)
    clock.go_on()
    assert_drives_again(world)


@pytest.mark.parametrize('jump_s', [3600.0, -1800.0])
def test_the_simulated_clock_jumps(simulated, jump_s):
    world, clock = simulated
    clock.jump(jump_s)
    since_ns = time.monotonic_ns()
    world.assert_stands('FAULT', 'the clock jumped by ' + f'{jump_s:+}'[:2])
    assert_stopped_within(world, since_ns)
    time.sleep(0.5)
    assert not world.moving
    assert_drives_again(world)


def test_malformed_clocks_never_stop_the_node(simulated):
    world, _ = simulated
    clock = world.node.create_publisher(ClockMessage, '/clock', qos.COMMAND)
    for payload in mutations(np.random.default_rng(20), serialize_message(ClockMessage()), 500):
        clock.publish(payload)
        time.sleep(0.002)
    world.node.destroy_publisher(clock)
    world.wait_state('FAULT', 'the clock')
    time.sleep(0.3)
    assert_drives_again(world)


class SteppedClock:
    """The wall clock of a drive node's process, and of a camera on the same machine."""

    def __init__(self, world) -> None:
        self._process = world.process.process
        self._offset_ns = 0
        self._right_ns = world.now_ns
        world.now_ns = self.now_ns

    def now_ns(self) -> int:
        return self._right_ns() + self._offset_ns

    def step(self, number, camera_too: bool) -> None:
        self._process.send_signal(number)
        if camera_too:
            self._offset_ns += STEPS_S[number] * 10**9


@pytest.fixture(scope='module')
def stepped_world(start_drive):
    """A drive node whose wall clock can be set, and that clock."""
    if rosless.is_native():
        pytest.skip('rclpy reads its clock outside of Python')
    world = start_drive(script='stepped_drive')
    clock = SteppedClock(world)
    world.wait_model()
    yield world, clock
    world.process.end()


@pytest.fixture
def stepped(stepped_world):
    """The same, driving."""
    stepped_world[0].drive()
    return stepped_world


@pytest.mark.parametrize('number', STEPS_S, ids=['forth', 'back'])
def test_the_wall_clock_is_set(stepped, number):
    world, clock = stepped
    since_ns = time.monotonic_ns()
    clock.step(number, camera_too=True)
    world.assert_stands('FAULT', 'the clock jumped by ' + f'{STEPS_S[number]:+}'[:3])
    assert_stopped_within(world, since_ns)
    time.sleep(0.5)
    assert not world.moving
    assert_drives_again(world)


@pytest.mark.parametrize(('there', 'and_back'), [tuple(STEPS_S), tuple(STEPS_S)[::-1]],
                         ids=['forth', 'back'])
def test_the_wall_clock_leaves_that_of_the_camera(stepped, there, and_back):
    world, clock = stepped
    since_ns = time.monotonic_ns()
    clock.step(there, camera_too=False)
    world.assert_stands('FAULT', 'the clock jumped by ' + f'{STEPS_S[there]:+}'[:3])
    assert_stopped_within(world, since_ns)
    assert world.call('resume').success
    world.assert_stands('WAITING', 'by its stamp' if STEPS_S[there] > 0 else 'in the future')
    clock.step(and_back, camera_too=False)
    world.wait(lambda: world.state['state'] != 'WAITING', 'the clocks to agree again')
    world.drive()
