"""The one type store: message and service definitions, their hashes and their CDR serialiser."""

from __future__ import annotations

import os
from functools import cache, lru_cache
from pathlib import Path
from struct import Struct
from types import SimpleNamespace

from rosbags.interfaces import Nodetype
from rosbags.serde.cdr import (
    generate_deserialize_cdr,
    generate_getsize_cdr,
    generate_serialize_cdr,
)
from rosbags.serde.utils import check_string
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from .definitions import MESSAGES, SERVICES

_STORES = {
    'humble': Stores.ROS2_HUMBLE,
    'iron': Stores.ROS2_IRON,
    'jazzy': Stores.ROS2_JAZZY,
    'kilted': Stores.ROS2_KILTED,
}
PADDING_FIELD = 'structure_needs_at_least_one_member'
_TEXT = (Nodetype.NAME, 'string')


class MessageStore(Typestore):
    """rosbags' type store, reading and building rclpy-like message classes.

    The class of a message says under which attribute the serialiser finds each field
    (`_wire_name`), and builds itself from the deserialised values (`_from_wire`).
    """

    def __init__(self) -> None:
        super().__init__()
        # rosbags refuses a whole message for a string that is not UTF-8: to its deserialisers
        # a string is a message, of this one's making.
        self.cache[_TEXT[1]] = SimpleNamespace(
            fields=[('', (Nodetype.BASE, ('string', 0)))], cls=None,
            deserialize_cdr_le=_text_reader('<'), deserialize_cdr_be=_text_reader('>'),
        )

    def get_msgdef(self, typename: str):
        """The (de)serialiser of a type; generated at its first use."""
        if typename not in self.cache:
            from .messages import message_class

            cls = message_class(typename)
            entries = [(cls._wire_name(name), d) for name, d in self.fielddefs[typename][1]]
            readable = [(name, _with_text(desc)) for name, desc in entries]
            getsize, size = generate_getsize_cdr(entries, self)
            self.cache[typename] = SimpleNamespace(
                name=typename,
                fields=entries,
                cls=cls._from_wire,
                size_cdr=size,
                getsize_cdr=getsize,
                serialize_cdr_le=generate_serialize_cdr(entries, self, 'le'),
                serialize_cdr_be=generate_serialize_cdr(entries, self, 'be'),
                deserialize_cdr_le=generate_deserialize_cdr(readable, self, 'le'),
                deserialize_cdr_be=generate_deserialize_cdr(readable, self, 'be'),
            )
        return self.cache[typename]

    def add_message(self, name: str, text: str) -> None:
        """Add a message from the text of its `.msg` file."""
        self._add(get_types_from_msg(text or '\n', name))

    def add_service(self, name: str, text: str) -> None:
        """Add `<name>_Request` and `<name>_Response` from the text of a `.srv` file."""
        request, _, response = ('\n' + text).partition('\n---')
        package, _, short = name.split('/')
        for half, suffix in ((request, 'Request'), (response, 'Response')):
            # The parser knows messages only; the wire and the hash call these srv.
            alias = f'{package}/msg/{short}_{suffix}'
            types = get_types_from_msg(half.lstrip('-') + '\n', alias)
            self._add({f'{name}_{suffix}': types[alias]})

    def _add(self, types) -> None:
        for name, (constants, fields) in types.items():
            fields = [(field, _without_char(desc)) for field, desc in fields]
            fields = fields or [(PADDING_FIELD, (Nodetype.BASE, ('uint8', 0)))]
            self.fielddefs.setdefault(name, (constants, fields))

    def knows(self, name: str) -> bool:
        """Whether a message or service type is defined, looking on the ROS path if need be."""
        key = f'{name}_Request' if '/srv/' in name else name
        return key in self.fielddefs or self._find_on_ros_path(name)

    def _find_on_ros_path(self, name: str) -> bool:
        # A robot's own interfaces, installed as text beside a ROS 2 that this Python cannot use.
        package, kind, short = name.split('/')
        for folder in _shared(package):
            path = folder / kind / f'{short}.{kind}'
            if not path.is_file():
                continue
            (self.add_service if kind == 'srv' else self.add_message)(name, path.read_text())
            half_names = [f'{name}_Request', f'{name}_Response'] if kind == 'srv' else [name]
            return all(self.knows(t) for n in half_names for t in self._nested(n))
        return False

    def _nested(self, name: str) -> set[str]:
        names = set()
        for _, desc in self.fielddefs[name][1]:
            inner = desc[1][0] if desc[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE) else desc
            if inner[0] == Nodetype.NAME:
                names.add(inner[1])
        return names

    def has_package(self, package: str) -> bool:
        """Whether a package has interfaces, here or on the ROS path."""
        start = f'{package}/'
        return any(name.startswith(start) for name in self.fielddefs) or any(
            (folder / kind).is_dir() for folder in _shared(package) for kind in ('msg', 'srv')
        )


def _shared(package: str) -> list[Path]:
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(':')
    return [Path(prefix, 'share', package) for prefix in prefixes if prefix]


def _without_char(desc):
    # ROS 2 reads `char` as `uint8`, in type hashes too.
    kind, detail = desc
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return (kind, (_without_char(detail[0]), detail[1]))
    return (kind, ('uint8', 0)) if detail == ('char', 0) else desc


def _with_text(desc):
    kind, detail = desc
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return (kind, (_with_text(detail[0]), detail[1]))
    return _TEXT if kind == Nodetype.BASE and detail[0] == 'string' else desc


def _text_reader(order: str):
    # As rclpy reads a string: up to a NUL, wrong bytes replaced, a length of 0 for ''.
    unpack = Struct(f'{order}I').unpack_from

    def read(data, pos: int, cls, typestore) -> tuple[str, int]:
        (length,) = unpack(data, pos)
        if length:
            check_string(data, pos, length, cdr=True)
        end = pos + 4 + length
        return bytes(data[pos + 4 : end]).partition(b'\0')[0].decode(errors='replace'), end

    return read


@lru_cache(maxsize=1)
def store() -> MessageStore:
    """The process' type store: that of `ROS_DISTRO` where it is a known one, else Jazzy's."""
    base = get_typestore(_STORES.get(os.environ.get('ROS_DISTRO', ''), Stores.ROS2_JAZZY))
    result = MessageStore()
    result._add(base.fielddefs)
    for name, text in MESSAGES.items():
        if name not in result.fielddefs:
            result.add_message(name, text)
    for name, text in SERVICES.items():
        result.add_service(name, text)
    return result


@cache
def type_hash(name: str) -> str:
    """`RIHS01_<hex>` (REP-2016) of a message type."""
    return store().hash_rihs01(name)
