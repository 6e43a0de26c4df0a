"""ROS names: what is valid, how they expand and remap, and what they are called in DDS."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidParameterException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)

TOPIC_SEPARATOR_STRING = '/'
MAX_NAME_LENGTH = 255


@dataclass(frozen=True)
class Remap:
    """One remapping rule. `kind` is 'name', 'namespace', 'topic', 'service' or '' (both)."""

    node: str
    kind: str
    match: str
    replacement: str


def validate_node_name(name: str) -> bool:
    """True, or InvalidNodeNameException."""
    _check_token(name, InvalidNodeNameException, 'node name must not be empty')
    bad = re.search(r'[^A-Za-z0-9_]', name)
    if bad:
        raise InvalidNodeNameException(
            name,
            "node name must not contain characters other than alphanumerics or '_'",
            bad.start(),
        )
    if name[0].isdigit():
        raise InvalidNodeNameException(name, 'node name must not start with a number', 0)
    return True


def validate_namespace(namespace: str) -> bool:
    """True, or InvalidNamespaceException."""
    if not namespace:
        raise InvalidNamespaceException(namespace, 'namespace must not be empty', 0)
    if namespace[0] != '/':
        raise InvalidNamespaceException(
            namespace, "namespace must be absolute, it must lead with a '/'", 0
        )
    if namespace != '/':
        _check_full(namespace, InvalidNamespaceException, 'namespace')
    return True


def validate_topic_name(name: str, *, is_service: bool = False) -> bool:
    """True, or InvalidTopicNameException (InvalidServiceNameException)."""
    error, what = _topic_error(is_service)
    if not isinstance(name, str):
        raise TypeError(f'{what} must be a string')
    _check_token(name, error, f'{what} must not be empty')
    plain = re.sub(r'\{[A-Za-z_][A-Za-z0-9_]*\}', lambda m: 'a' * len(m.group()), name)
    bad = re.search(r'[^A-Za-z0-9_/~]', plain)
    if bad:
        raise error(
            name,
            f'{what} must not contain characters other than alphanumerics,'
            " '_', '~', '{', or '}'",
            bad.start(),
        )
    if '~' in name[1:]:
        raise error(name, f"{what} must not have a '~' anywhere but at the start",
                    name.index('~', 1))
    if name[0] == '~' and len(name) > 1 and name[1] != '/':
        raise error(name, f"{what} must have a '/' after '~'", 1)
    _check_parts(name, plain, error, what)
    return True


def validate_full_topic_name(name: str, *, is_service: bool = False) -> bool:
    """True for a valid absolute name without substitutions."""
    error, what = _topic_error(is_service)
    if not name.startswith('/'):
        raise error(name, f"{what} must be absolute, it must lead with a '/'", 0)
    _check_full(name, error, what)
    return True


def validate_parameter_name(name: str) -> bool:
    if not name:
        raise InvalidParameterException(name)
    return True


def _topic_error(is_service: bool):
    if is_service:
        return InvalidServiceNameException, 'service name'
    return InvalidTopicNameException, 'topic name'


def _check_token(name: str, error, message: str) -> None:
    if not name:
        raise error(name, message, 0)
    if len(name) > MAX_NAME_LENGTH:
        raise error(name[:40] + '...', f'name is longer than {MAX_NAME_LENGTH} characters', 40)


def _check_full(name: str, error, what: str) -> None:
    _check_token(name, error, f'{what} must not be empty')
    bad = re.search(r'[^A-Za-z0-9_/]', name)
    if bad:
        raise error(
            name,
            f"{what} must not contain characters other than alphanumerics, '_', or '/'",
            bad.start(),
        )
    _check_parts(name, name, error, what)


def _check_parts(name: str, plain: str, error, what: str) -> None:
    if plain.endswith('/'):
        raise error(name, f"{what} must not end with a '/'", len(name) - 1)
    if '//' in plain:
        raise error(name, f"{what} must not contain repeated '/'", plain.index('//') + 1)
    digit = re.search(r'(^|/)[0-9]', plain)
    if digit:
        raise error(name, f'{what} tokens must not start with a number', digit.end() - 1)


def fully_qualified(namespace: str, name: str) -> str:
    """`/ns/name`."""
    return f'/{name}' if namespace == '/' else f'{namespace}/{name}'


def expand_topic_name(topic_name: str, node_name: str, node_namespace: str) -> str:
    """A relative (`a`), private (`~/a`) or absolute (`/a`) name as an absolute one."""
    node_name_full = fully_qualified(node_namespace, node_name)
    if topic_name.startswith('~'):
        expanded = node_name_full + topic_name[1:]
    elif topic_name.startswith(('/', '{ns}', '{namespace}')):
        expanded = topic_name
    else:
        expanded = fully_qualified(node_namespace, topic_name)
    root = '' if node_namespace == '/' else node_namespace
    for key, value in (('{node}', node_name), ('{ns}', root), ('{namespace}', root)):
        expanded = expanded.replace(key, value)
    if '{' in expanded:
        raise ValueError(
            f"unknown substitution in topic name '{topic_name}': use {{node}} or {{namespace}}"
        )
    return expanded


def resolve(
    name: str, node_name: str, namespace: str, remaps: list[Remap], *, is_service: bool
) -> str:
    """A topic or service name, checked, expanded and remapped."""
    validate_topic_name(name, is_service=is_service)
    expanded = expand_topic_name(name, node_name, namespace)
    validate_full_topic_name(expanded, is_service=is_service)
    kinds = ('', 'service' if is_service else 'topic')
    for rule in remaps:
        if rule.kind not in kinds or rule.node not in ('', node_name):
            continue
        if expand_topic_name(rule.match, node_name, namespace) == expanded:
            target = expand_topic_name(rule.replacement, node_name, namespace)
            validate_full_topic_name(target, is_service=is_service)
            return target
    return expanded


def dds_topic(name: str) -> str:
    return f'rt{name}'


def ros_topic(dds_name: str) -> str | None:
    """The ROS topic of a DDS topic, or None if it is not one."""
    return dds_name[2:] if dds_name.startswith('rt/') else None


def ros_service(dds_name: str) -> str | None:
    """The ROS service of a request or reply DDS topic, or None if it is not one."""
    if dds_name.startswith('rq/') and dds_name.endswith('Request'):
        return dds_name[2 : -len('Request')]
    if dds_name.startswith('rr/') and dds_name.endswith('Reply'):
        return dds_name[2 : -len('Reply')]
    return None


def ros_type(dds_type: str) -> str:
    """`std_msgs::msg::dds_::String_` as `std_msgs/msg/String`; a service half as its service."""
    parts = dds_type.split('::')
    if len(parts) < 3 or parts[-2] != 'dds_':
        return dds_type
    short = parts[-1].rstrip('_')
    if 'srv' in parts:
        short = re.sub('_(Request|Response)$', '', short)
    return '/'.join([*parts[:-2], short])
