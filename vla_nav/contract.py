"""The one translation between a robot and a policy.

A contract says where the camera, the instruction and the command are found, what the policy sees
of an image, which two fields of the command are its actions, and their units and limits. The
recorder, the dataset builder and the drive node read the same contract, and every bag, dataset
and checkpoint carries it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from vla_nav.errors import VlaNavError
from vla_nav.share import share_path

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
COMMAND_TYPES = ('geometry_msgs/msg/Twist', 'geometry_msgs/msg/TwistStamped')
ODOMETRY_TYPES = ('nav_msgs/msg/Odometry',)
UNITS = {'linear.x': 'm/s', 'linear.y': 'm/s', 'angular.z': 'rad/s'}
ACTION_DIM = 2


_TOPIC = re.compile(r'(~?/|~)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*', re.ASCII)


class ContractError(VlaNavError):
    """A contract is incomplete, contradicts itself, or disagrees with a checkpoint."""


@dataclass(frozen=True)
class Frame:
    """One camera image as the policy sees it."""

    image: np.ndarray
    """uint8 (H, W, 3), RGB."""
    stamp_ns: int
    """When it was taken: the header stamp of its message."""


@dataclass(frozen=True)
class ActionChunk:
    """What the policy wants done from the moment of one frame on."""

    actions: np.ndarray
    """float32 (K, 2) in SI units: row k is meant for stamp_ns + k * step_s."""
    stamp_ns: int
    """The stamp of the frame it was computed from."""
    step_s: float
    """Duration of one row."""


def _require(condition: bool, field: str, found: object, expected: str) -> None:
    if not condition:
        raise ContractError(f'contract field {field} is {found!r}; expected {expected}')


def _is_number(value: object) -> bool:
    return (isinstance(value, (int, float)) and not isinstance(value, bool)
            and math.isfinite(value))


def _numbers(value: object, count: int, field: str, expected: str) -> tuple[float, ...]:
    _require(isinstance(value, (list, tuple)) and len(value) == count
             and all(map(_is_number, value)), field, value, expected)
    return tuple(map(float, value))


def _pair(value: object, field: str) -> tuple[float, float]:
    return _numbers(value, ACTION_DIM, field, f'a list of {ACTION_DIM} finite numbers')


def _one_of(value: object, field: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, field, value, 'one of ' + ', '.join(choices))


def _topic(value: object, field: str) -> None:
    _require(isinstance(value, str) and _TOPIC.fullmatch(value) is not None, field, value,
             'a topic name such as cmd_vel: letters, digits, underscores and slashes')


@dataclass(frozen=True)
class Camera:
    """Where images come from, and what of them the policy sees."""

    topic: str = 'camera/image_raw'
    type: str = 'sensor_msgs/msg/Image'
    width: int = 192
    """Pixels after crop and resize."""
    height: int = 192
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """Left, top, right, bottom as fractions of the camera's own image."""

    def __post_init__(self) -> None:
        _topic(self.topic, 'camera.topic')
        _one_of(self.type, 'camera.type', IMAGE_TYPES)
        for name in ('width', 'height'):
            value = getattr(self, name)
            _require(type(value) is int and 8 <= value <= 4096, f'camera.{name}', value,
                     'a whole number of pixels from 8 to 4096')
        crop = _numbers(self.crop, 4, 'camera.crop', '[left, top, right, bottom] as fractions')
        left, top, right, bottom = crop
        _require(0 <= left < right <= 1 and 0 <= top < bottom <= 1, 'camera.crop', self.crop,
                 '0 <= left < right <= 1 and 0 <= top < bottom <= 1')
        object.__setattr__(self, 'crop', crop)


@dataclass(frozen=True)
class Command:
    """Where velocity commands go, which fields are actions, and how far they may go."""

    topic: str = 'cmd_vel'
    type: str = 'geometry_msgs/msg/Twist'
    fields: tuple[str, str] = ('linear.x', 'angular.z')
    """REP-103 axes: x forward, y left, yaw counter-clockwise."""
    low: tuple[float, float] = (0.0, -1.0)
    """Smallest value of each field, m/s or rad/s."""
    high: tuple[float, float] = (0.5, 1.0)
    max_accel: tuple[float, float] = (1.0, 3.0)
    """Largest change of each field, m/s^2 or rad/s^2."""

    def __post_init__(self) -> None:
        _topic(self.topic, 'command.topic')
        _one_of(self.type, 'command.type', COMMAND_TYPES)
        fields = tuple(self.fields) if isinstance(self.fields, (list, tuple)) else ()
        _require(len(fields) == ACTION_DIM and all(field in (*UNITS,) for field in fields)
                 and fields[0] != fields[1], 'command.fields', self.fields,
                 'two different ones of ' + ', '.join(UNITS))
        object.__setattr__(self, 'fields', fields)
        for name in ('low', 'high', 'max_accel'):
            object.__setattr__(self, name, _pair(getattr(self, name), f'command.{name}'))
        for field, low, high, accel in zip(self.fields, self.low, self.high, self.max_accel):
            _require(low <= 0.0 <= high and low < high, 'command.low and command.high',
                     (low, high), f'low <= 0 <= high and low < high for {field}: a robot must '
                     'be able to stand still')
            _require(accel > 0.0, 'command.max_accel', accel, f'more than 0 for {field}')

    @property
    def units(self) -> tuple[str, str]:
        """The unit of each field."""
        return tuple(UNITS[field] for field in self.fields)


@dataclass(frozen=True)
class Odometry:
    """Where the base reports its motion."""

    topic: str = 'odom'
    type: str = 'nav_msgs/msg/Odometry'

    def __post_init__(self) -> None:
        _topic(self.topic, 'odometry.topic')
        _one_of(self.type, 'odometry.type', ODOMETRY_TYPES)


@dataclass(frozen=True)
class Contract:
    """One robot, as policies, recordings and datasets know it."""

    robot: str = 'sim'
    rate_hz: float = 10.0
    """How often the policy sees a frame; also the step of an action chunk."""
    camera: Camera = dataclasses.field(default_factory=Camera)
    command: Command = dataclasses.field(default_factory=Command)
    instruction_topic: str = 'instruction'
    teleop_topic: str = 'teleop_cmd_vel'
    odometry: Odometry | None = None
    extra_topics: tuple[str, ...] = ()
    """Recorded beside the rest, untouched."""
    idle_speed: tuple[float, float] = (0.01, 0.02)
    """Both action fields below these at the ends of an episode: nothing happens there."""

    def __post_init__(self) -> None:
        _require(isinstance(self.robot, str) and self.robot != '', 'robot', self.robot, 'a name')
        _require(_is_number(self.rate_hz) and 0.1 <= self.rate_hz <= 200,
                 'rate_hz', self.rate_hz, 'a rate from 0.1 to 200 Hz')
        object.__setattr__(self, 'rate_hz', float(self.rate_hz))
        _topic(self.instruction_topic, 'instruction_topic')
        _topic(self.teleop_topic, 'teleop_topic')
        _require(isinstance(self.extra_topics, (list, tuple)), 'extra_topics',
                 self.extra_topics, 'a list of topic names')
        object.__setattr__(self, 'extra_topics', tuple(self.extra_topics))
        for topic in self.extra_topics:
            _topic(topic, 'extra_topics')
        topics = [*self.topics.values()]
        _require(len(set(topics)) == len(topics), 'topics', topics,
                 "one each for camera, command, instruction, a human's commands and odometry")
        object.__setattr__(self, 'idle_speed', _pair(self.idle_speed, 'idle_speed'))
        _require(min(self.idle_speed) >= 0.0, 'idle_speed', self.idle_speed, '2 numbers from 0')

    @property
    def topics(self) -> dict[str, str]:
        """What the robot and its policy hear and say, by what it is for."""
        topics = {'camera': self.camera.topic, 'command': self.command.topic,
                  'instruction': self.instruction_topic, "a human's commands": self.teleop_topic}
        return topics | ({'odometry': self.odometry.topic} if self.odometry else {})

    @property
    def step_s(self) -> float:
        """Duration of one action, 1 / rate_hz."""
        return 1.0 / self.rate_hz

    @classmethod
    def load(cls, path: str | os.PathLike) -> Contract:
        """Read a contract from a YAML file; raises ContractError naming file and field."""
        path = Path(path)
        try:
            data = yaml.safe_load(path.read_text(encoding='utf-8'))
        except OSError as error:
            raise ContractError(f'cannot read contract {path}: {error.strerror}; give the path '
                                'of a robot file such as config/robots/sim.yaml') from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ContractError(f'contract {path} is not valid YAML: {error}') from None
        try:
            return cls.from_dict(data)
        except ContractError as error:
            raise ContractError(f'{path}: {error}') from None

    @classmethod
    def from_dict(cls, data: object) -> Contract:
        """Build a contract from plain data; unknown and mistyped fields are refused."""
        rooms = {'camera': Camera, 'command': Command, 'odometry': Odometry}
        values = _known(cls, data, 'contract')
        for name, room in rooms.items():
            if name in values and (values[name] is not None or name != 'odometry'):
                values[name] = room(**_known(room, values[name], name))
        return cls(**values)

    def to_dict(self) -> dict:
        """Plain data: what from_dict reads, ready for YAML or JSON."""
        return _plain(dataclasses.asdict(self))

    def to_yaml(self) -> str:
        """The contract as the text of a YAML file."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def differences(
        self, robot: Contract, places: tuple[str, str] = ('in the checkpoint', 'on the robot')
    ) -> list[str]:
        """Say why a policy made for this contract cannot drive `robot`: one sentence a field.

        Topics, message types and names may differ; what the numbers mean may not. places: what
        the sentences call this contract and the other.
        """
        checks = [
            ('command.fields', self.command.fields, robot.command.fields),
            ('command.units', self.command.units, robot.command.units),
            ('rate_hz', self.rate_hz, robot.rate_hz),
            ('camera.width', self.camera.width, robot.camera.width),
            ('camera.height', self.camera.height, robot.camera.height),
            ('camera.crop', self.camera.crop, robot.camera.crop),
        ]
        return [f'{field} is {_text(mine)} {places[0]} and {_text(theirs)} {places[1]}'
                for field, mine, theirs in checks if mine != theirs]


def contract_file(robot: str) -> Path:
    """The file of a robot given by path or by name. Raises ContractError if there is none."""
    path = Path(robot).expanduser()
    if path.is_file():
        return path
    robots = share_path('config/robots')
    named = robots / f'{robot}.yaml'
    if named.is_file():
        return named
    known = ', '.join(sorted(file.stem for file in robots.glob('*.yaml')))
    raise ContractError(f'robot is {robot!r:.200}, which is no file and no name in {robots}; '
                        f'known are {known}')


def _known(kind: type, data: object, where: str) -> dict:
    if not isinstance(data, dict):
        found = 'empty' if data is None else type(data).__name__
        raise ContractError(f'{where} is {found}; expected fields with values')
    fields = [field.name for field in dataclasses.fields(kind)]
    for name in data:
        if name not in fields:
            raise ContractError(f'{where} has an unknown field {name!r}; '
                                f'known are {", ".join(fields)}')
    return dict(data)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _text(value: object) -> str:
    return ', '.join(map(str, value)) if isinstance(value, tuple) else str(value)
