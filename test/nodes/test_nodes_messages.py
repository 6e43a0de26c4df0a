"""Messages from and to plain values."""

import pytest
from harness import messages  # noqa: F401, which chooses rclpy

from vla_nav.contract import Command
from vla_nav.nodes.messages import CommandMessage, nanoseconds, read_command


@pytest.mark.parametrize('fields', [('linear.x', 'angular.z'), ('linear.x', 'linear.y')])
@pytest.mark.parametrize('kind', ['geometry_msgs/msg/Twist', 'geometry_msgs/msg/TwistStamped'])
def test_a_command_has_its_two_fields_and_no_other(kind, fields):
    command = Command(type=kind, fields=fields)
    message = CommandMessage(command, 'base_link').fill(0.25, -0.5, 3_000_000_001)
    twist = message.twist if kind.endswith('Stamped') else message
    values = {f'{part}.{axis}': getattr(getattr(twist, part), axis)
              for part in ('linear', 'angular') for axis in 'xyz'}
    assert values == {**dict.fromkeys(values, 0.0), fields[0]: 0.25, fields[1]: -0.5}
    assert read_command(message, fields) == (0.25, -0.5)
    if kind.endswith('Stamped'):
        assert message.header.frame_id == 'base_link'
        assert nanoseconds(message.header.stamp) == 3_000_000_001
