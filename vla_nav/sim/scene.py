"""What a simulated room contains: frozen data, from which everything else is computed.

Axes follow REP-103: x forward, y left, yaw counter-clockwise. The room's centre is the origin.
"""
import dataclasses
import math
from dataclasses import dataclass

from vla_nav.errors import VlaNavError

SHAPES = ('cone', 'box', 'ball', 'cylinder')

# Linear in hue and far apart in either hue, saturation or value, so that dim or tinted light
# does not turn one into another.
COLOURS = {
    'red': (0.78, 0.03, 0.05),
    'orange': (1.00, 0.46, 0.00),
    'yellow': (0.96, 0.88, 0.06),
    'green': (0.06, 0.52, 0.10),
    'cyan': (0.10, 0.80, 0.84),
    'blue': (0.05, 0.14, 0.72),
    'purple': (0.40, 0.08, 0.58),
    'pink': (1.00, 0.52, 0.76),
}

LEVELS = ('easy', 'standard', 'hard')
SPLITS = ('seen', 'unseen-pairs', 'paraphrases', 'dim-light', 'textures')

# Never in a scene of another split than 'unseen-pairs': each of these colours and shapes is
# seen in training, the combination is not.
UNSEEN_PAIRS = (('green', 'cone'), ('cyan', 'box'), ('purple', 'ball'), ('yellow', 'cylinder'))
ALL_PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
SEEN_PAIRS = tuple(pair for pair in ALL_PAIRS if pair not in UNSEEN_PAIRS)

SCALES = (0.9, 0.95, 1.0, 1.05, 1.1)
MAX_OBJECTS = 7
ROBOT_RADIUS_M = 0.17

# Half width in plan (radius, or half the side of a box) and height, in metres at scale 1.
_HALF_WIDTH_M = {'cone': 0.18, 'box': 0.16, 'ball': 0.18, 'cylinder': 0.15}
_HEIGHT_M = {'cone': 0.48, 'box': 0.32, 'ball': 0.36, 'cylinder': 0.50}


class SimError(VlaNavError):
    """A scene, task or rendering request that cannot be met."""


@dataclass(frozen=True)
class SceneObject:
    """One object standing on the floor."""

    shape: str
    """One of SHAPES."""
    colour: str
    """One of COLOURS."""
    x: float
    """Centre, m."""
    y: float
    """Centre, m."""
    yaw: float = 0.0
    """Rotation about the vertical, rad; only a box shows it."""
    scale: float = 1.0
    """Size factor, one of SCALES."""
    rgb: tuple[float, float, float] | None = None
    """The colour as painted, 0 to 1; by default the one in COLOURS."""

    def __post_init__(self):
        if self.shape not in SHAPES:
            raise SimError(f'unknown shape {self.shape!r}: expected one of {", ".join(SHAPES)}')
        if self.colour not in COLOURS:
            raise SimError(f'unknown colour {self.colour!r}: expected one of {", ".join(COLOURS)}')
        if self.scale not in SCALES:
            raise SimError(f'object scale {self.scale} is not one of {SCALES}')
        if self.rgb is None:
            object.__setattr__(self, 'rgb', COLOURS[self.colour])

    @property
    def name(self) -> str:
        """For example 'red cone'."""
        return f'{self.colour} {self.shape}'

    @property
    def pair(self) -> tuple[str, str]:
        """(colour, shape)."""
        return self.colour, self.shape

    @property
    def half_width_m(self) -> float:
        """Radius in plan, or half the side of a box."""
        return _HALF_WIDTH_M[self.shape] * self.scale

    @property
    def radius_m(self) -> float:
        """Radius of the circle around the footprint."""
        return self.half_width_m * (math.sqrt(2) if self.shape == 'box' else 1.0)

    @property
    def height_m(self) -> float:
        """Height above the floor."""
        return _HEIGHT_M[self.shape] * self.scale

    def gap_m(self, x: float, y: float) -> float:
        """Distance of a point on the floor to the footprint, 0 inside it."""
        dx, dy = x - self.x, y - self.y
        if self.shape != 'box':
            return max(0.0, math.hypot(dx, dy) - self.half_width_m)
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        along = max(0.0, abs(c * dx + s * dy) - self.half_width_m)
        across = max(0.0, abs(c * dy - s * dx) - self.half_width_m)
        return math.hypot(along, across)


@dataclass(frozen=True)
class Look:
    """Everything about a room that changes its picture and nothing else."""

    floor_texture: str
    """Name in vla_nav.sim.textures."""
    wall_texture: str
    """Name in vla_nav.sim.textures."""
    floor_tint: tuple[float, float, float]
    """Multiplies the texture, 0 to 1."""
    wall_tint: tuple[float, float, float]
    """Multiplies the texture, 0 to 1."""
    ceiling_tint: tuple[float, float, float]
    """RGB, 0 to 1."""
    skirting_tint: tuple[float, float, float]
    """RGB of the strip along the foot of the walls, 0 to 1."""
    light_direction: tuple[float, float, float]
    """Where the lamp's light travels; z is negative."""
    light_intensity: float
    """Diffuse strength of the lamp, 0 to 1."""
    light_tint: tuple[float, float, float]
    """Colour of all light, about 1 each."""
    ambient: float
    """Strength of light without direction, 0 to 1."""
    floor_texture_yaw: float = 0.0
    """Direction in which planks and tiles run, rad."""


@dataclass(frozen=True)
class Scene:
    """A room, its objects, where the robot starts and what it is asked to do."""

    seed: int
    level: str
    room: tuple[float, float]
    """Half sizes along x and y, m."""
    objects: tuple[SceneObject, ...]
    target: int
    """Index into objects."""
    instruction: str
    start: tuple[float, float, float]
    """x, y (m) and yaw (rad)."""
    look: Look
    split: str = 'seen'

    def __post_init__(self):
        if not 0 <= self.target < len(self.objects):
            raise SimError(
                f'target index {self.target} is outside the {len(self.objects)} objects')
        if len(self.objects) > MAX_OBJECTS:
            raise SimError(f'{len(self.objects)} objects: at most {MAX_OBJECTS} can be drawn')

    @property
    def target_object(self) -> SceneObject:
        """The object that the instruction names."""
        return self.objects[self.target]

    def with_target(self, index: int, template: str = 'go to the {colour} {shape}') -> 'Scene':
        """The same scene with another object named, in the words of `template`."""
        if not 0 <= index < len(self.objects):
            raise SimError(f'target index {index} is outside the {len(self.objects)} objects')
        goal = self.objects[index]
        return dataclasses.replace(
            self, target=index,
            instruction=template.format(colour=goal.colour, shape=goal.shape))

    def clearance_m(self, x: float, y: float) -> float:
        """Distance of a point on the floor to the nearest object or wall, 0 inside one."""
        walls = min(self.room[0] - abs(x), self.room[1] - abs(y))
        return max(0.0, min([walls, *(thing.gap_m(x, y) for thing in self.objects)]))
