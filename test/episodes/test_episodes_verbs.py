"""The verbs around episodes: demos, dataset, view, recover."""

import importlib.util
import os
import subprocess
import sys

import av
import numpy as np
import pytest

from vla_nav.episodes.reader import BagReader
from vla_nav.episodes.recovery import recover
from vla_nav.episodes.render import draw, load_episode
from vla_nav.share import share_path
from vla_nav.sim import Disturbance, Expert
from vla_nav.training.demo_bags import Demo, record_demo


def run(*words):
    path = os.pathsep.join(filter(None, [*sys.path, os.environ.get('PYTHONPATH')]))
    return subprocess.run(
        [sys.executable, '-c', 'import sys; from vla_nav.cli import main; sys.exit(main())',
         *map(str, words)], capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': path})


@pytest.fixture
def job(tmp_path):
    if importlib.util.find_spec('mujoco') is None:  # imported later: the renderer has a say
        pytest.skip('needs MuJoCo')

    def make(folder, disturbed=True):
        return Demo(tmp_path / folder, 3, 'easy', share_path('config/robots/sim.yaml'), disturbed,
                    time_limit_s=4.0)

    return make


def recorded(path):
    with BagReader(path) as bag:
        rows = list(bag.messages('/camera/image_raw', '/cmd_vel', '/odom'))
        commands = [(m.linear.x, m.angular.z) for topic, _, m in rows if topic == '/cmd_vel']
        motion = [(m.twist.twist.linear.x, m.twist.twist.angular.z)
                  for topic, _, m in rows if topic == '/odom']
        images = [bytes(m.data[:3000]) for topic, _, m in rows if topic == '/camera/image_raw']
        return np.array(commands), np.array(motion), images, bag.metadata


def test_a_demonstration_is_an_ordinary_bag(job):
    result = record_demo(job('a'))
    commands, motion, images, metadata = recorded(job('a').out / result.name)
    assert len(commands) == len(motion) == len(images) == result.steps
    assert metadata.instruction
    assert metadata.extra == {'driver': 'expert', 'seed': '3', 'level': 'easy'}
    assert (metadata.outcome == 'success') == (result.outcome == 'success')
    assert np.abs(commands).max() > 0.1


def test_half_a_demonstration_is_none(job, monkeypatch):
    actions = iter(range(5))

    def action(expert):
        if next(actions, None) is None:
            raise KeyboardInterrupt
        return (0.1, 0.0)

    monkeypatch.setattr(Expert, 'action', action)
    with pytest.raises(KeyboardInterrupt):
        record_demo(job('a'))
    assert not list(job('a').out.rglob('*.mcap'))


def test_the_same_seed_gives_the_same_demonstration(job):
    first = recorded(job('a').out / record_demo(job('a')).name)
    second = recorded(job('b').out / record_demo(job('b')).name)
    assert np.array_equal(first[0], second[0])
    assert first[2] == second[2]


def test_noise_moves_the_robot_but_not_the_recorded_command(job):
    plain = recorded(job('a', False).out / record_demo(job('a', False)).name)
    pushed = recorded(job('b').out / record_demo(job('b')).name)
    assert np.array_equal(plain[0][0], pushed[0][0]), 'the expert decides before the first push'
    steps = min(len(plain[1]), len(pushed[1]))
    assert np.abs(plain[1][:steps] - pushed[1][:steps]).max() > 0.05
    contract = pushed[3].contract
    assert (pushed[0] >= np.array(contract.command.low) - 1e-9).all()
    assert (pushed[0] <= np.array(contract.command.high) + 1e-9).all()


def test_disturbances_drift_and_shove():
    disturb = Disturbance(np.random.default_rng(0))
    noise = np.array([disturb(np.ones(2)) - 1 for _ in range(3000)])
    assert 0.3 < np.abs(noise[:, 1]).max() < 1.5
    assert np.abs(np.median(noise, axis=0)).max() < 0.02
    again = Disturbance(np.random.default_rng(0))
    assert np.array_equal(noise[:50], [again(np.ones(2)) - 1 for _ in range(50)])


def test_demos_are_not_made_twice(job, tmp_path):
    words = ('demos', '--episodes', 2, '--level', 'easy', '--time-limit', 2, '--out',
             tmp_path / 'demos', '--jobs', 1)
    first = run(*words)
    assert first.returncode == 0, first.stderr
    assert 'episodes recorded: 2 (' in first.stdout
    again = run(*words)
    assert 'episodes there already: 2' in again.stdout
    assert 'episodes recorded: 0' in again.stdout


def test_a_view_is_a_video_of_the_episode(bag, tmp_path):
    result = run('view', bag, '--out', tmp_path / 'view.mp4')
    assert result.returncode == 0, result.stderr
    with av.open(str(tmp_path / 'view.mp4')) as video:
        frames = [frame.to_ndarray(format='rgb24') for frame in video.decode(video=0)]
    assert len(frames) == 40
    assert frames[0].shape == (600, 640, 3)


def test_the_picture_shows_the_command(bag):
    shown = load_episode(bag)
    pictures = list(draw(shown))
    below = [picture[300:470, 250:390].astype(int) for picture in pictures]
    idle, driving = below[0], below[25]
    assert np.abs(driving - idle).mean() > 5


def test_an_episode_that_is_not_there_is_named(bag, tmp_path):
    result = run('view', bag, '--episode', 7)
    assert result.returncode == 2
    assert f'there is no episode 7: {bag} has 1, counted from 0' in result.stderr


def test_a_view_for_rerun(bag, tmp_path):
    pytest.importorskip('rerun')
    result = run('view', bag, '--rrd', tmp_path / 'view.rrd')
    assert result.returncode == 0, result.stderr
    assert (tmp_path / 'view.rrd').stat().st_size > 10_000


def test_recover_says_what_it_did(bag, tmp_path):
    file = bag / 'good.mcap'
    os.truncate(file, file.stat().st_size - 5000)
    result = run('recover', bag.parent)
    assert result.returncode == 0, result.stderr
    assert 'recovered' in result.stdout
    assert 'unreadable bytes' in result.stdout
    assert 'nothing was interrupted' in run('recover', bag.parent).stdout
    file.write_bytes(b'junk')
    failed = run('recover', bag.parent)
    assert failed.returncode == 1
    assert 'nothing can be recovered from it' in failed.stderr
    assert recover(bag.parent)[1]


@pytest.mark.parametrize(('words', 'message'), [
    (('recover', '.'), '. holds no bag; give a bag'),
    (('view', 'nope'), 'nope does not exist; give a bag or a dataset'),
    (('demos', '--out', 'demos', '--robot', 'nobody'), "robot is 'nobody'"),
    (('demos', '--out', 'demos', '--episodes', 0), '--episodes is 0'),
    (('pretrain', '--views', 0), '--views is 0'),
])
def test_bad_input_is_one_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'notes.txt').touch()
    result = run(*words)
    assert result.returncode and message in result.stderr
    assert result.stderr.count('\n') == 1
    assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']


def test_help_shows_examples():
    for verb in ('demos', 'dataset', 'view', 'recover', 'record', 'teleop'):
        result = run(verb, '--help')
        assert result.returncode == 0
        assert 'examples:' in result.stdout


def test_help_needs_no_heavy_library():
    heavy = ('torch', 'mujoco', 'av', 'pyarrow', 'matplotlib', 'transformers', 'rerun', 'mcap')
    program = ('import sys\nfrom vla_nav.cli import build_parser\nbuild_parser()\n'
               f'print([name for name in {heavy} if name in sys.modules])')
    path = os.pathsep.join(filter(None, [*sys.path, os.environ.get('PYTHONPATH')]))
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                            env={**os.environ, 'PYTHONPATH': path})
    assert result.stdout == '[]\n', result.stderr
