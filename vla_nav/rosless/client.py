"""Service clients."""

from __future__ import annotations

import secrets
import struct
import time

from cyclonedds.core import DDSException

from . import wire
from .entity import Endpoints
from .exceptions import RCLError
from .service import new_id, pack, unpack
from .task import Future

_POLL_S = 0.05


class Client(Endpoints):
    """Made by `Node.create_client`."""

    def __init__(self, node, srv_type, srv_name, qos_profile, callback_group) -> None:
        super().__init__(node, None, callback_group, qos_profile)
        self.srv_type = srv_type
        self.srv_name = srv_name
        self._guid = secrets.token_bytes(8)
        self._sequence = 0
        self._pending: dict[int, Future] = {}
        owner = f'clientid={new_id()};'
        self._open_reader(f'rr{srv_name}Reply', srv_type.Response.__ros_name__, owner)
        self._writer = self._open_writer(
            f'rq{srv_name}Request', srv_type.Request.__ros_name__, owner
        )
        self._participant.announce()

    @property
    def service_name(self) -> str:
        return self.srv_name

    def call_async(self, request) -> Future:
        """Send a request; the Future gets the response while the node is spun."""
        self._check()
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(
                f'Expected {self.srv_type.Request}, got {type(request)}: {self.srv_name} takes'
                f' {self.srv_type.Request.__ros_name__}'
            )
        if not self._node.context.ok():
            raise RCLError("Failed to send request: client's context is invalid")
        future = Future()
        with self._participant._lock:
            self._sequence += 1
            sequence = self._sequence
            self._pending[sequence] = future
        future.add_done_callback(lambda _: self._pending.pop(sequence, None))
        try:
            wire.write(self._writer, pack(request, self._guid + struct.pack('<q', sequence)))
        except DDSException as error:
            raise RCLError(f'cannot send a request to {self.srv_name}: {error}') from None
        return future

    def call(self, request, timeout_sec: float | None = None):
        """Send a request and wait; another thread must spin the node. None on shutdown.

        Raises:
            TimeoutError: no response within the timeout.
        """
        future = self.call_async(request)
        end = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while not future.done():
            left = 0.5 if end is None else min(0.5, end - time.monotonic())
            if left <= 0:
                self.remove_pending_request(future)
                raise TimeoutError(f'no response from {self.srv_name} in {timeout_sec} s')
            future._wait(left)
            if not self._node.context.ok():
                return None
        return future.result()

    def remove_pending_request(self, future: Future) -> None:
        """Forget a request; its Future will not be done."""
        for sequence, pending in list(self._pending.items()):
            if pending is future:
                self._pending.pop(sequence, None)

    def service_is_ready(self) -> bool:
        """Whether a server is there and connected both ways."""
        self._check()
        return (
            self._writer.get_publication_matched_status().current_count > 0
            and self._reader.get_subscription_matched_status().current_count > 0
        )

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        """Block until a server is there; False on timeout or shutdown."""
        graph = self._participant.graph
        end = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while self._node.context.ok():
            # The match comes a moment after the discovery that wakes this.
            left = _POLL_S if end is None else min(_POLL_S, max(end - time.monotonic(), 0))
            if graph.wait_for(self.service_is_ready, left):
                return True
            if end is not None and time.monotonic() >= end:
                return False
        return False

    def _execute(self, sample, executor) -> object:
        response, header = unpack(sample.payload, self.srv_type.Response.__ros_name__)
        if header[:8] == self._guid:
            future = self._pending.pop(struct.unpack('<q', header[8:])[0], None)
            if future is not None:
                future._set_executor(executor)
                future.set_result(response)
        return None
