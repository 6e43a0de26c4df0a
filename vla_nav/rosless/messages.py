"""Message and service classes as rosidl generates them, made from the type store.

Numeric sequences are `array.array`, numeric arrays of fixed length are numpy arrays, `byte` is
`bytes` of length one: the same Python types that rclpy hands out. On top of rclpy, a numpy array
may be assigned to any numeric field of matching dtype; nothing is ever turned into a list.
"""

from __future__ import annotations

from array import array
from functools import cache

import numpy as np
from rosbags.interfaces import Nodetype

from .definitions import DEFAULTS
from .fields import field_for
from .typestore import PADDING_FIELD, store, type_hash


class Message:
    """Base of all message classes."""

    __slots__ = ()
    __ros_name__ = ''
    __fields__: tuple = ()

    def __init__(self, **kwargs: object) -> None:
        for field in self.__fields__:
            if field.name in kwargs:
                setattr(self, field.name, kwargs.pop(field.name))
            else:
                field.store(self, field.default())
        assert not kwargs, (
            f'Invalid arguments passed to constructor: {", ".join(sorted(kwargs))}; '
            f'{self.__ros_name__} has {", ".join(f.name for f in self.__fields__) or "no fields"}'
        )

    @classmethod
    def _from_wire(cls, *values: object) -> Message:
        self = cls.__new__(cls)
        for field, value in zip(cls.__fields__, values):
            field.store(self, field.from_wire(value) if field.from_wire else value)
        return self

    @classmethod
    def _wire_name(cls, name: str) -> str:
        if name == PADDING_FIELD:
            return '__padding__'
        return next(field for field in cls.__fields__ if field.name == name).wire_name

    __padding__ = 0

    @classmethod
    def get_fields_and_field_types(cls) -> dict[str, str]:
        """Field names with their IDL-like type names."""
        return {field.name: field.type_name for field in cls.__fields__}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, self.__class__):
            return False
        return all(_same(f.load(self), f.load(other)) for f in self.__fields__)

    __hash__ = None

    def __repr__(self) -> str:
        fields = ', '.join(f'{f.name}={_shown(f.load(self))}' for f in self.__fields__)
        return f'{self.__ros_name__.replace("/", ".")}({fields})'


def _same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray):
        return np.array_equal(left, right)
    return left == right


def _shown(value: object) -> str:
    if isinstance(value, (array, np.ndarray)):
        items = value.tolist() if len(value) <= 64 else [*value[:3].tolist(), '...']
        text = '[' + ', '.join(str(item) for item in items) + ']'
        return f"array('{value.typecode}', {text})" if isinstance(value, array) else text
    return repr(value)


@cache
def message_class(name: str) -> type[Message]:
    """The class of a message type, such as `std_msgs/msg/String`.

    Raises:
        ModuleNotFoundError: no such type.
    """
    if name not in store().fielddefs and not (name.count('/') == 2 and store().knows(name)):
        raise ModuleNotFoundError(_unknown(name))
    constants, definitions = store().fielddefs[name]
    defaults = DEFAULTS.get(name, {})
    fields = tuple(
        field_for(field_name, desc, defaults.get(field_name))
        for field_name, desc in definitions
        if field_name != PADDING_FIELD
    )
    namespace = {
        '__slots__': tuple(f'_{field.name}' for field in fields),
        '__doc__': f'Message type {name}.',
        '__ros_name__': name,
        '__fields__': fields,
    }
    for constant, base, value in constants:
        namespace[constant] = bytes([value]) if base == 'byte' else value
    package, kind, short = name.split('/')
    namespace['__module__'] = f'{package}.{kind}'
    cls = type(short, (Message,), namespace)
    for field in fields:
        field.bind(cls)
    return cls


def _unknown(name: str) -> str:
    import difflib

    known = sorted(store().fielddefs)
    near = difflib.get_close_matches(name, known, n=3)
    hint = f'; did you mean {" or ".join(near)}?' if near else ''
    return (
        f"unknown interface '{name}'{hint} rosless carries the common_interfaces of ROS 2 and"
        ' reads others from AMENT_PREFIX_PATH/share/<package>/{msg,srv}'
    )


@cache
def service_class(name: str) -> type:
    """The class of a service type, such as `std_srvs/srv/Trigger`, with Request and Response."""
    if not (name.count('/') == 2 and store().knows(name)):
        raise ModuleNotFoundError(_unknown(name))
    package, _, short = name.split('/')

    def refuse(cls, *args, **kwargs):
        raise NotImplementedError('Service classes can not be instantiated')

    return type(short, (), {
        '__doc__': f'Service type {name}.',
        '__module__': f'{package}.srv',
        '__new__': refuse,
        '__ros_name__': name,
        'Request': message_class(f'{name}_Request'),
        'Response': message_class(f'{name}_Response'),
    })


def serialize(message: Message) -> memoryview:
    """A message as CDR bytes, with the 4-byte header."""
    return store().serialize_cdr(message, message.__ros_name__)


def deserialize(data: bytes, name: str) -> Message:
    """A message from CDR bytes with their 4-byte header."""
    return store().deserialize_cdr(data, name)


def dds_type_name(name: str) -> str:
    """`std_msgs/msg/String` as `std_msgs.msg.dds_.String_` (cyclonedds-python's notation)."""
    package, kind, short = name.split('/')
    return f'{package}.{kind}.dds_.{short}_'


__all__ = [
    'Message', 'dds_type_name', 'deserialize', 'message_class', 'serialize', 'service_class',
    'type_hash', 'Nodetype',
]
