"""`service list | type | call`."""

from __future__ import annotations

from . import CommandError
from .discovery import absolute, add_wait, call, fill, not_found, settle, wait_until


def add_parser(groups) -> None:
    group = groups.add_parser('service', help='list and call services')
    verbs = group.add_subparsers(metavar='VERB', required=True)
    verb = verbs.add_parser('list', help='names of all services')
    verb.add_argument('-t', '--show-types', action='store_true', help='with their types')
    add_wait(verb)
    verb.set_defaults(run=run_list)
    verb = verbs.add_parser('type', help='the type of a service')
    verb.add_argument('service')
    add_wait(verb)
    verb.set_defaults(run=run_type)
    verb = verbs.add_parser('call', help='call a service')
    verb.add_argument('service')
    verb.add_argument('type', nargs='?', help='such as std_srvs/srv/Trigger')
    verb.add_argument('values', nargs='?', default='', help='YAML: "data: true"')
    add_wait(verb)
    verb.set_defaults(run=run_call)


def run_list(node, args) -> None:
    settle(node, args.wait)
    for name, types in sorted(node.get_service_names_and_types()):
        print(f'{name} [{", ".join(types)}]' if args.show_types else name)


def _type(node, service: str, wait_s: float) -> str:
    found = wait_until(lambda: dict(node.get_service_names_and_types()).get(service), wait_s)
    if not found:
        known = [name for name, _ in node.get_service_names_and_types()]
        raise not_found('service', service, known)
    return found[0]


def run_type(node, args) -> None:
    print(_type(node, absolute(args.service), args.wait))


def run_call(node, args) -> None:
    from rosidl_runtime_py.utilities import get_service

    service = absolute(args.service)
    try:
        kind = get_service(args.type or _type(node, service, args.wait))
    except (ImportError, ValueError, AttributeError) as error:
        raise CommandError(str(error)) from None
    request = fill(kind.Request(), args.values, args.service)
    print(f'requester: making request: {request!r}\n')
    response = call(node, kind, service, request, args.wait)
    print(f'response:\n{response!r}\n')
