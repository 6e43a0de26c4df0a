"""Executors, timers, futures, callback groups."""

import threading
from functools import partial

import pytest
import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.task import Future

PATIENCE_S = 20.0


def test_a_timer_ticks(node, spin):
    ticks = []
    timer = node.create_timer(0.01, lambda: ticks.append(1))
    assert spin(lambda: len(ticks) >= 3, node)
    assert timer.timer_period_ns == 10_000_000
    assert node.destroy_timer(timer)


def test_a_cancelled_timer_is_silent_until_reset(node, spin):
    ticks, others = [], []
    timer = node.create_timer(0.01, lambda: ticks.append(1))
    node.create_timer(0.01, lambda: others.append(1))
    timer.cancel()
    assert timer.is_canceled()
    assert spin(lambda: len(others) >= 3, node)
    assert ticks == []
    timer.reset()
    assert spin(lambda: ticks, node)


def test_a_timer_on_a_steady_clock(node, spin):
    ticks = []
    node.create_timer(
        0.01, lambda: ticks.append(1), clock=Clock(clock_type=ClockType.STEADY_TIME))
    assert spin(lambda: len(ticks) >= 2, node)


def test_a_slow_callback_skips_ticks(node, executor):
    """Missed ticks are not made up for: a control loop must not run in bursts."""
    ticks, slow = [], []
    node.create_timer(0.02, lambda: ticks.append(1))
    executor.add_node(node)
    executor.spin_once(timeout_sec=PATIENCE_S)
    assert len(ticks) == 1
    threading.Event().wait(0.3)
    node.create_guard_condition(lambda: slow.append(1)).trigger()
    while not slow:
        executor.spin_once(timeout_sec=PATIENCE_S)
    assert len(ticks) <= 4


def test_an_exception_leaves_spin(node, executor):
    def fail():
        raise ZeroDivisionError('from a callback')

    node.create_timer(0.01, fail)
    executor.add_node(node)
    with pytest.raises(ZeroDivisionError, match='from a callback'):
        executor.spin()


def test_an_exception_leaves_a_multi_threaded_spin(context, node):
    def fail():
        raise ZeroDivisionError('from a callback')

    node.create_timer(0.01, fail)
    executor = MultiThreadedExecutor(2, context=context)
    executor.add_node(node)
    with pytest.raises(ZeroDivisionError, match='from a callback'):
        executor.spin()
    executor.shutdown()


def test_a_blocked_group_does_not_stop_another(context, node):
    """A control timer ticks on while an inference callback takes its time."""
    release, ticks = threading.Event(), []

    def block():
        assert release.wait(PATIENCE_S)

    def tick():
        ticks.append(1)
        if len(ticks) == 5:
            release.set()

    node.create_timer(0.001, block, callback_group=MutuallyExclusiveCallbackGroup())
    node.create_timer(0.02, tick, callback_group=MutuallyExclusiveCallbackGroup())
    executor = MultiThreadedExecutor(2, context=context)
    executor.add_node(node)
    while not release.is_set():
        executor.spin_once(timeout_sec=PATIENCE_S)
    assert len(ticks) == 5
    executor.shutdown()


def test_a_mutually_exclusive_group_runs_one_at_a_time(context, node):
    active, overlaps, calls = [], [], []

    def work():
        active.append(1)
        overlaps.append(len(active))
        threading.Event().wait(0.005)
        active.pop()
        calls.append(1)

    group = MutuallyExclusiveCallbackGroup()
    for _ in range(3):
        node.create_timer(0.002, work, callback_group=group)
    executor = MultiThreadedExecutor(4, context=context)
    executor.add_node(node)
    while len(calls) < 12:
        executor.spin_once(timeout_sec=PATIENCE_S)
    assert max(overlaps) == 1
    executor.shutdown()


def test_a_reentrant_group_overlaps(context, node):
    together = threading.Barrier(2, timeout=PATIENCE_S)
    met = []

    def meet():
        together.wait()
        met.append(1)

    group = ReentrantCallbackGroup()
    for _ in range(2):
        node.create_timer(0.01, meet, callback_group=group)
    executor = MultiThreadedExecutor(4, context=context)
    executor.add_node(node)
    while len(met) < 2:
        executor.spin_once(timeout_sec=0.1)
    together.abort()
    executor.shutdown()


def test_a_guard_condition(node, spin):
    calls = []
    guard = node.create_guard_condition(lambda: calls.append(1))
    threading.Timer(0.05, guard.trigger).start()
    assert spin(lambda: calls, node)
    assert calls == [1]
    assert node.destroy_guard_condition(guard)


def test_spin_until_a_future_is_done(node, executor):
    future = Future()
    executor.add_node(node)
    node.create_timer(0.01, lambda: future.set_result('done'))
    executor.spin_until_future_complete(future, timeout_sec=PATIENCE_S)
    assert future.result() == 'done'


def test_spin_until_a_timeout(node, executor):
    future = Future()
    executor.add_node(node)
    executor.spin_until_future_complete(future, timeout_sec=0.05)
    assert not future.done()


def test_a_future_set_by_another_thread_ends_the_spin(node, executor):
    future = Future()
    executor.add_node(node)
    threading.Timer(0.05, future.set_result, ['late']).start()
    executor.spin_until_future_complete(future, timeout_sec=PATIENCE_S)
    assert future.result() == 'late'


def test_a_task(executor):
    task = executor.create_task(lambda a, b: a + b, 1, b=2)
    executor.spin_until_future_complete(task, timeout_sec=PATIENCE_S)
    assert task.result() == 3


def test_a_coroutine_waits_for_a_future(node, executor):
    future = Future()

    async def add_one():
        return await future + 1

    task = executor.create_task(add_one)
    node.create_timer(0.02, lambda: None)  # rclpy looks at waiting tasks only when it wakes
    executor.add_node(node)
    threading.Timer(0.05, future.set_result, [1]).start()
    executor.spin_until_future_complete(task, timeout_sec=PATIENCE_S)
    assert task.result() == 2


def test_futures():
    future, heard = Future(), []
    future.add_done_callback(lambda f: heard.append(f.result()))
    assert not future.done()
    assert future.result() is None
    future.set_result(5)
    assert (future.done(), future.result(), heard) == (True, 5, [5])
    failed = Future()
    failed.set_exception(ValueError('no'))
    with pytest.raises(ValueError, match='no'):
        failed.result()
    cancelled = Future()
    cancelled.cancel()
    assert cancelled.cancelled()


def test_nodes_come_and_go(node, executor):
    assert executor.add_node(node)
    assert not executor.add_node(node)
    assert executor.get_nodes() == [node]
    assert node.executor is executor
    executor.remove_node(node)
    assert executor.get_nodes() == []


def test_an_executor_spins_several_nodes(make_node, spin):
    ticks = []
    nodes = [make_node(name) for name in ('left', 'right')]
    for node in nodes:
        node.create_timer(0.01, partial(ticks.append, node.get_name()))
    assert spin(lambda: {'left', 'right'} <= set(ticks), *nodes)


def test_shutdown_from_a_callback_ends_the_spin(context, node):
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    node.create_timer(0.01, executor.shutdown)
    executor.spin()


def test_another_thread_may_create_a_timer_meanwhile(node, spin):
    ticks = []
    threading.Timer(0.05, lambda: node.create_timer(0.01, lambda: ticks.append(1))).start()
    assert spin(lambda: ticks, node)


def test_a_rate(context, node, executor):
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin)
    spinner.start()
    rate = node.create_rate(50.0)
    try:
        for _ in range(3):
            rate.sleep()
    finally:
        node.destroy_rate(rate)
        executor.shutdown()
        spinner.join()


def test_the_functions_of_rclpy():
    rclpy.init(args=[])
    try:
        assert rclpy.ok()
        node = rclpy.create_node('functional')
        ticks = []
        node.create_timer(0.01, lambda: ticks.append(1))
        while not ticks:
            rclpy.spin_once(node, timeout_sec=1.0)
        future = Future()
        node.create_timer(0.01, lambda: future.set_result(None))
        rclpy.spin_until_future_complete(node, future, timeout_sec=PATIENCE_S)
        assert future.done()
        node.destroy_node()
    finally:
        rclpy.shutdown()
    assert not rclpy.ok()
