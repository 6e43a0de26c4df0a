"""The parameters of a node: declaring, checking, setting."""

from __future__ import annotations

import math
import threading
import warnings

from .exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from .messages import message_class
from .names import validate_parameter_name
from .parameter import PARAMETER_SEPARATOR_STRING, Parameter, parameter_value_to_python

ParameterDescriptor = message_class('rcl_interfaces/msg/ParameterDescriptor')
ParameterEvent = message_class('rcl_interfaces/msg/ParameterEvent')
ParameterValue = message_class('rcl_interfaces/msg/ParameterValue')
SetParametersResult = message_class('rcl_interfaces/msg/SetParametersResult')
ListParametersResult = message_class('rcl_interfaces/msg/ListParametersResult')
_REL_TOL = 1e-6
_OK = SetParametersResult(successful=True)


class NodeParameters:
    """What `Node` knows of parameters; a mixin to keep it apart."""

    PARAM_REL_TOL = _REL_TOL

    def _init_parameters(self, overrides: dict[str, Parameter], allow_undeclared: bool) -> None:
        self._parameters: dict[str, Parameter] = {}
        self._descriptors: dict[str, object] = {}
        self._parameter_overrides = overrides
        self._allow_undeclared_parameters = allow_undeclared
        self._parameter_event_publisher = None
        self._parameters_lock = threading.RLock()
        self._pre_set: list = []
        self._on_set: list = []
        self._post_set: list = []

    def declare_parameter(
        self, name: str, value=None, descriptor=None, ignore_override: bool = False
    ) -> Parameter:
        """Declare a parameter with its default, or its type; overrides win.

        Raises:
            ParameterAlreadyDeclaredException, InvalidParameterException,
            InvalidParameterTypeException, InvalidParameterValueException.
        """
        entry = (name,)
        if value is not None or descriptor is not None:
            entry = (name, value, descriptor or ParameterDescriptor())
        return self.declare_parameters('', [entry], ignore_override)[0]

    def declare_parameters(
        self, namespace: str, parameters: list[tuple], ignore_override: bool = False
    ) -> list[Parameter]:
        """Declare several: tuples of name, value or type, and descriptor."""
        declared = [self._declaration(namespace, entry, ignore_override) for entry in parameters]
        taken = [p.name for p, _ in declared if p.name in self._parameters]
        if taken:
            raise ParameterAlreadyDeclaredException(taken)
        for parameter, descriptor in declared:
            result = self._set_atomically(
                [parameter], {parameter.name: descriptor}, declaring=True)
            if not result.successful:
                if result.reason.startswith('Wrong parameter type'):
                    expected = Parameter.Type(descriptor.type).name
                    raise InvalidParameterTypeException(parameter, expected)
                raise InvalidParameterValueException(
                    parameter.name, parameter.value, result.reason)
        return [self._parameters[parameter.name] for parameter, _ in declared]

    def _declaration(self, namespace: str, entry: tuple, ignore_override: bool):
        if not 1 <= len(entry) <= 3:
            raise TypeError(f'Invalid parameter tuple {entry}: expecting length between 1 and 3')
        name, value, descriptor = (*entry, None, None)[:3]
        if not isinstance(name, str):
            raise TypeError(f'First element {name} in parameters list is not a str.')
        name = f'{namespace}.{name}' if namespace else name
        validate_parameter_name(name)
        descriptor = ParameterDescriptor() if descriptor is None else descriptor
        if not isinstance(descriptor, ParameterDescriptor):
            raise TypeError(f'Third element {descriptor} is not a ParameterDescriptor.')
        if len(entry) == 1:
            warnings.warn(
                f"declaring parameter '{name}' by its name only is deprecated: give a default, a"
                ' type, or a descriptor with dynamic_typing=True', stacklevel=4,
            )
            descriptor.dynamic_typing = True
        if isinstance(value, Parameter.Type):
            self._check_declared_type(name, value, descriptor)
            descriptor.type = value.value
            value = None
        elif not descriptor.dynamic_typing:
            is_message = isinstance(value, ParameterValue)
            kind = value.type if is_message else Parameter.Type.from_parameter_value(value).value
            if kind == 0:
                raise ValueError(
                    f"Cannot declare statically typed parameter '{name}' with a default value"
                    ' of type PARAMETER_NOT_SET'
                )
            descriptor.type = kind
        if isinstance(value, ParameterValue):
            value = parameter_value_to_python(value)
        if not ignore_override and name in self._parameter_overrides:
            value = self._parameter_overrides[name].value
        return _typed(name, value, descriptor), descriptor

    def _check_declared_type(self, name: str, kind: Parameter.Type, descriptor) -> None:
        if kind == Parameter.Type.NOT_SET:
            raise ValueError(
                f"Cannot declare parameter '{name}' as statically typed of type NOT_SET"
            )
        if descriptor.dynamic_typing:
            raise ValueError(
                f"parameter '{name}': a type and a descriptor with dynamic_typing=True exclude"
                ' each other'
            )

    def undeclare_parameter(self, name: str) -> None:
        if name not in self._parameters:
            raise ParameterNotDeclaredException(name)
        if self._descriptors[name].read_only:
            raise ParameterImmutableException(name)
        del self._parameters[name], self._descriptors[name]

    def has_parameter(self, name: str) -> bool:
        return name in self._parameters

    def get_parameter(self, name: str) -> Parameter:
        """The parameter.

        Raises:
            ParameterNotDeclaredException, or ParameterUninitializedException if it has a type
            but no value yet.
        """
        parameter = self._parameters.get(name)
        if parameter is None:
            if self._allow_undeclared_parameters:
                return Parameter(name, Parameter.Type.NOT_SET, None)
            raise ParameterNotDeclaredException(name)
        descriptor = self._descriptors[name]
        if parameter.type_ == Parameter.Type.NOT_SET and not descriptor.dynamic_typing:
            raise ParameterUninitializedException(name)
        return parameter

    def get_parameters(self, names: list[str]) -> list[Parameter]:
        return [self.get_parameter(name) for name in names]

    def get_parameter_or(self, name: str, alternative_value: Parameter | None = None):
        default = alternative_value or Parameter(name, Parameter.Type.NOT_SET)
        return self._parameters.get(name, default)

    def get_parameter_type(self, name: str) -> Parameter.Type:
        if name in self._parameters:
            return Parameter.Type(self._descriptors[name].type)
        if self._allow_undeclared_parameters:
            return Parameter.Type.NOT_SET
        raise ParameterNotDeclaredException(name)

    def get_parameter_types(self, names: list[str]) -> list[Parameter.Type]:
        return [self.get_parameter_type(name) for name in names]

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Parameter]:
        start = prefix + PARAMETER_SEPARATOR_STRING if prefix else ''
        found = self._parameters.items()
        return {name[len(start):]: p for name, p in found if name.startswith(start)}

    def describe_parameter(self, name: str):
        if name in self._descriptors:
            return self._descriptors[name]
        if self._allow_undeclared_parameters:
            return ParameterDescriptor()
        raise ParameterNotDeclaredException(name)

    def describe_parameters(self, names: list[str]) -> list:
        return [self.describe_parameter(name) for name in names]

    def set_descriptor(self, name: str, descriptor, alternative_value=None):
        """Replace a descriptor; the value, or the alternative, must comply."""
        if name not in self._parameters:
            if not self._allow_undeclared_parameters:
                raise ParameterNotDeclaredException(name)
            return self.get_parameter(name).get_parameter_value()
        if self._descriptors[name].read_only:
            raise ParameterImmutableException(name)
        candidates = [self.get_parameter(name)]
        if alternative_value is not None:
            value = parameter_value_to_python(alternative_value)
            candidates.append(Parameter(name, value=value))
        descriptor.name = name
        for candidate in candidates:
            result = self._check(candidate, descriptor, read_only_matters=False)
            if result.successful:
                self._parameters[name], self._descriptors[name] = candidate, descriptor
                return candidate.get_parameter_value()
        raise InvalidParameterValueException(name, candidates[-1].value, result.reason)

    def set_parameters(self, parameter_list: list[Parameter]) -> list:
        """Set parameters one after the other; one SetParametersResult for each."""
        self._check_declared(parameter_list)
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]):
        """Set all of the parameters or none."""
        with self._parameters_lock:
            if self._pre_set:
                parameter_list = [
                    parameter
                    for callback in self._pre_set
                    for parameter in callback(parameter_list)
                ]
                if not parameter_list:
                    return SetParametersResult(
                        successful=False,
                        reason='parameter list cannot be empty, this might be due to'
                        ' pre_set_parameters_callback modifying the original parameters list.',
                    )
            self._check_declared(parameter_list)
            return self._set_atomically(parameter_list, {}, declaring=False)

    def _check_declared(self, parameter_list: list[Parameter]) -> None:
        if not all(isinstance(parameter, Parameter) for parameter in parameter_list):
            raise TypeError(f"parameter must be instance of type '{Parameter!r}'")
        undeclared = [p.name for p in parameter_list if p.name not in self._parameters]
        if undeclared and not self._allow_undeclared_parameters:
            raise ParameterNotDeclaredException(undeclared)

    def _set_atomically(self, parameter_list, descriptors: dict, *, declaring: bool):
        with self._parameters_lock:
            for parameter in parameter_list:
                descriptor = descriptors.get(parameter.name, self._descriptors.get(parameter.name))
                if descriptor is None:
                    continue
                descriptor.name = parameter.name
                result = self._check(parameter, descriptor, read_only_matters=not declaring)
                if not result.successful:
                    return result
            for callback in self._on_set:
                result = callback(parameter_list)
                if not result.successful:
                    return result
            self._store(parameter_list, descriptors, keep_unset=declaring)
        for callback in self._post_set:
            callback(parameter_list)
        return SetParametersResult(successful=True)

    def _store(self, parameter_list, descriptors: dict, *, keep_unset: bool) -> None:
        event = ParameterEvent(node=self.get_fully_qualified_name())
        for parameter in parameter_list:
            name = parameter.name
            unset = parameter.type_ == Parameter.Type.NOT_SET
            if unset and not keep_unset:
                event.deleted_parameters.append(parameter.to_parameter_msg())
                self._parameters.pop(name, None)
                self._descriptors.pop(name, None)
                continue
            if name in descriptors:
                self._descriptors[name] = descriptors[name]
            elif name not in self._descriptors:
                self._descriptors[name] = ParameterDescriptor(
                    name=name, type=parameter.type_.value, dynamic_typing=True
                )
            is_new = self.get_parameter_or(name).type_ == Parameter.Type.NOT_SET
            changes = event.new_parameters if is_new else event.changed_parameters
            changes.append(parameter.to_parameter_msg())
            self._parameters[name] = parameter
        event.stamp = self.get_clock().now().to_msg()
        if self._parameter_event_publisher and self.context.ok():
            self._parameter_event_publisher.publish(event)

    def _check(self, parameter: Parameter, descriptor, *, read_only_matters: bool):
        if read_only_matters and descriptor.read_only:
            return _refused(f'Trying to set a read-only parameter: {parameter.name}.')
        if descriptor.dynamic_typing:
            descriptor.type = parameter.type_.value
        elif parameter.type_ == Parameter.Type.NOT_SET:
            if parameter.name in self._parameters:
                return _refused('Static parameter cannot be undeclared')
        elif parameter.type_.value != descriptor.type:
            return _refused(
                f"Wrong parameter type, expected '{Parameter.Type(descriptor.type)}'"
                f" got '{parameter.type_}'"
            )
        if parameter.type_ == Parameter.Type.INTEGER and descriptor.integer_range:
            return _check_integer(parameter, descriptor.integer_range[0])
        if parameter.type_ == Parameter.Type.DOUBLE and descriptor.floating_point_range:
            return _check_float(parameter, descriptor.floating_point_range[0])
        return _OK

    def list_parameters(self, prefixes: list[str], depth: int):
        """Names below the prefixes (all if none) down to a depth (0: any)."""
        if not isinstance(prefixes, list):
            raise TypeError('The prefixes argument must be a list')
        if not isinstance(depth, int):
            raise TypeError('The depth must be instance of type int')
        if depth < 0:
            raise ValueError('The depth must be greater than or equal to zero')
        result = ListParametersResult()
        for name in self._parameters:
            if not _listed(name, prefixes, depth):
                continue
            result.names.append(name)
            prefix = name.rpartition(PARAMETER_SEPARATOR_STRING)[0]
            if prefix and prefix not in result.prefixes:
                result.prefixes.append(prefix)
        return result

    def add_pre_set_parameters_callback(self, callback) -> None:
        """`callback(parameters) -> parameters`, before the checks."""
        self._pre_set.insert(0, callback)

    def add_on_set_parameters_callback(self, callback) -> None:
        """`callback(parameters) -> SetParametersResult`, which may refuse."""
        self._on_set.insert(0, callback)

    def add_post_set_parameters_callback(self, callback) -> None:
        """`callback(parameters)`, once they are set."""
        self._post_set.insert(0, callback)

    def remove_pre_set_parameters_callback(self, callback) -> None:
        self._pre_set.remove(callback)

    def remove_on_set_parameters_callback(self, callback) -> None:
        self._on_set.remove(callback)

    def remove_post_set_parameters_callback(self, callback) -> None:
        self._post_set.remove(callback)


def _typed(name: str, value: object, descriptor) -> Parameter:
    # An empty list has no type of its own.
    if isinstance(value, list) and not value and descriptor.type >= 5:
        return Parameter(name, Parameter.Type(descriptor.type), value)
    return Parameter(name, value=value)


def _refused(reason: str):
    return SetParametersResult(successful=False, reason=reason)


def _out_of_range(parameter: Parameter, low: float, high: float):
    return _refused(
        f'Parameter {parameter.name} out of range. Min: {low}, Max: {high},'
        f' value: {parameter.value}'
    )


def _not_a_step(parameter: Parameter, low: float, high: float, step: float):
    return _refused(
        f'The parameter value for {parameter.name} is not a valid step. Min: {low}, max: {high},'
        f' value: {parameter.value}, step: {step}'
    )


def _check_integer(parameter: Parameter, limits):
    low, high = sorted((limits.from_value, limits.to_value))
    value = parameter.value
    if not low <= value <= high:
        return _out_of_range(parameter, low, high)
    if limits.step and value != high and (value - low) % limits.step:
        return _not_a_step(parameter, low, high, limits.step)
    return _OK


def _check_float(parameter: Parameter, limits):
    low, high = sorted((limits.from_value, limits.to_value))
    value = parameter.value
    if any(math.isclose(value, edge, rel_tol=_REL_TOL) for edge in (low, high)):
        return _OK
    if not low < value < high:
        return _out_of_range(parameter, low, high)
    if limits.step:
        nearest = low + round((value - low) / limits.step) * limits.step
        if not math.isclose(nearest, value, rel_tol=_REL_TOL):
            return _not_a_step(parameter, low, high, limits.step)
    return _OK


def _listed(name: str, prefixes: list[str], depth: int) -> bool:
    separator = PARAMETER_SEPARATOR_STRING
    if not prefixes:
        return depth == 0 or name.count(separator) < depth
    for prefix in prefixes:
        if name == prefix:
            return True
        if name.startswith(prefix + separator):
            rest = name[len(prefix) + 1 :]
            if depth == 0 or rest.count(separator) < depth:
                return True
    return False
