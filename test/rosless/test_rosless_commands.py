"""`python -m vla_nav.rosless`, against the server of the contract tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from std_msgs.msg import String

from vla_nav.rosless import is_native
from vla_nav.rosless.cli import main

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(is_native(), reason='a ROS 2 is sourced, which has these commands')


@pytest.fixture
def rosless(server, capsys):
    """Return a function that runs a command; it tells exit code, output and errors."""

    def run(*args):
        code = main(list(args))
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def output(rosless):
    """Return a function that runs a command that works; it tells the output."""

    def run(*args):
        code, out, errors = rosless(*args)
        assert code == 0, errors
        return out

    return run


def test_node_list_and_info(output):
    assert '/peer/server\n' in output('node', 'list')
    info = output('node', 'info', '/peer/server')
    assert '    /peer/say: std_msgs/msg/String' in info
    assert '    /peer/flip: std_srvs/srv/SetBool' in info


def test_topic_list_and_info(output):
    assert '/peer/state [std_msgs/msg/String]\n' in output('topic', 'list', '-t')
    info = output('topic', 'info', '-v', 'peer/state')
    assert 'Publisher count: 1' in info
    assert 'Node name: server' in info
    assert 'Durability: TRANSIENT_LOCAL' in info


def test_topic_echo_of_a_latched_topic(output):
    assert output('topic', 'echo', '--once', '/peer/state') == 'data: latched\n---\n'


def test_topic_pub(output, node, spin):
    heard = []
    node.create_subscription(String, '/told', heard.append, 10)
    output('topic', 'pub', '--times', '2', '-r', '50', '/told', 'std_msgs/msg/String',
           '{data: "go: now"}')
    assert spin(lambda: len(heard) == 2, node)
    assert heard[0] == String(data='go: now')


def test_topic_hz_and_echo_with_a_process_of_their_own(output):
    command = [sys.executable, '-m', 'vla_nav.rosless', 'topic', 'pub', '-r', '20', '/beat',
               'std_msgs/msg/String', 'data: boom']
    talker = subprocess.Popen(
        command, env=dict(os.environ, PYTHONPATH=str(ROOT)), stdout=subprocess.DEVNULL)
    try:
        report = output('topic', 'hz', '/beat', '--count', '4', '--wait', '30')
        echo = output('topic', 'echo', '/beat', '--once', '--field', 'data', '--wait', '30')
    finally:
        talker.terminate()
        talker.wait()
    assert 'average rate: ' in report
    assert echo == 'boom\n---\n'


def test_param(output, rosless):
    assert '  speed\n' in output('param', 'list', '/peer/server')
    assert output('param', 'set', '/peer/server', 'speed', '0.75') == (
        'Set parameter successful\n')
    assert output('param', 'get', '/peer/server', 'speed') == 'Double value is: 0.75\n'
    code, out, _ = rosless('param', 'set', '/peer/server', 'speed', '9.0')
    assert code == 1
    assert 'Setting parameter failed: Parameter speed out of range' in out
    assert '    Max value: 2.0\n' in output('param', 'describe', '/peer/server', 'speed')


def test_param_dump_and_load(output, tmp_path):
    text = output('param', 'dump', '/peer/server')
    values = yaml.safe_load(text)['/peer/server']['ros__parameters']
    assert values['list']['names'] == ['a', 'b']
    path = tmp_path / 'server.yaml'
    path.write_text('/peer/server: {ros__parameters: {count: 6}}')
    assert 'successful' in output('param', 'load', '/peer/server', str(path))
    assert output('param', 'get', '/peer/server', 'count') == 'Integer value is: 6\n'


def test_service_list_and_call(output):
    assert '/peer/flip [std_srvs/srv/SetBool]\n' in output('service', 'list', '-t')
    answer = output('service', 'call', '/peer/flip', 'std_srvs/srv/SetBool', 'data: true')
    assert "SetBool_Response(success=False, message='was True')" in answer


@pytest.mark.parametrize('args, expected', [
    (('node', 'info', '/peer/serve'), "no node '/peer/serve'; did you mean /peer/server?"),
    (('topic', 'echo', '/peer/stat'), 'did you mean /peer/state'),
    (('param', 'get', '/peer/server', 'sped'), 'no parameter sped; it has: count, list.names'),
    (('topic', 'pub', '/a', 'std_msgs/msg/Strin'), 'did you mean std_msgs/msg/String'),
    (('topic', 'pub', '/a', 'std_msgs/msg/String', 'text: a'), "no field 'text'; there are: data"),
    (('topic', 'pub', '/a', 'std_msgs/msg/Int8', 'data: 300'), 'in [-128, 127], not 300'),
    (('topic', 'pub', '/a', 'std_msgs/msg/Int8', 'data: ['), 'not YAML'),
])
def test_errors_name_what_is_wrong(rosless, args, expected):
    code, _, errors = rosless(*args)
    assert code == 1
    assert errors.startswith('error: ')
    assert expected in errors


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as end:
        main(['--help'])
    assert end.value.code == 0
    assert 'examples:' in capsys.readouterr().out
