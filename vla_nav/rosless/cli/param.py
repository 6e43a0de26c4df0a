"""`param list | get | set | describe | dump | load`."""

from __future__ import annotations

import yaml

from . import CommandError
from .discovery import absolute, add_wait, call, require_node, settle, user_nodes

_TYPES = (
    'not set', 'boolean', 'integer', 'double', 'string', 'byte array', 'boolean array',
    'integer array', 'double array', 'string array',
)


def add_parser(groups) -> None:
    group = groups.add_parser('param', help='read and set parameters of nodes')
    verbs = group.add_subparsers(metavar='VERB', required=True)
    for name, run, text, arguments in (
        ('list', run_list, 'names of parameters', ('node?',)),
        ('get', run_get, 'the value of a parameter', ('node', 'name')),
        ('set', run_set, 'set a parameter', ('node', 'name', 'value')),
        ('describe', run_describe, 'type, range and description', ('node', 'name')),
        ('dump', run_dump, 'all parameters as a parameter file', ('node',)),
        ('load', run_load, 'set parameters from a parameter file', ('node', 'file')),
    ):
        verb = verbs.add_parser(name, help=text)
        for argument in arguments:
            optional = argument.endswith('?')
            verb.add_argument(argument.rstrip('?'), nargs='?' if optional else None)
        add_wait(verb)
        verb.set_defaults(run=run)


def _ask(node, args, kind: str, request: dict):
    """Call one of the six parameter services of `args.node`."""
    import rcl_interfaces.srv

    require_node(node, args.node, args.wait)
    service = getattr(rcl_interfaces.srv, kind)
    snake = ''.join(f'_{c.lower()}' if c.isupper() else c for c in kind).lstrip('_')
    return call(
        node, service, f'{absolute(args.node)}/{snake}', service.Request(**request), args.wait
    )


def _names(node, args) -> list[str]:
    return sorted(_ask(node, args, 'ListParameters', {}).result.names)


def _values(node, args, names: list[str]) -> list:
    values = _ask(node, args, 'GetParameters', {'names': names}).values
    if len(values) != len(names):
        raise CommandError(
            f'{absolute(args.node)} has no parameter {", ".join(names)}; it has:'
            f' {", ".join(_names(node, args))}'
        )
    return values


def run_list(node, args) -> None:
    settle(node, args.wait)
    names = [absolute(args.node)] if args.node else user_nodes(node)
    for name in names:
        if len(names) > 1 or not args.node:
            print(f'{name}:')
        args.node = name
        for parameter in _names(node, args):
            print(f'  {parameter}')


def run_get(node, args) -> None:
    from rclpy.parameter import parameter_value_to_python

    message = _values(node, args, [args.name])[0]
    value = parameter_value_to_python(message)
    if message.type == 0:
        print('Parameter not set.')
    elif message.type < 5:
        print(f'{_TYPES[message.type].capitalize()} value is: {value}')
    else:
        print(f'{_TYPES[message.type].replace(" array", "").capitalize()} values are: {value}')


def run_set(node, args) -> int:
    from rcl_interfaces.msg import Parameter
    from rclpy.parameter import get_parameter_value

    value = get_parameter_value(args.value)
    return _set(node, args, [Parameter(name=args.name, value=value)])


def _set(node, args, parameters: list) -> int:
    response = _ask(node, args, 'SetParameters', {'parameters': parameters})
    failed = 0
    for parameter, result in zip(parameters, response.results):
        which = f' {parameter.name}' if len(parameters) > 1 else ''
        if result.successful:
            reason = f': {result.reason}' if result.reason else ''
            print(f'Set parameter{which} successful{reason}')
        else:
            print(f'Setting parameter{which} failed: {result.reason}')
            failed = 1
    return failed


def run_describe(node, args) -> None:
    answer = _ask(node, args, 'DescribeParameters', {'names': [args.name]})
    if not answer.descriptors:
        _values(node, args, [args.name])
        return
    found = answer.descriptors[0]
    print(f'Parameter name: {found.name}\n  Type: {_TYPES[found.type]}')
    if found.description:
        print(f'  Description: {found.description}')
    limits = list(found.integer_range) + list(found.floating_point_range)
    if limits or found.read_only or found.additional_constraints:
        print('  Constraints:')
    if found.read_only:
        print('    Read only: true')
    for limit in limits:
        print(f'    Min value: {limit.from_value}\n    Max value: {limit.to_value}')
        if limit.step:
            print(f'    Step: {limit.step}')
    if found.additional_constraints:
        print(f'    Additional constraints: {found.additional_constraints}')


def run_dump(node, args) -> None:
    from rclpy.parameter import parameter_value_to_python

    names = _names(node, args)
    tree: dict = {}
    for name, value in zip(names, _values(node, args, names)):
        *path, last = name.split('.')
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[last] = parameter_value_to_python(value)
    print(yaml.safe_dump({absolute(args.node): {'ros__parameters': tree}}), end='')


def run_load(node, args) -> int:
    from rclpy.parameter import parameter_dict_from_yaml_file

    try:
        parameters = parameter_dict_from_yaml_file(args.file, use_wildcard=True)
    except (OSError, RuntimeError) as error:
        raise CommandError(str(error)) from None
    return _set(node, args, list(parameters.values()))
