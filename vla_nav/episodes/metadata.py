"""What an episode says about itself: the custom_data of its bag's metadata.yaml."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

import yaml

from vla_nav.contract import Contract
from vla_nav.episodes.errors import EpisodeError

OUTCOMES = ('success', 'failure', 'unmarked')
PREFIX = 'vla_nav.'


def wall_time() -> str:
    """The time now, ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec='milliseconds')


@dataclass(frozen=True)
class EpisodeMetadata:
    """Everything about an episode that is not a message."""

    instruction: str = ''
    """The last one given before the end; changes on the way are messages in the bag."""
    contract: Contract | None = None
    outcome: str = 'unmarked'
    robot: str = ''
    policy: str = ''
    """Name of the checkpoint that drove, empty when a human or an expert did."""
    policy_sha256: str = ''
    started: str = ''
    """Wall time, ISO 8601."""
    stopped: str = ''
    stop_reason: str = ''
    version: str = ''
    """Version of vla_nav that recorded it."""
    interventions: tuple[tuple[int, int], ...] = ()
    """Spans [start_ns, stop_ns) of log time in which a human drove instead of the policy."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Messages per topic that were received and could not be written."""
    recovered: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)
    """Free notes, such as the seed of a simulated scene."""

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise EpisodeError(f'outcome is {self.outcome!r}; expected one of '
                               f'{", ".join(OUTCOMES)}')

    def replace(self, **changes: object) -> EpisodeMetadata:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_custom_data(self) -> dict[str, str]:
        """Strings for metadata.yaml; from_custom_data reads them back."""
        data = {
            'instruction': self.instruction,
            'contract': self.contract.to_yaml() if self.contract else '',
            'outcome': self.outcome,
            'robot': self.robot,
            'policy': self.policy,
            'policy_sha256': self.policy_sha256,
            'started': self.started,
            'stopped': self.stopped,
            'stop_reason': self.stop_reason,
            'version': self.version,
            'interventions': json.dumps([list(span) for span in self.interventions]),
            'dropped': json.dumps(dict(self.dropped)),
            'recovered': json.dumps(self.recovered),
            'extra': json.dumps(dict(self.extra)),
        }
        return {PREFIX + key: value for key, value in data.items()}

    @classmethod
    def from_custom_data(cls, custom: Mapping[str, str] | None, source: str) -> EpisodeMetadata:
        """Read what to_custom_data wrote; a bag of somebody else gives empty fields.

        Raises EpisodeError naming `source` if a field is there and cannot be read.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        try:
            data = {key[len(PREFIX):]: value for key, value in (custom or {}).items()
                    if key.startswith(PREFIX)}
            values: dict[str, object] = {key: data[key] for key in data if key in known}
            for key in ('interventions', 'dropped', 'recovered', 'extra'):
                if key in values:
                    values[key] = json.loads(str(values[key]))
            values['interventions'] = tuple(
                (int(start), int(stop)) for start, stop in values.get('interventions', ()))
            text = str(values.get('contract', ''))
            values['contract'] = Contract.from_dict(yaml.safe_load(text)) if text else None
            return cls(**values)
        except (AttributeError, ValueError, TypeError, yaml.YAMLError) as error:
            raise EpisodeError(f'{source}: custom_data in metadata.yaml is damaged ({error}); '
                               'restore it, or delete the vla_nav keys and convert with '
                               '--contract and --instruction') from None
