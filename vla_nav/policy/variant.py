"""A variant: which parameters train, how the context becomes an action, and the head."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import yaml

from vla_nav.policy.action_tokens import TokenSettings
from vla_nav.policy.context import ContextSettings
from vla_nav.policy.errors import SettingsError
from vla_nav.policy.heads import HeadSettings
from vla_nav.policy.registry import unknown
from vla_nav.policy.settings import from_dict, require
from vla_nav.policy.tune import TUNES, LoraSettings
from vla_nav.share import share_root

LOSSES = {'head': ('huber', 'l1'), 'chunk_oft': ('l1', 'huber'), 'tokens': ('cross_entropy',)}
"""Losses of each decode, on normalised actions or on tokens."""
HEADS_OF = {'head': ('mlp', 'lstm'), 'chunk_oft': ('residual',), 'tokens': ('none',)}
"""Heads of each decode."""


@dataclass(frozen=True)
class Variant:
    """One combination of choices; a preset in config/variants/ names it."""

    name: str = 'frozen_head'
    follows: str = ''
    """The published system whose mechanisms it has, and where it is described."""
    tune: str = 'head'
    """What trains beside the head: head (nothing), lora, connector, vision or full."""
    decode: str = 'head'
    """head: from the context; chunk_oft: placeholders, one pass; tokens: one after another."""
    loss: str = 'huber'
    vision_language: float = 0.0
    """Share of captions and questions among the training data (RT-2's co-fine-tuning)."""
    context: ContextSettings = field(default_factory=ContextSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    """Used where tune is lora."""
    tokens: TokenSettings = field(default_factory=TokenSettings)
    """Used where decode is tokens."""

    def __post_init__(self) -> None:
        for noun, known in (('tune', TUNES), ('decode', LOSSES)):
            if getattr(self, noun) not in known:
                raise unknown(noun, getattr(self, noun), known)
        for noun, value, known in (
            ('loss', self.loss, LOSSES[self.decode]),
            ('head.kind', self.head.kind, HEADS_OF[self.decode]),
        ):
            require(value in known, noun, value, f"{' or '.join(known)} with decode {self.decode}")
        share = self.vision_language
        require(0 <= share < 1, 'vision_language', share, 'a share from 0 to below 1')

    @property
    def chunk(self) -> int:
        """Actions per frame (K)."""
        return self.head.chunk

    @classmethod
    def from_dict(cls, data: object) -> Variant:
        """Build a variant from plain data; unknown keys are refused with the nearest name."""
        if isinstance(data, dict):
            data = dict(data)
            for name, kind in GROUPS.items():
                if name in data:
                    data[name] = from_dict(kind, data[name], name)
        return from_dict(cls, data, 'variant')

    def to_dict(self) -> dict:
        """Plain data for JSON or YAML."""
        return asdict(self)

    def with_settings(self, settings: dict[str, object]) -> Variant:
        """Return a copy with single settings changed, by dotted name such as `head.window`."""
        data = self.to_dict()
        for dotted, value in settings.items():
            *path, last = dotted.split('.')
            room = data
            for part in path:
                room = room.get(part)
                if not isinstance(room, dict):
                    raise unknown('group of settings', part, _groups(data))
            if last not in room or (not path and isinstance(room[last], dict)):
                raise unknown('setting', dotted, dotted_names(data))
            room[last] = value
        return Variant.from_dict(data)


GROUPS = {
    'context': ContextSettings, 'head': HeadSettings, 'lora': LoraSettings,
    'tokens': TokenSettings,
}


def _groups(data: dict) -> list[str]:
    return [k for k, v in data.items() if isinstance(v, dict)]


def dotted_names(data: dict) -> list[str]:
    """What `with_settings` and `--set` call the settings, such as `head.window`."""
    names = []
    for key, value in data.items():
        names += [f'{key}.{k}' for k in value] if isinstance(value, dict) else [key]
    return names


def variant_names() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(p.stem for p in (share_root() / 'config' / 'variants').glob('*.yaml'))


def read_preset(name_or_path: str | os.PathLike) -> tuple[Variant, dict]:
    """Read a preset by name, or a YAML file by path: the variant, and how it is to be trained.

    Raises SettingsError naming the file.
    """
    text = os.fspath(name_or_path)
    if text.endswith(('.yaml', '.yml')):
        path = Path(text)
    else:
        if text not in variant_names():
            raise unknown('variant', text, variant_names())
        path = share_root() / 'config' / 'variants' / f'{text}.yaml'
    try:
        data = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise SettingsError(f'variant file {path}: cannot be read: {error.strerror}') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f'variant file {path}: not valid YAML: {error}') from None
    training = data.pop('training', {}) if isinstance(data, dict) else {}
    try:
        variant = Variant.from_dict(data)
    except SettingsError as error:
        raise SettingsError(f'{path}: {error}') from None
    return variant if 'name' in data else replace(variant, name=path.stem), training


def load_variant(name_or_path: str | os.PathLike) -> Variant:
    """Read the variant of a preset by name, or of a YAML file by path. Raises SettingsError."""
    return read_preset(name_or_path)[0]
