"""Closed-loop success as the judge of a training run."""

from __future__ import annotations

from pathlib import Path

SEED = 900
"""Of the judge's scenes: others than those of any reported rollout."""


def success(model: Path, scenes: int, workers: int) -> float:
    """Share of simulated scenes in which a checkpoint succeeds."""
    from vla_nav.evaluation.rollout import RolloutSettings, rollout
    attempts = rollout(model, RolloutSettings(scenes, SEED), workers, lambda count: None)
    return sum(attempt.success for attempt in attempts) / len(attempts)
