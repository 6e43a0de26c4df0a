"""vla_nav drive: a camera and a sentence become velocity commands, on a robot or simulated."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

EXAMPLES = """examples:
  vla_nav drive --sim                                    the scene says where to go
  vla_nav drive --sim --seed 2 --instruction "go to the blue box"
  vla_nav drive --sim --level easy --model models/nano --out my_run
  vla_nav drive --sim --seed 1000000000 --scenes 20      how often it succeeds, in real time
  vla_nav drive --robot my_robot.yaml --model models/my_policy      drive a real robot
  vla_nav drive --ros-args -r __ns:=/robot1 -p stale_timeout_s:=0.3

With --sim the exit code is 0 if the robot reached the object (in one scene at least), 1 if it did
not. A new sentence may be typed while it drives.

Without --model it loads nano, which knows only the simulator: do not drive a real robot with it.
In a file of parameters given after --ros-args, a section of the node's own name may count more
than the options here, as in ROS.
"""

SIM_DEFAULTS = {'seed': 0, 'level': 'standard', 'scenes': 1, 'out': None}
"""Options that mean nothing without --sim, and what they are if they are not given."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'drive', help='drive a robot from its camera and a sentence',
        description='Runs the drive node: camera and instruction in, velocity out. With --sim it '
        'runs a simulated robot beside it, judges the drive, and leaves a video, a map and '
        'figures in a folder.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sim', action='store_true', help='drive a simulated robot')
    parser.add_argument('--model', help='model name or folder (nano)')
    parser.add_argument('--robot', help='contract: a file, or a name in '
                        'config/robots/ (sim)')
    parser.add_argument('--instruction', metavar='TEXT',
                        help='where to go; by default --sim takes the sentence of the scene, and '
                        'a robot waits for the topic instruction')
    parser.add_argument('--device', help='auto, cpu or cuda (auto)')
    sim = parser.add_argument_group('with --sim')
    sim.add_argument('--seed', type=int, help='seed of the scene (0)')
    sim.add_argument('--level', choices=('easy', 'standard', 'hard'),
                     help='how hard the scene is (standard)')
    sim.add_argument('--scenes', type=int, metavar='N',
                     help='drive in N scenes, of this seed and the next ones (1)')
    sim.add_argument('--out', type=Path, metavar='DIR',
                     help='folder for video, map and figures (runs/<time>)')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the drive node, with a simulator if asked."""
    from vla_nav.control import check_instruction
    from vla_nav.errors import VlaNavError

    if args.instruction is not None:
        args.instruction = check_instruction(args.instruction)
    given = [f'--{name}' for name in SIM_DEFAULTS if getattr(args, name) is not None]
    if not args.sim and given:
        raise VlaNavError(f'{given[0]} is for a simulated robot; give --sim too, or leave it out')
    if not args.sim:
        return _drive_robot(args)
    for name, default in SIM_DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
    if args.scenes < 1:
        raise VlaNavError(f'--scenes is {args.scenes}; expected at least 1')
    if not 0 <= args.seed <= 2**31 - args.scenes:
        raise VlaNavError(f'--seed is {args.seed}; expected 0 to {2**31 - args.scenes}')
    if {'-r', '--remap'} & {*args.ros_args}:
        raise VlaNavError('--sim watches its nodes by their names; after --ros-args it takes '
                          'parameters of the drive node (-p), but no remapping (-r)')
    if args.scenes > 1 and args.instruction:
        raise VlaNavError('--instruction is for one scene; with --scenes each says where to go')
    from vla_nav.cli.sim_run import SimRun

    args.model, args.robot = args.model or 'nano', args.robot or 'sim'
    out = args.out or Path('runs') / time.strftime('%Y%m%d-%H%M%S')
    return SimRun(args, out).run()


def node_arguments(args: argparse.Namespace) -> list[str]:
    """The drive node's command line for what was asked."""
    from vla_nav.nodes.processes import parameter_words

    model = None if args.model is None else os.path.expanduser(args.model)
    return parameter_words(model=model, robot=args.robot, device=args.device)


def _drive_robot(args: argparse.Namespace) -> int:
    from vla_nav.nodes.drive import main
    from vla_nav.nodes.processes import parameter_words

    said = parameter_words(instruction=args.instruction)[1:]
    return main([*args.ros_args, *node_arguments(args), *said])
