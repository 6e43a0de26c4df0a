"""Does DDS work between two processes of this machine?"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

from vla_nav import rosless
from vla_nav.errors import VlaNavError

rosless.ensure()

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from vla_nav.nodes import qos  # noqa: E402
from vla_nav.nodes.runner import start_ros  # noqa: E402


class LoopbackError(VlaNavError):
    """Two processes do not find each other."""


def measure(timeout_s: float = 20.0) -> float:
    """Seconds that a message takes to another process and back. Raises LoopbackError."""
    topic = f'/vla_nav_loopback_{os.getpid()}'
    other = subprocess.Popen([sys.executable, '-m', 'vla_nav.nodes.loopback', topic],
                             stdin=subprocess.PIPE)
    start_ros([])
    try:
        return _ping(topic, time.monotonic() + timeout_s, timeout_s, other)
    finally:
        rclpy.try_shutdown()
        other.stdin.close()
        try:
            other.wait(5.0)
        except subprocess.TimeoutExpired:
            other.kill()
            other.wait()


def _ping(topic: str, deadline_s: float, timeout_s: float, other: subprocess.Popen) -> float:
    node, executor = Node('doctor'), SingleThreadedExecutor()
    executor.add_node(node)
    answers: list[str] = []
    publisher = node.create_publisher(String, topic, qos.RELIABLE)
    node.create_subscription(String, f'{topic}/back', lambda m: answers.append(m.data),
                             qos.RELIABLE)
    for trip in range(1000):
        if time.monotonic() > deadline_s:
            break
        if other.poll() is not None:
            raise LoopbackError(f'the other process ended with code {other.returncode}')
        started_s = time.monotonic()
        publisher.publish(String(data=str(trip)))
        while time.monotonic() < started_s + 0.3:
            executor.spin_once(timeout_sec=0.05)
            # The first answer includes discovery; the second one counts.
            if str(trip) in answers and len(answers) > 1:
                return time.monotonic() - started_s
    raise LoopbackError(f'no answer from another process within {timeout_s:g} s')


def echo(topic: str) -> None:
    """Send every text back until stdin closes."""
    start_ros([])
    node = Node('doctor_echo')
    publisher = node.create_publisher(String, f'{topic}/back', qos.RELIABLE)
    node.create_subscription(String, topic, publisher.publish, qos.RELIABLE)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin, daemon=True)
    spinner.start()
    sys.stdin.read()
    executor.shutdown()
    spinner.join()  # rclpy aborts a process that ends while it spins
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    echo(sys.argv[1])
