"""A policy that misbehaves while it drives."""

import time

import pytest
from faulty_drive import ROWS


@pytest.fixture(scope='module')
def faulty(start_drive):
    """A drive node whose policy does what the sentence's first word says."""
    world = start_drive('-p', f'execution_horizon:={ROWS}', script='faulty_drive')
    world.wait_model()
    return world


@pytest.mark.parametrize(('word', 'reason'), [
    ('raise', 'policy forward raised RuntimeError: told to fail'),
    ('panic', 'policy forward raised Panic: told to panic'),
    ('exhaust', 'policy forward raised MemoryError'),
    ('reset', 'policy forward raised RuntimeError: told to fail at reset'),
    ('nan', 'policy gave nan in step 5, field 0'),
    ('inf', 'policy gave inf in step 0'),
    ('shape', f'policy gave actions of shape ({ROWS}, 1); expected (K, 2)'),
    ('empty', 'policy gave actions of shape (0, 2); expected (K, 2)'),
    ('kind', 'policy gave actions of type int64; expected a float32 array'),
    ('instant', 'policy gave a step of 0.0 s; expected'),
    ('none', 'policy forward raised AttributeError'),
    ('hang', 'no usable action from the policy for 2 s: it hangs'),
    ('slow', 'no usable action from the policy for 2 s: its '),
])
def test_a_misbehaving_policy_is_a_latched_fault(faulty, word, reason):
    faulty.drive()
    faulty.say(f'{word} now')
    faulty.assert_stands('FAULT', reason)
    faulty.assert_stopped_in_time(faulty.newest_seen_ns())
    assert faulty.level == b'\x02'
    time.sleep(0.3)
    assert not faulty.moving
    faulty.drive()


def test_a_sentence_for_which_much_must_be_loaded_is_waited_for(faulty):
    faulty.drive()
    faults = faulty.process.output.count('FAULT')
    faulty.say('long is the way to the cone')
    faulty.assert_stands('WAITING', 'loading what forward needs for so long a sentence')
    faulty.wait_state('DRIVING')
    assert faulty.process.output.count('FAULT') == faults
    faulty.say('long and fails')
    faulty.assert_stands('WAITING', 'loading what forward needs')
    faulty.assert_stands('FAULT', 'policy forward raised RuntimeError: told to fail as it loads')
    faulty.drive()


@pytest.mark.parametrize('word', ['raise', 'nan', 'hang'])
def test_resume_tries_once_more_and_stops_again(faulty, word):
    faulty.drive()
    faulty.say(f'{word} twice')
    faulty.wait_state('FAULT')
    assert faulty.call('resume').success
    faulty.wait_state('DRIVING')
    faulty.wait_state('FAULT')
    faulty.assert_stopped_in_time(faulty.newest_seen_ns())
    faulty.drive()


def test_a_policy_slower_than_its_rate_drives_with_a_warning(faulty):
    faulty.drive()
    faulty.say('slower please')
    faulty.wait(lambda: 'Hz, its contract says 10 Hz' in faulty.summary, 'the warning')
    assert faulty.level == b'\x01'
    assert faulty.state['state'] == 'DRIVING'


@pytest.mark.parametrize(('word', 'speed'), [('limits', (0.5, 1.0)), ('backwards', (0.0, -1.0))])
def test_actions_beyond_the_limits_are_clamped(faulty, word, speed):
    faulty.drive()
    faulty.commands.clear()
    faulty.say(f'{word} please')
    faulty.wait(lambda: faulty.commands and faulty.commands[-1][1:] == speed, 'full speed')
    assert all(0.0 <= v <= 0.5 and -1.0 <= w <= 1.0 for _, v, w in faulty.commands)
    for (before_ns, *before), (after_ns, *after) in zip(faulty.commands, faulty.commands[1:]):
        # max_accel is 1 m/s^2 and 3 rad/s^2; the stamps are of another clock than the ramp.
        passed_s = (after_ns - before_ns) / 1e9 + 0.05
        assert abs(after[0] - before[0]) <= 1.0 * passed_s
        assert abs(after[1] - before[1]) <= 3.0 * passed_s
