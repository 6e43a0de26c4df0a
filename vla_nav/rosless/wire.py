"""Raw bytes over Cyclone DDS, under the type names and with the quality of service of ROS 2."""

from __future__ import annotations

import threading
from functools import cache

from cyclonedds.idl import make_idl_struct
from cyclonedds.idl.types import uint8
from cyclonedds.internal import InvalidSample
from cyclonedds.qos import Policy, Qos

from .duration import Infinite
from .qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

INFINITE_NS = 2**63 - 1
# A write holds Python's global lock, so a full send queue must not stop the process for long.
MAX_BLOCKING_NS = 100_000_000
SERVICE_HEADER_BYTES = 16


# cyclonedds-python reads policies through buffers that all threads share.
qos_lock = threading.RLock()


def _serialize(self, buffer=None, endianness=None, use_version_2=None) -> bytes:
    return self.payload


def _deserialize(cls, data, has_header=True, use_version_2=None):
    sample = cls.__new__(cls)
    sample.payload = data
    return sample


@cache
def raw_type(dds_type: str) -> type:
    """The sample class of a DDS type in cyclonedds-python's notation: `pkg.msg.dds_.Name_`.

    Its samples are their serialised bytes (`payload`): DDS matches endpoints by type name, and
    cyclonedds-python's own serialiser takes tens of milliseconds for an image.
    """
    cls = make_idl_struct('Raw', dds_type, {'unused': uint8})
    cls.serialize = _serialize
    cls.deserialize = classmethod(_deserialize)
    return cls


def write(writer, payload: bytes | memoryview) -> None:
    """Write one serialised sample."""
    sample = writer.data_type.__new__(writer.data_type)
    sample.payload = payload if isinstance(payload, bytes) else bytes(payload)
    writer.write(sample)


def take(reader):
    """The oldest sample (payload and sample_info) and drop it, or None if there is none."""
    while True:
        samples = reader.take(1)
        if not samples:
            return None
        # A peer that leaves shows as a sample without data.
        if not isinstance(samples[0], InvalidSample):
            return samples[0]


def user_data(type_hash: str, extra: str = '') -> Policy.Userdata:
    """The endpoint's USER_DATA: `typehash=RIHS01_...;`, with `clientid=...;` before it."""
    return Policy.Userdata(data=f'{extra}typehash={type_hash};'.encode())


def dds_qos(profile: QoSProfile, data: Policy.Userdata) -> Qos:
    """A ROS profile as DDS policies, as rmw_cyclonedds maps them."""
    policies = [
        data,
        Policy.DataRepresentation(use_cdrv0_representation=True),
        Policy.WriterDataLifecycle(autodispose=False),
    ]
    history = Policy.History.KeepLast(max(profile.depth, 1))
    if profile.history == HistoryPolicy.KEEP_ALL:
        history = Policy.History.KeepAll
    policies.append(history)
    if profile.reliability == ReliabilityPolicy.BEST_EFFORT:
        policies.append(Policy.Reliability.BestEffort)
    else:
        policies.append(Policy.Reliability.Reliable(max_blocking_time=MAX_BLOCKING_NS))
    if profile.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        policies.append(Policy.Durability.TransientLocal)
        policies.append(Policy.DurabilityService(0, history, -1, -1, -1))
    else:
        policies.append(Policy.Durability.Volatile)
    if _is_set(profile.lifespan):
        policies.append(Policy.Lifespan(lifespan=profile.lifespan.nanoseconds))
    if _is_set(profile.deadline):
        policies.append(Policy.Deadline(deadline=profile.deadline.nanoseconds))
    lease = profile.liveliness_lease_duration
    lease_ns = lease.nanoseconds if _is_set(lease) else INFINITE_NS
    if profile.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC:
        policies.append(Policy.Liveliness.ManualByTopic(lease_duration=lease_ns))
    else:
        policies.append(Policy.Liveliness.Automatic(lease_duration=lease_ns))
    return Qos(*policies)


def _is_set(duration) -> bool:
    return not isinstance(duration, Infinite) and duration.nanoseconds > 0


def ros_qos(qos: Qos) -> QoSProfile:
    """DDS policies of a discovered endpoint as a ROS profile."""
    from .duration import Duration

    profile = QoSProfile(history=HistoryPolicy.UNKNOWN)
    history = qos[Policy.History]  # Cyclone DDS announces it, others may not
    if isinstance(history, Policy.History.KeepLast):
        profile.history, profile.depth = HistoryPolicy.KEEP_LAST, history.depth
    elif history is not None:
        profile.history = HistoryPolicy.KEEP_ALL
    reliability, durability = qos[Policy.Reliability], qos[Policy.Durability]
    profile.reliability = (
        ReliabilityPolicy.BEST_EFFORT
        if reliability in (None, Policy.Reliability.BestEffort)
        else ReliabilityPolicy.RELIABLE
    )
    profile.durability = (
        DurabilityPolicy.VOLATILE
        if durability in (None, Policy.Durability.Volatile)
        else DurabilityPolicy.TRANSIENT_LOCAL
    )
    profile.liveliness = LivelinessPolicy.AUTOMATIC
    if isinstance(qos[Policy.Liveliness], Policy.Liveliness.ManualByTopic):
        profile.liveliness = LivelinessPolicy.MANUAL_BY_TOPIC
    for name, policy, attribute in (
        ('deadline', Policy.Deadline, 'deadline'),
        ('lifespan', Policy.Lifespan, 'lifespan'),
        ('liveliness_lease_duration', Policy.Liveliness, 'lease_duration'),
    ):
        value_ns = getattr(qos[policy], attribute, INFINITE_NS)
        duration = Infinite() if value_ns >= INFINITE_NS else Duration(nanoseconds=value_ns)
        setattr(profile, name, duration)
    return profile


def user_data_values(qos: Qos) -> dict[str, str]:
    """`key=value;` pairs of an endpoint's USER_DATA."""
    data = qos[Policy.Userdata]
    text = data.data.decode(errors='replace') if data else ''
    return dict(pair.split('=', 1) for pair in text.split(';') if '=' in pair)
