"""Services, and what they share with clients."""

from __future__ import annotations

import inspect
import secrets
import time

from cyclonedds.core import DDSException

from . import wire
from .entity import Endpoints
from .exceptions import RCLError
from .messages import Message, deserialize, serialize

_HEADER = slice(4, 4 + wire.SERVICE_HEADER_BYTES)
CLIENT_MATCH_S = 1.0


def pack(message: Message, header: bytes) -> bytes:
    """A request or reply: CDR header, 16 bytes of (guid, sequence number), message."""
    data = serialize(message)
    return b''.join((data[:4], header, data[4:]))


def unpack(payload: bytes, ros_type: str) -> tuple[Message, bytes]:
    """The message and the 16 bytes of a request or reply."""
    header = payload[_HEADER]
    return deserialize(payload[:4] + payload[_HEADER.stop :], ros_type), header


def new_id() -> str:
    """What tells the two endpoints of one client or service to belong together."""
    return '.'.join(f'{byte:02x}' for byte in secrets.token_bytes(16))


class Service(Endpoints):
    """Made by `Node.create_service`; `callback(request, response)` returns the response."""

    def __init__(self, node, srv_type, srv_name, callback, callback_group, qos_profile) -> None:
        super().__init__(node, callback, callback_group, qos_profile)
        self.srv_type = srv_type
        self.srv_name = srv_name
        self._known_clients: set[int] = set()
        owner = f'serviceid={new_id()};'
        self._writer = self._open_writer(
            f'rr{srv_name}Reply', srv_type.Response.__ros_name__, owner
        )
        self._open_reader(f'rq{srv_name}Request', srv_type.Request.__ros_name__, owner)
        self._participant.announce()

    @property
    def service_name(self) -> str:
        return self.srv_name

    def _execute(self, sample, executor) -> object:
        request, header = unpack(sample.payload, self.srv_type.Request.__ros_name__)
        client = (header, sample.sample_info.publication_handle)
        response = self.callback(request, self.srv_type.Response())
        if inspect.isawaitable(response):
            return self._answer_later(response, client)
        self.send_response(response, client)
        return None

    async def _answer_later(self, awaitable, client) -> None:
        self.send_response(await awaitable, client)

    def send_response(self, response, header) -> None:
        """Answer a request; `header` is what came with it."""
        if not isinstance(response, self.srv_type.Response):
            raise TypeError(
                f'the callback of service {self.srv_name} returned'
                f' {type(response).__name__}, expected {self.srv_type.Response.__name__}'
            )
        self._check()
        request_id, publication_handle = header
        if not self._wait_for_client(publication_handle):
            return
        try:
            wire.write(self._writer, pack(response, request_id))
        except DDSException as error:
            raise RCLError(f'service {self.srv_name} cannot answer: {error}') from None

    def _wait_for_client(self, publication_handle: int) -> bool:
        """Whether the client's reply reader is matched; an answer before that would be lost."""
        if publication_handle in self._known_clients:
            return True
        end = time.monotonic() + CLIENT_MATCH_S
        while time.monotonic() < end:
            with wire.qos_lock:
                asker = self._reader.get_matched_publication_data(publication_handle)
                if asker is None:
                    return False
                readers = [
                    self._writer.get_matched_subscription_data(handle)
                    for handle in self._writer.get_matched_subscriptions()
                ]
            wanted = _client_key(asker)
            if any(reader is not None and _client_key(reader) == wanted for reader in readers):
                self._known_clients.add(publication_handle)
                return True
            time.sleep(0.005)
        return True


def _client_key(endpoint) -> object:
    values = wire.user_data_values(endpoint.qos)
    return values.get('clientid', endpoint.participant_key)
