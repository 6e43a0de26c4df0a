"""Watching a drive node and a simulated robot from a third process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import numpy as np

from vla_nav import rosless
from vla_nav.contract import Contract
from vla_nav.frames import FrameError, decode_image

rosless.ensure()

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_nav.nodes import messages, qos  # noqa: E402
from vla_nav.nodes.runner import start_ros  # noqa: E402


class Monitor:
    """Keeps the newest of everything; spins in a thread of its own.

    `on_image(image, steady_s)` is called in that thread with each camera image, uint8 (H, W, 3);
    without it no image is asked for.
    """

    def __init__(self, contract: Contract,
                 on_image: Callable[[np.ndarray, float], None] | None = None) -> None:
        start_ros([])
        self.task: dict | None = None
        """The scene, as the sim node describes it."""
        self.outcome: dict | None = None
        """How the task stands, by the sim node."""
        self.drive: dict | None = None
        """State, reason, instruction and model of the drive node."""
        self.diagnostics: dict[str, str] = {}
        """Values of the drive node's diagnostics."""
        self.command = (0.0, 0.0)
        """The command published last, in the contract's fields."""
        self.largest_gap_s = 0.0
        """Longest time between two commands."""
        self._commanded_s: float | None = None
        self._contract = contract
        self._on_image = on_image
        self._node = node = Node('monitor')
        command, camera = contract.command, contract.camera
        node.create_subscription(String, 'sim/task', self._keep('task'), qos.LATCHED)
        node.create_subscription(String, 'sim/outcome', self._keep('outcome'), qos.LATCHED)
        node.create_subscription(String, 'drive/state', self._keep('drive'), qos.LATCHED)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, qos.RELIABLE)
        node.create_subscription(messages.TYPES[command.type], command.topic, self._command,
                                 qos.RELIABLE)
        if on_image:
            node.create_subscription(messages.TYPES[camera.type], camera.topic, self._image,
                                     qos.SENSOR)
        self._instruction = node.create_publisher(String, contract.instruction_topic, qos.LATCHED)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._executor.spin, name='monitor', daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """Publish an instruction, latched."""
        self._instruction.publish(String(data=text))

    def call(self, service: str, timeout_s: float = 10.0) -> str | None:
        """Call a Trigger service; returns its message, None if it fails or does not answer."""
        answer = self._ask(Trigger, service, Trigger.Request(), timeout_s)
        return answer.message if answer and answer.success else None

    def set_model(self, model: str, timeout_s: float = 10.0) -> str | None:
        """Set the drive node's parameter `model`; returns why that was refused, None if not."""
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=model)
        request = SetParameters.Request(parameters=[Parameter(name='model', value=value)])
        answer = self._ask(SetParameters, 'drive/set_parameters', request, timeout_s)
        if answer is None:
            return f'no answer within {timeout_s:g} s'
        return None if answer.results[0].successful else answer.results[0].reason

    def _ask(self, kind, service: str, request, timeout_s: float):
        client = self._node.create_client(kind, service)
        try:
            if not client.wait_for_service(timeout_sec=timeout_s):
                return None
            future, deadline_s = client.call_async(request), time.monotonic() + timeout_s
            while not future.done() and time.monotonic() < deadline_s:
                time.sleep(0.01)
            return future.result() if future.done() else None
        finally:
            self._node.destroy_client(client)

    def close(self) -> None:
        """Leave the network."""
        self._executor.shutdown()
        self._thread.join(2.0)
        self._node.destroy_node()
        rclpy.try_shutdown()

    def _keep(self, name: str):
        def note(message: String) -> None:
            setattr(self, name, json.loads(message.data))
        return note

    def _diagnose(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith('drive: control'):
                self.diagnostics = {pair.key: pair.value for pair in status.values}

    def _command(self, message) -> None:
        now_s = time.monotonic()
        if self._commanded_s is not None:
            self.largest_gap_s = max(self.largest_gap_s, now_s - self._commanded_s)
        self._commanded_s = now_s
        self.command = messages.read_command(message, self._contract.command.fields)

    def _image(self, message) -> None:
        try:
            self._on_image(decode_image(message), time.monotonic())
        except FrameError:
            return  # The drive node refuses it too, and says so.
