"""Bags become a LeRobotDataset v3.0 folder; what it holds is what was recorded."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import small_robot

from vla_nav.cli import main
from vla_nav.contract import Contract
from vla_nav.episodes.convert import ConvertJob, convert_bag
from vla_nav.episodes.dataset import DatasetSettings, build_dataset, find_bags
from vla_nav.episodes.episode import AlignSettings, align, frames
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.lockstep import LockstepRecorder
from vla_nav.episodes.reader import BagReader
from vla_nav.episodes.render import load_episode
from vla_nav.episodes.summary import BagSummary
from vla_nav.episodes.video import psnr_db
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.frames import Pacer, frame_from_message

KEY = 'observation.images.camera'


@pytest.fixture
def bags(robot, tmp_path):
    """Three good bags of different lengths and instructions."""
    root = tmp_path / 'bags'
    for index, task in enumerate(('go to the red ball', 'find it', 'go to the red ball')):
        robot(steps=40 + 5 * index, instruction=task).write(root, f'episode_{index}')
    return root


def build(bags, out, **changes):
    return build_dataset([bags], out, DatasetSettings(**changes))


@pytest.mark.parametrize('images', ['mp4', 'png'])
def test_the_folder_has_the_v3_layout(bags, tmp_path, images):
    out = build(bags, tmp_path / 'out', images=images).root
    info = json.loads((out / 'meta/info.json').read_text())
    assert info['codebase_version'] == 'v3.0'
    assert info['fps'] == 10
    assert isinstance(info['fps'], int)
    assert info['total_episodes'] == 3
    assert info['total_tasks'] == 2
    assert info['splits'] == {'train': '0:3'}
    features = info['features']
    assert features[KEY]['dtype'] == ('video' if images == 'mp4' else 'image')
    assert features[KEY]['shape'] == [48, 64, 3]
    assert features['action'] == {'dtype': 'float32', 'shape': [2],
                                  'names': ['linear.x', 'angular.z']}
    assert features['observation.state']['shape'] == [2]
    for name in ('timestamp', 'frame_index', 'episode_index', 'index', 'task_index'):
        assert features[name]['shape'] == [1]
    table = pq.read_table(out / info['data_path'].format(chunk_index=0, file_index=0))
    expected = {name for name, feature in features.items() if feature['dtype'] != 'video'}
    assert set(table.column_names) == expected
    assert len(table) == info['total_frames']
    assert table.column('index').to_pylist() == list(range(len(table)))
    if images == 'mp4':
        assert (out / info['video_path'].format(video_key=KEY, chunk_index=0,
                                                file_index=0)).is_file()
    else:
        assert info['video_path'] is None


def test_the_index_points_at_rows_and_frames(bags, tmp_path):
    out = build(bags, tmp_path / 'out').root
    rows = pq.read_table(out / 'meta/episodes/chunk-000/file-000.parquet').to_pylist()
    table = pq.read_table(out / 'data/chunk-000/file-000.parquet')
    seconds = 0.0
    for episode, row in enumerate(rows):
        part = table.slice(row['dataset_from_index'], row['length'])
        assert set(part.column('episode_index').to_pylist()) == {episode}
        assert part.column('frame_index').to_pylist() == list(range(row['length']))
        assert row['dataset_to_index'] - row['dataset_from_index'] == row['length']
        assert row[f'videos/{KEY}/from_timestamp'] == pytest.approx(seconds)
        seconds = row[f'videos/{KEY}/to_timestamp']
        assert np.array(row['stats/action/mean']).shape == (2,)
        assert np.array(row[f'stats/{KEY}/std']).shape == (3, 1, 1)
        assert row['stats/action/count'] == [row['length']]
    assert seconds == pytest.approx(len(table) / 10)


def test_tasks_carry_the_index_that_pandas_needs(bags, tmp_path):
    out = build(bags, tmp_path / 'out').root
    table = pq.read_table(out / 'meta/tasks.parquet')
    assert table.to_pydict() == {'task_index': [0, 1],
                                 '__index_level_0__': ['go to the red ball', 'find it']}
    pandas = json.loads(table.schema.metadata[b'pandas'])
    assert pandas['index_columns'] == ['__index_level_0__']


def test_statistics_are_those_of_the_data(bags, tmp_path):
    dataset = EpisodeDataset(build(bags, tmp_path / 'out', images='png').root)
    stats = dataset.statistics
    assert stats['action']['mean'] == pytest.approx(dataset.actions.mean(axis=0), abs=1e-6)
    assert stats['action']['q99'] == pytest.approx(
        np.quantile(dataset.actions, 0.99, axis=0), abs=1e-6)
    assert stats['action']['count'] == [dataset.rows]
    pixels = np.concatenate([dataset.frames(e)[::5] for e in range(3)]).reshape(-1, 3) / 255
    image = stats[KEY]
    assert np.ravel(image['mean']) == pytest.approx(pixels.mean(axis=0))
    assert np.ravel(image['std']) == pytest.approx(pixels.std(axis=0))
    assert np.ravel(image['q50']) == pytest.approx(np.quantile(pixels, 0.5, axis=0), abs=1 / 255)
    assert np.ravel(image['max']) == pytest.approx(pixels.max(axis=0))


def test_png_frames_and_actions_are_what_a_live_policy_saw(bags, tmp_path):
    """Read the bag as the drive node would receive it, and compare."""
    dataset = EpisodeDataset(build(bags, tmp_path / 'out', images='png').root)
    for entry in dataset.episodes:
        live, commands = [], []
        with BagReader(bags / entry.source) as bag:
            pacer = Pacer(bag.contract.rate_hz)
            for topic, _, message in bag.messages('/camera/image_raw', '/cmd_vel'):
                if topic == '/cmd_vel':
                    commands.append((message.linear.x, message.angular.z))
                else:
                    frame = frame_from_message(message, bag.contract.camera)
                    if pacer.admit(frame.stamp_ns):
                        live.append(frame.image)
        start = 8 - 5  # idle head, half a second of it stays
        stop = start + entry.length
        assert np.array_equal(dataset.frames(entry.index), live[start:stop])
        rows = slice(entry.first_row, entry.first_row + entry.length)
        assert np.array_equal(dataset.actions[rows],
                              np.array(commands[start:stop], np.float32))


def test_mp4_frames_are_close_to_the_exact_ones(bags, tmp_path):
    exact = EpisodeDataset(build(bags, tmp_path / 'png', images='png').root)
    small = EpisodeDataset(build(bags, tmp_path / 'mp4').root)
    for episode in range(3):
        pairs = zip(exact.frames(episode), small.frames(episode))
        assert min(psnr_db(*pair) for pair in pairs) >= 38


def test_state_is_what_odometry_measured(bags, tmp_path):
    dataset = EpisodeDataset(build(bags, tmp_path / 'out').root)
    assert dataset.state == pytest.approx(dataset.actions, abs=1e-6)


def test_idle_ends_are_cut_and_reported(bag, tmp_path):
    built = build(bag, tmp_path / 'out')
    episode = built.bags[0].episodes[0]
    assert episode.rows == 40 - 3 - 7
    assert built.bags[0].trimmed_s == pytest.approx([0.3, 0.7])
    whole = build(bag, tmp_path / 'whole', align=AlignSettings(trim=False))
    assert whole.info['total_frames'] == 40


def test_failed_episodes_only_on_request(robot, bags, tmp_path):
    robot(outcome='failure').write(bags, 'failed')
    built = build(bags, tmp_path / 'out')
    assert built.info['total_episodes'] == 3
    assert [summary.skipped for summary in built.skipped] == ['marked as failed']
    assert build(bags, tmp_path / 'all', include_failed=True).info['total_episodes'] == 4


def test_a_camera_gap_makes_two_episodes(robot, tmp_path):
    class Gap(robot):
        def stamps(self):
            return [stamp + (2_000_000_000 if i >= 20 else 0)
                    for i, stamp in enumerate(super().stamps())]

    Gap().write(tmp_path / 'bags', 'a')
    robot().write(tmp_path / 'bags', 'b')
    built = build(tmp_path / 'bags', tmp_path / 'out')
    assert [episode.rows for episode in built.bags[0].episodes] == [17, 13]
    assert [entry.bag for entry in EpisodeDataset(built.root).episodes] == [0, 0, 1]


@pytest.mark.parametrize(('frame', 'ahead_s', 'said'), [
    ('camera', 0.1, []),
    ('odom', 100, ['odometry aligned by the time of receipt: its stamps are of another clock']),
    ('base_link', 100, ['command aligned by the time of receipt: its stamps are of another '
                        'clock']),
    ('base_link', 0.3, ['command 0.30 s ahead of the camera by its stamps; if a clock is wrong, '
                        'use --clock receive']),
    ('camera', 0.3, [f'{what} 0.30 s behind the camera by its stamps; if a clock is wrong, use '
                     '--clock receive' for what in ('command', 'odometry')]),
])
def test_clocks_that_differ_are_said(robot, tmp_path, capsys, frame, ahead_s, said):
    class Recorder(LockstepRecorder):
        def _header(self, stamp_ns, name):
            return super()._header(stamp_ns + round(ahead_s * 1e9) * (name == frame), name)

    stamped = dataclasses.replace(
        robot.contract, command=dataclasses.replace(robot.contract.command,
                                                    type='geometry_msgs/msg/TwistStamped'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_robot, 'LockstepRecorder', Recorder)
        path = robot(stamped).write(tmp_path / 'bags')
    built = build(path, tmp_path / 'out')
    assert built.bags[0].warnings == said
    page = (built.root / 'report.html').read_text()
    assert main(['dataset', str(path), '--out', str(tmp_path / 'again'), '--jobs', '1']) == 0
    printed = ' '.join(capsys.readouterr().out.split())
    assert all(text in page and text in printed for text in said)
    dataset = EpisodeDataset(built.root)
    if ahead_s == 100:
        assert dataset.state == pytest.approx(dataset.actions, abs=1e-6)
        assert len(dataset.actions) == 30


@pytest.mark.parametrize(('bad', 'pieces'), [
    ([], 1), ([150], 1), ([148, 150, 152], 1), (range(150, 172), 2)])
def test_frames_that_cannot_be_decoded_are_as_if_they_had_not_come(robot, tmp_path, bad, pieces):
    """The camera is three times as fast as the policy, and some of its frames are empty."""
    class Fast(robot):
        def stamps(self):
            return [1_000_000_000 + round(i * 1e9 / 30) for i in range(self.steps)]

    class Recorder(LockstepRecorder):
        def image(self, pixels, stamp_ns):
            empty = round((stamp_ns - 1_000_000_000) * 30 / 1e9) in bad
            super().image(pixels[:0] if empty else pixels, stamp_ns)

    fast = Fast(steps=300, idle_head=0, idle_tail=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_robot, 'LockstepRecorder', Recorder)
        path = fast.write(tmp_path / 'bags')
    built = build(path, tmp_path / 'out', images='png', align=AlignSettings(trim=False))
    pacer = Pacer(10)
    seen = [message for message, stamp in enumerate(fast.stamps())
            if message not in bad and pacer.admit(stamp)]
    dataset = EpisodeDataset(built.root)
    assert len(dataset) == pieces
    assert dataset.actions[:, 0].tolist() == pytest.approx(
        [fast.action(message + 1)[0] for message in seen], abs=1e-6)
    assert ('frames of the bag cannot be decoded' in (built.root / 'report.html').read_text()
            ) == bool(bad)
    assert len(load_episode(path)) == dataset.episodes[0].length


def test_an_instruction_given_on_the_way_counts_from_then_on(robot, tmp_path, add_message):
    from vla_nav.episodes.bag import BagWriter
    from vla_nav.episodes.definitions import standard_types

    small = robot()
    with BagWriter(tmp_path / 'bags', 'bag', small.metadata()) as writer:
        recorder = LockstepRecorder(writer, small.contract, 'first', 1_000_000_000)
        for step, stamp in enumerate(small.stamps()):
            if step == 20:
                text = standard_types().types['std_msgs/msg/String'](data='second')
                add_message(writer, '/instruction', 'std_msgs/msg/String', text, stamp)
            recorder.image(np.full((120, 160, 3), step, np.uint8), stamp)
            recorder.odometry((0, 0, 0), (0, 0), stamp)
            recorder.command([0.1 + step / 100, 0.0], stamp)
    dataset = EpisodeDataset(build(tmp_path / 'bags', tmp_path / 'out').root)
    assert dataset.tasks == ('first', 'second')
    assert dataset.task_index.tolist() == [0] * 20 + [1] * 20


def test_teleop_commands_replace_the_policys_during_interventions(robot, tmp_path):
    from vla_nav.episodes.bag import BagWriter
    from vla_nav.episodes.definitions import definition, standard_types

    small = robot()
    stamps = small.stamps()
    span = (stamps[15], stamps[25])
    metadata = small.metadata().replace(policy='pilot', interventions=(span,))
    types = standard_types().types
    vector = types['geometry_msgs/msg/Vector3']
    with BagWriter(tmp_path / 'bags', 'bag', metadata) as writer:
        recorder = LockstepRecorder(writer, small.contract, 'go', stamps[0])
        writer.add_topic('/teleop_cmd_vel', 'geometry_msgs/msg/Twist',
                         definition('geometry_msgs/msg/Twist'))
        for stamp in stamps:
            recorder.image(np.zeros((120, 160, 3), np.uint8), stamp)
            recorder.odometry((0, 0, 0), (0, 0), stamp)
            recorder.command([0.2, 0.0], stamp)
            twist = types['geometry_msgs/msg/Twist'](linear=vector(x=0.0, y=0.0, z=0.0),
                                                     angular=vector(x=0.0, y=0.0, z=0.5))
            if span[0] <= stamp < span[1]:
                writer.write('/teleop_cmd_vel', standard_types().serialize_cdr(
                    twist, 'geometry_msgs/msg/Twist'), stamp)
    dataset = EpisodeDataset(build(tmp_path / 'bags', tmp_path / 'out').root)
    assert np.flatnonzero(dataset.intervention).tolist() == list(range(15, 25))
    assert np.all(dataset.actions[dataset.intervention] == np.float32([0.0, 0.5]))
    assert np.all(dataset.actions[~dataset.intervention] == np.float32([0.2, 0.0]))


def test_an_interrupted_build_goes_on_where_it_stopped(bags, tmp_path):
    converted = []

    def stop_after_one(jobs):
        for job in jobs:
            yield job, convert_bag(job)
            converted.append(job.folder / 'bag.json')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset([bags], tmp_path / 'out', DatasetSettings(), stop_after_one)
    assert not (tmp_path / 'out').exists()
    kept = list((tmp_path / 'out.partial/work').glob('*/bag.json'))
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert len(before) == 1
    after = {}

    def watch(jobs):
        for job in jobs:
            summary = convert_bag(job)
            after[job.folder / 'bag.json'] = (job.folder / 'bag.json').stat().st_mtime_ns
            yield job, summary

    built = build_dataset([bags], tmp_path / 'out', DatasetSettings(), watch)
    assert built.info['total_episodes'] == 3
    assert all(after[path] == time for path, time in before.items())
    assert not (tmp_path / 'out.partial').exists()


@pytest.mark.parametrize('damage', [
    lambda text: '', lambda text: '[]', lambda text: text.replace('"clock"', '"watch"'),
    lambda text: text.replace('"gaps"', '"holes"')])
def test_a_summary_that_cannot_be_read_is_made_again(bag, tmp_path, damage):
    job = ConvertJob(bag, tmp_path / 'work')
    summary = convert_bag(job)
    done = job.folder / 'bag.json'
    done.write_text(damage(done.read_text()))
    assert convert_bag(job) == summary
    assert BagSummary.load(done) == summary


def test_the_same_bags_give_the_same_hash(bags, tmp_path):
    first = EpisodeDataset(build(bags, tmp_path / 'a').root)
    second = EpisodeDataset(build(bags, tmp_path / 'b').root)
    assert first.sha256 == second.sha256
    other = EpisodeDataset(build(bags / 'episode_0', tmp_path / 'c').root)
    assert other.sha256 != first.sha256


def test_an_existing_dataset_is_not_overwritten(bags, tmp_path):
    build(bags, tmp_path / 'out')
    with pytest.raises(EpisodeError, match='is a dataset already'):
        build(bags, tmp_path / 'out')


@pytest.mark.parametrize('out', ['folder', 'file', '.'])
def test_whatever_exists_is_refused_before_the_work(bags, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder/README.md').write_text('mine')
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(EpisodeError, match=f'{out} exists already; choose another folder'):
        build_dataset([bags], Path(out), DatasetSettings(), pytest.fail)


def test_an_empty_folder_is_filled(bags, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'out')
    assert EpisodeDataset(build(bags, tmp_path / 'link').root).rows
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'data', 'meta', 'report.html', 'videos']


def test_the_work_outlives_a_folder_that_appears_meanwhile(bags, tmp_path):
    def convert(jobs):
        for job in jobs:
            yield job, convert_bag(job)
        (tmp_path / 'out').mkdir()
        (tmp_path / 'out/README.md').write_text('mine')

    with pytest.raises(OSError, match='not empty'):
        build_dataset([bags], tmp_path / 'out', DatasetSettings(), convert)
    assert len(list((tmp_path / 'out.partial/work').glob('*/bag.json'))) == 3


def test_the_report_shows_every_episode_and_the_problems(bags, robot, tmp_path):
    robot(instruction='').write(bags, 'silent')
    built = build(bags, tmp_path / 'out')
    page = (built.root / 'report.html').read_text()
    for index in range(3):
        assert f'episode_{index}' in page
    assert page.count('data:image/jpeg;base64,') == 3 * 4
    assert page.count('<polyline') == 6
    assert 'has no instruction' in page
    assert 'http' not in page.replace('http-equiv', '')


def test_a_fast_camera_is_thinned(robot, tmp_path):
    class Fast(robot):
        def stamps(self):
            return [1_000_000_000 + round(i * 1e9 / 30) for i in range(self.steps)]

    path = Fast(steps=90, idle_head=0, idle_tail=0).write(tmp_path / 'bags')
    with BagReader(path) as bag:
        recording = align(bag, AlignSettings())
        assert recording.episodes[0].messages.tolist() == list(range(0, 90, 3))
        assert len(list(frames(bag, recording))) == 30


def test_another_contract_may_crop_anew(bag, robot, tmp_path):
    contract = dataclasses.replace(
        robot.contract, camera=dataclasses.replace(robot.contract.camera, width=32, height=32))
    built = build(bag, tmp_path / 'out', contract=contract)
    assert built.info['features'][KEY]['shape'] == [32, 32, 3]


def test_bags_are_found_at_any_depth(bags):
    assert [path.name for path in find_bags([bags.parent])] == [
        'episode_0', 'episode_1', 'episode_2']


def test_a_bag_is_found_once_however_it_is_spelt(bags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, chosen = Path('bags/episode_1'), Path('chosen')
    assert find_bags([one, bags / 'episode_1', Path('bags/../bags/episode_1')]) == [one]
    chosen.mkdir()
    (chosen / 'second').symlink_to(bags / 'episode_2')
    (chosen / 'again').symlink_to(bags / 'episode_2')
    (chosen / 'here').symlink_to(tmp_path / 'chosen')
    assert find_bags([chosen]) == [chosen / 'again']
    assert find_bags([one, chosen, bags]) == [one, chosen / 'again', bags / 'episode_0']


def test_a_plain_bag_converts_given_contract_and_instruction(robot, bag, tmp_path):
    """As `ros2 bag record` writes it: no metadata of ours, sqlite3 storage, no definitions."""
    from rosbags.rosbag2 import Reader, StoragePlugin, Writer

    from vla_nav.episodes.definitions import definition

    plain = tmp_path / 'plain'
    with Reader(bag) as reader, Writer(
            plain, version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = {}
        for connection, time_ns, data in reader.messages():
            if connection.topic not in connections:
                text, digest = definition(connection.msgtype)
                connections[connection.topic] = writer.add_connection(
                    '/my_robot' + connection.topic, connection.msgtype, msgdef=text,
                    rihs01=digest)
            if connection.topic != '/instruction':
                writer.write(connections[connection.topic], time_ns, data)
    with pytest.raises(EpisodeError, match='carries no contract; give one'):
        build(plain, tmp_path / 'none')
    built = build(plain, tmp_path / 'out', contract=robot.contract,
                  align=AlignSettings(instruction='go to the red ball'))
    ours = EpisodeDataset(build(bag, tmp_path / 'ours', images='png').root)
    theirs = EpisodeDataset(build(plain, tmp_path / 'theirs', images='png',
                                  contract=robot.contract,
                                  align=AlignSettings(instruction='go to the red ball')).root)
    assert built.info['total_frames'] == ours.rows
    assert np.array_equal(ours.frames(0), theirs.frames(0))
    assert np.array_equal(ours.actions, theirs.actions)
    assert theirs.contract == Contract.from_dict(robot.contract.to_dict())
