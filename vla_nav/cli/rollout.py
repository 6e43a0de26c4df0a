"""vla_nav rollout: how often a policy succeeds in unseen simulated scenes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

EXAMPLES = """examples:
  vla_nav rollout --model models/nano --scenes 200
  vla_nav rollout --model models/nano --scenes 200 --level easy --json easy.json
  vla_nav rollout --model models/nano --scenes 200 --swap          obedience to changed sentences
  vla_nav rollout --model models/nano --scenes 200 --swap --blind  the language-blind control
  vla_nav rollout --model models/nano --scenes 200 --split paraphrases
  vla_nav rollout --model models/nano --scenes 200 --record        figures into the model card
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'rollout', help='measure closed-loop success in unseen simulated scenes',
        description='Drives a policy in lock-step through simulated scenes that no training '
        'used, and prints success with its 95 % Wilson interval.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='nano', help='checkpoint folder or name (nano)')
    parser.add_argument('--scenes', type=int, default=100, help='how many scenes (100)')
    parser.add_argument('--seed', type=int, default=0, help='which set of scenes (0)')
    parser.add_argument('--level', default='standard', choices=('easy', 'standard', 'hard'))
    parser.add_argument('--split', default='seen', help='seen, unseen-pairs, paraphrases, '
                        'dim-light or textures (seen)')
    parser.add_argument('--swap', action='store_true', help='also run each scene once per object '
                        'in view at the start, with only the sentence changed')
    parser.add_argument('--blind', action='store_true', help='control: tell the policy a random '
                        'object of the scene, whatever the task is')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures, and every '
                        'attempt, to FILE; if interrupted, the same command goes on')
    parser.add_argument('--record', action='store_true',
                        help="write the figures into the checkpoint's model card")
    parser.add_argument('--device', default='cpu', help='cpu, cuda or auto (cpu)')
    parser.add_argument('--engine', default='torch', choices=('auto', 'torch', 'onnx'),
                        help='what computes; onnx is written by `vla_nav export` (torch)')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1,
                        help='processes, each with the model on the device (one per core)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the rollouts and print the table."""
    from dataclasses import asdict

    from vla_nav.errors import VlaNavError
    from vla_nav.evaluation.models import open_model
    from vla_nav.evaluation.rollout import RolloutSettings, count_trials, rollout, summarise
    from vla_nav.evaluation.store import AttemptLog, write_text
    from vla_nav.policy import pick_device
    from vla_nav.training.progress import Progress
    if args.workers < 1:
        raise VlaNavError(f'--workers is {args.workers}; expected at least 1')
    settings = RolloutSettings(args.scenes, args.seed, args.level, args.split, args.swap,
                               args.blind)
    model = open_model(args.model)
    device = str(pick_device(args.device))
    how = {'device': device, 'engine': args.engine}
    log = args.json and AttemptLog(
        args.json.with_name(f'{args.json.name}.part'),
        {'sha256': model.checkpoint.sha256, **how, **settings.facts})
    with Progress('rollouts', count_trials(settings)) as progress:
        attempts = rollout(model.path, settings, args.workers, progress.advance, **how,
                           **({'done': log.read(), 'keep': log.append} if log else {}))
    summary = {'model': str(args.model), 'sha256': model.checkpoint.sha256, **how,
               **summarise(attempts, settings)}
    print_summary(summary)
    if args.json:
        write_text(args.json, json.dumps(
            {**summary, 'attempts': [asdict(a) for a in attempts]}, indent=1))
        log.path.unlink()
        print(f'written to {args.json}', file=sys.stderr)
    if args.record:
        from vla_nav.policy.measured import record_measured
        record_measured(model.path, measured(summary))
    return 0


def measured(summary: dict) -> dict[str, str]:
    """The figures as a model card shows them."""
    where = f'{summary["level"]}, {summary["split"]}'
    if summary['blind']:
        where += ', language-blind control'
    scenes = f'{summary["scenes"]} scenes, seed {summary["seed"]}'
    figures = {f'success ({where})': f'{_share(summary, "success")}, {scenes}, '
               f'{summary["collisions"]} collisions, {summary["timeouts"]} time-outs, '
               f'{summary["wrong_object"]} at a wrong object'}
    if 'obedience' in summary:
        figures[f'obedience ({where})'] = (f'{_share(summary, "obedience")}, '
                                           f'{summary["swapped"]} swapped sentences')
    return figures


def print_summary(summary: dict) -> None:
    """Show the figures as a person would read them."""
    from rich.console import Console
    from rich.table import Table
    table = Table(title=f'{summary["model"]}: level {summary["level"]}, split {summary["split"]}, '
                  f'seed {summary["seed"]}' + (', language-blind control' if summary['blind']
                                               else ''))
    table.add_column('figure')
    table.add_column('value', justify='right')
    table.add_row('scenes', str(summary['scenes']))
    table.add_row('success', _share(summary, 'success'))
    for name in ('collisions', 'timeouts', 'wrong_object'):
        table.add_row(name.replace('_', ' '), str(summary[name]))
    if summary['time_s'] is not None:
        table.add_row('median time to success', f'{summary["time_s"]:.1f} s')
    table.add_row('median final distance', f'{summary["final_distance_m"]:.2f} m')
    table.add_row('path efficiency', f'{summary["path_efficiency"]:.2f}')
    if 'obedience' in summary:
        table.add_row('swapped sentences', str(summary['swapped']))
        table.add_row('obedience', _share(summary, 'obedience'))
    Console().print(table)


def _share(summary: dict, name: str) -> str:
    return (f'{100 * summary[name]:.1f} % ({100 * summary[name + "_low"]:.1f} to '
            f'{100 * summary[name + "_high"]:.1f})')
