"""`--ros-args`: remaps, parameters, parameter files, log levels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .exceptions import RCLError, UnknownROSArgsError
from .names import Remap
from .parameter_file import load_parameter_file, parse_value

_FLAGS = {
    f'--{switch}-{kind}-logs'
    for switch in ('enable', 'disable')
    for kind in ('rosout', 'stdout', 'external-lib')
}
_WITH_VALUE = {
    '-r', '--remap', '-p', '--param', '--params-file', '--log-level', '-e', '--enclave',
    '--log-config-file', '--log-file-name',
}
_TOKEN = r'(?!\w*__)[A-Za-z_]\w*'
_NAME = rf'(?:~/|/)?{_TOKEN}(?:/{_TOKEN})*'
_REMAP = re.compile(
    rf'(?:(?P<node>{_TOKEN}):)?(?:__(?:node|name):=(?P<name>{_TOKEN})'
    rf'|__ns:=(?P<namespace>/|(?:/{_TOKEN})+)'
    rf'|(?:ros(?P<kind>topic|service)://)?(?P<match>{_NAME}):=(?P<replacement>{_NAME}))',
    re.ASCII,
)


@dataclass
class Arguments:
    """What the ROS part of a command line says.

    `parameters` are those of each node pattern, weakest first: a pattern stands where it is first
    named, as in rcl. `log_levels` maps a logger's name ('' for all) to the name of a level.
    """

    remaps: list[Remap] = field(default_factory=list)
    parameters: dict[str, dict[str, object]] = field(default_factory=dict)
    log_levels: dict[str, str] = field(default_factory=dict)
    rosout: bool = True
    stdout: bool = True
    unparsed: list[str] = field(default_factory=list)

    def parameters_for(self, node_name_full: str) -> dict[str, object]:
        """Overrides for a node, by its fully qualified name."""
        return {
            name: value
            for pattern, values in self.parameters.items()
            if _pattern_matches(pattern, node_name_full)
            for name, value in values.items()
        }

    def add_parameter(self, pattern: str, name: str, value: object) -> None:
        """An override for the nodes of a pattern; the last one for a name counts."""
        self.parameters.setdefault(pattern, {})[name] = value


def parse(args: Sequence[str]) -> Arguments:
    """Parse a command line; what is not for ROS is left in `unparsed`.

    Raises:
        UnknownROSArgsError: an unknown flag inside `--ros-args`.
        RCLError: a value or a parameter file that cannot be read; says which.
    """
    result = Arguments()
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
            _apply(result, word, value)
    return result


def _switch(result: Arguments, word: str) -> None:
    enable = word.startswith('--enable')
    if 'rosout' in word:
        result.rosout = enable
    elif 'stdout' in word:
        result.stdout = enable


def _apply(result: Arguments, flag: str, value: str) -> None:
    if flag in ('-r', '--remap'):
        result.remaps.append(_parse_remap(value))
    elif flag in ('-p', '--param'):
        result.add_parameter(*_parse_parameter(value))
    elif flag == '--params-file':
        for entry in load_parameter_file(value):
            result.add_parameter(*entry)
    elif flag == '--log-level':
        logger, _, level = value.rpartition(':=')
        if level.upper() not in ('UNSET', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'):
            raise RCLError(
                f"--log-level {value}: no level '{level}'; use debug, info, warn, error or fatal"
            )
        result.log_levels[logger] = level.upper()


def _parse_remap(text: str) -> Remap:
    rule = _REMAP.fullmatch(text)
    if rule is None:
        raise RCLError(
            f"remap '{text}' is none of [node:]from:=to, [node:]__node:=name and"
            ' [node:]__ns:=/namespace, in names like a_1, /a/b and ~/a'
        )
    node = rule['node'] or ''
    for kind in ('name', 'namespace'):
        if rule[kind]:
            return Remap(node, kind, '', rule[kind])
    return Remap(node, rule['kind'] or '', rule['match'], rule['replacement'])


def _parse_parameter(text: str) -> tuple[str, str, object]:
    left, separator, value = text.partition(':=')
    if not separator or not left:
        raise RCLError(f"parameter '{text}' is not of the form name:=value")
    node, _, name = left.rpartition(':')
    return node or '/**', name, parse_value(value, f'-p {text}')


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
