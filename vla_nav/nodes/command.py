"""The command topic: spoken on only while in charge of the base, and never left but with zeros."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from vla_nav.contract import Command
from vla_nav.control import Decision
from vla_nav.nodes import messages, qos

_LAST_ZEROS = 5
_LAST_ZEROS_GAP_S = 0.02


class CommandOutput:
    """Publishes what is decided; every method may be called from any thread."""

    def __init__(self, node, command: Command, base_frame: str) -> None:
        self._publisher = node.create_publisher(messages.TYPES[command.type], command.topic,
                                                qos.COMMAND)
        self._message = messages.CommandMessage(command, base_frame)
        self._clock = node.get_clock()
        self._context = node.context
        self._lock = threading.Lock()
        self.in_charge = False
        """Whether anything is published at all."""
        self.closed = False

    def take_charge(self) -> bool:
        """Publish from now on; False if it is closed."""
        with self._lock:
            self.in_charge = not self.closed
            return self.in_charge

    def publish(self, decide: Callable[[int], Decision]) -> None:
        """Publish what `decide(now_ns)` returns, or a zero if it raises; nothing if silent."""
        with self._lock:
            if not self.in_charge:
                return
            now_ns = self._clock.now().nanoseconds
            v0 = v1 = 0.0
            try:
                v0, v1, *_ = decide(now_ns)
            finally:
                self._publisher.publish(self._message.fill(v0, v1, now_ns))

    def leave(self) -> None:
        """Publish zeros, several in case one is lost, and then nothing any more."""
        with self._lock:
            zeros, self.in_charge = _LAST_ZEROS if self.in_charge else 0, False
            for _ in range(zeros):
                if not self._context.ok():
                    return  # Shut down from within the process: nothing can be said any more.
                self._publisher.publish(
                    self._message.fill(0.0, 0.0, self._clock.now().nanoseconds))
                time.sleep(_LAST_ZEROS_GAP_S)

    def close(self) -> None:
        """Leave for good."""
        self.closed = True
        self.leave()
