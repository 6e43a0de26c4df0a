"""vla_nav bench: how fast it is on this machine."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

EXAMPLES = """examples:
  vla_nav bench                                  everything (12 minutes)
  vla_nav bench engines node ticks --json speed.json
  vla_nav bench --model models/my_policy engines
  vla_nav bench --quick                          does it work? (the figures mean nothing)

Close what else runs on the machine, and repeat: every figure is shown beside another that was
measured in the same run, but a machine at work is uneven.
"""
_WIDTH = 160
"""Columns where the output is no terminal."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'bench', help='measure speed, each figure beside a reference',
        description='Measures speed: preprocessing, engines, chunk (in parallel or token by '
        'token), node (image to command), ticks (punctuality of the control loop), recorder, '
        'simulator, rollouts, training, and gpu. Interrupted, it shows what it has.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sections', nargs='*', metavar='SECTION', help='all unless named')
    parser.add_argument('--model', default='nano', help='checkpoint folder or name (nano)')
    parser.add_argument('--seconds', type=float, default=4.0,
                        help='for each function that is timed, in most sections (4)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures to FILE')
    parser.add_argument('--quick', action='store_true', help='everything once or twice')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; 130 if interrupted."""
    from transformers.utils import logging

    from vla_nav.bench import machine, run
    from vla_nav.bench.result import BenchError
    from vla_nav.cli.domain import use_private_domain
    from vla_nav.policy import resolve_model, validate

    for section in args.sections:
        if section not in run.SECTIONS:
            raise BenchError(f"unknown section '{section}'; known are {', '.join(run.SECTIONS)}")
    if args.json and not args.json.parent.is_dir():
        raise BenchError(f'--json: {args.json.parent} is no folder; make it first')
    if not args.seconds > 0:
        raise BenchError(f'--seconds is {args.seconds:g}; expected more than 0')
    model = resolve_model(args.model)
    use_private_domain(validate(model).contract)
    logging.disable_progress_bar()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts, results, skips, code = machine.facts(), [], {}, 0
    others = machine.Others()
    with tempfile.TemporaryDirectory(prefix='vla_nav_bench_') as folder:
        bench = run.Bench(model, Path(folder), args.quick, args.seconds)
        table = Table(bench.checkpoint.name)
        try:
            run.run(bench, args.sections or run.SECTIONS, results.append, skips.__setitem__,
                    table.begin)
        except KeyboardInterrupt:
            code = 130
        share = others.share()
        facts['other work'] = 'unknown' if share is None else f'{100 * share:.0f} % of the cores'
        table.show(results, skips, facts)
        if args.json:
            run.write_json(args.json, bench, results, skips, facts)
            print(f'written to {args.json}', file=sys.stderr)
    return code


class Table:
    """Shows figures as a person would read them."""

    def __init__(self, model: str) -> None:
        from rich.console import Console

        self._model = model
        self._console = Console(width=None if sys.stdout.isatty() else _WIDTH)
        self._log = Console(stderr=True)

    def begin(self, section: str) -> None:
        """Say what is being measured."""
        self._log.print(f'measuring {section} ...')

    def show(self, results: list, skips: dict[str, str], facts: dict[str, str]) -> None:
        """Print the table, and why sections are missing."""
        from rich.table import Table as RichTable

        table = RichTable(title=f'{self._model}: ' + ', '.join(
            f'{name} {value}' for name, value in facts.items()))
        for column, side in (('section', 'left'), ('figure', 'left'), ('value', 'right'),
                             ('ratio', 'right'), ('over', 'left'), ('goal', 'left')):
            table.add_column(column, justify=side)
        for result in results:
            table.add_row(
                result.section, result.name, f'{result.value:.4g} {result.unit}',
                '' if result.ratio is None else f'{result.ratio:.3g}', result.against,
                '' if result.goal is None else
                f'{"[green]met" if result.met else "[red]missed"}[/]: {result.goal}')
        self._console.print(table)
        for section, reason in skips.items():
            self._console.print(f'{section}: {reason}', markup=False)
