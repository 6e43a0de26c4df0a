"""Actions in SI units to numbers in [-1, 1] and back, by the percentiles of the training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from vla_nav.policy.errors import NormaliserError

LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.0
NARROWEST = 0.05
"""Smallest range of a dimension, as a fraction of what the robot can do."""
OUTSIDE = 0.10
"""Largest share of data outside the range: percentiles of the same data leave 0.02."""
TOO_WIDE = 20.0
"""Largest ratio of the range to the data's spread: more means other units."""


@dataclass(frozen=True)
class ActionNormaliser:
    """The linear map of each action dimension; statistics of the data it came from beside it."""

    low: tuple[float, ...]
    """SI value that becomes -1: the 1st percentile, or below it for a near-constant dimension."""
    high: tuple[float, ...]
    """SI value that becomes +1."""
    widened: tuple[bool, ...]
    """Dimensions that hardly varied, whose range was widened around the middle."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    count: int
    """Actions the statistics were taken from."""

    def __post_init__(self) -> None:
        lengths = {len(v) for v in (self.low, self.high, self.widened, self.mean, self.std)}
        if len(lengths) != 1 or not self.low:
            raise NormaliserError(
                f'action statistics: low, high, widened, mean and std have lengths '
                f'{sorted(lengths)}; expected one number per action dimension in each'
            )
        numbers = np.array([self.low, self.high, self.mean, self.std], float)
        if not np.isfinite(numbers).all() or not (numbers[0] < numbers[1]).all():
            raise NormaliserError(
                f'action statistics: low {self.low}, high {self.high}; expected finite numbers '
                'with low < high in every dimension'
            )
        object.__setattr__(self, '_low', np.array(self.low, np.float32))
        object.__setattr__(self, '_span', np.array(self.high, np.float32) - self._low)

    @property
    def action_dim(self) -> int:
        """Number of action dimensions."""
        return len(self.low)

    @classmethod
    def fit(
        cls, actions: np.ndarray, low_limit: Sequence[float], high_limit: Sequence[float]
    ) -> ActionNormaliser:
        """Take the statistics of actions (N, A) of a robot with the given limits (SI units).

        A dimension whose percentiles are closer than `NARROWEST` of its limits' range (a
        teleoperator who drives at one speed) gets that range around their middle: then a small
        error of a policy stays a small velocity. Raises NormaliserError on unusable data.
        """
        actions = _checked(actions, len(low_limit))
        low = np.percentile(actions, LOW_PERCENTILE, axis=0)
        high = np.percentile(actions, HIGH_PERCENTILE, axis=0)
        narrowest = NARROWEST * (np.asarray(high_limit, float) - np.asarray(low_limit, float))
        widened = high - low < narrowest
        middle = (low + high) / 2
        low = np.where(widened, middle - narrowest / 2, low)
        high = np.where(widened, middle + narrowest / 2, high)
        return cls(
            tuple(low.tolist()), tuple(high.tolist()), tuple(widened.tolist()),
            tuple(actions.mean(0).tolist()), tuple(actions.std(0).tolist()), len(actions),
        )

    def normalise(self, actions: np.ndarray) -> np.ndarray:
        """SI actions (..., A) to float32 in [-1, 1]; what lies outside the range is clipped."""
        scaled = (np.asarray(actions, np.float32) - self._low) / self._span * 2 - 1
        return np.clip(scaled, -1.0, 1.0)

    def denormalise(self, actions: np.ndarray) -> np.ndarray:
        """Normalised actions (..., A), clipped to [-1, 1], to float32 SI units."""
        clipped = np.clip(np.asarray(actions, np.float32), -1.0, 1.0)
        return (clipped + 1) / 2 * self._span + self._low

    def check(self, actions: np.ndarray, names: Sequence[str] | None = None) -> None:
        """Raise NormaliserError, with the numbers, where these statistics do not fit the data.

        actions: (N, A) in SI units; names: of the dimensions, for the message.
        """
        actions = _checked(actions, self.action_dim)
        for i in range(self.action_dim):
            name = names[i] if names else f'dimension {i}'
            column = actions[:, i]
            outside = float(np.mean((column < self.low[i]) | (column > self.high[i])))
            low, high = np.percentile(column, [LOW_PERCENTILE, HIGH_PERCENTILE])
            span = self.high[i] - self.low[i]
            said = (
                f'action statistics of {name} say {self.low[i]:.4g} to {self.high[i]:.4g}, the '
                f'data lie in {low:.4g} to {high:.4g} (1st to 99th percentile)'
            )
            if outside > OUTSIDE:
                raise NormaliserError(
                    f'{said}: {outside:.0%} of them outside, expected at most {OUTSIDE:.0%}; '
                    'recompute the statistics from this data'
                )
            if not self.widened[i] and high - low < span / TOO_WIDE:
                raise NormaliserError(
                    f'{said}: less than 1/{TOO_WIDE:.0f} of the range; check the units, and '
                    'recompute the statistics from this data'
                )

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> ActionNormaliser:
        """Read what `to_dict` wrote; raises NormaliserError where something is missing."""
        if not isinstance(data, dict) or not data:
            raise NormaliserError(
                'action statistics are missing; without them predictions have no unit. Train '
                'the policy again, or take them from the dataset it was trained on'
            )
        names = ('low', 'high', 'widened', 'mean', 'std')
        missing = [n for n in (*names, 'count') if n not in data]
        if missing:
            raise NormaliserError(f'action statistics lack {", ".join(missing)}')
        try:
            values = {n: tuple(data[n]) for n in names}
            return cls(**values, count=int(data['count']))
        except (TypeError, ValueError) as error:
            raise NormaliserError(f'action statistics cannot be read: {error}') from None


def _checked(actions: np.ndarray, action_dim: int) -> np.ndarray:
    actions = np.asarray(actions, float)
    if actions.ndim != 2 or actions.shape[1] != action_dim or len(actions) < 2:
        raise NormaliserError(
            f'actions: found an array of shape {actions.shape}, expected (N, {action_dim}) with '
            'at least 2 rows'
        )
    bad = ~np.isfinite(actions).all(1)
    if bad.any():
        raise NormaliserError(
            f'actions: {int(bad.sum())} of {len(actions)} rows are not finite, the first is row '
            f'{int(bad.argmax())}: {actions[bad.argmax()].tolist()}; drop or mend these frames'
        )
    return actions
