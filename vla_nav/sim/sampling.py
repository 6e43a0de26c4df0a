"""Seeded scenes: the same seed, level and split give the same scene on every machine."""
import colorsys
import math

import numpy as np

from vla_nav.sim import textures
from vla_nav.sim.scene import (
    COLOURS,
    LEVELS,
    ROBOT_RADIUS_M,
    SCALES,
    SEEN_PAIRS,
    SPLITS,
    UNSEEN_PAIRS,
    Look,
    Scene,
    SceneObject,
    SimError,
)
from vla_nav.sim.task import HELD_OUT_TEMPLATES, SUCCESS_RADIUS_M, TEMPLATES

_COUNTS = {'easy': (3, 3), 'standard': (3, 5), 'hard': (5, 7)}
_SPACING_M = {'easy': 1.0, 'standard': 1.0, 'hard': 0.88}
_WALL_GAP_M = 0.6
_START_GAP_M = 1.0
_VIEW_HALF_ANGLE = math.radians(35)
_TRIES = 2000


def sample_scene(seed: int, level: str = 'standard', *, split: str = 'seen',
                 pairs=None, pairs_for_target=None, templates=None) -> Scene:
    """A room with objects, a start and an instruction.

    `level` is 'easy' (three objects of distinct colours and shapes, the target in view at the
    start), 'standard' (three to five objects, some sharing the target's colour or shape, the
    target anywhere) or 'hard' (five to seven, closer together, one in front of the target, dim
    light, textures that no other level has).

    `split` is 'seen', 'unseen-pairs' (the target is one of UNSEEN_PAIRS, which no other split
    shows), 'paraphrases' (a sentence of HELD_OUT_TEMPLATES), 'dim-light' or 'textures'. The last
    three differ from 'seen' with the same seed in nothing but the words or the look.

    `pairs` and `pairs_for_target` are collections of (colour, shape) that the objects and the
    target are drawn from, `templates` the sentences; each replaces what the split would say.
    Raises SimError for an unknown level or split and for pairs that cannot make up a scene.
    """
    if level not in LEVELS:
        raise SimError(f'unknown level {level!r}: expected one of {", ".join(LEVELS)}')
    if split not in SPLITS:
        raise SimError(f'unknown split {split!r}: expected one of {", ".join(SPLITS)}')
    if pairs is None:
        pairs = SEEN_PAIRS
    if pairs_for_target is None:
        pairs_for_target = UNSEEN_PAIRS if split == 'unseen-pairs' else pairs
    if templates is None:
        templates = HELD_OUT_TEMPLATES if split == 'paraphrases' else TEMPLATES
    pairs, pairs_for_target = sorted(pairs), sorted(pairs_for_target)
    layout, words, look = (np.random.default_rng([seed, LEVELS.index(level), stream])
                           for stream in range(3))
    room = tuple(float(half) for half in layout.uniform(3.0, 3.5, 2))
    named = _draw_pairs(layout, level, pairs, pairs_for_target)
    objects, start = _place(layout, level, room, named)
    target = int(layout.integers(len(objects)))
    # The target was placed first; its index must tell nothing.
    objects[0], objects[target] = objects[target], objects[0]
    template = templates[int(words.integers(len(templates)))]
    goal = objects[target]
    return Scene(
        seed=seed, level=level, split=split, room=room, objects=tuple(objects), target=target,
        instruction=template.format(colour=goal.colour, shape=goal.shape), start=start,
        look=sample_look(look, dim=level == 'hard' or split == 'dim-light',
                         unseen_textures=level == 'hard' or split == 'textures'))


def sample_look(rng, dim: bool = False, unseen_textures: bool = False) -> Look:
    """Light, textures and tints; the number of draws does not depend on the arguments."""
    floors = textures.UNSEEN_FLOORS if unseen_textures else textures.SEEN_FLOORS
    walls = textures.UNSEEN_WALLS if unseen_textures else textures.SEEN_WALLS
    floor, wall = rng.random(2)
    bright = rng.uniform(0.38, 0.55) if dim else rng.uniform(1.0, 1.3)
    around, slope = rng.uniform(-math.pi, math.pi), rng.uniform(0.35, 0.9)
    warmth = rng.uniform(-0.07, 0.07)
    share = rng.uniform(0.45, 0.62)
    return Look(
        floor_texture=floors[int(floor * len(floors))],
        wall_texture=walls[int(wall * len(walls))],
        floor_tint=_tint(rng, 0.28, (0.45, 0.95)), wall_tint=_tint(rng, 0.22, (0.6, 1.0)),
        ceiling_tint=_tint(rng, 0.05, (0.75, 0.95)), skirting_tint=_tint(rng, 0.3, (0.2, 0.95)),
        light_direction=(math.cos(around) * slope, math.sin(around) * slope, -1.0),
        light_intensity=bright * (1 - share), ambient=bright * share,
        light_tint=(1 + warmth, 1.0, 1 - warmth), floor_texture_yaw=rng.uniform(0, math.pi))


def _tint(rng, saturation, value):
    """A muted colour: walls and floors are never as saturated as an object."""
    return colorsys.hsv_to_rgb(rng.random(), saturation * rng.random() ** 1.5,
                               rng.uniform(*value))


def _draw_pairs(rng, level, pairs, pairs_for_target):
    """(colour, shape) of each object, no two alike, the target's first."""
    if not pairs_for_target:
        raise SimError('no (colour, shape) pair is left for the target')
    low, high = _COUNTS[level]
    count = int(rng.integers(low, high + 1))
    named = [tuple(pairs_for_target[int(rng.integers(len(pairs_for_target)))])]
    while len(named) < count:
        free = [pair for pair in pairs if pair not in named]
        alike = [pair for pair in free
                 if (pair[0] == named[0][0]) != (pair[1] == named[0][1])]
        if level == 'easy':
            free = [pair for pair in free if not any(
                pair[0] == other[0] or pair[1] == other[1] for other in named)]
        elif len(named) == 1 or rng.random() < 0.45:
            # The first distractor always shares the colour or the shape of the target.
            free = _same_half_of_the_time(rng, named[0], alike) or free
        if not free:
            raise SimError(f'{len(pairs)} (colour, shape) pairs cannot make up a scene of '
                           f'{count} objects at level {level!r}: allow more pairs')
        named.append(tuple(free[int(rng.integers(len(free)))]))
    return named


def _same_half_of_the_time(rng, target, alike):
    """Those of `alike` with the target's colour, or those with its shape, at even odds."""
    colour = [pair for pair in alike if pair[0] == target[0]]
    shape = [pair for pair in alike if pair[1] == target[1]]
    return (colour or shape) if rng.random() < 0.5 else (shape or colour)


def _place(rng, level, room, named):
    """Objects with free floor between them, and a start from which the first can be reached."""
    for _ in range(_TRIES):
        objects = _spread(rng, room, named, _SPACING_M[level])
        if objects is None:
            continue
        for _ in range(20):
            start = _draw_start(rng, level, room, objects)
            if start is not None and reachable(room, objects, start, objects[0]):
                return objects, start
    raise SimError(f'no layout found for {len(named)} objects at level {level!r} '
                   f'in a room of {room[0]:.1f} by {room[1]:.1f} m (half sizes)')


def _spread(rng, room, named, spacing):
    objects = []
    for colour, shape in named:
        for _ in range(60):
            x, y = (float(rng.uniform(-half + _WALL_GAP_M, half - _WALL_GAP_M)) for half in room)
            if all(math.hypot(x - o.x, y - o.y) >= spacing for o in objects):
                break
        else:
            return None
        objects.append(SceneObject(
            shape, colour, x, y, yaw=float(rng.uniform(-math.pi, math.pi)),
            scale=SCALES[int(rng.integers(len(SCALES)))], rgb=_paint(rng, colour)))
    return objects


def _paint(rng, colour):
    """The colour's RGB with a little jitter in hue, saturation and value."""
    hue, saturation, value = colorsys.rgb_to_hsv(*COLOURS[colour])
    hue = (hue + rng.uniform(-0.010, 0.010)) % 1.0
    saturation = min(1.0, saturation * rng.uniform(0.92, 1.0))
    value = min(1.0, value * rng.uniform(0.90, 1.08))
    return tuple(float(part) for part in colorsys.hsv_to_rgb(hue, saturation, value))


def _draw_start(rng, level, room, objects):
    gap = 0.5
    x, y = (float(rng.uniform(-half + gap, half - gap)) for half in room)
    yaw = float(rng.uniform(-math.pi, math.pi))
    if any(math.hypot(x - o.x, y - o.y) < _START_GAP_M for o in objects):
        return None
    goal = objects[0]
    bearing = math.atan2(goal.y - y, goal.x - x)
    if level == 'easy':
        yaw = math.remainder(bearing + float(rng.uniform(-1, 1)) * _VIEW_HALF_ANGLE, 2 * math.pi)
        if math.hypot(goal.x - x, goal.y - y) > 4.0 or _hidden(x, y, goal, objects):
            return None
    if level == 'hard' and not _hidden(x, y, goal, objects):
        return None
    return x, y, yaw


def _hidden(x, y, goal, objects):
    """Whether another object stands in front of a part of `goal`, seen from (x, y)."""
    distance = math.hypot(goal.x - x, goal.y - y)
    bearing = math.atan2(goal.y - y, goal.x - x)
    half = math.asin(min(1.0, goal.half_width_m / distance))
    for other in objects:
        away = math.hypot(other.x - x, other.y - y)
        if other is goal or away >= distance:
            continue
        apart = abs(math.remainder(math.atan2(other.y - y, other.x - x) - bearing, 2 * math.pi))
        if apart < half + math.asin(min(1.0, other.half_width_m / away)):
            return True
    return False


def reachable(room, objects, start, goal, margin_m: float = 0.07) -> bool:
    """Whether the robot can drive from `start` to within the success radius of `goal`."""
    cell = 0.1
    xs, ys = (np.arange(-half, half + cell / 2, cell) for half in room)
    px, py = np.meshgrid(xs, ys, indexing='ij')
    wide = ROBOT_RADIUS_M + margin_m
    free = (np.abs(px) < room[0] - wide) & (np.abs(py) < room[1] - wide)
    for thing in objects:
        free &= np.hypot(px - thing.x, py - thing.y) > thing.radius_m + wide
    reached = free & (np.hypot(px - start[0], py - start[1]) < 1.5 * cell)
    ends = np.hypot(px - goal.x, py - goal.y) < SUCCESS_RADIUS_M
    while not (reached & ends).any():
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= free
        if (grown == reached).all():
            return False
        reached = grown
    return True
