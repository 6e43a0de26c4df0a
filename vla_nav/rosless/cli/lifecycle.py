"""`lifecycle nodes | get | set | list`."""

from __future__ import annotations

from . import CommandError
from .discovery import ANSWER_S, absolute, add_wait, call, settle

_SERVICE = '/get_available_transitions'


def add_parser(groups) -> None:
    group = groups.add_parser('lifecycle', help='see and change the states of managed nodes')
    verbs = group.add_subparsers(metavar='VERB', required=True)
    verb = verbs.add_parser('nodes', help='names of managed nodes')
    add_wait(verb)
    verb.set_defaults(run=run_nodes)
    verb = verbs.add_parser('get', help='the state of a node')
    verb.add_argument('node')
    add_wait(verb)
    verb.set_defaults(run=run_get)
    verb = verbs.add_parser('list', help='the transitions a node can make now')
    verb.add_argument('node')
    add_wait(verb)
    verb.set_defaults(run=run_list)
    verb = verbs.add_parser('set', help='have a node make a transition')
    verb.add_argument('node')
    verb.add_argument('transition', help='configure, activate, deactivate, cleanup or shutdown')
    add_wait(verb)
    verb.set_defaults(run=run_set)


def run_nodes(node, args) -> None:
    settle(node, args.wait)
    for name, _ in node.get_service_names_and_types():
        if name.endswith(_SERVICE):
            print(name.removesuffix(_SERVICE))


def _ask(node, args, kind: str, verb: str, patience_s: float | None = ANSWER_S, **request):
    import lifecycle_msgs.srv

    service = getattr(lifecycle_msgs.srv, kind)
    return call(
        node, service, f'{absolute(args.node)}/{verb}', service.Request(**request), args.wait,
        patience_s,
    )


def _transitions(node, args) -> list:
    answer = _ask(node, args, 'GetAvailableTransitions', 'get_available_transitions')
    return answer.available_transitions


def run_get(node, args) -> None:
    state = _ask(node, args, 'GetState', 'get_state').current_state
    print(f'{state.label} [{state.id}]')


def run_list(node, args) -> None:
    for found in _transitions(node, args):
        print(f'- {found.transition.label} [{found.transition.id}]')
        print(f'\tStart: {found.start_state.label}\n\tGoal: {found.goal_state.label}')


def run_set(node, args) -> int:
    known = {found.transition.label: found.transition for found in _transitions(node, args)}
    if args.transition not in known:
        raise CommandError(
            f"{absolute(args.node)} cannot '{args.transition}' now; it can:"
            f' {", ".join(known) or "nothing"}'
        )
    answer = _ask(  # A node may take its time to configure.
        node, args, 'ChangeState', 'change_state', None, transition=known[args.transition]
    )
    print('Transitioning successful' if answer.success else 'Transitioning failed')
    return 0 if answer.success else 1
