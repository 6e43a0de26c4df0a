"""vla_nav offline: how far a policy is from recorded demonstrations."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EXAMPLES = """examples:
  vla_nav offline --model models/my_policy --data data/my_dataset
  vla_nav offline --model models/my_policy --data data/my_dataset --validation --plot errors.png
  vla_nav offline --model nano --data data/my_dataset --json errors.json

A small error does not make a good driver: measure that with `vla_nav rollout` in simulation, and
by trials on a real robot.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'offline', help='measure the error against recorded demonstrations',
        description='Streams episodes of a dataset through a policy and compares every chunk with '
        'what the demonstrator did next: RMSE and MAE in SI units, per dimension and chunk step.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='nano', help='checkpoint folder or name (nano)')
    parser.add_argument('--data', required=True, type=Path,
                        help='dataset folder of `vla_nav dataset`')
    parser.add_argument('--validation', action='store_true',
                        help='only episodes that the model was not trained on')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures to FILE')
    parser.add_argument('--plot', type=Path, metavar='FILE.png',
                        help='draw the error over the time ahead')
    parser.add_argument('--device', default='auto', help='cpu, cuda or auto (auto)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print the table."""
    from vla_nav.evaluation import plots
    from vla_nav.evaluation.data import chosen_episodes, open_dataset
    from vla_nav.evaluation.models import check_alike, load_policy, open_model
    from vla_nav.evaluation.offline import describe, offline_errors
    from vla_nav.evaluation.store import write_bytes, write_text
    from vla_nav.policy import pick_device
    from vla_nav.training.progress import Progress

    model = open_model(args.model)
    dataset = open_dataset(args.data)
    check_alike([model], dataset.contract, str(args.data))
    episodes = chosen_episodes(model, dataset, args.validation)
    policy = load_policy(model.path, str(pick_device(args.device)))
    with Progress('frames', sum(dataset.episodes[e].length for e in episodes)) as progress:
        errors = offline_errors(policy, dataset, episodes, progress.advance)
    figures = {'model': model.label, 'sha256': model.checkpoint.sha256, 'data': str(args.data),
               'data_sha256': dataset.sha256, 'validation': args.validation,
               **describe(errors, dataset, episodes)}
    _print(figures)
    if args.json:
        write_text(args.json, json.dumps(figures, indent=1) + '\n')
    if args.plot:
        contract = dataset.contract
        write_bytes(args.plot, plots.chunk_errors(
            {model.label: errors}, contract.command.fields, contract.command.units,
            contract.step_s))
    return 0


def _print(figures: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    several = len(figures['episodes']) > 1
    which = 'held out' if figures['validation'] else 'all'
    table = Table(title=f'{figures["model"]} on {figures["data"]}: episodes '
                  f'{len(figures["episodes"])} ({which}), frames {figures["frames"]}')
    table.add_column('ahead', justify='right')
    for dimension in figures['dimensions']:
        table.add_column(f'RMSE {dimension["name"]} ({dimension["unit"]})', justify='right')
        table.add_column('MAE', justify='right')
    table.add_column('steps', justify='right')
    for step, count in enumerate(figures['counts']):
        cells = [f'{step * figures["step_s"]:.2f} s']
        for dimension in figures['dimensions']:
            low, high = dimension['rmse_interval'][step]
            interval = f' ({low:.4f} to {high:.4f})' if several else ''
            cells += [f'{dimension["rmse"][step]:.4f}{interval}', f'{dimension["mae"][step]:.4f}']
        table.add_row(*cells, str(count))
    Console().print(table)
    spread = ', '.join(f'{d["spread"]:.4f} {d["unit"]}' for d in figures['dimensions'])
    brackets = ('Brackets: 95 %, bootstrap over episodes.' if several else
                'A single episode has no interval.')
    print(f'{brackets} The demonstrated actions themselves spread '
          f'by {spread} (standard deviation).')
