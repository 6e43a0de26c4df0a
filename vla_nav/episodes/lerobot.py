"""The LeRobotDataset v3.0 layout: join converted bags into one dataset folder.

data/chunk-000/file-000.parquet holds the rows of many episodes, videos/<camera>/... their
frames, meta/ the index, tasks and statistics. meta/vla_nav.json is ours: contract, origin and a
hash over everything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla_nav import __version__
from vla_nav.contract import Contract
from vla_nav.episodes.convert import camera_key, shard_path
from vla_nav.episodes.statistics import feature_statistics, flat, image_statistics
from vla_nav.episodes.summary import BagSummary, EpisodeSummary
from vla_nav.episodes.video import VideoSettings, join_videos

VERSION = 'v3.0'
CHUNKS_SIZE = 1000
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
FILE_NAME = 'chunk-{chunk_index:03d}/file-{file_index:03d}'
DATA_PATH = f'data/{FILE_NAME}.parquet'
VIDEO_PATH = f'videos/{{video_key}}/{FILE_NAME}.mp4'
EPISODES_PATH = f'meta/episodes/{FILE_NAME}.parquet'
TASKS_PATH = 'meta/tasks.parquet'
INFO_PATH = 'meta/info.json'
STATS_PATH = 'meta/stats.json'
OWN_PATH = 'meta/vla_nav.json'
MEGABYTE = 1024 * 1024


@dataclass
class _File:
    """One growing file of a series; a new one begins when the limit is reached."""

    limit_bytes: int
    number: int = 0
    size: int = 0
    parts: list[Path] = field(default_factory=list)

    @property
    def indices(self) -> dict[str, int]:
        return {'chunk_index': self.number // CHUNKS_SIZE, 'file_index': self.number % CHUNKS_SIZE}


@dataclass(frozen=True)
class _Shard:
    """One episode's shards and what is known of it."""

    bag: BagSummary
    number: int
    summary: EpisodeSummary

    def path(self, suffix: str) -> Path:
        return shard_path(Path(self.bag.folder), self.number, suffix)


def assemble(root: Path, bags: Sequence[BagSummary], images: str) -> dict:
    """Write the dataset into `root` and return its meta/info.json.

    `bags` have the same contract where it matters, and at least one episode.
    """
    contract = Contract.from_dict(bags[0].contract)
    key = camera_key(contract)
    shards = [_Shard(bag, number, episode) for bag in bags
              for number, episode in enumerate(bag.episodes)]
    tasks = list(dict.fromkeys(task for shard in shards for task in shard.summary.tasks))
    rows, columns = _write_data(root, shards, tasks)
    if images == 'mp4':
        _write_videos(root, shards, key, contract.rate_hz, rows)
    histograms = [np.load(shard.path('npy')) for shard in shards]
    for row, shard, histogram in zip(rows, shards, histograms):
        row |= flat(_with_image(row.pop('statistics'), key, histogram, shard.summary.rows))
    _write_episodes(root, rows)
    _write_tasks(root, tasks)
    total = sum(shard.summary.rows for shard in shards)
    statistics = {name: feature_statistics(values) for name, values in columns.items()}
    _write_json(root / STATS_PATH,
                _with_image(statistics, key, sum(histograms), total))
    info = _info(contract, key, images, len(shards), total, len(tasks), columns)
    _write_json(root / INFO_PATH, info)
    _write_json(root / OWN_PATH, {
        'format': 1, 'version': __version__, 'contract': contract.to_dict(),
        'image_key': key, 'camera_size': bags[0].image_size, 'sha256': folder_hash(root),
        'bags': [{'bag': Path(bag.bag).name, 'outcome': bag.outcome, 'recovered': bag.recovered,
                  'episodes': len(bag.episodes)} for bag in bags],
        **({'video': asdict(VideoSettings())} if images == 'mp4' else {}),
    })
    return info


def folder_hash(root: Path) -> str:
    """SHA-256 over the names and contents of the data and video files."""
    total = hashlib.sha256()
    for path in sorted([*root.glob('data/**/*.parquet'), *root.glob('videos/**/*.mp4')]):
        with path.open('rb') as file:
            digest = hashlib.file_digest(file, 'sha256') if hasattr(hashlib, 'file_digest') \
                else _digest(file)
        total.update(f'{path.relative_to(root).as_posix()} {digest.hexdigest()}\n'.encode())
    return total.hexdigest()


def _digest(file) -> hashlib._Hash:
    digest = hashlib.sha256()
    while block := file.read(MEGABYTE):
        digest.update(block)
    return digest


def _write_data(root: Path, shards: list[_Shard], tasks: list[str]
                ) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Join the rows; returns the index row of each episode, and all numeric columns."""
    file = _File(DATA_FILE_MB * MEGABYTE)
    writer: pq.ParquetWriter | None = None
    index_rows: list[dict] = []
    kept: dict[str, list[np.ndarray]] = {}
    start = 0
    task_index = {task: index for index, task in enumerate(tasks)}
    for episode, shard in enumerate(shards):
        size = shard.path('parquet').stat().st_size
        if writer is not None and file.size + size > file.limit_bytes:
            writer.close()
            writer, file.number, file.size = None, file.number + 1, 0
        table = pq.read_table(shard.path('parquet'))
        count = len(table)
        numbers = [task_index[task] for task in table.column('task').to_pylist()]
        table = table.drop_columns(['task'])
        for name, values in (('episode_index', np.full(count, episode)),
                             ('index', np.arange(start, start + count)),
                             ('task_index', np.array(numbers))):
            table = table.append_column(name, pa.array(values.astype(np.int64)))
        if writer is None:
            path = root / DATA_PATH.format(**file.indices)
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(path, _described(table.schema))
        writer.write_table(table.cast(writer.schema))
        file.size += size
        columns = {name: _numbers(table.column(name)) for name in table.column_names
                   if not pa.types.is_struct(table.schema.field(name).type)}
        for name, values in columns.items():
            kept.setdefault(name, []).append(values)
        index_rows.append({
            'episode_index': episode, 'tasks': shard.summary.tasks, 'length': count,
            **{f'data/{name}': value for name, value in file.indices.items()},
            'dataset_from_index': start, 'dataset_to_index': start + count,
            'source': Path(shard.bag.bag).name, 'outcome': shard.bag.outcome,
            'statistics': {name: feature_statistics(values)
                           for name, values in columns.items()},
        })
        start += count
    writer.close()
    return index_rows, {name: np.concatenate(parts) for name, parts in kept.items()}


def _write_videos(root: Path, shards: list[_Shard], key: str, rate_hz: float,
                  rows: list[dict]) -> None:
    file = _File(VIDEO_FILE_MB * MEGABYTE)
    frames = 0

    def flush() -> None:
        path = root / VIDEO_PATH.format(video_key=key, **file.indices)
        path.parent.mkdir(parents=True, exist_ok=True)
        join_videos(file.parts, path)

    for shard, row in zip(shards, rows):
        size = shard.path('mp4').stat().st_size
        if file.parts and file.size + size > file.limit_bytes:
            flush()
            file = _File(file.limit_bytes, file.number + 1)
            frames = 0
        file.parts.append(shard.path('mp4'))
        file.size += size
        row |= {f'videos/{key}/{name}': value for name, value in file.indices.items()}
        row[f'videos/{key}/from_timestamp'] = frames / rate_hz
        frames += shard.summary.rows
        row[f'videos/{key}/to_timestamp'] = frames / rate_hz
    flush()


def _with_image(statistics: dict, key: str, histogram: np.ndarray, frames: int) -> dict:
    return {**statistics, key: image_statistics(histogram, frames)}


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy().reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=False)


def _described(schema: pa.Schema) -> pa.Schema:
    """Tell Hugging Face `datasets` which column holds images."""
    features = {}
    for column in schema:
        if pa.types.is_struct(column.type):
            features[column.name] = {'_type': 'Image'}
        elif pa.types.is_fixed_size_list(column.type):
            features[column.name] = {
                '_type': 'List', 'length': column.type.list_size,
                'feature': {'_type': 'Value', 'dtype': 'float32'}}
        else:
            name = {'float': 'float32'}.get(str(column.type), str(column.type))
            features[column.name] = {'_type': 'Value', 'dtype': name}
    return schema.with_metadata(
        {'huggingface': json.dumps({'info': {'features': features}})})


def _write_episodes(root: Path, rows: list[dict]) -> None:
    path = root / EPISODES_PATH.format(chunk_index=0, file_index=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    for row in rows:
        row |= {'meta/episodes/chunk_index': 0, 'meta/episodes/file_index': 0}
    pq.write_table(pa.Table.from_pylist(rows), path)


def _write_tasks(root: Path, tasks: list[str]) -> None:
    """Write what pandas reads back as a frame of task_index with the task as its index."""
    index = '__index_level_0__'
    table = pa.table({'task_index': pa.array(range(len(tasks)), pa.int64()),
                      index: pa.array(tasks)})
    columns = [
        {'name': 'task_index', 'field_name': 'task_index', 'pandas_type': 'int64',
         'numpy_type': 'int64', 'metadata': None},
        {'name': None, 'field_name': index, 'pandas_type': 'unicode', 'numpy_type': 'object',
         'metadata': None},
    ]
    pandas = {'index_columns': [index], 'columns': columns, 'pandas_version': '2.0.0',
              'column_indexes': [{'name': None, 'field_name': None, 'pandas_type': 'unicode',
                                  'numpy_type': 'object', 'metadata': {'encoding': 'UTF-8'}}]}
    pq.write_table(table.replace_schema_metadata({'pandas': json.dumps(pandas)}),
                   root / TASKS_PATH)


def _info(contract: Contract, key: str, images: str, episodes: int, frames: int, tasks: int,
          columns: dict[str, np.ndarray]) -> dict:
    camera = contract.camera
    rate = contract.rate_hz
    fps = int(rate) if rate == int(rate) else rate
    video = VideoSettings()
    image = {'dtype': 'image' if images == 'png' else 'video',
             'shape': [camera.height, camera.width, 3], 'names': ['height', 'width', 'channels']}
    if images == 'mp4':
        image['info'] = {
            'video.height': camera.height, 'video.width': camera.width, 'video.codec': 'h264',
            'video.pix_fmt': video.pixel_format, 'video.is_depth_map': False, 'video.fps': fps,
            'video.channels': 3, 'has_audio': False}
    features = {key: image}
    for name in ('observation.state', 'action'):
        if name in columns:
            features[name] = {'dtype': 'float32', 'shape': [columns[name].shape[1]],
                              'names': list(contract.command.fields)}
    features['intervention'] = {'dtype': 'bool', 'shape': [1], 'names': None}
    for name, dtype in (('timestamp', 'float32'), ('frame_index', 'int64'),
                        ('episode_index', 'int64'), ('index', 'int64'), ('task_index', 'int64')):
        features[name] = {'dtype': dtype, 'shape': [1], 'names': None}
    return {
        'codebase_version': VERSION, 'robot_type': contract.robot, 'total_episodes': episodes,
        'total_frames': frames, 'total_tasks': tasks, 'chunks_size': CHUNKS_SIZE,
        'data_files_size_in_mb': DATA_FILE_MB, 'video_files_size_in_mb': VIDEO_FILE_MB,
        'fps': fps, 'splits': {'train': f'0:{episodes}'}, 'data_path': DATA_PATH,
        'video_path': VIDEO_PATH if images == 'mp4' else None, 'features': features,
    }


def _write_json(path: Path, data: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding='utf-8')
