"""Convert one bag into shards: per episode a parquet file of rows and an MP4 file of frames.

Shards are what makes a build resumable and parallel: a bag whose shards are complete and still
fit it is not converted again. lerobot.assemble joins them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla_nav import __version__
from vla_nav.contract import Contract
from vla_nav.episodes.episode import AlignSettings, Episode, Recording, frames, with_frames
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.reader import BagReader
from vla_nav.episodes.statistics import LEVELS, image_histogram
from vla_nav.episodes.summary import BagSummary, summarise
from vla_nav.episodes.video import VideoEncoder

IMAGES = ('mp4', 'png')
IMAGE_TYPE = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
HISTOGRAM_EVERY = 5
"""Image statistics are taken over every fifth frame."""
THUMBNAILS = 4
DONE = 'bag.json'


@dataclass(frozen=True)
class ConvertJob:
    """One bag to convert."""

    bag: Path
    work: Path
    """Folder for the shards of all bags."""
    contract: Contract | None = None
    """Instead of the one in the bag."""
    align: AlignSettings = field(default_factory=AlignSettings)
    images: str = 'mp4'
    include_failed: bool = False

    @property
    def folder(self) -> Path:
        """Where this bag's shards go."""
        digest = hashlib.sha256(str(self.bag.resolve()).encode()).hexdigest()[:8]
        return self.work / f'{self.bag.stem}-{digest}'


def convert_bag(job: ConvertJob) -> BagSummary:
    """Convert one bag, or find it converted already. Raises EpisodeError."""
    done = job.folder / DONE
    fingerprint = _fingerprint(job)
    with suppress(OSError, ValueError, KeyError, TypeError):  # cut short, or of another version
        data = json.loads(done.read_text(encoding='utf-8'))
        if data['fingerprint'] == fingerprint:
            return BagSummary.load(done)
    with BagReader(job.bag, job.contract) as bag:
        summary = _convert(bag, job)
    summary.save(done, fingerprint)
    return summary


def camera_key(contract: Contract) -> str:
    """Name of the image feature: 'camera/image_raw' becomes 'observation.images.camera'."""
    parts = contract.camera.topic.strip('/~').split('/')
    parts = [part for part in parts if part not in ('image_raw', 'image', 'compressed',
                                                    'image_rect', 'color')]
    return 'observation.images.' + ('_'.join(parts) or 'camera')


def shard_path(folder: Path, number: int, suffix: str) -> Path:
    """Path of one episode's shard."""
    return folder / f'episode_{number:03d}.{suffix}'


def _fingerprint(job: ConvertJob) -> str:
    path = job.bag / 'metadata.yaml' if job.bag.is_dir() else job.bag
    try:
        stat = path.stat()
    except OSError:
        return ''
    return json.dumps([__version__, stat.st_size, stat.st_mtime_ns, asdict(job.align),
                       job.images, job.include_failed, job.contract and job.contract.to_dict()])


def _convert(bag: BagReader, job: ConvertJob) -> BagSummary:
    metadata = bag.metadata
    common = {'bag': str(job.bag), 'folder': str(job.folder), 'outcome': metadata.outcome,
              'contract': bag.contract.to_dict(), 'dropped': dict(metadata.dropped),
              'recovered': metadata.recovered}
    if metadata.outcome == 'failure' and not job.include_failed:
        _clear(job.folder)
        return BagSummary(**common, image_size=[0, 0], skipped='marked as failed', clock='',
                          trimmed_s=[0.0, 0.0], warnings=[], episodes=[])

    def write(recording: Recording) -> BagSummary:
        _clear(job.folder)
        shards = [_Shard(job, bag.contract, number, episode)
                  for number, episode in enumerate(recording.episodes)]
        size = (0, 0)
        for number, row, image, camera_size in frames(bag, recording):
            shards[number].add(row, image)
            size = camera_size
        for shard in shards:
            shard.close()
        return BagSummary(
            **common, image_size=list(size), skipped='', clock=recording.clock,
            trimmed_s=list(map(float, recording.trimmed_s)), warnings=list(recording.warnings),
            episodes=[summarise(bag.contract, shard.episode, shard.thumbnails)
                      for shard in shards])

    return with_frames(bag, job.align, write)


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


class _Shard:
    """Takes the frames of one episode in order."""

    def __init__(self, job: ConvertJob, contract: Contract, number: int, episode: Episode
                 ) -> None:
        self.episode = episode
        self.thumbnails: list[str] = []
        self._paths = {suffix: shard_path(job.folder, number, suffix)
                       for suffix in ('parquet', 'mp4', 'npy')}
        self._key = camera_key(contract)
        self._rate_hz = contract.rate_hz
        self._encoder = None
        self._pngs: list[bytes] = []
        self._histogram = np.zeros((3, LEVELS), np.int64)
        self._shown = {round(i * (len(episode) - 1) / (THUMBNAILS - 1))
                       for i in range(THUMBNAILS)}
        if job.images == 'mp4':
            self._encoder = VideoEncoder(self._paths['mp4'], contract.camera.width,
                                         contract.camera.height, contract.rate_hz)

    def add(self, row: int, image: np.ndarray) -> None:
        if self._encoder:
            self._encoder.add(image)
        else:
            self._pngs.append(_encoded(image, '.png', [cv2.IMWRITE_PNG_COMPRESSION, 4]))
        if row % HISTOGRAM_EVERY == 0:
            self._histogram += image_histogram(image)
        if row in self._shown:
            scale = 96 / max(image.shape[:2])
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            jpeg = _encoded(small, '.jpg', [cv2.IMWRITE_JPEG_QUALITY, 80])
            self.thumbnails.append(base64.b64encode(jpeg).decode())

    def close(self) -> None:
        if self._encoder:
            self._encoder.close()
        np.save(self._paths['npy'], self._histogram)
        episode = self.episode
        columns = {}
        if self._pngs:
            columns[self._key] = pa.array([{'bytes': png, 'path': f'frame-{row:06d}.png'}
                                           for row, png in enumerate(self._pngs)], IMAGE_TYPE)
        if episode.state is not None:
            columns['observation.state'] = _vectors(episode.state)
        columns['action'] = _vectors(episode.actions)
        columns['intervention'] = pa.array(episode.intervention)
        rows = np.arange(len(episode))
        columns['timestamp'] = pa.array((rows / self._rate_hz).astype(np.float32))
        columns['frame_index'] = pa.array(rows)
        columns['task'] = pa.array(list(episode.instructions))
        pq.write_table(pa.table(columns), self._paths['parquet'])


def _encoded(image: np.ndarray, suffix: str, options: list[int]) -> bytes:
    ok, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise EpisodeError(f'OpenCV cannot encode {suffix} images; install opencv-python anew')
    return data.tobytes()


def _vectors(values: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
