"""Batches: the right targets and masks, and the same on any number of processes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.policy import Backbone, PolicyModel, choose_token_ids, load_variant, make_head
from vla_nav.training.augment import mirror_instruction
from vla_nav.training.data import Demonstrations, read_tracks
from vla_nav.training.objective import FrameObjective
from vla_nav.training.questions import Question
from vla_nav.training.samples import ContextSource, FrameSource, WholeLegs, Windows
from vla_nav.training.settings import TrainingSettings

VARIANT = load_variant('lora_head').with_settings({'head.window': 6, 'head.chunk': 4})
STATE = VARIANT.with_settings({'head.inputs': ['previous_action', 'velocity']})
PLAIN = TrainingSettings(batch=8, colour=0.0, shift=0.0, seed=1)


@pytest.fixture(scope='module')
def recorded(dataset):
    return EpisodeDataset(dataset)


@pytest.fixture(scope='module')
def data(recorded):
    """All but the last two episodes to train on."""
    found = Demonstrations.of(read_tracks(recorded, STATE), recorded.contract, 0.3, 0, {})
    return replace(found, training=[0, 1, 2, 3], validation=[4, 5])


@pytest.fixture
def source(recorded, data):
    def make(settings=PLAIN, variant=STATE):
        return FrameSource(recorded, data, variant, settings)
    return make


def test_targets_are_the_actions_from_each_frame_on(source, recorded, data):
    made, normaliser = source(), data.normaliser
    batch = made.batch(3)
    # A window of 6 has 5 frames of history; a sequence is three times that, and the present one.
    rows = made._sampler.rows(3)
    length = max(row.stop for row in rows)  # what comes after the last judged frame is left out
    assert batch.targets.shape == (8, length, 4, 2)
    assert made.frames(3) == sum(row.stop for row in rows)
    images = batch.images.reshape(8, length, 64, 64, 3)
    for row, (episode, start, _, first, stop) in enumerate(rows):
        whole = recorded.window(episode, 0, 24)
        actions = normaliser.normalise(whole.actions)
        inside = min(length, 24 - start)
        assert (images[row, :inside] == whole.images[start:start + inside]).all()
        for t in range(length):
            real = min(4, 24 - start - t) if first <= t < stop else 0
            assert batch.mask[row, t].tolist() == [1.0] * real + [0.0] * (4 - real)
            np.testing.assert_array_equal(batch.targets[row, t, :real],
                                          actions[start + t:start + t + real])
            if t >= inside:
                continue
            before = actions[start + t - 1] if start + t else normaliser.normalise(np.zeros(2))
            np.testing.assert_array_equal(batch.inputs[row, t, :2], before)
            np.testing.assert_array_equal(batch.inputs[row, t, 2:],
                                          normaliser.normalise(whole.state[start + t]))


def test_a_window_longer_than_an_episode_is_masked(source):
    made = source(replace(PLAIN, window=30))
    batch = made.batch(0)
    assert batch.mask.shape[:2] == (8, max(row.stop for row in made._sampler.rows(0)))
    for row, sequence in enumerate(made._sampler.rows(0)):
        judged = batch.mask[row, :, 0].nonzero().flatten().tolist()
        assert judged == list(range(sequence.first, sequence.stop))
        assert sequence.start + sequence.stop <= 24


def test_parts_make_up_the_batch_and_weigh_as_much_as_they_hold(source):
    whole = source().batch(2)
    parts = [source().batch(2, part, 3) for part in range(3)]
    assert [len(part.targets) for part in parts] == [3, 3, 2]
    for number, part in enumerate(parts):
        assert torch.equal(part.targets, whole.targets[number::3, :part.targets.shape[1]])
        assert part.weight == pytest.approx(float(part.mask.sum() / whole.mask.sum()))
    assert whole.weight == 1.0


class Ask:
    """Questions whose answers differ in length."""

    def draw(self, rng):
        answer = ('red', 'a red ball and a blue ball and a red ball')[int(rng.integers(2))]
        return Question(np.zeros((64, 64, 3), np.uint8), '{image}what is there?', answer)


def test_parts_with_and_without_questions_add_up_to_the_batch(recorded, data, tiny_backbone):
    backbone = Backbone.load(tiny_backbone)
    variant = load_variant('rt2').with_settings({
        'head.chunk': 2, 'tokens.bins': 8, 'tokens.ids': choose_token_ids(backbone.tokenizer, 8)})
    head = make_head(backbone, variant, 64, 64, 2)
    model = FrameObjective(PolicyModel(backbone, variant, head, 64, 64), bf16=False)
    source = FrameSource(recorded, data, variant, PLAIN, Ask())  # of 8 sequences 3 are questions
    for step in range(2):
        with torch.no_grad():
            whole, *parts = (sum(float(model(source.batch(step, part, parts)))
                                 for part in range(parts)) for parts in (1, 2, 4, 5))
        assert parts == pytest.approx([whole] * 3, rel=1e-5)


def test_what_is_drawn_does_not_depend_on_the_parts(source):
    settings = replace(PLAIN, colour=0.2, shift=0.05, mirror=0.5, motion_dropout=0.5)
    for step in range(20):
        whole = source(settings).batch(step)
        for number in range(8):
            told = source(settings).batch(step, number, 8).inputs
            assert torch.equal(told, whole.inputs[number::8, :told.shape[1]])
    whole, part = source(settings).batch(2), source(settings).batch(2, 1, 2)
    some, every = (b.images.reshape(*b.targets.shape[:2], 64, 64, 3) for b in (part, whole))
    assert (every[1::2, :some.shape[1]] == some).all()
    assert (source(settings).batch(3).images != whole.images).any()


def test_mirrored_rows_are_mirrored_in_everything(source):
    plain, mirrored = source().batch(0), source(replace(PLAIN, mirror=1.0)).batch(0)
    assert (mirrored.images == plain.images[..., ::-1, :]).all()
    assert mirrored.instructions == tuple(map(mirror_instruction, plain.instructions))
    assert mirrored.instructions != plain.instructions
    np.testing.assert_array_equal(mirrored.actions[..., 0], plain.actions[..., 0])
    np.testing.assert_array_equal(mirrored.actions[..., 1], -plain.actions[..., 1])


def test_motion_dropout_tells_the_motion_of_another_moment(source, recorded, data):
    plain, some = source().batch(0), source(replace(PLAIN, motion_dropout=0.5)).batch(0)
    judged = plain.mask[..., 0] > 0
    other = (some.inputs != plain.inputs).any(-1)[judged].float().mean()
    assert 0.3 < other < 0.6  # another moment can have the same motion
    for name in ('targets', 'mask'):
        assert torch.equal(getattr(some, name), getattr(plain, name))
    rows = source()._sampler.rows(0)
    for row, (episode, *_) in enumerate(rows):
        whole = recorded.window(episode, 0, 24)
        moments = np.concatenate([np.vstack([[0, 0], whole.actions[:-1]]), whole.state], -1)
        moments = data.normaliser.normalise(moments.reshape(-1, 2)).reshape(24, 4)
        for told in some.inputs[row][judged[row]].numpy():
            assert np.abs(moments - told).max(-1).min() < 1e-6


def test_validation_tells_the_true_motion(source):
    plain, some = (source(replace(PLAIN, motion_dropout=rate)).validation() for rate in (0, 1))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(plain, some))


def test_every_frame_is_judged_equally_often_in_a_pass():
    lengths = [10, 5, 3]
    sampler = Windows(lengths, [0, 2], window=6, history=2, batch=2, seed=0)
    # Four frames are judged in each: 10 + 3 and 3 + 3 sequences.
    rows = [row for step in range(19 // 2) for row in sampler.rows(step)]
    rows += sampler.rows(9)[:1]
    times = {episode: np.zeros(lengths[episode], int) for episode in (0, 2)}
    for row in rows:
        times[row.leg][row.start + row.first:row.start + row.stop] += 1
        assert row.start >= 0 and row.length == 6 and row.stop <= 6
        assert row.first == 2 or row.start == 0
    assert times[0].tolist() == [4] * 10 and times[2].tolist() == [4] * 3
    assert sampler.rows(5) == sampler.rows(5)
    assert [sampler.rows(s) for s in range(4)] != [sampler.rows(s) for s in range(10, 14)]


def test_tiles_judge_every_frame_once():
    sampler = Windows([10, 5, 3], [0], window=6, history=2, batch=2, seed=0)
    judged = [(row.leg, row.start + t) for row in sampler.tiles([1, 2])
              for t in range(row.first, row.stop)]
    assert judged == [(1, t) for t in range(5)] + [(2, t) for t in range(3)]


def test_every_episode_comes_in_a_pass_of_full_batches():
    lengths = [10, 50, 11, 52, 12, 51]
    sampler = WholeLegs(lengths, [0, 1, 2, 3, 4], batch=2, seed=0)
    batches = [sampler.rows(step) for step in range(3)]
    assert all(len(rows) == 2 for rows in batches)
    assert {row.leg for rows in batches for row in rows} == {0, 1, 2, 3, 4}
    assert {row.length for row in batches[0]} <= set(lengths)


@pytest.mark.parametrize(('bags', 'validation'), [
    ([0, 1, 2, 3, 4, 5], [2, 3]), ([None] * 6, [2, 3]), ([0, 0, 1, 2, 2, 2], [3, 4, 5])])
def test_pieces_of_a_bag_are_not_split(recorded, bags, validation):
    tracks = [replace(track, bag=bag) for track, bag in
              zip(read_tracks(recorded, STATE), bags)]
    found = Demonstrations.of(tracks, recorded.contract, 0.3, 0, {})
    assert found.validation == found.facts['validation_episodes'] == validation
    assert found.training == sorted({*range(6)} - {*validation})


def test_validation_is_of_the_validation_episodes(source, recorded):
    batches = list(source().validation())
    rows = torch.cat([batch.targets for batch in batches])
    # Two episodes of 24 frames; each sequence judges 11 of its 16.
    assert len(rows) == 6
    assert sum(int(batch.mask[..., 0].sum()) for batch in batches) == 48
    half = [len(batch.targets) for part in range(2) for batch in source().validation(part, 2)]
    assert sum(half) == 6


@pytest.fixture
def told_anew(dataset):
    """The robot is told something else in row 10 of every episode."""
    recorded = EpisodeDataset(dataset)
    rows = np.arange(recorded.rows)
    recorded.task_index = (recorded.task_index + (rows % 24 >= 10)) % len(recorded.tasks)
    found = Demonstrations.of(read_tracks(recorded, STATE), recorded.contract, 0.3, 0, {})
    return recorded, found


def check_alone(batch, row, actions, normaliser):
    """A sequence is as if nothing had been before or after these actions."""
    judged = batch.mask[row, :, 0].nonzero().flatten().tolist()
    for t in judged:
        left = actions[t:t + 4]
        assert batch.mask[row, t].tolist() == [1.0] * len(left) + [0.0] * (4 - len(left))
        np.testing.assert_array_equal(batch.targets[row, t, :len(left)],
                                      normaliser.normalise(left))
    np.testing.assert_array_equal(batch.inputs[row, 0, :2], normaliser.normalise(np.zeros(2)))
    return judged


def test_with_a_new_sentence_windows_begin_anew(told_anew):
    recorded, data = told_anew
    settings = replace(PLAIN, window=24, batch=4)
    made, seen = FrameSource(recorded, data, STATE, settings), set()
    for step in range(30):
        batch = made.batch(step)
        length = batch.mask.shape[1]
        for row, sequence in enumerate(made._sampler.rows(step)):
            leg = made._legs[sequence.leg]
            said = batch.instructions[row * length:][:sequence.stop]
            assert set(said) == {recorded.instruction(24 * leg.episode + leg.start)}
            images = batch.images[row * length:][:sequence.stop]
            start = leg.start + sequence.start
            assert (images == recorded.frames(leg.episode, start, start + len(images))).all()
            if sequence.start == 0:
                stop = 24 if leg.start else 10
                whole = recorded.window(leg.episode, 0, 24).actions[leg.start:stop]
                check_alone(batch, row, whole, data.normaliser)
                seen.add((leg.episode, leg.start))
    assert seen == {(episode, start) for episode in data.training for start in (0, 10)}
    judged = sum(int(batch.mask[..., 0].sum()) for batch in made.validation())
    assert judged == 24 * len(data.validation)


def test_with_a_new_sentence_contexts_begin_anew(told_anew):
    recorded, data = told_anew
    rows = np.arange(24, dtype=np.float16)[:, None, None]
    contexts = [np.concatenate([rows, np.full_like(rows, e)], -1) for e in range(6)]
    variant = STATE.with_settings({'head.inputs': ['previous_action']})
    made = ContextSource(contexts, data, variant, replace(PLAIN, batch=3))
    for batch in (made.batch(0), *made.validation()):
        for row, seen in enumerate(batch.contexts[:, :, 0].int().tolist()):
            start, episode = seen[0]
            actions = recorded.window(episode, 0, 24).actions[start:24 if start else 10]
            judged = check_alone(batch, row, actions, data.normaliser)
            assert start in (0, 10) and judged == list(range(len(actions)))
            assert seen[:len(judged)] == [[start + place, episode] for place in judged]


def test_contexts_keep_their_frames_and_actions(data):
    contexts = [np.full((24, 1, 2), e, np.float16) for e in range(6)]
    settings = TrainingSettings(batch=3)
    source = ContextSource(contexts, data, VARIANT, settings)
    batch = source.batch(0)
    for row, contexts in enumerate(batch.contexts):
        episode = int(contexts[0, 0, 0])
        np.testing.assert_array_equal(batch.actions[row], data.tracks[episode].actions)
