"""Messages from and to plain values: every conversion of the nodes, in one place."""

from __future__ import annotations

import json
import math
from array import array

import numpy as np

from vla_nav import rosless
from vla_nav.contract import Command

rosless.ensure()

from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped  # noqa: E402
from nav_msgs.msg import Odometry, Path  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402

TYPES = {
    'sensor_msgs/msg/Image': Image,
    'sensor_msgs/msg/CompressedImage': CompressedImage,
    'geometry_msgs/msg/Twist': Twist,
    'geometry_msgs/msg/TwistStamped': TwistStamped,
    'nav_msgs/msg/Odometry': Odometry,
}
"""Message classes of the types a contract may name."""


def stamp(time_ns: int) -> Time:
    """A time in ns as a message."""
    return Time(sec=time_ns // 1_000_000_000, nanosec=time_ns % 1_000_000_000)


def nanoseconds(time: Time) -> int:
    """A time message in ns."""
    return time.sec * 1_000_000_000 + time.nanosec


class CommandMessage:
    """One command message, filled anew for each publication."""

    def __init__(self, command: Command, frame_id: str) -> None:
        self.message = TYPES[command.type]()
        self._stamped = hasattr(self.message, 'twist')
        if self._stamped:
            self.message.header.frame_id = frame_id
        twist = self.message.twist if self._stamped else self.message
        self._fields = [(getattr(twist, field.split('.')[0]), field.split('.')[1])
                        for field in command.fields]

    def fill(self, v0: float, v1: float, now_ns: int):
        """The message with the contract's two fields set, all others zero."""
        (vector0, axis0), (vector1, axis1) = self._fields
        setattr(vector0, axis0, float(v0))
        setattr(vector1, axis1, float(v1))
        if self._stamped:
            self.message.header.stamp = stamp(now_ns)
        return self.message


def read_command(message, fields: tuple[str, str]) -> tuple[float, float]:
    """The two action fields of a Twist or TwistStamped."""
    twist = getattr(message, 'twist', message)
    return tuple(getattr(getattr(twist, group), axis)
                 for group, axis in (field.split('.') for field in fields))


def path_message(poses: np.ndarray, stamp_ns: int, frame_id: str) -> Path:
    """Poses (N, 3) of x, y in m and yaw in rad as a path on the floor."""
    path = Path()
    path.header.stamp = stamp(stamp_ns)
    path.header.frame_id = frame_id
    for x, y, yaw in poses.tolist():
        pose = PoseStamped(header=path.header)
        pose.pose.position.x, pose.pose.position.y = x, y
        pose.pose.orientation.z, pose.pose.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
        path.poses.append(pose)
    return path


def image_message(image: np.ndarray, stamp_ns: int, frame_id: str) -> Image:
    """An image, uint8 (H, W, 3) RGB, uncompressed."""
    message = Image(encoding='rgb8', height=image.shape[0], width=image.shape[1],
                    step=image.shape[1] * 3, data=array('B', image.tobytes()))
    message.header.stamp = stamp(stamp_ns)
    message.header.frame_id = frame_id
    return message


def compressed_message(jpeg: bytes, stamp_ns: int, frame_id: str) -> CompressedImage:
    """JPEG data as a message."""
    message = CompressedImage(format='jpeg', data=array('B', jpeg))
    message.header.stamp = stamp(stamp_ns)
    message.header.frame_id = frame_id
    return message


def odometry_message(pose: tuple[float, float, float], velocity: tuple[float, float],
                     stamp_ns: int, frame_id: str, child_frame_id: str) -> Odometry:
    """x, y (m), yaw (rad) in `frame_id` and v (m/s), w (rad/s) in `child_frame_id` (REP-105)."""
    message = Odometry(child_frame_id=child_frame_id)
    message.header.stamp = stamp(stamp_ns)
    message.header.frame_id = frame_id
    x, y, yaw = pose
    message.pose.pose.position.x, message.pose.pose.position.y = float(x), float(y)
    message.pose.pose.orientation.z = math.sin(yaw / 2)
    message.pose.pose.orientation.w = math.cos(yaw / 2)
    message.twist.twist.linear.x = float(velocity[0])
    message.twist.twist.angular.z = float(velocity[1])
    return message


def read_pose(message: Odometry) -> tuple[float, float, float]:
    """x, y (m) and yaw (rad) of an odometry message."""
    position, turn = message.pose.pose.position, message.pose.pose.orientation
    return position.x, position.y, 2.0 * math.atan2(turn.z, turn.w)


def diagnostics_message(name: str, hardware: str, level: bytes, message: str,
                        values: dict[str, object], stamp_ns: int) -> DiagnosticArray:
    """One status with its values as text, for rqt_robot_monitor and the like."""
    status = DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=hardware,
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()])
    report = DiagnosticArray(status=[status])
    report.header.stamp = stamp(stamp_ns)
    return report


def json_message(data: dict) -> String:
    """Plain data as JSON text."""
    return String(data=json.dumps(data, ensure_ascii=False))


def _text(value: object) -> str:
    if value is None:
        return 'none'
    return f'{value:.5f}' if isinstance(value, float) else str(value)
