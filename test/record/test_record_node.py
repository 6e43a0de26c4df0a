"""The recorder node, from topics to bags."""

import signal

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from rosbags.rosbag2 import Reader
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from vla_nav.contract import Contract
from vla_nav.episodes.dataset import DatasetSettings, build_dataset
from vla_nav.episodes.reader import BagReader
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.nodes import qos


def numbers(bag, topic='camera/image_raw'):
    """The number that each camera image carries."""
    name = bag.resolve(topic)
    return [int(np.frombuffer(bytes(message.data[:4]), np.uint32)[0])
            for _, _, message in bag.messages(name)]


def test_an_episode_holds_every_message_and_what_it_is_about(start):
    robot = start(pre_roll_s=0.5)
    robot.say('go to the red ball')
    robot.until(lambda: robot.figures.get('instruction') == 'go to the red ball', 'instruction')
    assert robot.call('start')[0]
    robot.later('camera', 40)
    assert robot.mark(True) == (True, robot.figures['episode'] + ' is a success')
    ok, text = robot.call('stop')
    assert ok, text
    bag_path, = robot.bags()
    with BagReader(bag_path) as bag:
        seen = numbers(bag)
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert len(seen) >= 40 + 6, 'with a pre-roll of half a second'
        metadata = bag.metadata
        assert metadata.instruction == 'go to the red ball'
        assert metadata.outcome == 'success'
        assert metadata.robot == 'small'
        assert metadata.contract.robot == 'small'
        assert metadata.started < metadata.stopped
        assert metadata.stop_reason == 'stopped'
        assert not metadata.dropped
        assert not metadata.policy
        assert not metadata.interventions
        texts = [message.data for _, _, message in
                 bag.messages(bag.resolve('instruction'))]
        assert texts == ['go to the red ball']


def test_a_recording_becomes_a_dataset(start, tmp_path):
    robot = start()
    robot.say('go')
    robot.until(lambda: robot.figures.get('instruction') == 'go', 'instruction')
    robot.call('start')
    robot.later('camera', 40)
    robot.call('stop')
    built = build_dataset(robot.bags(), tmp_path / 'dataset', DatasetSettings(images='png'))
    dataset = EpisodeDataset(built.root)
    assert dataset.rows >= 20
    assert np.allclose(dataset.actions, [0.2, 0.0])
    with BagReader(robot.bags()[0]) as bag:
        assert bag.contract == Contract.from_dict(
            {**bag.contract.to_dict(), 'robot': 'small'})


def test_log_and_publish_times_come_from_receiver_and_sender(start):
    from mcap.reader import make_reader

    robot = start()
    robot.say('go')
    robot.until(lambda: robot.figures.get('instruction') == 'go', 'instruction')
    robot.call('start')
    robot.later('camera', 10)
    robot.call('stop')
    bag, = robot.bags()
    with (bag / f'{bag.name}.mcap').open('rb') as file:
        times = [(message.publish_time, message.log_time) for _, channel, message in
                 make_reader(file).iter_messages() if channel.topic.endswith('odom')]
    assert all(0 < log - publish < 20e9 for publish, log in times)


def test_it_refuses_to_start_without_an_instruction(start):
    robot = start()
    ok, text = robot.call('start')
    assert not ok
    assert 'no instruction: publish one on' in text
    assert 'require_instruction' in text
    assert not robot.bags()


def test_commands_at_the_wrong_time_are_answered_with_the_reason(start):
    robot = start(require_instruction=False)
    assert robot.call('stop') == (False, 'nothing is being recorded; start an episode first')
    assert not robot.call('discard')[0]
    marked, answer = robot.mark(True)
    assert not marked and answer.startswith('there is no episode to mark: none was recorded')
    robot.call('start')
    ok, text = robot.call('start')
    assert not ok
    assert 'is being recorded; stop it first' in text
    assert robot.call('discard')[0]
    assert not robot.bags()
    assert not list(robot.out.rglob('*.mcap'))


def test_an_episode_can_be_marked_after_it_ended(start):
    robot = start(require_instruction=False)
    robot.call('start')
    robot.later('odom', 5)
    robot.call('stop')
    robot.mark(False)
    with BagReader(robot.bags()[0]) as bag:
        assert bag.metadata.outcome == 'failure'


def test_a_gamepad_does_it_all(start):
    robot = start(require_instruction=False, joy_start=7, joy_stop=7, joy_failure=1,
                  joy_discard=3)
    robot.press(7)
    robot.until(lambda: robot.figures.get('episode'), 'start by button')
    robot.press(1)
    robot.press(7)
    robot.until(lambda: robot.figures.get('episodes finished') == '1', 'stop by button')
    with BagReader(robot.bags()[0]) as bag:
        assert bag.metadata.outcome == 'failure'
    robot.press(7)
    robot.until(lambda: robot.figures.get('episode'), 'start by button')
    robot.press(3)
    robot.until(lambda: robot.figures.get('episode') == '', 'discard by button')
    assert len(robot.bags()) == 1


def test_a_human_who_takes_over_is_marked(start, tmp_path):
    robot = start(takeover_hold_s=0.5)
    robot.say('go')
    robot.drive_state('DRIVING')
    robot.until(lambda: robot.figures.get('instruction') == 'go', 'instruction')
    robot.call('start')
    robot.later('camera', 15)
    for _ in range(10):
        robot.teleop(0.0, 0.7)
        robot.later('odom', 1)
    robot.drive_state('TAKEOVER')
    robot.later('camera', 30)
    robot.drive_state('DRIVING')
    robot.until(lambda: robot.count('drive/state') == 2, 'the last state')
    robot.call('stop')
    with BagReader(robot.bags()[0]) as bag:
        assert bag.metadata.policy == 'pilot'
        assert bag.metadata.policy_sha256 == 'abc123'
        (begin, end), = bag.metadata.interventions
        teleop = [time for _, time, _ in bag.messages(bag.resolve('teleop_cmd_vel'))]
        assert len(teleop) == 10
        assert begin == teleop[0]
        assert end == teleop[-1] + 500_000_000
        states = [message.data for _, _, message in bag.messages(bag.resolve('drive/state'))]
        assert len(states) == 3
    dataset = EpisodeDataset(build_dataset(
        robot.bags(), tmp_path / 'dataset', DatasetSettings()).root)
    human = dataset.intervention
    assert 5 <= human.sum() < len(human)
    assert np.allclose(dataset.actions[human], [0.0, 0.7])
    assert np.allclose(dataset.actions[~human], [0.2, 0.0])


def test_a_policy_that_died_drives_no_more(start):
    robot = start(takeover_hold_s=0.1)
    robot.say('go')
    robot.drive_state('DRIVING')
    robot.until(lambda: robot.count('drive/state') == 1, 'the state')

    def recorded():
        robot.later('camera', 40)
        robot.call('start')
        robot.teleop(0.0, 0.7)
        robot.later('camera', 10)
        robot.call('stop')
        with BagReader(robot.bags()[-1]) as bag:
            return bag.metadata

    robot.drive_dies()
    metadata = recorded()
    assert metadata.policy == ''
    assert metadata.interventions == ()
    robot.drive_is_back()
    metadata = recorded()
    assert metadata.policy == 'pilot'
    assert len(metadata.interventions) == 1


def test_extra_topics_are_found_and_recorded(start):
    robot = start(require_instruction=False, extra_topics='extra, odom, extra')
    robot.until(lambda: robot.count('extra') > 0, 'finding the extra topic')
    robot.call('start')
    robot.later('odom', 10)
    robot.call('stop')
    with BagReader(robot.bags()[0]) as bag:
        assert bag.topics[bag.resolve('extra')][1] >= 8
        stamps = [(message.header.stamp.sec, message.header.stamp.nanosec)
                  for _, _, message in bag.messages(bag.resolve('odom'))]
        assert len(set(stamps)) == len(stamps)


def test_every_publisher_s_transforms_are_in_every_episode(start):
    robot = start(require_instruction=False, extra_topics='static')
    for part in ('robot', 'lidar'):
        publisher = robot.node.create_publisher(TFMessage, 'static', qos.LATCHED)
        publisher.publish(TFMessage(transforms=[TransformStamped(child_frame_id=part)]))
    robot.until(lambda: robot.count('static') > 1, 'hearing both')
    for _ in range(2):
        robot.call('start')
        robot.later('odom', 5)
        robot.call('stop')
    for bag in robot.bags():
        with BagReader(bag) as reader:
            said = {message.transforms[0].child_frame_id
                    for _, _, message in reader.messages(reader.resolve('static'))}
        assert said == {'robot', 'lidar'}


def test_publishers_of_any_reliability_are_heard(start):
    """Also one that comes while recording and is less reliable than those before."""
    robot = start(require_instruction=False, extra_topics='extra')
    robot.until(lambda: robot.count('extra') > 0, 'finding the extra topic')
    robot.call('start')
    weak = robot.node.create_publisher(String, 'extra', qos.SENSOR)
    robot.node.create_timer(0.05, lambda: weak.publish(String(data='weak')))
    robot.until(lambda: weak.get_subscription_count() > 0, 'a subscription that fits')
    robot.later('odom', 30)
    robot.call('stop')
    with BagReader(robot.bags()[0]) as bag:
        texts = {message.data for _, _, message in bag.messages(bag.resolve('extra'))}
    assert texts == {'beside', 'weak'}


def test_silence_of_a_contract_topic_is_a_warning_while_recording(start):
    robot = start(require_instruction=False, silence_s=0.5)
    robot.call('start')
    robot.until(lambda: robot.level == DiagnosticStatus.OK and robot.figures.get('episode'),
                'an untroubled state')
    robot.silent.add('camera')
    robot.until(lambda: robot.level == DiagnosticStatus.WARN, 'a warning')
    assert 'camera/image_raw is silent for' in robot.summary
    robot.silent.clear()
    robot.until(lambda: robot.level == DiagnosticStatus.OK, 'an end of the warning')
    robot.call('discard')


def test_a_full_disk_refuses_the_start(start):
    robot = start(require_instruction=False, min_free_gb=9999.0)
    ok, text = robot.call('start')
    assert not ok
    assert 'less than min_free_gb 9999; free some space' in text


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_completes_the_episode(start, number):
    robot = start(require_instruction=False)
    robot.call('start')
    robot.later('odom', 5)
    assert robot.recorder.end(number) == 0
    with BagReader(robot.bags()[0]) as bag:
        assert bag.metadata.stop_reason == 'the recorder was shut down'
        assert not bag.metadata.recovered


def test_kill_9_costs_at_most_a_second(start):
    robot = start()
    robot.say('go')
    robot.until(lambda: robot.figures.get('instruction') == 'go', 'instruction')
    robot.call('start')
    robot.drive_state('DRIVING')
    robot.later('camera', 30)
    robot.teleop(0.0, 0.5)
    robot.later('camera', 40)
    before = robot.sent['camera'] - 20  # one second
    robot.recorder.end(signal.SIGKILL)
    assert not robot.bags()
    start()  # recovers what it finds
    bag_path, = robot.bags()
    assert 'recovered episode_' in robot.recorder.output
    with BagReader(bag_path) as bag:
        seen = numbers(bag)
        assert seen == list(range(seen[0], seen[-1] + 1))
        assert seen[-1] >= before
        assert bag.metadata.recovered
        assert bag.metadata.instruction == 'go'
        assert bag.metadata.policy == 'pilot'
        assert len(bag.metadata.interventions) == 1
    with Reader(bag_path) as reader:
        assert reader.message_count == len(list(reader.messages()))
