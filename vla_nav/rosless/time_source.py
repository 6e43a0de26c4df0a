"""Feeds `/clock` to a node's clock while its parameter `use_sim_time` is true."""

from __future__ import annotations

from .clock_type import ClockType
from .messages import message_class
from .parameter import Parameter
from .qos import QoSProfile, ReliabilityPolicy
from .time import Time

CLOCK_TOPIC = '/clock'
USE_SIM_TIME = 'use_sim_time'
_Result = message_class('rcl_interfaces/msg/SetParametersResult')


class TimeSource:
    """Switches a node's clock between system and sim time."""

    def __init__(self, *, node, clock) -> None:
        self._node = node
        self._clock = clock
        self._subscription = None
        if not node.has_parameter(USE_SIM_TIME):
            node.declare_parameter(USE_SIM_TIME, False)
        self._apply(node.get_parameter(USE_SIM_TIME))
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._on_set)

    def _check(self, parameters):
        for parameter in parameters:
            if parameter.name == USE_SIM_TIME and parameter.type_ != Parameter.Type.BOOL:
                return _Result(
                    successful=False, reason=f"'{USE_SIM_TIME}' must be true or false"
                )
        return _Result(successful=True)

    def _on_set(self, parameters) -> None:
        for parameter in parameters:
            if parameter.name == USE_SIM_TIME:
                self._apply(parameter)

    def _apply(self, parameter: Parameter) -> None:
        enabled = bool(parameter.value)
        if enabled and self._subscription is None:
            self._subscription = self._node.create_subscription(
                message_class('rosgraph_msgs/msg/Clock'), CLOCK_TOPIC, self._on_clock,
                QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
                callback_group=self._node._clock_group,
            )
        elif not enabled and self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self._clock._set_ros_time_is_active(enabled)

    def _on_clock(self, message) -> None:
        self._clock.set_ros_time_override(
            Time.from_msg(message.clock, clock_type=ClockType.ROS_TIME)
        )
