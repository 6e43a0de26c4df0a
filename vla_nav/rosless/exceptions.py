"""Exceptions under rclpy's names, and those of rosless' own."""

from __future__ import annotations


class RCLError(RuntimeError):
    """A call into the communication layer failed."""


class RoslessError(RCLError):
    """A set-up that cannot work: the message names the setting, the value and the remedy."""


class UnknownROSArgsError(RuntimeError):
    """`--ros-args` held something that is not a ROS argument."""


class InvalidHandle(Exception):
    """An entity was used after it had been destroyed."""


class NotInitializedException(Exception):
    def __init__(self, message: str | None = None) -> None:
        text = 'rclpy.init() has not been called'
        super().__init__(f'{text}: {message}' if message else text)


class NoTypeSupportImportedException(Exception):
    def __init__(self) -> None:
        super().__init__('no type support: not a message or service class')


class NameValidationException(Exception):
    """A name breaks the ROS naming rules; a caret in the message points at the place."""

    def __init__(self, name_type: str, name: str, error_msg: str, invalid_index: int) -> None:
        pointer = ' ' * invalid_index
        super().__init__(f"Invalid {name_type}: {error_msg}:\n  '{name}'\n   {pointer}^")


class InvalidNamespaceException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int) -> None:
        super().__init__('namespace', name, error_msg, invalid_index)


class InvalidNodeNameException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int) -> None:
        super().__init__('node name', name, error_msg, invalid_index)


class InvalidTopicNameException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int) -> None:
        super().__init__('topic name', name, error_msg, invalid_index)


class InvalidServiceNameException(NameValidationException):
    def __init__(self, name: str, error_msg: str, invalid_index: int) -> None:
        super().__init__('service name', name, error_msg, invalid_index)


class ParameterException(Exception):
    def __init__(self, error_msg: str, parameters: str | list[str]) -> None:
        super().__init__(f'{error_msg}: {parameters}')


class ParameterNotDeclaredException(ParameterException):
    def __init__(self, parameters: str | list[str]) -> None:
        super().__init__('Invalid access to undeclared parameter(s)', parameters)


class ParameterAlreadyDeclaredException(ParameterException):
    def __init__(self, parameters: str | list[str]) -> None:
        super().__init__('Parameter(s) already declared', parameters)


class InvalidParameterException(ParameterException):
    def __init__(self, parameter_name: str) -> None:
        super().__init__('Invalid parameter name', parameter_name)


class InvalidParameterTypeException(ParameterException):
    def __init__(self, desired_parameter, expected_type: str) -> None:
        super().__init__(
            f"Trying to set parameter '{desired_parameter.name}' to '{desired_parameter.value}'"
            f" of type '{desired_parameter.type_.name}', expecting type '{expected_type}'",
            desired_parameter.name,
        )


class InvalidParameterValueException(ParameterException):
    def __init__(self, parameter: str, value: object, reason: str) -> None:
        super().__init__(
            f'Invalid parameter value ({value}) for parameter. Reason: {reason}', parameter
        )


class ParameterImmutableException(ParameterException):
    def __init__(self, parameter_name: str) -> None:
        super().__init__('Attempted to modify read-only parameter', parameter_name)


class ParameterUninitializedException(ParameterException):
    def __init__(self, parameter_name: str) -> None:
        super().__init__(f"The parameter '{parameter_name}' is not initialized", parameter_name)


class ROSInterruptException(Exception):
    """An operation was cut short because rclpy is shutting down."""

    def __init__(self) -> None:
        super().__init__('rclpy.shutdown() has been called')
