"""Complete an MCAP file that was cut short, in place, and write its metadata.yaml.

The file is cut behind its last intact chunk, and the index that its writer would have added is
appended (MCAP specification, "Summary Section"). A damaged stretch before that becomes a record
that readers skip. No second copy is needed, so it works on a full disk too; interrupting it and
starting again is safe.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO

import yaml
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    McapRecord,
    Message,
    MessageIndex,
    Schema,
    Statistics,
    SummaryOffset,
)
from mcap.stream_reader import breakup_chunk

from vla_nav.episodes.definitions import type_hash
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.metadata import EpisodeMetadata

MAGIC = b'\x89MCAP0\r\n'
MAX_RECORD_BYTES = 2**30
HEAD = struct.Struct('<BQ')
"""What each record begins with: opcode and length."""
SKIPPED = 0x80
"""Opcode of a private record: readers skip it."""
CHUNK_START = re.compile(
    rb'\x06(?=.{5}\0{3}.{24}(?!\0{4}).{4}(?:\0{4}|\x03\0{3}lz4|\x04\0{3}zstd))', re.DOTALL)
"""Opcode, length, times, size, a checksum and the compression."""
BAG_VERSION = 8
"""Version of metadata.yaml: the newest that Humble, Iron and Jazzy all read."""


@dataclass(frozen=True)
class Recovered:
    """One bag that was completed."""

    path: Path
    messages: int
    unreadable_bytes: int
    """How much of the file was damaged or cut short."""
    counts: dict[str, int] = field(default_factory=dict)
    """Messages per topic."""


@dataclass
class _Content:
    """What a scan found in an MCAP file."""

    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[ChunkIndex] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    times: list[int] = field(default_factory=list)
    """Log times of the first and last message of each chunk."""
    pending: dict[tuple[int, int], MessageIndex] = field(default_factory=dict)
    """By number of the chunk and channel: indexes that were not seen behind their chunk."""
    damaged: list[tuple[int, int]] = field(default_factory=list)
    """Stretches [start, stop) between intact records that cannot be read."""
    end: int = len(MAGIC)
    """Behind the last intact record."""
    finished: bool = False


def complete(folder: Path, metadata: EpisodeMetadata) -> Recovered:
    """Complete the one bag file in `folder` and write its metadata.yaml.

    Raises EpisodeError if there is not exactly one MCAP file or nothing in it can be read.
    """
    files = sorted(folder.glob('*.mcap'))
    if len(files) != 1:
        raise EpisodeError(f'{folder} holds {len(files)} MCAP files; expected one. Put each '
                           'into a folder of its own')
    with files[0].open('r+b') as file:
        content = _scan(file)
        if not content.channels and not content.finished:
            raise EpisodeError(f'{files[0]} is not an MCAP file, or was cut before its first '
                               'message; nothing can be recovered from it')
        unreadable = sum(stop - start for start, stop in content.damaged)
        if not content.finished:
            unreadable += file.seek(0, os.SEEK_END) - content.end
            _append_summary(file, content)
    _write_metadata(folder, files[0].name, content, metadata)
    counts = {channel.topic: content.counts[channel.id]
              for channel in content.channels.values()}
    return Recovered(folder, sum(counts.values()), unreadable, counts)


def _scan(file: BinaryIO) -> _Content:
    """Read whatever is intact, up to the footer if there is one."""
    content = _Content()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start: int | None = len(MAGIC) if file.read(len(MAGIC)) == MAGIC else None
    data_ended = False
    while start is not None:
        record = None
        try:
            record, stop = _record_at(file, start, size)
            if isinstance(record, Footer):
                content.finished = not content.damaged and file.read(len(MAGIC)) == MAGIC
                break
            data_ended |= isinstance(record, DataEnd)
            if not data_ended or isinstance(record, (Schema, Channel)):
                _take(content, record, start, stop)
        except (OSError, MemoryError):
            raise
        except Exception:  # Damaged bytes can raise anything.
            _take_channels(content, record)
            start = _next_chunk(file, start + HEAD.size)
            data_ended = False
            continue
        if not data_ended:
            if start > content.end:
                content.damaged.append((content.end, start))
            content.end = stop
        start = stop
    _drop_unknown(content)
    return content


def _record_at(file: BinaryIO, start: int, size: int) -> tuple[McapRecord | None, int]:
    """Return the record that begins at `start`, None if its kind does not matter, and its end."""
    file.seek(start)
    opcode, length = HEAD.unpack(file.read(HEAD.size))
    stop = start + HEAD.size + length
    read = _READERS.get(opcode)
    if opcode == 0 or stop > size or (read and length > MAX_RECORD_BYTES):
        raise ValueError('no record')
    if read is None:
        return None, stop
    body = ReadDataStream(BytesIO(file.read(length)))
    record = Message.read(body, length) if read is Message.read else read(body)
    if body.count != length:  # a damaged length would swallow what comes next
        raise ValueError('no record')
    return record, stop


_READERS = {Opcode.SCHEMA: Schema.read, Opcode.CHANNEL: Channel.read, Opcode.CHUNK: Chunk.read,
            Opcode.MESSAGE: Message.read, Opcode.MESSAGE_INDEX: MessageIndex.read,
            Opcode.DATA_END: DataEnd.read, Opcode.FOOTER: Footer.read}


def _next_chunk(file: BinaryIO, start: int) -> int | None:
    """Where a chunk may begin, at `start` or later; None if nowhere."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = CHUNK_START.search(data, start)
        return found and found.start()


def _take(content: _Content, record: McapRecord | None, start: int, stop: int) -> None:
    if isinstance(record, Schema):
        content.schemas.setdefault(record.id, record)
    elif isinstance(record, Channel):
        content.channels.setdefault(record.id, record)
    elif isinstance(record, Message):
        content.counts[record.channel_id] += 1
        content.times.append(record.log_time)
    elif isinstance(record, Chunk):
        _take_chunk(content, record, start, stop)
    elif isinstance(record, MessageIndex):
        key = len(content.chunks) - 1, record.channel_id
        if content.pending.get(key) == record:  # else it is damaged, and written anew
            del content.pending[key]
            content.chunks[-1].message_index_offsets[record.channel_id] = start
            content.chunks[-1].message_index_length += stop - start


def _take_chunk(content: _Content, chunk: Chunk, start: int, stop: int) -> None:
    records = breakup_chunk(chunk, validate_crc=True)
    indexes: dict[int, MessageIndex] = {}
    offset = 0
    for record in records:
        if isinstance(record, Message):
            index = indexes.setdefault(record.channel_id, MessageIndex(record.channel_id, []))
            index.records.append((record.log_time, offset))
            offset += HEAD.size + 22 + len(record.data)
        else:
            _take(content, record, 0, 0)
            offset += len(_encoded(record))
    for channel, index in indexes.items():
        content.counts[channel] += len(index.records)
        content.pending[len(content.chunks), channel] = index
    if indexes:
        content.times += [chunk.message_start_time, chunk.message_end_time]
    content.chunks.append(ChunkIndex(
        chunk_length=stop - start, chunk_start_offset=start, compression=chunk.compression,
        compressed_size=len(chunk.data), message_end_time=chunk.message_end_time,
        message_index_length=0, message_index_offsets={},
        message_start_time=chunk.message_start_time,
        uncompressed_size=chunk.uncompressed_size))


def _take_channels(content: _Content, record: McapRecord | None) -> None:
    """Take the topics that a damaged chunk declares: later chunks do not say them again."""
    inner: list[McapRecord] = []
    if isinstance(record, Chunk):
        with suppress(Exception):
            inner = breakup_chunk(record)
    for each in inner:
        if isinstance(each, Schema):
            with suppress(UnicodeDecodeError):
                each.data.decode()
                _take(content, each, 0, 0)
        elif isinstance(each, Channel) and each.schema_id in content.schemas:
            _take(content, each, 0, 0)


def _drop_unknown(content: _Content) -> None:
    """Leave out the messages of topics whose declaration is lost."""
    known = content.channels = {key: channel for key, channel in content.channels.items()
                                if channel.schema_id in content.schemas}
    content.counts = Counter({key: count for key, count in content.counts.items()
                              if key in known})
    content.pending = {key: index for key, index in content.pending.items() if key[1] in known}
    for chunk in content.chunks:
        chunk.message_index_offsets = {key: offset for key, offset in
                                       chunk.message_index_offsets.items() if key in known}


def _append_summary(file: BinaryIO, content: _Content) -> None:
    file.seek(content.end)
    file.truncate()
    for (number, channel), index in content.pending.items():
        offset = file.tell()
        file.write(_encoded(index))
        content.chunks[number].message_index_offsets[channel] = offset
        content.chunks[number].message_index_length += file.tell() - offset
    file.write(_encoded(DataEnd(0)))
    summary_start = file.tell()
    offsets = []
    for opcode, records in ((Opcode.SCHEMA, content.schemas.values()),
                            (Opcode.CHANNEL, content.channels.values()),
                            (Opcode.STATISTICS, [_statistics(content)]),
                            (Opcode.CHUNK_INDEX, content.chunks)):
        start = file.tell()
        for record in records:
            file.write(_encoded(record))
        if file.tell() > start:
            offsets.append(SummaryOffset(opcode, start, file.tell() - start))
    offset_start = file.tell()
    for record in offsets:
        file.write(_encoded(record))
    file.write(_encoded(Footer(summary_start=summary_start, summary_offset_start=offset_start,
                               summary_crc=0)))
    file.write(MAGIC)
    _sync(file)
    for start, stop in content.damaged:  # last: a damaged chunk may declare the topics
        file.seek(start)
        file.write(HEAD.pack(SKIPPED, stop - start - HEAD.size))
    _sync(file)


def _sync(file: IO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _encoded(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return builder.end()


def _statistics(content: _Content) -> Statistics:
    return Statistics(
        attachment_count=0, channel_count=len(content.channels),
        channel_message_counts=dict(content.counts), chunk_count=len(content.chunks),
        message_count=sum(content.counts.values()),
        message_start_time=min(content.times, default=0),
        message_end_time=max(content.times, default=0),
        metadata_count=0, schema_count=len(content.schemas))


def _write_metadata(folder: Path, name: str, content: _Content,
                    metadata: EpisodeMetadata) -> None:
    statistics = _statistics(content)
    times = {
        'starting_time': {'nanoseconds_since_epoch': statistics.message_start_time},
        'duration': {'nanoseconds':
                     statistics.message_end_time - statistics.message_start_time},
        'message_count': statistics.message_count,
    }
    topics = [_topic(content, channel) for channel in content.channels.values()]
    information = {
        'version': BAG_VERSION, 'storage_identifier': 'mcap', 'relative_file_paths': [name],
        **times, 'topics_with_message_count': topics, 'compression_format': '',
        'compression_mode': '', 'files': [{'path': name, **times}],
        'custom_data': metadata.to_custom_data(), 'ros_distro': 'rosbags',
    }
    write_metadata(folder / 'metadata.yaml', {'rosbag2_bagfile_information': information})


def write_metadata(path: Path, data: dict) -> None:
    """Write a metadata.yaml to a temporary name, then rename."""
    temporary = path.with_suffix('.yaml.tmp')
    with temporary.open('w', encoding='utf-8') as file:
        yaml.dump(data, file, Dumper=_PlainDumper, width=4096)
        _sync(file)
    temporary.replace(path)


def _topic(content: _Content, channel: Channel) -> dict:
    schema = content.schemas[channel.schema_id]
    return {
        'topic_metadata': {
            'name': channel.topic, 'type': schema.name,
            'serialization_format': channel.message_encoding,
            'offered_qos_profiles': channel.metadata.get('offered_qos_profiles', ''),
            'type_description_hash': type_hash(schema.name, schema.data.decode()),
        },
        'message_count': content.counts[channel.id],
    }


class _PlainDumper(yaml.SafeDumper):
    """rosbag2 reads YAML without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True
