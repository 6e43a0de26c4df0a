"""Parameters as YAML text, in files and on the command line, read as rcl reads them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import yaml

from .exceptions import RCLError

_WORDS = {
    variant: value
    for value, words in ((True, 'y yes true on'), (False, 'n no false off'))
    for word in words.split()
    for variant in (word, word.capitalize(), word.upper())
}
# What C's strtoll (base 0) and strtod take.
_INTEGER = re.compile('[+-]?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)')
_DOUBLE = re.compile(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?')
_NO_NUMBER = re.compile(r'([+-]?)\.?(inf|nan|infinity)', re.IGNORECASE)


class _Loader(yaml.BaseLoader):
    """Composes nodes; one without a tag of its own has None, to tell it from `!!str`."""

    DEFAULT_SCALAR_TAG = None

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, 'ROS 2 knows no aliases', self.peek_event().start_mark
            )
        return super().compose_node(parent, index)


def parse_value(text: str, where: str) -> object:
    """A parameter's value from YAML text, as `-p` takes it.

    Raises:
        RCLError: it is not YAML, or a list of several types.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise RCLError(f'{where}: not a YAML value: {error}') from None
    if node is None:
        return ''
    if isinstance(node, yaml.MappingNode):
        return text
    return _value(node, where)


def _value(node: yaml.Node, where: str) -> object:
    if isinstance(node, yaml.SequenceNode):
        return checked_list([_value(item, where) for item in node.value], where)
    if isinstance(node, yaml.MappingNode):
        raise RCLError(f'{where}: a list parameter holds values, not names')
    if node.style in ('"', "'") or node.tag == 'tag:yaml.org,2002:str':
        return node.value
    if not node.value:
        raise RCLError(f"{where} has no value; '' is an empty string")
    return _plain(node.value)


def _plain(text: str) -> bool | int | float | str:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        digits = text.lower().lstrip('+-')
        base = 16 if digits.startswith('0x') else 8 if digits.startswith('0') else 10
        number = int(text, base)
        if -(2**63) <= number < 2**63:
            return number
    if _DOUBLE.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    special = _NO_NUMBER.fullmatch(text)
    return float(f'{special[1]}{special[2]}') if special else text


def checked_list(value: list, where: str) -> list:
    """A list of one type; whole numbers among others become floats.

    Raises:
        RCLError: several types, or such as no parameter has.
    """
    kinds = {type(item) for item in value}
    if kinds == {int, float}:
        return [float(item) for item in value]
    if len(kinds) > 1 or not kinds <= {bool, int, float, str}:
        names = ', '.join(sorted(kind.__name__ for kind in kinds))
        raise RCLError(f'{where}: a list parameter holds one type of value, found {names}')
    return value


def load_parameter_file(path: str) -> list[tuple[str, str, object]]:
    """(node pattern, parameter, value) from a ROS parameter file, in its order.

    Raises:
        RCLError: the file cannot be read, is not YAML, or lacks `ros__parameters`.
    """
    try:
        text = Path(path).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise RCLError(f'parameter file {path}: {getattr(error, "strerror", error)}') from None
    try:
        content = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise RCLError(f'parameter file {path} is not YAML: {error}') from None
    if content is None:
        return []
    if not isinstance(content, yaml.MappingNode):
        raise RCLError(f'parameter file {path}: expected node names, found {text[:40]!r}')
    found: list[tuple[str, str, object]] = []
    _collect_nodes(path, '', content, found)
    return found


def _collect_nodes(path: str, prefix: str, content: yaml.MappingNode, found: list) -> None:
    for key, value in content.value:
        name = str(key.value)
        if name == 'ros__parameters':
            _collect_values(path, prefix, '', value, found)
        elif isinstance(value, yaml.MappingNode):
            _collect_nodes(path, f'{prefix}/{name.strip("/")}', value, found)
        else:
            raise RCLError(
                f"parameter file {path}: '{prefix}/{name}' is outside 'ros__parameters:'; put it"
                ' below that key'
            )


def _collect_values(path: str, pattern: str, prefix: str, content: yaml.Node, found) -> None:
    if not isinstance(content, yaml.MappingNode):
        raise RCLError(f"parameter file {path}: '{pattern}' holds {content.value!r}, not names")
    for key, value in content.value:
        full = f'{prefix}{key.value}'
        if isinstance(value, yaml.MappingNode):
            _collect_values(path, pattern, f'{full}.', value, found)
        else:
            found.append((pattern, full, _value(value, f"parameter file {path}: '{full}'")))
