"""A policy that misbehaves while it drives."""

import time

import pytest
from harness import STALE_NS


@pytest.fixture(scope='module')
def faulty(start_drive):
    """A drive node whose policy does what the sentence's first word says."""
    world = start_drive(script='faulty_drive')
    world.wait(lambda: world.state.get('model'), 'the model')
    return world


@pytest.mark.parametrize(('word', 'reason'), [
    ('raise', 'policy forward raised RuntimeError: told to fail'),
    ('exhaust', 'policy forward raised MemoryError'),
    ('reset', 'policy forward raised RuntimeError: told to fail at reset'),
    ('nan', 'policy gave nan in step 5, field 0'),
    ('inf', 'policy gave inf in step 0'),
    ('shape', 'policy gave actions of shape (8, 1); expected (K, 2)'),
    ('none', 'policy forward raised AttributeError'),
    ('hang', 'no usable action from the policy for 2 s: it hangs'),
    ('slow', 'no usable action from the policy for 2 s: its '),
])
def test_a_misbehaving_policy_is_a_latched_fault(faulty, word, reason):
    faulty.drive()
    faulty.say(f'{word} now')
    faulty.assert_stands('FAULT', reason)
    assert faulty.level == b'\x02'
    time.sleep(0.3)
    assert not faulty.moving
    faulty.drive()


@pytest.mark.parametrize('word', ['hang', 'slow'])
def test_it_never_moves_on_an_old_image_while_it_waits_for_the_policy(faulty, word):
    faulty.drive()
    faulty.commands.clear()
    faulty.paths.clear()
    faulty.say(f'{word} again')
    faulty.wait(lambda: faulty.commands and not faulty.moving, 'zero')
    # Each path carries the stamp of the image that its actions are for.
    newest_ns = max(path.header.stamp.sec * 10**9 + path.header.stamp.nanosec
                    for path in faulty.paths)
    first_zero = next(i for i, c in enumerate(faulty.commands) if c[1:] == (0.0, 0.0))
    assert faulty.commands[first_zero - 1][0] - newest_ns <= STALE_NS
    faulty.wait_state('FAULT')
    faulty.drive()


def test_actions_beyond_the_limits_are_clamped(faulty):
    faulty.drive()
    faulty.commands.clear()
    faulty.say('limits please')
    faulty.wait(lambda: faulty.commands and faulty.commands[-1][1:] == (0.5, 1.0), 'full speed')
    assert max(v for _, v, _ in faulty.commands) <= 0.5
    assert max(abs(w) for *_, w in faulty.commands) <= 1.0
