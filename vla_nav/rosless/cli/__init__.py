"""The handful of `ros2` commands that a user reaches for, without a ROS 2."""

from __future__ import annotations

import argparse
import os
import sys

from vla_nav import rosless

_EPILOG = """examples:
  python -m vla_nav.rosless topic list -t
  python -m vla_nav.rosless topic pub --once /instruction std_msgs/msg/String "data: go home"
  python -m vla_nav.rosless param set /drive model my_policy
  python -m vla_nav.rosless service call /drive/stop std_srvs/srv/Trigger

ROS_DOMAIN_ID, ROS_AUTOMATIC_DISCOVERY_RANGE, ROS_STATIC_PEERS and CYCLONEDDS_URI count as in
ROS 2; without them only this machine is looked at."""


class CommandError(Exception):
    """A command cannot do what it was asked; the text says why."""


def make_parser() -> argparse.ArgumentParser:
    """The parser; each command sets `run(node, args) -> int | None`."""
    from . import lifecycle, node, param, service, topic

    parser = argparse.ArgumentParser(
        prog='python -m vla_nav.rosless', description=__doc__, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups = parser.add_subparsers(metavar='GROUP', required=True)
    for group in (topic, node, param, service, lifecycle):
        group.add_parser(groups)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    args = make_parser().parse_args(argv)
    rosless.ensure()
    import rclpy
    from rclpy.executors import ExternalShutdownException
    from rclpy.signals import SignalHandlerOptions

    try:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.SIGTERM)
        node = rclpy.create_node(
            f'_rosless_cli_{os.getpid()}', start_parameter_services=False, enable_rosout=False
        )
        return args.run(node, args) or 0
    except CommandError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except (ImportError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    finally:
        rclpy.try_shutdown()
