"""vla_nav export: a policy as one ONNX graph."""

from __future__ import annotations

import argparse

EXAMPLES = """examples:
  vla_nav export                                write models/nano/engine
  vla_nav export --model models/my_policy --words 40 --frames 1000
  vla_nav export --precision int8               quicker on a CPU, actions a little off
  vla_nav drive --ros-args -p engine:=onnx      drive with it (auto, the default, finds it too)
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'export', help='write a policy as an ONNX graph, the quicker engine on a CPU',
        description='Writes engine/ into a checkpoint: one ONNX graph from image, tokens and '
        'history to action chunk and history, compared with torch before it is kept.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', default='nano', help='checkpoint folder or name (nano)')
    parser.add_argument('--words', type=int, default=24, metavar='TOKENS',
                        help='room for an instruction; longer ones run on torch (24 tokens)')
    parser.add_argument('--precision', default='float32', choices=('float32', 'int8'),
                        help='int8 rounds the weights: quicker on a CPU, a little off (float32)')
    parser.add_argument('--frames', type=int, default=200,
                        help='frames on which the graph is compared with torch (200)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Export and say how far the graph is from torch."""
    from transformers.utils import logging

    from vla_nav.errors import VlaNavError
    from vla_nav.policy import resolve_model
    from vla_nav.policy.export import export
    from vla_nav.training.progress import Progress
    if args.words < 1 or args.frames < 1:
        raise VlaNavError(f'--words is {args.words} and --frames {args.frames}; expected at '
                          'least 1 of each')
    logging.disable_progress_bar()
    folder = resolve_model(args.model)
    with Progress('frames compared', args.frames) as progress:
        settings = export(folder, args.words, args.frames, args.precision, progress.advance)
    print(f'saved {folder / "engine"}: at most {settings.max_error:.2g} of normalised actions '
          f'from torch on {settings.frames} frames')
    return 0
