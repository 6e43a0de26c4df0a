"""Parameters and files that a node refuses at its start, and the file of defaults."""

import subprocess
import sys

import pytest
import yaml
from harness import PATIENCE_S, ROOT, environment

from vla_nav import rosless
from vla_nav.nodes import drive_parameters, sim
from vla_nav.nodes.drive_parameters import robot_contract

NATIVE = rosless.is_native()


def start(node: str, *words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-m', f'vla_nav.nodes.{node}', '--ros-args', *words],
                          capture_output=True, text=True, env=environment(**more), check=False,
                          timeout=4 * PATIENCE_S)


@pytest.mark.parametrize(('words', 'message'), [
    (('-p', 'stale_timout_s:=0.3'),
     'unknown parameter stale_timout_s for node /drive; did you mean stale_timeout_s?'),
    (('-p', 'control_rate_hz:=1000.0'),
     'control_rate_hz is 1000.0; expected a number with a decimal point from 1.0 to 200.0'),
    (('-p', 'control_rate_hz:=20'), 'control_rate_hz is 20; expected a number with a decimal'),
    (('-p', 'command_type:=Twister'), 'expected one of contract, Twist, TwistStamped'),
    (('-p', 'takeover_hold_s:=0.1'), 'shorter than teleop_timeout_s'),
    (('-p', 'robot:=nobody'), "robot is 'nobody', which is no file and no name"),
])
def test_a_bad_parameter_ends_the_node_with_a_message(words, message):
    done = start('drive', *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(('words', 'variables', 'message'), [
    ((), {'ROS_DOMAIN_ID': '500'}, "'500'"),
    ((), {'CYCLONEDDS_URI': '<General><Interfaces><NetworkInterface name="nosuch0"/></Interfaces>'
          '</General>'}, 'nosuch0' if NATIVE else "'nosuch0', which does not exist; there are:"),
    (('--nonsense',), {}, "unknown ROS argument '--nonsense'"),
    (('--params-file', '/nowhere.yaml'), {},
     '/nowhere.yaml' if NATIVE else 'parameter file /nowhere.yaml: No such file'),
])
def test_a_start_that_ros_refuses_ends_with_its_message(words, variables, message):
    done = start('sim', *words, **variables)
    assert done.returncode == 2
    assert message in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('words', [
    ('-r', 'teleop_cmd_vel:=cmd_vel'), ('-p', 'cmd_vel_topic:=/teleop_cmd_vel'),
    ('-p', 'camera_topic:=/cmd_vel')])
def test_two_tasks_of_the_same_topic_are_refused(words):
    done = start('drive', *words)
    assert done.returncode == 2
    assert 'give each its own' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_bad_robot_file_is_named_with_its_field(tmp_path):
    robot = tmp_path / 'robot.yaml'
    robot.write_text('robot: x\nrate_hz: -1.0\n')
    done = start('drive', '-p', f'robot:={robot}')
    assert done.returncode == 2
    assert f'{robot}: contract field rate_hz is -1.0' in done.stderr


@pytest.mark.parametrize(('file', 'table'), [('drive', drive_parameters.PARAMETERS),
                                             ('sim', sim.PARAMETERS)])
def test_the_file_of_defaults_has_every_parameter_with_its_default(file, table):
    data = yaml.safe_load((ROOT / 'config' / f'{file}.yaml').read_text())
    values = data['/**']['ros__parameters']
    assert values == {parameter.name: parameter.default for parameter in table}
    assert all(type(values[parameter.name]) is type(parameter.default) for parameter in table)


@pytest.mark.parametrize('table', [drive_parameters.PARAMETERS, sim.PARAMETERS])
def test_every_parameter_is_described_and_accepts_its_default(table):
    for parameter in table:
        assert len(parameter.descriptor().description) > 10
        assert parameter.check(parameter.default) is None


def values(**changes):
    table = {parameter.name: parameter.default for parameter in drive_parameters.PARAMETERS}
    return {**table, **changes}


def test_topics_and_types_can_be_replaced():
    contract = robot_contract(values(camera_topic='/eye/compressed', cmd_vel_topic='/base/cmd',
                                     command_type='TwistStamped'))
    assert contract.camera.topic == '/eye/compressed'
    assert contract.camera.type == 'sensor_msgs/msg/CompressedImage'
    assert contract.command.topic == '/base/cmd'
    assert contract.command.type == 'geometry_msgs/msg/TwistStamped'
