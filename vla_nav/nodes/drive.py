"""The drive node: a camera and a sentence become safe velocity commands."""

from __future__ import annotations

import math
import threading
import time

import numpy as np

from vla_nav import rosless
from vla_nav.control import (
    USED_UP,
    Controller,
    Decision,
    InstructionError,
    State,
    Ticks,
    check_instruction,
    predicted_path,
)
from vla_nav.errors import VlaNavError

rosless.ensure()

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from nav_msgs.msg import Path  # noqa: E402
from rcl_interfaces.msg import SetParametersResult  # noqa: E402
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup  # noqa: E402
from rclpy.clock import Clock, ClockType  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_msgs.msg import Bool, String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_nav.nodes import messages, qos, runner  # noqa: E402
from vla_nav.nodes.drive_parameters import (  # noqa: E402
    PARAMETERS,
    control_settings,
    robot_contract,
)
from vla_nav.nodes.drive_report import DriveReport  # noqa: E402
from vla_nav.nodes.inference import InferenceWorker  # noqa: E402
from vla_nav.nodes.latched import LatchedSubscription  # noqa: E402
from vla_nav.nodes.models import ModelLoader  # noqa: E402
from vla_nav.nodes.parameters import declare  # noqa: E402

_LAST_ZEROS = 5
_LAST_ZEROS_GAP_S = 0.02


class DriveNode(Node):
    """Wires camera, instruction and human to the controller, and its decisions to cmd_vel."""

    def __init__(self) -> None:
        super().__init__('drive')
        values = declare(self, PARAMETERS)
        self.contract = robot_contract(values)
        settings = control_settings(values)
        command, camera = self.contract.command, self.contract.camera
        self.controller = Controller(settings, self.contract,
                                     self.resolve_topic_name(camera.topic))
        self._publishing = threading.Lock()
        self._closing = False
        self._shown: tuple | None = None
        self._was_late = False
        self._model: str | None = None
        self._velocity: np.ndarray | None = None
        self._velocity_ns = 0
        self._stale_ns = round(settings.stale_timeout_s * 1e9)
        self._base_frame = values['base_frame']
        self._message = messages.CommandMessage(command, self._base_frame)
        self._command = self.create_publisher(messages.TYPES[command.type], command.topic,
                                              qos.COMMAND)
        self._path = self.create_publisher(Path, 'predicted_path', qos.RELIABLE)
        self._state = self.create_publisher(String, '~/state', qos.LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', qos.RELIABLE)
        self.worker = InferenceWorker(
            self.controller, camera, self.contract.rate_hz, self._now_ns, self._base_velocity,
            self._acted, lambda text: self.get_logger().error(text))
        self.loader = ModelLoader(self.contract, values['device'], values['engine'],
                                  values['threads'], self._model_ready, self._model_failed)
        self.ticks = Ticks(settings.period_s)
        self._report = DriveReport(self)
        self._subscribe()
        self._serve()
        self.add_on_set_parameters_callback(self._change)
        self._start(values['model'], values['instruction'])
        # On a steady clock: a simulated one that pauses must not silence the node.
        self.create_timer(settings.period_s, self._periodic_tick,
                          callback_group=MutuallyExclusiveCallbackGroup(),
                          clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.create_timer(1.0, self._diagnose, callback_group=self._side,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _subscribe(self) -> None:
        contract = self.contract
        images, orders = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        self._side = MutuallyExclusiveCallbackGroup()
        self.create_subscription(messages.TYPES[contract.camera.type], contract.camera.topic,
                                 self._image, qos.SENSOR, callback_group=images)
        self.create_subscription(messages.TYPES[contract.command.type], contract.teleop_topic,
                                 self._teleop, qos.SENSOR, callback_group=orders)
        if contract.odometry:
            self.create_subscription(messages.TYPES[contract.odometry.type],
                                     contract.odometry.topic, self._odometry, qos.SENSOR,
                                     callback_group=self._side)
        self._instruction = LatchedSubscription(self, String, contract.instruction_topic,
                                                self._instruct, orders)
        self._emergency = LatchedSubscription(self, Bool, 'emergency_stop', self._estop, orders)

    def _serve(self) -> None:
        self.create_service(Trigger, '~/stop', self._stop, callback_group=self._side)
        self.create_service(Trigger, '~/resume', self._resume, callback_group=self._side)

    def _start(self, model: str, instruction: str) -> None:
        self.controller.hold(f'loading model {model}')
        if instruction:
            try:
                self.controller.instruct(instruction)
            except InstructionError as error:
                self.get_logger().error(f'parameter {error}')
        # Not checked here first: that imports torch, and zeros should go out from now on.
        self.loader.request(model)

    # Model.

    def _load(self, model: str) -> None:
        try:
            self.loader.check(model)
        except VlaNavError as error:
            self._model_failed(model, f'model refused: {error}')
            return
        self.loader.request(model)

    def _model_ready(self, model: str, policy) -> None:
        self.worker.use(policy)
        self._model = model
        self.get_logger().info(f'driving with model {policy.name} ({policy.sha256[:12]}) '
                               f'on {policy.engine.name}')

    def _model_failed(self, model: str, reason: str) -> None:
        self.get_logger().error(reason)
        self.loader.status = reason
        if self.worker.policy is None:
            self.controller.hold(reason)
            self.controller.fault(reason)
        elif self._model is not None and self.loader.loading is None:
            self.set_parameters([Parameter('model', value=self._model)])

    # Orders.

    def _instruct(self, message: String) -> None:
        topic = self.contract.instruction_topic
        try:
            if self.controller.instruct(message.data):
                self.get_logger().info(f'instruction: {self.controller.instruction}')
            elif self.controller.decision.state in (State.FAULT, State.STOPPED):
                self.get_logger().warn(
                    'the same instruction again does not release a stop: call ~/resume',
                    throttle_duration_sec=5.0)
        except InstructionError as error:
            self.get_logger().warn(f'topic {topic}: {error}', throttle_duration_sec=1.0)

    def _estop(self, message: Bool) -> None:
        self.controller.emergency_stop(message.data)
        self._tick()

    def _teleop(self, message) -> None:
        v0, v1 = messages.read_command(message, self.contract.command.fields)
        self.controller.teleop(v0, v1, time.monotonic_ns())
        self._tick()

    def _stop(self, _request, response):
        self.controller.stop('stop was called')
        self._tick()
        response.success, response.message = True, 'stopped; resume or a new instruction drives on'
        return response

    def _resume(self, _request, response):
        if self.worker.policy is None and self.loader.loading is None:
            self._load(self.get_parameter('model').value)
            if self.loader.loading is None:
                response.success, response.message = False, self.loader.status
                return response
        response.success, response.message = self.controller.resume(time.monotonic_ns())
        return response

    def _change(self, parameters) -> SetParametersResult:
        values = {parameter.name: parameter.value for parameter in parameters}
        model, instruction = values.get('model'), values.get('instruction')
        try:
            if model is not None and model != self._model:
                self.loader.check(model)
            if instruction:
                check_instruction(instruction)
        except VlaNavError as error:
            self.get_logger().warn(f'parameter refused: {error}')
            return SetParametersResult(successful=False, reason=str(error))
        if instruction:
            self.controller.instruct(instruction)
        elif instruction is not None:
            self.controller.clear_instruction()
        if model is not None and model == self._model:
            self.loader.cancel()
        elif model is not None:
            self.loader.request(model)
        return SetParametersResult(successful=True)

    # Senses.

    def _image(self, message) -> None:
        steady_ns = time.monotonic_ns()
        stamp_ns = messages.nanoseconds(message.header.stamp)
        if self.controller.image_arrived(stamp_ns, self._now_ns(), steady_ns):
            self.worker.submit(message, steady_ns)

    def _odometry(self, message) -> None:
        values = messages.read_command(message.twist, self.contract.command.fields)
        if all(map(math.isfinite, values)):
            self._velocity = np.array(values, np.float32)
            self._velocity_ns = time.monotonic_ns()

    def _base_velocity(self) -> np.ndarray | None:
        """What the base does, for policies that ask; None if odometry is missing or old."""
        fresh = time.monotonic_ns() - self._velocity_ns <= self._stale_ns
        return self._velocity if fresh else None

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    # Output.

    def _acted(self, chunk) -> None:
        """Publish at once what the policy just decided, and where that leads."""
        self._tick()
        if not self._closing:
            poses = predicted_path(chunk, self.contract.command.fields)
            self._path.publish(messages.path_message(poses, chunk.stamp_ns, self._base_frame))

    def _periodic_tick(self) -> None:
        self.ticks.add(time.monotonic_ns())
        self._tick()

    def _tick(self) -> None:
        with self._publishing:
            if self._closing:
                return
            now_ns = self._now_ns()
            try:
                decision = self.controller.tick(now_ns, time.monotonic_ns())
            except Exception as error:
                self.controller.fault(f'controller raised {type(error).__name__}: {error}')
                self._command.publish(self._message.fill(0.0, 0.0, now_ns))
                raise
            self._command.publish(self._message.fill(decision.v0, decision.v1, now_ns))
            instruction = self.controller.instruction
            shown = (decision.state, decision.reason, instruction, self._model)
            if shown == self._shown:
                return
            self._shown = shown
        self._show(decision, instruction)

    def _show(self, decision: Decision, instruction: str | None) -> None:
        self._state.publish(messages.json_message({
            'state': decision.state.value, 'reason': decision.reason,
            'instruction': instruction, 'model': self._model}))
        text = f'{decision.state.value}: {decision.reason or instruction}'
        late, self._was_late = self._was_late, decision.reason == USED_UP
        if decision.state is State.FAULT:
            self.get_logger().error(text)
        elif self._was_late:
            self.get_logger().warn(text, throttle_duration_sec=5.0)
        elif not late:  # A policy that is now late, now in time, is not worth a line each time.
            self.get_logger().info(text)

    def _diagnose(self) -> None:
        self._diagnostics.publish(self._report.message())

    def close(self) -> bool:
        """Leave the robot standing: the last commands are zeros. False if a thread still runs."""
        with self._publishing:
            self._closing = True
            for _ in range(_LAST_ZEROS):
                self._command.publish(self._message.fill(0.0, 0.0, self._now_ns()))
                time.sleep(_LAST_ZEROS_GAP_S)
        idle = self.loader.close()
        return self.worker.close() and idle


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return runner.run(DriveNode, args, threads=4)


if __name__ == '__main__':
    raise SystemExit(main())
