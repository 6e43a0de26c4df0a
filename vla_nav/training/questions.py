"""Vision-language data for co-fine-tuning (RT-2, arXiv 2307.15818): images, questions, answers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from vla_nav.contract import Camera
from vla_nav.frames import prepare_image
from vla_nav.training.errors import TrainError
from vla_nav.training.folders import keyed_folder
from vla_nav.training.grounding import (
    CAPTION,
    COLOUR_NAMES,
    LOCATION_TOKENS,
    NOWHERE,
    SHAPE_NAMES,
    WHERE,
    location_token,
)
from vla_nav.training.language import choose_pairs, clearly
from vla_nav.training.progress import Progress
from vla_nav.training.views import Views, load_views, make_views, views_in

EXAMPLES = 'examples.jsonl'
FIELDS = ('image', 'prompt', 'answer')
CAPTIONS = 0.4
"""Share of captions among the questions about simulated views."""
VIEW_SEED = 1
"""Other scenes than those the nano VLM is pretrained on."""
SIDE_RAD = math.radians(8)
"""Bearings beyond this are left or right, not ahead."""


@dataclass(frozen=True)
class Question:
    """One image, what is asked about it, and the answer."""

    image: np.ndarray
    """uint8 (H, W, 3), of the size the policy sees."""
    prompt: str
    answer: str


class Questions(Protocol):
    """A supply of questions."""

    def draw(self, rng: np.random.Generator) -> Question:
        """Draw one."""

    def texts(self) -> list[str]:
        """What may be said, so that action tokens take other words."""


class ViewQuestions:
    """Captions and 'where is' questions about simulated views, whose answers the simulator knows.

    A backbone that has location tokens, as nano does, answers with them; others in words.
    """

    def __init__(self, views: Views, tokenizer) -> None:
        self._views = views
        self._own_tokens = LOCATION_TOKENS[0] in tokenizer.get_vocab()

    def draw(self, rng: np.random.Generator) -> Question:
        index = int(rng.integers(len(self._views)))
        image, visible = self._views.image(index), self._views.objects[index]
        if rng.random() < CAPTIONS:
            things = [f'{COLOUR_NAMES[int(o[0])]} {SHAPE_NAMES[int(o[1])]}{self._place(o)}'
                      for o in rng.permutation(clearly(visible))]
            return Question(image, *self._caption(things))
        pair, thing = next(choose_pairs(visible, 1, rng))
        question = f'where is the {COLOUR_NAMES[pair[0]]} {SHAPE_NAMES[pair[1]]}'
        mark = WHERE if self._own_tokens else '? '
        return Question(image, f'{{image}}{question}{mark}', self._answer(thing))

    def texts(self) -> list[str]:
        return ['where is the? describe the objects: left, right, ahead, not in view, nothing m',
                *(f' {name}' for name in (*COLOUR_NAMES, *SHAPE_NAMES)), '0123456789.']

    def _caption(self, things: list[str]) -> tuple[str, str]:
        if self._own_tokens:
            return f'{{image}}{CAPTION}', ''.join(things)
        return '{image}describe the objects: ', '; '.join(things) or 'nothing'

    def _answer(self, thing: np.ndarray | None) -> str:
        if thing is None:
            return NOWHERE if self._own_tokens else 'not in view'
        return self._place(thing).strip()

    def _place(self, thing: np.ndarray) -> str:
        bearing, distance = float(thing[2]), float(thing[3])
        if self._own_tokens:
            return location_token(bearing, distance)
        side = 'ahead' if abs(bearing) < SIDE_RAD else 'left' if bearing > 0 else 'right'
        return f' {side}, {distance:.1f} m'


class RecordedQuestions:
    """Questions of a folder: examples.jsonl, each line with image (a file), prompt and answer."""

    def __init__(self, folder: Path, camera: Camera) -> None:
        self._folder = folder
        self._camera = Camera(width=camera.width, height=camera.height)
        self._examples = []
        path = folder / EXAMPLES
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), start=1):
            try:
                example = json.loads(line)
                self._examples.append(tuple(str(example[name]) for name in FIELDS))
            except (ValueError, KeyError, TypeError) as error:
                raise TrainError(f'{path}, line {number}: {error!r}; expected an object with '
                                 'image, prompt and answer') from None
        if not self._examples:
            raise TrainError(f'{path} is empty; expected one object with image, prompt and answer '
                             'in each line')

    def draw(self, rng: np.random.Generator) -> Question:
        name, prompt, answer = self._examples[int(rng.integers(len(self._examples)))]
        pixels = cv2.imread(str(self._folder / name), cv2.IMREAD_COLOR)
        if pixels is None:
            raise TrainError(f'{self._folder / name} is no image; expected what {EXAMPLES} names')
        image = prepare_image(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), self._camera)
        return Question(image, prompt, answer)

    def texts(self) -> list[str]:
        return [text for _, prompt, answer in self._examples for text in (prompt, answer)]


def make_questions(root: Path, camera: Camera, count: int, workers: int) -> Path:
    """Render simulated views for questions, where they are not there yet; return their folder."""
    folder = keyed_folder(root, {'views': count, 'image': [camera.width, camera.height,
                                                           *camera.crop]})
    if views_in(folder) < count:
        with Progress('views for questions', count) as progress:
            make_views(folder, camera, count, VIEW_SEED, 1, workers, progress.advance)
    return folder


def open_questions(folder: Path, camera: Camera, tokenizer) -> Questions:
    """Open a folder of views (as `vla_nav pretrain` makes them) or of recorded questions."""
    if (folder / EXAMPLES).is_file():
        return RecordedQuestions(folder, camera)
    count = views_in(folder)
    if not count:
        raise TrainError(f'{folder} holds no vision-language data; expected {EXAMPLES}, or views '
                         'such as `vla_nav pretrain` makes')
    views = load_views(folder, count)
    shape = views.image(0).shape
    if shape != (camera.height, camera.width, 3):
        raise TrainError(f'{folder}: its views have {shape[1]}x{shape[0]} pixels, the policy sees '
                         f'{camera.width}x{camera.height}; expected the same size')
    return ViewQuestions(views, tokenizer)
