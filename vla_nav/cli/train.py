"""vla_nav train: from demonstrations to a policy."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

EXAMPLES = """examples:
  vla_nav train --backbone data/nano_vlm --out models/my_policy --episodes 500
  vla_nav train --backbone data/nano_vlm --out models/my_policy --set head.kind=mlp --epochs 20
  vla_nav train --backbone models/nano/backbone --data data/my_dataset --out models/my_policy
  vla_nav train --backbone data/nano_vlm --out models/corrected --episodes 500 --rounds 2
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'train', help='train a policy from demonstrations',
        description='Trains a policy head over a frozen backbone from recorded demonstrations, '
        'or from those of the scripted expert in simulation. Each frame passes the backbone '
        'once; the head trains '
        'from the contexts kept on disk. Interrupted, it goes on when called again.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--variant', default='frozen_head', help='preset in config/variants or '
                        'a YAML file (frozen_head)')
    parser.add_argument('--backbone', required=True, type=Path,
                        help='folder of a vision-language model')
    parser.add_argument('--out', required=True, type=Path, help='folder for the checkpoint')
    parser.add_argument('--data', type=Path, help='dataset folder of `vla_nav dataset`; without '
                        'it the scripted expert demonstrates in simulation')
    parser.add_argument('--work', type=Path, help='folder for contexts and training states '
                        '(data/train_NAME)')
    parser.add_argument('--robot', type=Path, help='contract (config/robots/sim.yaml)')
    parser.add_argument('--episodes', type=int, default=500,
                        help='demonstrations by the expert (500)')
    parser.add_argument('--rounds', type=int, default=0, help='further rounds in which the '
                        'policy drives and the expert corrects it (DAgger; 0)')
    parser.add_argument('--round-episodes', type=int, default=250, help='episodes of each (250)')
    parser.add_argument('--epochs', type=int, help='passes over the episodes')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE',
                        help='change a setting of the variant, such as head.layers=2')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1,
                        help='driving processes (one per core)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Train and say where the checkpoint is."""
    from dataclasses import replace

    import yaml

    from vla_nav.contract import Contract
    from vla_nav.errors import VlaNavError
    from vla_nav.policy import load_variant
    from vla_nav.share import share_path
    from vla_nav.training.frozen_head import HeadTraining
    from vla_nav.training.train import (
        TrainSettings,
        context_prompt,
        train_in_simulation,
        train_on_dataset,
    )
    if args.episodes < 2 or args.rounds < 0 or args.round_episodes < 1:
        raise VlaNavError(f'--episodes {args.episodes}, --rounds {args.rounds}, --round-episodes '
                          f'{args.round_episodes}: expected at least 2, 0 and 1')
    changes = {}
    for setting in args.set:
        name, found, value = setting.partition('=')
        if not found:
            raise VlaNavError(f'--set {setting}: expected NAME=VALUE, such as head.layers=2')
        changes[name] = yaml.safe_load(value)
    prompt = context_prompt(args.backbone)
    if prompt:
        changes = {'context.prompt': prompt, **changes}
    variant = load_variant(args.variant).with_settings(changes)
    training = HeadTraining() if args.epochs is None else replace(
        HeadTraining(), epochs=args.epochs)
    work = args.work or Path('data') / f'train_{args.out.name}'
    if args.data:
        checkpoint = train_on_dataset(args.backbone, args.out, work, args.data, variant, training,
                                      args.seed)
    else:
        settings = TrainSettings(variant, args.episodes, args.rounds, args.round_episodes,
                                 args.seed, training)
        contract = Contract.load(args.robot or share_path('config/robots/sim.yaml'))
        checkpoint = train_in_simulation(args.backbone, args.out, work, contract, settings,
                                         args.workers)
    print(f'saved {checkpoint.path}; next: vla_nav rollout --model {checkpoint.path}')
    return 0
