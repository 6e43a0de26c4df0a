"""Where DDS listens: from the variables that ROS 2 users set, localhost alone by default."""

from __future__ import annotations

import os
import socket
import sys
import xml.etree.ElementTree as xml
from pathlib import Path
from urllib.parse import unquote, urlparse
from xml.sax.saxutils import quoteattr

from .exceptions import RoslessError

MAX_DOMAIN_ID = 232
MAX_PARTICIPANTS = 100
_LOOPBACK = '<NetworkInterface address="127.0.0.1" multicast="false"/>'
_SIOCGIFFLAGS, _SIOCGIFADDR = 0x8913, 0x8915
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
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


def participant_ports(domain_id: int) -> range:
    """The UDP ports that processes of a domain share on one machine: two for each."""
    first = 7410 + 250 * domain_id
    return range(first, min(first + 2 * MAX_PARTICIPANTS, 65536))


def cyclonedds_config(domain_id: int) -> str:
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
    last_index = len(participant_ports(domain_id)) // 2 - 1
    discovery = (
        '<ParticipantIndex>auto</ParticipantIndex>'
        f'<MaxAutoParticipantIndex>{last_index}</MaxAutoParticipantIndex>{discovery}'
    )
    own = (
        f'<CycloneDDS><Domain><General>{general}</General><Discovery>{discovery}</Discovery>'
        f'<Internal>{internal}</Internal></Domain></CycloneDDS>'
    )
    return f'{own},{uri}' if uri else own


def _scope() -> tuple[str, str]:
    """What goes into `<General>` and `<Discovery>`."""
    scope, peers = discovery_range(), static_peers()
    if scope == 'SYSTEM_DEFAULT':
        return '', ''
    no_multicast = '<AllowMulticast>false</AllowMulticast>'
    if scope == 'OFF':
        return no_multicast, f'<Tag>ros_discovery_off_{os.getpid()}</Tag>'
    # Those on this machine that keep to localhost hear no multicast and use the loopback.
    interfaces = _LOOPBACK
    if (scope == 'SUBNET' or peers) and _is_networked():
        interfaces = f'<NetworkInterface autodetermine="true"/>{_LOOPBACK}'
    general = f'<Interfaces>{interfaces}</Interfaces>'
    if scope == 'LOCALHOST':
        general += no_multicast
    addresses = ''.join(f'<Peer address={quoteattr(a)}/>' for a in ('127.0.0.1', *peers))
    return general, f'<Peers>{addresses}</Peers>'


def interface_names() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _is_networked() -> bool:
    """Whether an interface other than the loopback is up and has an IPv4 address."""
    if not sys.platform.startswith('linux'):
        return True
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for name in interface_names():
            request = name.encode()[:15].ljust(40, b'\0')
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFFLAGS, request)
                flags = int.from_bytes(answer[16:18], sys.byteorder)
                fcntl.ioctl(probe, _SIOCGIFADDR, request)
            except OSError:
                continue
            if flags & _IFF_UP and not flags & _IFF_LOOPBACK:
                return True
    return False


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
    ports = participant_ports(domain_id)
    if not any(_is_free(port) for port in ports):
        return RoslessError(
            f'cannot join DDS domain {domain_id}: all of its participant ports on this machine'
            f' (UDP {ports[0]} to {ports[-1]}) are taken; stop some nodes or set another'
            ' ROS_DOMAIN_ID'
        )
    return RoslessError(
        f'cannot join DDS domain {domain_id} ({error}). Interfaces of this machine:'
        f' {", ".join(interface_names())}; is the one that CYCLONEDDS_URI or'
        ' ROS_AUTOMATIC_DISCOVERY_RANGE asks for up?'
    )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return False
        return True
