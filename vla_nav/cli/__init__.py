"""`vla_nav <verb>`: one module per group of verbs."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence

from vla_nav import __version__
from vla_nav.errors import VlaNavError, not_installed

MODULES = ('drive', 'sim', 'say', 'doctor', 'record', 'recover', 'demos', 'dataset', 'view',
           'train', 'rollout', 'offline', 'similarity', 'compare', 'pretrain', 'export',
           'bench', 'soak')
"""Modules of this package with an `add_parser(subparsers)`, in the order of `--help`."""

REMEDIES = {errno.ENOSPC: 'free some space, or choose another disk',
            errno.EDQUOT: 'free some space, or choose another disk',
            errno.EACCES: 'choose a path that this user may use, or permit it',
            errno.EROFS: 'choose a path on a disk that is writable'}
"""What to do about errors of the system."""

EXAMPLES = """examples:
  vla_nav drive --sim                         drive a simulated robot to an object
  vla_nav drive --robot my_robot.yaml --model models/my_policy
                                              drive a real one, with or without a ROS 2
  vla_nav say "go to the red cone"            tell it where to go
  vla_nav doctor                              what works on this machine, what does not

Without --model the policy is nano, which knows only the simulator. Each verb has its own --help.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog='vla_nav', description='Drive a mobile robot from a camera and a sentence.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--version', action='version', version=f'vla_nav {__version__}')
    subparsers = parser.add_subparsers(title='verbs', metavar='VERB', dest='verb', required=True)
    for name in MODULES:
        importlib.import_module(f'{__name__}.{name}').add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns its exit code. Bad input is one line on stderr and exit code 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # What follows --ros-args is for the nodes.
    split = arguments.index('--ros-args') if '--ros-args' in arguments else len(arguments)
    parser = build_parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    args = parser.parse_args(arguments[:split])
    args.ros_args = arguments[split:]
    try:
        return args.func(args)
    except VlaNavError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name:
            error = not_installed(error)
        elif error.name not in ('rclpy', 'cyclonedds', 'rosbags'):
            raise
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output, such as head, went away.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        remedy = f'; {REMEDIES[error.errno]}' if error.errno in REMEDIES else ''
        print(f'error: {error}{remedy}', file=sys.stderr)
        return 2
