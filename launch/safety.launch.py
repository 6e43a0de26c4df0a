"""Between every source of commands and the base: priorities, a timeout, and obstacles.

joystick, vla_nav, Nav2 -> twist_mux -> velocity_smoother -> collision_monitor -> cmd_vel_safe

ros2 launch vla_nav drive.launch.py robot:=/path/to/my_robot.yaml model:=/path/to/my_policy
ros2 launch vla_nav safety.launch.py params_file:=/path/to/my_safety.yaml

The command topic in my_robot.yaml is then cmd_vel_vla.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory('vla_nav'))
MANAGED = ['safety_smoother', 'safety_monitor']


def generate_launch_description():
    """Describe the arguments and start the nodes."""
    argument = DeclareLaunchArgument
    common = {
        'namespace': LaunchConfiguration('namespace'), 'output': 'screen',
        'arguments': ['--ros-args', '--log-level', LaunchConfiguration('log_level')]}
    parameters = [LaunchConfiguration('params_file'),
                  {'use_sim_time': LaunchConfiguration('use_sim_time')}]
    return LaunchDescription([
        argument('params_file', default_value=str(SHARE / 'config' / 'nav2' / 'safety.yaml'),
                 description='Parameters of the nodes: limits, timeouts, zones, sensors.'),
        argument('namespace', default_value='',
                 description='Namespace of the nodes and their relative topics.'),
        argument('use_sim_time', default_value='false', choices=['true', 'false'],
                 description='Take the time from /clock.'),
        argument('log_level', default_value='info',
                 description='debug, info, warn, error or fatal.'),
        Node(package='twist_mux', executable='twist_mux', name='twist_mux',
             remappings=[('cmd_vel_out', 'cmd_vel_mux')], parameters=parameters, **common),
        # Names of their own: Nav2 may run its smoother and monitor as well.
        Node(package='nav2_velocity_smoother', executable='velocity_smoother',
             name='safety_smoother', parameters=parameters, **common,
             remappings=[('cmd_vel', 'cmd_vel_mux'), ('cmd_vel_smoothed', 'cmd_vel_limited')]),
        Node(package='nav2_collision_monitor', executable='collision_monitor',
             name='safety_monitor', parameters=parameters, **common),
        Node(package='nav2_lifecycle_manager', executable='lifecycle_manager',
             name='safety_lifecycle', **common,
             parameters=[{'autostart': True, 'node_names': MANAGED}])])
