"""How late ticks are, and which never came."""

import pytest

from vla_nav.control import Ticks

PERIOD_NS = 50_000_000


def feed(*ticks_ms: float) -> Ticks:
    ticks = Ticks(0.05)
    for time_ms in ticks_ms:
        ticks.add(10**12 + round(time_ms * 1e6))
    return ticks


def test_ticks_in_time_are_not_late():
    ticks = feed(0, 50, 100, 150)
    assert ticks.missed == 0
    assert ticks.late_s() == (0.0, 0.0, 0.0)


def test_before_the_first_tick_nothing_is_known():
    assert feed().late_s() is None


def test_a_late_tick_is_not_a_missed_one():
    ticks = feed(0, 50, 149, 150, 200)
    assert ticks.missed == 0
    assert ticks.late_s()[2] == pytest.approx(0.049)


def test_a_tick_that_comes_after_the_next_was_due_is_missed():
    assert feed(0, 50, 150, 200).missed == 1
    assert feed(0, 50, 410, 450).missed == 6


def test_a_late_first_tick_does_not_shift_the_schedule():
    ticks = feed(30, 50, 100, 199)
    assert ticks.missed == 0
    assert ticks.late_s()[2] == pytest.approx(0.049)


def test_a_slow_drift_of_the_schedule_is_no_lateness_of_its_own():
    ticks = feed(*(49.9 * number for number in range(5000)))
    assert ticks.missed == 0
    assert ticks.late_s()[2] == 0.0
