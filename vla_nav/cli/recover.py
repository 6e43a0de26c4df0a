"""vla_nav recover: complete episodes that were interrupted."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  vla_nav recover data/episodes                 everything below that was interrupted
  vla_nav recover my_bag                        one bag, ours or of `ros2 bag record` (MCAP)

The recorder does this at its start. Bags are completed in place: what can be read is kept, an
unreadable end is cut, and damaged stretches before it are passed over. Complete bags and the one
being recorded are not touched.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        'recover', help='complete bags that a crash or power cut interrupted',
        description='Complete bags that were interrupted.', epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('dirs', type=Path, nargs='+', metavar='DIR')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Recover; exit status 1 if a bag could not be."""
    import sys

    from vla_nav.episodes.recovery import recover

    failures = 0
    for folder in args.dirs:
        done, failed = recover(folder)
        for bag in done:
            lost = f', {bag.unreadable_bytes} unreadable bytes' if bag.unreadable_bytes else ''
            print(f'recovered {bag.path}: {bag.messages} messages{lost}')
        for text in failed:
            print(f'error: {text}', file=sys.stderr)
        failures += len(failed)
        if not done and not failed and not _holds_bags(folder):
            print(f'error: {folder} holds no bag; give a bag, or a folder with bags below it',
                  file=sys.stderr)
            failures += 1
        elif not done and not failed:
            print(f'{folder}: nothing was interrupted')
    return 1 if failures else 0


def _holds_bags(path: Path) -> bool:
    if path.is_file():
        return path.suffix == '.mcap'
    return any(any(path.rglob(name)) for name in ('*.mcap', 'metadata.yaml'))
