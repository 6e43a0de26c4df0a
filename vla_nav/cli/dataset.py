"""vla_nav dataset: bags become a LeRobotDataset v3.0 folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """examples:
  vla_nav dataset data/episodes --out data/my_dataset
  vla_nav dataset data/monday data/tuesday/episode_7 --out data/both --images png
  vla_nav dataset other_bag --contract config/robots/sim.yaml \\
      --instruction "go to the red cone" --out data/other

Bags that cannot be used are named with the remedy and left out; the exit status is how many
they were. An interrupted build goes on where it stopped when started again.
"""
MAX_STATUS = 100


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        'dataset', help='turn bags into a LeRobotDataset v3.0 folder',
        description="Align bags at the contract's rate and write a LeRobotDataset v3.0 folder "
        'with a quality report.', epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('bags', type=Path, nargs='+', metavar='BAG_OR_DIR',
                        help='bags, or folders with bags somewhere below')
    parser.add_argument('--out', type=Path, required=True, help='folder to create')
    parser.add_argument('--images', choices=('mp4', 'png'), default='mp4',
                        help='mp4: small, at least 38 dB PSNR; png: exact (default: mp4)')
    parser.add_argument('--contract', type=Path, metavar='ROBOT.yaml',
                        help='instead of the contracts in the bags, or for bags without one')
    parser.add_argument('--instruction', default='', metavar='TEXT',
                        help='for bags that have none')
    parser.add_argument('--include-failed', action='store_true',
                        help='take episodes marked as failed too')
    parser.add_argument('--clock', choices=('auto', 'header', 'receive'), default='auto',
                        help='align by header stamps or by the time of receipt (default: header '
                        'stamps if they fit the receive times)')
    parser.add_argument('--no-trim', action='store_true', help='keep idle heads and tails')
    parser.add_argument('--keep-idle', type=float, default=0.5, metavar='S',
                        help='idle time to keep at each end (default: 0.5)')
    parser.add_argument('--max-gap', type=float, default=0.5, metavar='S',
                        help='cut an episode where the camera was silent longer (default: 0.5)')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(),
                        help='processes (default: one per CPU)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Build; the exit status is the number of bags that failed, at most 100."""
    from rich.console import Console

    from vla_nav.cli.progress import map_in_processes
    from vla_nav.contract import Contract
    from vla_nav.episodes.convert import ConvertJob, convert_bag
    from vla_nav.episodes.dataset import (
        REPORT,
        DatasetSettings,
        NothingUsableError,
        build_dataset,
    )
    from vla_nav.episodes.episode import AlignSettings

    settings = DatasetSettings(
        contract=Contract.load(args.contract) if args.contract else None,
        align=AlignSettings(
            instruction=args.instruction, clock=args.clock, trim=not args.no_trim,
            keep_idle_s=args.keep_idle, max_gap_s=args.max_gap),
        images=args.images, include_failed=args.include_failed)

    def convert(jobs: Sequence[ConvertJob]):
        return map_in_processes(convert_bag, jobs, args.jobs, 'bags')

    console = Console(highlight=False)
    try:
        built = build_dataset(args.bags, args.out, settings, convert)
    except NothingUsableError as error:
        if not error.failures:
            raise
        _print_failures(console, error.failures)
        console.print('no dataset was built')
        return min(len(error.failures), MAX_STATUS)
    console.print(_table(built))
    _print_warnings(console, built.bags)
    _print_failures(console, built.failures)
    console.print(f'{built.root}: episodes {built.info["total_episodes"]}, frames '
                  f'{built.info["total_frames"]}; report in {built.root / REPORT}')
    return min(len(built.failures), MAX_STATUS)


def _print_warnings(console, bags) -> None:
    from rich.markup import escape

    for bag in bags:
        if bag.warnings:
            console.print(f'[yellow]{escape(Path(bag.bag).name)}[/yellow]: '
                          f'{escape("; ".join(bag.warnings))}')


def _print_failures(console, failures: dict[str, str]) -> None:
    from rich.markup import escape

    for bag, text in failures.items():
        console.print(f'[red]{escape(Path(bag).name)}[/red]: {escape(text)}')


def _table(built):
    from rich.table import Table

    table = Table(title='Episodes', box=None)
    table.add_column('bag', no_wrap=True)
    table.add_column('outcome')
    for name in ('frames', 'seconds', 'cut s', 'gaps', 'off ms', 'human'):
        table.add_column(name, justify='right')
    shown = [(bag, episode) for bag in built.bags for episode in bag.episodes]
    for bag, episode in shown[:30]:
        table.add_row(
            Path(bag.bag).name, bag.outcome, str(episode.rows), f'{episode.duration_s:.1f}',
            f'{sum(bag.trimmed_s):.1f}', str(episode.gaps), f'{episode.error_mean_s * 1e3:.1f}',
            f'{episode.intervention_share:.0%}')
    if len(shown) > 30:
        table.add_row(f'and {len(shown) - 30} more')
    for bag in built.skipped:
        table.add_row(Path(bag.bag).name, bag.skipped)
    return table
