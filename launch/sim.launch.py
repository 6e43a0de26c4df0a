"""A simulated robot with camera, odometry and cmd_vel.

ros2 launch vla_nav sim.launch.py seed:=7 level:=easy
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = Path(get_package_share_directory('vla_nav'))


def generate_launch_description():
    """Describe the arguments and start the sim node."""
    argument = DeclareLaunchArgument

    def typed(name, kind):
        return ParameterValue(LaunchConfiguration(name), value_type=kind)

    return LaunchDescription([
        argument('seed', default_value='0', description='Seed of the scene.'),
        argument('level', default_value='standard', choices=['easy', 'standard', 'hard'],
                 description='How hard the scenes are.'),
        argument('robot', default_value='sim',
                 description='Contract of the robot: a file, or a name in config/robots/.'),
        argument('command_type', default_value='contract',
                 choices=['contract', 'Twist', 'TwistStamped'],
                 description="Type of the command instead of the contract's."),
        argument('compressed', default_value='false', choices=['true', 'false'],
                 description='Publish JPEG on <camera topic>/compressed instead.'),
        argument('publish_clock', default_value='false', choices=['true', 'false'],
                 description='Stamp with simulated time and publish it on /clock.'),
        argument('params_file', default_value=str(SHARE / 'config' / 'sim.yaml'),
                 description='Parameters of the sim node; the other arguments come on top.'),
        argument('namespace', default_value='',
                 description='Namespace of the node and its relative topics.'),
        argument('log_level', default_value='info',
                 description='debug, info, warn, error or fatal.'),
        Node(
            package='vla_nav', executable='sim', name='sim',
            namespace=LaunchConfiguration('namespace'), output='screen',
            parameters=[LaunchConfiguration('params_file'), {
                'seed': typed('seed', int), 'level': LaunchConfiguration('level'),
                'robot': LaunchConfiguration('robot'),
                'command_type': LaunchConfiguration('command_type'),
                'compressed': typed('compressed', bool),
                'publish_clock': typed('publish_clock', bool)}],
            arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')])])
