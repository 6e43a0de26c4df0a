"""Frozen or adapted: the verdict of a comparison, by rules that stand here and in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vla_nav.evaluation.paired import Difference

SIMILAR = 0.8
"""Similarity of contexts from which an adapted model counts as seeing what the frozen one sees."""
ALPHA = 0.05
"""Of p values adjusted for how many comparisons there are."""
MARGIN = 0.05
"""A gain in success that would matter; smaller ones are not looked for."""

RULES = (
    f'A difference counts where its p, adjusted by Holm for all comparisons of the report, is '
    f'below {ALPHA:g}. Looked at are success, obedience and success on unseen pairs.',
    f'Similarity of at least {SIMILAR:g} and no difference: the frozen model suffices.',
    'A gain and no loss: adaptation pays, and the report says what it buys and costs. Gain and '
    'loss: mixed. Loss alone: adaptation harms.',
    f'No difference at a similarity below {SIMILAR:g}: adaptation changed what the head is shown '
    'and bought nothing that these scenes can show.',
    'Of adaptation only models tell whose backbone was changed; another frozen one that gains has '
    'a better head or context.',
    f'No difference is no proof of equality: where the interval reaches beyond {100 * MARGIN:g} '
    'points, the verdict says so.',
)


@dataclass(frozen=True)
class Contrast:
    """One outcome of a model against the frozen one's."""

    outcome: str
    difference: Difference
    """The model's minus the frozen one's."""
    adjusted: float
    """Its p, adjusted for the number of comparisons."""

    @property
    def gain(self) -> bool:
        """Whether the model did better."""
        return self.adjusted < ALPHA and self.difference.value > 0

    @property
    def loss(self) -> bool:
        """Whether the model did worse."""
        return self.adjusted < ALPHA and self.difference.value < 0


@dataclass(frozen=True)
class Candidate:
    """A model held against the frozen one."""

    name: str
    similarity: float | None
    """Of its contexts to the frozen model's."""
    contrasts: tuple[Contrast, ...]
    costs: Mapping[str, float] = field(default_factory=dict)
    """What it takes, as multiples of what the frozen model takes."""
    frozen: bool = False
    """Whether it is frozen too: then another head or context, and no adaptation."""

    @property
    def finding(self) -> str:
        """One of pays, mixed, harms, same and moved."""
        gains = any(c.gain for c in self.contrasts)
        losses = any(c.loss for c in self.contrasts)
        if gains or losses:
            return 'mixed' if gains and losses else 'pays' if gains else 'harms'
        return 'same' if (self.similarity or 0.0) >= SIMILAR else 'moved'


@dataclass(frozen=True)
class Verdict:
    """What a comparison comes to."""

    title: str
    sentences: tuple[str, ...]


def judge(frozen: str | None, candidates: Sequence[Candidate]) -> Verdict:
    """Say whether the frozen model suffices, by RULES. frozen: its name."""
    if frozen is None:
        return Verdict('No verdict', (
            'None of the models is frozen (tune: head), so there is nothing to hold adaptation '
            'against. Train one with --variant frozen_head on the same data and compare again.',))
    if not candidates:
        return Verdict('No verdict', ('There is no other model to hold it against.',))
    findings = {candidate.finding for candidate in candidates if not candidate.frozen}
    paying, better = (' and '.join(c.name for c in candidates
                                   if c.finding == 'pays' and c.frozen == still)
                      for still in (False, True))
    if paying:
        title = f'Adaptation pays: {paying}'
    elif 'mixed' in findings:
        title = 'Mixed: adaptation gains in one thing and loses in another'
    elif better:
        title = f'Another frozen model does better: {better}'
    elif 'moved' in findings:
        title = f'{frozen} does as well, though adaptation changed the contexts'
    else:
        title = f'{frozen} suffices'
    sentences = [_sentence(frozen, candidate) for candidate in candidates]
    doubt = _doubt(candidates)
    return Verdict(title, tuple(sentences + ([doubt] if doubt else [])))


def judge_curve(variant: str, episodes: Sequence[int], last: Difference) -> str:
    """Say what more episodes would bring a variant.

    episodes: numbers of demonstrations, ascending; last: success with the most of them minus
    success with the second most, on the same scenes.
    """
    fewer, most = episodes[-2:]
    step = f'{variant}: from {fewer} to {most} episodes success changed by {_points(last)}'
    if last.p < ALPHA and last.value > 0:
        return f'{step}: it still rises, so more episodes should help.'
    if last.p < ALPHA:
        return f'{step}: more episodes made it worse; look at the data and at the training.'
    if last.high <= MARGIN:
        return (f'{step}: it has levelled off; more episodes of the same kind will hardly help.')
    return (f'{step}: whether it still rises cannot be told from {last.units} scenes; drive more '
            'of them before recording more.')


def _sentence(frozen: str, candidate: Candidate) -> str:
    name, finding = candidate.name, candidate.finding
    alike = ('its contexts could not be compared' if candidate.similarity is None
             else f'its contexts have similarity {candidate.similarity:.2f} to those of {frozen}')
    if candidate.frozen:
        alike = f'it is frozen too, with another head or context; {alike}'
    if finding == 'same':
        return f'{name}: {alike}, and no outcome differs; {frozen} suffices.'
    if finding == 'moved':
        changed = 'that' if candidate.frozen else 'what adaptation changed'
        return (f'{name}: {alike}, yet no outcome differs: {changed} bought nothing '
                f'here{_costs(candidate)}.')
    gains = _listed(candidate, [c for c in candidate.contrasts if c.gain])
    losses = _listed(candidate, [c for c in candidate.contrasts if c.loss])
    if finding == 'pays':
        hint = f' Hold the others against it by --reference {name}.' if candidate.frozen else ''
        return f'{name}: it buys {gains}{_costs(candidate)}; {alike}.{hint}'
    if finding == 'harms':
        return f'{name}: it loses {losses} and gains nothing{_costs(candidate)}; {alike}.'
    return f'{name}: it buys {gains} and loses {losses}{_costs(candidate)}; {alike}.'


def _doubt(candidates: Sequence[Candidate]) -> str:
    """What a finding of no difference leaves open."""
    open_ends = [(c.difference.high, candidate.name, c) for candidate in candidates
                 for c in candidate.contrasts
                 if candidate.finding in ('same', 'moved') and c.difference.high > MARGIN]
    if not open_ends:
        return ''
    high, name, contrast = max(open_ends, key=lambda item: item[0])
    return (f'{contrast.difference.units} scenes do not settle it: a gain of up to '
            f'{100 * high:.0f} points in {contrast.outcome} by {name} remains possible; more '
            'scenes narrow that.')


def _costs(candidate: Candidate) -> str:
    if not candidate.costs:
        return ''
    costs = ', '.join(f'{ratio:.3g} x the {name}' for name, ratio in candidate.costs.items())
    return f', at {costs}'


def _listed(candidate: Candidate, contrasts: Sequence[Contrast]) -> str:
    return ' and '.join(f'{_points(c.difference)} of {c.outcome} (p = {c.adjusted:.2g})'
                        for c in contrasts)


def _points(difference: Difference) -> str:
    return (f'{100 * difference.value:+.1f} points ({100 * difference.low:+.1f} to '
            f'{100 * difference.high:+.1f})')
