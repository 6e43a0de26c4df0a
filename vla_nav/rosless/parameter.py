"""Parameters: a name, a type and a value."""

from __future__ import annotations

from array import array
from enum import Enum

import yaml

from .exceptions import RCLError
from .messages import message_class
from .parameter_file import checked_list, load_parameter_file

PARAMETER_SEPARATOR_STRING = '.'
_FIELDS = {
    1: 'bool_value', 2: 'integer_value', 3: 'double_value', 4: 'string_value',
    5: 'byte_array_value', 6: 'bool_array_value', 7: 'integer_array_value',
    8: 'double_array_value', 9: 'string_array_value',
}
_SCALARS = ((bool, 1), (int, 2), (float, 3), (str, 4))
_LISTS = ((bytes, 5), (bool, 6), (int, 7), (float, 8), (str, 9))


class Parameter:
    """A parameter: `Parameter(name, Parameter.Type.DOUBLE, 1.5)`, `Parameter(name, value=1.5)`."""

    class Type(Enum):
        NOT_SET = 0
        BOOL = 1
        INTEGER = 2
        DOUBLE = 3
        STRING = 4
        BYTE_ARRAY = 5
        BOOL_ARRAY = 6
        INTEGER_ARRAY = 7
        DOUBLE_ARRAY = 8
        STRING_ARRAY = 9

        @classmethod
        def from_parameter_value(cls, value: object) -> Parameter.Type:
            """The type of a Python value; TypeError if a parameter cannot hold it."""
            if value is None:
                return cls.NOT_SET
            for python_type, number in _SCALARS:
                if isinstance(value, python_type):
                    return cls(number)
            if isinstance(value, (list, tuple, array)):
                for python_type, number in _LISTS:
                    if all(isinstance(item, python_type) for item in value):
                        return cls(number)
                raise TypeError(
                    f"The given value is not a list of one of the allowed types '{value}'."
                )
            raise TypeError(f"The given value is not one of the allowed types '{value}'.")

        def check(self, value: object) -> bool:
            """Whether a value is of this type (an empty list is of any list type)."""
            try:
                actual = Parameter.Type.from_parameter_value(value)
            except TypeError:
                return False
            is_list = isinstance(value, (list, tuple, array))
            return actual == self or (is_list and not len(value) and self.value >= 5)

    def __init__(self, name: str, type_: Parameter.Type | None = None, value=None) -> None:
        if type_ is None:
            type_ = Parameter.Type.from_parameter_value(value)
        if not isinstance(type_, Parameter.Type):
            raise TypeError(f"type must be an instance of '{Parameter.Type!r}'")
        if not type_.check(value):
            raise ValueError(f"Type '{type_}' and value '{value}' do not agree")
        self._type_ = type_
        self._name = name
        self._value = value

    @classmethod
    def from_parameter_msg(cls, param_msg) -> Parameter:
        """From `rcl_interfaces/msg/Parameter`."""
        return cls(
            param_msg.name, cls.Type(param_msg.value.type),
            parameter_value_to_python(param_msg.value),
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def type_(self) -> Parameter.Type:
        return self._type_

    @property
    def value(self):
        return self._value

    def get_parameter_value(self):
        """As `rcl_interfaces/msg/ParameterValue`."""
        message = message_class('rcl_interfaces/msg/ParameterValue')(type=self._type_.value)
        if self._type_ != Parameter.Type.NOT_SET:
            value = list(self._value) if isinstance(self._value, tuple) else self._value
            setattr(message, _FIELDS[self._type_.value], value)
        return message

    def to_parameter_msg(self):
        """As `rcl_interfaces/msg/Parameter`."""
        return message_class('rcl_interfaces/msg/Parameter')(
            name=self._name, value=self.get_parameter_value()
        )

    def __repr__(self) -> str:
        return f'Parameter({self._name!r}, {self._type_}, {self._value!r})'


def parameter_value_to_python(parameter_value):
    """The Python value of a `rcl_interfaces/msg/ParameterValue`; None if not set."""
    if parameter_value.type == 0:
        return None
    if parameter_value.type not in _FIELDS:
        raise RuntimeError(f'unexpected parameter type {parameter_value.type}')
    value = getattr(parameter_value, _FIELDS[parameter_value.type])
    return value.tolist() if isinstance(value, array) else value


def get_parameter_value(string_value: str):
    """A `ParameterValue` from text in YAML 1.1, as `ros2 param set` takes it: `y` is a string."""
    try:
        value = yaml.safe_load(string_value)
        if isinstance(value, list):
            value = checked_list(value, string_value)
    except (yaml.YAMLError, RCLError):
        value = string_value
    if not isinstance(value, (bool, int, float, str, list)):
        value = string_value
    return Parameter('', value=value).get_parameter_value()


def parameter_dict_from_yaml_file(
    parameter_file: str,
    use_wildcard: bool = False,
    target_nodes: list[str] | None = None,
    namespace: str = '',
) -> dict:
    """Parameter messages by name, from a ROS parameter file; `/**` is the weakest."""
    entries = sorted(load_parameter_file(parameter_file), key=lambda entry: entry[0] != '/**')
    wanted = {f'/{node.strip("/")}' for node in target_nodes or []}
    missing = wanted - {pattern for pattern, _, _ in entries}
    if missing:
        raise RuntimeError(
            f'Param file does not contain parameters for {sorted(missing)}, only for nodes:'
            f' {sorted({pattern for pattern, _, _ in entries})}'
        )
    return {
        namespace + name: Parameter(namespace + name, value=value).to_parameter_msg()
        for pattern, name, value in entries
        if (pattern == '/**' and use_wildcard) or pattern in wanted
        or (pattern != '/**' and not wanted)
    }
