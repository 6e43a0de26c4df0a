"""A comparison as report.md, report.html and compare.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vla_nav import __version__
from vla_nav.evaluation import plots
from vla_nav.evaluation.comparison import Comparison, Measured
from vla_nav.evaluation.contrasts import candidates, further, trained_parameters, verdict
from vla_nav.evaluation.document import (
    Block,
    Box,
    Heading,
    Items,
    Plot,
    Rate,
    Table,
    Text,
    write_html,
    write_markdown,
)
from vla_nav.evaluation.intervals import wilson
from vla_nav.evaluation.paired import Difference
from vla_nav.evaluation.rollout import FIRST_SEED, Attempt, summarise
from vla_nav.evaluation.similarity import describe, quantiles
from vla_nav.evaluation.store import write_text
from vla_nav.evaluation.verdict import RULES, SIMILAR, Candidate, Verdict

if TYPE_CHECKING:
    from vla_nav.evaluation.curve import Curve

TITLE = 'Frozen or adapted'
NONE = '–'


class Report:
    """Figures, tables and plots of one comparison."""

    def __init__(self, comparison: Comparison, curves: Sequence[Curve] = ()) -> None:
        self.comparison = comparison
        self.curves = curves
        self.candidates: list[Candidate] = candidates(comparison)
        self.verdict: Verdict = verdict(comparison, self.candidates)

    def write(self, out: Path) -> None:
        """Write the three files into a folder."""
        blocks = self.blocks()
        write_markdown(out / 'report.md', TITLE, blocks)
        write_html(out / 'report.html', TITLE, blocks)
        write_text(out / 'compare.json', json.dumps(self.figures(), indent=1) + '\n')

    def blocks(self) -> list[Block]:
        """The report from top to bottom."""
        lines = [*self.verdict.sentences, *(curve.finding for curve in self.curves)]
        return [
            Box(self.verdict.title, lines), self.overview(), Text(self._caption(), note=True),
            *self._outcomes(), *self._pairs(), *self._driving(), *self._errors(),
            *self._contexts(), *self._growth(), *self._method()]

    def overview(self) -> Table:
        """One row a model."""
        command = self.comparison.dataset.contract.command
        header = ['model', 'variant', 'trains', 'parameters trained', 'training', 'peak memory',
                  'latency p50 / p99', *(f'RMSE {name} ({unit})' for name, unit in
                                         zip(command.fields, command.units)),
                  'success', 'obedience', 'unseen pairs', 'similarity']
        rows = []
        for each in self.comparison.measured:
            variant, training = each.model.checkpoint.variant, each.model.training
            trained = trained_parameters(each)
            rows.append([
                each.model.label, variant.name, f'{variant.tune}, {variant.decode}',
                f'{_count(trained)} ({100 * trained / max(each.latency.parameters, 1):.1f} %)',
                _duration(training.get('seconds')), _bytes(training.get('peak_memory_bytes')),
                self._latency(each),
                *(f'{value:.3f}' for value in each.errors.rmse[0]),
                rate(each.plain), rate(each.swapped), rate(each.unseen),
                'reference' if each is self.comparison.frozen else
                f'{each.similarity.score:.3f}' if each.similarity else NONE])
        return Table(header, rows)

    def _latency(self, each: Measured) -> str:
        latency, there = each.latency, self._elsewhere(each)
        found = f'{1e3 * latency.p50_s:.1f} / {1e3 * latency.p99_s:.1f} ms'
        return f'{found} ({there})' if there else found

    def _elsewhere(self, each: Measured) -> str:
        """What is not as for the other latencies; nothing where all is."""
        return ', '.join(str(value) for name, value in each.machine.items()
                         if value != self.comparison.machine[name])

    def figures(self) -> dict:
        """Everything as plain data."""
        comparison = self.comparison
        return {
            'vla_nav': __version__, 'settings': asdict(comparison.settings),
            'machine': comparison.machine,
            'data': {'folder': _shown(comparison.dataset.root),
                     'sha256': comparison.dataset.sha256,
                     'episodes': list(comparison.episodes),
                     'unseen_by_all_models': comparison.unseen_data},
            'reference': comparison.frozen.model.label if comparison.frozen else None,
            'models': {each.model.label: self._figures(each) for each in comparison.measured},
            'contrasts': {c.name: {
                'finding': c.finding, 'similarity': c.similarity, 'costs': dict(c.costs),
                'outcomes': {x.outcome: {**asdict(x.difference), 'p_adjusted': x.adjusted}
                             for x in c.contrasts}} for c in self.candidates},
            'curves': [curve.figures for curve in self.curves],
            'verdict': {'title': self.verdict.title, 'sentences': list(self.verdict.sentences),
                        'rules': list(RULES)},
        }

    def _figures(self, each: Measured) -> dict:
        settings = self.comparison.settings
        return {
            'path': _shown(each.model.path), 'sha256': each.model.checkpoint.sha256,
            'variant': each.model.checkpoint.variant.to_dict(),
            'trainable_parameters': trained_parameters(each), 'training': each.model.training,
            'latency': asdict(each.latency) | each.machine, 'rmse': each.errors.rmse.tolist(),
            'mae': each.errors.mae.tolist(), 'seen': summarise(each.seen, settings.seen),
            'unseen_pairs': summarise(each.unseen, settings.unseen),
            'moved_by_sentence': quantiles(each.movement),
            'to_frozen': each.similarity and describe(each.similarity)}

    def _caption(self) -> str:
        data = 'episodes that no model was trained on' if self.comparison.unseen_data else (
            'episodes, and models were, or may have been, trained on some of them')
        elsewhere = ', but for what names another machine and gets no ratio' if any(
            map(self._elsewhere, self.comparison.measured)) else ''
        return (f'RMSE: next action, open loop, over {len(self.comparison.episodes)} {data}. '
                'Brackets: 95 % intervals. Similarity: the lesser of median cosine and debiased '
                'linear CKA. Latency: one frame at a time, measured here one model after the '
                f'other{elsewhere}; training time and memory as the checkpoints tell.')

    def _outcomes(self) -> list[Block]:
        measured = self.comparison.measured
        groups = {
            title: {each.model.label: share(attempts(each)) for each in measured}
            for title, attempts in (('success', lambda m: m.plain),
                                    ('obedience to swapped sentences', lambda m: m.swapped),
                                    ('success on unseen pairs', lambda m: m.unseen))}
        return [Heading('Closed loop'),
                Plot('outcomes', plots.shares(groups),
                     f'{self.comparison.settings.scenes} scenes of level '
                     f'{self.comparison.settings.level}, the same for every model.')]

    def _pairs(self) -> list[Block]:
        frozen = self.comparison.frozen
        if frozen is None or not self.candidates:
            return []
        rows = [[c.name, x.outcome, _signed(x.difference, 100, 'points', 1),
                 f'{x.difference.p:.3g}', f'{x.adjusted:.3g}', str(x.difference.units)]
                for c in self.candidates for x in c.contrasts]
        more = [[each.model.label, f.figure, _signed(f.difference, 1, f.unit, 3),
                 f'{f.difference.p:.3g}', str(f.difference.units)]
                for each in self.comparison.others for f in further(self.comparison, each)]
        return [
            Heading(f'Against {frozen.model.label}, pair by pair'),
            Table(['model', 'outcome', 'difference (95 %)', 'p', 'p adjusted', 'scenes'], rows),
            Text(f'{len(rows)} comparisons: p is adjusted by Holm for all of them. Success: '
                 "McNemar's exact test, Newcombe's interval. Obedience: several sentences share a "
                 'scene, so whole scenes are resampled (bootstrap) and flipped (sign-flip test).',
                 note=True),
            Table(['model', 'figure', 'difference (95 %)', 'p', 'pairs'], more),
            Text('Bootstrap intervals and sign-flip tests over scenes, for RMSE over episodes; '
                 f'these {len(more)} p are not adjusted and decide nothing.', note=True)]

    def _driving(self) -> list[Block]:
        header = ['model', 'scenes', 'collisions', 'time-outs', 'wrong object', 'time to success',
                  'final distance', 'path efficiency', 'sentences swapped']
        rows = []
        for each in self.comparison.measured:
            found = summarise(each.seen, self.comparison.settings.seen)
            time = found['time_s']
            rows.append([each.model.label, str(found['scenes']), str(found['collisions']),
                         str(found['timeouts']), str(found['wrong_object']),
                         NONE if time is None else f'{time:.1f} s',
                         f'{found["final_distance_m"]:.2f} m', f'{found["path_efficiency"]:.2f}',
                         str(found['swapped'])])
        return [Table(header, rows),
                Text('Times and distances are medians. Path efficiency: straight way to the '
                     'success radius over the way driven, 0 where it failed, the mean over all '
                     'scenes.', note=True)]

    def _errors(self) -> list[Block]:
        contract = self.comparison.dataset.contract
        errors = {each.model.label: each.errors for each in self.comparison.measured}
        return [Heading('Open loop'),
                Plot('errors', plots.chunk_errors(errors, contract.command.fields,
                                                  contract.command.units, contract.step_s),
                     'RMSE of each step of a chunk; bands: bootstrap over episodes.')]

    def _contexts(self) -> list[Block]:
        measured = self.comparison.measured
        blocks: list[Block] = [Heading('Contexts')]
        rows = []
        for each in measured:
            similarity = each.similarity
            chance = similarity.chance if similarity else None
            rows.append([
                each.model.label, '{} x {}'.format(*each.model.checkpoint.context_shape),
                similarity.compared if similarity else NONE,
                _range(similarity.cosine) if similarity else NONE,
                NONE if chance is None else f'{chance:.3f}',
                f'{similarity.cka:.3f}' if similarity else NONE, _range(each.movement)])
        blocks += [
            Table(['model', 'shape', 'compared', 'cosine', 'cosine of different frames', 'CKA',
                   'moved by the sentence'], rows),
            Text(f'{len(self.comparison.sample)} frames; medians with the 5th and 95th '
                 'percentile. Moved: distance between the contexts of one frame under two '
                 'sentences, over the median distance of different frames; 0 is deaf.', note=True)]
        cosines = {each.model.label: each.similarity.cosine for each in measured
                   if each.similarity and each.similarity.cosine is not None}
        if cosines:
            blocks.append(Plot(
                'cosines', plots.histogram(cosines, 'cosine to the frozen model', SIMILAR),
                "Cosine of each frame's context to the frozen model's; dashed: what counts as "
                'alike.'))
        moved = {each.model.label: each.movement for each in measured
                 if each.movement is not None}
        if moved:
            blocks.append(Plot('movement', plots.histogram(moved, 'moved by the sentence'),
                               'How far another sentence moves the context of the same frame.'))
        blocks.append(Plot(
            'contexts', plots.projections({each.model.label: each.projection for each in measured},
                                          self.comparison.sample.instructions),
            'Mean context of each frame in its two directions of most variance, coloured by '
            'sentence; a line leads to where another sentence moves it.'))
        return blocks

    def _growth(self) -> list[Block]:
        if not self.curves:
            return []
        shown = {curve.label: {count: share(attempts)
                               for count, attempts in curve.attempts.items()}
                 for curve in self.curves}
        rows = [[curve.label, str(count), rate(attempts)] for curve in self.curves
                for count, attempts in curve.attempts.items()]
        return [Heading('Data efficiency'),
                Plot('episodes', plots.success_over_episodes(shown),
                     'Success after training on the first n demonstrations, the same scenes for '
                     'all; bands: 95 % intervals.'),
                Table(['model', 'demonstrations', 'success'], rows),
                Items([curve.finding for curve in self.curves])]

    def _method(self) -> list[Block]:
        comparison, settings, machine = (self.comparison, self.comparison.settings,
                                         self.comparison.machine)
        seeds = settings.seen.seeds
        models = [f'{each.model.label}: sha256 {each.model.checkpoint.sha256[:16]}'
                  for each in comparison.measured]
        return [
            Heading('How it was measured'),
            Items([
                f'{settings.scenes} scenes a split, level {settings.level}, set {settings.seed} '
                f'(scene seeds {seeds[0]} to {seeds[-1]}; training uses none from {FIRST_SEED}); '
                'every model meets the same scenes.',
                f'Dataset sha256 {comparison.dataset.sha256[:16]}, '
                f'{len(comparison.episodes)} of its {len(comparison.dataset)} episodes, '
                f'{len(comparison.sample)} frames for contexts.',
                f'{machine["hardware"]}, {machine["cores"]} cores, torch {machine["torch"]} on '
                f'{machine["device"]} with {machine["threads"]} threads; load {machine["load"]} '
                'when latencies were measured.',
                *models]),
            Heading('Rules of the verdict'), Items(RULES)]


def share(attempts: Sequence[Attempt]) -> tuple[float, float, float]:
    """Success with its Wilson interval."""
    done = sum(attempt.success for attempt in attempts)
    return (done / max(len(attempts), 1), *wilson(done, len(attempts)))


def rate(attempts: Sequence[Attempt]) -> Rate | str:
    """The same as a cell."""
    return Rate(*share(attempts)) if attempts else NONE


def _shown(path: Path) -> str:
    """A path from here, where it lies below: reports are passed on."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _signed(difference: Difference, scale: float, unit: str, digits: int) -> str:
    value, low, high = (f'{scale * number:+.{digits}f}' for number in
                        (difference.value, difference.low, difference.high))
    return f'{value}{" " * bool(unit)}{unit} ({low} to {high})'


def _range(values: np.ndarray | None) -> str:
    if values is None:
        return NONE
    found = quantiles(values)
    return f'{found["p50"]:.3f} ({found["p5"]:.3f} to {found["p95"]:.3f})'


def _count(number: int) -> str:
    for size, name in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if number >= size:
            return f'{number / size:.3g} {name}'
    return str(number)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    return f'{seconds:.0f} s' if seconds < 120 else f'{seconds / 60:.0f} min'


def _bytes(number: int | None) -> str:
    return NONE if number is None else f'{number / 2 ** 30:.2f} GiB'
