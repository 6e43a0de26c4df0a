"""Actions to [-1, 1] and back, and statistics that do not fit."""

import numpy as np
import pytest

from vla_nav.policy import ActionNormaliser, NormaliserError

LOW, HIGH = (0.0, -1.0), (0.5, 1.0)


@pytest.fixture
def actions(rng):
    return rng.uniform((0.0, -0.8), (0.4, 0.8), (1000, 2)).astype(np.float32)


@pytest.fixture
def fitted(actions):
    return ActionNormaliser.fit(actions, LOW, HIGH)


def test_percentiles_become_the_ends(actions, fitted):
    ends = np.percentile(actions, [1, 99], axis=0)
    np.testing.assert_allclose(fitted.normalise(ends), [[-1, -1], [1, 1]], atol=1e-5)


def test_inverse(actions, fitted):
    inside = actions[np.abs(fitted.normalise(actions)).max(1) < 1]
    np.testing.assert_allclose(fitted.denormalise(fitted.normalise(inside)), inside, atol=1e-6)


def test_outliers_are_clipped_both_ways(fitted):
    assert fitted.normalise([[9.0, -9.0]]).tolist() == [[1.0, -1.0]]
    np.testing.assert_allclose(fitted.denormalise([[9, -9]])[0], [fitted.high[0], fitted.low[1]])


def test_a_fixed_speed_does_not_blow_up(actions):
    actions[:, 0] = 0.3
    fitted = ActionNormaliser.fit(actions, LOW, HIGH)
    assert fitted.widened == (True, False)
    np.testing.assert_allclose(fitted.normalise(actions)[:, 0], 0, atol=1e-5)
    velocities = fitted.denormalise(np.array([[-1, 0], [1, 0]]))[:, 0]
    np.testing.assert_allclose(velocities, [0.2875, 0.3125], atol=1e-6)


def test_json_round_trip(fitted):
    assert ActionNormaliser.from_dict(fitted.to_dict()) == fitted


def test_missing_statistics_are_refused():
    with pytest.raises(NormaliserError, match='statistics are missing'):
        ActionNormaliser.from_dict(None)
    with pytest.raises(NormaliserError, match='lack high, count'):
        ActionNormaliser.from_dict({'low': [0], 'widened': [0], 'mean': [0], 'std': [0]})


def test_a_reversed_range_is_refused(fitted):
    data = fitted.to_dict() | {'low': [1.0, 1.0], 'high': [0.0, 2.0]}
    with pytest.raises(NormaliserError, match='low < high'):
        ActionNormaliser.from_dict(data)


def test_check_accepts_its_own_data(actions, fitted):
    fitted.check(actions)


def test_check_refuses_data_outside_with_the_numbers(actions, fitted):
    with pytest.raises(NormaliserError, match=r'angular.z say -0.78.* to 0.78.*outside'):
        fitted.check(actions * (1, 3), ('linear.x', 'angular.z'))


def test_check_refuses_other_units(actions, fitted):
    with pytest.raises(NormaliserError, match='check the units'):
        fitted.check(actions * (1, 0.001))


def test_nan_in_the_data_is_refused_by_row(actions):
    actions[7, 1] = np.nan
    with pytest.raises(NormaliserError, match='1 of 1000 rows are not finite, the first is row 7'):
        ActionNormaliser.fit(actions, LOW, HIGH)


def test_the_action_dimension_must_fit(actions):
    with pytest.raises(NormaliserError, match=r'shape \(1000, 2\), expected \(N, 7\)'):
        ActionNormaliser.fit(actions, (0,) * 7, (1,) * 7)
