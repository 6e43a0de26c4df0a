"""The other process of the contract tests: ordinary rclpy nodes, by role."""

import signal
import sys
import threading
import time

from vla_nav import rosless

rosless.ensure()

import rclpy  # noqa: E402
from rcl_interfaces.msg import (  # noqa: E402
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.executors import ExternalShutdownException  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

WIDTH, HEIGHT = 640, 480


class Server(Node):
    """Echoes a topic, latches another, shows a picture on demand, serves, has parameters."""

    def __init__(self):
        super().__init__('server', namespace='/peer')
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_publisher(String, 'state', latched).publish(String(data='latched'))
        self.echo = self.create_publisher(String, 'echo', 10)
        self.create_subscription(String, 'say', self.echo.publish, 10)
        self.images = self.create_publisher(Image, 'image', 10)
        self.create_subscription(String, 'photograph', self.show, 10)
        self.create_service(SetBool, 'flip', self.flip)
        self.declare_parameter('speed', 1.0, ParameterDescriptor(
            description='m/s',
            floating_point_range=[FloatingPointRange(from_value=0.0, to_value=2.0)]))
        self.declare_parameter('count', 2, ParameterDescriptor(
            integer_range=[IntegerRange(from_value=0, to_value=10, step=2)]))
        self.declare_parameter('serial', 'A1', ParameterDescriptor(read_only=True))
        self.declare_parameter('list.names', ['a', 'b'])
        self.add_on_set_parameters_callback(self.refuse)

    def show(self, message):
        row = bytes(range(256)) * (3 * WIDTH // 256) + bytes(3 * WIDTH % 256)
        self.images.publish(Image(
            width=WIDTH, height=HEIGHT, encoding='rgb8', step=3 * WIDTH, data=row * HEIGHT))

    def flip(self, request, response):
        response.success = not request.data
        response.message = f'was {request.data}'
        return response

    def refuse(self, parameters):
        for parameter in parameters:
            if parameter.name == 'speed' and parameter.value == 0.5:
                return SetParametersResult(successful=False, reason='0.5 is unlucky')
        return SetParametersResult(successful=True)


class Guest(Node):
    """Appears, prints what it is told by its command line, and spins."""

    def __init__(self):
        super().__init__('guest', allow_undeclared_parameters=True,
                         automatically_declare_parameters_from_overrides=True)
        self.create_publisher(String, 'guest_topic', 1)


class Deaf(Guest):
    """A guest whose SIGINT is taken by a thread that does not spin."""

    def take_signal(self):
        time.sleep(1.0)  # by then the main thread sleeps
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)


def main():
    rclpy.init()
    node = {'server': Server, 'guest': Guest, 'deaf': Deaf}[sys.argv[1]]()

    def report():
        node.destroy_timer(timer)
        print('ready', flush=True)
        if isinstance(node, Deaf):
            threading.Thread(target=node.take_signal, daemon=True).start()

    timer = node.create_timer(0.0, report)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException) as error:
        print(f'ended by {type(error).__name__}')
    end = time.monotonic() + 5.0
    while rclpy.ok() and time.monotonic() < end:
        time.sleep(0.01)  # ROS 2 ends the context in a thread of its own
    print(f'ok: {rclpy.ok()}')
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
