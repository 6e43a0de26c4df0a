"""vla_nav say, stop and resume: talk to a driving robot."""

from __future__ import annotations

import argparse
import sys

SAY_EXAMPLES = """examples:
  vla_nav say "go to the red cone"
  vla_nav say --namespace /robot1 "go to the blue box"
"""
STOP_EXAMPLES = """examples:
  vla_nav stop
  vla_nav stop --namespace /robot1
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verbs."""
    raw = argparse.RawDescriptionHelpFormatter
    say = subparsers.add_parser(
        'say', help='give the robot an instruction',
        description='Publishes an instruction, and says which nodes heard it and what they do '
        'about it. Exit code 1 if nobody did.', epilog=SAY_EXAMPLES, formatter_class=raw)
    say.add_argument('text', nargs='+', metavar='TEXT', help='a sentence')
    say.add_argument('--topic', default='instruction', help='where to (instruction)')
    say.add_argument('--wait', type=float, default=10.0, metavar='S',
                     help='how long to wait for somebody to listen, s (10)')
    say.set_defaults(func=run_say)
    for verb, what in (('stop', 'stop the robot'), ('resume', 'let a stopped robot drive on')):
        parser = subparsers.add_parser(
            verb, help=what, epilog=STOP_EXAMPLES.replace('stop', verb), formatter_class=raw,
            description=f'Calls the drive node to {what}.' + (
                ' If it does not answer, the emergency stop is published instead.'
                if verb == 'stop' else ''))
        parser.add_argument('--node', default='drive', help='name of the drive node (drive)')
        parser.add_argument('--wait', type=float, default=3.0, metavar='S',
                            help='how long to wait for an answer, s (3)')
        parser.set_defaults(func=run_stop if verb == 'stop' else run_resume)
    for parser in map(subparsers.choices.get, ('say', 'stop', 'resume')):
        parser.add_argument('--namespace', default='/', help='namespace of the robot (/)')


def run_say(args: argparse.Namespace) -> int:
    """Publish the sentence and report who heard it."""
    from vla_nav.control import check_instruction

    text = check_instruction(' '.join(args.text))
    from vla_nav.nodes.operator import Operator

    with Operator(args.namespace, args.ros_args) as operator:
        heard = operator.say(text, args.topic, args.wait)
        if not heard:
            print(f'error: nobody listens on {operator.topic(args.topic)} (waited '
                  f'{args.wait:g} s); is the drive node running {operator.reach}?',
                  file=sys.stderr)
            return 1
        print(f'{", ".join(heard)} heard: {text}')
        for node, state in operator.states(heard).items():
            print(f'{node} is {state}')
            if state.startswith(('STOPPED', 'FAULT')):
                print(f'  if it had this sentence before, `vla_nav resume --node {node}` lets it '
                      'drive on')
    return 0


def run_stop(args: argparse.Namespace) -> int:
    """Call ~/stop; if nobody answers, publish the emergency stop."""
    from vla_nav.nodes.operator import Operator

    with Operator(args.namespace, args.ros_args) as operator:
        answer = operator.call(f'{args.node}/stop', args.wait)
        node = operator.topic(args.node)
        if answer is not None:
            print(f'{node}: {answer.message}')
            return 0 if answer.success else 1
        topic = node.rpartition('/')[0] + '/emergency_stop'
        heard = operator.emergency_stop(topic, args.wait)
    print(f'error: {node}/stop did not answer within {args.wait:g} s; published the '
          f'emergency stop on {topic}, heard by {", ".join(heard) or "nobody"} '
          f'{operator.reach}', file=sys.stderr)
    return 1


def run_resume(args: argparse.Namespace) -> int:
    """Call ~/resume."""
    from vla_nav.nodes.operator import Operator

    with Operator(args.namespace, args.ros_args) as operator:
        answer = operator.call(f'{args.node}/resume', args.wait)
        node = operator.topic(args.node)
    if answer is None:
        print(f'error: {node}/resume did not answer within {args.wait:g} s; is the drive node '
              f'running {operator.reach}?', file=sys.stderr)
        return 1
    print(f'{node}: {answer.message}')
    return 0 if answer.success else 1
