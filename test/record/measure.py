"""Measure the recorder: loss and cost under load, kill -9, slow and full disks, a long dataset.

  python test/record/measure.py load --seconds 600     10 minutes of 720p JPEG and five rates
  python test/record/measure.py kill --rounds 50       kill -9 at random moments
  python test/record/measure.py disks --seconds 20     2 MB/s and a full tmpfs (root, Linux)
  python test/record/measure.py parity BAG             frames and commands against the dataset's

Figures are printed as they are; nothing passes or fails, except that every loss is named.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import psutil
import yaml

sys.path[:0] = [str(Path(__file__).resolve().parents[2]),
                str(Path(__file__).resolve().parents[1] / 'episodes')]
os.environ.setdefault('ROS_DOMAIN_ID', '43')

from disks import NoDiskError, slow_disk, small_disk  # noqa: E402

from vla_nav import rosless  # noqa: E402

rosless.ensure()

import rclpy  # noqa: E402
from geometry_msgs.msg import Twist  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_nav.bench.recorder import write_plainly  # noqa: E402
from vla_nav.episodes.dataset import DatasetSettings, build_dataset  # noqa: E402
from vla_nav.episodes.episode import AlignSettings, align  # noqa: E402
from vla_nav.episodes.reader import BagReader  # noqa: E402
from vla_nav.episodes.recovery import recover  # noqa: E402
from vla_nav.episodes.video import psnr_db  # noqa: E402
from vla_nav.episodes.windows import EpisodeDataset  # noqa: E402
from vla_nav.frames import Pacer, frame_from_message  # noqa: E402
from vla_nav.nodes import messages, qos  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = {'robot': 'measured', 'rate_hz': 10.0, 'odometry': {}, 'camera': {
    'topic': 'camera/image_raw/compressed', 'type': 'sensor_msgs/msg/CompressedImage',
    'width': 192, 'height': 192}}
EXTRAS = [f'small_{index}' for index in range(4)]


class Publisher:
    """Publishes numbered messages at steady rates, from one thread per topic."""

    def __init__(self, image_bytes: int = 0, image_hz: float = 30.0) -> None:
        rclpy.init(args=[])
        self.node = Node('measured_robot')
        create = self.node.create_publisher
        self.sent: dict[str, list[float]] = {}
        """Steady time of each message, by topic."""
        self._image_bytes = image_bytes
        self._topics = {
            '/camera/image_raw/compressed': (create(
                CompressedImage, 'camera/image_raw/compressed', qos.IMAGES), image_hz,
                self._image()),
            '/odom': (create(Odometry, 'odom', 50), 50.0, self._odometry()),
            '/cmd_vel': (create(Twist, 'cmd_vel', 50), 20.0, self._twist()),
            **{f'/{name}': (create(String, name, 50), 10.0, self._string()) for name in EXTRAS},
        }
        self._instruction = create(String, 'instruction', qos.LATCHED)
        self._instruction.publish(String(data='go to the measured ball'))
        self._clients = {name: self.node.create_client(Trigger, f'record/{name}')
                         for name in ('start', 'stop')}
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.ending = threading.Event()
        self._threads = [threading.Thread(target=self._spin, daemon=True)] + [
            threading.Thread(target=self._publish, args=(topic,), daemon=True)
            for topic in self._topics]
        for thread in self._threads:
            thread.start()

    def call(self, name: str) -> str:
        client = self._clients[name]
        if not client.wait_for_service(timeout_sec=60.0):
            raise SystemExit(f'no recorder answers {name}')
        future = client.call_async(Trigger.Request())
        while not future.done():
            time.sleep(0.02)
        if not future.result().success:
            raise SystemExit(future.result().message)
        return future.result().message

    def answers(self, name: str, seconds: float) -> bool:
        """Whether a service answers, whatever it says."""
        future = self._clients[name].call_async(Trigger.Request())
        deadline = time.monotonic() + seconds
        while not future.done() and time.monotonic() < deadline:
            time.sleep(0.02)
        return future.done()

    def close(self) -> None:
        self.ending.set()
        for thread in self._threads:
            thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _spin(self) -> None:
        while not self.ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _publish(self, topic: str) -> None:
        publisher, rate_hz, make = self._topics[topic]
        times = self.sent.setdefault(topic, [])
        due = time.monotonic()
        while not self.ending.is_set():
            message = make(len(times))
            times.append(time.monotonic())
            publisher.publish(message)
            due += 1 / rate_hz
            time.sleep(max(0.0, due - time.monotonic()))

    def _image(self):
        if self._image_bytes:
            noise = np.random.default_rng(0).integers(0, 256, self._image_bytes, np.uint8)
            pictures = [noise.tobytes()]
        else:
            pictures = [_picture(index) for index in range(10)]

        def make(number):
            message = CompressedImage(format='jpeg')
            message.data = array('B', pictures[number % len(pictures)])
            self._stamp(message.header, number)
            return message
        return make

    def _odometry(self):
        message = Odometry()

        def make(number):
            self._stamp(message.header, number)
            return message
        return make

    def _twist(self):
        message = Twist()

        def make(number):
            message.linear.x, message.linear.z = 0.2 + 0.1 * (number % 3), float(number)
            return message
        return make

    def _string(self):
        return lambda number: String(data=str(number))

    def _stamp(self, header, number: int) -> None:
        header.stamp = messages.stamp(self.node.get_clock().now().nanoseconds)
        header.frame_id = str(number)


def _picture(index: int) -> bytes:
    """A 1280x720 JPEG of a textured scene, about 150 KB."""
    rng = np.random.default_rng(index)
    noise = rng.integers(0, 256, (720, 1280, 3), np.uint8)
    picture = cv2.GaussianBlur(noise, (0, 0), 1.2)
    return cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def number_of(topic: str, message) -> int:
    """The number that the publisher gave a message."""
    if topic in ('/camera/image_raw/compressed', '/odom'):
        return int(message.header.frame_id)
    return int(message.linear.z) if topic == '/cmd_vel' else int(message.data)


def numbers(bag_path: Path) -> dict[str, list[int]]:
    """Numbers of the recorded messages by topic, read by our reader."""
    found: dict[str, list[int]] = {}
    with BagReader(bag_path) as bag:
        topics = [topic for topic in bag.topics if topic in
                  ('/camera/image_raw/compressed', '/odom', '/cmd_vel')
                  or topic.strip('/') in EXTRAS]
        for topic, _, message in bag.messages(*topics):
            found.setdefault(topic, []).append(number_of(topic, message))
    return found


def start_recorder(out: Path, contract: Path, **parameters) -> subprocess.Popen:
    words = ['-p', f'robot:={contract}', '-p', f'out:={out}', '-p',
             f'extra_topics:={",".join(EXTRAS)}']
    for name, value in {'min_free_gb': 0.0, **parameters}.items():
        words += ['-p', f'{name}:={json.dumps(value)}']
    return subprocess.Popen(
        [sys.executable, '-m', 'vla_nav.nodes.record', '--ros-args', '--log-level', 'warn',
         *words], env={**os.environ, 'PYTHONPATH': os.pathsep.join(
             filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))})


def wait_for_extras(publisher: Publisher, seconds: float = 3.0) -> None:
    """The recorder has found topics and types some moments after it answers.

    That a service is there proves nothing: the graph shows a killed one for ten seconds.
    """
    deadline = time.monotonic() + 60.0
    while not publisher.answers('stop', 2.0):
        if time.monotonic() > deadline:
            raise SystemExit('no recorder answers within 60 s')
    time.sleep(seconds)


def load(args, folder: Path, contract: Path) -> None:
    publisher = Publisher()
    recorder = start_recorder(folder / 'episodes', contract, pre_roll_s=0.0)
    process = psutil.Process(recorder.pid)
    try:
        wait_for_extras(publisher)
        publisher.call('start')
        before, began = process.cpu_times(), time.monotonic()
        time.sleep(args.seconds)
        after, seconds = process.cpu_times(), time.monotonic() - began
        memory = process.memory_info().rss
        publisher.call('stop')
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait(60)
        publisher.close()
    bag_path = next((folder / 'episodes').glob('episode_*'))
    with BagReader(bag_path) as bag:
        dropped = dict(bag.metadata.dropped)
    lost = {}
    for topic, seen in numbers(bag_path).items():
        missing = seen[-1] - seen[0] + 1 - len(set(seen))
        lost[topic] = missing
        print(f'{topic:32} {len(seen):8} messages, {len(seen) / seconds:6.1f} Hz, {missing} lost')
    size = sum(file.stat().st_size for file in bag_path.iterdir())
    cpu = after.user + after.system - before.user - before.system
    alone_s, written = writer_alone(bag_path, folder / 'alone')
    print(f'lost in all: {sum(lost.values())}; dropped by the recorder: {dropped or 0}')
    print(f'{seconds:.0f} s, {size / seconds / 1e6:.2f} MB/s, {cpu / seconds:.1%} of one CPU, '
          f'{memory / 1e6:.0f} MB of memory')
    print(f"rosbags' writer alone, same {written} messages: {alone_s / seconds:.2%} of one CPU; "
          f'the recorder costs {cpu / alone_s:.1f} times as much')


def writer_alone(bag_path: Path, out: Path) -> tuple[float, int]:
    """CPU seconds that rosbags' own writer needs for the messages of a bag."""
    from rosbags.rosbag2 import Reader

    with Reader(bag_path) as reader:
        alone = write_plainly(((connection.topic, connection.msgtype, time_ns, data)
                               for connection, time_ns, data in reader.messages()), out)
    shutil.rmtree(out)
    return alone


def kill(args, folder: Path, contract: Path) -> None:
    """Kill the recorder at random moments; what is older than a second must be there."""
    from rosbags.rosbag2 import Reader

    rng = random.Random(args.seed)
    publisher = Publisher(image_bytes=60_000)
    losses, missing_total, read = [], 0, 0
    try:
        for attempt in range(args.rounds):
            out = folder / f'round_{attempt}'
            recorder = start_recorder(out, contract, pre_roll_s=0.0)
            wait_for_extras(publisher)
            publisher.call('start')
            began = time.monotonic() + 0.1
            time.sleep(0.5 + rng.random() * args.longest)
            killed = time.monotonic()
            recorder.kill()
            recorder.wait()
            done, failed = recover(out)
            if failed or len(done) != 1:
                print(f'round {attempt}: not recovered: {failed}')
                missing_total += 1
                continue
            found = numbers(done[0].path)
            with Reader(done[0].path) as reader:
                counts = Counter(connection.topic for connection, _, _ in reader.messages())
            newest = killed - began
            for topic, times in list(publisher.sent.items()):
                due = {number for number, at in enumerate(list(times))
                       if began <= at <= killed - 1.0}
                missing = due - set(found.get(topic, ()))
                missing_total += len(missing)
                read += len(due)
                if missing:
                    print(f'round {attempt}: {len(missing)} of {topic} are missing')
                if counts[topic] != len(found.get(topic, ())):
                    print(f'round {attempt}: readers disagree on {topic}')
                    missing_total += 1
                if topic == '/odom' and found.get(topic):
                    newest = killed - times[max(found[topic])]
            losses.append(newest)
            print(f'round {attempt}: killed after {killed - began:.2f} s, the bag ends '
                  f'{newest * 1e3:.0f} ms before', flush=True)
            shutil.rmtree(out)
    finally:
        publisher.close()
    print(f'{args.rounds} kills: of {read} messages older than 1 s, {missing_total} are missing; '
          f'the end was lost by {statistics.median(losses) * 1e3:.0f} ms in the median, '
          f'{max(losses) * 1e3:.0f} ms at most')


def disks(args, folder: Path, contract: Path) -> None:
    publisher = Publisher(image_bytes=250_000)
    try:
        try:
            with slow_disk(folder, 2_000_000, 400) as disk:
                print('a disk of 2 MB/s, 7.5 MB/s of images, a queue of 16 MB:')
                _on_disk(publisher, disk, contract, args.seconds, queue_mb=16.0)
        except NoDiskError as error:
            print(f'no disk of 2 MB/s here: {error}')
        with small_disk(folder, 64) as disk:
            print('a disk of 64 MB:')
            _on_disk(publisher, disk, contract, args.seconds)
    finally:
        publisher.close()


def _on_disk(publisher: Publisher, disk: Path, contract: Path, seconds: float, **parameters
             ) -> None:
    recorder = start_recorder(disk / 'episodes', contract, pre_roll_s=0.0, **parameters)
    try:
        wait_for_extras(publisher)
        publisher.call('start')
        time.sleep(seconds)
        try:
            print('  stop:', publisher.call('stop'))
        except SystemExit as answer:
            print('  stop:', answer)
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait(120)
    bag_path = next((disk / 'episodes').glob('episode_*'))
    with BagReader(bag_path) as bag:
        dropped, reason = bag.metadata.dropped, bag.metadata.stop_reason
    for topic, seen in numbers(bag_path).items():
        missing = seen[-1] - seen[0] + 1 - len(seen)
        print(f'  {topic:32} {len(seen):6} recorded, {missing:5} missing in between, '
              f'{dropped.get(topic, 0):5} counted as dropped')
    print(f'  reason: {reason}')


def parity(args, folder: Path, contract: Path) -> None:
    exact = EpisodeDataset(build_dataset(
        [args.bag], folder / 'png', DatasetSettings(images='png')).root)
    small = EpisodeDataset(build_dataset([args.bag], folder / 'mp4', DatasetSettings()).root)
    with BagReader(args.bag) as bag:
        recording = align(bag, AlignSettings())
        pacer, live = Pacer(bag.contract.rate_hz), {}
        for index, (_, _, message) in enumerate(bag.messages(recording.camera)):
            frame = frame_from_message(message, bag.contract.camera)
            if pacer.admit(frame.stamp_ns):
                live[index] = frame.image
        heard = []  # as they came, read without align()
        for _, log_ns, message in bag.messages(bag.resolve(bag.contract.command.topic)):
            stamped = recording.clock == 'header' and hasattr(message, 'header')
            at_ns = messages.nanoseconds(message.header.stamp) if stamped else log_ns
            heard.append((at_ns, messages.read_command(message, bag.contract.command.fields)))
        half_ns = round(bag.contract.step_s * 1e9 / 2)
    same = rows = driven = 0
    quality = []
    for number, episode in enumerate(recording.episodes):
        pictures, videos = exact.frames(number), small.frames(number)
        start = sum(len(e) for e in recording.episodes[:number])
        for row, index in enumerate(episode.messages):
            rows += 1
            middle_ns = int(episode.stamps_ns[row]) + half_ns
            command = next((c for at_ns, c in reversed(heard) if at_ns <= middle_ns), (0.0, 0.0))
            driven += np.array_equal(exact.actions[start + row], np.float32(command))
            same += np.array_equal(live[int(index)], pictures[row])
            quality.append(psnr_db(pictures[row], videos[row]))
    print(f'{same} of {rows} PNG frames are those of the live path; MP4: PSNR '
          f'{min(quality):.1f} dB at least, {statistics.mean(quality):.1f} dB in the mean')
    print(f'{driven} of {rows} actions are the command in force at the middle of their step; '
          f'PNG and MP4 have the same: {np.array_equal(exact.actions, small.actions)}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    for name, verb in (('load', load), ('kill', kill), ('disks', disks), ('parity', parity)):
        sub = verbs.add_parser(name)
        sub.set_defaults(verb=verb)
        if name in ('load', 'disks'):
            sub.add_argument('--seconds', type=float, default=20.0)
        if name == 'kill':
            sub.add_argument('--rounds', type=int, default=5)
            sub.add_argument('--longest', type=float, default=4.0)
            sub.add_argument('--seed', type=int, default=0)
        if name == 'parity':
            sub.add_argument('bag', type=Path)
        sub.add_argument('--folder', type=Path, help='on the disk to measure (a temporary one)')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        contract = Path(folder) / 'robot.yaml'
        contract.write_text(yaml.safe_dump(CONTRACT))
        args.verb(args, Path(folder), contract)


if __name__ == '__main__':
    main()
