"""vla_nav record: topics become bags; vla_nav teleop: a terminal drives."""

from __future__ import annotations

import argparse

RECORD_EXAMPLES = """examples:
  vla_nav record --robot my_robot.yaml --out data/episodes
  vla_nav record --ros-args --params-file config/record.yaml -r __ns:=/robot1

then, from anywhere:
  vla_nav teleop                                   drive, r records, s stops, m marks success
  ros2 service call /record/start std_srvs/srv/Trigger
  ros2 service call /record/mark std_srvs/srv/SetBool "{data: true}"
  ros2 service call /record/stop std_srvs/srv/Trigger

Needs an instruction first (vla_nav say "go to the red cone"), unless --no-instruction is given.
"""
TELEOP_EXAMPLES = """examples:
  vla_nav teleop                                   the robot alone: publishes cmd_vel
  vla_nav teleop --takeover                        beside a policy: publishes teleop_cmd_vel
  vla_nav teleop --wasd                            letters drive, Shift-r s d command
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add both verbs."""
    formatter = argparse.RawDescriptionHelpFormatter
    record = subparsers.add_parser(
        'record', help='record episodes from a robot', epilog=RECORD_EXAMPLES,
        description="Run the recorder node: it writes the contract's topics untouched into one "
        'rosbag2 folder (MCAP) per episode, on service call or gamepad button. Parameters: '
        'config/record.yaml.', formatter_class=formatter)
    record.add_argument('--robot', help='contract: a file, or a name in '
                        'config/robots/ (sim)')
    record.add_argument('--out', help='folder for the bags '
                        '(data/episodes)')
    record.add_argument('--extra-topics', metavar='A,B', help='record these too')
    record.add_argument('--no-instruction', action='store_true',
                        help='record episodes without an instruction')
    record.add_argument('--compress', action='store_true', help='zstd chunks, for raw images')
    record.set_defaults(func=run_record)
    teleop = subparsers.add_parser(
        'teleop', help='drive a robot by the keys of this terminal', epilog=TELEOP_EXAMPLES,
        description='Drive by arrow keys and command the recorder: r record, s stop, d discard, '
        'm mark success, n mark failure, space halt, q quit.', formatter_class=formatter)
    teleop.add_argument('--robot', help='contract (sim)')
    topic = teleop.add_mutually_exclusive_group()
    topic.add_argument('--takeover', action='store_true',
                       help="publish on the contract's teleop topic, for the drive node")
    topic.add_argument('--topic', help="publish here instead of the contract's command topic")
    teleop.add_argument('--recorder', help='name of the recorder node (record)')
    teleop.add_argument('--wasd', action='store_true',
                        help='w a s d drive too; the recorder then takes Shift-r, s, d')
    teleop.set_defaults(func=run_teleop)


def run_record(args: argparse.Namespace) -> int:
    """Run the recorder node."""
    from vla_nav.nodes.processes import parameter_words
    from vla_nav.nodes.record import main

    words = parameter_words(
        robot=args.robot, out=args.out, extra_topics=args.extra_topics,
        require_instruction=False if args.no_instruction else None,
        compress=args.compress or None)
    return main([*args.ros_args, *words])


def run_teleop(args: argparse.Namespace) -> int:
    """Drive by keys."""
    from vla_nav.nodes.processes import parameter_words
    from vla_nav.nodes.teleop import main

    words = parameter_words(
        robot=args.robot, takeover=args.takeover or None, topic=args.topic,
        recorder=args.recorder, wasd=args.wasd or None)
    return main([*args.ros_args, *words])
