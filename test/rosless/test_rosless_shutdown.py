"""Beginning and end: init, signals, what is left in the graph."""

import re
import signal

import pytest
import rclpy
from rclpy.context import Context
from rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    NotInitializedException,
)
from rclpy.node import Node
from std_msgs.msg import String


@pytest.mark.parametrize('number, error', [
    (signal.SIGINT, 'KeyboardInterrupt'), (signal.SIGTERM, 'ExternalShutdownException')])
def test_a_signal_ends_the_spin_and_clears_the_graph(start_peer, node, spin, number, error):
    guest = start_peer('guest')
    assert spin(lambda: 'guest' in node.get_node_names(), node)
    assert spin(lambda: node.count_publishers('/guest_topic') == 1, node)
    code, output, errors = guest.end(number)
    assert code == 0, errors
    # SIGTERM may also be noticed between two callbacks; then spin just returns.
    assert output in [f'ended by {error}\nok: False\n'] + ['ok: False\n'] * (number == 15)
    assert spin(lambda: 'guest' not in node.get_node_names(), node)
    assert spin(lambda: node.count_publishers('/guest_topic') == 0, node)


def test_a_signal_that_another_thread_takes_ends_the_spin(start_peer):
    code, output, errors = start_peer('deaf').wait_until_ended()
    assert code == 0, errors
    assert output == 'ended by KeyboardInterrupt\nok: False\n'


def test_the_command_line_names_the_node(start_peer, node, spin):
    start_peer('guest', '--ros-args', '-r', '__node:=renamed', '-r', '__ns:=/hotel',
               '-r', 'guest_topic:=room', '-p', 'p:=5')
    assert spin(lambda: ('renamed', '/hotel') in node.get_node_names_and_namespaces(), node)
    assert spin(lambda: node.count_publishers('/hotel/room') == 1, node)


def test_a_node_needs_init():
    with pytest.raises(NotInitializedException):
        Node('early', context=Context())


def test_init_twice_is_refused(context):
    with pytest.raises(RuntimeError):
        context.init()


def test_shutdown_twice_is_refused():
    context = Context()
    rclpy.init(args=[], context=context)
    assert context.ok()
    rclpy.shutdown(context=context)
    assert not context.ok()
    with pytest.raises(RuntimeError):
        rclpy.shutdown(context=context)
    rclpy.try_shutdown(context=context)


def test_shutdown_calls_back():
    context, calls = Context(), []
    rclpy.init(args=[], context=context)
    keep = calls.append
    context.on_shutdown(lambda: keep(1))
    rclpy.shutdown(context=context)
    assert calls == [1] or calls == []  # rclpy before Kilted forgets lambdas
    context.on_shutdown(lambda: keep(2))
    assert calls[-1] == 2


def test_publishing_after_shutdown_is_refused(context, node):
    publisher = node.create_publisher(String, 'chat', 1)
    rclpy.shutdown(context=context)
    with pytest.raises(RuntimeError):
        publisher.publish(String())


def test_init_as_a_context_manager():
    manager = rclpy.init(args=[])
    if manager is None:
        rclpy.shutdown()
        pytest.skip('init returns a context manager since Kilted')
    with manager:
        assert rclpy.ok()
    assert not rclpy.ok()


def test_the_domain_comes_from_the_argument(context):
    other = Context()
    rclpy.init(args=[], context=other, domain_id=context.get_domain_id() + 1)
    assert other.get_domain_id() == context.get_domain_id() + 1
    rclpy.shutdown(context=other)


def test_a_negative_domain_is_refused():
    with pytest.raises(RuntimeError, match='lower than zero'):
        rclpy.init(args=[], context=Context(), domain_id=-1)


@pytest.mark.parametrize('name', ['', 'a/b', '1a', 'a b'])
def test_a_bad_node_name_is_refused(context, name):
    with pytest.raises(InvalidNodeNameException):
        Node(name, context=context)


@pytest.mark.parametrize('namespace', ['/a//b', '/a b', '/a/'])
def test_a_bad_namespace_is_refused(context, namespace):
    with pytest.raises(InvalidNamespaceException):
        Node('n', context=context, namespace=namespace)


def test_names_of_a_node(make_node):
    node = make_node('n', namespace='a/b')
    assert (node.get_name(), node.get_namespace()) == ('n', '/a/b')
    assert node.get_fully_qualified_name() == '/a/b/n'
    assert node.get_logger().name == 'a.b.n'


def test_arguments_rename_a_node(make_node):
    node = make_node('n', cli_args=['--ros-args', '-r', '__node:=m', '-r', '__ns:=/x'])
    assert node.get_fully_qualified_name() == '/x/m'


@pytest.mark.parametrize('rules, expected', [
    (('n:__node:=m', 'm:__ns:=/x'), '/x/m'), (('m:__ns:=/x', 'n:__node:=m'), '/x/m'),
    (('n:__node:=m', 'n:__ns:=/x'), '/m'), (('__node:=m', '__node:=o'), '/m'),
])
def test_rules_for_one_node_go_by_its_new_name(make_node, rules, expected):
    words = [word for rule in rules for word in ('-r', rule)]
    assert make_node('n', cli_args=['--ros-args', *words]).get_fully_qualified_name() == expected


def test_ros_arguments_are_removed():
    from rclpy.utilities import remove_ros_args
    args = ['prog', '--flag', '--ros-args', '-r', 'a:=b', '-p', 'c:=1', '--', 'rest']
    assert remove_ros_args(args) == ['prog', '--flag', 'rest']


@pytest.mark.parametrize('rule', [
    'not a rule', 'a-b:=c', 'a:=b-c', '*/a:=b', '{node}:=a', 'a:={node}', 'a//b:=c', 'a:=b/',
    'a__b:=c', 'a:b:c:=d', 'rostopic://n:a:=b', 'http://a:=b', '__foo:=a', '__node:=a-b',
    '__node:=a/b', '__ns:=a', '__ns:=/a-b', 'ü:=a',
])
def test_a_remap_that_would_do_nothing_is_refused(rule):
    with pytest.raises(RuntimeError, match=re.escape(rule)):
        rclpy.init(args=['prog', '--ros-args', '-r', rule], context=Context())
