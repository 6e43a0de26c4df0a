"""What a policy sees live is what it learns from: the same frames, the same commands."""

import threading
import time
from array import array

import numpy as np
import pytest
from geometry_msgs.msg import Twist
from sensor_msgs.msg import Image

from vla_nav.contract import ActionChunk, Contract
from vla_nav.control import Controller, ControlSettings
from vla_nav.episodes.dataset import DatasetSettings, build_dataset
from vla_nav.episodes.episode import AlignSettings, align
from vla_nav.episodes.reader import BagReader
from vla_nav.episodes.video import psnr_db
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.nodes import messages, qos
from vla_nav.nodes.inference import InferenceWorker


class Watcher:
    """A policy that keeps what it is shown."""

    name, sha256 = 'watcher', 'none'

    def __init__(self):
        self.frames = {}

    def must_load(self, instruction):
        return False

    def reset(self, instruction):
        pass

    def step(self, frame, velocity=None):
        self.frames[frame.stamp_ns] = frame.image.copy()
        return ActionChunk(np.zeros((1, 2), np.float32), frame.stamp_ns, 0.1)


def live_policy(node, contract):
    """Put the drive node's own worker behind the camera topic."""
    watcher = Watcher()
    controller = Controller(ControlSettings(), contract, contract.camera.topic)
    worker = InferenceWorker(
        controller, contract.camera, contract.rate_hz,
        lambda: node.get_clock().now().nanoseconds, lambda: None, lambda chunk: None,
        lambda text: pytest.fail(text))
    worker.use(watcher)
    controller.instruct('go', time.monotonic_ns())

    def image(message):
        controller.image_arrived(messages.nanoseconds(message.header.stamp),
                                 node.get_clock().now().nanoseconds, time.monotonic_ns())
        worker.submit(message, time.monotonic_ns())

    node.create_subscription(Image, contract.camera.topic, image, qos.IMAGES)
    return watcher, worker


def textured(number, height=96, width=128):
    rng = np.random.default_rng(number)
    small = rng.integers(40, 220, (6, 8, 3), np.uint8)
    return np.kron(small, np.ones((height // 6, width // 8, 1), np.uint8))


def test_live_frames_and_commands_are_those_of_the_dataset(start, tmp_path):
    robot = start(require_instruction=False)
    contract = Contract.load(tmp_path / 'robot.yaml')
    robot.silent |= {'camera', 'command'}
    watcher, worker = live_policy(robot.node, contract)
    robot.say('go')
    robot.until(lambda: robot.figures.get('instruction') == 'go', 'instruction')
    robot.call('start')
    sent = {}

    def camera():
        for number in range(40):
            now_ns = robot.node.get_clock().now().nanoseconds
            pixels = textured(number)
            image = Image(encoding='rgb8', height=96, width=128, step=384,
                          data=array('B', pixels.tobytes()))
            image.header.stamp = messages.stamp(now_ns)
            twist = Twist()
            twist.linear.x, twist.angular.z = 0.1 + number / 100, number / 50
            robot.publish('command', twist)
            robot.publish('camera', image)
            sent[now_ns] = (twist.linear.x, twist.angular.z)
            time.sleep(0.1)

    thread = threading.Thread(target=camera)
    thread.start()
    thread.join()
    robot.until(lambda: robot.count('camera/image_raw') >= 40, 'the last image')
    robot.call('stop')
    assert worker.close()
    bag_path, = robot.bags()
    settings = AlignSettings(trim=False)
    with BagReader(bag_path) as bag:
        episodes = align(bag, settings).episodes
    stamps = np.concatenate([episode.stamps_ns for episode in episodes])
    exact = EpisodeDataset(build_dataset(
        [bag_path], tmp_path / 'png', DatasetSettings(images='png', align=settings)).root)
    small = EpisodeDataset(build_dataset(
        [bag_path], tmp_path / 'mp4', DatasetSettings(align=settings)).root)
    pictures = np.concatenate([exact.frames(episode) for episode in range(len(exact))])
    videos = np.concatenate([small.frames(episode) for episode in range(len(small))])
    both = [row for row, stamp in enumerate(stamps) if int(stamp) in watcher.frames]
    assert len(both) >= 20, 'on a loaded machine the worker may skip some'
    for row in both:
        assert np.array_equal(pictures[row], watcher.frames[int(stamps[row])])
    assert min(psnr_db(*pair) for pair in zip(pictures, videos)) >= 38
    on_time = [row for row, stamp in enumerate(stamps)
               if np.allclose(exact.actions[row], np.float32(sent[int(stamp)]), atol=1e-6)]
    assert len(on_time) >= 0.9 * len(stamps), 'one may come late on a loaded machine'
