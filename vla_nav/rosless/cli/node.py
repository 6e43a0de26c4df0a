"""`node list | info`."""

from __future__ import annotations

from .discovery import absolute, add_wait, require_node, settle, user_nodes


def add_parser(groups) -> None:
    group = groups.add_parser('node', help='list nodes and what they have')
    verbs = group.add_subparsers(metavar='VERB', required=True)
    verb = verbs.add_parser('list', help='names of all nodes')
    verb.add_argument('-a', '--all', action='store_true', help='hidden ones, too')
    add_wait(verb)
    verb.set_defaults(run=run_list)
    verb = verbs.add_parser('info', help='publishers, subscriptions and services of a node')
    verb.add_argument('node')
    add_wait(verb)
    verb.set_defaults(run=run_info)


def run_list(node, args) -> None:
    settle(node, args.wait)
    names = sorted(node.get_fully_qualified_node_names()) if args.all else user_nodes(node)
    for name in names:
        print(name)


def run_info(node, args) -> None:
    name, namespace = require_node(node, args.node, args.wait)
    settle(node, args.wait)
    print(absolute(args.node))
    for title, getter in (
        ('Subscribers', node.get_subscriber_names_and_types_by_node),
        ('Publishers', node.get_publisher_names_and_types_by_node),
        ('Service Servers', node.get_service_names_and_types_by_node),
        ('Service Clients', node.get_client_names_and_types_by_node),
    ):
        print(f'  {title}:')
        for entity, types in getter(name, namespace):
            print(f'    {entity}: {", ".join(types)}')
        print()
