"""Each bad bag gets a message with file and remedy; the others still convert."""

import dataclasses
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from vla_nav.episodes.bag import BagWriter
from vla_nav.episodes.dataset import DatasetSettings, build_dataset
from vla_nav.episodes.definitions import definition, standard_types
from vla_nav.episodes.episode import AlignSettings
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.lockstep import LockstepRecorder
from vla_nav.episodes.metadata import EpisodeMetadata
from vla_nav.episodes.reader import BagReader
from vla_nav.episodes.recovery import recover

SECOND = 1_000_000_000


@pytest.fixture
def complaint(robot, tmp_path):
    """Return a function that builds a dataset of one good and one bad bag."""

    def run(bad, **settings):
        for index in range(2):
            robot().write(bad.parent, f'good_{index}')
        built = build_dataset([bad.parent], tmp_path / 'out', DatasetSettings(**settings))
        assert built.info['total_episodes'] == 2
        assert list(built.failures) == [str(bad)]
        text = built.failures[str(bad)]
        assert str(bad) in text
        return text

    return run


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'bags'


def test_truncated(robot, root, complaint):
    path = robot().write(root, 'bad')
    file = path / 'bad.mcap'
    os.truncate(file, file.stat().st_size * 2 // 3)
    assert f'`vla_nav recover {path}` completes it' in complaint(path)


def test_truncated_then_recovered(robot, root, tmp_path):
    path = robot().write(root, 'bad')
    file = path / 'bad.mcap'
    os.truncate(file, file.stat().st_size - 30_000)
    done, failed = recover(path)
    assert len(done) == 1
    assert not failed
    built = build_dataset([path], tmp_path / 'out', DatasetSettings())
    assert built.bags[0].recovered
    assert built.info['total_frames'] > 10


def _zeroed(path):
    file = path / 'bad.mcap'
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 4096] = bytes(4096)
    file.write_bytes(data)


def _flattened(path):
    file = path / 'metadata.yaml'
    information = yaml.safe_load(file.read_text())
    information['rosbag2_bagfile_information']['custom_data'] = 'none'
    file.write_text(yaml.safe_dump(information))


def _with_an_unknown_type(path):
    shutil.rmtree(path)
    with BagWriter(path.parent, path.name, EpisodeMetadata()) as writer:
        writer.add_topic('/extra', 'my_pkg/msg/Mine', ('other_pkg/Theirs field',
                                                         'RIHS01_' + 64 * '0'))
        writer.write('/extra', b'', SECOND)


@pytest.mark.parametrize(('damage', 'said'), [
    (_zeroed, 'damaged'), (_flattened, 'custom_data in metadata.yaml is damaged'),
    (_with_an_unknown_type, r"cannot be read (KeyError: 'other_pkg/msg/Theirs')")])
def test_damaged(robot, root, complaint, damage, said):
    path = robot().write(root, 'bad')
    damage(path)
    assert said in complaint(path)


def test_a_type_that_no_bag_can_hold_is_named(tmp_path, monkeypatch):
    file = tmp_path / 'share/my_pkg/msg/Wide.msg'
    file.parent.mkdir(parents=True)
    file.write_text('wstring text\n')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    with pytest.raises(EpisodeError, match=r'my_pkg/msg/Wide cannot be recorded .*wstring.*remove '
                       'the topic from extra_topics'):
        definition('my_pkg/msg/Wide')


def test_interrupted_without_metadata(robot, root, complaint):
    path = robot().write(root, 'bad')
    (path / 'metadata.yaml').unlink()
    assert 'vla_nav recover' in complaint(path)


def test_a_folder_of_episodes(robot, root):
    for name in ('first', 'second'):
        robot().write(root, name)
    with pytest.raises(EpisodeError, match='holds episodes; give one of them, such as .*first'):
        BagReader(root)


def test_no_camera(robot, root, complaint, add_message):
    small = robot()
    with BagWriter(root, 'bad', small.metadata()) as writer:
        text = standard_types().types['std_msgs/msg/String'](data='go')
        add_message(writer, '/instruction', 'std_msgs/msg/String', text, SECOND)
    text = complaint(root / 'bad')
    assert 'has no messages on camera/image_raw (sensor_msgs/msg/Image)' in text
    assert 'Correct camera.topic in the contract' in text


def test_unknown_encoding(robot, root, complaint, monkeypatch):
    original = LockstepRecorder.image

    def image(self, pixels, stamp_ns):
        types = self._types['sensor_msgs/msg/Image']
        self._types = {**self._types,
                       'sensor_msgs/msg/Image': lambda **fields: types(
                           **{**fields, 'encoding': 'nv21'})}
        original(self, pixels, stamp_ns)

    monkeypatch.setattr(LockstepRecorder, 'image', image)
    path = robot().write(root, 'bad')
    monkeypatch.undo()
    text = complaint(path)
    assert '30 of 30 frames on /camera/image_raw cannot be decoded' in text
    assert "message 3: image encoding 'nv21' is not known; expected one of rgb8," in text
    assert 'correct what publishes there, or leave the bag out' in text


def test_stamps_that_go_backwards(robot, root, complaint, tmp_path):
    small = robot()
    with BagWriter(root, 'bad', small.metadata()) as writer:
        recorder = LockstepRecorder(writer, small.contract, 'go', SECOND)
        for step, stamp in enumerate(small.stamps()):
            recorder._write = _logged_at(recorder, stamp)
            recorder.image(np.zeros((120, 160, 3), np.uint8),
                           stamp - (SECOND // 2 if step > 20 else 0))
            recorder.odometry((0, 0, 0), (0, 0), stamp)
            recorder.command(small.action(step), stamp)
    text = complaint(root / 'bad')
    assert 'stamps on /camera/image_raw go backwards by 0.400 s at message 21' in text
    assert '--clock receive' in text
    built = build_dataset([root / 'bad'], tmp_path / 'remedied',
                          DatasetSettings(align=AlignSettings(clock='receive')))
    assert built.info['total_frames'] == 30


def _logged_at(recorder, time_ns):
    def write(topic, message, msgtype, stamp_ns):
        recorder._writer.write('/' + topic, standard_types().serialize_cdr(message, msgtype),
                               time_ns)
    return write


def test_two_cameras_on_one_topic(robot, root, complaint):
    small = robot()
    with BagWriter(root, 'bad', small.metadata()) as writer:
        recorder = LockstepRecorder(writer, small.contract, 'go', SECOND)
        for step, stamp in enumerate(small.stamps()):
            size = (240, 320, 3) if step == 20 else (120, 160, 3)
            recorder.image(np.zeros(size, np.uint8), stamp)
            recorder.odometry((0, 0, 0), (0, 0), stamp)
            recorder.command(small.action(step), stamp)
    text = complaint(root / 'bad')
    assert 'change from 160x120 to 320x240 at message 20' in text
    assert 'topics of their own' in text


def test_a_bag_of_another_camera(robot, root, complaint):
    text = complaint(robot(size=(320, 240)).write(root, 'bad'))
    assert 'the camera image is [320, 240] here and [160, 120] in most other bags' in text
    assert 'Convert it separately' in text


def test_two_robots_in_one_bag(robot, root, complaint):
    small = robot()
    types = ('sensor_msgs/msg/Image',)
    with BagWriter(root, 'bad', small.metadata()) as writer:
        for name in ('/left', '/right'):
            for msgtype in types:
                writer.add_topic(f'{name}/camera/image_raw', msgtype, definition(msgtype))
                writer.write(f'{name}/camera/image_raw', b'\0\1\0\0', SECOND)
    text = complaint(root / 'bad')
    assert '/left/camera/image_raw and /right/camera/image_raw; write the one' in text


def test_zero_length(robot, root, complaint):
    text = complaint(robot(steps=0).write(root, 'bad'))
    assert 'has no messages on camera/image_raw' in text


def test_a_robot_that_never_moves(robot, root, complaint):
    text = complaint(robot(idle_head=40).write(root, 'bad'))
    assert 'has nothing to learn from: 40 frames' in text
    assert '--no-trim' in text


def test_no_instruction(robot, root, complaint):
    assert '--instruction "go to the red cone"' in complaint(
        robot(instruction='').write(root, 'bad'))


def test_commands_that_are_not_finite(robot, root, complaint):
    class Broken(robot):
        def action(self, step):
            return np.array([np.nan, 0.0]) if step == 9 else super().action(step)

    assert 'command 9 is [nan, 0.0], not finite' in complaint(Broken().write(root, 'bad'))


def test_contract_and_bag_disagree_on_a_type(robot, root, complaint):
    stamped = dataclasses.replace(
        robot.contract,
        command=dataclasses.replace(robot.contract.command,
                                    type='geometry_msgs/msg/TwistStamped'))
    text = complaint(robot(contract=stamped).write(root, 'bad'), contract=robot.contract)
    assert 'has geometry_msgs/msg/TwistStamped on /cmd_vel, the contract says' in text
    assert 'correct command.type in the contract' in text


def test_contracts_that_differ_among_bags(robot, root, complaint):
    slow = dataclasses.replace(robot.contract, rate_hz=5.0)
    text = complaint(robot(contract=slow).write(root, 'bad'))
    assert 'rate_hz is 5.0 here and 10.0 in most other bags' in text
    assert '--contract' in text


def test_a_message_that_is_not_of_its_type(robot, root, complaint):
    small = robot()
    with BagWriter(root, 'bad', small.metadata()) as writer:
        recorder = LockstepRecorder(writer, small.contract, 'go', SECOND)
        recorder.odometry((0, 0, 0), (0, 0), SECOND)
        recorder.command([0.1, 0.0], SECOND)
        writer.write('/camera/image_raw', b'\0\1\0\0\7', SECOND)
    assert 'holds a message on /camera/image_raw that is not sensor_msgs/msg/Image' in complaint(
        root / 'bad')


def test_an_output_folder_that_cannot_be_written(bag, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(EpisodeError, match=r'cannot write .*file.* writable'):
        build_dataset([bag], tmp_path / 'file' / 'out', DatasetSettings())


@pytest.mark.skipif(os.geteuid() != 0, reason='mounting needs root')
def test_a_read_only_output_disk(bag, tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'ro,size=1m', 'tmpfs', str(disk)],
                      capture_output=True).returncode:
        pytest.skip('cannot mount a tmpfs here')
    try:
        with pytest.raises(EpisodeError, match=r'Read-only file system; give an output'):
            build_dataset([bag], disk / 'out', DatasetSettings())
    finally:
        subprocess.run(['umount', str(disk)], check=True)


def test_nothing_usable(robot, root, tmp_path):
    robot(instruction='').write(root, 'a')
    with pytest.raises(EpisodeError, match=r'none of 1 bags can be used; the first: .*a has no'):
        build_dataset([root], tmp_path / 'out', DatasetSettings())


def test_no_bags_at_all(tmp_path):
    with pytest.raises(EpisodeError, match='no bags under'):
        build_dataset([tmp_path], tmp_path / 'out', DatasetSettings())


def test_the_exit_status_counts_the_failures(robot, root, tmp_path):
    robot().write(root, 'good')
    for index in range(3):
        robot(instruction='').write(root, f'bad_{index}')
    program = (
        'import argparse, sys\n'
        'from vla_nav.cli import dataset\n'
        'if __name__ == "__main__":\n'
        '    parser = argparse.ArgumentParser()\n'
        '    dataset.add_parser(parser.add_subparsers())\n'
        '    args = parser.parse_args(sys.argv[1:])\n'
        '    sys.exit(args.func(args))\n')
    script = tmp_path / 'main.py'
    script.write_text(program)
    result = subprocess.run(
        [sys.executable, str(script), 'dataset', str(root), '--out', str(tmp_path / 'out'),
         '--jobs', '2'], capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert result.returncode == 3, result.stdout + result.stderr
    flat = ' '.join(result.stdout.split())
    assert 'bad_1' in flat
    assert '--instruction "go to the red cone"' in flat
    assert (tmp_path / 'out' / 'meta' / 'info.json').exists()
