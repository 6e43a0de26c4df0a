"""Read a dataset for training: windows of any episode, without decoding whole videos."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from vla_nav.contract import Contract
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.lerobot import INFO_PATH, OWN_PATH, STATS_PATH, TASKS_PATH, VERSION
from vla_nav.episodes.video import VideoReader

OPEN_VIDEOS = 4
CACHED_BYTES = 2 << 30
"""Encoded images kept in memory by each thread that reads."""
_INHERITED: list[dict] = []


@dataclass(frozen=True)
class EpisodeEntry:
    """One episode in the index. Rows are first_row to first_row + length of the dataset."""

    index: int
    first_row: int
    length: int
    tasks: tuple[str, ...]
    outcome: str
    source: str
    """Name of the bag it came from."""
    bag: int
    """Number of that bag: names may be the same, and a bag may yield several episodes."""
    data_path: str
    video_path: str
    """Empty when the images are in the data file."""
    first_frame: int
    """Number of its first frame within the video file."""


@dataclass(frozen=True)
class Window:
    """T rows of one episode. Rows outside the episode are not valid and must be masked."""

    images: np.ndarray | None
    """uint8 (T, H, W, 3) RGB; invalid rows repeat the nearest valid one."""
    actions: np.ndarray
    """float32 (T, 2), SI units; zero where not valid."""
    state: np.ndarray | None
    """float32 (T, 2): the measured velocities; zero where not valid."""
    intervention: np.ndarray
    """bool (T,)."""
    valid: np.ndarray
    """bool (T,)."""
    instructions: tuple[str, ...]
    """T sentences; invalid rows repeat the nearest valid one."""


class EpisodeDataset:
    """A LeRobotDataset v3.0 folder that `vla_nav dataset` built.

    It may be handed to worker processes and used by several threads: each opens files of its
    own.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        """Read index and numbers, but no image.

        Raises EpisodeError if the folder is not such a dataset or files are missing.
        """
        self.root = Path(root)
        if not self.root.exists():
            raise EpisodeError(f'{self.root} does not exist; give a dataset of `vla_nav dataset`')
        if not (self.root / INFO_PATH).exists() and any(
                any(self.root.glob(name)) for name in ('metadata.yaml', '*/metadata.yaml')):
            raise EpisodeError(f'{self.root} holds bags; make a dataset of them: vla_nav dataset '
                               f'{self.root} --out DIR')
        self.info = self._json(INFO_PATH)
        if self.info.get('codebase_version') != VERSION:
            raise EpisodeError(f'{self.root} is LeRobotDataset '
                               f'{self.info.get("codebase_version")}; expected {VERSION}')
        own = self._json(OWN_PATH)
        self.contract = Contract.from_dict(own['contract'])
        self.sha256: str = own['sha256']
        self.image_key: str = own['image_key']
        self.statistics: dict = self._json(STATS_PATH)
        self.tasks = tuple(self._table(TASKS_PATH).column('__index_level_0__').to_pylist())
        self.tasks_sha256 = hashlib.sha256('\n'.join(self.tasks).encode()).hexdigest()
        """Of the sentences, which `sha256` does not count."""
        self._has_video = self.info['features'][self.image_key]['dtype'] == 'video'
        self.episodes = self._entries([number for number, bag in enumerate(own['bags'])
                                       for _ in range(bag['episodes'])])
        self._load_rows()
        self._local = threading.local()

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def rows(self) -> int:
        """Number of rows in all episodes."""
        return len(self.actions)

    def instruction(self, row: int) -> str:
        """The instruction in force in a row of the dataset."""
        return self.tasks[self.task_index[row]]

    def window(self, episode: int, start: int, length: int, *, images: bool = True) -> Window:
        """Return `length` rows of an episode from its row `start` on.

        The window may begin before the episode or end behind it; such rows are not valid.
        Raises IndexError if no row lies in the episode.
        """
        entry = self.episodes[episode]
        wanted = np.arange(start, start + length)
        valid = (wanted >= 0) & (wanted < entry.length)
        if not valid.any():
            raise IndexError(f'window {start} to {start + length} is outside episode {episode} '
                             f'of {entry.length} rows')
        inside = np.clip(wanted, 0, entry.length - 1)
        rows = entry.first_row + inside
        frames = None
        if images:
            first, last = int(inside[0]), int(inside[-1])
            frames = self.frames(episode, first, last + 1)[inside - first]
        keep = valid[:, None]
        return Window(
            images=frames, actions=np.where(keep, self.actions[rows], 0.0).astype(np.float32),
            state=None if self.state is None
            else np.where(keep, self.state[rows], 0.0).astype(np.float32),
            intervention=self.intervention[rows] & valid, valid=valid,
            instructions=tuple(self.tasks[task] for task in self.task_index[rows]))

    def frames(self, episode: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return the images of rows [start, stop) of an episode, uint8 (T, H, W, 3) RGB."""
        entry = self.episodes[episode]
        stop = entry.length if stop is None else stop
        if not 0 <= start < stop <= entry.length:
            raise IndexError(f'rows {start} to {stop} are outside episode {episode} of '
                             f'{entry.length} rows')
        if self._has_video:
            numbers = range(entry.first_frame + start, entry.first_frame + stop)
            return self._video(entry.video_path).read(numbers)
        column = self._images(entry)
        return np.stack([self._decoded(column[row].as_py()['bytes'], entry, row)
                         for row in range(start, stop)])

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key != '_local'}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def _json(self, relative: str) -> dict:
        path = self.root / relative
        try:
            return json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError) as error:
            raise EpisodeError(f'{path} cannot be read ({error}); is {self.root} a dataset of '
                               '`vla_nav dataset`? If so, build it again') from None

    def _table(self, relative: str, columns: list[str] | None = None):
        path = self.root / relative
        try:
            return pq.read_table(path, columns=columns)
        except (OSError, ValueError) as error:
            raise EpisodeError(f'{path} cannot be read ({error}); build the dataset again'
                               ) from None

    def _entries(self, bags: list[int]) -> list[EpisodeEntry]:
        """Read the index; `bags` says of each episode from which bag it came."""
        entries = []
        for path in sorted(self.root.glob('meta/episodes/*/*.parquet')):
            table = self._table(str(path.relative_to(self.root)))
            table = table.select([name for name in table.column_names
                                  if not name.startswith('stats/')])
            entries += table.to_pylist()
        if not len(entries) == self.info['total_episodes'] == len(bags):
            raise EpisodeError(f'{self.root} lists {len(entries)} episodes, meta/info.json says '
                               f'{self.info["total_episodes"]}, {OWN_PATH} {len(bags)}; build the '
                               'dataset again')
        entries.sort(key=lambda row: row['episode_index'])
        return [self._entry(row, bag) for row, bag in zip(entries, bags)]

    def _entry(self, row: dict, bag: int) -> EpisodeEntry:
        data = self.info['data_path'].format(chunk_index=row['data/chunk_index'],
                                             file_index=row['data/file_index'])
        video, first = '', 0
        if self._has_video:
            prefix = f'videos/{self.image_key}/'
            video = self.info['video_path'].format(
                video_key=self.image_key, chunk_index=row[prefix + 'chunk_index'],
                file_index=row[prefix + 'file_index'])
            first = round(row[prefix + 'from_timestamp'] * self.contract.rate_hz)
        return EpisodeEntry(row['episode_index'], row['dataset_from_index'], row['length'],
                            tuple(row['tasks']), row['outcome'], row['source'], bag, data,
                            video, first)

    def _load_rows(self) -> None:
        names = ['action', 'intervention', 'task_index']
        if 'observation.state' in self.info['features']:
            names.append('observation.state')
        columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for path in dict.fromkeys(entry.data_path for entry in self.episodes):
            table = self._table(path, names)
            for name in names:
                array = table.column(name).combine_chunks()
                values = (array.flatten().to_numpy().reshape(len(array), -1)
                          if name in ('action', 'observation.state')
                          else array.to_numpy(zero_copy_only=False))
                columns[name].append(values)
        joined = {name: np.concatenate(parts) for name, parts in columns.items()}
        self.actions: np.ndarray = joined['action']
        self.state: np.ndarray | None = joined.get('observation.state')
        self.intervention: np.ndarray = joined['intervention'].astype(bool)
        self.task_index: np.ndarray = joined['task_index']

    def _cache(self, name: str) -> OrderedDict:
        # A forked worker inherits open files. It must neither use them, as their position is
        # shared, nor close them, as the decoder would wait for threads that were not forked.
        if getattr(self._local, 'process', None) != os.getpid():
            _INHERITED.append(dict(self._local.__dict__))
            self._local.__dict__.clear()
            self._local.process = os.getpid()
        return self._local.__dict__.setdefault(name, OrderedDict())

    def _video(self, path: str) -> VideoReader:
        cache = self._cache('videos')
        if path not in cache:
            cache[path] = VideoReader(self.root / path, self.contract.rate_hz)
            if len(cache) > OPEN_VIDEOS:
                cache.popitem(last=False)[1].close()
        cache.move_to_end(path)
        return cache[path]

    def _images(self, entry: EpisodeEntry):
        cache = self._cache('groups')
        if entry.index not in cache:
            siblings = [other.index for other in self.episodes
                        if other.data_path == entry.data_path]
            file = pq.ParquetFile(self.root / entry.data_path)
            group = siblings.index(entry.index)  # each episode is one row group
            cache[entry.index] = file.read_row_group(group, [self.image_key]).column(0)
            while len(cache) > 1 and sum(c.nbytes for c in cache.values()) > CACHED_BYTES:
                cache.popitem(last=False)
        return cache[entry.index]

    def _decoded(self, data: bytes, entry: EpisodeEntry, row: int) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise EpisodeError(f'{self.root / entry.data_path}: row {row} of episode '
                               f'{entry.index} holds no image; build the dataset again')
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
