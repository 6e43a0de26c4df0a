"""Contract tests: they import rclpy, whichever is there, and talk to a second process of it.

`CONTRACT_PEER` may name another interpreter for that process, such as a script that sources a
ROS 2 and runs its python, so that rosless meets the real one.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

from vla_nav import rosless
from vla_nav.cli.domain import private_domain

NATIVE = rosless.ensure()

import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PEER = Path(__file__).with_name('contract_peer.py')
INTERPRETER = shlex.split(os.environ.get('CONTRACT_PEER', '')) or [sys.executable]
PATIENCE_S = 20.0
PEER_HAS_ROS = NATIVE != ('CONTRACT_PEER' in os.environ)


def pytest_report_header():
    kind = 'that of a ROS 2 installation' if NATIVE else 'rosless'
    return f'rclpy: {kind} ({rclpy.__file__ if NATIVE else "vla_nav.rosless"})'


@pytest.fixture(scope='session', autouse=True)
def domain():
    """Keep out of the domain of what other tests have running: their clock would be heard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(private_domain()))
        yield


@pytest.fixture
def native():
    """Tell whether rclpy is that of a ROS 2 installation."""
    return NATIVE


@pytest.fixture
def context():
    """Return an initialised context of this test alone."""
    context = Context()
    rclpy.init(args=[], context=context)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture
def make_node(context):
    """Return a function that makes nodes, which are destroyed in the end."""
    made = []

    def make(name='tested', **kwargs):
        made.append(Node(name, context=context, **kwargs))
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()


@pytest.fixture
def node(make_node):
    """Return a node."""
    return make_node()


@pytest.fixture
def executor(context):
    """Return a single-threaded executor."""
    executor = SingleThreadedExecutor(context=context)
    yield executor
    executor.shutdown()


@pytest.fixture
def spin(executor):
    """Return a function that spins nodes until something holds, or gives up after long."""

    def spin_until(condition, *nodes, patience_s=PATIENCE_S):
        for node in nodes:
            executor.add_node(node)
        end = time.monotonic() + patience_s
        while not condition() and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)
        return condition()

    return spin_until


@pytest.fixture
def call(spin):
    """Return a function that calls a service and returns the response."""

    def call_service(node, kind, name, request):
        client = node.create_client(kind, name)
        assert client.wait_for_service(timeout_sec=PATIENCE_S), f'no service {name}'
        future = client.call_async(request)
        assert spin(future.done, node), f'no response from {name}'
        node.destroy_client(client)
        return future.result()

    return call_service


class Peer:
    """A process of its own with a node of `contract_peer.py`."""

    def __init__(self, role, *args):
        environment = dict(os.environ, PYTHONFAULTHANDLER='1', PYTHONPATH=os.pathsep.join(
            [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]))
        self.process = subprocess.Popen(
            [*INTERPRETER, str(PEER), role, *args], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_until_ready(self):
        line = self.process.stdout.readline()
        if line != 'ready\n':
            raise AssertionError(f'peer said {line!r}: {self.process.communicate()[1]}')
        return self

    def end(self, number=signal.SIGINT):
        """Signal the process and return its exit code, output and errors."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait_until_ended()

    def wait_until_ended(self):
        try:
            out, errors = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # has it write where its threads are
            out, errors = self.process.communicate()
            raise AssertionError(f'peer did not end; it said {out!r}\n{errors}') from None
        return self.process.returncode, out, errors

    def stop(self):
        """End it by SIGTERM; ROS 2's spin, once in some dozens, may sleep through that."""
        if self.process.poll() is None:
            try:
                self.end(signal.SIGTERM)
            except AssertionError:
                if not PEER_HAS_ROS:
                    raise


@pytest.fixture
def start_peer():
    """Return a function that starts a peer process."""
    started = []

    def start(role, *args):
        started.append(Peer(role, *args))
        return started[-1].wait_until_ready()

    yield start
    for peer in started:
        peer.stop()


@pytest.fixture(scope='session')
def server(domain):
    """Return the session's peer: node /peer/server with topics, services and parameters."""
    peer = Peer('server').wait_until_ready()
    yield peer
    peer.end()
