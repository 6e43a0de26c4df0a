"""The recorder without ROS: pre-roll, queue, disks that are slow or full."""

import os
import threading
import time
from collections import Counter

import numpy as np
import pytest
from disks import NoDiskError, slow_disk, small_disk

from vla_nav.contract import Contract, Odometry
from vla_nav.episodes.bag import BagWriter, _Bag
from vla_nav.episodes.definitions import standard_types
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.message_queue import BoundedQueue, PreRoll, Received
from vla_nav.episodes.meters import TopicMeter
from vla_nav.episodes.reader import BagReader
from vla_nav.episodes.recorder import Recorder
from vla_nav.episodes.recorder_types import (
    STRING,
    RecordedTopic,
    RecorderSettings,
    contract_topics,
)

CONTRACT = Contract(odometry=Odometry())
CAMERA, COMMAND, SAID = '/camera/image_raw', '/cmd_vel', '/instruction'
SECOND = 1_000_000_000


def text(message):
    return standard_types().serialize_cdr(
        standard_types().types['std_msgs/msg/String'](data=message), 'std_msgs/msg/String')


@pytest.fixture
def make(tmp_path):
    ended = []

    def run(root=None, **settings):
        settings = {'min_free_gb': 0.0, 'pre_roll_s': 0.0, **settings}
        recorder = Recorder(
            RecorderSettings(root or tmp_path / 'episodes', **settings), CONTRACT, SAID,
            '/teleop_cmd_vel', lambda sentence, is_error: ended.append(sentence))
        for topic in contract_topics(CONTRACT, lambda name: f'/{name}'):
            recorder.add_topic(topic)
        recorder.ended = ended
        recorder.take(SAID, text('go'), 1)
        return recorder

    return run


def contents(path):
    with BagReader(path) as bag:
        counts = Counter(topic for topic, _, _ in bag.raw_messages())
        return counts, bag.metadata


def test_pre_roll_is_in_the_bag(make):
    recorder = make(pre_roll_s=1.0)
    for tenth in range(40):
        recorder.take(COMMAND, bytes(20), 10 * SECOND + tenth * SECOND // 10)
    recorder.start(14 * SECOND)
    recorder.take(COMMAND, bytes(20), 14 * SECOND)
    path = recorder.stop()
    with BagReader(path) as bag:
        times = [time_ns for topic, time_ns, _ in bag.raw_messages() if topic == COMMAND]
    assert times[0] == 13 * SECOND
    assert len(times) == 11


def test_pre_roll_is_bounded_in_bytes():
    pre_roll = PreRoll(100.0, 1000)
    for number in range(50):
        pre_roll.put(Received('/a', bytes(100), number, number))
        assert pre_roll.waiting_bytes <= 1000
    assert [message.log_ns for message in pre_roll.take(50)] == list(range(40, 50))
    assert pre_roll.waiting_bytes == 0


def test_the_last_latched_message_is_in_every_episode(make):
    recorder = make()
    for _ in range(2):
        recorder.start(100 * SECOND)
        recorder.take(COMMAND, bytes(20), 101 * SECOND)
        path = recorder.stop()
        with BagReader(path) as bag:
            said = [(time_ns, message.data) for _, time_ns, message in bag.messages(SAID)]
        assert said == [(100 * SECOND, 'go')]
        recorder.mark(True)


def test_a_latched_topic_of_several_publishers_is_kept_whole(make):
    recorder = make()
    recorder.add_topic(RecordedTopic('/tf_static', STRING, latched=100))
    for said in ('robot', 'lidar', 'robot'):
        recorder.take('/tf_static', text(said), SECOND)
    recorder.start(100 * SECOND)
    with BagReader(recorder.stop()) as bag:
        assert [message.data for _, _, message in bag.messages('/tf_static')] == [
            'lidar', 'robot']


def test_whatever_goes_wrong_while_writing_the_episode_is_kept_and_says_so(make):
    recorder = make()
    recorder.start(SECOND)
    recorder.take(COMMAND, bytes(20), SECOND)
    first = recorder.stop()
    recorder.start(2 * SECOND)
    recorder.take(COMMAND, bytes(20), 2 * SECOND)
    time.sleep(1.2)  # that one is on the disk
    recorder.take(COMMAND, bytes(20), 3 * SECOND, -1)  # no such time in a bag
    deadline = time.monotonic() + 20
    while recorder.recording and time.monotonic() < deadline:
        time.sleep(0.01)
    recorder.close()
    assert 'error: ' in recorder.ended[0] and 'int too large' not in recorder.ended[0]
    second, = [path for path in first.parent.iterdir()
               if path.name.startswith('episode') and path != first]
    counts, metadata = contents(second)
    assert counts[COMMAND] >= 1
    assert 'error: ' in metadata.stop_reason
    assert recorder.mark(True) == second.name


def test_only_the_last_episode_can_be_marked(make):
    recorder = make()
    recorder.start(SECOND)
    path = recorder.stop()
    path.rename(path.with_name('moved'))
    with pytest.raises(EpisodeError, match='cannot be marked'):
        recorder.mark(True)
    recorder.start(2 * SECOND)
    recorder.discard()
    with pytest.raises(EpisodeError, match='no episode to mark'):
        recorder.mark(True)


def test_a_shutdown_waits_for_an_episode_that_ends_by_itself(make, tmp_path, monkeypatch):
    write = BagWriter.write

    def write_slowly(self, *message):
        time.sleep(0.01)
        write(self, *message)

    monkeypatch.setattr(BagWriter, 'write', write_slowly)
    recorder = make()
    recorder.start(SECOND)
    for number in range(200):
        recorder.take(COMMAND, bytes(20), SECOND + number)
    object.__setattr__(recorder.settings, 'min_free_gb', 1e9)  # as if the disk were full
    recorder.check(2 * SECOND)
    while recorder.recording:
        time.sleep(0.001)
    recorder.close()
    path, = (tmp_path / 'episodes').glob('episode*')
    assert contents(path)[0][COMMAND] == 200


def test_a_clock_set_back_leaves_nothing_of_the_time_before(make):
    recorder = make(pre_roll_s=1.0)
    recorder.drives('nano', 'abc', True)
    for number in range(20):
        recorder.take(COMMAND, bytes(20), 1000 * SECOND + number * SECOND // 10)
    recorder.take('/teleop_cmd_vel', bytes(52), 1002 * SECOND)
    for number in range(20):
        recorder.take(COMMAND, bytes(20), SECOND + number * SECOND // 10)
    recorder.start(3 * SECOND)
    recorder.take('/teleop_cmd_vel', bytes(52), 3 * SECOND)
    rate_hz = recorder.check(3 * SECOND).topics[COMMAND].rate_hz
    path = recorder.stop()
    with BagReader(path) as bag:
        times = [time_ns for topic, time_ns, _ in bag.raw_messages() if topic == COMMAND]
        assert bag.metadata.interventions == ((3 * SECOND, 4 * SECOND),)
    assert min(times) == 2 * SECOND and max(times) < 3 * SECOND
    assert rate_hz == pytest.approx(10.0)


def test_a_full_queue_drops_images_before_commands_and_counts_both():
    queue = BoundedQueue(1_000_000)
    for _ in range(20):
        queue.put(Received(CAMERA, bytes(100_000), 0, 0))
    assert queue.dropped == {CAMERA: 12}
    for _ in range(300):
        queue.put(Received(COMMAND, bytes(1000), 0, 0))
    assert queue.dropped == {CAMERA: 12, COMMAND: 100}
    taken = queue.take(0.0)
    assert len(taken) == 8 + 200
    assert queue.waiting_bytes == 1_000_000
    for message in taken:
        queue.written(message)
    assert queue.waiting_bytes == 0


def test_recording_while_many_threads_deliver(make):
    recorder = make()
    recorder.start(0)

    def deliver(topic):
        for number in range(500):
            recorder.take(topic, number.to_bytes(4, 'little'), number)

    topics = [CAMERA, COMMAND, '/odom', '/teleop_cmd_vel']
    threads = [threading.Thread(target=deliver, args=(topic,)) for topic in topics]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts, metadata = contents(recorder.stop())
    assert counts == {**dict.fromkeys(topics, 500), SAID: 1}
    assert not metadata.dropped


def test_a_disk_that_becomes_full_ends_the_episode_and_nothing_is_dropped_silently(
        make, tmp_path):
    try:
        with small_disk(tmp_path, 16) as disk:
            recorder = make(disk, pre_roll_s=10.0)
            recorder.start(0)
            sent = 0
            while not recorder.ended and sent < 100_000:
                if recorder.recording:
                    sent += 1
                    recorder.take(CAMERA, os.urandom(100_000), sent)
                    time.sleep(0.001)
            assert 'disk full while writing' in recorder.ended[0]
            path, = [folder for folder in disk.iterdir() if folder.name.startswith('episode')]
            counts, metadata = contents(path)
            assert counts[CAMERA] > 60
            # What came just after the end waits for the next episode.
            late = len(recorder._pre_roll.take(sent))
            assert counts[CAMERA] + metadata.dropped[CAMERA] + late == sent
            assert 'disk full' in metadata.stop_reason
            assert not recorder.recording
            recorder.close()
    except NoDiskError as error:
        pytest.skip(str(error))


def test_the_disk_guard_stops_while_there_is_room_left(make, tmp_path):
    try:
        with small_disk(tmp_path, 64) as disk:
            recorder = make(disk, min_free_gb=0.03)
            recorder.start(0)
            sent = 0
            while not recorder.ended and sent < 100_000:
                if recorder.recording:
                    sent += 1
                    recorder.take(CAMERA, os.urandom(100_000), sent)
                if sent % 10 == 0:
                    recorder.check(sent)
                    time.sleep(0.01)
            assert 'was stopped and kept: only 0.0 GB are free' in recorder.ended[0]
            path, = [folder for folder in disk.iterdir() if folder.name.startswith('episode')]
            counts, metadata = contents(path)
            assert sent - 1 <= counts[CAMERA] <= sent, 'one may come after the end'
            assert not metadata.dropped
            (disk / 'filler').write_bytes(bytes(6_000_000))
            with pytest.raises(EpisodeError, match=r'has 0.0 GB free, less than min_free_gb'):
                recorder.start(0)
    except NoDiskError as error:
        pytest.skip(str(error))


def test_a_slow_disk_costs_counted_images_and_no_command(make, tmp_path):
    """2 MB/s of disk, 10 MB/s of images, a queue of 4 MB."""
    try:
        with slow_disk(tmp_path, 2_000_000) as disk:
            recorder = make(disk, queue_mb=4.0)
            recorder.start(0)
            image = np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes()
            for number in range(200):
                recorder.take(CAMERA, image, number)
                recorder.take(COMMAND, bytes(50), number)
                time.sleep(0.02)
            status = recorder.check(200)
            assert status.dropped[CAMERA] > 0
            assert any('the disk is too slow' in warning for warning in status.warnings)
            counts, metadata = contents(recorder.stop())
            assert counts[COMMAND] == 200
            assert counts[CAMERA] < 200
            assert metadata.dropped == {CAMERA: 200 - counts[CAMERA]}
    except NoDiskError as error:
        pytest.skip(str(error))


def test_topics_that_come_late_are_recorded_too(make):
    recorder = make()
    recorder.start(0)
    recorder.take(COMMAND, bytes(20), 1)
    recorder.add_topic(RecordedTopic('/late', 'std_msgs/msg/String'))
    recorder.take('/late', text('here'), 2)
    counts, _ = contents(recorder.stop())
    assert counts == {COMMAND: 1, '/late': 1, SAID: 1}


def test_a_takeover_counts_only_while_a_policy_drives(make):
    recorder = make(takeover_hold_s=1.0)
    recorder.start(0)
    recorder.take('/teleop_cmd_vel', bytes(20), 5 * SECOND)
    recorder.drives('pilot', 'f00', True)
    recorder.take('/teleop_cmd_vel', bytes(20), 10 * SECOND)
    recorder.take('/teleop_cmd_vel', bytes(20), 10 * SECOND + SECOND // 2)
    recorder.take('/teleop_cmd_vel', bytes(20), 20 * SECOND)
    _, metadata = contents(recorder.stop())
    assert metadata.interventions == ((10 * SECOND, 11 * SECOND + SECOND // 2),
                                      (20 * SECOND, 21 * SECOND))
    assert metadata.policy == 'pilot'


def test_two_recorders_share_a_folder_without_harm(make):
    first, second = make(), make()
    names = {first.start(0), second.start(0)}
    assert len(names) == 2
    assert {first.stop().name, second.stop().name} == names


def test_a_recorder_that_takes_the_name_at_the_same_moment_is_no_harm(make, monkeypatch):
    others, open_bag = [], _Bag.open

    def opened(bag):
        if not others:
            bag.path.mkdir(parents=True)
            others.append(bag.path)
        open_bag(bag)

    monkeypatch.setattr(_Bag, 'open', opened)
    recorder = make()
    assert recorder.start(0) == f'{others[0].name}_2'
    recorder.stop()
    assert others[0].is_dir()


@pytest.mark.parametrize(('data', 'heard'), [
    (b'\x00\x01\x00\x00\x08\x00\x00\x00K\xfchlung\x00', 'K\ufffdhlung'),
    (b'\x00\x00\x00\x00\x00\x00\x00\x03go\x00', 'go'),
    (b'\x00\x01\x00\x00\x00\x00\x00\x00', ''), (b'\x00\x01', '')],
    ids=['Latin-1', 'big-endian', 'length 0', 'cut'])
def test_any_bytes_may_be_an_instruction(make, data, heard):
    recorder = make()
    recorder.take(SAID, data, 2)
    assert recorder.instruction == heard


def test_an_instruction_for_the_next_episode_is_not_in_the_one_that_ends(make, monkeypatch):
    recorder, write = make(), BagWriter.write
    recorder.take(COMMAND, bytes(52), 2)
    recorder.start(3)

    def writing(*args):
        while recorder.recording:
            time.sleep(0.01)
        recorder.take(SAID, text('turn'), 5)
        return write(*args)

    monkeypatch.setattr(BagWriter, 'write', writing)
    recorder.take(COMMAND, bytes(52), 4)
    assert contents(recorder.stop())[1].instruction == 'go'
    assert recorder.instruction == 'turn'


@pytest.mark.parametrize(('field', 'value', 'message'), [
    ('sync_period_s', 2.0, 'expected 0.05 to 0.5'),
    ('queue_mb', 0.0, 'expected more than 0'),
    ('pre_roll_s', -1.0, 'expected 0 or more'),
])
def test_settings_out_of_range_are_refused(tmp_path, field, value, message):
    with pytest.raises(EpisodeError, match=message):
        RecorderSettings(tmp_path, **{field: value})


def stamped(time_ns):
    types = standard_types().types
    header = types['std_msgs/msg/Header'](
        stamp=types['builtin_interfaces/msg/Time'](sec=time_ns // SECOND,
                                                   nanosec=time_ns % SECOND), frame_id='')
    kind = 'sensor_msgs/msg/CompressedImage'
    return standard_types().serialize_cdr(
        types[kind](header=header, format='jpeg', data=np.zeros(10, np.uint8)), kind)


def test_gaps_are_counted_by_header_stamps():
    meter = TopicMeter('sensor_msgs/msg/CompressedImage')
    times = [i for i in range(40) if i not in (20, 30, 31)]
    for tenth in times:
        meter.add(stamped(SECOND + tenth * SECOND // 10), 5 * SECOND)
    figures = meter.figures(5 * SECOND)
    assert figures.gaps == 3
    assert figures.messages == 37


def test_rate_and_silence():
    meter = TopicMeter('geometry_msgs/msg/Twist')
    for tenth in range(31):
        meter.add(bytes(52), tenth * SECOND // 20)
    figures = meter.figures(2 * SECOND)
    assert figures.rate_hz == pytest.approx(20.0)
    assert figures.silent_s == pytest.approx(0.5)
    assert figures.gaps == 0
    assert meter.figures(60 * SECOND).rate_hz == 0.0


def test_a_folder_that_may_not_be_searched_is_named(make, tmp_path):
    recorder = make(tmp_path / 'locked' / 'data' / 'episodes')
    (tmp_path / 'locked').mkdir(mode=0)
    user = os.getresuid()
    if user[1] == 0:
        os.setresuid(65534, 65534, 0)  # root may search anything
    try:
        with pytest.raises(EpisodeError, match=r'episodes cannot be written: .* is no folder that '
                           'this user may write to; choose another'):
            recorder.check_disk()
    finally:
        os.setresuid(*user)
