"""Serialize the few messages that a lock-step recording consists of."""

from __future__ import annotations

import math

import numpy as np

from vla_nav.contract import Contract
from vla_nav.episodes.bag import BagWriter
from vla_nav.episodes.definitions import definition, standard_types

STRING = 'std_msgs/msg/String'


class LockstepRecorder:
    """Writes what a robot saw and was told, one step at a time, as the recorder node would.

    All messages of a step carry its simulated time as stamp, log time and publish time.
    """

    def __init__(self, writer: BagWriter, contract: Contract, instruction: str,
                 stamp_ns: int) -> None:
        self._writer = writer
        self._contract = contract
        self._types = standard_types().types
        topics = [(contract.instruction_topic, STRING),
                  (contract.camera.topic, 'sensor_msgs/msg/Image'),
                  (contract.command.topic, contract.command.type)]
        if contract.odometry:
            topics.append((contract.odometry.topic, contract.odometry.type))
        for topic, msgtype in topics:
            writer.add_topic('/' + topic.lstrip('/'), msgtype, definition(msgtype))
        self._write(contract.instruction_topic, self._types[STRING](data=instruction), STRING,
                    stamp_ns)

    def image(self, image: np.ndarray, stamp_ns: int) -> None:
        """Record a camera image, uint8 (H, W, 3) RGB."""
        msgtype = 'sensor_msgs/msg/Image'
        height, width = image.shape[:2]
        message = self._types[msgtype](
            header=self._header(stamp_ns, 'camera'), height=height, width=width,
            encoding='rgb8', is_bigendian=0, step=3 * width, data=image.reshape(-1))
        self._write(self._contract.camera.topic, message, msgtype, stamp_ns)

    def command(self, action: np.ndarray, stamp_ns: int) -> None:
        """Record a command: the contract's two fields, SI units."""
        command = self._contract.command
        message = self._twist(dict(zip(command.fields, map(float, action))))
        if command.type.endswith('Stamped'):
            message = self._types[command.type](
                header=self._header(stamp_ns, 'base_link'), twist=message)
        self._write(command.topic, message, command.type, stamp_ns)

    def odometry(self, pose: tuple[float, float, float], velocity: tuple[float, float],
                 stamp_ns: int) -> None:
        """Record pose x, y (m), yaw (rad) and forward and turning velocity, SI units."""
        odometry = self._contract.odometry
        if odometry is None:
            return
        x, y, yaw = pose
        kind = 'geometry_msgs/msg/'
        where = self._types[kind + 'Pose'](
            position=self._types[kind + 'Point'](x=x, y=y, z=0.0),
            orientation=self._types[kind + 'Quaternion'](
                x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2)))
        twist = self._twist({'linear.x': velocity[0], 'angular.z': velocity[1]})
        message = self._types[odometry.type](
            header=self._header(stamp_ns, 'odom'), child_frame_id='base_link',
            pose=self._types[kind + 'PoseWithCovariance'](pose=where, covariance=np.zeros(36)),
            twist=self._types[kind + 'TwistWithCovariance'](twist=twist,
                                                            covariance=np.zeros(36)))
        self._write(odometry.topic, message, odometry.type, stamp_ns)

    def _twist(self, values: dict[str, float]) -> object:
        vector = self._types['geometry_msgs/msg/Vector3']
        parts = {part: vector(**{axis: float(values.get(f'{part}.{axis}', 0.0))
                                 for axis in 'xyz'}) for part in ('linear', 'angular')}
        return self._types['geometry_msgs/msg/Twist'](**parts)

    def _header(self, stamp_ns: int, frame: str) -> object:
        time = self._types['builtin_interfaces/msg/Time'](
            sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
        return self._types['std_msgs/msg/Header'](stamp=time, frame_id=frame)

    def _write(self, topic: str, message: object, msgtype: str, stamp_ns: int) -> None:
        self._writer.write('/' + topic.lstrip('/'),
                           standard_types().serialize_cdr(message, msgtype), stamp_ns)
