"""What recording costs: our recorder over rosbags' own writer, for the same messages."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from vla_nav.bench.result import Result
from vla_nav.bench.run import Bench
from vla_nav.episodes.definitions import definition, standard_types
from vla_nav.episodes.recorder import MEGABYTE, Recorder
from vla_nav.episodes.recorder_types import RecordedTopic, RecorderSettings

IMAGE_BYTES = 150_000
SECONDS = 30.0
"""Of a robot's life."""
ROUNDS = 5
IMAGE, VELOCITY, COMMAND = '/camera/image_raw/compressed', '/velocity', '/cmd_vel'
TYPES = {IMAGE: 'sensor_msgs/msg/CompressedImage', VELOCITY: 'geometry_msgs/msg/TwistStamped',
         COMMAND: 'geometry_msgs/msg/Twist'}
RATES_HZ = {IMAGE: 30, VELOCITY: 50, COMMAND: 20}

Message = tuple[str, int, bytes]
"""Topic, time in ns, and serialized."""


def measure(bench: Bench) -> Iterator[Result]:
    """CPU time per megabyte."""
    messages = list(_messages(1.0 if bench.quick else SECONDS))
    megabytes = sum(len(data) for _, _, data in messages) / MEGABYTE
    spent = {'ours': [], 'rosbags': []}
    for number in range(1 if bench.quick else ROUNDS):
        folder = bench.folder / f'episodes_{number}'
        spent['ours'].append(_recorded(bench, messages, folder))
        spent['rosbags'].append(write_plainly(
            ((topic, TYPES[topic], time_ns, data) for topic, time_ns, data in messages),
            folder / 'plain')[0])
        shutil.rmtree(folder)
    ours, plain = (float(np.median(spent[name])) for name in ('ours', 'rosbags'))
    yield Result('recorder', f'recorder, {megabytes:.0f} MB of images, velocities and commands',
                 1e3 * ours / megabytes, 'ms CPU/MB', "rosbags' writer", ours / plain)


def write_plainly(messages: Iterable[tuple[str, str, int, bytes]], out: Path) -> tuple[float, int]:
    """CPU seconds of rosbags' own writer for messages (topic, type, ns, data), and how many."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    spent, count = 0.0, 0
    with Writer(out, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for topic, msgtype, time_ns, data in messages:
            if topic not in connections:
                text, digest = definition(msgtype)
                connections[topic] = writer.add_connection(
                    topic, msgtype, msgdef=text, rihs01=digest)
            began = time.process_time()
            writer.write(connections[topic], time_ns, data)
            spent += time.process_time() - began
            count += 1
        began = time.process_time()
    return spent + time.process_time() - began, count


def _recorded(bench: Bench, messages: list[Message], folder: Path) -> float:
    """CPU seconds of all threads, from the first message to the finished bag."""
    settings = RecorderSettings(folder, pre_roll_s=0.0, queue_mb=1024.0, min_free_gb=0.0,
                                require_instruction=False)
    contract = bench.checkpoint.contract
    recorder = Recorder(settings, contract, f'/{contract.instruction_topic}',
                        f'/{contract.teleop_topic}')
    for topic, msgtype in TYPES.items():
        recorder.add_topic(RecordedTopic(topic, msgtype))
    recorder.start(messages[0][1])
    began = time.process_time()
    for message in messages:
        recorder.take(message[0], message[2], message[1])
    recorder.stop()
    return time.process_time() - began


def _messages(seconds: float) -> Iterator[Message]:
    types = standard_types().types
    noise = np.random.default_rng(0).integers(0, 256, (10, IMAGE_BYTES), np.uint8)
    zero = types['geometry_msgs/msg/Vector3'](0.0, 0.0, 0.0)
    twist = types[TYPES[COMMAND]](zero, zero)

    def header(time_ns: int):
        stamp = types['builtin_interfaces/msg/Time'](*divmod(time_ns, 10**9))
        return types['std_msgs/msg/Header'](stamp, 'camera')

    make = {
        IMAGE: lambda ns, n: types[TYPES[IMAGE]](header(ns), 'jpeg', noise[n % len(noise)]),
        VELOCITY: lambda ns, n: types[TYPES[VELOCITY]](header(ns), twist),
        COMMAND: lambda ns, n: twist,
    }
    due = sorted((10**9 + round(1e9 * number / hz), topic, number)
                 for topic, hz in RATES_HZ.items() for number in range(int(seconds * hz)))
    for time_ns, topic, number in due:
        message = make[topic](time_ns, number)
        data = standard_types().serialize_cdr(message, TYPES[topic])
        yield topic, time_ns, bytes(data)
