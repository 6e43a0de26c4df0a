"""vla_nav soak: drive in simulation for long, and see what leaks or stumbles."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

EXAMPLES = """examples:
  vla_nav soak                                     30 minutes
  vla_nav soak --minutes 480 --model models/my_policy
  vla_nav soak --minutes 2 --swap-every 15 --say-every 10 --settle 30

The exit code is 0 if, after settling, memory stayed within 5 % of its peak before, no control tick
was missed, no thread was left, every swap took place, and nothing was a fault. Close what else
runs on the machine: a processor that is busy elsewhere misses ticks too.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'soak', help='drive in simulation for long, and watch memory, threads and ticks',
        description='Runs the simulated robot and the drive node in real time, with new sentences '
        'and changes of the model, and leaves figures, a plot and logs in a folder.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=30.0, help='how long (30)')
    parser.add_argument('--say-every', type=float, default=20.0, metavar='S',
                        help='seconds between two sentences (20)')
    parser.add_argument('--swap-every', type=float, default=60.0, metavar='S',
                        help='seconds between two changes of the model (60)')
    parser.add_argument('--settle', type=float, default=300.0, metavar='S',
                        help='seconds after which memory counts (300)')
    parser.add_argument('--model', default='nano', help='model name or folder (nano)')
    parser.add_argument('--robot', default='sim', help='contract: a file, or a name in '
                        'config/robots/ (sim)')
    parser.add_argument('--level', default='standard', choices=('easy', 'standard', 'hard'),
                        help='how hard the scenes are (standard)')
    parser.add_argument('--out', type=Path, metavar='DIR',
                        help='folder for figures, plot and logs (runs/soak-<time>)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Drive, print the table; 1 if anything is wrong, 130 if interrupted."""
    # That it is missing is to be said now, not after hours.
    import matplotlib  # noqa: F401

    from vla_nav.bench import machine
    from vla_nav.bench.endurance import Endurance, EnduranceSettings, plot
    from vla_nav.cli.domain import use_private_domain
    from vla_nav.cli.run_folder import RunFolder, write_json
    from vla_nav.contract import Contract, contract_file
    from vla_nav.policy import resolve_model, validate
    from vla_nav.training.progress import Progress

    settings = EnduranceSettings(args.minutes, args.say_every, args.swap_every, args.settle)
    contract = Contract.load(contract_file(args.robot))
    model = resolve_model(args.model)
    validate(model, contract)
    use_private_domain(contract)
    out = RunFolder(args.out or Path('runs') / time.strftime('soak-%Y%m%d-%H%M%S')).folder
    facts = machine.facts()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Progress('driving', round(60 * settings.minutes)) as progress:
        endurance = Endurance(settings, model, contract, args.robot, args.level, out,
                              lambda *_: progress.advance(1))
        figures = endurance.run()
    file = write_json(out / 'soak.json', {
        **figures, 'machine': facts, 'swapped_s': endurance.swapped_s,
        'samples': [asdict(sample) for sample in endurance.samples]})
    plot(endurance.samples, endurance.swapped_s, settings.settle_s, out / 'memory.png')
    show(figures, facts)
    print(f'written to {file} and {out / "memory.png"}', file=sys.stderr)
    return 1 if figures['failures'] else 0


def show(figures: dict, facts: dict[str, str]) -> None:
    """Print the figures as a person would read them."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f'soak of {figures["minutes"]:g} minutes: '
                  + ', '.join(f'{name} {value}' for name, value in facts.items()))
    table.add_column('figure')
    table.add_column('value', justify='right')
    for name, value in figures.items():
        if isinstance(value, (int, float)):
            table.add_row(name, f'{value:g}')
    for node in ('drive', 'sim'):
        for name, value in figures[node].items():
            text = f'{100 * value:+.1f} %' if name == 'growth' else f'{value:g}'
            table.add_row(f'memory of the {node} node: {name}', text)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for failure in figures['failures']:
        console.print(f'not met: {failure}', style='red', markup=False)
