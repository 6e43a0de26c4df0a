"""Times, durations, clocks, sim time."""

import threading

import pytest
from rclpy.clock import Clock, ClockType, JumpThreshold, ROSClock
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage

SIM = Parameter('use_sim_time', value=True)


def at(seconds):
    return ClockMessage(clock=Time(seconds=seconds).to_msg())


@pytest.fixture
def sim(make_node, spin):
    """Return a node on sim time, with a function that sets it."""
    node = make_node(parameter_overrides=[SIM])
    god = make_node('god')
    publisher = god.create_publisher(ClockMessage, '/clock', 10)
    assert spin(lambda: publisher.get_subscription_count() == 1, node)

    def set_time(seconds):
        publisher.publish(at(seconds))
        wanted = Time(seconds=seconds, clock_type=ClockType.ROS_TIME)
        assert spin(lambda: node.get_clock().now() == wanted, node)

    return node, set_time


def test_times_and_durations():
    time = Time(seconds=1, nanoseconds=500)
    assert time.nanoseconds == 1_000_000_500
    assert time.seconds_nanoseconds() == (1, 500)
    assert (time + Duration(seconds=1)).nanoseconds == 2_000_000_500
    assert (time - Time(seconds=1)).nanoseconds == 500
    assert (time - Duration(nanoseconds=500)).nanoseconds == 1_000_000_000
    assert Time.from_msg(time.to_msg()).nanoseconds == time.nanoseconds
    assert Duration(seconds=1.5) > Duration(seconds=1)
    assert Duration(seconds=-1.5).to_msg().nanosec == 500_000_000
    assert Duration.from_msg(Duration(seconds=-1.5).to_msg()) == Duration(seconds=-1.5)


def test_times_of_different_clocks_do_not_mix():
    ros = Time(seconds=1, clock_type=ClockType.ROS_TIME)
    with pytest.raises(TypeError):
        ros - Time(seconds=1)
    with pytest.raises(TypeError):
        assert ros < Time(seconds=1)
    with pytest.raises(ValueError):
        Time(seconds=-1)


def test_clocks():
    assert Clock().clock_type == ClockType.SYSTEM_TIME
    steady = Clock(clock_type=ClockType.STEADY_TIME)
    assert steady.now() <= steady.now()
    assert isinstance(Clock(clock_type=ClockType.ROS_TIME), ROSClock)
    assert not ROSClock().ros_time_is_active


def test_a_node_has_ros_time(node):
    clock = node.get_clock()
    assert clock.clock_type == ClockType.ROS_TIME
    assert abs(clock.now().nanoseconds - Clock().now().nanoseconds) < 10**10
    assert node.get_parameter('use_sim_time').value is False


def test_sim_time_follows_the_clock_topic(sim):
    node, set_time = sim
    assert node.get_clock().ros_time_is_active
    assert node.get_clock().now().nanoseconds == 0
    set_time(100)
    set_time(101)


def test_a_timer_follows_sim_time(sim, spin):
    node, set_time = sim
    ticks, steps = [], []
    set_time(100)
    node.create_timer(1.0, lambda: ticks.append(node.get_clock().now().nanoseconds // 10**9))
    clock = Clock(clock_type=ClockType.STEADY_TIME)
    node.create_timer(0.01, lambda: steps.append(1), clock=clock)
    assert spin(lambda: len(steps) > 10, node)
    assert ticks == []
    set_time(101)
    assert spin(lambda: ticks, node)
    set_time(102)
    assert spin(lambda: len(ticks) == 2, node)
    assert ticks == [101, 102]


def test_sim_time_can_be_switched_on_and_off(node, make_node, spin):
    publisher = make_node('god').create_publisher(ClockMessage, '/clock', 10)
    assert node.set_parameters([SIM])[0].successful

    def simulated():
        publisher.publish(at(7))
        return node.get_clock().now().nanoseconds == 7 * 10**9

    assert spin(simulated, node)
    assert node.set_parameters([Parameter('use_sim_time', value=False)])[0].successful
    assert node.get_clock().now().nanoseconds > 10**18


def test_a_jump_back_is_told(sim):
    node, set_time = sim
    jumps = []
    set_time(50)
    handle = node.get_clock().create_jump_callback(
        JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1)),
        post_callback=jumps.append)
    set_time(51)
    set_time(10)
    delta = jumps[0].delta if hasattr(jumps[0], 'delta') else jumps[0]['delta']
    assert getattr(delta, 'nanoseconds', delta) == -41 * 10**9
    handle.unregister()


def test_sleeping(context):
    clock = Clock(clock_type=ClockType.STEADY_TIME)
    before = clock.now()
    assert clock.sleep_for(Duration(seconds=0.02), context)
    assert clock.now() - before >= Duration(seconds=0.02)
    assert clock.sleep_until(before, context)


@pytest.mark.parametrize('kind', [ClockType.STEADY_TIME, ClockType.ROS_TIME])
def test_a_shutdown_ends_a_sleep(context, kind):
    threading.Timer(0.1, context.shutdown).start()
    assert Clock(clock_type=kind).sleep_for(Duration(seconds=60), context) is False
