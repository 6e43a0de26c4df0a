"""`--ros-args`: remaps, parameters, parameter files, log levels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .exceptions import RCLError, UnknownROSArgsError
from .names import Remap

_FLAGS = {
    f'--{switch}-{kind}-logs'
    for switch in ('enable', 'disable')
    for kind in ('rosout', 'stdout', 'external-lib')
}
_WITH_VALUE = {
    '-r', '--remap', '-p', '--param', '--params-file', '--log-level', '-e', '--enclave',
    '--log-config-file', '--log-file-name',
}


@dataclass
class Arguments:
    """What the ROS part of a command line says.

    `parameters` are (node pattern, name, value), weakest first; `log_levels` maps a logger's
    name ('' for all) to the name of a level.
    """

    remaps: list[Remap] = field(default_factory=list)
    parameters: list[tuple[str, str, object]] = field(default_factory=list)
    log_levels: dict[str, str] = field(default_factory=dict)
    rosout: bool = True
    stdout: bool = True
    unparsed: list[str] = field(default_factory=list)

    def parameters_for(self, node_name_full: str) -> dict[str, object]:
        """Overrides for a node, by its fully qualified name."""
        return {
            name: value
            for pattern, name, value in self.parameters
            if _pattern_matches(pattern, node_name_full)
        }


def parse(args: Sequence[str]) -> Arguments:
    """Parse a command line; what is not for ROS is left in `unparsed`.

    Raises:
        UnknownROSArgsError: an unknown flag inside `--ros-args`.
        RCLError: a value or a parameter file that cannot be read; says which.
    """
    result = Arguments()
    explicit: list[tuple[str, str, object]] = []
    inside = False
    words = iter(args)
    for word in words:
        if word == '--ros-args':
            inside = True
        elif not inside:
            result.unparsed.append(word)
        elif word == '--':
            inside = False
        elif word in _FLAGS:
            _switch(result, word)
        else:
            if word not in _WITH_VALUE:
                raise UnknownROSArgsError(
                    f"unknown ROS argument '{word}'; known are {', '.join(sorted(_WITH_VALUE))}"
                )
            value = next(words, None)
            if value is None:
                raise RCLError(f"ROS argument '{word}' needs a value")
            _apply(result, explicit, word, value)
    result.parameters += explicit
    return result


def _switch(result: Arguments, word: str) -> None:
    enable = word.startswith('--enable')
    if 'rosout' in word:
        result.rosout = enable
    elif 'stdout' in word:
        result.stdout = enable


def _apply(result: Arguments, explicit: list, flag: str, value: str) -> None:
    if flag in ('-r', '--remap'):
        result.remaps.append(_parse_remap(value))
    elif flag in ('-p', '--param'):
        explicit.append(_parse_parameter(value))
    elif flag == '--params-file':
        result.parameters += load_parameter_file(value)
    elif flag == '--log-level':
        logger, _, level = value.rpartition(':=')
        if level.upper() not in ('UNSET', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'):
            raise RCLError(
                f"--log-level {value}: no level '{level}'; use debug, info, warn, error or fatal"
            )
        result.log_levels[logger] = level.upper()


def _parse_remap(text: str) -> Remap:
    left, separator, replacement = text.partition(':=')
    if not separator or not left or not replacement:
        raise RCLError(f"remap '{text}' is not of the form from:=to")
    node = ''
    kind = ''
    for scheme in ('rostopic', 'rosservice'):
        if left.startswith(f'{scheme}://'):
            kind, left = scheme[3:], left[len(scheme) + 3 :]
    if ':' in left:
        node, left = left.split(':', 1)
    if left in ('__node', '__name'):
        kind = 'name'
    elif left == '__ns':
        kind = 'namespace'
    return Remap(node.lstrip('/'), kind, left, replacement)


def _parse_parameter(text: str) -> tuple[str, str, object]:
    left, separator, value = text.partition(':=')
    if not separator or not left:
        raise RCLError(f"parameter '{text}' is not of the form name:=value")
    node, _, name = left.rpartition(':')
    return node or '/**', name, parse_value(value, f'-p {text}')


def parse_value(text: str, where: str) -> object:
    """A parameter's value from YAML text, as `ros2 param set` reads it."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RCLError(f'{where}: not a YAML value: {error}') from None
    if isinstance(value, (str, bool, int, float)):
        return value
    if value is None:
        return ''
    if isinstance(value, list):
        return _checked_list(value, where)
    return text


def _checked_list(value: list, where: str) -> list:
    kinds = {type(item) for item in value}
    if kinds == {int, float}:
        return [float(item) for item in value]
    if len(kinds) > 1 or not kinds <= {bool, int, float, str}:
        names = ', '.join(sorted(kind.__name__ for kind in kinds))
        raise RCLError(f'{where}: a list parameter holds one type of value, found {names}')
    return value


def load_parameter_file(path: str) -> list[tuple[str, str, object]]:
    """(node pattern, parameter, value) from a ROS parameter file, wildcards first.

    Raises:
        RCLError: the file cannot be read, is not YAML, or lacks `ros__parameters`.
    """
    try:
        text = Path(path).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise RCLError(f'parameter file {path}: {getattr(error, "strerror", error)}') from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RCLError(f'parameter file {path} is not YAML: {error}') from None
    if content is None:
        return []
    if not isinstance(content, dict):
        raise RCLError(f'parameter file {path}: expected node names, found {content!r}')
    found: list[tuple[str, str, object]] = []
    _collect_nodes(path, '', content, found)
    return sorted(found, key=lambda entry: '*' not in entry[0])


def _collect_nodes(path: str, prefix: str, content: dict, found: list) -> None:
    for key, value in content.items():
        if not isinstance(value, dict):
            raise RCLError(
                f"parameter file {path}: '{prefix}/{key}' has no 'ros__parameters:' section"
            )
        pattern = '/'.join(filter(None, [prefix, str(key).strip('/')]))
        for name, inner in value.items():
            if name == 'ros__parameters':
                _collect_values(path, pattern, '', inner or {}, found)
            elif isinstance(inner, dict):
                _collect_nodes(path, pattern, {name: inner}, found)
            else:
                raise RCLError(
                    f"parameter file {path}: '{key}: {name}:' is outside 'ros__parameters:';"
                    ' put it below that key'
                )


def _collect_values(path: str, pattern: str, prefix: str, content, found: list) -> None:
    if not isinstance(content, dict):
        raise RCLError(f"parameter file {path}: '{pattern}' holds {content!r}, not names")
    for name, value in content.items():
        full = f'{prefix}{name}'
        where = f"parameter file {path}: '{full}'"
        if isinstance(value, dict):
            _collect_values(path, pattern, f'{full}.', value, found)
        elif isinstance(value, list):
            found.append((f'/{pattern}', full, _checked_list(value, where)))
        elif isinstance(value, (bool, int, float, str)):
            found.append((f'/{pattern}', full, value))
        elif value is not None:
            raise RCLError(f'{where} is a {type(value).__name__}; quote it to make it a string')


def _pattern_matches(pattern: str, node_name_full: str) -> bool:
    if not pattern.startswith('/'):
        pattern = f'/{pattern}'
    regex = ''
    for part in pattern.strip('/').split('/'):
        regex += {'**': r'(/\w+)*', '*': r'/\w+'}.get(part, '/' + re.escape(part))
    return re.fullmatch(regex, node_name_full) is not None


def without_ros_args(args: Sequence[str]) -> list[str]:
    """A command line without its `--ros-args` sections."""
    return parse(args).unparsed
