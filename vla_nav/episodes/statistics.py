"""Statistics of features as LeRobot v3.0 stores them: per episode and over the dataset."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

QUANTILES = {'q01': 0.01, 'q10': 0.10, 'q50': 0.50, 'q90': 0.90, 'q99': 0.99}
LEVELS = 256


def feature_statistics(values: np.ndarray) -> dict[str, list]:
    """Statistics of a column (N,) or (N, D), each a list of D numbers."""
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    result = {
        'min': rows.min(axis=0), 'max': rows.max(axis=0), 'mean': rows.mean(axis=0),
        'std': rows.std(axis=0),
        **{name: np.quantile(rows, at, axis=0) for name, at in QUANTILES.items()},
    }
    return {**{name: value.tolist() for name, value in result.items()}, 'count': [len(rows)]}


def image_histogram(image: np.ndarray) -> np.ndarray:
    """Count the levels per channel of a uint8 (H, W, 3) image: int64 (3, 256)."""
    return np.stack([np.bincount(image[..., channel].reshape(-1), minlength=LEVELS)
                     for channel in range(3)])


def image_statistics(histogram: np.ndarray, frames: int) -> dict[str, list]:
    """Statistics per channel scaled to [0, 1], each of shape (3, 1, 1), from int (3, 256)."""
    levels = np.arange(LEVELS) / (LEVELS - 1)
    share = histogram / histogram.sum(axis=1, keepdims=True)
    mean = share @ levels
    cumulative = np.cumsum(share, axis=1)
    present = histogram > 0
    result = {
        'min': levels[present.argmax(axis=1)],
        'max': levels[LEVELS - 1 - present[:, ::-1].argmax(axis=1)],
        'mean': mean,
        'std': np.sqrt(np.maximum(share @ levels ** 2 - mean ** 2, 0.0)),
        **{name: levels[np.minimum((cumulative < at).sum(axis=1), LEVELS - 1)]
           for name, at in QUANTILES.items()},
    }
    return {**{name: value.reshape(3, 1, 1).tolist() for name, value in result.items()},
            'count': [frames]}


def flat(statistics: Mapping[str, Mapping[str, list]]) -> dict[str, list]:
    """Name them as columns of meta/episodes: 'stats/<feature>/<statistic>'."""
    return {f'stats/{feature}/{name}': value for feature, values in statistics.items()
            for name, value in values.items()}
