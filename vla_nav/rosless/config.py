"""Where DDS listens: from the variables that ROS 2 users set, localhost alone by default."""

from __future__ import annotations

import os
import socket
import xml.etree.ElementTree as xml
from pathlib import Path
from urllib.parse import unquote, urlparse

from .exceptions import RoslessError

MAX_DOMAIN_ID = 232
MAX_PARTICIPANT_INDEX = 99
_RANGES = ('LOCALHOST', 'SUBNET', 'OFF', 'SYSTEM_DEFAULT')


def domain_id_from(requested: int | None) -> int:
    """The domain to join: the argument, else `ROS_DOMAIN_ID`, else 0.

    Raises:
        RoslessError: not a number from 0 to 232.
    """
    where, value = 'domain_id', requested
    if requested is None:
        where, value = 'ROS_DOMAIN_ID', os.environ.get('ROS_DOMAIN_ID') or '0'
    try:
        domain_id = int(value)
    except ValueError:
        domain_id = -1
    if not 0 <= domain_id <= MAX_DOMAIN_ID:
        raise RoslessError(
            f'{where} is {value!r}; a DDS domain is a number from 0 to {MAX_DOMAIN_ID}'
            ' (0 to 101 is safe on every system)'
        )
    return domain_id


def discovery_range() -> str:
    """LOCALHOST, SUBNET, OFF or SYSTEM_DEFAULT.

    From `ROS_AUTOMATIC_DISCOVERY_RANGE`, or the older `ROS_LOCALHOST_ONLY`, else LOCALHOST.
    """
    if os.environ.get('ROS_LOCALHOST_ONLY') == '1':
        return 'LOCALHOST'
    value = os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '')
    if value:
        if value.upper() not in _RANGES:
            raise RoslessError(
                f'ROS_AUTOMATIC_DISCOVERY_RANGE is {value!r}; use one of {", ".join(_RANGES)}'
            )
        return value.upper()
    return 'SUBNET' if os.environ.get('ROS_LOCALHOST_ONLY') == '0' else 'LOCALHOST'


def static_peers() -> list[str]:
    """Addresses in `ROS_STATIC_PEERS`, separated by semicolons."""
    return [p.strip() for p in os.environ.get('ROS_STATIC_PEERS', '').split(';') if p.strip()]


def cyclonedds_config() -> str:
    """Cyclone DDS configuration, fragments separated by commas; the user's own comes last.

    Raises:
        RoslessError: CYCLONEDDS_URI cannot be read or names an interface that does not exist.
    """
    uri = os.environ.get('CYCLONEDDS_URI', '').strip()
    general, discovery = '', ''
    # Images keep ten samples in flight; writers must not block on the default of 500 kB.
    internal = '<Watermarks><WhcHigh>32MB</WhcHigh></Watermarks>'
    if uri:
        _check_uri(uri)
    else:
        general, discovery = _scope()
    own = (
        f'<CycloneDDS><Domain>{general}<Discovery><ParticipantIndex>auto</ParticipantIndex>'
        f'<MaxAutoParticipantIndex>{MAX_PARTICIPANT_INDEX}</MaxAutoParticipantIndex>'
        f'{discovery}</Discovery><Internal>{internal}</Internal></Domain></CycloneDDS>'
    )
    return f'{own},{uri}' if uri else own


def _scope() -> tuple[str, str]:
    scope, peers = discovery_range(), static_peers()
    if scope in ('SUBNET', 'SYSTEM_DEFAULT'):
        return '', _peers(peers if scope == 'SUBNET' else [])
    if scope == 'OFF':
        return '<General><AllowMulticast>false</AllowMulticast></General>', (
            f'<Tag>ros_discovery_off_{os.getpid()}</Tag>'
        )
    interface = '' if peers else '<Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces>'
    general = f'<General>{interface}<AllowMulticast>false</AllowMulticast></General>'
    return general, _peers(['127.0.0.1', *peers])


def _peers(addresses: list[str]) -> str:
    if not addresses:
        return ''
    return '<Peers>' + ''.join(f'<Peer address="{a}"/>' for a in addresses) + '</Peers>'


def interface_names() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _check_uri(uri: str) -> None:
    for text in _xml_fragments(uri):
        try:
            root = xml.fromstring(text)
        except xml.ParseError as error:
            raise RoslessError(f'CYCLONEDDS_URI is not valid XML ({error}): {text[:80]}') from None
        named = [e.get('name') for e in root.iter() if _tag(e) == 'NetworkInterface']
        named += [e.text for e in root.iter() if _tag(e) == 'NetworkInterfaceAddress']
        for name in filter(None, named):
            looks_like_name = not set(name) <= set('0123456789abcdef.:')
            if name != 'auto' and looks_like_name and name not in interface_names():
                raise RoslessError(
                    f"CYCLONEDDS_URI names interface '{name}', which does not exist;"
                    f' there are: {", ".join(interface_names())}'
                )


def _xml_fragments(uri: str) -> list[str]:
    if uri.startswith('<'):
        return [uri]
    fragments = []
    for part in uri.split(','):
        part = part.strip()
        if not part:
            continue
        path = unquote(urlparse(part).path) if part.startswith('file:') else part
        try:
            fragments.append(Path(path).read_text(encoding='utf-8'))
        except OSError as error:
            raise RoslessError(f'CYCLONEDDS_URI names {path}: {error.strerror}') from None
    return fragments


def _tag(element: xml.Element) -> str:
    return element.tag.rpartition('}')[2]


def participant_failure(domain_id: int, error: Exception) -> RoslessError:
    """Why joining a domain failed, as far as can be told from here."""
    first = 7400 + 250 * domain_id
    return RoslessError(
        f'cannot join DDS domain {domain_id}: {error}. Either all participant ports'
        f' ({first + 10} to {first + 11 + 2 * MAX_PARTICIPANT_INDEX}) are taken: stop some nodes'
        ' or set another ROS_DOMAIN_ID; or the network interface cannot be used: there are'
        f' {", ".join(interface_names())}; set CYCLONEDDS_URI or ROS_AUTOMATIC_DISCOVERY_RANGE'
    )
