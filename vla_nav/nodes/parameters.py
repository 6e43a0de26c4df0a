"""Parameters of the nodes: one table each, declared with description, range and choices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from vla_nav import rosless
from vla_nav.errors import VlaNavError

rosless.ensure()

from rcl_interfaces.msg import (  # noqa: E402
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
)

_PROVIDED = ('use_sim_time', 'start_type_description_service')
"""Parameters that every node has without asking for them."""


class ParameterError(VlaNavError):
    """A parameter is unknown, of the wrong type or out of range."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a node."""

    name: str
    default: bool | int | float | str
    """Its type is the parameter's type."""
    description: str
    low: float | None = None
    """Smallest value; a number without low and high may be anything."""
    high: float | None = None
    choices: tuple[str, ...] = ()
    """The only strings allowed; empty: any."""
    changeable: bool = False
    """Whether it can be set while the node runs."""

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows, and what rclpy enforces."""
        descriptor = ParameterDescriptor(description=self.description,
                                         read_only=not self.changeable)
        if self.choices:
            descriptor.additional_constraints = 'one of ' + ', '.join(self.choices)
        if self.low is not None and isinstance(self.default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(self.low), to_value=float(self.high))]
        elif self.low is not None:
            descriptor.integer_range = [
                IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)]
        return descriptor

    @property
    def expected(self) -> str:
        """What it may be, for an error message."""
        if self.choices:
            return 'one of ' + ', '.join(self.choices)
        kind = {bool: 'true or false', int: 'a whole number', str: 'text',
                float: 'a number with a decimal point'}[type(self.default)]
        return kind if self.low is None else f'{kind} from {self.low} to {self.high}'

    def check(self, value: object) -> str | None:
        """Say what is wrong with a value; None if nothing is."""
        problem = f'{self.name} is {value!r:.80}; expected {self.expected}'
        if type(value) is not type(self.default):
            return problem
        if self.choices and value not in self.choices:
            return problem
        if self.low is not None and not self.low <= value <= self.high:
            return problem
        return None


def declare(node, parameters: Iterable[Parameter]) -> dict[str, bool | int | float | str]:
    """Declare a table on a node and return the values in force.

    Raises ParameterError for a name the node does not know, with the nearest one it does, and
    for a value of another type or out of range.
    """
    table = {parameter.name: parameter for parameter in parameters}
    given = dict(getattr(node, '_parameter_overrides', {}))
    node_name = node.get_fully_qualified_name()
    for name, override in given.items():
        if name in table:
            problem = table[name].check(override.value)
            if problem:
                raise ParameterError(f'parameter {problem} (node {node_name})')
        elif name not in _PROVIDED and not name.startswith('qos_overrides.'):
            near = difflib.get_close_matches(name, table, n=1)
            hint = f'; did you mean {near[0]}?' if near else ''
            raise ParameterError(f'unknown parameter {name} for node {node_name}{hint} (known: '
                                 f'{", ".join(sorted(table))})')
    return {parameter.name: node.declare_parameter(parameter.name, parameter.default,
                                                   parameter.descriptor()).value
            for parameter in table.values()}
