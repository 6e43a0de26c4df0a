"""What a recorder is told, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vla_nav.contract import Contract
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.meters import TopicFigures

STRING = 'std_msgs/msg/String'


@dataclass(frozen=True)
class RecorderSettings:
    """How episodes are recorded."""

    root: Path
    """Folder for the bags."""
    pre_roll_s: float = 1.0
    pre_roll_mb: float = 64.0
    queue_mb: float = 256.0
    """What may wait for a slow disk before messages are dropped."""
    sync_period_s: float = 0.5
    """Data are on the disk at the latest after twice this, on a disk that keeps up."""
    min_free_gb: float = 2.0
    silence_s: float = 2.0
    """A watched topic that is silent for longer is a warning."""
    takeover_hold_s: float = 1.0
    """A human's command counts for this long."""
    require_instruction: bool = True
    compress: bool = False
    """Compress chunks with zstd."""

    def __post_init__(self) -> None:
        if not 0.05 <= self.sync_period_s <= 0.5:
            raise EpisodeError(f'sync_period_s is {self.sync_period_s}; expected 0.05 to 0.5, so '
                               'that a crash costs less than a second')
        for name in ('pre_roll_s', 'pre_roll_mb', 'min_free_gb', 'takeover_hold_s'):
            if not getattr(self, name) >= 0:
                raise EpisodeError(f'{name} is {getattr(self, name)}; expected 0 or more')
        for name in ('queue_mb', 'silence_s'):
            if not getattr(self, name) > 0:
                raise EpisodeError(f'{name} is {getattr(self, name)}; expected more than 0')


@dataclass(frozen=True)
class RecordedTopic:
    """A topic to record."""

    name: str
    """Fully resolved, as it stands in the bag."""
    msgtype: str
    latched: int = 0
    """So many of the last messages count for later episodes too, those that say the same once."""
    watched: bool = False
    """Silence during an episode is a warning."""


@dataclass(frozen=True)
class RecorderStatus:
    """What the recorder is doing."""

    episode: str
    """Name of the episode being recorded, '' if none."""
    seconds: float
    outcome: str
    instruction: str
    topics: dict[str, TopicFigures]
    dropped: dict[str, int]
    queue_fill: float
    """Share of the queue in use."""
    free_gb: float
    finished: int
    """Episodes completed since the start."""
    warnings: list[str]


def contract_topics(contract: Contract, resolve: Callable[[str], str]) -> list[RecordedTopic]:
    """The topics that a contract names, with `resolve` making their names absolute."""
    camera, command, odometry = contract.camera, contract.command, contract.odometry
    topics = [
        RecordedTopic(resolve(camera.topic), camera.type, watched=True),
        RecordedTopic(resolve(command.topic), command.type, watched=True),
        RecordedTopic(resolve(contract.instruction_topic), STRING, latched=1),
        RecordedTopic(resolve(contract.teleop_topic), command.type),
    ]
    if odometry:
        topics.append(RecordedTopic(resolve(odometry.topic), odometry.type, watched=True))
    return topics
