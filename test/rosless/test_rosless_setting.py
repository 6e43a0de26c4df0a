"""What only rosless has: being found, its own errors, hashes, numpy, other discovery ranges."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vla_nav.rosless import is_native

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(is_native(), reason='a ROS 2 is sourced, so rosless stands aside')


JOIN = """
from vla_nav import rosless
rosless.ensure()
import rclpy
try:
    rclpy.init(args=[])
except RuntimeError as error:
    print(f'{type(error).__name__}: {error}')
else:
    rclpy.shutdown()
    print('joined')
"""


@pytest.fixture
def join():
    """Return a function that joins a domain, given ROS variables, and tells what came of it.

    In a process of its own: within one, Cyclone DDS reads its configuration once.
    """

    def joined(**variables):
        kept = {name: value for name, value in os.environ.items()
                if name == 'ROS_DOMAIN_ID' or not name.startswith(('ROS_', 'CYCLONE'))}
        done = subprocess.run([sys.executable, '-c', JOIN], capture_output=True, text=True,
                              env={**kept, 'PYTHONPATH': str(ROOT), **variables}, timeout=60)
        return done.stdout.strip()

    return joined


@pytest.mark.parametrize('value', ['233', '-1', 'seven'])
def test_a_domain_out_of_range(join, value):
    message = join(ROS_DOMAIN_ID=value)
    assert message.startswith(f"RoslessError: ROS_DOMAIN_ID is '{value}'")
    assert '0 to 232' in message


def test_a_domain_whose_ports_are_taken(join):
    taken = []
    try:
        for port in range(7410 + 250 * 20, 7410 + 250 * 20 + 200):
            taken.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            taken[-1].bind(('', port))
        message = join(ROS_DOMAIN_ID='20')
    finally:
        for one in taken:
            one.close()
    assert 'cannot join DDS domain 20: all of its participant ports' in message
    assert 'set another ROS_DOMAIN_ID' in message


def test_an_interface_that_is_missing(join):
    message = join(CYCLONEDDS_URI='<CycloneDDS><Domain><General><Interfaces><NetworkInterface'
                                  ' name="wlan7"/></Interfaces></General></Domain></CycloneDDS>')
    assert "CYCLONEDDS_URI names interface 'wlan7', which does not exist; there are: " in message
    assert all(name in message for _, name in socket.if_nameindex())


@pytest.mark.parametrize('uri, expected', [
    ('<Cyclone', 'CYCLONEDDS_URI is not valid XML'),
    ('file:///no/such/file.xml', 'CYCLONEDDS_URI names /no/such/file.xml: No such file'),
])
def test_a_bad_configuration(join, uri, expected):
    assert expected in join(CYCLONEDDS_URI=uri)


def test_a_configuration_of_the_user_s_is_used(join, tmp_path):
    path = tmp_path / 'cyclone.xml'
    path.write_text('<CycloneDDS><Domain><General><AllowMulticast>false</AllowMulticast>'
                    '</General></Domain></CycloneDDS>')
    assert join(CYCLONEDDS_URI=f'file://{path}') == 'joined'


def test_an_unknown_discovery_range(join):
    assert "is 'GALAXY'; use one of LOCALHOST, SUBNET" in join(
        ROS_AUTOMATIC_DISCOVERY_RANGE='GALAXY')


@pytest.mark.parametrize('variables, expected, unexpected', [
    ({}, ['127.0.0.1', '<AllowMulticast>false'], ['autodetermine']),
    ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'}, ['127.0.0.1'], ['<AllowMulticast>false']),
    ({'ROS_LOCALHOST_ONLY': '0'}, ['127.0.0.1'], ['<AllowMulticast>false']),
    ({'ROS_LOCALHOST_ONLY': '1', 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'},
     ['<AllowMulticast>false'], ['autodetermine']),
    ({'ROS_STATIC_PEERS': '10.0.0.7;robot.local'},
     ['"10.0.0.7"', '"robot.local"', '<AllowMulticast>false'], []),
    ({'ROS_AUTOMATIC_DISCOVERY_RANGE': 'OFF'}, ['ros_discovery_off'], ['<Peer ']),
])
def test_the_reach_follows_ros_variables(monkeypatch, variables, expected, unexpected):
    from vla_nav.rosless.config import cyclonedds_config
    for name in ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY', 'ROS_STATIC_PEERS',
                 'CYCLONEDDS_URI'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = cyclonedds_config(0)
    assert all(text in config for text in expected)
    assert not any(text in config for text in unexpected)


@pytest.mark.parametrize('reach', ['LOCALHOST', 'SUBNET'])
def test_any_reach_can_be_joined(join, reach):
    assert join(ROS_AUTOMATIC_DISCOVERY_RANGE=reach) == 'joined'


def test_type_hashes_are_those_of_jazzy():
    """As `ros2 topic info -v` prints them."""
    from vla_nav.rosless.typestore import type_hash
    assert type_hash('std_msgs/msg/String') == (
        'RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18')
    assert type_hash('rmw_dds_common/msg/Gid') == (
        'RIHS01_ab6f21cfbb0a6dbb837161e1110c2051a2850ed9f9c53944d7115d9bcebedf71')


def test_an_unknown_interface_is_named():
    with pytest.raises(ImportError, match='Strin'):
        from std_msgs.msg import Strin  # noqa: F401
    import std_msgs.msg
    with pytest.raises(AttributeError, match='did you mean std_msgs/msg/String'):
        std_msgs.msg.Strin  # noqa: B018
    with pytest.raises(ImportError):
        import nobodys_msgs.msg  # noqa: F401


def test_interfaces_of_a_robot_are_read_from_its_prefix(monkeypatch, tmp_path):
    folder = tmp_path / 'share' / 'arm_msgs'
    (folder / 'msg').mkdir(parents=True)
    (folder / 'srv').mkdir()
    (folder / 'msg' / 'Joint.msg').write_text('string name\nfloat64[] limits\n')
    (folder / 'msg' / 'Arm.msg').write_text('std_msgs/Header header\nJoint[] joints\n')
    (folder / 'srv' / 'Move.srv').write_text('Arm arm\n---\nbool ok\n')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path}')
    from arm_msgs.msg import Arm, Joint
    from arm_msgs.srv import Move
    from rclpy.serialization import deserialize_message, serialize_message
    arm = Arm(joints=[Joint(name='elbow', limits=[-1.0, 1.0])])
    assert deserialize_message(serialize_message(arm), Arm) == arm
    assert Move.Request(arm=arm).arm.joints[0].name == 'elbow'


def test_numpy_goes_into_numeric_fields():
    from sensor_msgs.msg import Image, LaserScan
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert bytes(Image(data=pixels).data) == pixels.tobytes()
    assert bytes(Image(data=pixels[:, ::-1]).data) == pixels[:, ::-1].tobytes()
    assert list(LaserScan(ranges=np.float32([1, 2])).ranges) == [1.0, 2.0]
    with pytest.raises(AssertionError, match="dtype 'float32', not 'float64'"):
        LaserScan(ranges=np.float64([1, 2]))


def test_broken_data_are_skipped(node, spin):
    """Bytes that are no message of the type are reported and do not stop the node."""
    from std_msgs.msg import String
    heard = []
    publisher = node.create_publisher(String, 'chat', 10)
    node.create_subscription(String, 'chat', heard.append, 10)
    assert spin(lambda: publisher.get_subscription_count() == 1, node)
    publisher.publish(b'\x00\x01\x00\x00\xff\xff\xff\x7f')
    publisher.publish(String(data='whole'))
    assert spin(lambda: heard, node)
    assert heard == [String(data='whole')]


def test_sleepers_leave_nothing_with_the_context(context, node):
    from rclpy.duration import Duration
    known = list(context._callbacks)
    node.get_clock().sleep_for(Duration(nanoseconds=1000), context)
    node.destroy_rate(node.create_rate(100.0))
    assert context._callbacks == known


def test_a_sourced_ros_2_wins(tmp_path):
    (tmp_path / 'rclpy').mkdir()
    (tmp_path / 'rclpy' / '__init__.py').write_text('REAL = True')
    code = ('from vla_nav import rosless; assert rosless.ensure() is True;'
            'import rclpy; assert rclpy.REAL;'
            'import sys; assert not any("rosless" in type(f).__module__ for f in sys.meta_path)')
    environment = dict(os.environ, PYTHONPATH=f'{tmp_path}{os.pathsep}{ROOT}')
    subprocess.run([sys.executable, '-c', code], check=True, env=environment)


def test_ensure_is_light():
    """It imports neither DDS nor numpy: `vla_nav --help` must stay quick."""
    code = ('from vla_nav import rosless; rosless.ensure(); import sys;'
            'heavy = {"cyclonedds", "rosbags", "numpy"} & set(sys.modules);'
            'assert not heavy, heavy')
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    subprocess.run([sys.executable, '-c', code], check=True, env=environment)
