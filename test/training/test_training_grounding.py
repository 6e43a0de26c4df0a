"""What the nano VLM is asked, and that its answers cannot be copied."""

import numpy as np
import pytest
import torch

from vla_nav.sim import UNSEEN_PAIRS, sample_scene
from vla_nav.training import nano
from vla_nav.training.demonstrations import LEVELS
from vla_nav.training.grounding import (
    BEARINGS,
    COLOUR_NAMES,
    DISTANCES,
    PAIRS,
    SHAPE_NAMES,
    cell,
    sentence,
)
from vla_nav.training.language import LOCATION, Asker, Packed, hidden_states
from vla_nav.training.pretrain import PROMPT, prefix_ids

SETTINGS = nano.NanoSettings(image_size=64, width=64, vision_layers=1, text_layers=2, words=400)


@pytest.fixture(scope='module')
def tokenizer():
    return nano.build_tokenizer(SETTINGS)


@pytest.fixture(scope='module')
def asker(tokenizer):
    processor = nano.build_processor(SETTINGS, tokenizer)
    return Asker(tokenizer, prefix_ids(processor), questions=4)


def view(*things):
    rows = np.full((1, 8, 5), -1, np.float32)
    rows[0, :len(things)] = things
    return rows


def test_cells_grow_to_the_left_and_away():
    assert cell(-1.5, 0.1) == (0, 0)
    assert cell(1.5, 99.0) == (BEARINGS - 1, DISTANCES - 1)
    assert cell(0.3, 1.0)[0] > cell(-0.3, 1.0)[0]


def test_sentences_always_name_colour_and_shape():
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = sentence('cyan', 'ball', rng).lower()
        assert 'cyan' in text and 'ball' in text


def test_every_pair_is_asked_about_but_demonstrations_show_only_the_seen_ones(asker, tokenizer):
    rng = np.random.default_rng(0)
    asked = ' '.join(tokenizer.decode(asker.pack(view((0, 0, 0.1, 2.0, 0.05)), rng).ids[0]).lower()
                     for _ in range(500))
    assert len(PAIRS) == len(COLOUR_NAMES) * len(SHAPE_NAMES)
    for colour, shape in UNSEEN_PAIRS:
        assert f'{colour} {shape}' in asked
    for seed in range(40):
        scene = sample_scene(seed, LEVELS[seed % len(LEVELS)])
        assert not {thing.pair for thing in scene.objects} & set(UNSEEN_PAIRS)


def test_what_is_hardly_in_view_is_not_asked_about(asker):
    rng = np.random.default_rng(0)
    for _ in range(50):
        packed = asker.pack(view((2, 1, 0.1, 5.0, 1e-5)), rng)
        assert (packed.bearing[packed.kind == LOCATION] == -1).all()


def test_answers_are_the_cells_of_what_is_in_view(asker):
    packed = asker.pack(view((0, 0, 0.2, 1.5, 0.05)), np.random.default_rng(1))
    answers = packed.kind == LOCATION
    seen = answers & (packed.bearing >= 0)
    assert seen.any()
    bearing, distance = cell(0.2, 1.5)
    assert set(packed.bearing[seen].tolist()) == {bearing}
    assert set(packed.distance[seen].tolist()) == {distance}


def test_a_question_sees_the_image_and_itself_alone(asker, tokenizer):
    model = nano.build_model(SETTINGS, tokenizer).eval()
    torch.manual_seed(0)
    features = torch.randn(1, SETTINGS.grid ** 2, SETTINGS.width)
    packed = asker.pack(view((0, 0, 0.2, 1.5, 0.05), (1, 2, -0.4, 3.0, 0.02)),
                        np.random.default_rng(2))
    last = int(packed.segment.max())
    with torch.inference_mode():
        together = hidden_states(model, features, packed)[packed.segment == last]
        kept = (packed.segment[0] == 0) | (packed.segment[0] == last)
        alone = Packed(**{name: getattr(packed, name)[:, kept]
                          for name in Packed.__dataclass_fields__})
        apart = hidden_states(model, features, alone)[alone.segment == last]
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_the_driving_prompt_is_the_question_it_was_trained_on(asker, tokenizer, tmp_path):
    from vla_nav.policy import Backbone, ContextReader, ContextSettings
    nano.save(nano.build_model(SETTINGS, tokenizer), nano.build_processor(SETTINGS, tokenizer),
              tmp_path)
    reader = ContextReader(Backbone.load(tmp_path), ContextSettings(prompt=PROMPT),
                           SETTINGS.image_size, SETTINGS.image_size)
    asked = reader.tokens(['go to the red cone'])['input_ids'][0].tolist()
    trained = asker._prefix + asker._ask((COLOUR_NAMES.index('red'), 0), None)(
        _Plain())[0]
    assert asked == trained


class _Plain:
    """A random generator that adds nothing to 'go to the red cone'."""

    def random(self):
        self.calls = getattr(self, 'calls', 0) + 1
        return 0.0 if self.calls == 1 else 0.99

    def choice(self, items):
        return items[0]
