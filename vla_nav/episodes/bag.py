"""Write one episode as a rosbag2 folder (MCAP) that survives crashes and full disks.

An episode grows in `<root>/.partial/<name>/` and is renamed to `<root>/<name>/` when complete.
Whatever is found in `.partial` without a writer holding its lock was interrupted, and
`recovery.recover` completes it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import struct
import threading
import time
from collections import Counter
from collections.abc import KeysView, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from zlib import crc32

import yaml
from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer, WriterError
from rosbags.rosbag2.storage_mcap import McapWriter

from vla_nav.episodes.errors import EpisodeError, NameTaken
from vla_nav.episodes.metadata import EpisodeMetadata, wall_time
from vla_nav.episodes.repair import BAG_VERSION, complete, write_metadata

PARTIAL = '.partial'
SIDECAR = 'episode.json'
RESERVE = 'reserve'
RESERVE_BYTES = 4 * 1024 * 1024
"""Set aside so that a bag can be completed on a disk that has just become full."""


class _Storage(McapWriter):
    """rosbags' MCAP storage with publish times, chunk checksums and sync to the disk."""

    publish_time_ns = 0
    CRC_OFFSET = 9 + 24  # record header, then start time, end time and uncompressed size

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        chunk = self.chunk
        self.message_start_time = min(timestamp, self.message_start_time)
        self.message_end_time = max(timestamp, self.message_end_time)
        chunk.message_start_time = min(timestamp, chunk.message_start_time)
        chunk.message_end_time = max(timestamp, chunk.message_end_time)
        chunk.msgs[connection.id].append((timestamp, chunk.bio.tell()))
        chunk.bio.write(struct.pack('<BQHIQQ', 0x05, 22 + len(data), connection.id,
                                    self.channel_stats[connection.id], timestamp,
                                    self.publish_time_ns))
        chunk.bio.write(data)
        self.channel_stats[connection.id] += 1
        if chunk.bio.tell() > 2**20:
            self.close_chunk()

    def close_chunk(self) -> None:
        checksum = crc32(self.chunk.bio.getbuffer())
        start = self.bio.tell()
        super().close_chunk()
        end = self.bio.tell()
        self.bio.seek(start + self.CRC_OFFSET)
        self.bio.write(struct.pack('<I', checksum))
        self.bio.seek(end)

    def sync(self) -> None:
        """Bring everything written so far to the disk."""
        if self.chunk.msgs:
            self.close_chunk()
        self.bio.flush()
        os.fsync(self.bio.fileno())


class _Bag(Writer):
    STORAGE_PLUGINS = {StoragePlugin.MCAP: _Storage}


def new_bag(root: Path, metadata: EpisodeMetadata, compress: bool) -> BagWriter:
    """Open a bag named by the time; others may do so in the same folder at the same moment."""
    name = time.strftime('episode_%Y%m%d_%H%M%S')
    for number in count(1):
        with suppress(NameTaken):
            return BagWriter(root, name if number == 1 else f'{name}_{number}', metadata,
                             compress=compress)


class BagWriter:
    """Writes the messages of one episode; use as a context manager.

    Leaving the context completes the bag, also when an exception passes through: what was
    recorded until then is kept.
    """

    def __init__(self, root: str | os.PathLike, name: str, metadata: EpisodeMetadata, *,
                 compress: bool = False) -> None:
        """Open `<root>/.partial/<name>`.

        Raises NameTaken, and EpisodeError if the folder cannot be written.
        """
        self.root = Path(root)
        self.path = self.root / name
        self.partial = self.root / PARTIAL / name
        self._metadata = metadata
        self._topics: dict[str, Connection] = {}
        self._failure: Exception | None = None
        self._updating = threading.Lock()
        self._bag: _Bag | None = None
        self._lock = -1
        try:
            if self.path.exists():
                raise WriterError
            self._bag = _Bag(self.partial, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
            if compress:
                self._bag.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._bag.open()
            self._lock = os.open(self.partial, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write_sidecar()
            with (self.partial / RESERVE).open('wb') as reserve:
                os.posix_fallocate(reserve.fileno(), 0, RESERVE_BYTES)
        except WriterError:
            raise NameTaken(f'{self.path} exists already; choose another name') from None
        except OSError as error:
            self.discard()
            raise EpisodeError(f'cannot write an episode in {self.root}: {error.strerror}; give '
                               'a folder on a disk that is writable and has space') from None

    @property
    def metadata(self) -> EpisodeMetadata:
        """What the bag will say about itself; update() changes it."""
        return self._metadata

    @property
    def topics(self) -> KeysView[str]:
        """Topics added so far."""
        return self._topics.keys()

    @property
    def counts(self) -> dict[str, int]:
        """Messages written per topic."""
        return {topic: self._bag.counts[conn.id] for topic, conn in self._topics.items()}

    def update(self, **changes: object) -> None:
        """Change fields of the metadata; they are on the disk at once, as a crash needs them."""
        with self._updating:
            self._metadata = self._metadata.replace(**changes)
            with suppress(OSError):  # a full disk keeps the old one, and close() has the new
                self._write_sidecar()

    def add_topic(self, topic: str, msgtype: str, definition: tuple[str, str],
                  qos: Sequence[Qos] = ()) -> None:
        """Declare a topic: type 'pkg/msg/Name', definition (text, RIHS01 hash)."""
        text, digest = definition
        self._topics[topic] = self._bag.add_connection(
            topic, msgtype, msgdef=text, rihs01=digest, offered_qos_profiles=qos)

    def write(self, topic: str, data: bytes | memoryview, log_time_ns: int,
              publish_time_ns: int | None = None) -> None:
        """Append one serialized message.

        Raises EpisodeError when the disk is full or failing; close() still completes the bag.
        """
        storage = self._storage()
        storage.publish_time_ns = log_time_ns if publish_time_ns is None else publish_time_ns
        try:
            self._bag.write(self._topics[topic], log_time_ns, data)
        except Exception as error:
            self._fail(error)

    def sync(self) -> None:
        """Bring everything written so far to the disk; raises EpisodeError as write() does."""
        try:
            self._storage().sync()
        except OSError as error:
            self._fail(error)

    def close(self) -> Path:
        """Complete the bag and give it its final name, which is returned."""
        if not self.metadata.stopped:
            self._metadata = self._metadata.replace(stopped=wall_time())
        (self.partial / RESERVE).unlink(missing_ok=True)
        if self._failure is None:
            try:
                self.sync()
                for key, value in self._metadata.to_custom_data().items():
                    self._bag.set_custom_data(key, value)
                self._bag.close()
            except Exception as error:
                self._failure = self._failure or error
        if self._failure is not None:
            with suppress(OSError):
                self._bag.abort()
            self._repair()
        finish(self.partial, self.path)
        os.close(self._lock)
        return self.path

    def _repair(self) -> None:
        """Complete the bag with what reached the disk, and count what did not."""
        kept = complete(self.partial, self._metadata).counts
        lost = {topic: count - kept.get(topic, 0) for topic, count in self.counts.items()
                if count > kept.get(topic, 0)}
        if lost:
            relabel(self.partial, dropped=dict(Counter(self._metadata.dropped) + Counter(lost)))

    def discard(self) -> None:
        """Delete the episode."""
        with suppress(OSError):
            if self._bag:
                self._bag.abort()
        shutil.rmtree(self.partial, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is not None and not self.metadata.stop_reason:
            self._metadata = self._metadata.replace(stop_reason=f'{kind.__name__}: {error}')
        self.close()

    def _storage(self) -> _Storage:
        if self._bag.storage is None or self._failure is not None:
            raise EpisodeError(f'episode {self.path.name} is closed; start another one')
        return self._bag.storage

    def _fail(self, error: Exception) -> None:
        self._failure = error
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = getattr(error, 'strerror', None) or f'{type(error).__name__}: {error}'
        raise EpisodeError(
            f'{"disk full" if full else said} while writing {self.partial}; the '
            'episode ends here and is kept' + ('; free some space' if full else '')) from error

    def _write_sidecar(self) -> None:
        path = self.partial / SIDECAR
        temporary = path.with_suffix('.tmp')
        with temporary.open('w', encoding='utf-8') as file:
            json.dump(self._metadata.to_custom_data(), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def finish(partial: Path, path: Path) -> None:
    """Move a completed bag from `.partial` to its final name."""
    for name in (SIDECAR, RESERVE):
        (partial / name).unlink(missing_ok=True)
    sync_folder(partial)
    partial.rename(path)
    sync_folder(path.parent)
    with suppress(OSError):
        partial.parent.rmdir()


def sync_folder(path: Path) -> None:
    """Bring a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def relabel(path: Path, **changes: object) -> None:
    """Change fields of a completed bag's metadata. Raises EpisodeError if it is damaged."""
    file = path / 'metadata.yaml'
    data = yaml.safe_load(file.read_text(encoding='utf-8'))
    information = data['rosbag2_bagfile_information']
    metadata = EpisodeMetadata.from_custom_data(information.get('custom_data'), str(path))
    information['custom_data'] = {**(information.get('custom_data') or {}),
                                  **metadata.replace(**changes).to_custom_data()}
    write_metadata(file, data)
