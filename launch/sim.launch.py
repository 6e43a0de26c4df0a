"""A simulated robot with camera, odometry and cmd_vel.

ros2 launch vla_nav sim.launch.py seed:=7 level:=easy
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory('vla_nav'))


KINDS = {'seed': int, 'level': str, 'robot': str, 'command_type': str,
         'compressed': 'true'.__eq__, 'publish_clock': 'true'.__eq__}


def sim_node(context):
    """Make the sim node, with a parameter for each argument that was given."""
    def value(name):
        return LaunchConfiguration(name).perform(context)

    given = {name: kind(value(name)) for name, kind in KINDS.items() if value(name) != 'default'}
    return [Node(
        package='vla_nav', executable='sim', name='sim', namespace=value('namespace'),
        parameters=[value('params_file'), given], output='screen',
        arguments=['--ros-args', '--log-level', value('log_level')],
        additional_env={'VLA_NAV_PARENT': str(os.getpid())})]


def generate_launch_description():
    """Describe the arguments and start the sim node."""
    argument = DeclareLaunchArgument
    return LaunchDescription([
        argument('seed', default_value='default', description='Seed of the scene (0).'),
        argument('level', default_value='default',
                 choices=['default', 'easy', 'standard', 'hard'],
                 description='How hard the scenes are (standard).'),
        argument('robot', default_value='default',
                 description='Contract of the robot: a file, or a name in config/robots/ (sim).'),
        argument('command_type', default_value='default',
                 choices=['default', 'contract', 'Twist', 'TwistStamped'],
                 description="Type of the command instead of the contract's."),
        argument('compressed', default_value='default', choices=['default', 'true', 'false'],
                 description='Publish JPEG on <camera topic>/compressed instead (false).'),
        argument('publish_clock', default_value='default', choices=['default', 'true', 'false'],
                 description='Stamp with simulated time and publish it on /clock (false).'),
        argument('params_file', default_value=str(SHARE / 'config' / 'sim.yaml'),
                 description='Parameters of the sim node; the other arguments come on top.'),
        argument('namespace', default_value='',
                 description='Namespace of the node and its relative topics.'),
        argument('log_level', default_value='info',
                 description='debug, info, warn, error or fatal.'),
        OpaqueFunction(function=sim_node)])
