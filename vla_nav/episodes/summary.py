"""What became of a bag: the figures that the dataset's index and report show."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vla_nav.contract import Contract
from vla_nav.episodes.episode import Episode

CONSTANT_SHARE = 0.01
"""A field whose spread is below this share of its limits hardly changes."""
PLOT_POINTS = 240


@dataclass(frozen=True)
class EpisodeSummary:
    """What the report and the index of the dataset say about one episode."""

    rows: int
    duration_s: float
    gaps: int
    error_mean_s: float
    error_max_s: float
    tasks: list[str]
    intervention_share: float
    action_min: list[float]
    action_max: list[float]
    constant: list[str]
    """Action fields that hardly change."""
    clipped_share: float
    """Share of rows with a command outside the contract's limits."""
    speeds: list[list[float]]
    """Both action fields over time, thinned out for plotting."""
    thumbnails: list[str]
    """JPEG files, base64."""


@dataclass(frozen=True)
class BagSummary:
    """What became of one bag."""

    bag: str
    folder: str
    contract: dict
    image_size: list[int]
    """Width and height of the camera's own images, pixels."""
    outcome: str
    skipped: str
    """Why it is left out, if it is."""
    clock: str
    trimmed_s: list[float]
    warnings: list[str]
    dropped: dict[str, int]
    recovered: bool
    episodes: list[EpisodeSummary]

    @classmethod
    def load(cls, path: Path) -> BagSummary:
        """Read what save() wrote."""
        data = json.loads(path.read_text(encoding='utf-8'))['summary']
        episodes = [EpisodeSummary(**episode) for episode in data.pop('episodes')]
        return cls(**data, episodes=episodes)

    def save(self, path: Path, fingerprint: str) -> None:
        """Write to a temporary name, then rename: the file says that the bag is converted."""
        temporary = path.with_suffix('.tmp')
        temporary.write_text(json.dumps({'fingerprint': fingerprint, 'summary': asdict(self)}),
                             encoding='utf-8')
        temporary.replace(path)


def summarise(contract: Contract, episode: Episode, thumbnails: list[str]) -> EpisodeSummary:
    """Gather the figures of one episode."""
    actions = episode.actions
    low, high = np.asarray(contract.command.low), np.asarray(contract.command.high)
    spread = np.ptp(np.quantile(actions, (0.01, 0.99), axis=0), axis=0)
    slack = 1e-4 * (high - low)
    outside = ((actions < low - slack) | (actions > high + slack)).any(axis=1)
    every = max(1, len(episode) // PLOT_POINTS)
    return EpisodeSummary(
        rows=len(episode), duration_s=len(episode) * contract.step_s,
        gaps=episode.timing.gaps, error_mean_s=episode.timing.error_mean_s,
        error_max_s=episode.timing.error_max_s,
        tasks=list(dict.fromkeys(episode.instructions)),
        intervention_share=float(episode.intervention.mean()),
        action_min=actions.min(axis=0).tolist(), action_max=actions.max(axis=0).tolist(),
        constant=[field for field, width, range_ in
                  zip(contract.command.fields, spread, high - low)
                  if width < CONSTANT_SHARE * range_],
        clipped_share=float(outside.mean()),
        speeds=np.round(actions[::every], 4).T.tolist(), thumbnails=thumbnails)
