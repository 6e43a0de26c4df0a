"""Chunks: the right action at the right time."""

import numpy as np
import pytest

from vla_nav.contract import ActionChunk
from vla_nav.control import ChunkError, ChunkExecutor, check_chunk

STAMP_NS = 1_000_000_000_000
STEP_S = 0.1
RAMP = [[0.1 * k, -0.1 * k] for k in range(6)]


def chunk(actions=RAMP, step_s=STEP_S, stamp_ns=STAMP_NS):
    return ActionChunk(np.asarray(actions, np.float32), stamp_ns, step_s)


def after(seconds):
    return STAMP_NS + round(seconds * 1e9)


@pytest.mark.parametrize(('elapsed_s', 'step'), [(0.0, 0), (0.09, 0), (0.1, 1), (0.25, 2)])
def test_the_action_is_the_one_meant_for_now(elapsed_s, step):
    executor = ChunkExecutor(horizon=6)
    executor.accept(chunk(), after(0.0))
    assert executor.target(after(elapsed_s)) == pytest.approx(RAMP[step])


def test_time_lost_before_arrival_is_skipped():
    executor = ChunkExecutor(horizon=6)
    executor.accept(chunk(), after(0.32))
    assert executor.target(after(0.32)) == pytest.approx(RAMP[3])


def test_the_horizon_counts_from_the_first_step_driven():
    executor = ChunkExecutor(horizon=2)
    executor.accept(chunk(), after(0.2))
    assert executor.target(after(0.39)) == pytest.approx(RAMP[3])
    assert executor.target(after(0.4)) is None


def test_a_chunk_ends():
    executor = ChunkExecutor(horizon=100)
    executor.accept(chunk(), after(0.0))
    assert executor.target(after(0.59)) is not None
    assert executor.target(after(0.6)) is None


def test_a_chunk_that_is_over_on_arrival_says_by_how_much():
    executor = ChunkExecutor(horizon=100)
    executor.accept(chunk(), after(0.85))
    assert executor.target(after(0.85)) is None
    assert executor.late_s == pytest.approx(0.25)


def test_the_newest_chunk_replaces_the_one_before():
    executor = ChunkExecutor(horizon=6)
    executor.accept(chunk(), after(0.0))
    executor.accept(chunk([[0.4, 0.4]] * 6, stamp_ns=after(0.1)), after(0.15))
    assert executor.target(after(0.15)) == pytest.approx((0.4, 0.4))


def test_interpolation_meets_the_actions_at_their_times():
    executor = ChunkExecutor(horizon=6, interpolate=True)
    executor.accept(chunk(), after(0.0))
    assert executor.target(after(0.2)) == pytest.approx(RAMP[2])
    assert executor.target(after(0.25)) == pytest.approx((0.25, -0.25))


def test_no_chunk_no_action():
    executor = ChunkExecutor(horizon=6)
    assert executor.empty
    assert executor.target(after(0.0)) is None


@pytest.mark.parametrize(('actions', 'message'), [
    ([[0.1, np.nan]], 'nan in step 0, field 1'),
    ([[0.1, 0.1], [np.inf, 0.0]], 'inf in step 1, field 0'),
    ([[0.1, 0.1, 0.1]], r'shape \(1, 3\); expected \(K, 2\)'),
    (np.zeros((0, 2)), r'shape \(0, 2\)'),
    ([0.1, 0.1], r'shape \(2,\)'),
])
def test_what_cannot_be_driven_is_refused_by_name(actions, message):
    with pytest.raises(ChunkError, match=message):
        check_chunk(chunk(actions))


@pytest.mark.parametrize('actions', [None, [[0.1, 0.2]], np.array([[1, 2]])])
def test_actions_that_are_no_float_array_are_refused(actions):
    with pytest.raises(ChunkError, match='expected a float32 array'):
        check_chunk(ActionChunk(actions, STAMP_NS, STEP_S))


@pytest.mark.parametrize('step_s', [0.0, -0.1, float('nan'), float('inf')])
def test_a_step_without_sense_is_refused(step_s):
    with pytest.raises(ChunkError, match='step of'):
        check_chunk(chunk(step_s=step_s))


def test_a_refused_chunk_leaves_the_one_before():
    executor = ChunkExecutor(horizon=6)
    executor.accept(chunk(), after(0.0))
    with pytest.raises(ChunkError):
        executor.accept(chunk([[np.nan, 0.0]]), after(0.1))
    assert executor.target(after(0.1)) == pytest.approx(RAMP[1])
