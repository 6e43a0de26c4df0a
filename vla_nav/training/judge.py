"""Closed-loop success as the judge of a training run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vla_nav.training.settings import TrainingSettings

SEED = 900
"""Of the judge's scenes: others than those of any reported rollout."""


class ClosedLoop:
    """Writes the policy as it is to a checkpoint and drives it in simulated scenes.

    save: writes the checkpoint into a folder.
    """

    def __init__(self, settings: TrainingSettings, work: Path, workers: int,
                 save: Callable[[Path], None]) -> None:
        self._settings, self._workers = settings, workers
        self._folder, self._save = work / 'candidate', save

    def wanted(self) -> Callable[[], float] | None:
        """Return itself where the settings ask for it."""
        return self if self._settings.judge == 'success' else None

    def __call__(self) -> float:
        """Share of scenes with success."""
        from vla_nav.evaluation.rollout import RolloutSettings, rollout
        self._save(self._folder)
        settings = RolloutSettings(self._settings.judge_scenes, SEED)
        attempts = rollout(self._folder, settings, self._workers, lambda count: None)
        return sum(attempt.success for attempt in attempts) / len(attempts)
