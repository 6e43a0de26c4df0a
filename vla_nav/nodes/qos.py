"""The quality-of-service profiles of all nodes, by name."""

from vla_nav import rosless

rosless.ensure()

from rclpy.qos import (  # noqa: E402
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble has them elsewhere.
    try:
        from rclpy.qos_event import SubscriptionEventCallbacks
    except ImportError:
        SubscriptionEventCallbacks = None


def _profile(reliable: bool, latched: bool, depth: int) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)


SENSOR = _profile(reliable=False, latched=False, depth=5)
"""Reading sensors: matches every publisher; the newest counts, a lost one is lost."""
IMAGES = _profile(reliable=True, latched=False, depth=5)
"""Publishing images: matches readers that insist on every image and those that do not."""
COMMAND = _profile(reliable=True, latched=False, depth=1)
"""Velocity commands: the newest replaces the one before."""
RELIABLE = _profile(reliable=True, latched=False, depth=10)
"""Everything else that must arrive."""
LATCHED = _profile(reliable=True, latched=True, depth=1)
"""State: who comes late gets the last one. A reader of this kind hears latched writers only."""
CLOCK = _profile(reliable=False, latched=False, depth=1)
"""/clock, as ROS 2 itself subscribes it."""
SILENT = ({} if SubscriptionEventCallbacks is None else
          {'event_callbacks': SubscriptionEventCallbacks(use_default_callbacks=False)})
"""For a subscription that is not meant to match every publisher: no warning where it does not."""
