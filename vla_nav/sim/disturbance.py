"""Noise on what a robot executes while an expert demonstrates."""

from __future__ import annotations

import numpy as np


class Disturbance:
    """Drift all the time and a shove now and then: the recorded expert shows how to recover.

    It acts on executed actions, never on recorded ones (DART, Laskey et al. 2017,
    arXiv 1703.09327).
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._drift = np.zeros(2)
        self._shove = np.zeros(2)
        self._left = 0

    def __call__(self, action: np.ndarray) -> np.ndarray:
        """Disturb one action (v in m/s, w in rad/s) of 0.1 s."""
        rng = self._rng
        self._drift = 0.8 * self._drift + rng.normal(0, (0.02, 0.06))
        if self._left == 0 and rng.random() < 0.02:
            self._left = int(rng.integers(3, 10))
            self._shove = rng.uniform((-0.2, -0.9), (0.2, 0.9))
        self._left = max(0, self._left - 1)
        if self._left:
            return action + self._drift + self._shove
        # A robot at rest is left at rest.
        return action if not np.any(action) else action + self._drift
