import numpy as np
import pytest

from vla_nav.sim import Expert, Outcome, Simulation, sample_scene


def run(simulation, expert):
    actions = []
    while simulation.outcome is Outcome.RUNNING:
        actions.append(expert.action())
        simulation.step(actions[-1])
    return np.array(actions)


@pytest.mark.parametrize('level, seeds, least', [
    ('easy', range(8), 8), ('standard', range(16), 16), ('hard', range(10), 9)])
def test_it_solves_the_levels(level, seeds, least):
    solved = 0
    for seed in seeds:
        simulation = Simulation(sample_scene(seed, level))
        actions = run(simulation, Expert(simulation))
        solved += simulation.outcome is Outcome.SUCCESS
        assert simulation.outcome is not Outcome.COLLISION
        assert actions.dtype == np.float32
        assert (actions >= [0.0, -1.0]).all() and (actions <= [0.5, 1.0]).all()
        if simulation.outcome is Outcome.SUCCESS:
            assert 0.42 < simulation.distance_m < 0.54
            assert (actions[-5:] == 0).all()
    assert solved >= least


def test_it_turns_left_until_the_target_comes_into_view(make_scene):
    simulation = Simulation(make_scene(('cone', 'red', -2.0, 0.0)))
    expert = Expert(simulation)
    while not expert.sees_target:
        action = expert.action()
        if not expert.sees_target:
            assert tuple(action) == (0.0, np.float32(0.8))
        simulation.step(action)
    assert simulation.pose[2] > 2.0  # 180 degrees less half the field of view


def test_it_searches_for_a_target_hidden_behind_another_object(make_scene):
    scene = make_scene(('ball', 'red', 2.4, 0.0), ('cylinder', 'blue', 1.2, 0.0))
    simulation = Simulation(scene)
    expert = Expert(simulation)
    assert tuple(expert.action()) == (0.0, np.float32(0.8)) and not expert.sees_target
    run(simulation, expert)
    assert simulation.outcome is Outcome.SUCCESS


def test_it_gives_way_to_an_object_in_between(make_scene):
    # The ball in front is lower than the cylinder behind it, which stays visible.
    simulation = Simulation(make_scene(('cylinder', 'red', 2.4, 0.0),
                                       ('ball', 'blue', 1.2, 0.05)))
    run(simulation, Expert(simulation))
    assert simulation.outcome is Outcome.SUCCESS


def test_it_advises_while_another_drives(make_scene):
    """The advice depends on the state that someone else brought about, not on what it said."""
    simulation = Simulation(make_scene(('cone', 'red', 2.0, 0.5)))
    expert = Expert(simulation)
    for _ in range(30):
        expert.action()
        simulation.step((0.0, -0.5))
    assert not expert.sees_target
    assert expert.action()[1] > 0.5  # it remembers that the target is to the left
    for _ in range(60):
        expert.action()
        simulation.step((0.0, 0.0))
    assert tuple(expert.action()) == (0.0, np.float32(0.8))  # and forgets it after a while
    run(simulation, expert)
    assert simulation.outcome is Outcome.SUCCESS


def test_it_follows_a_new_instruction(make_scene):
    simulation = Simulation(make_scene(('cone', 'red', 2.0, 0.5), ('box', 'blue', -2.0, 0.0)))
    expert = Expert(simulation)
    run(simulation, expert)
    simulation.retarget(1)
    run(simulation, expert)
    assert simulation.outcome is Outcome.SUCCESS and simulation.rested_at == 1
