"""A drive node that is asked for a model in the very moment in which another one is through.

Words: the models to begin with, to swap to, and to ask for in that moment; the moment: `ready`, as
the second is about to be accepted, or `refused`, as the parameter is about to go back; then those
of ROS. Prints what the parameter says and what drives when all is over.
"""

import json
import sys
import threading
import time

from vla_nav import rosless

rosless.ensure()

import rclpy  # noqa: E402
from rclpy.executors import MultiThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from vla_nav.nodes.drive import DriveNode  # noqa: E402
from vla_nav.nodes.runner import start_ros  # noqa: E402

PATIENCE_S = 60.0


class Moment:
    """Holds one thread at one place until it is told to go on."""

    def __init__(self) -> None:
        self._there, self._go = threading.Event(), threading.Event()

    def hold(self) -> None:
        self._there.set()
        self._go.wait(PATIENCE_S)

    def use(self, act) -> None:
        assert self._there.wait(PATIENCE_S), 'the moment never came'
        act()
        self._go.set()


def wait(condition) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, 'waited in vain'
        time.sleep(0.01)


def main() -> None:
    first, second, third, when = sys.argv[1:5]
    start_ros(sys.argv[5:])
    node = DriveNode()
    executor = MultiThreadedExecutor(4)
    executor.add_node(node)
    threading.Thread(target=executor.spin, daemon=True).start()
    wait(lambda: node.models.name == first)
    moment, loader, tell = Moment(), node.models.loader, node.set_parameters

    def ask(model: str) -> None:
        assert tell([Parameter('model', value=model)])[0].successful

    if when == 'ready':
        on_ready = loader._on_ready

        def ready(name, policy, accept):
            if name == second:
                moment.hold()
            on_ready(name, policy, accept)

        loader._on_ready = ready
    else:
        def held(parameters):
            moment.hold()
            return tell(parameters)

        node.set_parameters = held
    ask(second)
    moment.use(lambda: ask(third))
    wait(lambda: loader.loading is None and loader._thread is None)
    print(json.dumps([node.get_parameter('model').value, node.worker.policy.name]))
    node.close()
    executor.shutdown()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
