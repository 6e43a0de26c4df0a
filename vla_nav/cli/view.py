"""vla_nav view: look at an episode."""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_nav.errors import VlaNavError

EXAMPLES = """examples:
  vla_nav view data/episodes/episode_20260131_120000        writes an MP4 beside the bag
  vla_nav view data/my_dataset --episode 12 --out twelve.mp4
  vla_nav view data/my_dataset --live                       needs pip install 'vla_nav[view]'
  vla_nav view data/my_dataset --rrd twelve.rrd             for the rerun viewer elsewhere
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        'view', help='show an episode of a bag or dataset',
        description='Show what the policy sees, with the command drawn on and both speeds over '
        'time, as a video or live in rerun.', epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('path', type=Path, metavar='DIR', help='bag or dataset')
    parser.add_argument('--episode', type=int, default=0, help='which one (default: 0)')
    parser.add_argument('--out', type=Path, metavar='FILE.mp4',
                        help='video to write (default: beside DIR)')
    parser.add_argument('--contract', type=Path, metavar='ROBOT.yaml',
                        help='for bags that carry none')
    parser.add_argument('--live', action='store_true', help='show it in the rerun viewer')
    parser.add_argument('--rrd', type=Path, metavar='FILE.rrd', help='write a rerun recording')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Show or write."""
    from vla_nav.contract import Contract
    from vla_nav.episodes.render import load_episode, write_video

    contract = Contract.load(args.contract) if args.contract else None
    shown = load_episode(args.path, args.episode, contract)
    if args.live or args.rrd:
        _log_to_rerun(shown, args.rrd)
        return 0
    resolved = args.path.resolve()
    out = args.out or resolved.with_name(f'{resolved.name}_{args.episode}.mp4')
    try:
        write_video(shown, out)
    except OSError as error:
        raise VlaNavError(f'cannot write {out}: {error.strerror}; give another file with --out'
                          ) from None
    print(f'{out}: {len(shown)} frames, "{shown.instructions[0]}", {shown.outcome}')
    return 0


def _log_to_rerun(shown, path: Path | None) -> None:
    try:
        import rerun
    except ImportError:
        raise VlaNavError("rerun is not installed; pip install 'vla_nav[view]', or leave out "
                          '--live and --rrd to get a video') from None
    rerun.init(f'vla_nav {shown.name}', spawn=path is None)
    if path is not None:
        rerun.save(path)
    for row in range(len(shown)):
        rerun.set_time('time', duration=row * shown.contract.step_s)
        rerun.log('camera', rerun.Image(shown.images[row]).compress(jpeg_quality=90))
        for name, value in zip(shown.contract.command.fields, shown.actions[row]):
            rerun.log(f'command/{name}', rerun.Scalars(float(value)))
        rerun.log('human', rerun.Scalars(float(shown.intervention[row])))
        if row == 0 or shown.instructions[row] != shown.instructions[row - 1]:
            rerun.log('instruction', rerun.TextLog(shown.instructions[row]))
    rerun.disconnect()
