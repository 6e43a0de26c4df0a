"""DDS domains: one nobody else uses, for a run that concerns nobody else."""

from __future__ import annotations

import os
import socket

from vla_nav.contract import Contract
from vla_nav.errors import VlaNavError

LAST_DOMAIN = 101
"""Above it, ports reach into those that Linux hands out by chance (32768 and up)."""
_FIRST_PRIVATE = 50
_LOOK_S = 1.5
"""How long others have to show themselves."""


class DomainError(VlaNavError):
    """No DDS domain can be used."""


def domain_problem(domain: str) -> str | None:
    """Say what is wrong with a ROS_DOMAIN_ID; None if nothing is."""
    if not domain.isdecimal() or int(domain) > 232:
        return f'ROS_DOMAIN_ID is {domain!r}; expected a number from 0 to {LAST_DOMAIN}'
    return None


def private_domain() -> int:
    """A domain in which no participant of this machine is. Raises DomainError if there is none."""
    count = LAST_DOMAIN - _FIRST_PRIVATE + 1
    for offset in range(count):
        domain = _FIRST_PRIVATE + (os.getpid() + offset) % count
        if not any(_taken(_port(domain, index)) for index in range(4)):
            return domain
    raise DomainError(f'every DDS domain from {_FIRST_PRIVATE} to {LAST_DOMAIN} is in use on this '
                      'machine; end a program that uses one, or set ROS_DOMAIN_ID')


def use_private_domain(contract: Contract) -> str:
    """Make it that of this process and its nodes, unless ROS_DOMAIN_ID is set; returns which.

    Raises DomainError where nodes in that one use the topics of `contract`: a robot there would be
    told the sentences of this run, and drive.
    """
    domain = os.environ.get('ROS_DOMAIN_ID')
    if not domain:
        domain = os.environ['ROS_DOMAIN_ID'] = str(private_domain())
        return domain
    from vla_nav.nodes.operator import Operator

    with Operator() as operator:
        company = operator.company(
            (contract.instruction_topic, contract.command.topic, contract.camera.topic), _LOOK_S)
    if company:
        raise DomainError(f'ROS_DOMAIN_ID is {domain}, where {", ".join(company)} would drive by '
                          'what is said here, and be heard; unset ROS_DOMAIN_ID, then a domain is '
                          'found in which nobody is')
    return domain


def _port(domain: int, participant: int) -> int:
    """UDP port on which a participant hears of others (DDSI-RTPS 2.5, 9.6.2.3)."""
    return 7400 + 250 * domain + 10 + 2 * participant


def _taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return True
    return False
