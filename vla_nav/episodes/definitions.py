"""Message definitions: the schema text and RIHS01 hash that a bag stores with each topic."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from vla_nav.episodes.errors import EpisodeError


@functools.cache
def standard_types() -> Typestore:
    """The message types of ROS 2 Jazzy's common interfaces."""
    return get_typestore(Stores.ROS2_JAZZY)


@functools.cache
def definition(msgtype: str) -> tuple[str, str]:
    """Return the definition text and the RIHS01 hash of 'pkg/msg/Name'.

    Types that are not common ones are looked up in the sourced ROS 2 workspaces
    (AMENT_PREFIX_PATH). Raises EpisodeError if the type is found nowhere or cannot be read.
    """
    store = standard_types()
    try:
        if msgtype not in store.fielddefs:
            store = get_typestore(Stores.ROS2_JAZZY)
            _register_installed(store, msgtype)
        return store.generate_msgdef(msgtype, ros_version=2)[0], store.hash_rihs01(msgtype)
    except (TypesysError, OSError, ValueError) as error:
        raise EpisodeError(f'message type {msgtype} cannot be recorded ({error}); remove the '
                           'topic from extra_topics') from None


def string_data(data: bytes) -> str:
    """The text of a serialized std_msgs/msg/String as rclpy reads it: wrong bytes replaced."""
    order = 'little' if data[1:2] == b'\x01' else 'big'
    length = int.from_bytes(data[4:8], order)
    return bytes(data[8:8 + length]).partition(b'\0')[0].decode(errors='replace')


def type_hash(msgtype: str, text: str) -> str:
    """Return the RIHS01 hash of a type given its definition text, '' if it cannot be read."""
    if msgtype in standard_types().fielddefs:
        return standard_types().hash_rihs01(msgtype)
    try:
        store = get_typestore(Stores.EMPTY)
        store.register(get_types_from_msg(text, msgtype))
        return store.hash_rihs01(msgtype)
    except (TypesysError, KeyError):
        return ''


def _register_installed(store: Typestore, msgtype: str) -> None:
    package, _, name = msgtype.partition('/msg/')
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    paths = [Path(prefix, 'share', package, 'msg', f'{name}.msg') for prefix in prefixes]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise EpisodeError(f'message type {msgtype} is not known; source the workspace that '
                           'defines it, or remove the topic from extra_topics')
    text = path.read_text(encoding='utf-8')
    for reference in re.findall(r'^\s*([A-Za-z]\w*(?:/(?:msg/)?\w+)?)(?:\[|\s)', text, re.M):
        parts = reference.replace('/msg/', '/').split('/')
        if len(parts) == 1:
            parts.insert(0, package)
        needed = '/msg/'.join(parts)
        if parts[1][0].isupper() and needed not in store.fielddefs:
            _register_installed(store, needed)
    store.register(get_types_from_msg(text, msgtype))
