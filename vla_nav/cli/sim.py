"""vla_nav sim: a simulated robot on the network."""

from __future__ import annotations

import argparse

EXAMPLES = """examples:
  vla_nav sim                         a room, a robot, its camera, odom and cmd_vel
  vla_nav sim --seed 7 --level easy
  vla_nav sim --ros-args -r __ns:=/robot1
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'sim', help='run a simulated robot that nodes can drive',
        description='Runs the simulated robot as a ROS 2 node: camera/image_raw, odom, cmd_vel, '
        'and the services ~/reset and ~/next.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seed', type=int, help='seed of the scene (0)')
    parser.add_argument('--level', choices=('easy', 'standard', 'hard'),
                        help='how hard the scene is (standard)')
    parser.add_argument('--compressed', action='store_true',
                        help='publish JPEG on camera/image_raw/compressed instead')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the sim node until it is interrupted."""
    from vla_nav.nodes.processes import parameter_words
    from vla_nav.nodes.sim import main

    words = parameter_words(seed=args.seed, level=args.level, compressed=args.compressed or None)
    return main([*args.ros_args, *words])
