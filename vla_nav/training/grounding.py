"""The text that the nano VLM learns from: where is the thing the sentence names?

An answer is one location token: a cell of bearing x distance, as PaliGemma's (arXiv 2407.07726)
and Kosmos-2's (arXiv 2306.14824) location tokens are cells of the image. A driving instruction
followed by WHERE asks for the cell of the object it names; CAPTION asks for every visible object
with its cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vla_nav.sim import ALL_PAIRS, COLOURS, SHAPES, TEMPLATES

COLOUR_NAMES = tuple(COLOURS)
SHAPE_NAMES = tuple(SHAPES)
PAIRS = tuple((COLOUR_NAMES.index(colour), SHAPE_NAMES.index(shape))
              for colour, shape in ALL_PAIRS)
"""What is asked about. Among them are the simulator's unseen pairs: no demonstration shows those,
but vision-language data does, as a model from the web has seen more than any robot's data holds
(RT-2, arXiv 2307.15818)."""
WHERE = '<where>'
CAPTION = '<caption>'
NOWHERE = '<none>'
BEARINGS = 16
"""Bins from -MAX_BEARING_RAD (right) to MAX_BEARING_RAD (left)."""
MAX_BEARING_RAD = math.radians(48.0)
DISTANCE_EDGES_M = np.geomspace(0.35, 7.0, 9)[1:-1]
DISTANCES = len(DISTANCE_EDGES_M) + 1
LOCATION_TOKENS = tuple(f'<loc_{b}_{d}>' for b in range(BEARINGS) for d in range(DISTANCES))

FILLERS = ('please', 'now', 'robot', 'hey robot', 'ok', 'could you', 'you should',
           'i want you to',
           'quickly', 'slowly', 'carefully', 'for me', 'over there', 'right away', 'then',
           'thanks',
           'if you can', 'would you kindly', 'as soon as possible', 'we need you to')
LETTERS = 'aeiouaeioubcdfghjklmnpqrstvwxyz'


def cell(bearing_rad: float, distance_m: float) -> tuple[int, int]:
    """Bins of a bearing (positive left) and a distance."""
    fraction = (bearing_rad + MAX_BEARING_RAD) / (2 * MAX_BEARING_RAD)
    bearing = min(max(int(fraction * BEARINGS), 0), BEARINGS - 1)
    return bearing, int(distance_bin(distance_m))


def location_token(bearing_rad: float, distance_m: float) -> str:
    """The token of the cell of a bearing and a distance."""
    bearing, distance = cell(bearing_rad, distance_m)
    return LOCATION_TOKENS[bearing * DISTANCES + distance]


def distance_bin(distance_m: np.ndarray | float) -> np.ndarray:
    """Bins of distances, 0 to DISTANCES - 1."""
    return np.searchsorted(DISTANCE_EDGES_M, distance_m)


def sentence(colour: str, shape: str, rng: np.random.Generator) -> str:
    """Name an object in one of the training templates, with words around it that mean nothing.

    Unknown words teach the model to listen to the colour and the shape, whatever the verb.
    """
    kind = rng.random()
    if kind < 0.6:
        text = str(rng.choice(TEMPLATES)).format(colour=colour, shape=shape)
    elif kind < 0.9:
        text = f'{_babble(rng)} the {colour} {shape}'
    else:
        text = f'{_babble(rng)} the {shape} {rng.choice(["which is", "in", "of"])} {colour}'
    if rng.random() < 0.25:
        text = f'{rng.choice(FILLERS)} {text}'
    if rng.random() < 0.25:
        text = f'{text} {rng.choice(FILLERS) if rng.random() < 0.5 else _babble(rng)}'
    if rng.random() < 0.15:
        text += str(rng.choice(['.', '!', '?']))
    if rng.random() < 0.1:
        text = text.capitalize() if rng.random() < 0.7 else text.upper()
    return text


def _babble(rng: np.random.Generator) -> str:
    words = [''.join(rng.choice(list(LETTERS), rng.integers(1, 8)))
             for _ in range(rng.integers(1, 4))]
    return ' '.join(words)


def corpus(seed: int, sentences: int = 20_000) -> Iterator[str]:
    """Sentences to train the tokenizer on."""
    rng = np.random.default_rng(seed)
    for _ in range(sentences):
        yield sentence(str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES)), rng)
