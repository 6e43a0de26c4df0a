"""Settings out of range are refused by name; predicted paths follow their arcs."""

import math

import numpy as np
import pytest

from vla_nav.contract import ActionChunk
from vla_nav.control import ControlSettings, SettingsError, predicted_path


@pytest.mark.parametrize(('name', 'value'), [
    ('control_rate_hz', 0.0), ('execution_horizon', 0), ('stale_timeout_s', -1.0),
    ('policy_timeout_s', math.nan), ('takeover_hold_s', math.inf),
])
def test_a_setting_out_of_range_is_named(name, value):
    with pytest.raises(SettingsError, match=f'{name} is {value}; expected'):
        ControlSettings(**{name: value})


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(SettingsError, match='shorter than teleop_timeout_s'):
        ControlSettings(teleop_timeout_s=2.0, takeover_hold_s=1.0)


def chunk(action, steps=10, step_s=0.1):
    return ActionChunk(np.full((steps, 2), action, np.float32), 0, step_s)


def test_a_straight_path():
    path = predicted_path(chunk((0.5, 0.0)), ('linear.x', 'angular.z'))
    assert path.shape == (11, 3)
    assert path[-1] == pytest.approx((0.5, 0.0, 0.0), abs=1e-6)


def test_a_quarter_circle():
    radius = 0.4
    path = predicted_path(chunk((radius * math.pi / 2, math.pi / 2)), ('linear.x', 'angular.z'))
    assert path[-1] == pytest.approx((radius, radius, math.pi / 2), abs=1e-5)


def test_a_holonomic_path():
    path = predicted_path(chunk((0.3, 0.4)), ('linear.x', 'linear.y'))
    assert path[-1] == pytest.approx((0.3, 0.4, 0.0), abs=1e-6)
