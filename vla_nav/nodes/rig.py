"""A camera and an operator for a drive node whose speed is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from vla_nav import rosless
from vla_nav.contract import Contract

rosless.ensure()

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.executors import MultiThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from vla_nav.nodes import messages, qos  # noqa: E402
from vla_nav.nodes.drive import DriveNode  # noqa: E402
from vla_nav.nodes.runner import start_ros  # noqa: E402

IMAGES = 8
"""Different pictures that the camera shows in turn."""


class Rig:
    """Films noise at a steady rate, gives instructions, hears diagnostics.

    parameters: of the nodes made in this process, as `name:=value`.
    """

    def __init__(self, contract: Contract, width: int, height: int,
                 parameters: Sequence[str] = ()) -> None:
        words = [word for p in parameters for word in ('-p', p)]
        start_ros(['--ros-args', '--log-level', 'fatal', *words])
        self.contract = contract
        self.diagnostics: dict[str, str] = {}
        """Newest values of the drive node's diagnostics."""
        self.reports = 0
        """How many of them came."""
        rng = np.random.default_rng(0)
        kind = messages.TYPES[contract.camera.type]
        self._images = [_image(kind, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
                        for _ in range(IMAGES)]
        self.node = node = Node('rig')
        node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, qos.RELIABLE)
        self._camera = node.create_publisher(kind, contract.camera.topic, qos.IMAGES)
        self._instruction = node.create_publisher(String, contract.instruction_topic, qos.LATCHED)
        self._parameters = node.create_client(SetParameters, 'drive/set_parameters')
        self._nodes = [node]
        self._executor = MultiThreadedExecutor(4)
        self._executor.add_node(node)
        self._filming = threading.Event()
        self._threads = [threading.Thread(target=self._executor.spin, daemon=True)]
        self._threads[0].start()

    def add_drive(self) -> TimedDrive:
        """A drive node in this process."""
        drive = TimedDrive()
        self._nodes.append(drive)
        self._executor.add_node(drive)
        return drive

    def say(self, text: str) -> None:
        """Publish an instruction, latched."""
        self._instruction.publish(String(data=text))

    def set_model(self, name: str) -> str:
        """Ask the drive node for another model; returns why it was refused, or nothing."""
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=name)
        request = SetParameters.Request(parameters=[Parameter(name='model', value=value)])
        if not self._parameters.wait_for_service(timeout_sec=30.0):
            return 'no drive node answers'
        future = self._parameters.call_async(request)
        if not self.wait(future.done, 30.0):
            return 'the drive node does not answer'
        result = future.result().results[0]
        return '' if result.successful else result.reason

    def film(self, rate_hz: float) -> None:
        """Publish images from now on, until `cut`."""
        self._filming.set()
        self._threads.append(threading.Thread(target=self._film, args=(rate_hz,), daemon=True))
        self._threads[-1].start()

    def cut(self) -> None:
        """Stop the camera."""
        self._filming.clear()
        while len(self._threads) > 1:
            self._threads.pop().join()

    @staticmethod
    def wait(condition: Callable[[], object], timeout_s: float) -> bool:
        """Wait until something holds; False if it does not in time."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        """End everything in this process."""
        self.cut()
        for node in self._nodes[1:]:
            node.close()
        self._executor.shutdown()
        self._threads[0].join(2.0)
        for node in self._nodes:
            node.destroy_node()
        rclpy.try_shutdown()

    def _film(self, rate_hz: float) -> None:
        due_s, number = time.monotonic(), 0
        while self._filming.is_set():
            message = self._images[number % IMAGES]
            message.header.stamp = messages.stamp(self.node.get_clock().now().nanoseconds)
            self._camera.publish(message)
            number += 1
            due_s = max(due_s + 1 / rate_hz, time.monotonic() - 1.0)
            time.sleep(max(0.0, due_s - time.monotonic()))

    def _diagnose(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith('drive: control'):
                self.diagnostics = {pair.key: pair.value for pair in status.values}
                self.reports += 1


def _image(kind: type, pixels: np.ndarray) -> Image | CompressedImage:
    if kind is Image:
        return messages.image_message(pixels, 0, 'camera')
    return messages.compressed_message(cv2.imencode('.jpg', pixels)[1].tobytes(), 0, 'camera')


class TimedDrive(DriveNode):
    """A drive node that notes when images come and when their commands have gone out."""

    def __init__(self) -> None:
        self.answers_s: list[float] = []
        """From the arrival of each image to the command that answers it, published."""
        self._arrived_ns = 0
        super().__init__()
        self._publish, self.output.publish = self.output.publish, self._published

    def _image(self, message) -> None:
        self._arrived_ns = time.monotonic_ns()
        super()._image(message)

    def _published(self, decide) -> None:
        self._publish(decide)
        if threading.current_thread().name == 'inference':
            self.answers_s.append((time.monotonic_ns() - self._arrived_ns) / 1e9)
