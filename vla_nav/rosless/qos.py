"""Quality of service: profiles and policies under rclpy's names."""

from __future__ import annotations

from enum import Enum, IntEnum

from .duration import Duration, Infinite


class _Policy(IntEnum):
    @classmethod
    def short_keys(cls) -> list[str]:
        return [name.lower() for name in cls.__members__]

    @classmethod
    def get_from_short_key(cls, name: str) -> _Policy:
        return cls[name.upper()]

    @property
    def short_key(self) -> str:
        return self.name.lower()


class HistoryPolicy(_Policy):
    SYSTEM_DEFAULT = 0
    KEEP_LAST = 1
    KEEP_ALL = 2
    UNKNOWN = 3


class ReliabilityPolicy(_Policy):
    SYSTEM_DEFAULT = 0
    RELIABLE = 1
    BEST_EFFORT = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class DurabilityPolicy(_Policy):
    SYSTEM_DEFAULT = 0
    TRANSIENT_LOCAL = 1
    VOLATILE = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class LivelinessPolicy(_Policy):
    SYSTEM_DEFAULT = 0
    AUTOMATIC = 1
    MANUAL_BY_TOPIC = 3
    UNKNOWN = 4
    BEST_AVAILABLE = 5


QoSHistoryPolicy = HistoryPolicy
QoSReliabilityPolicy = ReliabilityPolicy
QoSDurabilityPolicy = DurabilityPolicy
QoSLivelinessPolicy = LivelinessPolicy


class QoSPolicyKind(IntEnum):
    INVALID = 1 << 0
    DURABILITY = 1 << 1
    DEADLINE = 1 << 2
    LIVELINESS = 1 << 3
    RELIABILITY = 1 << 4
    HISTORY = 1 << 5
    LIFESPAN = 1 << 6
    DEPTH = 1 << 7
    LIVELINESS_LEASE_DURATION = 1 << 8
    AVOID_ROS_NAMESPACE_CONVENTIONS = 1 << 9


class QoSCompatibility(IntEnum):
    OK = 0
    WARNING = 1
    ERROR = 2


class InvalidQoSProfileException(Exception):
    def __init__(self, *args: str) -> None:
        super().__init__('Invalid QoSProfile', *args)


class QoSProfile:
    """How a publisher, subscription or service exchanges messages. Zero durations mean unset."""

    _names = (
        'history', 'depth', 'reliability', 'durability', 'lifespan', 'deadline', 'liveliness',
        'liveliness_lease_duration', 'avoid_ros_namespace_conventions',
    )

    def __init__(self, **kwargs: object) -> None:
        unknown = set(kwargs) - set(self._names)
        assert not unknown, f'Invalid arguments passed to constructor: {sorted(unknown)}'
        if kwargs.get('history') is None:
            if 'depth' not in kwargs:
                raise InvalidQoSProfileException('History and/or depth settings are required.')
            kwargs['history'] = HistoryPolicy.KEEP_LAST
        if kwargs['history'] == HistoryPolicy.KEEP_LAST and 'depth' not in kwargs:
            raise InvalidQoSProfileException('History set to KEEP_LAST without a depth setting.')
        self.history = HistoryPolicy(kwargs['history'])
        self.depth = kwargs.get('depth', 0)
        if not isinstance(self.depth, int):
            raise TypeError(f'depth must be an int, not {self.depth!r}')
        if self.depth < 0:
            raise ValueError('history depth must be greater than or equal to zero')
        self.reliability = ReliabilityPolicy(
            kwargs.get('reliability', ReliabilityPolicy.RELIABLE)
        )
        self.durability = DurabilityPolicy(kwargs.get('durability', DurabilityPolicy.VOLATILE))
        self.lifespan = kwargs.get('lifespan', Duration())
        self.deadline = kwargs.get('deadline', Duration())
        self.liveliness = LivelinessPolicy(
            kwargs.get('liveliness', LivelinessPolicy.SYSTEM_DEFAULT)
        )
        self.liveliness_lease_duration = kwargs.get('liveliness_lease_duration', Duration())
        for name in ('lifespan', 'deadline', 'liveliness_lease_duration'):
            if not isinstance(getattr(self, name), (Duration, Infinite)):
                raise TypeError(f'{name} must be a Duration, not {getattr(self, name)!r}')
        self.avoid_ros_namespace_conventions = bool(
            kwargs.get('avoid_ros_namespace_conventions', False)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QoSProfile) and all(
            getattr(self, name) == getattr(other, name) for name in self._names
        )

    __hash__ = None

    def __repr__(self) -> str:
        values = ', '.join(f'{name}={getattr(self, name)!r}' for name in self._names)
        return f'{type(self).__name__}({values})'

    __str__ = __repr__


def qos_check_compatible(publisher_qos, subscription_qos) -> tuple[QoSCompatibility, str]:
    """Whether a publisher and a subscription with these profiles would match, and why not."""
    reasons = []
    offered, asked = publisher_qos.reliability, subscription_qos.reliability
    if offered == ReliabilityPolicy.BEST_EFFORT and asked == ReliabilityPolicy.RELIABLE:
        reasons.append('ERROR: Best effort publisher and reliable subscription;')
    offered, asked = publisher_qos.durability, subscription_qos.durability
    if offered == DurabilityPolicy.VOLATILE and asked == DurabilityPolicy.TRANSIENT_LOCAL:
        reasons.append('ERROR: Volatile publisher and transient local subscription;')
    offered_ns = publisher_qos.deadline.nanoseconds
    asked_ns = subscription_qos.deadline.nanoseconds
    if asked_ns and (not offered_ns or offered_ns > asked_ns):
        reasons.append('ERROR: Subscription deadline is less than publisher deadline;')
    if reasons:
        return QoSCompatibility.ERROR, ''.join(reasons)
    return QoSCompatibility.OK, ''


_LATCHED = {'durability': DurabilityPolicy.TRANSIENT_LOCAL}
qos_profile_default = QoSProfile(depth=10)
qos_profile_unknown = QoSProfile(
    history=HistoryPolicy.UNKNOWN, reliability=ReliabilityPolicy.UNKNOWN,
    durability=DurabilityPolicy.UNKNOWN, liveliness=LivelinessPolicy.UNKNOWN,
)
qos_profile_system_default = QoSProfile(
    history=HistoryPolicy.SYSTEM_DEFAULT, reliability=ReliabilityPolicy.SYSTEM_DEFAULT,
    durability=DurabilityPolicy.SYSTEM_DEFAULT,
)
qos_profile_sensor_data = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
qos_profile_services_default = QoSProfile(depth=10)
qos_profile_parameters = QoSProfile(depth=1000)
qos_profile_parameter_events = QoSProfile(depth=1000)
qos_profile_best_available = QoSProfile(
    depth=10, reliability=ReliabilityPolicy.BEST_AVAILABLE,
    durability=DurabilityPolicy.BEST_AVAILABLE, liveliness=LivelinessPolicy.BEST_AVAILABLE,
)
qos_profile_rosout_default = QoSProfile(
    depth=1000, lifespan=Duration(seconds=10), **_LATCHED
)
qos_profile_action_status_default = QoSProfile(depth=1, **_LATCHED)


class QoSPresetProfiles(Enum):
    UNKNOWN = qos_profile_unknown
    DEFAULT = qos_profile_default
    SYSTEM_DEFAULT = qos_profile_system_default
    SENSOR_DATA = qos_profile_sensor_data
    SERVICES_DEFAULT = qos_profile_services_default
    PARAMETERS = qos_profile_parameters
    PARAMETER_EVENTS = qos_profile_parameter_events
    ACTION_STATUS_DEFAULT = qos_profile_action_status_default
    BEST_AVAILABLE = qos_profile_best_available

    @classmethod
    def get_from_short_key(cls, name: str) -> QoSProfile:
        return cls[name.upper()].value

    @classmethod
    def short_keys(cls) -> list[str]:
        return [name.lower() for name in cls.__members__]
