"""The sim node: a simulated robot with the topics of a real one."""

from __future__ import annotations

import time

import cv2

from vla_nav import rosless
from vla_nav.sim import LEVELS, Outcome, Renderer, Simulation, check_fields, sample_scene

rosless.ensure()

from nav_msgs.msg import Odometry  # noqa: E402
from rcl_interfaces.msg import SetParametersResult  # noqa: E402
from rclpy.clock import Clock, ClockType  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter as RosParameter  # noqa: E402
from rosgraph_msgs.msg import Clock as ClockMessage  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_nav.nodes import messages, qos, runner  # noqa: E402
from vla_nav.nodes.drive_parameters import (  # noqa: E402
    COMPRESSED_SUFFIX,
    CONTRACT,
    robot_contract,
)
from vla_nav.nodes.latched import LatchedSubscription  # noqa: E402
from vla_nav.nodes.parameters import Parameter, declare  # noqa: E402
from vla_nav.nodes.sim_task import named_object  # noqa: E402

PARAMETERS = (
    Parameter('seed', 0, 'Seed of the scene; the service ~/reset starts it anew.',
              0, 2**31 - 1, changeable=True),
    Parameter('level', 'standard', 'How hard the scenes are.', choices=LEVELS, changeable=True),
    Parameter('robot', 'sim', 'Robot: the path of a contract, or a name in config/robots/.'),
    Parameter('command_type', CONTRACT, "Type of the command instead of the contract's.",
              choices=(CONTRACT, 'Twist', 'TwistStamped')),
    Parameter('rate_hz', 10.0, 'Images per simulated second.', 0.1, 60.0),
    Parameter('width', 640, 'Columns of the camera image.', 16, 1920),
    Parameter('height', 480, 'Rows of the camera image.', 16, 1440),
    Parameter('compressed', False, 'Publish JPEG on <camera topic>/compressed instead.'),
    Parameter('jpeg_quality', 90, 'Quality of compressed images, percent.', 1, 100),
    Parameter('real_time_factor', 1.0, 'Simulated seconds per second.', 0.05, 10.0),
    Parameter('publish_clock', False, 'Stamp with simulated time and publish it on /clock; '
              'other nodes then need use_sim_time.'),
)

_WALL_PERIOD_S = 0.02
_STEP_S = 0.02
_MOST_STEPS = 10
"""Steps per timer call; a machine that needs more falls behind real time instead of bursting."""
_START_NS = 1_000_000_000
"""Simulated time at the start: a stamp of zero would mean 'not stamped'."""
_OUTCOME_PERIOD_S = 0.2
ODOM_FRAME, BASE_FRAME, CAMERA_FRAME = 'odom', 'base_link', 'camera_optical_frame'


class SimNode(Node):
    """Publishes camera and odometry of a simulated base and obeys velocity commands."""

    def __init__(self) -> None:
        super().__init__('sim')
        values = declare(self, PARAMETERS)
        self._values = values
        self.contract = robot_contract({
            'camera_topic': CONTRACT, 'cmd_vel_topic': CONTRACT, **values})
        check_fields(self.contract)
        self._renderer = Renderer(values['width'], values['height'])
        self._odometry = self.create_publisher(
            Odometry, self.contract.odometry.topic if self.contract.odometry else 'odom',
            qos.RELIABLE)
        self._task = self.create_publisher(String, '~/task', qos.LATCHED)
        self._outcome = self.create_publisher(String, '~/outcome', qos.LATCHED)
        self._simulated_clock = (self.create_publisher(ClockMessage, '/clock', qos.COMMAND)
                       if values['publish_clock'] else None)
        self._camera = self._camera_publisher(values['compressed'])
        command = self.contract.command
        self.create_subscription(messages.TYPES[command.type], command.topic, self._command,
                                 qos.SENSOR)
        self._instructions = LatchedSubscription(
            self, String, self.contract.instruction_topic, self._instruct)
        self.create_service(Trigger, '~/reset', self._reset_scene)
        self.create_service(Trigger, '~/next', self._next_scene)
        self.add_on_set_parameters_callback(self._change)
        self._offset_ns = _START_NS
        self._begin(values['seed'], values['level'])
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_WALL_PERIOD_S, self._advance, clock=self._steady)

    def _camera_publisher(self, compressed: bool):
        topic = self.contract.camera.topic
        if messages.TYPES[self.contract.camera.type] is CompressedImage:
            compressed = True
        elif compressed:
            topic += COMPRESSED_SUFFIX
        self._compressed = compressed
        return self.create_publisher(CompressedImage if compressed else Image, topic, qos.IMAGES)

    # Scenes and tasks.

    def _begin(self, seed: int, level: str) -> None:
        scene = sample_scene(seed, level)
        self.simulation = Simulation(scene, renderer=self._renderer)
        self._seed, self._level = seed, level
        self._instruction: str | None = None
        self._judging = False
        self._scheduled_s = time.monotonic()
        self._window = (self._scheduled_s, 0.0)
        self._real_time = 1.0
        self._image_due_s = self._outcome_due_s = 0.0
        self._task.publish(messages.json_message({
            'seed': seed, 'level': level, 'instruction': scene.instruction,
            'objects': [{'name': thing.name, 'x': thing.x, 'y': thing.y}
                        for thing in scene.objects],
            'room': scene.room, 'start': scene.start}))
        self.get_logger().info(f'scene {seed} ({level}): '
                               f'{", ".join(thing.name for thing in scene.objects)}; try '
                               f"'{scene.instruction}'")

    def _reset_scene(self, _request, response):
        self._offset_ns += self.simulation.stamp_ns  # Time goes on when the scene does not.
        self._begin(self._values['seed'], self._values['level'])
        response.success, response.message = True, f'scene {self._seed} ({self._level})'
        return response

    def _next_scene(self, request, response):
        self.set_parameters([RosParameter('seed', value=self._values['seed'] + 1)])
        return self._reset_scene(request, response)

    def _change(self, parameters) -> SetParametersResult:
        table = {parameter.name: parameter for parameter in PARAMETERS}
        for parameter in parameters:
            known = table.get(parameter.name)
            problem = known and known.check(parameter.value)
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        self._values.update((p.name, p.value) for p in parameters if p.name in table)
        return SetParametersResult(successful=True)

    def _instruct(self, message: String) -> None:
        if message.data == self._instruction:
            return
        self._instruction = message.data
        target = named_object(self.simulation.scene, message.data)
        self._judging = target is not None
        if target is None:
            self.get_logger().warn(f'no single object here fits {message.data!r:.80}; '
                                   'the outcome of this task is not judged')
            return
        self.simulation.retarget(target)

    # Motion and senses.

    def _command(self, message) -> None:
        self.simulation.command(*messages.read_command(message, self.contract.command.fields))

    def _now_ns(self) -> int:
        if self._simulated_clock is None:
            return self.get_clock().now().nanoseconds
        return self._offset_ns + self.simulation.stamp_ns

    def _advance(self) -> None:
        simulation, now_s = self.simulation, time.monotonic()
        factor = self._values['real_time_factor']
        steps = int((now_s - self._scheduled_s) * factor / _STEP_S)
        self._scheduled_s += steps * _STEP_S / factor
        for _ in range(min(steps, _MOST_STEPS)):
            simulation.advance(_STEP_S)
            if self._simulated_clock is not None:
                self._simulated_clock.publish(ClockMessage(clock=messages.stamp(self._now_ns())))
            if simulation.time_s >= self._image_due_s - 1e-6:
                self._image_due_s = max(self._image_due_s + 1.0 / self._values['rate_hz'],
                                        simulation.time_s)
                self._look()
        if steps:
            self._odometry.publish(messages.odometry_message(
                simulation.pose, simulation.velocity, self._now_ns(), ODOM_FRAME, BASE_FRAME))
        if simulation.time_s >= self._outcome_due_s:
            self._outcome_due_s = simulation.time_s + _OUTCOME_PERIOD_S
            self._measure(now_s)
            self._publish_outcome()

    def _look(self) -> None:
        stamp_ns = self._now_ns()
        image = self.simulation.render()
        if not self._compressed:
            self._camera.publish(messages.image_message(image, stamp_ns, CAMERA_FRAME))
            return
        _, jpeg = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
                               [cv2.IMWRITE_JPEG_QUALITY, self._values['jpeg_quality']])
        self._camera.publish(messages.compressed_message(jpeg.tobytes(), stamp_ns, CAMERA_FRAME))

    def _measure(self, now_s: float) -> None:
        """Measure the real-time factor over a second at least."""
        since_s, simulated_s = self._window
        if now_s - since_s < 1.0:
            return
        self._real_time = (self.simulation.time_s - simulated_s) / (now_s - since_s)
        self._window = (now_s, self.simulation.time_s)
        if self._real_time < 0.9 * self._values['real_time_factor']:
            self.get_logger().warn(
                f'the simulation runs at {self._real_time:.2f} of real time: this machine is too '
                'slow for this image size and rate; lower width, height or rate_hz',
                throttle_duration_sec=10.0)

    def _publish_outcome(self) -> None:
        simulation, judged = self.simulation, self._judging
        objects, rested_at = simulation.scene.objects, simulation.rested_at
        self._outcome.publish(messages.json_message({
            'outcome': simulation.outcome.value if judged else Outcome.RUNNING.value,
            'judged': judged, 'instruction': self._instruction,
            'target': simulation.scene.target_object.name if judged else None,
            'distance_m': round(simulation.distance_m, 3),
            'elapsed_s': round(simulation.elapsed_s, 3),
            'collided': simulation.collided,
            'rested_at': None if rested_at is None else objects[rested_at].name,
            'seed': self._seed, 'level': self._level,
            'pose': [round(value, 4) for value in simulation.pose],
            'velocity': [round(value, 4) for value in simulation.velocity],
            'real_time_factor': round(self._real_time, 3)}))

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return runner.run(SimNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
