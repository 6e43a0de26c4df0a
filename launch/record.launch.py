"""Record episodes from a robot, with a gamepad or keyboard to drive it.

ros2 launch vla_nav record.launch.py robot:=/path/to/my_robot.yaml out:=/data/episodes teleop:=joy

Beside a policy, which yields to whatever comes on teleop_cmd_vel:
ros2 launch vla_nav record.launch.py teleop:=joy teleop_topic:=teleop_cmd_vel
"""

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory('vla_nav'))
PASSED_ON = ('robot', 'out', 'extra_topics')
BOOLEANS = ('use_sim_time', 'autostart')


def record_node(context):
    """Make the recorder, with a parameter for each argument that was given."""
    def value(name):
        return LaunchConfiguration(name).perform(context)

    given = {name: value(name) for name in PASSED_ON if value(name) != 'default'}
    given |= {name: value(name) == 'true' for name in BOOLEANS if value(name) != 'default'}
    return [Node(
        package='vla_nav', executable='record', name='record', namespace=value('namespace'),
        parameters=[value('params_file'), given], output='screen',
        arguments=['--ros-args', '--log-level', value('log_level')],
        # A running episode is completed first, also on a slow disk.
        sigterm_timeout='30.0', sigkill_timeout='10.0',
        additional_env={'VLA_NAV_PARENT': str(os.getpid())})]


def teleop_nodes(context):
    """Make what drives the robot, if asked."""
    def value(name):
        return LaunchConfiguration(name).perform(context)

    common = {'namespace': value('namespace'), 'remappings': [('cmd_vel', value('teleop_topic'))]}
    stamped = value('stamped') == 'true'
    if value('teleop') == 'joy':
        try:
            share = Path(get_package_share_directory('teleop_twist_joy'))
        except PackageNotFoundError:
            raise RuntimeError('teleop:=joy needs the packages joy and teleop_twist_joy; install '
                               'ros-$ROS_DISTRO-teleop-twist-joy') from None
        return [
            Node(package='joy', executable='joy_node', namespace=value('namespace')),
            Node(package='teleop_twist_joy', executable='teleop_node', parameters=[
                str(share / 'config' / f'{value("joy_config")}.config.yaml'),
                {'publish_stamped_twist': stamped}], **common)]
    if value('teleop') == 'keyboard':
        return [Node(package='teleop_twist_keyboard', executable='teleop_twist_keyboard',
                     prefix=value('terminal'), output='screen',
                     parameters=[{'stamped': stamped}], **common)]
    return []


def generate_launch_description():
    """Describe the arguments, start the recorder and a teleop where asked."""
    argument = DeclareLaunchArgument
    return LaunchDescription([
        argument('robot', default_value='default',
                 description='Contract of the robot: a file, or a name in config/robots/.'),
        argument('out', default_value='default', description='Folder for the bags.'),
        argument('extra_topics', default_value='default',
                 description="Topics beside the contract's, separated by commas."),
        argument('teleop', default_value='none', choices=['joy', 'keyboard', 'none'],
                 description='Start joy and teleop_twist_joy, or teleop_twist_keyboard in a '
                             'terminal of its own.'),
        argument('teleop_topic', default_value='cmd_vel',
                 description="Where the teleop publishes: give the contract's command topic, or "
                             'teleop_cmd_vel beside a policy.'),
        argument('stamped', default_value='false', choices=['true', 'false'],
                 description='The teleop publishes TwistStamped; set command.type in the '
                             'contract too.'),
        argument('joy_config', default_value='xbox',
                 description='Gamepad, as teleop_twist_joy names it.'),
        argument('terminal', default_value='xterm -e',
                 description='Command that opens a terminal for teleop:=keyboard.'),
        argument('params_file', default_value=str(SHARE / 'config' / 'record.yaml'),
                 description='Parameters of the recorder; the other arguments come on top.'),
        argument('namespace', default_value='',
                 description='Namespace of the nodes and their relative topics.'),
        argument('use_sim_time', default_value='default', choices=['default', 'true', 'false'],
                 description='Take the time from /clock (false).'),
        argument('autostart', default_value='default', choices=['default', 'true', 'false'],
                 description='Configure and activate the recorder; false: wait for `ros2 '
                             'lifecycle set`. By default as in params_file: true.'),
        argument('log_level', default_value='info',
                 description='debug, info, warn, error or fatal.'),
        OpaqueFunction(function=record_node),
        OpaqueFunction(function=teleop_nodes)])
