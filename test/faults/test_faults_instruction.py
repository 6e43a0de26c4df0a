"""Instructions nobody can follow, and none at all."""

import pytest


@pytest.mark.parametrize(('text', 'reason'), [
    ('', 'instruction is empty'),
    ('   ', 'instruction is empty'),
    ('x' * 102400, 'instruction has 102400 characters'),
    ('go\x1b[31m to the red cone', 'control character'),
    ('go to <image> the red cone', "contains '<image>'"),
], ids=['empty', 'blank', '100 kB', 'control character', 'model token'])
def test_a_bad_instruction_stops_the_robot_and_is_named(world, text, reason):
    before, said_ns = world.state['instruction'], world.now_ns()
    world.say(text)
    world.wait(lambda: reason in world.state['reason'], reason)
    world.assert_stands(world.state['state'], reason)
    assert world.state['state'] in ('STOPPED', 'FAULT')
    world.assert_stopped_in_time(said_ns)
    assert reason in world.process.output
    world.say(before + ' again')
    world.wait_state('DRIVING')


def test_after_a_bad_instruction_resume_follows_the_one_before(world):
    before = world.state['instruction']
    world.say('')
    world.wait_state('STOPPED')
    assert world.call('resume').success
    world.wait_state('DRIVING')
    assert world.state['instruction'] == before


def test_no_instruction(world):
    assert world.set_parameter('instruction', 'go to the box') == (True, '')
    world.wait_state('DRIVING')
    asked_ns = world.now_ns()
    assert world.set_parameter('instruction', '') == (True, '')
    world.assert_stands('WAITING', 'no instruction')
    world.assert_stopped_in_time(asked_ns)
    assert world.call('resume').success
    world.assert_stands('WAITING', 'no instruction')
    world.say('go to the box')
    world.wait_state('DRIVING')


def test_a_sentence_said_twice_does_not_release_a_stop(world):
    before = world.state['instruction']
    assert world.call('stop').success
    world.wait_state('STOPPED')
    world.say(before)
    world.assert_stands('STOPPED', 'stop was called')
    assert world.call('resume').success
    world.wait_state('DRIVING')
