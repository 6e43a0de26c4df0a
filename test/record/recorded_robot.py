"""A robot around a recorder node in another process: all over DDS."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from pathlib import Path

import numpy as np
import pytest

from vla_nav import rosless
from vla_nav.cli.domain import private_domain

rosless.ensure()

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import Twist  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import Image, Joy  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from vla_nav.nodes import messages, qos  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = Context()
PATIENCE_S = 30.0
"""How long anything may take on a loaded machine; never part of what is asserted."""
CONTRACT = {
    'robot': 'small', 'rate_hz': 10.0,
    'camera': {'width': 32, 'height': 24}, 'odometry': {},
}


@functools.cache
def domain() -> int:
    """Of these tests alone: a recorder notes which policy drives, and must hear no other's."""
    return private_domain()


class Robot:
    """Publishes a numbered camera, odometry and commands, and operates the recorder."""

    def __init__(self, namespace: str, out: Path) -> None:
        if not CONTEXT.ok():
            rclpy.init(args=[], context=CONTEXT, domain_id=domain())
        self.out = out
        self.node = node = Node('robot', namespace=namespace, context=CONTEXT)
        self.figures: dict[str, str] = {}
        self.level = None
        self.summary = ''
        self.sent: dict[str, int] = dict.fromkeys(('camera', 'odom', 'command'), 0)
        self._publishers = {
            'camera': node.create_publisher(Image, 'camera/image_raw', qos.IMAGES),
            'odom': node.create_publisher(Odometry, 'odom', qos.RELIABLE),
            'command': node.create_publisher(Twist, 'cmd_vel', qos.RELIABLE),
            'instruction': node.create_publisher(String, 'instruction', qos.LATCHED),
            'teleop': node.create_publisher(Twist, 'teleop_cmd_vel', qos.RELIABLE),
            'joy': node.create_publisher(Joy, 'joy', qos.RELIABLE),
            'state': node.create_publisher(String, 'drive/state', qos.LATCHED),
            'extra': node.create_publisher(String, 'extra', qos.RELIABLE),
        }
        node.create_subscription(DiagnosticArray, '/diagnostics', self._hear, qos.RELIABLE)
        self._marker = node.create_client(SetBool, 'record/mark')
        self._triggers = {name: node.create_client(Trigger, f'record/{name}')
                          for name in ('start', 'stop', 'discard')}
        self.silent: set[str] = set()
        self._timer = node.create_timer(0.05, self._publish)
        self._executor = SingleThreadedExecutor(context=CONTEXT)
        self._executor.add_node(node)
        self._ending = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._ending:
            self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self._ending = True
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()

    def publish(self, name: str, message) -> None:
        self._publishers[name].publish(message)

    def say(self, text: str) -> None:
        self.publish('instruction', String(data=text))

    def drive_state(self, state: str) -> None:
        self.publish('state', messages.json_message({
            'state': state, 'reason': '', 'instruction': 'go', 'model': 'models/pilot',
            'model sha256': 'abc123'}))

    def drive_dies(self) -> None:
        self.node.destroy_publisher(self._publishers.pop('state'))

    def drive_is_back(self) -> None:
        """As after a lost link: there again, without a new word."""
        self._publishers['state'] = self.node.create_publisher(String, 'drive/state', qos.LATCHED)

    def teleop(self, v: float, w: float) -> None:
        twist = Twist()
        twist.linear.x, twist.angular.z = v, w
        self.publish('teleop', twist)

    def press(self, button: int) -> None:
        for buttons in ([int(i == button) for i in range(10)], [0] * 10):
            self.publish('joy', Joy(axes=array('f'), buttons=array('i', buttons)))
            time.sleep(0.2)

    def call(self, name: str) -> tuple[bool, str]:
        return self._answer(self._triggers[name], Trigger.Request())

    def mark(self, success: bool) -> tuple[bool, str]:
        return self._answer(self._marker, SetBool.Request(data=success))

    def until(self, condition, what: str) -> None:
        """Wait for something that must happen."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f'{what} did not happen; diagnostics: {self.summary} {self.figures}')
            time.sleep(0.02)

    def later(self, name: str, count: int) -> None:
        """Wait until this many more messages were published."""
        goal = self.sent[name] + count
        self.until(lambda: self.sent[name] >= goal, f'{count} messages of {name}')

    def count(self, topic: str) -> int:
        """Messages of a topic in the present episode, by the recorder's diagnostics."""
        key = f'{self.node.get_namespace().rstrip("/")}/{topic}'
        return int(self.figures.get(key, '0').split()[0])

    def bags(self) -> list[Path]:
        return sorted(path.parent for path in self.out.glob('*/metadata.yaml'))

    def _answer(self, client, request) -> tuple[bool, str]:
        assert client.wait_for_service(timeout_sec=PATIENCE_S)
        future = client.call_async(request)
        self.until(future.done, 'an answer')
        return future.result().success, future.result().message

    def _publish(self) -> None:
        now = messages.stamp(self.node.get_clock().now().nanoseconds)
        if 'camera' not in self.silent:
            number = self.sent['camera'] = self.sent['camera'] + 1
            image = Image(encoding='rgb8', height=48, width=64, step=192)
            pixels = np.full(48 * 64 * 3, number % 200, np.uint8)
            pixels[:4] = np.frombuffer(np.uint32(number).tobytes(), np.uint8)
            image.data = array('B', pixels.tobytes())
            image.header.stamp = now
            self.publish('camera', image)
        odometry = Odometry()
        odometry.header.stamp = now
        self.sent['odom'] += 1
        self.publish('odom', odometry)
        if 'command' not in self.silent:
            twist = Twist()
            twist.linear.x = 0.2
            self.sent['command'] += 1
            self.publish('command', twist)
        self.publish('extra', String(data='beside'))

    def _hear(self, message: DiagnosticArray) -> None:
        name = f'{self.node.get_namespace().strip("/")}/record: recorder'
        for status in message.status:
            if status.name == name:
                self.figures = {pair.key: pair.value for pair in status.values}
                self.level, self.summary = status.level, status.message


class RecorderProcess:
    """The recorder node in a process of its own."""

    def __init__(self, log: Path, namespace: str, contract: Path, out: Path, **parameters
                 ) -> None:
        self.log = log
        words = ['-r', f'__ns:={namespace}', '-p', f'robot:={contract}', '-p', f'out:={out}']
        for name, value in {'min_free_gb': 0.0, **parameters}.items():
            words += ['-p', f'{name}:={json.dumps(value)}']
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
        with open(log, 'ab') as file:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'vla_nav.nodes.record', '--ros-args', *words],
                stdout=file, stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONPATH': path, 'ROS_DOMAIN_ID': str(domain())})

    @property
    def output(self) -> str:
        return self.log.read_text(errors='replace')

    def end(self, number=signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f'the recorder did not end:\n{self.output}')
