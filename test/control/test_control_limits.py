"""Velocity and acceleration never exceed the contract."""

import numpy as np
import pytest

from vla_nav.contract import Command
from vla_nav.control import Limiter


def limiter():
    return Limiter(Command(low=(-0.2, -1.0), high=(0.5, 1.0), max_accel=(1.0, 3.0)))


def test_velocity_is_clamped_on_both_fields_and_sides():
    robot = limiter()
    robot.approach(9.0, -9.0, dt_s=100.0)
    assert (robot.v0, robot.v1) == (0.5, -1.0)
    robot.approach(-9.0, 9.0, dt_s=100.0)
    assert (robot.v0, robot.v1) == (-0.2, 1.0)


def test_acceleration_is_clamped_on_both_fields():
    robot = limiter()
    robot.approach(0.5, 1.0, dt_s=0.05)
    assert (robot.v0, robot.v1) == pytest.approx((0.05, 0.15))


def test_deceleration_has_the_same_limit():
    robot = limiter()
    robot.approach(0.5, 1.0, dt_s=10.0)
    robot.approach(0.0, 0.0, dt_s=0.05)
    assert (robot.v0, robot.v1) == pytest.approx((0.45, 0.85))


def test_it_arrives_exactly():
    robot = limiter()
    for _ in range(100):
        robot.approach(0.31, -0.17, dt_s=0.05)
    assert (robot.v0, robot.v1) == (0.31, -0.17)


def test_random_targets_never_break_a_limit():
    robot, rng, before = limiter(), np.random.default_rng(3), (0.0, 0.0)
    for target in rng.normal(0.0, 3.0, (2000, 2)):
        robot.approach(*target, dt_s=0.05)
        assert -0.2 <= robot.v0 <= 0.5
        assert -1.0 <= robot.v1 <= 1.0
        assert abs(robot.v0 - before[0]) <= 0.05 + 1e-9
        assert abs(robot.v1 - before[1]) <= 0.15 + 1e-9
        before = (robot.v0, robot.v1)


def test_a_human_is_followed_at_once_but_within_the_velocity_limits():
    robot = limiter()
    robot.take(0.4, -7.0)
    assert (robot.v0, robot.v1) == (0.4, -1.0)


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), float('-inf')])
def test_a_human_command_that_is_no_number_is_zero(bad):
    robot = limiter()
    robot.take(0.4, bad)
    assert not robot.moving
