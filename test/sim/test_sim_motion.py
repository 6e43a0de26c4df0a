import math

import numpy as np
import pytest

from vla_nav.contract import Command, Contract
from vla_nav.sim import (
    Base,
    BaseSettings,
    Outcome,
    SceneObject,
    SimError,
    Simulation,
    check_fields,
    sample_scene,
)
from vla_nav.sim.base import STEP_S

EXACT = BaseSettings(wheel_bias=0, wheel_noise=0, wheel_noise_mps=0)


def drive(simulation, action, seconds):
    for _ in range(round(seconds / 0.1)):
        simulation.step(action)
    return simulation.outcome


def test_the_same_seed_gives_the_same_path():
    def path(seed):
        simulation = Simulation(sample_scene(1), seed)
        drive(simulation, (0.3, 0.4), 2.0)
        return simulation.path
    np.testing.assert_array_equal(path(4), path(4))
    assert np.abs(path(4) - path(5)).max() > 1e-4


def test_the_path_is_that_of_the_task_and_ends_with_it():
    simulation = Simulation(sample_scene(1), 0, time_limit_s=2.0)
    drive(simulation, (0.0, 0.5), 1.0)
    assert len(simulation.path) == 1 + round(1.0 / STEP_S)
    drive(simulation, (0.0, 0.5), 5.0)
    assert 2.0 / STEP_S <= len(simulation.path) <= 2.0 / STEP_S + 2
    simulation.retarget(0)
    assert len(simulation.path) == 1
    assert simulation.path[0].tolist() == list(simulation.pose)


def test_acceleration_is_limited_and_commands_act_with_a_delay():
    base = Base((0, 0, 0), 0, EXACT)
    speeds, turns = [], []
    for _ in range(60):
        base.command(0.5, 1.0)
        base.advance()
        speeds.append(base.velocity[0])
        turns.append(base.velocity[1])
    assert np.diff(speeds).max() <= EXACT.max_accel_mps2 * STEP_S + 1e-9
    assert np.diff(turns).max() <= EXACT.max_turn_accel_radps2 * STEP_S + 1e-9
    assert speeds[-1] == pytest.approx(0.5) and turns[-1] == pytest.approx(1.0)
    assert speeds[3] == 0.0 and speeds[4] > 0.0  # 0.08 s


def test_motion_follows_an_arc():
    base = Base((0, 0, 0), 0, BaseSettings(
        wheel_bias=0, wheel_noise=0, wheel_noise_mps=0, delay_s=0, max_accel_mps2=1e6,
        max_turn_accel_radps2=1e6))
    for _ in range(100):
        base.command(0.4, 0.8)
        base.advance()
    # Radius v / w = 0.5 m, angle 1.6 rad.
    assert base.pose == pytest.approx((0.5 * math.sin(1.6), 0.5 * (1 - math.cos(1.6)), 1.6))


def test_the_base_stops_when_commands_cease():
    simulation = Simulation(sample_scene(0), settings=EXACT)
    simulation.command(0.3, 0.0)
    simulation.advance(0.4)
    assert simulation.velocity[0] > 0.25
    simulation.advance(0.7)
    assert simulation.velocity == (0.0, 0.0)


def test_a_held_step_outlasts_the_watchdog():
    simulation = Simulation(sample_scene(0), settings=EXACT)
    simulation.step((0.1, 0.0), duration_s=1.0)
    assert simulation.velocity[0] == pytest.approx(0.1)
    assert simulation.stamp_ns == 1_000_000_000


def test_noise_is_zero_at_rest():
    simulation = Simulation(sample_scene(0))
    drive(simulation, (0.2, 0.5), 1.0)
    drive(simulation, (0.0, 0.0), 1.0)
    assert simulation.velocity == (0.0, 0.0)


def test_a_command_that_is_not_finite_counts_as_zero():
    simulation = Simulation(sample_scene(0))
    simulation.step((math.nan, math.inf), 1.0)
    assert simulation.pose == simulation.scene.start


@pytest.mark.parametrize('shape', ['cone', 'box', 'ball', 'cylinder'])
def test_touching_an_object_is_a_collision(make_scene, shape):
    scene = make_scene((shape, 'red', 1.2, 0.0))
    simulation = Simulation(scene)
    assert drive(simulation, (0.5, 0.0), 5.0) is Outcome.COLLISION
    assert simulation.collided
    gap = scene.objects[0].gap_m(*simulation.pose[:2])
    assert 0.17 <= gap < 0.19  # stays where it touched


def test_touching_a_wall_is_a_collision(make_scene):
    simulation = Simulation(make_scene(('cone', 'red', -1.5, 0.0)))
    assert drive(simulation, (0.5, 0.0), 10.0) is Outcome.COLLISION
    assert 2.8 < simulation.pose[0] <= 2.83


def test_a_turned_box_reaches_as_far_as_its_corner():
    straight, turned = (SceneObject('box', 'red', 0, 0, yaw) for yaw in (0, math.pi / 4))
    assert straight.gap_m(0.5, 0.0) == pytest.approx(0.34)
    assert turned.gap_m(0.5, 0.0) == pytest.approx(0.5 - 0.16 * math.sqrt(2))
    assert turned.gap_m(0.05, 0.05) == 0.0


def test_success_needs_rest_near_the_named_object(make_scene):
    scene = make_scene(('cone', 'red', 0.55, 0.0), ('box', 'blue', -2.0, 0.0))
    simulation = Simulation(scene)
    assert drive(simulation, (0.0, 0.3), 2.0) is Outcome.RUNNING  # near but turning
    assert drive(simulation, (0.0, 0.0), 0.9) is Outcome.RUNNING
    assert drive(simulation, (0.0, 0.0), 0.5) is Outcome.SUCCESS
    assert simulation.rested_at == 0
    simulation.step((0.5, 0.0), 2.0)
    assert simulation.outcome is Outcome.SUCCESS


def test_rest_at_another_object_is_reported_and_no_success(make_scene):
    scene = make_scene(('cone', 'red', 0.55, 0.0), ('box', 'blue', -2.0, 0.0), target=1)
    simulation = Simulation(scene)
    drive(simulation, (0.0, 0.0), 2.5)
    assert simulation.rested_at is None
    assert drive(simulation, (0.0, 0.0), 1.0) is Outcome.RUNNING
    assert simulation.rested_at == 0
    assert drive(simulation, (0.0, 0.0), 37.0) is Outcome.TIMEOUT
    assert simulation.time_s == pytest.approx(40.5)


def test_a_new_instruction_starts_a_new_task(make_scene):
    scene = make_scene(('cone', 'red', 0.55, 0.0), ('box', 'blue', -2.0, 0.0))
    simulation = Simulation(scene)
    assert drive(simulation, (0.0, 0.0), 1.5) is Outcome.SUCCESS
    simulation.retarget(1, 'find the {colour} {shape}')
    assert simulation.outcome is Outcome.RUNNING
    assert simulation.scene.instruction == 'find the blue box'
    assert simulation.elapsed_s == 0.0
    assert simulation.distance_m == pytest.approx(2.0)


@pytest.mark.parametrize('seed', range(4))
def test_what_a_robot_has_bumped_into_counts_again_once_it_has_left(make_scene, seed):
    scene = make_scene(('cone', 'red', 1.2, 0.0), ('box', 'blue', -2.0, 0.0))
    simulation = Simulation(scene, seed)
    assert drive(simulation, (0.5, 0.0), 5.0) is Outcome.COLLISION
    simulation.retarget(1)
    assert drive(simulation, (0.3, 0.0), 1.0) is Outcome.RUNNING
    assert simulation.scene.objects[0].gap_m(*simulation.pose[:2]) >= 0.17  # blocked all the same
    assert drive(simulation, (0.0, 1.0), 2 * math.pi) is Outcome.RUNNING
    drive(simulation, (-0.3, 0.0), 1.0)
    assert drive(simulation, (0.5, 0.0), 4.0) is Outcome.COLLISION
    assert simulation.collided


@pytest.mark.parametrize('duration_s', [0.0, -0.1, 0.03])
def test_a_duration_off_the_grid_is_refused(duration_s):
    with pytest.raises(SimError, match='positive multiple of 0.02'):
        Simulation(sample_scene(0)).step((0, 0), duration_s)


def test_settings_are_checked():
    with pytest.raises(SimError, match='watchdog_s must be positive, got 0'):
        BaseSettings(watchdog_s=0)


def test_a_base_with_other_commands_is_refused():
    sideways = Contract(command=Command(fields=('linear.x', 'linear.y')))
    with pytest.raises(SimError, match=r'command.fields is linear.x, linear.y; the simulated'):
        check_fields(sideways)
    check_fields(Contract())
