"""The launch files, on a real ROS 2: nobody else reads them."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from geometry_msgs.msg import Twist
from harness import START_PATIENCE_S, Context, qos, rclpy
from std_msgs.msg import String

from vla_nav import rosless

if not rosless.is_native():
    pytest.skip('ROS 2 is not installed', allow_module_level=True)

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

try:
    get_package_share_directory('vla_nav')
except PackageNotFoundError:
    pytest.skip('vla_nav is not built in a sourced workspace', allow_module_level=True)


@pytest.fixture
def launch(tmp_path):
    """Return a function that launches drive.launch.py with a simulated robot."""
    context, started = Context(), []
    rclpy.init(args=[], context=context)
    namespace = f'/launched_{os.getpid()}_{time.monotonic_ns()}'
    node = Node('watcher', namespace=namespace, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def start(*words):
        with open(tmp_path / 'log', 'wb') as log:
            started.append(subprocess.Popen(
                ['ros2', 'launch', 'vla_nav', 'drive.launch.py', 'sim:=true',
                 f'namespace:={namespace}', *words], stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True))
        return started[-1]

    def wait(condition, what):
        deadline_s = time.monotonic() + START_PATIENCE_S
        while not condition():
            executor.spin_once(timeout_sec=0.1)
            if time.monotonic() > deadline_s or started[0].poll() not in (None, -signal.SIGKILL):
                pytest.fail(f'waited in vain for {what}:\n{(tmp_path / "log").read_text()}')

    yield node, start, wait
    for process in started:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_it_drives_to_the_object_named(launch):
    node, start, wait = launch
    heard = {}
    for name in ('sim/task', 'sim/outcome', 'drive/state'):
        node.create_subscription(
            String, name, lambda m, name=name: heard.update({name: json.loads(m.data)}),
            qos.LATCHED)
    publisher = node.create_publisher(String, 'instruction', qos.LATCHED)
    start('level:=easy', 'seed:=3')
    wait(lambda: 'sim/task' in heard, 'the simulated robot')
    assert (heard['sim/task']['level'], heard['sim/task']['seed']) == ('easy', 3)
    publisher.publish(String(data=heard['sim/task']['instruction']))
    wait(lambda: heard.get('drive/state', {}).get('state') == 'DRIVING', 'the drive node')
    wait(lambda: heard.get('sim/outcome', {}).get('outcome') not in (None, 'running'), 'an end')
    assert heard['sim/outcome']['outcome'] == 'success'


def test_a_killed_launch_leaves_no_robot_driving(launch):
    node, start, wait = launch
    commands, tasks = [], []
    node.create_subscription(Twist, 'cmd_vel', commands.append, qos.RELIABLE)
    node.create_subscription(String, 'sim/task', tasks.append, qos.LATCHED)
    publisher = node.create_publisher(String, 'instruction', qos.LATCHED)
    process = start('level:=easy', 'seed:=3')
    wait(lambda: tasks, 'the simulated robot')
    publisher.publish(String(data=json.loads(tasks[0].data)['instruction']))
    wait(lambda: commands and commands[-1] != Twist(), 'the robot to drive')
    process.kill()
    topics = [node.resolve_topic_name(name) for name in ('cmd_vel', 'sim/task')]
    wait(lambda: not any(map(node.count_publishers, topics)), 'both nodes to end')
    assert commands[-1] == Twist()


@pytest.mark.parametrize(('words', 'kind'), [
    ((), 'geometry_msgs/msg/TwistStamped'), (('stamped:=false',), 'geometry_msgs/msg/Twist')])
def test_arguments_come_on_top_of_the_file_where_they_are_given(launch, tmp_path, words, kind):
    node, start, wait = launch
    file = tmp_path / 'mine.yaml'
    file.write_text('/**:\n  ros__parameters:\n    command_type: TwistStamped\n')
    start(f'params_file:={file}', *words)
    topic = node.resolve_topic_name('cmd_vel')
    wait(lambda: node.count_publishers(topic), 'the drive node')
    assert {info.topic_type for info in node.get_publishers_info_by_topic(topic)} == {kind}


def test_the_simulated_robot_goes_by_the_drive_node_s_file(launch, tmp_path):
    node, start, wait = launch
    robot, file = tmp_path / 'robot.yaml', tmp_path / 'mine.yaml'
    known = Path(get_package_share_directory('vla_nav'), 'config', 'robots', 'sim.yaml')
    robot.write_text(known.read_text().replace('camera/image_raw', 'eye'))
    file.write_text(f'/**:\n  ros__parameters:\n    robot: {robot}\n    use_sim_time: true\n'
                    f'{node.get_namespace()}/drive:\n  ros__parameters:\n'
                    '    command_type: TwistStamped\n')
    start(f'params_file:={file}')
    eye, commands = (node.resolve_topic_name(name) for name in ('eye', 'cmd_vel'))
    wait(lambda: node.count_publishers('/clock') and node.count_publishers(eye), 'the simulator')
    wait(lambda: node.count_publishers(commands), 'the drive node')
    ends = [*node.get_publishers_info_by_topic(commands),
            *node.get_subscriptions_info_by_topic(commands)]
    assert [end.topic_type for end in ends] == ['geometry_msgs/msg/TwistStamped'] * 2


@pytest.mark.parametrize('words', [
    ('cmd_vel_topic:=elsewhere',), ('params_file:=mine.yaml',)])
def test_the_simulated_robot_has_the_topics_of_its_contract(tmp_path, words):
    (tmp_path / 'mine.yaml').write_text('/**: {ros__parameters: {camera_topic: elsewhere}}')
    done = subprocess.run(['ros2', 'launch', 'vla_nav', 'drive.launch.py', 'sim:=true', *words],
                          capture_output=True, text=True, timeout=START_PATIENCE_S, check=False,
                          cwd=tmp_path)
    assert done.returncode and 'the topics of its contract' in done.stdout + done.stderr
