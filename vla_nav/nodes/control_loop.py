"""The control loop: a steady beat that nothing else in the node can hold up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

_PRIORITY = 1
"""The lowest of the real-time ones: above every ordinary thread, below whoever chose more."""


class ControlLoop:
    """Calls `tick()` every `period_s` on the steady clock, in a thread of its own.

    An executor's timer would wait for the thread that hands callbacks out and for one that is
    free. A tick that comes too late for the next is left out, as with a timer of ROS. Where the
    system permits it (`CAP_SYS_NICE`, or an rtprio limit), the thread has real-time priority.
    What `tick` raises goes to `on_error`, and the beat goes on.
    """

    def __init__(self, period_s: float, tick: Callable[[], None],
                 on_error: Callable[[Exception], None]) -> None:
        self._period_s = period_s
        self._tick = tick
        self._on_error = on_error
        self._ended = threading.Event()
        self.real_time = False
        """Whether the system granted that priority."""
        self._thread = threading.Thread(target=self._run, name='control loop', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, unless it is the caller's."""
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(1.0)

    def _run(self) -> None:
        self.real_time = _ask_for_real_time()
        due_s = time.monotonic() + self._period_s
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            try:
                self._tick()
            except Exception as error:
                self._on_error(error)
            late_s = time.monotonic() - due_s
            due_s += self._period_s * (1 + max(0.0, late_s) // self._period_s)


def _ask_for_real_time() -> bool:
    """Raise the calling thread's priority; on Linux, 0 means the thread and not the process."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK,
                              os.sched_param(_PRIORITY))
    except (AttributeError, OSError):  # Another system, or not permitted.
        return False
    return True
