"""Data efficiency: the same variant trained on more and more demonstrations."""

from __future__ import annotations

from dataclasses import dataclass

from vla_nav.evaluation.contrasts import success
from vla_nav.evaluation.rollout import Attempt
from vla_nav.evaluation.verdict import judge_curve


@dataclass(frozen=True)
class Curve:
    """One variant's success over the number of demonstrations it was trained on."""

    variant: str
    attempts: dict[int, list[Attempt]]
    """Number of demonstrations, ascending, to attempts at the same scenes."""

    @property
    def finding(self) -> str:
        """What more demonstrations would bring."""
        fewer, most = list(self.attempts)[-2:]
        last = success(self.attempts[most], self.attempts[fewer])
        return judge_curve(self.variant, list(self.attempts), last)

    @property
    def figures(self) -> dict:
        """Plain data."""
        return {'variant': self.variant, 'finding': self.finding,
                'success': {str(count): sum(a.success for a in attempts) / len(attempts)
                            for count, attempts in self.attempts.items()}}
