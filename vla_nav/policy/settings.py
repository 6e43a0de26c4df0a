"""Settings dataclasses from plain data."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from vla_nav.policy.errors import SettingsError
from vla_nav.policy.registry import unknown

T = TypeVar('T')

ENGINES = ('auto', 'torch', 'onnx')
"""What may compute. auto: ONNX on a CPU where the checkpoint has it in order, else torch."""


def from_dict(kind: type[T], data: object, where: str) -> T:
    """Build the dataclass `kind` from a dict; unknown keys are refused with the nearest name."""
    if not isinstance(data, dict):
        raise SettingsError(f'{where}: found {type(data).__name__}, expected named settings')
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in data:
        if name not in fields:
            raise unknown(f'setting of {where}', name, fields)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise SettingsError(f'{where}: {error}') from None


def require(condition: bool, name: str, found: object, expected: str) -> None:
    """Raise SettingsError naming a setting, what was found and what was expected."""
    if not condition:
        raise SettingsError(f'{name} is {found!r}; expected {expected}')
