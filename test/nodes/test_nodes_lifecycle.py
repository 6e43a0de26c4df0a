"""The drive node's states: who may move the base, and what it is left with."""

import signal
import time
import weakref

import numpy as np
import pytest
from harness import PATIENCE_S, Bool, TwistStamped, messages
from lifecycle_msgs.srv import ChangeState, GetState

from vla_nav.contract import ActionChunk, Contract
from vla_nav.control import Controller, ControlSettings
from vla_nav.nodes.inference import InferenceWorker

ZERO = (0.0, 0.0)


def begin(world, label):
    """Ask a drive node for a transition; returns the future answer."""
    client = world.node.create_client(ChangeState, f'{world._drive}/change_state')
    assert client.wait_for_service(timeout_sec=PATIENCE_S)
    request = ChangeState.Request()
    request.transition.label = label
    return client.call_async(request)


def change(world, label):
    """Whether a drive node made a transition."""
    answer = begin(world, label)
    world.wait(answer.done, f'an answer to {label}')
    return answer.result().success


def state(world):
    client = world.node.create_client(GetState, f'{world._drive}/get_state')
    assert client.wait_for_service(timeout_sec=PATIENCE_S)
    answer = client.call_async(GetState.Request())
    world.wait(answer.done, 'its state')
    return answer.result().current_state.label


def speeds(world):
    return [(v, w) for _, v, w in world.commands]


def assert_silent(world, name, reason=''):
    """Nothing on the command topic, the state and its reason on the two others."""
    world.wait_state(name, reason)
    world.wait(lambda: world.diagnostics.get('state') == name, 'the state on /diagnostics')
    heard = len(world.commands)
    world.diagnostics.clear()
    world.wait(lambda: world.diagnostics, 'another report')
    assert len(world.commands) == heard


@pytest.fixture(scope='module')
def managed(start_drive):
    """A drive node that others start."""
    return start_drive('-p', 'autostart:=false')


@pytest.fixture
def inactive(managed):
    """The managed node, configured and no more; unconfigured afterwards."""
    assert change(managed, 'configure')
    yield managed
    if state(managed) == 'active':
        assert change(managed, 'deactivate')
    assert change(managed, 'cleanup')


def test_a_whole_life(managed):
    assert state(managed) == 'unconfigured'
    assert_silent(managed, 'UNCONFIGURED', 'no model: configure loads it')
    assert managed.state['model'] is None
    assert change(managed, 'configure')
    assert_silent(managed, 'INACTIVE', 'no command is published until it is activated')
    assert managed.state['model'] == 'forward'
    assert change(managed, 'activate')
    managed.assert_stands('WAITING', 'no instruction yet')
    managed.drive()
    assert change(managed, 'deactivate')
    assert_silent(managed, 'INACTIVE')
    assert speeds(managed)[-3:] == [ZERO] * 3
    assert change(managed, 'cleanup')
    assert_silent(managed, 'UNCONFIGURED', 'no model: configure loads it')
    assert managed.diagnostics['model'] == 'none'


def test_activated_again_it_stands_until_told(inactive):
    assert change(inactive, 'activate')
    inactive.drive()
    assert change(inactive, 'deactivate')
    inactive.say(inactive.state['instruction'])
    inactive.commands.clear()
    assert change(inactive, 'activate')
    inactive.assert_stands('STOPPED', 'was deactivated; resume or a new instruction drives on')
    assert set(speeds(inactive)) == {ZERO}
    assert inactive.call('resume').success
    inactive.wait_state('DRIVING')


def test_what_is_ordered_before_counts_from_activation_on(inactive):
    inactive.say('go to the box')
    inactive.wait(lambda: inactive.state['instruction'] == 'go to the box', 'the instruction')
    answer = inactive.call('resume')
    assert (answer.success, answer.message) == (False, 'the node is inactive, not active')
    assert_silent(inactive, 'INACTIVE')
    inactive.emergency.publish(Bool(data=True))
    inactive.commands.clear()
    assert change(inactive, 'activate')
    inactive.assert_stands('ESTOP', 'emergency stop is on')
    inactive.emergency.publish(Bool(data=False))
    inactive.wait_state('STOPPED')
    assert set(speeds(inactive)) == {ZERO}
    assert inactive.call('resume').success
    inactive.wait_state('DRIVING')
    assert inactive.state['instruction'] == 'go to the box'


def test_a_human_is_not_passed_on_while_it_is_inactive(inactive):
    command = TwistStamped()
    command.twist.linear.x = 0.1
    for _ in range(5):
        inactive.teleop.publish(command)
    assert_silent(inactive, 'INACTIVE')


def test_the_model_can_be_changed_while_it_is_inactive(inactive):
    assert inactive.set_parameter('model', 'left') == (True, '')
    inactive.wait(lambda: inactive.state['model'] == 'left', 'the other model')
    assert_silent(inactive, 'INACTIVE')
    assert change(inactive, 'activate')
    inactive.drive()
    inactive.wait(lambda: inactive.commands[-1][1:] == pytest.approx((0.1, 0.6), abs=1e-3),
                  'what the other model says')
    assert inactive.set_parameter('model', 'forward') == (True, '')
    inactive.wait(lambda: inactive.state['model'] == 'forward', 'the model from before')


def test_a_model_that_is_refused_leaves_it_unconfigured(start_drive):
    world = start_drive('-p', 'autostart:=false', model='"nan"')
    assert not change(world, 'configure')
    assert state(world) == 'unconfigured'
    assert 'still unconfigured, not inactive: model refused: ' in world.process.output
    assert_silent(world, 'UNCONFIGURED', 'not finite')
    assert world.set_parameter('model', 'forward') == (True, '')
    assert change(world, 'configure')
    assert change(world, 'activate')
    world.assert_stands('WAITING', 'no instruction yet')
    assert change(world, 'shutdown')
    assert_silent(world, 'FINALIZED')
    assert speeds(world)[-3:] == [ZERO] * 3
    heard = len(world.commands)
    assert world.process.end(signal.SIGTERM) == 0
    assert len(world.commands) == heard


def test_by_itself_it_is_active_before_the_model_is_there(start_drive):
    world = start_drive()
    world.wait(lambda: world.commands, 'zeros')
    assert state(world) == 'active'
    world.wait(lambda: world.state.get('model') == 'forward', 'the model')
    world.drive()
    assert change(world, 'deactivate')
    assert_silent(world, 'INACTIVE')
    assert world.process.end(signal.SIGINT) == 0
    assert speeds(world)[-3:] == [ZERO] * 3


def test_an_error_in_a_transition_leaves_the_base_standing(start_drive):
    world = start_drive(script='../nodes/broken_drive')
    world.wait_model()
    world.drive()
    assert not change(world, 'deactivate')
    assert state(world) == 'unconfigured'
    assert 'active to inactive: RuntimeError: told to fail' in world.process.output
    assert_silent(world, 'UNCONFIGURED')
    assert speeds(world)[-3:] == [ZERO] * 3


def test_it_can_be_ended_while_it_is_configuring(start_drive):
    world = start_drive('-p', 'autostart:=false')
    world.wait(lambda: world.state.get('state') == 'UNCONFIGURED', 'the node')
    begin(world, 'configure')
    world.wait(lambda: 'loading' in world.state['reason'], 'loading')
    assert world.process.end(signal.SIGTERM) == 0
    assert not world.commands


class Still:
    """A policy that stands, and can be watched going."""

    name = sha256 = 'still'

    def __init__(self):
        self.steps = 0

    def must_load(self, instruction):
        return False

    def reset(self, instruction):
        pass

    def step(self, frame, velocity=None):
        self.steps += 1
        return ActionChunk(np.zeros((1, 2), np.float32), frame.stamp_ns, 0.1)


def test_a_dropped_policy_is_freed_although_images_come_no_more():
    controller = Controller(ControlSettings(), Contract())
    worker = InferenceWorker(controller, Contract().camera, 10.0, time.time_ns, lambda: None,
                             lambda chunk: None, pytest.fail)
    policy = Still()
    worker.use(policy)
    controller.instruct('go', time.monotonic_ns())
    image = messages.image_message(np.zeros((4, 4, 3), np.uint8), time.time_ns(), 'camera')
    worker.submit(image, time.monotonic_ns())
    deadline = time.monotonic() + PATIENCE_S
    while not policy.steps:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    image.data = image.data[:5]
    worker.submit(image, time.monotonic_ns())
    freed = weakref.ref(policy)
    del policy
    worker.drop()
    while freed() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert worker.policy is None
    assert worker.close()
