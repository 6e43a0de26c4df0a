"""ROS 2's own library for bags against ours."""

import numpy as np
import pytest

from vla_nav.episodes.dataset import DatasetSettings, build_dataset
from vla_nav.episodes.episode import AlignSettings
from vla_nav.episodes.reader import BagReader
from vla_nav.episodes.windows import EpisodeDataset

rosbag2_py = pytest.importorskip('rosbag2_py', reason='ROS 2 is not installed')


def messages(bag):
    """Topic, type, data and log time of each message, by rosbag2_py."""
    reader = rosbag2_py.SequentialReader()
    reader.open(rosbag2_py.StorageOptions(uri=str(bag), storage_id='mcap'),
                rosbag2_py.ConverterOptions('', ''))
    types = {topic.name: topic.type for topic in reader.get_all_topics_and_types()}
    while reader.has_next():
        topic, data, log_ns = reader.read_next()
        yield topic, types[topic], data, log_ns


def test_it_reads_every_message_we_wrote(bag):
    theirs = [(topic, log_ns, data) for topic, _, data, log_ns in messages(bag)]
    with BagReader(bag) as reader:
        ours = list(reader.raw_messages())
        assert {topic: kind for topic, kind, _, _ in messages(bag)} == {
            topic: kind for topic, (kind, count) in reader.topics.items() if count}
    assert sorted(theirs) == sorted(ours)


def test_a_bag_it_wrote_converts_as_ours_does(robot, bag, tmp_path):
    writer = rosbag2_py.SequentialWriter()
    writer.open(rosbag2_py.StorageOptions(uri=str(tmp_path / 'plain'), storage_id='mcap'),
                rosbag2_py.ConverterOptions('', ''))
    known = set()
    for topic, kind, data, log_ns in messages(bag):
        if topic not in known:
            known.add(topic)
            writer.create_topic(rosbag2_py.TopicMetadata(
                id=len(known), name=topic, type=kind, serialization_format='cdr'))
        writer.write(topic, data, log_ns)
    del writer  # which closes the bag
    ours, theirs = (
        EpisodeDataset(build_dataset([path], tmp_path / name, DatasetSettings(
            images='png', contract=robot.contract, align=AlignSettings(
                instruction='go to the red ball'))).root)
        for path, name in ((bag, 'ours'), (tmp_path / 'plain', 'theirs')))
    assert np.array_equal(ours.frames(0), theirs.frames(0))
    assert np.array_equal(ours.actions, theirs.actions)
