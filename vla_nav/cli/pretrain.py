"""vla_nav pretrain: make the nano VLM from simulated frames."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

EXAMPLES = """examples:
  vla_nav pretrain                                  the shipped model's backbone (an hour or so)
  vla_nav pretrain --start models/nano/backbone --rate 0.3 --seed 1 --out data/better
  vla_nav pretrain --views 2000 --vision-samples 2000 --language-samples 2000 --out data/tiny
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'pretrain', help='make the nano vision-language model from simulated frames',
        description='Renders labelled views, trains a small Idefics3 model on them (first the '
        'vision tower, then connector and language model) and saves an ordinary Hugging Face '
        'folder. Interrupted, it goes on where it was when called again.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('data/nano_vlm'),
                        help='folder for the model (data/nano_vlm)')
    parser.add_argument('--work', type=Path, default=Path('data/pretrain'),
                        help='folder for views, features and training states (data/pretrain)')
    parser.add_argument('--robot', default='sim', help='contract whose camera geometry to use: a '
                        'file, or a name in config/robots/ (sim)')
    parser.add_argument('--start', default='', metavar='DIR',
                        help='go on from this nano model instead of from nothing')
    parser.add_argument('--views', type=int, default=90_000, help='rendered frames (90000)')
    parser.add_argument('--vision-samples', type=int, default=150_000,
                        help='frames seen by the vision stage (150000)')
    parser.add_argument('--language-samples', type=int, default=120_000,
                        help='frames seen by the language stage (120000)')
    parser.add_argument('--seed', type=int, default=0, help='of views and weights (0)')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1,
                        help='rendering processes (one per core)')
    parser.add_argument('--rate', type=float, default=1.0, metavar='FACTOR',
                        help='times the usual learning rates (1; less when going on)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Pretrain and print the held-out figures."""
    from dataclasses import replace

    from vla_nav.contract import Contract, contract_file
    from vla_nav.errors import VlaNavError
    for name, least in (('views', 1), ('vision_samples', 1), ('language_samples', 1),
                        ('workers', 1), ('seed', 0)):
        if getattr(args, name) < least:
            raise VlaNavError(f'--{name.replace("_", "-")} is {getattr(args, name)}; expected at '
                              f'least {least}')
    from vla_nav.training.pretrain import PretrainSettings, pretrain
    settings = PretrainSettings(seed=args.seed, start=args.start)
    settings = replace(
        settings, views=args.views,
        vision=replace(settings.vision, rate=args.rate * settings.vision.rate,
                       samples=args.vision_samples),
        language=replace(settings.language, rate=args.rate * settings.language.rate,
                         samples=args.language_samples))
    contract = Contract.load(contract_file(args.robot))
    pretrain(args.out, args.work, contract.camera, settings, args.workers)
    print(f'saved {args.out}')
    return 0
