"""Which of the camera's frames the policy gets to see."""

from __future__ import annotations


class Pacer:
    """Lets frames through at the policy's own rate, whatever the camera's is.

    A head with memory learnt how the world changes in one step of its contract's rate; a camera
    three times as fast would show it a world in slow motion.
    """

    def __init__(self, rate_hz: float) -> None:
        self._step_ns = round(1e9 / rate_hz)
        self._due_ns: int | None = None

    def admit(self, stamp_ns: int) -> bool:
        """Whether a frame of this stamp is due; if so, it counts as seen."""
        if self._due_ns is None or abs(stamp_ns - self._due_ns) > 2 * self._step_ns:
            self._due_ns = stamp_ns
        if stamp_ns < self._due_ns - self._step_ns // 10:
            return False
        self._due_ns += self._step_ns
        return True
