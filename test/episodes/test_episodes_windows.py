"""Windows of a dataset, from any process, without what lies outside of it."""

import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest
from small_robot import Robot

from vla_nav.episodes.dataset import DatasetSettings, build_dataset
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.video import VideoReader
from vla_nav.episodes.windows import EpisodeDataset


@pytest.fixture(scope='module', params=['mp4', 'png'])
def root(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp('windows')
    for index in range(3):
        Robot(steps=40 + 7 * index, instruction=f'task {index % 2}').write(
            folder / 'bags', f'bag_{index}')
    return build_dataset([folder / 'bags'], folder / 'out',
                         DatasetSettings(images=request.param)).root


def test_a_window_holds_the_rows_of_its_episode(root):
    dataset = EpisodeDataset(root)
    whole = dataset.frames(1)
    first = dataset.episodes[1].first_row
    window = dataset.window(1, 5, 8)
    assert np.array_equal(window.images, whole[5:13])
    assert np.array_equal(window.actions, dataset.actions[first + 5:first + 13])
    assert window.actions.dtype == np.float32
    assert window.valid.all()
    assert window.instructions == ('task 1',) * 8


def test_rows_outside_are_masked_and_do_not_leak_from_the_neighbours(root):
    dataset = EpisodeDataset(root)
    length = dataset.episodes[1].length
    window = dataset.window(1, length - 3, 8)
    assert window.valid.tolist() == [True] * 3 + [False] * 5
    assert not window.actions[3:].any()
    assert not window.state[3:].any()
    assert np.array_equal(window.images[3:], np.repeat(window.images[2:3], 5, axis=0))
    head = dataset.window(1, -2, 4)
    assert head.valid.tolist() == [False, False, True, True]
    assert np.array_equal(head.images[0], dataset.frames(1, 0, 1)[0])
    assert set(head.instructions) == {'task 1'}


def test_windows_in_any_order_are_the_same(root):
    dataset = EpisodeDataset(root)
    whole = [dataset.frames(episode) for episode in range(3)]
    rng = np.random.default_rng(0)
    for _ in range(40):
        episode = int(rng.integers(3))
        start = int(rng.integers(dataset.episodes[episode].length - 4))
        assert np.array_equal(dataset.window(episode, start, 4).images,
                              whole[episode][start:start + 4])


def test_a_window_decodes_no_more_than_it_needs(root, monkeypatch):
    dataset = EpisodeDataset(root)
    if dataset.info['video_path'] is None:
        pytest.skip('images are not in a video')
    decoded = []
    original = VideoReader.read

    def read(self, numbers):
        frames = self._container.decode

        class Counting:
            def seek(inner, *args, **kwargs):
                return container.seek(*args, **kwargs)

            def decode(inner, stream):
                for frame in frames(stream):
                    decoded.append(frame.pts)
                    yield frame

        container, self._container = self._container, Counting()
        try:
            return original(self, numbers)
        finally:
            self._container = container

    monkeypatch.setattr(VideoReader, 'read', read)
    dataset.window(2, 15, 4)
    assert 4 <= len(decoded) <= 6


def test_without_images_no_file_is_opened(root):
    dataset = EpisodeDataset(root)
    assert dataset.window(0, 0, 4, images=False).images is None
    assert not dataset._local.__dict__


def _digest(dataset, queue):
    queue.put((os.getpid(), int(dataset.window(1, 3, 6).images.astype(np.int64).sum())))


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_workers_read_the_same(root, method):
    dataset = EpisodeDataset(root)
    expected = int(dataset.window(1, 3, 6).images.astype(np.int64).sum())
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    workers = [context.Process(target=_digest, args=(dataset, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    results = dict(queue.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
    assert len(results) == 2
    assert set(results.values()) == {expected}


def test_threads_read_the_same(root):
    dataset = EpisodeDataset(root)
    expected = [dataset.frames(episode) for episode in range(3)]
    wrong = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(15):
            episode, start = int(rng.integers(3)), int(rng.integers(15))
            if not np.array_equal(dataset.frames(episode, start, start + 3),
                                  expected[episode][start:start + 3]):
                wrong.append((episode, start))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_it_can_be_handed_on_after_use(root):
    dataset = EpisodeDataset(root)
    dataset.window(0, 0, 2)
    copy = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(copy.frames(2), dataset.frames(2))
    assert copy.sha256 == dataset.sha256


def test_a_window_entirely_outside_is_refused(root):
    dataset = EpisodeDataset(root)
    with pytest.raises(IndexError, match='outside episode 0'):
        dataset.window(0, 1000, 4)


def test_a_folder_that_is_no_dataset_is_named(tmp_path):
    with pytest.raises(EpisodeError, match=r'info.json cannot be read .* is .* a dataset'):
        EpisodeDataset(tmp_path)
    (tmp_path / 'episode').mkdir()
    (tmp_path / 'episode' / 'metadata.yaml').touch()
    with pytest.raises(EpisodeError, match='holds bags; make a dataset of them: vla_nav dataset'):
        EpisodeDataset(tmp_path)
