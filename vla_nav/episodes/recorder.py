"""Record episodes from a stream of serialized messages; knows nothing of where they come from.

`take` is called by the subscriptions and never waits: a thread of the recorder's own writes.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rosbags.interfaces import Qos

from vla_nav import __version__
from vla_nav.contract import Contract
from vla_nav.episodes.bag import BagWriter, new_bag, relabel
from vla_nav.episodes.definitions import definition, string_data
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.message_queue import BoundedQueue, Latched, PreRoll, Received
from vla_nav.episodes.metadata import EpisodeMetadata, wall_time
from vla_nav.episodes.meters import TopicFigures, TopicMeter
from vla_nav.episodes.recorder_types import (
    RecordedTopic,
    RecorderSettings,
    RecorderStatus,
)

GIGABYTE = 1_000_000_000
MEGABYTE = 1_000_000


@dataclass
class _Driver:
    """Who drives, as the drive node says."""

    policy: str = ''
    sha256: str = ''
    active: bool = False


@dataclass
class _Running:
    """The episode being recorded."""

    writer: BagWriter
    queue: BoundedQueue
    started_ns: int
    thread: threading.Thread | None = None
    policy: str = ''
    sha256: str = ''
    spans: list[list[int]] = field(default_factory=list)
    instruction: str = ''
    """As it ended: a later one is for the next episode."""
    error: str = ''
    discarded: bool = False
    noted: dict = field(default_factory=dict)
    """What stands in the metadata already."""


class Recorder:
    """Records one episode at a time."""

    def __init__(self, settings: RecorderSettings, contract: Contract, instruction_topic: str,
                 teleop_topic: str, on_end: Callable[[str, bool], None] | None = None) -> None:
        """Set up; `on_end(sentence, is_error)` hears of episodes that end by themselves."""
        self.settings = settings
        self.instruction = ''
        self._contract = contract
        self._instruction_topic = instruction_topic
        self._teleop_topic = teleop_topic
        self._on_end = on_end or (lambda sentence, is_error: None)
        self._lock = threading.Lock()
        self._commands = threading.Lock()
        self._topics: dict[str, RecordedTopic] = {}
        self._meters: dict[str, TopicMeter] = {}
        self._latched: dict[str, Latched] = {}
        self._pre_roll = PreRoll(settings.pre_roll_s, round(settings.pre_roll_mb * MEGABYTE))
        self._driver = _Driver()
        self._recent_spans: list[list[int]] = []
        self._running: _Running | None = None
        self._thread: threading.Thread | None = None
        self._last: Path | None = None
        """The bag of the episode that was begun last, once it is complete."""
        self._finished = 0

    def add_topic(self, topic: RecordedTopic) -> None:
        """Announce a topic before its first message; raises EpisodeError for unknown types."""
        definition(topic.msgtype)
        with self._lock:
            self._topics[topic.name] = topic
            self._meters[topic.name] = TopicMeter(topic.msgtype)

    def take(self, topic: str, data: bytes, log_ns: int, publish_ns: int | None = None) -> None:
        """Take a serialized message; never waits for the disk."""
        message = Received(topic, data, log_ns, log_ns if publish_ns is None else publish_ns)
        with self._lock:
            self._meters[topic].add(data, log_ns)
            latched = self._topics[topic].latched
            if latched:
                self._latched.setdefault(topic, Latched(latched)).put(message)
            if topic == self._teleop_topic and self._driver.active:
                self._note_human(log_ns)
            if self._running is None:
                self._pre_roll.put(message)
            else:
                self._running.queue.put(message)
        if topic == self._instruction_topic:
            self.instruction = string_data(data).strip()

    def drives(self, policy: str, sha256: str, active: bool) -> None:
        """Note which policy drives; `active` says that it would, were there no human."""
        with self._lock:
            self._driver = _Driver(policy, sha256, active)
            if self._running and active:
                self._running.policy, self._running.sha256 = policy, sha256

    @property
    def recording(self) -> bool:
        """Whether an episode is being recorded."""
        return self._running is not None

    def start(self, now_ns: int, offered: Mapping[str, tuple[Qos, ...]] | None = None) -> str:
        """Begin an episode and return its name.

        `offered` are the profiles of the publishers by topic, for playing the bag back.
        Raises EpisodeError if one is running, there is no instruction, the disk is nearly full
        or the folder cannot be written.
        """
        with self._commands:
            if self._running:
                raise EpisodeError(f'{self._running.writer.path.name} is being recorded; stop it '
                                   'first')
            self._check_start()
            running = self._open(now_ns, offered or {})
            with self._lock:
                pre_roll = self._pre_roll.take(now_ns)
                first_ns = pre_roll[0].log_ns if pre_roll else now_ns
                latched = [Received(m.topic, m.data, first_ns, m.publish_ns)
                           for each in self._latched.values() for m in each.messages()
                           if not any(m is kept for kept in pre_roll)]
                for meter in self._meters.values():
                    meter.restart(now_ns)
                if self._driver.active:
                    running.policy, running.sha256 = self._driver.policy, self._driver.sha256
                running.spans = [span for span in self._recent_spans
                                 if first_ns < span[1] and span[0] <= now_ns]
                running.queue.put_all(latched + pre_roll)
                self._running = running
            self._last = None
            running.thread = self._thread = threading.Thread(
                target=self._write, args=(running,), name='recorder', daemon=True)
            running.thread.start()
            return running.writer.path.name

    def stop(self, reason: str = 'stopped') -> Path:
        """End the episode; returns its bag. Raises EpisodeError if none is running."""
        with self._commands:
            running = self._detach()
            running.writer.update(stop_reason=running.writer.metadata.stop_reason or reason)
            running.queue.close()
            running.thread.join()
            if running.error:
                raise EpisodeError(running.error)
            return self._last

    def discard(self) -> str:
        """End the episode and delete it; returns its name."""
        with self._commands:
            running = self._detach()
            running.discarded = True
            running.queue.close()
            running.thread.join()
            return running.writer.path.name

    def mark(self, success: bool) -> str:
        """Mark the running episode, or else the one that ended last; returns its name."""
        outcome = 'success' if success else 'failure'
        with self._commands:
            if self._running:
                self._running.writer.update(outcome=outcome)
                return self._running.writer.path.name
            if self._last is None:
                raise EpisodeError('there is no episode to mark: none was recorded yet, or the '
                                   'last one was discarded')
            try:
                relabel(self._last, outcome=outcome)
            except OSError as error:
                raise EpisodeError(f'{self._last} cannot be marked: {error}') from None
            return self._last.name

    def check(self, now_ns: int) -> RecorderStatus:
        """Look after the disk and return the figures; to be called once a second."""
        free_gb = self._free_gb()
        running = self._running
        if running and free_gb < self.settings.min_free_gb:
            reason = (f'only {free_gb:.1f} GB are free, less than min_free_gb '
                      f'{self.settings.min_free_gb:g}')
            self._end_alone(running, reason)
            running = None
        with self._lock:
            figures = {name: meter.figures(now_ns) for name, meter in self._meters.items()}
            dropped = self._facts(running)['dropped'] if running else {}
        return RecorderStatus(
            episode=running.writer.path.name if running else '',
            seconds=(now_ns - running.started_ns) / 1e9 if running else 0.0,
            outcome=running.writer.metadata.outcome if running else '',
            instruction=self.instruction, topics=figures, dropped=dropped,
            queue_fill=running.queue.waiting_bytes / running.queue.limit_bytes if running
            else 0.0,
            free_gb=free_gb, finished=self._finished,
            warnings=self._warnings(running, figures, free_gb))

    def close(self, reason: str = 'the recorder was shut down') -> None:
        """Complete what is being recorded. Raises EpisodeError if that fails."""
        if self._running:
            self.stop(reason)
        elif self._thread and self._thread is not threading.current_thread():
            self._thread.join()  # an episode that ended by itself may still go to the disk

    def forget(self) -> None:
        """Drop what was heard for the next episode: pre-roll, instruction, who drives."""
        with self._lock:
            self._pre_roll.take(0)
            self._latched.clear()
            self._driver = _Driver()
            self.instruction = ''

    def check_disk(self) -> None:
        """Raise EpisodeError unless there is room for an episode, in a folder for it."""
        root, folder = self.settings.root, self._nearest_folder()
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise EpisodeError(f'{root} cannot be written: {folder} is no folder that this user '
                               'may write to; choose another')
        free_gb = self._free_gb()
        if free_gb < self.settings.min_free_gb:
            raise EpisodeError(
                f'{root} has {free_gb:.1f} GB free, less than min_free_gb '
                f'{self.settings.min_free_gb:g}; free some space or choose another disk')

    def _check_start(self) -> None:
        if self.settings.require_instruction and not self.instruction:
            raise EpisodeError(
                f'no instruction: publish one on {self._instruction_topic}, or set '
                'require_instruction to false')
        self.check_disk()

    def _open(self, now_ns: int, offered: Mapping[str, tuple[Qos, ...]]) -> _Running:
        metadata = EpisodeMetadata(
            instruction=self.instruction, contract=self._contract, robot=self._contract.robot,
            started=wall_time(), version=__version__)
        writer = new_bag(self.settings.root, metadata, self.settings.compress)
        for name in self._topics:
            self._declare(writer, name, offered.get(name, ()))
        return _Running(writer, BoundedQueue(round(self.settings.queue_mb * MEGABYTE)), now_ns)

    def _detach(self) -> _Running:
        with self._lock:
            running, self._running = self._running, None
            if running is None:
                raise EpisodeError('nothing is being recorded; start an episode first')
            running.instruction = self.instruction
        return running

    def _note_human(self, now_ns: int) -> None:
        end = now_ns + round(self.settings.takeover_hold_s * 1e9)
        spans = self._recent_spans
        if spans and spans[-1][0] <= now_ns <= spans[-1][1]:
            spans[-1][1] = end
        else:
            spans.append([now_ns, end])
            if self._running:
                self._running.spans.append(spans[-1])
            del spans[:-16]

    def _write(self, running: _Running) -> None:
        """The recorder's thread: bring the queue to the disk, then complete the bag."""
        batch: deque[Received] = deque()
        try:
            self._write_until_closed(running, batch)
        except Exception as error:  # Whatever it is, what was recorded is kept.
            running.error = _said(error)
            running.writer.update(stop_reason=running.error)
        if running.discarded:
            running.writer.discard()
        else:
            self._complete(running, batch)

    def _write_until_closed(self, running: _Running, batch: deque[Received]) -> None:
        writer, queue = running.writer, running.queue
        period = self.settings.sync_period_s
        due = time.monotonic() + period
        closed = False
        while (not closed or batch) and not running.discarded:
            closed = queue.closed  # asked before taking: nothing comes after closing
            batch += queue.take(0.0 if batch else max(0.0, due - time.monotonic()))
            while batch and not running.discarded:
                message = batch[0]
                if message.topic not in writer.topics:
                    self._declare(writer, message.topic)
                writer.write(message.topic, message.data, message.log_ns, message.publish_ns)
                queue.written(batch.popleft())
                if time.monotonic() >= due:
                    break
            if time.monotonic() >= due:
                writer.sync()
                self._note(running)
                due = time.monotonic() + period

    def _note(self, running: _Running) -> None:
        """Bring what is known beside the messages to the disk, so that it outlives a crash."""
        with self._lock:
            facts = self._facts(running)
        if facts != running.noted:
            running.noted = facts
            running.writer.update(**facts)

    def _declare(self, writer: BagWriter, name: str, qos: tuple[Qos, ...] = ()) -> None:
        msgtype = self._topics[name].msgtype
        writer.add_topic(name, msgtype, definition(msgtype), qos)

    def _complete(self, running: _Running, unwritten: deque[Received]) -> None:
        with self._lock:
            alone = self._running is running
            if alone:
                self._running = None
            running.queue.dropped.update(
                message.topic for message in (*unwritten, *running.queue.take(0.0)))
            facts = self._facts(running)
        running.writer.update(**facts)
        try:
            self._last = running.writer.close()
            self._finished += 1
        except Exception as error:  # As above; the next start, or `recover`, tries again.
            running.error = running.error or _said(error)
        if alone:
            self._on_end(f'{running.writer.path.name} ended: {running.error}', True)

    def _facts(self, running: _Running) -> dict[str, object]:
        """Fields of the metadata that change during an episode."""
        return {
            'instruction': (running.instruction or self.instruction
                            or running.writer.metadata.instruction),
            'policy': running.policy, 'policy_sha256': running.sha256,
            'interventions': tuple((start, stop) for start, stop in running.spans),
            'dropped': dict(running.queue.dropped),
        }

    def _end_alone(self, running: _Running, reason: str) -> None:
        def stop() -> None:
            try:
                path = self.stop(reason)
                self._on_end(f'{path.name} was stopped and kept: {reason}', True)
            except EpisodeError as error:
                self._on_end(str(error), True)

        if running is self._running:
            threading.Thread(target=stop, name='disk guard', daemon=True).start()

    def _free_gb(self) -> float:
        return shutil.disk_usage(self._nearest_folder()).free / GIGABYTE

    def _nearest_folder(self) -> Path:
        folder = self.settings.root
        while not os.path.exists(folder):  # False, too, where this user may not look
            folder = folder.parent
        return folder

    def _warnings(self, running: _Running | None, figures: dict[str, TopicFigures],
                  free_gb: float) -> list[str]:
        warnings = []
        if free_gb < self.settings.min_free_gb:
            warnings.append(f'only {free_gb:.1f} GB free')
        if running is None:
            return warnings
        for name, topic in self._topics.items():
            if topic.watched and figures[name].silent_s > self.settings.silence_s:
                warnings.append(f'{name} is silent for {figures[name].silent_s:.0f} s')
        warnings += [f'{count} messages of {name} were dropped: the disk is too slow'
                     for name, count in running.queue.dropped.items()]
        return warnings


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, EpisodeError) else f'{type(error).__name__}: {error}'
