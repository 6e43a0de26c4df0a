"""vla_nav demos: the scripted expert drives in simulation and is recorded."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

EXAMPLES = """examples:
  vla_nav demos --episodes 20 --out data/demos
  vla_nav demos --episodes 500 --seed 1000 --level standard --out data/demos
  vla_nav dataset data/demos --out data/demos_dataset
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        'demos', help='let the scripted expert drive in simulation and record it',
        description='Record demonstrations in simulation: the scripted expert drives in '
        'lock-step, and every episode becomes a bag as the recorder node writes it. Bags that '
        'are there already are kept, so an interrupted run goes on where it stopped.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--episodes', type=int, default=20, help='how many (default: 20)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the first scene (default: 0)')
    parser.add_argument('--level', default='standard', choices=('easy', 'standard', 'hard'),
                        help='how hard the scenes are (default: standard)')
    parser.add_argument('--out', type=Path, required=True, help='folder for the bags')
    parser.add_argument('--robot', default='sim', help='contract: a file, or a name in '
                        'config/robots/ (default: sim)')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(),
                        help='processes (default: one per CPU)')
    parser.add_argument('--no-noise', action='store_true',
                        help='execute exactly what the expert says')
    parser.add_argument('--no-compress', action='store_true',
                        help='write chunks without zstd: six times larger, faster to read')
    parser.add_argument('--time-limit', type=float, default=40.0, metavar='S',
                        help='simulated seconds per episode (default: 40)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Record; exit status 1 if an episode could not be made."""
    from vla_nav.contract import Contract, contract_file
    from vla_nav.episodes.recovery import recover
    from vla_nav.errors import VlaNavError
    from vla_nav.evaluation.rollout import FIRST_SEED
    from vla_nav.sim import check_fields
    from vla_nav.training.demo_bags import Demo

    if args.episodes < 1:
        raise VlaNavError(f'--episodes is {args.episodes}; expected at least 1')
    last = FIRST_SEED - args.episodes
    if not 0 <= args.seed <= last:
        raise VlaNavError(f'--seed is {args.seed}; expected 0 to {last}, as scenes from '
                          f'{FIRST_SEED} on are those of rollouts')
    if not args.time_limit > 0:
        raise VlaNavError(f'--time-limit is {args.time_limit:g}; expected more than 0')
    robot = contract_file(args.robot)
    check_fields(Contract.load(robot))
    if args.out.exists():
        recover(args.out, ours=True)
    demos = [Demo(args.out, seed, args.level, robot, not args.no_noise, not args.no_compress,
                  args.time_limit)
             for seed in range(args.seed, args.seed + args.episodes)]
    waiting = [demo for demo in demos if not (args.out / demo.name).exists()]
    return _record_all(waiting, len(demos) - len(waiting), max(1, args.jobs))


def _record_all(demos: list, present: int, processes: int) -> int:
    from collections import Counter

    from rich.console import Console

    from vla_nav.cli.progress import map_in_processes
    from vla_nav.errors import VlaNavError
    from vla_nav.training.demo_bags import record_demo

    console = Console()
    if present:
        console.print(f'episodes there already: {present}')
    outcomes: Counter[str] = Counter()
    steps = failed = 0
    for demo, result in map_in_processes(record_demo, demos, processes, 'demonstrations'):
        if isinstance(result, VlaNavError):
            failed += 1
            console.print(f'{demo.name}: {result}', style='red', markup=False)
            continue
        outcomes[result.outcome] += 1
        steps += result.steps
    made = ', '.join(f'{count} {outcome}' for outcome, count in outcomes.most_common())
    count = sum(outcomes.values())
    console.print(f'episodes recorded: {count} ({made or "none"}), {steps} frames')
    return 1 if failed else 0
