"""Drive a robot from its camera and a sentence.

On a robot:      ros2 launch vla_nav drive.launch.py robot:=/path/to/my_robot.yaml
                 model:=/path/to/my_policy
In simulation:   ros2 launch vla_nav drive.launch.py sim:=true seed:=5
                 instruction:='go to the red cone'

Without model:= it loads nano, which knows only the simulator: not for a real robot.
"""

import os
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = Path(get_package_share_directory('vla_nav'))
TOPICS = ('camera_topic', 'cmd_vel_topic')
PASSED_ON = ('model', 'robot', 'instruction', *TOPICS)
COMMAND_TYPES = {'true': 'TwistStamped', 'false': 'Twist'}
BOOLEANS = ('use_sim_time', 'autostart')


def in_file(path, namespace):
    """Read what a file of parameters says to the drive node."""
    patterns = '**', '**/drive', f'{namespace}/drive'.strip('/')
    said = {}
    for pattern, section in (yaml.safe_load(Path(path).read_text(encoding='utf-8')) or {}).items():
        if pattern.strip('/') in patterns:
            said |= section['ros__parameters']
    return said


def nodes(context):
    """Make the drive node, with a parameter for each argument given, and the simulator."""
    def value(name):
        return LaunchConfiguration(name).perform(context)

    given = {name: value(name) for name in PASSED_ON if value(name) != 'default'}
    given |= {name: value(name) == 'true' for name in BOOLEANS if value(name) != 'default'}
    if value('stamped') != 'default':
        given['command_type'] = COMMAND_TYPES[value('stamped')]
    drive = Node(
        package='vla_nav', executable='drive', name='drive', namespace=value('namespace'),
        parameters=[value('params_file'), given],
        output='screen', arguments=['--ros-args', '--log-level', value('log_level')],
        # The last command is a zero: give the node the time to send it.
        sigterm_timeout='5.0', sigkill_timeout='5.0',
        # It ends, with zeros, if this process dies without a word.
        additional_env={'VLA_NAV_PARENT': str(os.getpid())})
    if value('sim') != 'true':
        return [drive]
    of_drive = in_file(value('params_file'), value('namespace')) | given
    if any(of_drive.get(name, 'contract') != 'contract' for name in TOPICS):
        raise RuntimeError('sim:=true: the simulated robot has the topics of its contract; give '
                           'another contract (robot:=FILE) in the place of camera_topic and '
                           'cmd_vel_topic')
    same = {name: of_drive[name] for name in ('robot', 'command_type') if name in of_drive}
    # In a group of its own: an included file's params_file would replace ours.
    simulator = GroupAction([IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'sim.launch.py')),
        launch_arguments={
            'seed': value('seed'), 'level': value('level'), 'namespace': value('namespace'),
            'publish_clock': 'true' if of_drive.get('use_sim_time') else 'default',
            'log_level': value('log_level'), 'params_file': str(SHARE / 'config' / 'sim.yaml'),
            **same}.items())])
    return [simulator, drive]


def generate_launch_description():
    """Describe the arguments and start the nodes."""
    argument = DeclareLaunchArgument
    return LaunchDescription([
        argument('model', default_value='default',
                 description='Model: a name in models/, or a folder (nano, for the simulator '
                             'only).'),
        argument('robot', default_value='default',
                 description='Contract of the robot: a file, or a name in config/robots/.'),
        argument('instruction', default_value='default',
                 description='What to do from the start on; else by the topic instruction.'),
        argument('params_file', default_value=str(SHARE / 'config' / 'drive.yaml'),
                 description='Parameters of the drive node; the other arguments come on top.'),
        argument('namespace', default_value='',
                 description='Namespace of the nodes and their relative topics.'),
        argument('camera_topic', default_value='default',
                 description="Camera topic instead of the contract's; one ending in /compressed "
                             'carries CompressedImage.'),
        argument('cmd_vel_topic', default_value='default',
                 description="Command topic instead of the contract's; the recorder still reads "
                             'the contract.'),
        argument('stamped', default_value='default', choices=['default', *COMMAND_TYPES],
                 description='Command type: true is TwistStamped, false is Twist; by default as '
                             'in the contract.'),
        argument('use_sim_time', default_value='default', choices=['default', 'true', 'false'],
                 description='Take the time from /clock; with sim:=true, publish it there.'),
        argument('autostart', default_value='default', choices=['default', 'true', 'false'],
                 description='Configure and activate the drive node; false: wait for `ros2 '
                             'lifecycle set`. By default as in params_file: true.'),
        argument('log_level', default_value='info',
                 description='debug, info, warn, error or fatal.'),
        argument('sim', default_value='false', choices=['true', 'false'],
                 description='Start the simulated robot too.'),
        argument('seed', default_value='default',
                 description='With sim:=true: seed of the scene (0).'),
        argument('level', default_value='default',
                 choices=['default', 'easy', 'standard', 'hard'],
                 description='With sim:=true: how hard the scene is (standard).'),
        OpaqueFunction(function=nodes)])
