"""Fields of message classes: defaults, assignment checks, and what the serialiser sees."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable

import numpy as np
from rosbags.interfaces import Nodetype

_INTEGERS = {
    'int8': ('b', -(2**7), 2**7 - 1),
    'uint8': ('B', 0, 2**8 - 1),
    'int16': ('h', -(2**15), 2**15 - 1),
    'uint16': ('H', 0, 2**16 - 1),
    'int32': ('i', -(2**31), 2**31 - 1),
    'uint32': ('I', 0, 2**32 - 1),
    'int64': ('q', -(2**63), 2**63 - 1),
    'uint64': ('Q', 0, 2**64 - 1),
}
_FLOATS = {'float32': 'f', 'float64': 'd'}
_FLOAT32_MAX = 3.402823466e38
_IDL_NAMES = {
    'float32': 'float', 'float64': 'double', 'bool': 'boolean', 'byte': 'octet',
}


class Field:
    """One field of a message class.

    `store` and `load` reach the slot past all checks. `wire_name` is the attribute the CDR
    serialiser reads, `from_wire` (or None) turns what the deserialiser gives into the value.
    """

    def __init__(self, name: str, type_name: str, default: Callable[[], object]) -> None:
        self.name = name
        self.type_name = type_name
        self.default = default
        self.wire_name = f'_{name}'
        self.from_wire: Callable | None = None
        self.to_wire: Callable | None = None

    def bind(self, cls: type) -> None:
        slot = cls.__dict__[f'_{self.name}']
        self.store, self.load = slot.__set__, slot.__get__
        store, check = self.store, self.check

        def assign(message, value):
            store(message, check(value))

        setattr(cls, self.name, property(slot.__get__, assign))
        if self.to_wire:
            self.wire_name = f'_wire_{self.name}'
            load, to_wire = self.load, self.to_wire
            setattr(cls, self.wire_name, property(lambda message: to_wire(load(message))))

    def check(self, value: object) -> object:
        """The value to keep; AssertionError if the field cannot hold it."""
        raise NotImplementedError


class Scalar(Field):
    """A number, string, bool or byte."""

    def __init__(self, name: str, base: str, bound: int, default: object) -> None:
        type_name = f'string<{bound}>' if base == 'string' and bound else _idl(base)
        if default is None:
            default = {'string': '', 'bool': False, 'byte': b'\x00'}.get(
                base, 0.0 if base in _FLOATS else 0
            )
        super().__init__(name, type_name, lambda: default)
        self.check = scalar_check(name, base, bound)
        if base == 'byte':
            # The serialiser packs a signed integer.
            self.to_wire = lambda value: int.from_bytes(value, 'little', signed=True)
            self.from_wire = lambda value: bytes([value & 0xFF])


class Nested(Field):
    """Another message."""

    def __init__(self, name: str, type_name: str) -> None:
        super().__init__(name, type_name.replace('/msg/', '/'), lambda: self.cls())
        self._nested_name = type_name

    def bind(self, cls: type) -> None:
        from .messages import message_class

        self.cls = message_class(self._nested_name)
        super().bind(cls)

    def check(self, value: object) -> object:
        assert isinstance(value, self.cls), (
            f"The '{self.name}' field must be a sub message of type '{self.cls.__name__}', "
            f"not '{type(value).__name__}'"
        )
        return value


class Sequence(Field):
    """Objects in a list: strings, bools, bytes or messages; of fixed, bounded or free length."""

    def __init__(self, name: str, item, fixed: int, bound: int) -> None:
        self._item_desc, self._fixed, self._bound = item, fixed, bound
        super().__init__(name, _sequence_name(item, fixed, bound), self._make_default)
        if item[0] == Nodetype.BASE and item[1][0] in ('bool', 'byte'):
            self._wire_bits(item[1][0])

    def _wire_bits(self, base: str) -> None:
        if base == 'bool':
            self.to_wire = lambda value: np.array(value, dtype=np.bool_)
            self.from_wire = lambda value: value.tolist()
        else:
            self.to_wire = lambda value: np.frombuffer(b''.join(value), dtype=np.uint8)
            self.from_wire = lambda value: [bytes([b]) for b in value.view(np.uint8).tolist()]

    def bind(self, cls: type) -> None:
        kind, detail = self._item_desc
        if kind == Nodetype.NAME:
            from .messages import message_class

            self._item_class = message_class(detail)
            self._check_item = self._check_message
        else:
            default = Scalar(self.name, detail[0], detail[1], None)
            self._item_class = default.default
            self._check_item = default.check
        super().bind(cls)

    def new_item(self) -> object:
        """A default item."""
        return self._item_class()

    def _make_default(self) -> list:
        return [self._item_class() for _ in range(self._fixed)]

    def _check_message(self, value: object) -> object:
        assert isinstance(value, self._item_class), (
            f"The '{self.name}' field must be a set or sequence of '{self._item_class.__name__}',"
            f" but holds a '{type(value).__name__}'"
        )
        return value

    def check(self, value: object) -> object:
        assert hasattr(value, '__iter__') and not isinstance(value, (str, bytes, dict)), (
            f"The '{self.name}' field must be a set or sequence, not '{type(value).__name__}'"
        )
        if isinstance(value, np.ndarray):
            value = value.tolist()
        items = value if isinstance(value, list) else list(value)
        _check_length(self.name, len(items), self._fixed, self._bound)
        for item in items:
            self._check_item(item)
        return items


class Numbers(Field):
    """Numbers in an `array.array` (free or bounded length) or a numpy array (fixed length)."""

    def __init__(self, name: str, base: str, fixed: int, bound: int) -> None:
        self._base, self._fixed, self._bound = base, fixed, bound
        self._code = _INTEGERS[base][0] if base in _INTEGERS else _FLOATS[base]
        self._dtype = np.dtype(self._code)
        item = (Nodetype.BASE, (base, 0))
        super().__init__(name, _sequence_name(item, fixed, bound), self._make_default)
        self._check_item = scalar_check(name, base, 0)
        if fixed:
            self.from_wire = lambda value: value.copy()
        else:
            self.to_wire = self._view
            self.from_wire = self._copy

    def _make_default(self) -> object:
        if self._fixed:
            return np.zeros(self._fixed, dtype=self._dtype)
        return array(self._code)

    def _view(self, value: array) -> np.ndarray:
        if not value:
            return np.empty(0, dtype=self._dtype)
        return np.frombuffer(value, dtype=self._dtype)

    def _copy(self, value: np.ndarray) -> array:
        result = array(self._code)
        if value.size:
            result.frombytes(value.reshape(-1).view(np.uint8))
        return result

    def check(self, value: object) -> object:
        kept = self._checked_fixed(value) if self._fixed else self._checked_sequence(value)
        _check_length(self.name, len(kept), self._fixed, self._bound)
        return kept

    def _checked_fixed(self, value: object) -> np.ndarray:
        if isinstance(value, np.ndarray):
            assert value.dtype == self._dtype, self._wrong_dtype(value)
            return np.ascontiguousarray(value).reshape(-1)
        return np.array(self._items(value), dtype=self._dtype)

    def _checked_sequence(self, value: object) -> array:
        if isinstance(value, array):
            if value.typecode == self._code:
                return value
            assert array(value.typecode).itemsize == array(self._code).itemsize and (
                value.typecode in 'lL'
            ), f"The '{self.name}' array must have typecode '{self._code}', not '{value.typecode}'"
            return array(self._code, value.tobytes())
        if isinstance(value, np.ndarray):
            assert value.dtype == self._dtype, self._wrong_dtype(value)
            return self._copy(np.ascontiguousarray(value))
        if isinstance(value, (bytes, bytearray, memoryview)) and self._code == 'B':
            return array('B', bytes(value) if isinstance(value, memoryview) else value)
        return array(self._code, self._items(value))

    def _items(self, value: object) -> list:
        assert hasattr(value, '__iter__') and not isinstance(value, (str, dict)), (
            f"The '{self.name}' field must be a set or sequence of numbers, "
            f"not '{type(value).__name__}'"
        )
        items = list(value)
        for item in items:
            self._check_item(item)
        return items

    def _wrong_dtype(self, value: np.ndarray) -> str:
        return f"The '{self.name}' field must have dtype '{self._dtype}', not '{value.dtype}'"


def field_for(name: str, desc, default: object) -> Field:
    """The field of a type store's field description."""
    kind, detail = desc
    if kind == Nodetype.BASE:
        return Scalar(name, detail[0], detail[1], default)
    if kind == Nodetype.NAME:
        return Nested(name, detail)
    item, count = detail
    fixed, bound = (count, 0) if kind == Nodetype.ARRAY else (0, count)
    if item[0] == Nodetype.BASE and (item[1][0] in _INTEGERS or item[1][0] in _FLOATS):
        return Numbers(name, item[1][0], fixed, bound)
    return Sequence(name, item, fixed, bound)


def scalar_check(name: str, base: str, bound: int) -> Callable[[object], object]:
    """A function that returns the value, or raises AssertionError if the type cannot hold it."""
    if base in _INTEGERS:
        return _integer_check(name, *_INTEGERS[base][1:])
    if base in _FLOATS:
        return _float_check(name, base)
    expected = {'bool': bool, 'string': str, 'byte': (bytes, bytearray)}[base]
    label = {'bool': 'bool', 'string': 'str', 'byte': 'bytes'}[base]

    def check(value):
        assert isinstance(value, expected), _wrong_type(name, label, value)
        if base == 'byte':
            assert len(value) == 1, f"The '{name}' field must be of type 'bytes' and length 1"
        if bound:
            assert len(value) <= bound, f"The '{name}' field must not exceed {bound} characters"
        return value

    return check


def _integer_check(name: str, low: int, high: int) -> Callable:
    def check(value):
        assert isinstance(value, int), _wrong_type(name, 'int', value)
        assert low <= value <= high, (
            f"The '{name}' field must be an integer in [{low}, {high}], not {value}"
        )
        return value

    return check


def _float_check(name: str, base: str) -> Callable:
    limited = base == 'float32'

    def check(value):
        assert isinstance(value, float), _wrong_type(name, 'float', value)
        if limited:
            assert -_FLOAT32_MAX <= value <= _FLOAT32_MAX or not math.isfinite(value), (
                f"The '{name}' field must be a float in [{-_FLOAT32_MAX}, {_FLOAT32_MAX}]"
            )
        return value

    return check


def _wrong_type(name: str, expected: str, value: object) -> str:
    return f"The '{name}' field must be of type '{expected}', not '{type(value).__name__}'"


def _check_length(name: str, length: int, fixed: int, bound: int) -> None:
    assert not fixed or length == fixed, (
        f"The '{name}' field must have exactly {fixed} elements, not {length}"
    )
    assert not bound or length <= bound, (
        f"The '{name}' field must have at most {bound} elements, not {length}"
    )


def _idl(base: str) -> str:
    return _IDL_NAMES.get(base, base)


def _sequence_name(item, fixed: int, bound: int) -> str:
    kind, detail = item
    if kind == Nodetype.NAME:
        inner = detail.replace('/msg/', '/')
    else:
        inner = f'string<{detail[1]}>' if detail[0] == 'string' and detail[1] else _idl(detail[0])
    if fixed:
        return f'{inner}[{fixed}]'
    return f'sequence<{inner}, {bound}>' if bound else f'sequence<{inner}>'
