"""Spans of time, in nanoseconds inside."""

from __future__ import annotations

from .messages import message_class

S_TO_NS = 1_000_000_000
_LIMIT_NS = 2**63


class Duration:
    """A span of time: `Duration(seconds=1.5, nanoseconds=0)`."""

    def __init__(self, *, seconds: float = 0, nanoseconds: int = 0) -> None:
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if not -_LIMIT_NS <= total < _LIMIT_NS:
            raise OverflowError('Total nanoseconds value is too large to store in C duration.')
        self._nanoseconds = total

    @property
    def nanoseconds(self) -> int:
        return self._nanoseconds

    def __repr__(self) -> str:
        return f'Duration(nanoseconds={self.nanoseconds})'

    def __str__(self) -> str:
        return f'{self.nanoseconds} nanoseconds'

    def __hash__(self) -> int:
        return hash(self.nanoseconds)

    def _other(self, other: object) -> int:
        if isinstance(other, Duration):
            return other.nanoseconds
        raise TypeError("Can't compare duration with object of type: ", type(other))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self.nanoseconds == other.nanoseconds

    def __lt__(self, other: object) -> bool:
        return self.nanoseconds < self._other(other)

    def __le__(self, other: object) -> bool:
        return self.nanoseconds <= self._other(other)

    def __gt__(self, other: object) -> bool:
        return self.nanoseconds > self._other(other)

    def __ge__(self, other: object) -> bool:
        return self.nanoseconds >= self._other(other)

    def to_msg(self):
        """As `builtin_interfaces/msg/Duration`."""
        sec, nanosec = divmod(self.nanoseconds, S_TO_NS)
        return message_class('builtin_interfaces/msg/Duration')(sec=sec, nanosec=nanosec)

    @classmethod
    def from_msg(cls, msg) -> Duration:
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec)


class Infinite:
    """Larger than any span."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Infinite)

    def __hash__(self) -> int:
        return hash(Infinite)

    def __repr__(self) -> str:
        return 'Infinite'

    @property
    def nanoseconds(self) -> int:
        return _LIMIT_NS - 1
