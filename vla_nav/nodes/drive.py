"""The drive node: a camera and a sentence become safe velocity commands.

It is a managed node. Only in `active` does it publish commands, and there it always does: zeros
until there are a model, an instruction and a fresh image. To deactivate it is to stop it: several
zeros, then silence, so that it does not fight whoever drives next; activated again, it stands
until `resume` or a new instruction. In every state it hears instructions, `stop` and the emergency
stop, and says on `~/state` and /diagnostics what it is doing.

`configure` loads the model, and fails if that is refused. With `autostart` nobody waits for an
answer, but a base may wait for commands: the node is active at once and loads the model there, as
at a swap; a refused one is a FAULT that another `model` or `resume` mends.
"""

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
from std_msgs.msg import Bool, String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_nav.nodes import messages, qos, runner  # noqa: E402
from vla_nav.nodes.command import CommandOutput  # noqa: E402
from vla_nav.nodes.control_loop import ControlLoop  # noqa: E402
from vla_nav.nodes.drive_parameters import (  # noqa: E402
    PARAMETERS,
    control_settings,
    robot_contract,
)
from vla_nav.nodes.drive_report import DriveReport  # noqa: E402
from vla_nav.nodes.images import image_decoder  # noqa: E402
from vla_nav.nodes.inference import InferenceWorker  # noqa: E402
from vla_nav.nodes.latched import LatchedSubscription  # noqa: E402
from vla_nav.nodes.managed import ManagedNode  # noqa: E402
from vla_nav.nodes.parameters import declare  # noqa: E402
from vla_nav.nodes.swap import ModelSwap  # noqa: E402

_SILENT = {'inactive': 'no command is published until it is activated',
           'finalized': 'it was shut down'}


class ModelError(VlaNavError):
    """The node has no model to drive with."""


class DriveNode(ManagedNode):
    """Wires camera, instruction and human to the controller, and its decisions to cmd_vel."""

    def __init__(self) -> None:
        super().__init__('drive')
        values = declare(self, PARAMETERS)
        self.contract = robot_contract(values)
        self._check_topics()
        settings = control_settings(values)
        command, camera = self.contract.command, self.contract.camera
        self.controller = Controller(settings, self.contract,
                                     self.resolve_topic_name(camera.topic))
        self._showing = threading.Lock()
        self._shown: dict | None = None
        self._was_late = False
        self._velocity: np.ndarray | None = None
        self._velocity_ns = 0
        self._stale_ns = round(settings.stale_timeout_s * 1e9)
        self._base_frame = values['base_frame']
        self.output = CommandOutput(self, command, self._base_frame)
        self._path = self.create_publisher(Path, 'predicted_path', qos.RELIABLE)
        self._doing = self.create_publisher(String, '~/state', qos.LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', qos.RELIABLE)
        decode, conversion = image_decoder()
        self.get_logger().info(f'images are converted by {conversion}')
        self.worker = InferenceWorker(
            self.controller, camera, self.contract.rate_hz, self._now_ns, self._base_velocity,
            self._acted, lambda text: self.get_logger().error(text), decode)
        self.models = ModelSwap(self, values)
        self.ticks = Ticks(settings.period_s)
        self._report = DriveReport(self)
        self._subscribe()
        self._serve()
        self.add_on_set_parameters_callback(self._change)
        self.cleanup()  # Nothing is loaded yet.
        if values['instruction']:
            try:
                self.controller.instruct(values['instruction'], time.monotonic_ns())
            except InstructionError as error:
                self.get_logger().error(f'parameter {error}')
        # On a steady clock: a simulated one that pauses must not silence the node.
        self.loop = ControlLoop(settings.period_s, self._periodic_tick, self._tick_failed)
        self.create_timer(1.0, self._diagnose, callback_group=self._side,
                          clock=Clock(clock_type=ClockType.STEADY_TIME))
        if values['autostart']:
            self.autostart()

    def _check_topics(self) -> None:
        names = {}
        for what, topic in {**self.contract.topics, 'emergency stop': 'emergency_stop'}.items():
            name = self.resolve_topic_name(topic)
            if name in names:
                raise VlaNavError(f'{name} is the topic of {names[name]} and of {what}; give each '
                                  'its own, in the robot file or by remapping')
            names[name] = what

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
        # A button of any kind stops the robot. Of what was said before, only a stop counts: it may
        # be long ago that one was released.
        self._emergency = LatchedSubscription(self, Bool, 'emergency_stop', self._estop, orders,
                                              counts=bool, lossy=True, **qos.SILENT)

    def _serve(self) -> None:
        self.create_service(Trigger, '~/stop', self._stop, callback_group=self._side)
        self.create_service(Trigger, '~/resume', self._resume, callback_group=self._side)

    # States.

    def configure(self) -> None:
        """Load the model. Raises ModelError if it is refused."""
        self.models.want(True)
        if self.starting:
            return
        self.models.loader.request(self.models.parameter)
        self.models.loader.wait()
        if self.worker.policy is None:
            self.models.want(False)
            raise ModelError(self.models.loader.status)

    def activate(self) -> None:
        """Take charge of the base: zeros first."""
        if not self.output.take_charge():
            raise ModelError('the node is ending')
        if self.worker.policy is None:
            # Not checked here first: that imports torch, and zeros should go out from now on.
            model = self.models.parameter
            self.controller.hold(f'loading model {model}')
            self.models.loader.request(model)
        self._tick()

    def deactivate(self) -> None:
        """Leave the robot standing, with nothing to do until it is told anew."""
        if self.output.in_charge:
            self.controller.stop('was deactivated; resume or a new instruction drives on')
            self.output.leave()

    def cleanup(self) -> None:
        """Let go of the model."""
        self.models.want(False)
        self.controller.hold('no model is loaded')
        self.models.loader.status = 'no model: configure loads it'

    # Orders.

    def _instruct(self, message: String) -> None:
        topic = self.contract.instruction_topic
        try:
            if self.controller.instruct(message.data, time.monotonic_ns()):
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
        if self.output.in_charge:
            v0, v1 = messages.read_command(message, self.contract.command.fields)
            self.controller.teleop(v0, v1, time.monotonic_ns())
            self._tick()

    def _stop(self, _request, response):
        self.controller.stop('stop was called')
        self._tick()
        response.success, response.message = True, 'stopped; resume or a new instruction drives on'
        return response

    def _resume(self, _request, response):
        if not self.output.in_charge:
            response.success, response.message = False, f'the node is {self.stage}, not active'
            return response
        loader = self.models.loader
        if self.worker.policy is None and loader.loading is None:
            self.models.load()
            if loader.loading is None:
                response.success, response.message = False, loader.status
                return response
        response.success, response.message = self.controller.resume(time.monotonic_ns())
        return response

    def _change(self, parameters) -> SetParametersResult:
        values = {parameter.name: parameter.value for parameter in parameters}
        model, instruction = values.get('model'), values.get('instruction')
        told = self.models.telling(model)
        if told is not None:
            return SetParametersResult(successful=told)
        try:
            drives = model is not None and self.models.drives(model)
            if instruction:
                check_instruction(instruction)
        except VlaNavError as error:
            self.get_logger().warn(f'parameter refused: {error}')
            return SetParametersResult(successful=False, reason=str(error))
        if instruction:
            self.controller.instruct(instruction, time.monotonic_ns())
        elif instruction is not None:
            self.controller.clear_instruction()
        if model is not None:
            self.models.ask(model, drives)
        return SetParametersResult(successful=True)

    # Senses.

    def _image(self, message) -> None:
        steady_ns = time.monotonic_ns()
        stamp_ns = messages.nanoseconds(message.header.stamp)
        good = self.controller.image_arrived(stamp_ns, self._now_ns(), steady_ns)
        if good and self.output.in_charge:
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
        if self.output.in_charge:
            poses = predicted_path(chunk, self.contract.command.fields)
            self._path.publish(messages.path_message(poses, chunk.stamp_ns, self._base_frame))

    def _periodic_tick(self) -> None:
        self.ticks.add(time.monotonic_ns())
        self._tick()

    def _tick_failed(self, error: Exception) -> None:
        self.get_logger().error(f'{type(error).__name__}: {error}', throttle_duration_sec=1.0)

    def _tick(self) -> None:
        if self.output.closed:
            return
        self.output.publish(self._decide)
        with self._showing:  # asked for within, so that no thread shows what was before
            (state, reason), policy = self.doing, self.worker.policy
            shown = {'state': state, 'reason': reason,
                     'instruction': self.controller.instruction, 'model': self.models.name,
                     'model sha256': policy.sha256 if policy else None}
            if shown == self._shown:
                return
            self._shown = shown
            self._show(shown)

    def _decide(self, now_ns: int) -> Decision:
        try:
            return self.controller.tick(now_ns, time.monotonic_ns())
        except Exception as error:
            self.controller.fault(f'controller raised {type(error).__name__}: {error}')
            raise

    @property
    def doing(self) -> tuple[str, str]:
        """The controller's state and reason; while the node is silent, its own."""
        if self.output.in_charge:
            decision = self.controller.decision
            return decision.state.value, decision.reason
        stage = 'inactive' if self.stage == 'active' else self.stage
        return stage.upper(), _SILENT.get(stage, self.models.loader.status)

    def _show(self, shown: dict) -> None:
        self._doing.publish(messages.json_message(shown))
        if not self.output.in_charge:
            return
        text = f'{shown["state"]}: {shown["reason"] or shown["instruction"]}'
        late, self._was_late = self._was_late, shown['reason'] == USED_UP
        if shown['state'] == State.FAULT:
            self.get_logger().error(text)
        elif self._was_late:
            self.get_logger().warn(text, throttle_duration_sec=5.0)
        elif late:  # A policy that is now late, now in time, is not worth a line each time.
            self.get_logger().info(text, throttle_duration_sec=5.0)
        else:
            self.get_logger().info(text)

    def _diagnose(self) -> None:
        self._diagnostics.publish(self._report.message())

    def close(self) -> bool:
        """Leave the robot standing: the last commands are zeros. False if a thread still runs."""
        self.output.close()
        self.loop.close()
        idle = self.models.loader.close()
        return self.worker.close() and idle


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return runner.run(DriveNode, args, threads=4)


if __name__ == '__main__':
    raise SystemExit(main())
