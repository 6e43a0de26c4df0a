"""The controller: drives when it may, publishes zeros whenever it may not."""

import numpy as np
import pytest

from vla_nav.control import InstructionError, State

ZERO = (0.0, 0.0)


def speed(decision):
    return decision.v0, decision.v1


def assert_stands(bench, state, reason):
    """Zero now, and for a while: silence and creeping are both wrong."""
    decision = bench.tick()
    assert decision.state is state
    assert reason in decision.reason
    for _ in range(10):
        assert speed(decision) == ZERO
        bench.wait(bench.settings.period_s)
        decision = bench.tick()


def test_it_waits_for_an_instruction(bench):
    decisions = bench.run(0.5)
    assert {speed(decision) for decision in decisions} == {ZERO}
    assert decisions[-1].state is State.WAITING
    assert 'no instruction' in decisions[-1].reason


def test_it_waits_for_a_camera(bench):
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    assert_stands(bench, State.WAITING, 'no image on camera/image_raw yet')


def test_it_waits_for_the_first_action(bench):
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    assert bench.run(0.3, actions=None)[-1].reason == 'waiting for the first action of the policy'


def test_a_camera_that_pauses_before_the_first_action_is_not_the_policy_s_fault(bench):
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    bench.frame()
    bench.tick()
    for _ in range(60):
        bench.wait(0.05)
        assert bench.tick().state is State.WAITING
    bench.frame()
    assert bench.tick().reason == 'waiting for the first action of the policy'


def test_it_waits_while_there_is_no_policy_and_drives_once_there_is(bench):
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    bench.controller.hold('loading models/nano')
    assert bench.controller.task is None
    assert bench.run(0.3)[-1].reason == 'loading models/nano'
    bench.controller.release()
    assert bench.run(1.0)[-1].state is State.DRIVING


def test_it_drives_and_reaches_the_commanded_speed(driving):
    decision = driving.tick()
    assert decision.state is State.DRIVING
    assert decision.reason == ''
    assert speed(decision) == pytest.approx((0.3, 0.1))


def test_it_accelerates_within_the_limits(bench):
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    speeds = np.array([speed(d) for d in bench.run(1.0, actions=[[9.0, -9.0]] * 8)])
    assert np.abs(np.diff(speeds[:, 0])).max() <= 1.0 * 0.05 + 1e-6
    assert np.abs(np.diff(speeds[:, 1])).max() <= 3.0 * 0.05 + 1e-6
    assert speeds[-1] == pytest.approx((0.5, -1.0))


def test_a_late_tick_does_not_jump(driving):
    driving.chunk([[0.5, 0.1]] * 8)
    driving.wait(0.3)
    assert driving.tick().v0 <= 0.3 + 2 * 0.05 * 1.0 + 1e-6


def test_used_up_actions_ramp_to_zero_within_the_deceleration_limit(make_bench):
    bench = make_bench(execution_horizon=1, stale_timeout_s=2.0)
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    bench.run(1.0)
    speeds = [bench.tick().v0]
    for _ in range(12):
        bench.wait(0.05)
        bench.frame()
        speeds.append(bench.tick().v0)
    steps = np.diff(speeds)
    assert steps.min() >= -0.05 - 1e-6
    assert speeds[-1] == 0.0
    assert bench.tick().state is State.WAITING
    assert 'actions used up' in bench.tick().reason


def test_a_policy_that_answers_again_drives_on_without_resume(driving):
    driving.run(0.8, actions=None)
    assert driving.tick().state is State.WAITING
    assert driving.run(0.5)[-1].state is State.DRIVING


def test_a_hanging_policy_is_a_fault(driving):
    driving.run(3.5, actions=None)
    assert_stands(driving, State.FAULT, 'no usable action from the policy for 2 s: it hangs')
    assert driving.run(0.5)[-1].state is State.FAULT


def test_a_policy_slower_than_its_chunk_is_a_fault_that_says_so(bench):
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    for _ in range(60):
        bench.frame()
        if bench.controller.task:
            bench.chunk([[0.3, 0.0]] * 3, stamp_ns=bench.now_ns - 400_000_000)
        assert speed(bench.tick()) == ZERO
        bench.wait(0.05)
    assert bench.tick().state is State.FAULT
    assert '0.10 s after the end of their own chunk' in bench.tick().reason


def test_it_never_moves_on_an_old_frame_however_long_the_chunk(make_bench):
    bench = make_bench(execution_horizon=100)
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    bench.run(1.0, actions=[[0.3, 0.0]] * 100)
    bench.frame()
    bench.chunk([[0.3, 0.0]] * 100)
    for _ in range(9):
        bench.wait(0.05)
        bench.frame()
        assert bench.tick().v0 > 0.0
    bench.wait(0.1)
    bench.frame()
    assert speed(bench.tick()) == ZERO


def test_a_dead_camera_is_a_fault_within_stale_timeout_and_one_period(driving):
    arrived = driving.steady_ns
    driving.frame()
    while speed(driving.tick()) != ZERO:
        driving.chunk([[0.3, 0.0]] * 8)
        driving.wait(0.05)
    assert driving.steady_ns - arrived <= 550_000_000
    assert_stands(driving, State.FAULT, 'camera stale: no new image on camera/image_raw')


def test_a_fault_latches_until_resume(driving):
    driving.wait(1.0)
    driving.tick()
    assert driving.run(1.0)[-1].state is State.FAULT
    assert driving.controller.resume(driving.steady_ns) == (True, 'resumed: go to the red cone')
    assert driving.run(1.0)[-1].state is State.DRIVING


def test_a_new_instruction_releases_a_fault(driving):
    driving.wait(1.0)
    driving.tick()
    driving.controller.instruct('go to the blue box', driving.steady_ns)
    assert driving.run(1.0)[-1].state is State.DRIVING


def test_the_same_instruction_again_does_not_release_a_fault(driving):
    driving.wait(20.0)
    driving.tick()
    assert driving.controller.instruct('go to the red cone', driving.steady_ns) is False
    assert driving.run(1.0)[-1].state is State.FAULT


def test_two_publishers_that_repeat_what_they_say_do_not_release_a_stop(driving):
    def repeat(seconds):
        for _ in range(seconds):
            for colour in ('red', 'blue'):
                driving.controller.instruct(f'go to the {colour} cone', driving.steady_ns)
                driving.run(0.5)
        return driving.tick()

    assert repeat(2).state is State.DRIVING
    driving.controller.stop('stop was called')
    assert repeat(20).state is State.STOPPED
    assert driving.controller.instruct('go to the green cone', driving.steady_ns)
    assert driving.run(0.5)[-1].state is State.DRIVING


def test_a_repetition_is_one_also_after_somebody_else_spoke(driving):
    def repeat(seconds):
        for _ in range(seconds):
            driving.controller.instruct('go to the red cone', driving.steady_ns)
            driving.run(1.0)
        return driving.tick()

    assert repeat(30).state is State.DRIVING
    driving.controller.instruct('go to the blue box', driving.steady_ns)
    driving.controller.stop('stop was called')
    assert repeat(5).state is State.STOPPED


def test_a_sentence_of_a_moment_ago_is_followed_once_the_robot_is_let_go(driving):
    driving.controller.instruct('go to the blue box', driving.steady_ns)
    driving.controller.stop('stop was called')
    assert driving.controller.instruct('go to the red cone', driving.steady_ns) is False
    assert driving.run(0.5)[-1].state is State.STOPPED
    driving.controller.resume(driving.steady_ns)
    assert driving.run(0.5)[-1].state is State.DRIVING
    assert driving.controller.instruction == 'go to the red cone'


def test_resume_with_the_camera_still_gone_waits_at_zero(driving):
    driving.wait(1.0)
    driving.tick()
    driving.controller.resume(driving.steady_ns)
    assert_stands(driving, State.WAITING, 'camera stale')
    assert driving.run(0.5)[-1].state is State.DRIVING


def test_a_resumed_robot_does_not_drive_on_an_action_from_before(driving):
    driving.controller.stop('stop was called')
    driving.tick()
    driving.controller.resume(driving.steady_ns)
    driving.wait(0.05)
    assert speed(driving.tick()) == ZERO


@pytest.mark.parametrize(('stamp', 'reason'), [
    (lambda now: 0, 'its stamp is zero; the camera driver must stamp'),
    (lambda now: now + 5_000_000_000, 'lies at least 5 s in the future; synchronise'),
    (lambda now: now - 7_000_000_000, 'its stamp went back by'),
])
def test_stamps_without_sense_are_no_images(driving, stamp, reason):
    for _ in range(13):
        assert not driving.frame(stamp(driving.now_ns))
        driving.tick()
        driving.wait(0.05)
    assert_stands(driving, State.FAULT, reason)


def test_a_reason_does_not_change_at_every_tick(bench):
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    reasons = set()
    for _ in range(20):
        bench.frame(bench.now_ns - 49_900_000_000)
        bench.wait(0.05)
        reasons.add(bench.tick().reason)
    [reason] = reasons
    assert 'is at least 40 s old by its stamp' in reason


def test_one_frame_out_of_order_does_no_harm(driving):
    assert not driving.frame(driving.now_ns - 300_000_000)
    assert driving.run(1.0)[-1].state is State.DRIVING


def test_a_repeated_stamp_is_a_hanging_camera(driving):
    stamp = driving.now_ns
    for _ in range(13):
        driving.frame(stamp)
        driving.tick()
        driving.wait(0.05)
    assert_stands(driving, State.FAULT, 'its stamp is the one before; the camera hangs')


def test_the_same_pixels_while_moving_are_a_frozen_camera(driving):
    driving.run(1.0, changed=False)
    assert_stands(driving, State.FAULT, 'camera frozen: images on camera/image_raw')


def test_the_same_pixels_while_standing_are_no_fault(bench):
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    assert bench.run(2.0, actions=[[0.0, 0.0]] * 8, changed=False)[-1].state is State.DRIVING


def test_freeze_detection_can_be_switched_off(make_bench):
    bench = make_bench(freeze_timeout_s=0.0)
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    assert bench.run(2.0, changed=False)[-1].state is State.DRIVING


def test_delayed_images_are_stale_by_their_stamps(driving):
    for _ in range(3):
        driving.wait(0.1)
        driving.frame(driving.now_ns - 90_000_000)
    driving.now_ns += 600_000_000
    assert_stands(driving, State.FAULT, 's old by its stamp')


def test_a_dead_camera_is_told_from_a_slow_link_by_the_longer_part_of_the_age(make_bench):
    for delay_s, reason in ((0.2, 'no new image'), (0.4, 'old by its stamp')):
        bench = make_bench()
        bench.controller.instruct('go to the red cone', bench.steady_ns)
        bench.frame(bench.now_ns - round(delay_s * 1e9))
        bench.tick()
        bench.wait(0.51 - delay_s)
        assert reason in bench.tick().reason


def test_a_small_step_back_is_noticed_by_the_images_stamps(driving):
    driving.frame()
    driving.now_ns -= 500_000_000
    assert_stands(driving, State.FAULT, 'the clock went back')


def test_a_paused_clock_is_noticed_by_the_steady_one(driving):
    driving.steady_ns += 600_000_000
    assert_stands(driving, State.FAULT, 'camera stale: no new image')


def test_a_clock_that_goes_back_is_a_fault(driving):
    driving.now_ns -= 3600 * 1_000_000_000
    assert_stands(driving, State.FAULT, 'the clock jumped by -3600.00 s')


@pytest.mark.parametrize('jump_s', [3600, -3600])
def test_a_jump_is_a_fault_even_if_fresh_images_follow_at_once(driving, jump_s):
    driving.now_ns += jump_s * 1_000_000_000
    driving.frame()
    driving.chunk([[0.3, 0.0]] * 8)
    assert_stands(driving, State.FAULT, f'the clock jumped by {jump_s:+}.00 s')


def test_a_clock_that_runs_ten_times_as_fast_does_not_jump(driving):
    for _ in range(40):
        driving.now_ns += 450_000_000
        driving.wait(0.05)
        driving.frame()
        driving.chunk([[0.3, 0.0]] * 8)
        assert driving.tick().state is State.DRIVING


def test_after_a_clock_step_resume_takes_the_new_time(driving):
    driving.now_ns -= 3600 * 1_000_000_000
    driving.tick()
    driving.wait(1.0)
    driving.frame()
    driving.controller.resume(driving.steady_ns)
    assert driving.run(1.0)[-1].state is State.DRIVING


def test_unreadable_images_are_a_fault_that_quotes_the_reason(driving):
    for _ in range(13):
        driving.controller.image_arrived(driving.now_ns, driving.now_ns, driving.steady_ns)
        driving.controller.image_unreadable("image encoding 'rgb7' is not known",
                                            driving.steady_ns)
        driving.tick()
        driving.wait(0.05)
    assert_stands(driving, State.FAULT, "image encoding 'rgb7' is not known")


def test_one_unreadable_image_does_no_harm(driving):
    driving.controller.image_unreadable('truncated', driving.steady_ns)
    assert driving.run(1.0)[-1].state is State.DRIVING


def test_a_policy_that_raises_is_a_fault(driving):
    driving.controller.policy_failed('policy raised RuntimeError: boom', driving.controller.task)
    assert_stands(driving, State.FAULT, 'policy raised RuntimeError: boom')
    assert driving.controller.task is None


def test_nan_from_the_policy_is_a_fault(driving):
    driving.frame()
    assert not driving.chunk([[np.nan, 0.0]] * 8)
    assert_stands(driving, State.FAULT, 'policy gave nan in step 0')


def test_an_answer_to_an_earlier_instruction_is_not_driven(driving):
    task = driving.controller.task
    driving.controller.instruct('go to the blue box', driving.steady_ns)
    assert not driving.chunk([[-0.2, -1.0]] * 8, task=task)
    driving.wait(0.05)
    assert speed(driving.tick()) == pytest.approx((0.3, 0.1))


def test_a_new_instruction_mid_run_keeps_rolling(driving):
    driving.controller.instruct('go to the blue box', driving.steady_ns)
    assert driving.controller.task.instruction == 'go to the blue box'
    assert all(d.state is State.DRIVING for d in driving.run(1.0))


@pytest.mark.parametrize('text', ['', 'x' * 102400, 'go\x00'])
def test_a_refused_instruction_stops_the_robot(driving, text):
    with pytest.raises(InstructionError):
        driving.controller.instruct(text, driving.steady_ns)
    assert_stands(driving, State.STOPPED, 'instruction refused: instruction')


def test_after_a_refused_instruction_the_old_sentence_drives_on(driving):
    driving.run(10.0)
    with pytest.raises(InstructionError):
        driving.controller.instruct('', driving.steady_ns)
    assert driving.controller.instruct('go to the red cone', driving.steady_ns)
    assert driving.run(1.0)[-1].state is State.DRIVING


def test_after_a_refused_instruction_resume_drives_on(driving):
    with pytest.raises(InstructionError):
        driving.controller.instruct('', driving.steady_ns)
    driving.controller.resume(driving.steady_ns)
    assert driving.run(1.0)[-1].state is State.DRIVING


def test_a_cleared_instruction_waits(driving):
    driving.controller.clear_instruction()
    assert_stands(driving, State.WAITING, 'no instruction')


def test_stop_is_immediate_and_latches(driving):
    driving.controller.stop('stop was called')
    assert speed(driving.tick()) == ZERO
    assert driving.run(1.0)[-1] == (0.0, 0.0, State.STOPPED, 'stop was called')


def test_the_emergency_stop_beats_everything(driving):
    driving.controller.emergency_stop(True)
    driving.controller.teleop(0.3, 0.0, driving.steady_ns)
    driving.controller.instruct('go to the blue box', driving.steady_ns)
    assert driving.controller.resume(driving.steady_ns)[0] is False
    assert {speed(d) for d in driving.run(0.5)} == {ZERO}
    assert driving.tick().state is State.ESTOP


def test_a_released_emergency_stop_needs_resume(driving):
    driving.controller.emergency_stop(True)
    driving.tick()
    driving.controller.emergency_stop(False)
    assert_stands(driving, State.STOPPED, 'emergency stop was released')
    driving.controller.resume(driving.steady_ns)
    assert driving.run(0.5)[-1].state is State.DRIVING


def test_a_human_takes_over_at_once(driving):
    driving.controller.teleop(-0.1, 0.8, driving.steady_ns)
    decision = driving.tick()
    assert decision.state is State.TAKEOVER
    assert speed(decision) == (-0.1, 0.8)


@pytest.mark.parametrize('stop', [
    lambda controller: controller.stop('stop was called'),
    lambda controller: [controller.emergency_stop(on) for on in (True, False)],
], ids=['stop', 'emergency stop'])
def test_a_stick_that_is_stuck_does_not_drive_on_after_a_stop(driving, stop):
    def push(seconds):
        decisions = []
        for _ in range(round(seconds / 0.05)):
            driving.controller.teleop(0.2, 0.0, driving.steady_ns)
            driving.frame()
            decisions.append(driving.tick())
            driving.wait(0.05)
        return decisions

    assert push(1.0)[-1].state is State.TAKEOVER
    stop(driving.controller)
    pushed = push(5.0)
    assert {(speed(d), d.state) for d in pushed} == {(ZERO, State.STOPPED)}
    assert 'letting go' in pushed[-1].reason
    driving.wait(driving.settings.takeover_hold_s + 0.01)
    assert driving.tick().reason == driving.controller._state.latch[1]
    assert push(0.5)[-1].state is State.TAKEOVER


@pytest.mark.parametrize('follow', [
    lambda bench: bench.controller.clear_instruction(),
    lambda bench: bench.controller.instruct('go to the blue box', bench.steady_ns)])
def test_nothing_moves_while_a_stick_is_stuck_whatever_is_said(driving, follow):
    driving.controller.teleop(0.2, 0.0, driving.steady_ns)
    driving.tick()
    driving.controller.stop('stop was called')
    follow(driving)
    for _ in range(40):
        driving.controller.teleop(0.2, 0.0, driving.steady_ns)
        driving.frame()
        if driving.controller.task:
            driving.chunk([[0.3, 0.1]] * 8)
        decision = driving.tick()
        assert (speed(decision), decision.state) == (ZERO, State.WAITING)
        assert 'letting go' in decision.reason
        driving.wait(0.05)
    states = {decision.state for decision in driving.run(2.0)}
    assert states == {State.WAITING, State.DRIVING if driving.controller.task else State.WAITING}


def test_resume_lets_a_human_drive_on(driving):
    driving.controller.teleop(0.2, 0.0, driving.steady_ns)
    driving.controller.stop('stop was called')
    driving.controller.resume(driving.steady_ns)
    assert driving.tick().state is State.TAKEOVER


def test_a_silent_human_means_zero_and_then_the_policy(driving):
    driving.controller.teleop(0.2, 0.0, driving.steady_ns)
    decisions = driving.run(1.5)
    moving = [d for d in decisions if d.state is State.TAKEOVER and d.v0]
    resting = [d for d in decisions if d.state is State.TAKEOVER and not d.v0]
    assert len(moving) * 0.05 == pytest.approx(0.35, abs=0.06)
    assert len(moving + resting) * 0.05 == pytest.approx(1.05, abs=0.06)
    assert decisions[-1].state is State.DRIVING


def test_a_human_may_drive_out_of_a_fault_which_stays(driving):
    driving.controller.policy_failed('boom', driving.controller.task)
    driving.controller.teleop(0.2, 0.0, driving.steady_ns)
    assert driving.tick().state is State.TAKEOVER
    driving.wait(1.1)
    assert driving.tick().state is State.FAULT


def test_the_first_fault_is_the_one_reported(driving):
    driving.controller.policy_failed('boom', driving.controller.task)
    driving.wait(2.0)
    assert driving.tick().reason == 'boom'


def test_equal_decisions_are_one_object(bench):
    first = bench.tick()
    bench.wait(0.05)
    assert bench.tick() is first


def test_a_changed_policy_starts_a_new_epoch(driving):
    task = driving.controller.task
    driving.controller.release()
    assert not driving.chunk([[0.0, 0.0]] * 8, task=task)
    assert driving.controller.task.instruction == task.instruction


def test_figures_count_what_happened(driving):
    driving.frame(0)
    figures = driving.controller.figures(driving.now_ns, driving.steady_ns)
    assert figures.policy_hz == pytest.approx(10.0)
    assert figures.frame_hz == pytest.approx(10.0)
    assert figures.refused_images == 1
    assert 0.0 <= figures.frame_age_s <= 0.1
    assert figures.latency_p50_s is not None


def test_the_robot_stands_in_every_state_but_two(make_bench):
    """Random events: whatever happens, only DRIVING and TAKEOVER move, within the limits."""
    rng, bench = np.random.default_rng(11), make_bench()
    control, before = bench.controller, (0.0, 0.0)
    events = [lambda: control.instruct(f'go to {rng.integers(9)}', bench.steady_ns),
              lambda: bench.frame(), lambda: bench.frame(0),
              lambda: control.stop('stop was called'),
              lambda: control.emergency_stop(bool(rng.integers(2))),
              lambda: control.resume(bench.steady_ns), lambda: bench.wait(rng.uniform(0, 1)),
              lambda: control.teleop(*rng.normal(0, 2, 2), bench.steady_ns),
              lambda: control.image_unreadable('bad', bench.steady_ns),
              lambda: control.task and bench.chunk(rng.normal(0, 2, (6, 2))),
              lambda: control.task and control.policy_failed('boom', control.task)]
    seen = set()
    for _ in range(20000):
        if rng.random() < 0.1:
            events[rng.integers(len(events))]()
        bench.frame()
        if control.task and rng.random() < 0.7:
            bench.chunk(rng.normal(0, 0.5, (6, 2)))
        decision = bench.tick()
        seen.add(decision.state)
        if decision.state not in (State.DRIVING, State.TAKEOVER):
            assert speed(decision) == ZERO
        elif decision.state is State.DRIVING:
            assert -0.2 <= decision.v0 <= 0.5
            assert abs(decision.v0 - before[0]) <= 0.1 + 1e-6
        before = speed(decision)
        bench.wait(0.05)
    assert seen == set(State)
