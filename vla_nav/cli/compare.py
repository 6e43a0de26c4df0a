"""vla_nav compare: is a frozen model enough, and what would adaptation buy?"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

EXAMPLES = """examples:
  vla_nav compare models/frozen models/lora --data data/my_dataset --scenes 200 --out runs/compare
  vla_nav compare models/*/ --data data/my_dataset --scenes 200 --out runs/all
  vla_nav compare models/frozen models/lora --data data/my_dataset --out runs/compare \\
      --episodes 50,100,250,500,1000
  vla_nav compare models/*/ --data data/my_dataset --out runs/all --record
      write the figures into the model cards
  vla_nav compare models/*/ --data data/my_dataset --out runs/all --report-only

Interrupted, it goes on when called again; a model that is added costs only its own measurements.
Success, obedience and unseen pairs come from the simulator: they say nothing about a policy for a
real robot.
"""
NAMES, COLUMN = 24, 24
"""Characters of a table's first column and of each other one."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'compare', help='compare policies in one report, with a verdict',
        description='Measures policies on the same data and scenes: error, success, obedience, '
        'unseen pairs, latency, similarity to the frozen one; tests the differences pair by pair; '
        'writes report.md, report.html and compare.json with a verdict by stated rules.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='+', metavar='MODEL', help='checkpoint folders or names')
    parser.add_argument('--data', required=True, type=Path,
                        help='dataset folder of `vla_nav dataset`')
    parser.add_argument('--out', required=True, type=Path, help='folder for results and report')
    parser.add_argument('--scenes', type=int, default=100, help='how many of each split (100)')
    parser.add_argument('--seed', type=int, default=0, help='which set of scenes and frames (0)')
    parser.add_argument('--level', default='standard', help='easy, standard or hard (standard)')
    parser.add_argument('--frames', type=int, default=256,
                        help='frames whose contexts are compared (256)')
    parser.add_argument('--reference', metavar='MODEL', help='the frozen model to hold the others '
                        'against (the first one)')
    parser.add_argument('--episodes', metavar='N,N,...', help='also train the variants of the '
                        'models on the first N episodes of the dataset, and drive them')
    parser.add_argument('--record', action='store_true',
                        help="write success and obedience into the checkpoints' model cards")
    parser.add_argument('--report-only', action='store_true', help='write the report from '
                        'results that are already in --out, perhaps measured on another machine; '
                        'needs the same dataset as they, and of the models policy.json alone')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or auto (cpu)')
    parser.add_argument('--threads', type=int, default=1,
                        help='of torch, while latencies are measured (1)')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1,
                        help='driving processes (one per core)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Compare, write the report and print the verdict."""
    from rich.console import Console
    from rich.table import Table

    from vla_nav.errors import VlaNavError
    from vla_nav.evaluation.comparison import CompareSettings, compare
    from vla_nav.evaluation.curve import measure_curves, parse_counts
    from vla_nav.evaluation.report import Report
    from vla_nav.policy import pick_device

    for name in ('workers', 'threads'):
        if getattr(args, name) < 1:
            raise VlaNavError(f'--{name} is {getattr(args, name)}; expected at least 1')
    settings = CompareSettings(
        args.scenes, args.seed, args.level, args.frames, device=str(pick_device(args.device)),
        workers=args.workers, threads=args.threads)
    if args.report_only and (args.episodes or args.record):
        raise VlaNavError('--report-only trains nothing and changes no model; give it without '
                          '--episodes and --record')
    counts = parse_counts(args.episodes, args.data) if args.episodes else []
    comparison = compare(args.models, args.data, args.out, settings, args.reference,
                         measure=not args.report_only)
    report = Report(comparison)
    report.write(args.out)
    if counts:
        report = Report(comparison, measure_curves(comparison, counts, args.out))
        report.write(args.out)
    if args.record:
        _record(comparison)
    overview = report.overview()
    console = Console()
    # Models side by side, as many as a terminal is wide.
    side = max(1, (console.width - NAMES) // COLUMN)
    for first in range(0, len(overview.rows), side):
        rows = [overview.header, *overview.rows[first:first + side]]
        table = Table(title=f'{args.scenes} scenes, level {args.level}')
        for number, row in enumerate(rows):
            table.add_column(str(row[0]), justify='right' if number else 'left')
        for cells in list(zip(*rows))[1:]:
            table.add_row(*map(str, cells))
        console.print(table)
    console.print(f'[bold]{report.verdict.title}[/bold]')
    for line in [*report.verdict.sentences, *(curve.finding for curve in report.curves)]:
        console.print(line, highlight=False, markup=False)
    print(f'report in {args.out / "report.html"} and report.md, figures in compare.json')
    return 0


def _record(comparison) -> None:
    """Write how the models drove into their cards."""
    from vla_nav.cli.rollout import measured
    from vla_nav.evaluation.rollout import summarise
    from vla_nav.policy.measured import record_measured

    seen, unseen = comparison.settings.seen, comparison.settings.unseen
    for each in comparison.measured:
        record_measured(each.model.path, {**measured(summarise(each.seen, seen)),
                                          **measured(summarise(each.unseen, unseen))})
