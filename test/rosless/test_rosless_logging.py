"""Loggers: levels, filters, and /rosout."""

import subprocess
import sys

import pytest
import rcl_interfaces.srv
import rclpy
from rcl_interfaces.msg import Log
from rclpy.context import Context
from rclpy.logging import LoggingSeverity, get_logger
from rclpy.qos import DurabilityPolicy, QoSProfile

LEVELS = """
from vla_nav import rosless
rosless.ensure()
import rclpy
import rclpy.logging
rclpy.init(args=['--ros-args', '--log-level', 'noisy:=debug'])
print(*(int(rclpy.logging.get_logger(name).get_effective_level()) for name in ('noisy', 'calm')))
rclpy.shutdown()
"""
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_lines_have_rclpy_s_form(capfd):
    get_logger('a.b').info('hello')
    get_logger('a.b').debug('quiet')
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('[INFO] [')
    assert lines[0].endswith('] [a.b]: hello')


def test_levels_are_inherited():
    logger = get_logger('family')
    logger.set_level(LoggingSeverity.ERROR)
    child = logger.get_child('child')
    assert child.name == 'family.child'
    assert child.get_effective_level() == LoggingSeverity.ERROR
    assert not child.is_enabled_for(LoggingSeverity.WARN)
    assert child.warning('unheard') is False
    logger.set_level(LoggingSeverity.UNSET)
    assert get_logger('other').get_effective_level() == LoggingSeverity.INFO


def test_once_and_skip_first():
    logger = get_logger('once')
    assert [logger.info('a', once=True) for _ in range(3)] == [True, False, False]
    assert [logger.info('b', skip_first=True) for _ in range(3)] == [False, True, True]


def test_throttling():
    logger = get_logger('throttled')
    assert [logger.warning('a', throttle_duration_sec=60.0) for _ in range(3)] == [
        True, False, False]
    first, second = (logger.info(text, throttle_duration_sec=60.0) for text in 'ab')
    assert (first, second) == (True, False)


def test_an_unknown_filter_is_refused():
    with pytest.raises(TypeError):
        get_logger('wrong').info('a', every_second=True)


def test_a_node_s_lines_go_to_rosout(make_node, spin):
    heard = []
    listener, speaker = make_node('listener'), make_node('speaker', namespace='/ns')
    listener.create_subscription(Log, '/rosout', heard.append, LATCHED)
    speaker.get_logger().warning('look out')
    speaker.get_logger().get_child('part').error('here too')

    def mine():
        return [m for m in heard if m.name.startswith('ns.speaker')]

    assert spin(lambda: len(mine()) == 2, listener)
    assert [(m.name, m.msg) for m in mine()] == [
        ('ns.speaker', 'look out'), ('ns.speaker.part', 'here too')]
    assert mine()[0].function == 'test_a_node_s_lines_go_to_rosout'
    assert mine()[0].stamp.sec > 0


def test_levels_can_be_set_by_service(make_node, node, call, executor):
    if not hasattr(rcl_interfaces.srv, 'GetLoggerLevels'):
        pytest.skip('Humble has none')
    from rcl_interfaces.msg import LoggerLevel
    from rcl_interfaces.srv import GetLoggerLevels, SetLoggerLevels

    quiet = make_node('quiet', enable_logger_service=True)
    executor.add_node(quiet)
    wanted = LoggerLevel(name='quiet', level=int(LoggingSeverity.ERROR))
    answer = call(node, SetLoggerLevels, '/quiet/set_logger_levels',
                  SetLoggerLevels.Request(levels=[wanted]))
    assert answer.results[0].successful
    assert quiet.get_logger().get_effective_level() == LoggingSeverity.ERROR
    told = call(node, GetLoggerLevels, '/quiet/get_logger_levels',
                GetLoggerLevels.Request(names=['quiet']))
    assert told.levels[0].level == LoggingSeverity.ERROR


def test_the_command_line_sets_levels():
    """In a process of its own: rclpy listens to the first context only."""
    done = subprocess.run([sys.executable, '-c', LEVELS], capture_output=True, text=True,
                          check=False, timeout=60.0)
    assert done.stdout == '10 20\n', done.stderr


def test_an_unknown_level_is_refused():
    with pytest.raises(RuntimeError):
        rclpy.init(args=['--ros-args', '--log-level', 'shout'], context=Context())
