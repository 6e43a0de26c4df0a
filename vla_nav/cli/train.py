"""vla_nav train: from demonstrations to a policy."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

EXAMPLES = """examples:
  vla_nav train --variant frozen_head --data data/my_dataset --out models/my_policy
  vla_nav train --variant lora_head --data data/my_dataset --out models/my_lora \\
      --backbone HuggingFaceTB/SmolVLM-256M-Instruct --set training.steps=2000
  vla_nav train --variant openvla_oft --data data/my_dataset --out models/oft --resume
  vla_nav train --out models/corrected --episodes 500 --rounds 2     in simulation, with DAgger
  accelerate launch --multi_gpu -m vla_nav train --variant rt2 --data data/my_dataset \\
      --out models/rt2

Interrupted by Ctrl-C or SIGTERM, a run goes on bit for bit with --resume. Settings for --set are
those of the preset (config/variants/NAME.yaml) and of training, such as training.steps,
training.batch, training.accumulate, training.rate and training.checkpointing.
"""
BACKBONE = 'models/nano/backbone'
SIMULATION_DEFAULTS = {'robot': 'sim', 'rounds': 0, 'round_episodes': 250}
"""Options that mean nothing with --data, and what they are if they are not given."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'train', help='train a policy from demonstrations',
        description='Trains one of the variants of config/variants on a recorded dataset, or, '
        'where nothing of the backbone trains, on demonstrations of the scripted expert in '
        'simulation.', epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--variant', default='frozen_head', metavar='NAME',
                        help='preset in config/variants or a YAML file (frozen_head)')
    parser.add_argument('--data', type=Path, metavar='DATASET', help='dataset folder of '
                        '`vla_nav dataset`; without it the scripted expert demonstrates in '
                        'simulation')
    parser.add_argument('--out', required=True, type=Path, help='folder for the checkpoint; one '
                        'that is there is replaced')
    parser.add_argument('--backbone', metavar='PATH_OR_ID', help='folder or hub id of a '
                        f'vision-language model (the shipped {BACKBONE})')
    parser.add_argument('--revision', help='commit or branch of a hub id')
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE',
                        help='change a setting of the preset, such as head.window=12')
    parser.add_argument('--resume', action='store_true',
                        help='go on with an interrupted run, if there is one')
    parser.add_argument('--init-from', metavar='MODEL', help='begin with the head of a checkpoint '
                        'or safetensors file, also of another action dimension')
    parser.add_argument('--episodes', type=int, default=0, help='use only the first N episodes '
                        'of the dataset (all), or of the expert in simulation (500)')
    parser.add_argument('--seed', type=int, help='same as --set training.seed=N')
    parser.add_argument('--share-backbone', action='store_true', help='refer to the backbone of '
                        'the checkpoint beside --out instead of copying it')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1,
                        help='simulating processes (one per core)')
    parser.add_argument('--questions', type=Path, metavar='DIR', help='vision-language data for '
                        'variants that mix it in: views of `vla_nav pretrain`, or examples.jsonl '
                        'with image, prompt and answer in each line (made in simulation)')
    parser.add_argument('--work', type=Path, help='folder for training states and logs '
                        '(data/train_NAME)')
    parser.add_argument('--cache', type=Path, default=Path('data/contexts'),
                        help='folder for contexts, shared among runs (data/contexts)')
    simulation = parser.add_argument_group('in simulation (without --data)')
    simulation.add_argument('--robot', help='contract: a file, or a name in config/robots/ (sim)')
    simulation.add_argument('--rounds', type=int, help='further rounds in which the '
                            'policy drives and the expert corrects it (DAgger), but for one '
                            'episode in four, which demonstrates a search (0)')
    simulation.add_argument('--round-episodes', type=int, help='episodes of each (250)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Train."""
    from vla_nav.contract import Contract, contract_file
    from vla_nav.errors import VlaNavError
    from vla_nav.share import share_path
    from vla_nav.training.settings import load_recipe, parse_changes, with_own_prompt
    for name, default in SIMULATION_DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
        elif args.data:
            raise VlaNavError(f'--{name.replace("_", "-")} is for demonstrations in simulation; '
                              'leave it out, or leave out --data')
    for name, least in (('episodes', 0), ('rounds', 0), ('round_episodes', 1), ('workers', 1)):
        if getattr(args, name) < least:
            raise VlaNavError(f'--{name.replace("_", "-")} is {getattr(args, name)}; expected at '
                              f'least {least}')
    recipe = load_recipe(args.variant)
    changes = parse_changes(args.set)
    if args.seed is not None:
        changes = {'training.seed': args.seed, **changes}
    variant = recipe.with_settings(changes).variant
    if args.questions and not variant.vision_language:
        raise VlaNavError(f"--questions: variant '{variant.name}' mixes in no vision-language "
                          'data; leave it out, or set vision_language')
    from vla_nav.training.train import Job, train
    backbone = args.backbone or str(share_path(BACKBONE))
    if 'context.prompt' not in changes:
        recipe = with_own_prompt(recipe, backbone)
    train(Job(
        recipe=recipe.with_settings(changes), backbone=backbone, out=args.out,
        work=args.work or Path('data') / f'train_{args.out.name}', data=args.data,
        cache=args.cache, revision=args.revision,
        contract=Contract.load(contract_file(args.robot)),
        episodes=args.episodes, rounds=args.rounds, round_episodes=args.round_episodes,
        init_from=args.init_from, questions=args.questions, resume=args.resume,
        share_backbone=args.share_backbone, workers=args.workers))
    return 0
