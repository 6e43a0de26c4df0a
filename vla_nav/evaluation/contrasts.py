"""Every model of a comparison against the frozen one, pair by pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from vla_nav.evaluation.comparison import Comparison, Measured
from vla_nav.evaluation.models import trainable_parameters
from vla_nav.evaluation.offline import rmse_difference
from vla_nav.evaluation.paired import Difference, holm, means, proportions, rates
from vla_nav.evaluation.rollout import Attempt
from vla_nav.evaluation.verdict import Candidate, Contrast, Verdict, judge


@dataclass(frozen=True)
class Further:
    """A continuous figure of a model against the frozen one's; p as it is, not adjusted."""

    figure: str
    unit: str
    difference: Difference


def candidates(comparison: Comparison) -> list[Candidate]:
    """The models held against the frozen one, their p adjusted for all comparisons together."""
    frozen = comparison.frozen
    if frozen is None:
        return []
    raw = {each.model.label: outcomes(each, frozen) for each in comparison.others}
    adjusted = iter(holm([difference.p for found in raw.values() for difference in
                          found.values()]))
    return [
        Candidate(each.model.label, each.similarity.score if each.similarity else None,
                  tuple(Contrast(name, difference, next(adjusted))
                        for name, difference in raw[each.model.label].items()),
                  costs(each, frozen), each.model.frozen)
        for each in comparison.others]


def verdict(comparison: Comparison, found: Sequence[Candidate]) -> Verdict:
    """What the comparison comes to."""
    frozen = comparison.frozen
    return judge(frozen.model.label if frozen else None, found)


def outcomes(each: Measured, frozen: Measured) -> dict[str, Difference]:
    """Differences of success, obedience and success on unseen pairs, paired by scene."""
    found = {'success': success(each.plain, frozen.plain)}
    swapped = [_by_scene(measured.swapped) for measured in (each, frozen)]
    if swapped[0]:
        found['obedience'] = rates(*swapped)
    found['success on unseen pairs'] = success(each.unseen, frozen.unseen)
    return found


def success(first: Sequence[Attempt], second: Sequence[Attempt]) -> Difference:
    """Difference of success over the same scenes; raises ValueError where they differ."""
    if [attempt.seed for attempt in first] != [attempt.seed for attempt in second]:
        raise ValueError('expected attempts at the same scenes')
    return proportions([a.success for a in first], [a.success for a in second])


def further(comparison: Comparison, each: Measured) -> list[Further]:
    """Continuous figures: errors by episode, distance, efficiency and time by scene."""
    frozen = comparison.frozen
    command = comparison.dataset.contract.command
    found = [Further(f'RMSE of {name}', unit, rmse_difference(each.errors, frozen.errors, 0, i))
             for i, (name, unit) in enumerate(zip(command.fields, command.units))]
    pairs = list(zip(each.plain, frozen.plain))
    found += [
        Further('final distance', 'm', means(*zip(*((a.distance_m, b.distance_m)
                                                    for a, b in pairs)))),
        Further('path efficiency', '', means(*zip(*((a.efficiency, b.efficiency)
                                                    for a, b in pairs))))]
    both = [(a.time_s, b.time_s) for a, b in pairs if a.success and b.success]
    if both:
        found.append(Further('time where both succeeded', 's', means(*zip(*both))))
    return found


def costs(each: Measured, frozen: Measured) -> dict[str, float]:
    """What a model takes as multiples of the frozen one, where both are known.

    What depends on the machine is left out where they were not trained, or measured, on the same.
    """
    figures = {'trainable parameters': [trained_parameters(m) for m in (each, frozen)]}
    own, base = (m.model.training for m in (each, frozen))
    if own.get('device') and all(own.get(k) == base.get(k) for k in ('device', 'processes')):
        figures |= {'training time': [own.get('seconds'), base.get('seconds')],
                    'peak memory of training': [own.get('peak_memory_bytes'),
                                                base.get('peak_memory_bytes')]}
    if each.machine == frozen.machine:
        figures['latency'] = [m.latency.p50_s for m in (each, frozen)]
    return {name: own / base for name, (own, base) in figures.items() if own and base}


def trained_parameters(each: Measured) -> int:
    """As training counted them, else as the checkpoint's files tell."""
    return each.model.training.get('trainable_parameters') or trainable_parameters(each.model)


def _by_scene(attempts: Sequence[Attempt]) -> list[tuple[int, int]]:
    """Per scene (successes, trials), in the order of seeds."""
    groups = defaultdict(list)
    for attempt in attempts:
        groups[attempt.seed].append(attempt.success)
    return [(sum(done), len(done)) for _, done in sorted(groups.items())]
