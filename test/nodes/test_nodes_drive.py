"""The drive node in a process of its own, over DDS: drives, obeys, stops."""

import signal

import pytest
from geometry_msgs.msg import TwistStamped
from harness import String, qos


def test_it_drives_what_the_model_says(world):
    world.wait(lambda: world.commands[-1][1:] == pytest.approx((0.3, 0.2), abs=1e-3), '0.3, 0.2')


def test_it_reports_on_diagnostics(world):
    world.wait(lambda: world.diagnostics.get('state') == 'DRIVING'
               and world.diagnostics['instruction'] == world.state['instruction']
               and world.diagnostics['latency p99 (s)'] != 'none', 'diagnostics')
    assert world.diagnostics['model'] == 'forward'
    assert float(world.diagnostics['camera rate (Hz)']) > 0.0
    assert float(world.diagnostics['policy rate (Hz)']) > 0.0
    assert 0.0 < float(world.diagnostics['latency p50 (s)'])


def test_it_shows_where_it_will_go(world):
    world.paths.clear()
    world.wait(lambda: world.paths, 'a path')
    path = world.paths[-1]
    assert path.header.frame_id == 'base_link'
    assert len(path.poses) == 9
    # 0.8 s at 0.3 m/s and 0.2 rad/s.
    assert path.poses[-1].pose.position.x == pytest.approx(0.24, abs=0.01)
    assert path.poses[-1].pose.position.y > 0.0


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_it_hears_what_was_latched_before_its_start_and_ends_with_zeros(start_drive, number):
    early = start_drive()
    publisher = early.node.create_publisher(String, 'instruction', qos.LATCHED)
    publisher.publish(String(data='go to the blue box'))
    early.wait_state('DRIVING')
    assert early.state['instruction'] == 'go to the blue box'
    early.wait(lambda: early.moving, 'a velocity')
    assert early.process.end(number) == 0
    assert [speed for _, *speed in early.commands[-3:]] == [[0.0, 0.0]] * 3


def test_a_latched_publisher_is_not_handled_twice(world):
    publisher = world.node.create_publisher(String, 'instruction', qos.LATCHED)
    publisher.publish(String(data='go to the green ball'))
    world.wait(lambda: world.state['instruction'] == 'go to the green ball', 'the instruction')
    heard = len(world.commands)
    world.wait(lambda: len(world.commands) > heard + 10, 'commands')
    assert world.process.output.count('instruction: go to the green ball') == 1
    world.node.destroy_publisher(publisher)


def test_a_new_sentence_keeps_it_rolling(world):
    heard = len(world.commands)
    world.say('go to the yellow cylinder')
    world.wait(lambda: world.state['instruction'] == 'go to the yellow cylinder', 'the sentence')
    world.wait(lambda: len(world.commands) > heard + 20, 'commands')
    assert all(any(speed) for _, *speed in world.commands[heard:])


def test_the_instruction_can_be_a_parameter(world):
    assert world.set_parameter('instruction', 'go to the pink cone') == (True, '')
    world.wait(lambda: world.state['instruction'] == 'go to the pink cone', 'the instruction')
    successful, reason = world.set_parameter('instruction', 'x' * 1000)
    assert not successful
    assert 'instruction has 1000 characters' in reason


def test_stop_and_resume(world):
    assert world.call('stop').success
    world.assert_stands('STOPPED', 'stop was called')
    world.say(world.state['instruction'])
    world.assert_stands('STOPPED', 'stop was called')
    assert world.call('resume').success
    world.wait_state('DRIVING')


@pytest.mark.parametrize('profile', ['RELIABLE', 'LATCHED', 'SENSOR'])
def test_the_emergency_stop_holds_until_resume(world, profile):
    """Whatever the button's publisher offers."""
    from std_msgs.msg import Bool

    button = world.node.create_publisher(Bool, 'emergency_stop', getattr(qos, profile))
    # The node may not know this publisher yet, and then best effort is lost.
    world.wait(lambda: button.publish(Bool(data=True)) or world.state['state'] == 'ESTOP',
               'it to be heard')
    world.assert_stands('ESTOP', 'emergency stop is on')
    answer = world.call('resume')
    assert not answer.success
    assert 'release it first' in answer.message
    button.publish(Bool(data=False))
    world.assert_stands('STOPPED', 'emergency stop was released')
    assert world.call('resume').success
    world.wait_state('DRIVING')
    world.node.destroy_publisher(button)


def test_a_human_takes_over_and_gives_back(world):
    command = TwistStamped()
    command.twist.linear.x, command.twist.angular.z = 0.1, -0.7
    world.teleop.publish(command)
    world.wait_state('TAKEOVER')
    world.wait(lambda: (0.1, -0.7) in {c[1:] for c in world.commands}, "the human's command")
    world.wait_state('DRIVING')


def test_the_model_can_be_changed_while_driving(world):
    heard = len(world.commands)
    assert world.set_parameter('model', 'left') == (True, '')
    world.wait(lambda: world.state['model'] == 'left', 'the other model')
    world.wait(lambda: world.commands[-1][1:] == pytest.approx((0.1, 0.6), abs=1e-3), '0.1, 0.6')
    world.wait_state('DRIVING')
    assert all(any(speed) for _, *speed in world.commands[heard:])
    assert world.set_parameter('model', 'forward') == (True, '')
    world.wait(lambda: world.state['model'] == 'forward', 'the model from before')


def test_a_bad_model_is_refused_and_the_old_one_drives_on(world):
    successful, reason = world.set_parameter('model', 'forwards')
    assert not successful
    assert "did you mean 'forward'?" in reason
    world.wait_state('DRIVING')
    assert world.state['model'] == 'forward'
    assert world.get_parameter('model') == 'forward'


def test_a_read_only_parameter_is_refused(world):
    successful, reason = world.set_parameter('control_rate_hz', 10.0)
    assert not successful
    assert 'control_rate_hz' in reason
