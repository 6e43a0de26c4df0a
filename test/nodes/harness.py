"""The world around a drive node in another process: camera, base, operator. All over DDS."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from array import array
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from vla_nav import rosless
from vla_nav.cli.domain import private_domain

os.environ.setdefault('ROS_DOMAIN_ID', str(private_domain()))
rosless.ensure()

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402
from nav_msgs.msg import Path as PathMessage  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import GetParameters, SetParameters  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import MultiThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Bool, String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_nav.nodes import messages, qos  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = Context()
"""Of this room alone: other tests in the process have the default one."""
FAULTS = ROOT / 'test' / 'faults'
PATIENCE_S = float(os.environ.get('VLA_NAV_TEST_PATIENCE_S', 120.0))
"""How long anything may take on a loaded machine; never part of what is asserted."""
START_PATIENCE_S = 240.0
"""The same for a start, when torch is imported."""
CAMERA_HZ = 20.0
STALE_S = 0.8
STALE_NS = round(STALE_S * 1e9)
"""Longer than the default: a test machine may run other things beside."""
PERIOD_NS = 50_000_000
"""At the default control_rate_hz."""
ORDINARY_USER = []
"""Command that takes from root the right to read what nobody may read."""
if os.getuid() == 0 and shutil.which('setpriv'):
    ORDINARY_USER = ['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--']
_numbers = itertools.count()


def environment(**more) -> dict:
    """Environment of a node process: this checkout first, one thread."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    return {**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1', **more}


class NodeProcess:
    """A node in a process of its own, its output in a file, or going to `sink`."""

    def __init__(self, log: Path, program: list[str], *words: str, stdin=None, sink=None,
                 **more) -> None:
        self.log = log
        with open(log, 'wb') as file:
            self.process = subprocess.Popen(
                [*ORDINARY_USER, sys.executable, *program, *words], stdin=stdin,
                stdout=sink or file, stderr=subprocess.STDOUT, env=environment(**more))

    @property
    def output(self) -> str:
        return self.log.read_text(errors='replace')

    def end(self, number=signal.SIGTERM) -> int:
        """Ask it to end; returns its exit code, and fails the test if it hangs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f'the node did not end:\n{self.output}')


class World:
    """What a drive node sees and moves."""

    def __init__(self, name: str, namespace: str, process: NodeProcess) -> None:
        if not CONTEXT.ok():
            rclpy.init(args=[], context=CONTEXT)
        self.process = process
        self.commands: list[tuple[int, float, float]] = []
        """Stamp in ns and both fields of every command heard."""
        self.paths: list[PathMessage] = []
        self.state: dict = {}
        self.diagnostics: dict = {}
        self.level, self.summary = b'', ''
        self.image_stamp_ns = 0
        """Stamp of the last image sent as it should be."""
        self.moved_ns = 0
        """When the last command that was not zero was heard, by a steady clock."""
        self.node = node = Node(name, namespace=namespace, context=CONTEXT)
        self._drive = f'{namespace.rstrip("/")}/drive'
        node.create_subscription(TwistStamped, 'cmd_vel', self._command, qos.RELIABLE)
        node.create_subscription(PathMessage, 'predicted_path', self.paths.append, qos.RELIABLE)
        node.create_subscription(String, f'{self._drive}/state', self._note, qos.LATCHED)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, qos.RELIABLE)
        self.camera = node.create_publisher(Image, 'camera/image_raw', qos.IMAGES)
        self.instruction = node.create_publisher(String, 'instruction', qos.RELIABLE)
        self.teleop = node.create_publisher(TwistStamped, 'teleop_cmd_vel', qos.RELIABLE)
        self.emergency = node.create_publisher(Bool, 'emergency_stop', qos.RELIABLE)
        self.executor = MultiThreadedExecutor(4, context=CONTEXT)
        self.executor.add_node(node)
        self._rng = np.random.default_rng(5)
        self._sentences = 0
        self.make_image = self.good_image
        """What the camera sends; None: nothing."""
        self.camera_hz = CAMERA_HZ
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self.executor.spin, daemon=True),
                         threading.Thread(target=self._film, daemon=True)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._closed.set()
        self._threads[1].join()
        self.executor.shutdown()
        self._threads[0].join(5.0)
        self.node.destroy_node()

    # Camera.

    def now_ns(self) -> int:
        return self.node.get_clock().now().nanoseconds

    def good_image(self, stamp_ns=None, height=48, width=64, encoding='rgb8') -> Image:
        pixels = self._rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return self.image(self.now_ns() if stamp_ns is None else stamp_ns, pixels, encoding)

    @staticmethod
    def image(stamp_ns, pixels, encoding='rgb8') -> Image:
        message = Image(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1],
                        step=pixels.shape[1] * 3, data=array('B', pixels.tobytes()))
        message.header.stamp = messages.stamp(stamp_ns)
        return message

    def _film(self) -> None:
        while not self._closed.wait(1.0 / self.camera_hz):
            make = self.make_image
            if make is None:
                continue
            message = make()
            if make == self.good_image:
                self.image_stamp_ns = messages.nanoseconds(message.header.stamp)
            self.camera.publish(message)

    # Base.

    def _command(self, message) -> None:
        if message.twist.linear.x or message.twist.angular.z:
            self.moved_ns = time.monotonic_ns()
        self.commands.append((messages.nanoseconds(message.header.stamp),
                              message.twist.linear.x, message.twist.angular.z))

    @property
    def moving(self) -> bool:
        return bool(self.commands) and self.commands[-1][1:] != (0.0, 0.0)

    # Operator.

    def _note(self, message) -> None:
        self.state = json.loads(message.data)

    def _diagnose(self, message) -> None:
        for status in message.status:
            if status.name == f'{self._drive.strip("/")}: control':
                self.level, self.summary = status.level, status.message
                self.diagnostics = {pair.key: pair.value for pair in status.values}

    def wait(self, condition, what: str, patience_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            if self.process.process.poll() is not None:
                pytest.fail(f'the drive node ended, waiting for {what}:\n{self.process.output}')
            if time.monotonic() > deadline:
                pytest.fail(f'waited in vain for {what}; state {self.state}\n'
                            f'{self.process.output[-3000:]}')
            time.sleep(0.01)

    def wait_model(self) -> None:
        """Until the node's model is loaded, or refused."""
        self.wait(lambda: self.state.get('model') or self.state.get('state') == 'FAULT',
                  'the model', START_PATIENCE_S)

    def wait_state(self, state: str, reason: str = '') -> None:
        self.wait(lambda: self.state.get('state') == state
                  and reason in self.state.get('reason', ''), f'{state}: {reason}')

    def say(self, text: str) -> None:
        self.instruction.publish(String(data=text))

    def drive(self) -> None:
        """Be driving, whatever was before: a fresh sentence, a good camera."""
        self.make_image, self.camera_hz = self.good_image, CAMERA_HZ
        self._sentences += 1
        self.wait(self.instruction.get_subscription_count, 'the node to listen')
        text = f'go to the red cone, please, number {self._sentences}'
        self.say(text)
        self.wait(lambda: self.state.get('instruction') == text, 'the instruction to arrive')
        self.wait_state('DRIVING')
        self.wait(lambda: self.moving, 'a velocity')

    def call(self, service: str):
        client = self.node.create_client(Trigger, f'{self._drive}/{service}')
        assert client.wait_for_service(timeout_sec=PATIENCE_S)
        return self._result(client, Trigger.Request())

    def set_parameter(self, name: str, value) -> tuple[bool, str]:
        kinds = {str: ('string_value', ParameterType.PARAMETER_STRING),
                 float: ('double_value', ParameterType.PARAMETER_DOUBLE),
                 int: ('integer_value', ParameterType.PARAMETER_INTEGER)}
        field, kind = kinds[type(value)]
        client = self.node.create_client(SetParameters, f'{self._drive}/set_parameters')
        assert client.wait_for_service(timeout_sec=PATIENCE_S)
        request = SetParameters.Request(parameters=[
            Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))])
        result = self._result(client, request).results[0]
        return result.successful, result.reason

    def get_parameter(self, name: str) -> str:
        client = self.node.create_client(GetParameters, f'{self._drive}/get_parameters')
        assert client.wait_for_service(timeout_sec=PATIENCE_S)
        request = GetParameters.Request(names=[name])
        return self._result(client, request).values[0].string_value

    def _result(self, client, request):
        future = client.call_async(request)
        self.wait(future.done, f'an answer of {client.srv_name}')
        self.node.destroy_client(client)
        return future.result()

    def assert_stands(self, state: str, reason: str) -> None:
        """In this state, for this reason, publishing zeros and going on doing so."""
        self.wait_state(state, reason)
        self.wait(lambda: not self.moving, 'zero')
        heard = len(self.commands)
        self.wait(lambda: len(self.commands) >= heard + 10, 'more commands: silence is no stop')
        assert {command[1:] for command in self.commands[heard:]} == {(0.0, 0.0)}
        self.wait(lambda: self.diagnostics.get('state') == state
                  and reason in self.diagnostics['reason'], 'the reason on /diagnostics')

    def last_moving_ns(self) -> int:
        """Stamp of the last command that was not zero."""
        return max(stamp for stamp, *speed in self.commands if any(speed))

    def newest_seen_ns(self) -> int:
        """Stamp of the newest image that the policy answered, by the path it was shown as."""
        return max(messages.nanoseconds(path.header.stamp) for path in self.paths)

    def assert_stopped_in_time(self, cause_ns: int) -> None:
        """No command but zero later than the stale timeout and one period after the cause."""
        assert self.last_moving_ns() - cause_ns <= STALE_NS + PERIOD_NS


@pytest.fixture(scope='session')
def models(tmp_path_factory):
    """Folder with the tiny models and their robot file."""
    folder = tmp_path_factory.mktemp('models')
    if 'VLA_NAV_TEST_MODELS' in os.environ:
        return shutil.copytree(os.environ['VLA_NAV_TEST_MODELS'], folder, dirs_exist_ok=True)
    return tiny_models.build_all(folder)


def new_name() -> str:
    """A name for a world, used nowhere else."""
    return f'world{next(_numbers)}_{os.getpid()}'


def drive_words(models: Path, namespace: str, *words: str, model='forward') -> list[str]:
    """Arguments of a drive node in a world of its own."""
    return ['--ros-args', '-r', f'__ns:={namespace}', '-p', f'robot:={models / "tiny.yaml"}', '-p',
            f'model:={model}', '-p', 'command_type:=TwistStamped', '-p', 'threads:=1', '-p',
            f'stale_timeout_s:={STALE_S}', '-p', 'execution_horizon:=8', *words]


@contextmanager
def starting(models, tmp_path_factory):
    """Start drive nodes; each in a namespace of its own, so that they do not meet."""
    worlds = []

    def start(*words: str, model='forward', namespace=None, script=None, sink=None, **more):
        program = [str(FAULTS / f'{script}.py')] if script else ['-m', 'vla_nav.nodes.drive']
        name = new_name()
        namespace = namespace or f'/{name}'
        process = NodeProcess(
            tmp_path_factory.mktemp('drive') / 'log', program,
            *drive_words(models, namespace, *words, model=model), sink=sink,
            VLA_NAV_MODELS=str(models), **more)
        world = World(name, namespace, process)
        worlds.append(world)
        return world

    try:
        yield start
    finally:
        for world in worlds:
            world.process.end()
            world.close()


@pytest.fixture(scope='module')
def start_drive(models, tmp_path_factory):
    """Start drive nodes, which end with the tests of a module."""
    with starting(models, tmp_path_factory) as start:
        yield start


@pytest.fixture(scope='session')
def shared_world(models, tmp_path_factory):
    """One drive node for all tests that leave it as they found it."""
    with starting(models, tmp_path_factory) as start:
        yield start()


@pytest.fixture
def world(shared_world):
    """The shared drive node, driving."""
    shared_world.wait_model()
    shared_world.drive()
    return shared_world
