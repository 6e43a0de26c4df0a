"""The control loop: steady, deaf to errors, and never behind its own schedule."""

import os
import threading
import time

import pytest

from vla_nav.nodes.control_loop import ControlLoop


def run(tick, period_s, seconds):
    errors = []
    loop = ControlLoop(period_s, tick, errors.append)
    time.sleep(seconds)
    loop.close()
    return loop, errors


def test_it_ticks_at_its_period_until_it_is_closed():
    times_s = []
    run(lambda: times_s.append(time.monotonic()), 0.02, 0.5)
    count = len(times_s)
    # A busy machine may leave some out; none may come twice.
    assert 5 <= count <= 25
    time.sleep(0.1)
    assert len(times_s) == count


def test_a_tick_that_raises_is_told_and_the_next_one_comes():
    def tick():
        raise ValueError('told to fail')

    _, errors = run(tick, 0.02, 0.5)
    assert len(errors) >= 3
    assert {str(error) for error in errors} == {'told to fail'}


def test_ticks_that_came_too_late_are_left_out_and_the_schedule_stays():
    times_s = []

    def tick():
        times_s.append(time.monotonic())
        if len(times_s) == 1:
            time.sleep(0.25)

    run(tick, 0.1, 0.85)
    assert len(times_s) <= 7
    phases = [(later - times_s[0] + 0.05) % 0.1 - 0.05 for later in times_s[1:]]
    assert sorted(phases)[len(phases) // 2] == pytest.approx(0.0, abs=0.03)


def test_a_tick_may_close_its_own_loop():
    ended = threading.Event()
    loop = ControlLoop(0.01, lambda: (loop.close(), ended.set()), lambda error: None)
    assert ended.wait(2.0)


def test_its_thread_alone_has_real_time_priority_where_that_is_permitted():
    seen = []
    loop, _ = run(lambda: seen.append(os.sched_getscheduler(0)), 0.02, 0.3)
    real_time = os.SCHED_RR | os.SCHED_RESET_ON_FORK
    assert set(seen) == {real_time if loop.real_time else os.SCHED_OTHER}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
