"""What the commands share: waiting for the graph, names, calls, values from YAML."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable

import yaml

from . import CommandError

SETTLE_S = 0.4
DEFAULT_WAIT_S = 2.0
ANSWER_S = 10.0


def add_wait(parser) -> None:
    """Add `--wait`, how long to look around."""
    parser.add_argument(
        '--wait', type=float, default=DEFAULT_WAIT_S, metavar='S',
        help='look at the graph for at most S seconds (default: %(default)s)',
    )


def settle(node, wait_s: float) -> None:
    """Wait until nothing new has appeared in the graph for a moment."""
    end = time.monotonic() + wait_s
    seen, since = None, time.monotonic()
    while time.monotonic() < end:
        now = (
            sorted(node.get_node_names_and_namespaces()),
            node.get_topic_names_and_types(), node.get_service_names_and_types(),
        )
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > SETTLE_S:
            return
        time.sleep(0.02)


def wait_until(condition: Callable[[], object], wait_s: float) -> object:
    """The first true value of a condition, or its last value at the timeout."""
    end = time.monotonic() + wait_s
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return value


def absolute(name: str) -> str:
    return name if name.startswith('/') else f'/{name}'


def split_node_name(name: str) -> tuple[str, str]:
    """(node, namespace) of a fully qualified node name."""
    namespace, _, short = absolute(name).rpartition('/')
    return short, namespace or '/'


def not_found(what: str, name: str, known: list[str]) -> CommandError:
    """An error that names near matches."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = f'did you mean {" or ".join(near)}?' if near else (
        f'there are: {", ".join(known)}.' if known else 'there are none.'
    )
    return CommandError(
        f"no {what} '{name}'; {hint} Nodes elsewhere are seen with the same ROS_DOMAIN_ID and"
        ' ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET only'
    )


def require_node(node, name: str, wait_s: float) -> tuple[str, str]:
    """Wait for a node; (name, namespace)."""
    wanted = split_node_name(name)

    def known():
        return wanted in node.get_node_names_and_namespaces()

    if not wait_until(known, wait_s):
        raise not_found('node', absolute(name), user_nodes(node))
    return wanted


def user_nodes(node) -> list[str]:
    """Fully qualified names of all nodes but hidden ones, sorted."""
    return sorted(
        name for name in node.get_fully_qualified_node_names()
        if not name.rpartition('/')[2].startswith('_')
    )


def call(node, kind: type, name: str, request, wait_s: float, patience_s: float | None = ANSWER_S):
    """Wait for a service, call it and return the response; `patience_s` None waits for ever."""
    import rclpy

    client = node.create_client(kind, name)
    if not client.wait_for_service(timeout_sec=wait_s):
        served = [s for s, _ in node.get_service_names_and_types() if node.count_services(s)]
        raise not_found('service', name, served)
    future = client.call_async(request)
    if patience_s is not None:
        patience_s = max(wait_s, patience_s)
    rclpy.spin_until_future_complete(node, future, timeout_sec=patience_s)
    if not future.done():
        raise CommandError(f'no response from {name}: is its node being spun?')
    node.destroy_client(client)
    return future.result()


def from_yaml(text: str, what: str) -> dict:
    """Names and values from YAML, for a message."""
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise CommandError(f'{what}: not YAML: {error}') from None
    if not isinstance(values, dict):
        raise CommandError(f'{what}: expected "field: value, ...", found {values!r}')
    return values


def fill(message, text: str, what: str):
    """Fill a message from YAML text."""
    from rosidl_runtime_py.set_message import set_message_fields

    try:
        set_message_fields(message, from_yaml(text, what))
    except (AttributeError, AssertionError, TypeError, ValueError) as error:
        raise CommandError(f'{what}: {error}') from None
    return message
