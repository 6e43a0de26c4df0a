"""Questions for co-fine-tuning: their answers are what the simulator knows."""

import cv2
import numpy as np
import pytest

from vla_nav.contract import Camera
from vla_nav.training import nano
from vla_nav.training.errors import TrainError
from vla_nav.training.grounding import (
    COLOUR_NAMES,
    NOWHERE,
    SHAPE_NAMES,
    location_token,
)
from vla_nav.training.questions import ViewQuestions, make_questions, open_questions
from vla_nav.training.views import Views

CAMERA = Camera(width=64, height=64)


class Plain:
    """A tokenizer without location tokens."""

    def get_vocab(self):
        return {'red': 0}


@pytest.fixture(scope='module')
def tokenizer():
    return nano.build_tokenizer(nano.NanoSettings(words=400))


@pytest.fixture(scope='module')
def views():
    """One view: a red cylinder on the left, a blue cone ahead."""
    objects = np.full((1, 8, 5), -1, np.float32)
    objects[0, 0] = COLOUR_NAMES.index('red'), SHAPE_NAMES.index('cylinder'), 0.5, 2.04, 0.05
    objects[0, 1] = COLOUR_NAMES.index('blue'), SHAPE_NAMES.index('cone'), 0.0, 1.0, 0.05
    _, jpeg = cv2.imencode('.jpg', np.zeros((64, 64, 3), np.uint8))
    empty = np.zeros((1, 4, 4), np.int8)
    return Views([jpeg.ravel()], empty, empty, empty.astype(np.float16), objects)


def drawn(views, tokenizer, count=200):
    questions, rng = ViewQuestions(views, tokenizer), np.random.default_rng(0)
    return {(q.prompt, q.answer) for q in (questions.draw(rng) for _ in range(count))}


def test_nano_answers_with_its_location_tokens(views, tokenizer):
    pairs = dict(drawn(views, tokenizer))
    red, blue = location_token(0.5, 2.04), location_token(0.0, 1.0)
    assert pairs['{image}where is the red cylinder<where>'] == red
    assert pairs['{image}where is the blue cone<where>'] == blue
    captions = {a for p, a in drawn(views, tokenizer) if p == '{image}<caption>'}
    assert captions == {f'red cylinder{red}blue cone{blue}', f'blue cone{blue}red cylinder{red}'}
    others = {a for p, a in pairs.items() if 'where is' in p and 'red cylinder' not in p
              and 'blue cone' not in p}
    assert others == {NOWHERE}


def test_other_backbones_answer_in_words(views):
    pairs = dict(drawn(views, Plain()))
    assert pairs['{image}where is the red cylinder? '] == 'left, 2.0 m'
    assert pairs['{image}where is the blue cone? '] == 'ahead, 1.0 m'
    assert 'not in view' in pairs.values()
    assert pairs['{image}describe the objects: '] in (
        'red cylinder left, 2.0 m; blue cone ahead, 1.0 m',
        'blue cone ahead, 1.0 m; red cylinder left, 2.0 m')


def test_views_are_made_once(tmp_path, tokenizer):
    folder = make_questions(tmp_path, CAMERA, 4, 1)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert make_questions(tmp_path, CAMERA, 4, 1) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    question = open_questions(folder, CAMERA, tokenizer).draw(np.random.default_rng(0))
    assert question.image.shape == (64, 64, 3)
    with pytest.raises(TrainError, match='64x64 pixels, the policy sees 32x32'):
        open_questions(folder, Camera(width=32, height=32), tokenizer)


@pytest.mark.parametrize('text, message', [
    ('', 'examples.jsonl is empty'),
    ('{"image": "a.png", "prompt": "what?"}', r"line 1: KeyError\('answer'\); expected"),
    ('nonsense', 'line 1: .* expected an object with image, prompt and answer'),
])
def test_bad_examples_are_named_by_line(tmp_path, tokenizer, text, message):
    (tmp_path / 'examples.jsonl').write_text(text)
    with pytest.raises(TrainError, match=message):
        open_questions(tmp_path, CAMERA, tokenizer)


def test_a_folder_without_questions_is_refused(tmp_path, tokenizer):
    with pytest.raises(TrainError, match='holds no vision-language data; expected examples.jsonl'):
        open_questions(tmp_path, CAMERA, tokenizer)
    (tmp_path / 'examples.jsonl').write_text(
        '{"image": "a.png", "prompt": "what?", "answer": "that"}')
    with pytest.raises(TrainError, match=r'a\.png is no image'):
        open_questions(tmp_path, CAMERA, tokenizer).draw(np.random.default_rng(0))
