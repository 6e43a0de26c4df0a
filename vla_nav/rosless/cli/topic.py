"""`topic list | info | type | echo | hz | pub`."""

from __future__ import annotations

import math
import sys
import time

from . import CommandError
from .discovery import absolute, add_wait, fill, not_found, settle, wait_until


def add_parser(groups) -> None:
    group = groups.add_parser('topic', help='list, echo, measure and publish topics')
    verbs = group.add_subparsers(metavar='VERB', required=True)
    verb = verbs.add_parser('list', help='names of all topics')
    verb.add_argument('-t', '--show-types', action='store_true', help='with their types')
    add_wait(verb)
    verb.set_defaults(run=run_list)
    verb = verbs.add_parser('info', help='type and number of publishers and subscriptions')
    verb.add_argument('topic')
    verb.add_argument('-v', '--verbose', action='store_true', help='with nodes and QoS')
    add_wait(verb)
    verb.set_defaults(run=run_info)
    verb = verbs.add_parser('type', help='the type of a topic')
    verb.add_argument('topic')
    add_wait(verb)
    verb.set_defaults(run=run_type)
    _add_echo(verbs)
    verb = verbs.add_parser('hz', help='how often messages arrive')
    verb.add_argument('topic')
    verb.add_argument('--window', type=int, default=10000, help='messages to average over')
    verb.add_argument('--count', type=int, metavar='N', help='end after N reports')
    add_wait(verb)
    verb.set_defaults(run=run_hz)
    _add_pub(verbs)


def _add_echo(verbs) -> None:
    verb = verbs.add_parser('echo', help='print messages')
    verb.add_argument('topic')
    verb.add_argument('type', nargs='?', help='its type, to wait for a first publisher')
    verb.add_argument('--once', action='store_true', help='end after one message')
    verb.add_argument('--field', help='this field only, such as twist.linear')
    verb.add_argument('--full-length', '-f', action='store_true', help='all items of arrays')
    verb.add_argument('--no-arr', action='store_true', help='no items of arrays')
    verb.add_argument('--timeout', type=float, metavar='S', help='give up after S seconds')
    add_wait(verb)
    verb.set_defaults(run=run_echo)


def _add_pub(verbs) -> None:
    verb = verbs.add_parser('pub', help='publish a message')
    verb.add_argument('topic')
    verb.add_argument('type', help='such as std_msgs/msg/String')
    verb.add_argument('values', nargs='?', default='', help='YAML: "data: hello"')
    count = verb.add_mutually_exclusive_group()
    count.add_argument('-1', '--once', action='store_true', help='publish once')
    count.add_argument('-t', '--times', type=int, metavar='N', help='publish N times')
    verb.add_argument('-r', '--rate', type=float, default=1.0, help='Hz (default: 1)')
    verb.add_argument(
        '-w', '--wait-matching-subscriptions', type=int, metavar='N',
        help='wait for N subscriptions first (default: 1 with --once or --times, else 0)',
    )
    verb.add_argument(
        '--keep-alive', type=float, default=0.2, metavar='S',
        help='stay S seconds after the last message',
    )
    verb.add_argument(
        '--qos-durability', choices=('volatile', 'transient_local'), default='transient_local',
        help='transient_local (the default) reaches both kinds of subscription',
    )
    verb.set_defaults(run=run_pub)


def run_list(node, args) -> None:
    settle(node, args.wait)
    own = {'/parameter_events'} if node.count_publishers('/parameter_events') == 1 else set()
    for name, types in sorted(node.get_topic_names_and_types()):
        if name in own and not node.count_subscribers(name):
            continue  # it is this command's own
        print(f'{name} [{", ".join(types)}]' if args.show_types else name)


def _types(node, topic: str, wait_s: float) -> list[str]:
    topic = absolute(topic)
    types = wait_until(lambda: dict(node.get_topic_names_and_types()).get(topic), wait_s)
    if not types:
        known = [name for name, _ in node.get_topic_names_and_types()]
        raise not_found('topic', topic, known)
    return types


def run_type(node, args) -> None:
    for name in _types(node, args.topic, args.wait):
        print(name)


def run_info(node, args) -> None:
    topic = absolute(args.topic)
    types = _types(node, topic, args.wait)
    settle(node, args.wait)
    publishers = node.get_publishers_info_by_topic(topic)
    subscriptions = node.get_subscriptions_info_by_topic(topic)
    gap = '\n' if args.verbose else ''
    print(f'Type: {", ".join(types)}{gap}')
    for title, infos in (('Publisher', publishers), ('Subscription', subscriptions)):
        print(f'{title} count: {len(infos)}{gap}')
        if args.verbose:
            for info in infos:
                print(f'{info}\n')


def _subscribe(node, args, callback, *, raw: bool = False):
    """Subscribe as the publishers offer it; waits for one if no type is given."""
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
    from rosidl_runtime_py.utilities import get_message

    topic = absolute(args.topic)
    name = getattr(args, 'type', None)
    if name is None:
        names = _types(node, topic, args.wait)
        if len(names) > 1:
            raise CommandError(f'{topic} has several types, name one: {", ".join(names)}')
        name = names[0]
    wait_until(lambda: node.get_publishers_info_by_topic(topic), 0.5 if args.wait else 0)
    offers = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    best_effort = any(o.reliability == ReliabilityPolicy.BEST_EFFORT for o in offers)
    latched = offers and all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers)
    profile = QoSProfile(
        depth=100,
        reliability=(
            ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        ),
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        ),
    )
    try:
        kind = get_message(name)
    except (ImportError, ValueError, AttributeError) as error:
        raise CommandError(str(error)) from None
    return node.create_subscription(kind, topic, callback, profile, raw=raw)


def run_echo(node, args) -> int:
    import rclpy
    from rosidl_runtime_py.convert import message_to_yaml

    printed = []
    limits = {'truncate_length': None if args.full_length else 128, 'no_arr': args.no_arr}

    def show(message) -> None:
        value = message
        for name in args.field.split('.') if args.field else ():
            if not hasattr(value, name):
                raise CommandError(f"{args.topic} has no field '{args.field}'")
            value = getattr(value, name)
        is_message = hasattr(value, 'get_fields_and_field_types')
        text = message_to_yaml(value, **limits) if is_message else f'{value}\n'
        print(f'{text}---', flush=True)
        printed.append(1)

    _subscribe(node, args, show)
    end = None if args.timeout is None else time.monotonic() + args.timeout
    while not (args.once and printed):
        rclpy.spin_once(node, timeout_sec=0.2)
        if end is not None and time.monotonic() >= end:
            if not printed:
                print(f'no message on {args.topic} in {args.timeout} s', file=sys.stderr)
            return 0 if printed else 1
    return 0


def run_hz(node, args) -> None:
    import rclpy

    stamps: list[float] = []
    _subscribe(node, args, lambda _: stamps.append(time.monotonic()), raw=True)
    reports, known = 0, 0
    next_report = time.monotonic() + 1.0
    while args.count is None or reports < args.count:
        rclpy.spin_once(node, timeout_sec=max(next_report - time.monotonic(), 0.0))
        if time.monotonic() < next_report:
            continue
        next_report += 1.0
        del stamps[: -args.window - 1]
        if len(stamps) < 2 or (stamps and known == stamps[-1]):
            print('no new messages', flush=True)
            reports += 1
            continue
        known = stamps[-1]
        print(_rate(stamps), flush=True)
        reports += 1


def _rate(stamps: list[float]) -> str:
    gaps = [after - before for before, after in zip(stamps, stamps[1:])]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    return (
        f'average rate: {1 / mean:.3f}\n\tmin: {min(gaps):.3f}s max: {max(gaps):.3f}s'
        f' std dev: {deviation:.5f}s window: {len(stamps)}'
    )


def run_pub(node, args) -> None:
    import rclpy
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from rosidl_runtime_py.utilities import get_message

    try:
        kind = get_message(args.type)
    except (ImportError, ValueError, AttributeError) as error:
        raise CommandError(str(error)) from None
    message = fill(kind(), args.values, args.type)
    times = 1 if args.once else args.times
    durability = DurabilityPolicy[args.qos_durability.upper()]
    publisher = node.create_publisher(
        kind, absolute(args.topic), QoSProfile(depth=10, durability=durability)
    )
    wanted = args.wait_matching_subscriptions
    wanted = (1 if times else 0) if wanted is None else wanted
    if publisher.get_subscription_count() < wanted:
        print(f'waiting for at least {wanted} matching subscription(s)...', flush=True)
        while rclpy.ok() and publisher.get_subscription_count() < wanted:
            time.sleep(0.02)
    sent = 0
    while rclpy.ok() and (times is None or sent < times):
        sent += 1
        print(f'publishing #{sent}: {message!r}\n', flush=True)
        publisher.publish(message)
        if times is None or sent < times:
            time.sleep(1.0 / args.rate)
    time.sleep(args.keep_alive)
