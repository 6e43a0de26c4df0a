"""Messages to and from plain Python values and YAML, as rosidl_runtime_py has it."""

from __future__ import annotations

from array import array
from collections import OrderedDict

import numpy as np
import yaml

from .messages import Message, message_class, service_class


def get_message(identifier: str) -> type[Message]:
    """The class of `std_msgs/msg/String` (or `std_msgs/String`)."""
    return message_class(_full(identifier, 'msg'))


def get_service(identifier: str) -> type:
    """The class of `std_srvs/srv/Trigger` (or `std_srvs/Trigger`)."""
    return service_class(_full(identifier, 'srv'))


def _full(identifier: str, kind: str) -> str:
    parts = identifier.split('/')
    if len(parts) == 2:
        parts.insert(1, kind)
    if len(parts) != 3 or parts[1] != kind or not all(parts):
        raise ValueError(
            f"'{identifier}' does not name an interface: expected package/{kind}/Name"
        )
    return '/'.join(parts)


def message_to_ordereddict(
    msg: Message, *, truncate_length: int | None = None, no_arr: bool = False, no_str: bool = False
) -> OrderedDict:
    """A message as nested dicts and lists; long arrays and strings end in '...'."""
    return OrderedDict(
        (name, _plain(getattr(msg, name), kind, truncate_length, no_arr, no_str))
        for name, kind in msg.get_fields_and_field_types().items()
    )


def _plain(value: object, kind: str, limit: int | None, no_arr: bool, no_str: bool) -> object:
    if isinstance(value, Message):
        return message_to_ordereddict(value, truncate_length=limit, no_arr=no_arr, no_str=no_str)
    if isinstance(value, str):
        if no_str:
            return f'<string length: <{len(value)}>>'
        return value if limit is None or len(value) <= limit else value[:limit] + '...'
    if isinstance(value, bytes):
        return value[0]
    if isinstance(value, (list, array, np.ndarray)):
        if no_arr:
            inner = kind.removeprefix('sequence<').removesuffix('>').split('[')[0]
            return f'<sequence type: {inner}, length: {len(value)}>'
        cut = limit is not None and len(value) > limit
        shown = value[:limit] if cut else value
        items = shown.tolist() if hasattr(shown, 'tolist') else list(shown)
        items = [_plain(item, kind, limit, no_arr, no_str) for item in items]
        return [*items, '...'] if cut else items
    return value


def message_to_yaml(
    msg: Message,
    *,
    truncate_length: int | None = None,
    no_arr: bool = False,
    no_str: bool = False,
    flow_style: bool = False,
) -> str:
    """A message as YAML text."""
    plain = message_to_ordereddict(
        msg, truncate_length=truncate_length, no_arr=no_arr, no_str=no_str
    )
    return yaml.safe_dump(
        _without_order(plain), allow_unicode=True, sort_keys=False, width=10**9,
        default_flow_style=flow_style,
    )


def _without_order(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_order(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_order(item) for item in value]
    return value


def set_message_fields(msg: Message, values: dict) -> None:
    """Fill a message from nested dicts, as YAML gives them.

    Raises:
        AttributeError: no such field; names the fields there are.
        AssertionError, TypeError, ValueError: a value that the field cannot hold.
    """
    if not isinstance(values, dict):
        raise TypeError(f'{msg.__ros_name__} is filled from names and values, not {values!r}')
    for name, value in values.items():
        field = next((f for f in msg.__fields__ if f.name == name), None)
        if field is None:
            known = ', '.join(f.name for f in msg.__fields__) or 'none'
            raise AttributeError(f"{msg.__ros_name__} has no field '{name}'; there are: {known}")
        setattr(msg, name, _converted(field, getattr(msg, name), value))


def _converted(field, current: object, value: object) -> object:
    if isinstance(current, Message):
        set_message_fields(current, value)
        return current
    if isinstance(current, bytes):
        return bytes([value]) if isinstance(value, int) else value
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(current, str) and not isinstance(value, str):
        return str(value)
    if isinstance(current, array) and current.typecode in 'fd' or isinstance(current, np.ndarray):
        return [float(item) for item in value] if _is_float(current) else value
    if isinstance(current, list):
        return [_filled(field.new_item(), item) for item in value]
    return value


def _is_float(value: object) -> bool:
    return value.typecode in 'fd' if isinstance(value, array) else value.dtype.kind == 'f'


def _filled(item: object, value: object) -> object:
    if isinstance(item, Message):
        set_message_fields(item, value)
        return item
    if isinstance(item, bytes) and isinstance(value, int):
        return bytes([value])
    return value
