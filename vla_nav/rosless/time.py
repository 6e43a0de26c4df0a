"""Points in time on one of ROS' clocks, in nanoseconds inside."""

from __future__ import annotations

from .clock_type import ClockType
from .duration import S_TO_NS, Duration
from .messages import message_class

_LIMIT_NS = 2**63


class Time:
    """A point in time: `Time(seconds=0, nanoseconds=0, clock_type=ClockType.SYSTEM_TIME)`."""

    def __init__(
        self,
        *,
        seconds: float = 0,
        nanoseconds: int = 0,
        clock_type: ClockType = ClockType.SYSTEM_TIME,
    ) -> None:
        if not isinstance(clock_type, ClockType):
            raise TypeError('Clock type must be a ClockType enum')
        if seconds < 0:
            raise ValueError('Seconds value must not be negative')
        if nanoseconds < 0:
            raise ValueError('Nanoseconds value must not be negative')
        total = int(seconds * S_TO_NS) + int(nanoseconds)
        if total >= _LIMIT_NS:
            raise OverflowError('Total nanoseconds value is too large to store in C time point.')
        self._nanoseconds = total
        self._clock_type = clock_type

    @property
    def nanoseconds(self) -> int:
        return self._nanoseconds

    @property
    def clock_type(self) -> ClockType:
        return self._clock_type

    def seconds_nanoseconds(self) -> tuple[int, int]:
        return divmod(self._nanoseconds, S_TO_NS)

    def __repr__(self) -> str:
        return f'Time(nanoseconds={self.nanoseconds}, clock_type={self.clock_type.name})'

    def __hash__(self) -> int:
        return hash((self.nanoseconds, self.clock_type))

    def __add__(self, other: object) -> Time:
        if isinstance(other, Duration):
            return Time(
                nanoseconds=self.nanoseconds + other.nanoseconds, clock_type=self.clock_type
            )
        return NotImplemented

    __radd__ = __add__

    def __sub__(self, other: object) -> Duration | Time:
        if isinstance(other, Time):
            if self.clock_type != other.clock_type:
                raise TypeError("Can't subtract times with different clock types")
            return Duration(nanoseconds=self.nanoseconds - other.nanoseconds)
        if isinstance(other, Duration):
            return Time(
                nanoseconds=self.nanoseconds - other.nanoseconds, clock_type=self.clock_type
            )
        return NotImplemented

    def _other(self, other: object) -> int:
        if not isinstance(other, Time):
            raise TypeError("Can't compare time with object of type: ", type(other))
        if self.clock_type != other.clock_type:
            raise TypeError("Can't compare times with different clock types")
        return other.nanoseconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Time) and self.nanoseconds == self._other(other)

    def __lt__(self, other: object) -> bool:
        return self.nanoseconds < self._other(other)

    def __le__(self, other: object) -> bool:
        return self.nanoseconds <= self._other(other)

    def __gt__(self, other: object) -> bool:
        return self.nanoseconds > self._other(other)

    def __ge__(self, other: object) -> bool:
        return self.nanoseconds >= self._other(other)

    def to_msg(self):
        """As `builtin_interfaces/msg/Time`."""
        sec, nanosec = self.seconds_nanoseconds()
        return message_class('builtin_interfaces/msg/Time')(sec=sec, nanosec=nanosec)

    @classmethod
    def from_msg(cls, msg, clock_type: ClockType = ClockType.ROS_TIME) -> Time:
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec, clock_type=clock_type)
