"""Frames, commands and states that belong together are put together."""

import numpy as np
import pytest

from vla_nav.episodes.alignment import (
    Track,
    actions_at,
    choose_frames,
    split_at_gaps,
    takeover_spans,
    timing,
    trim_idle,
)
from vla_nav.frames import Pacer

MS = 1_000_000
NO_SPANS = np.zeros((0, 2), np.int64)
NOBODY = Track(np.zeros(0, np.int64), np.zeros((0, 2)))


def track(times_ms, values):
    return Track(np.array(times_ms) * MS, np.array(values, float))


@pytest.mark.parametrize('camera_hz', [12.5, 15, 20, 24, 25, 29.97, 30, 60])
def test_a_fast_camera_is_thinned_to_the_policy_rate(camera_hz):
    rng = np.random.default_rng(0)
    stamps = 10**18 + np.arange(0, 60, 1 / camera_hz) * 1e9 + rng.normal(0, 3 * MS, int(
        np.ceil(60 * camera_hz)))
    kept = stamps[choose_frames(stamps.astype(np.int64), 10.0)]
    assert len(kept) == pytest.approx(600, rel=0.06)
    assert np.diff(kept).min() > 40 * MS


@pytest.mark.parametrize('camera_hz', [9.9, 10.0, 10.1])
def test_a_camera_of_the_policy_rate_is_kept_whole(camera_hz):
    rng = np.random.default_rng(0)
    stamps = 10**18 + np.arange(0, 60, 1 / camera_hz) * 1e9
    stamps += rng.normal(0, 4 * MS, len(stamps))
    assert len(choose_frames(stamps.astype(np.int64), 10.0)) == len(stamps)


def test_frames_after_a_gap_do_not_come_in_a_burst():
    stamps = np.array([0, 33, 67, 100, 900, 933, 967, 1000, 1033]) * MS + 10**18
    assert choose_frames(stamps, 10.0).tolist() == [0, 3, 4, 7]


def test_late_and_repeated_frames_are_dropped_but_a_clock_set_back_is_followed():
    pacer = Pacer(10.0)
    seen = [pacer.admit(stamp * MS) for stamp in (5000, 5100, 5100, 5050, 5200, 100, 200)]
    assert seen == [True, True, False, False, True, True, True]


def test_the_action_is_what_was_in_force_in_the_middle_of_the_step():
    commands = track([1000, 1049, 1051, 1200], [[1, 0], [2, 0], [3, 0], [4, 0]])
    stamps = np.array([900, 1000, 1100, 1200]) * MS
    actions, human = actions_at(stamps, commands, NOBODY, NO_SPANS, 0.1)
    assert actions[:, 0].tolist() == [0, 2, 3, 4]
    assert actions.dtype == np.float32
    assert not human.any()


def test_during_a_takeover_the_human_counts():
    commands = track([0, 500], [[1, 0], [1, 0]])
    teleop = track([200, 300], [[0, 1], [0, 2]])
    spans = takeover_spans(teleop.times_ns, hold_s=0.2)
    assert (spans // MS).tolist() == [[200, 500]]
    actions, human = actions_at(np.arange(0, 600, 100) * MS, commands, teleop, spans, 0.1)
    assert human.tolist() == [False, False, True, True, True, False]
    assert actions.tolist() == [[1, 0], [1, 0], [0, 1], [0, 2], [0, 2], [1, 0]]


def test_pauses_longer_than_the_hold_end_a_takeover():
    spans = takeover_spans(np.array([0, 100, 1000]) * MS, hold_s=0.5)
    assert (spans // MS).tolist() == [[0, 600], [1000, 1500]]


def test_idle_ends_are_trimmed_but_some_stay():
    actions = np.zeros((20, 2))
    actions[8:12] = (0.2, 0.0)
    actions[10] = 0
    assert trim_idle(actions, (0.01, 0.02), keep=3) == slice(5, 15)
    assert trim_idle(actions, (0.01, 0.02), keep=30) == slice(0, 20)
    assert trim_idle(np.zeros((5, 2)), (0.01, 0.02), keep=3) == slice(0, 0)


def test_turning_on_the_spot_is_not_idle():
    actions = np.zeros((9, 2))
    actions[4, 1] = -0.3
    assert trim_idle(actions, (0.01, 0.02), keep=0) == slice(4, 5)


def test_camera_silence_cuts():
    stamps = np.array([0, 100, 200, 900, 1000]) * MS
    assert split_at_gaps(stamps, 0.5) == [slice(0, 3), slice(3, 5)]


def test_timing_counts_missing_steps():
    judged = timing(np.array([0, 100, 300, 410]) * MS, 0.1)
    assert judged.gaps == 1
    assert judged.error_max_s == pytest.approx(0.1)
    assert judged.error_mean_s == pytest.approx((0 + 0.1 + 0.01) / 3)
