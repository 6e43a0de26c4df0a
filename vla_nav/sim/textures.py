"""Procedural textures for floors and walls: grey-level patterns that a tint colours.

Each is a seeded function of numpy alone, tileable, uint8 (SIZE, SIZE, 3).
"""
import functools

import numpy as np

SIZE = 256
"""Pixels along a side; a tile covers TILE_M metres."""
TILE_M = 2.0


def _noise(rng, cells, octaves=4) -> np.ndarray:
    """Tileable value noise in 0..1, float (SIZE, SIZE)."""
    total = np.zeros((SIZE, SIZE))
    weight = 0.0
    for octave in range(octaves):
        n = min(cells * 2 ** octave, SIZE)
        grid = rng.random((n, n))
        at = np.arange(SIZE) * n / SIZE
        low = at.astype(int)
        t = at - low
        t = t * t * (3 - 2 * t)
        high = (low + 1) % n
        rows = grid[low] * (1 - t)[:, None] + grid[high] * t[:, None]
        total += (rows[:, low] * (1 - t) + rows[:, high] * t) / 2 ** octave
        weight += 1 / 2 ** octave
    return total / weight


def _grey(values) -> np.ndarray:
    return np.repeat(np.clip(values, 0, 1)[:, :, None], 3, axis=2)


def _cells(n) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row and column of each pixel's cell in an n x n grid and its offset within, 0..1."""
    at = np.arange(SIZE) * n / SIZE
    index, offset = at.astype(int), at % 1
    return (np.repeat(index[:, None], SIZE, 1), np.repeat(index[None], SIZE, 0),
            np.repeat(offset[:, None], SIZE, 1), np.repeat(offset[None], SIZE, 0))


def _plain(rng):
    return _grey(0.93 + 0.07 * _noise(rng, 8))


def _planks(rng, n=10):
    row, _, offset, _ = _cells(n)
    shade = 0.72 + 0.22 * rng.random((n, 2))
    joint = rng.integers(0, SIZE, (n, 2))
    column = np.repeat(np.arange(SIZE)[None], SIZE, 0)
    first, second = np.sort(joint, axis=1).T
    side = ((column >= first[row]) & (column < second[row])).astype(int)
    grain = _noise(rng, 4)[:, np.arange(SIZE) // 6]
    grain = 0.5 * grain + 0.5 * np.repeat(rng.random((SIZE, 1)), SIZE, 1)
    values = shade[row, side] + 0.12 * (grain - 0.5)
    values[(offset < 0.05)] *= 0.6
    values[(column == first[row]) | (column == second[row])] *= 0.6
    return _grey(values)


def _tiles(rng, n=5):
    row, column, down, right = _cells(n)
    values = (0.80 + 0.12 * rng.random((n, n)))[row, column] + 0.06 * (_noise(rng, 16) - 0.5)
    values[(down < 0.05) | (right < 0.05)] = 0.55
    return _grey(values)


def _checker(rng, n=4):
    row, column, _, _ = _cells(n)
    values = np.where((row + column) % 2, 0.92, 0.66) + 0.05 * (_noise(rng, 16) - 0.5)
    return _grey(values)


def _concrete(rng):
    values = 0.72 + 0.35 * (_noise(rng, 4, 6) - 0.5) + 0.06 * (rng.random((SIZE, SIZE)) - 0.5)
    return _grey(values)


def _carpet(rng):
    return _grey(0.74 + 0.34 * (rng.random((SIZE, SIZE)) - 0.5) + 0.15 * (_noise(rng, 6) - 0.5))


def _stripes(rng, n=8):
    _, column, _, _ = _cells(n)
    return _grey(np.where(column % 2, 0.92, 0.80) + 0.04 * (_noise(rng, 16) - 0.5))


def _bricks(rng, n=10):
    row, _, down, _ = _cells(n)
    at = (np.arange(SIZE)[None] * (n / 2) / SIZE + 0.5 * (row % 2)) % (n / 2)
    values = (0.68 + 0.22 * rng.random((n, n)))[row, at.astype(int)]
    values = values + 0.10 * (_noise(rng, 16) - 0.5)
    values[(down < 0.10) | (at % 1 < 0.05)] = 0.95
    return _grey(values)


def _herringbone(rng, n=8):
    row, column, down, right = _cells(n)
    lean = (row + column) % 2
    along = np.where(lean, down + right, down - right)
    values = 0.78 + 0.14 * np.sin(along * 4 * np.pi) * np.where(lean, 1, 0.8)
    return _grey(values + 0.08 * (_noise(rng, 16) - 0.5))


def _terrazzo(rng):
    values = np.full((SIZE, SIZE), 0.86) + 0.05 * (_noise(rng, 16) - 0.5)
    y, x = np.mgrid[:SIZE, :SIZE]
    for _ in range(150):
        cy, cx, radius = *rng.integers(0, SIZE, 2), rng.uniform(1.5, 5.0)
        dy = (y - cy + SIZE // 2) % SIZE - SIZE // 2
        dx = (x - cx + SIZE // 2) % SIZE - SIZE // 2
        values[dx * dx + dy * dy < radius * radius] = rng.uniform(0.35, 1.0)
    return _grey(values)


def _marble(rng):
    veins = np.abs(np.sin(_noise(rng, 4, 5) * 6 * np.pi)) ** 0.35
    return _grey(0.55 + 0.42 * veins)


def _wavy(rng, n=6):
    y, x = np.mgrid[:SIZE, :SIZE] * 2 * np.pi / SIZE
    return _grey(0.80 + 0.13 * np.sin(n * y + 1.5 * np.sin(2 * x)) + 0.05 * (_noise(rng, 8) - 0.5))


_MAKERS = {
    'plain': _plain, 'planks': _planks, 'narrow-planks': lambda rng: _planks(rng, 16),
    'tiles': _tiles, 'small-tiles': lambda rng: _tiles(rng, 10), 'checker': _checker,
    'concrete': _concrete, 'carpet': _carpet, 'stripes': _stripes,
    'bricks': _bricks, 'herringbone': _herringbone, 'terrazzo': _terrazzo, 'marble': _marble,
    'wavy': _wavy,
}
NAMES = tuple(_MAKERS)

SEEN_FLOORS = ('plain', 'planks', 'narrow-planks', 'tiles', 'small-tiles', 'checker', 'concrete',
               'carpet')
SEEN_WALLS = ('plain', 'concrete', 'stripes', 'tiles')
# For level 'hard' and split 'textures' alone.
UNSEEN_FLOORS = ('herringbone', 'terrazzo', 'marble', 'wavy')
UNSEEN_WALLS = ('bricks', 'marble', 'wavy', 'terrazzo')


@functools.cache
def texture(name: str) -> np.ndarray:
    """The named pattern, uint8 (SIZE, SIZE, 3), the same in every process."""
    values = _MAKERS[name](np.random.default_rng(NAMES.index(name)))
    image = (values * 255).astype(np.uint8)
    image.flags.writeable = False
    return image
