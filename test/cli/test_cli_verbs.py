"""The command line as a user meets it: one process per command."""

import errno
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import av
import cv2
import pytest
from harness import PATIENCE_S, ROOT, environment

from vla_nav import rosless
from vla_nav.cli import MODULES, domain, main
from vla_nav.cli.domain import domain_problem, private_domain
from vla_nav.cli.run_folder import RunFolder
from vla_nav.cli.status_line import StatusLine
from vla_nav.sim import sample_scene
from vla_nav.training.progress import say


@pytest.fixture
def vla_nav(models, tmp_path):
    """Run `vla_nav ...` in an empty folder."""
    def run(*words, **more):
        return subprocess.run([sys.executable, '-m', 'vla_nav', *words], capture_output=True,
                              text=True, cwd=tmp_path, timeout=6 * PATIENCE_S, check=False,
                              env=environment(VLA_NAV_MODELS=str(models), **more))
    return run


def test_help_lists_every_verb_and_loads_nothing_heavy(vla_nav):
    done = vla_nav('--help')
    assert done.returncode == 0
    for verb in ('drive', 'sim', 'say', 'stop', 'resume', 'doctor', 'rollout', 'train'):
        assert f'    {verb} ' in done.stdout
    bare = vla_nav()
    assert bare.returncode == 2 and bare.stderr == done.stdout
    code = ('import sys; from vla_nav.cli import build_parser; build_parser(); '
            "print([m for m in ('torch', 'transformers', 'mujoco', 'matplotlib', 'av', 'pyarrow', "
            "'cyclonedds', 'rclpy') if m in sys.modules])")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env=environment(), check=True)
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('verb', ['drive', 'sim', 'say', 'stop', 'resume', 'doctor'])
def test_each_verb_shows_examples(vla_nav, verb):
    done = vla_nav(verb, '--help')
    assert done.returncode == 0
    assert f'vla_nav {verb}' in done.stdout.split('examples:')[1]


@pytest.mark.parametrize(('words', 'message'), [
    (('say', ''), 'instruction is empty'),
    (('drive', '--instruction', 'x' * 1000), 'instruction has 1000 characters'),
    (('drive', '--sim', '--model', 'forwrad'), "did you mean 'forward'?"),
    (('drive', '--sim', '--model', 'forward'), 'does not fit'),
    (('drive', '--sim', '--seed', '-1'), '--seed is -1'),
    (('drive', '--sim', '--scenes', '0'), '--scenes is 0'),
    (('drive', '--sim', '--ros-args', '-r', '__ns:=/robot1'), 'but no remapping'),
    (('drive', '--sim', '--scenes', '2', '--instruction', 'go'), '--instruction is for one'),
    (('drive', '--seed', '3'), '--seed is for a simulated robot; give --sim too'),
    (('drive', '--robot', 'nobody'), "robot is 'nobody'"),
    (('drive', '--model', 'forward', '--ros-args', '-p', 'stale_timeout:=1.0'),
     'did you mean stale_timeout_s?'),
    (('sim', '--seed', '-1'), 'seed is -1; expected a whole number from 0'),
    (('record', '--extra-topics', '/scan /imu'), "extra_topics is '/scan /imu'; expected names"),
    (('say', '--namespace', 'robot 1', 'go'), 'Invalid namespace: '),
    (('stop', '--node', 'bad node'), "'bad node/stop'"),
    (('drive', '--ros-args', '-r', '__ns:=robot-1'), '__ns:=robot-1'),
])
def test_bad_input_is_one_line_and_exit_code_2(vla_nav, words, message):
    done = vla_nav(*words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert 'Traceback' not in done.stderr
    # rcl adds lines of its own.
    assert rosless.is_native() or done.stderr.count('\n') == 1


@pytest.mark.parametrize(('number', 'said'), [
    (errno.ENOSPC, "No space left on device: 'there'; free some space, or choose another disk"),
    (errno.EACCES, "Permission denied: 'there'; choose a path that this user may use"),
    (errno.EIO, "Input/output error: 'there'\n")])
def test_an_error_of_the_system_is_one_line(monkeypatch, capsys, number, said):
    def recover(_):
        raise OSError(number, os.strerror(number), 'there')

    monkeypatch.setattr('vla_nav.episodes.recovery.recover', recover)
    assert main(['recover', 'there']) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count('\n') == 1


def test_an_unknown_verb_is_refused(vla_nav):
    done = vla_nav('drvie')
    assert done.returncode == 2
    assert 'drvie' in done.stderr


def test_nobody_listens(vla_nav):
    done = vla_nav('say', '--wait', '0.5', '--topic', 'nowhere', 'go to the red cone')
    assert done.returncode == 1
    assert 'nobody listens on /nowhere' in done.stderr
    assert rosless.is_native() or (
        'on this machine (for others set ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET)' in done.stderr)
    for words in (('--node', '/nobody_here/drive'), ('--namespace', '/nobody_here')):
        done = vla_nav('stop', '--wait', '0.5', *words)
        assert done.returncode == 1
        assert 'emergency stop on /nobody_here/emergency_stop' in done.stderr
    assert vla_nav('resume', '--wait', '0.5', '--node', '/nobody').returncode == 1


def test_say_stop_resume_by_hand(vla_nav, models, tmp_path):
    namespace = f'/by_hand_{os.getpid()}'
    node = f'{namespace}/drive'
    with open(tmp_path / 'log', 'wb') as log:
        drive = subprocess.Popen(
            [sys.executable, '-m', 'vla_nav', 'drive', '--model', 'forward', '--robot',
             str(models / 'tiny.yaml'), '--ros-args', '-r', f'__ns:={namespace}'],
            stdout=log, stderr=subprocess.STDOUT,
            env=environment(VLA_NAV_MODELS=str(models)))
    try:
        done = vla_nav('say', '--wait', '30', '--namespace', namespace, 'go', 'to the', 'red cone')
        assert done.returncode == 0, done.stderr
        assert f'{node} heard: go to the red cone' in done.stdout
        assert f'{node} is WAITING' in done.stdout
        done = vla_nav('stop', '--wait', '30', '--node', node)
        assert done.stdout.startswith(f'{node}: stopped'), done.stderr
        done = vla_nav('resume', '--wait', '30', '--namespace', namespace)
        assert done.stdout.startswith(f'{node}: resumed'), done.stderr
    finally:
        drive.terminate()
        assert drive.wait(PATIENCE_S) == 0


def test_no_simulation_in_the_domain_of_a_robot(vla_nav, models, tmp_path):
    """Its sentences would be the robot's."""
    lonely = {'ROS_DOMAIN_ID': str(private_domain()), 'VLA_NAV_MODELS': str(models)}
    with open(tmp_path / 'log', 'wb') as log:
        robot = subprocess.Popen(
            [sys.executable, '-m', 'vla_nav', 'drive', '--model', 'forward', '--robot',
             str(models / 'tiny.yaml')], stdout=log, stderr=subprocess.STDOUT,
            env=environment(**lonely))
    try:
        done = vla_nav('say', '--wait', '30', 'go to the red cone',
                       ROS_DOMAIN_ID=lonely['ROS_DOMAIN_ID'])
        assert done.returncode == 0, done.stderr
        for words in (('drive', '--sim'), ('soak',), ('bench', 'node', '--quick')):
            done = vla_nav(*words, '--model', str(ROOT / 'models' / 'nano'),
                           ROS_DOMAIN_ID=lonely['ROS_DOMAIN_ID'])
            assert done.returncode == 2, done.stdout
            assert f'ROS_DOMAIN_ID is {lonely["ROS_DOMAIN_ID"]}, where /drive' in done.stderr
    finally:
        robot.terminate()
        assert robot.wait(PATIENCE_S) == 0


def test_doctor_says_what_is_fine(vla_nav):
    done = vla_nav('doctor')
    assert done.returncode == 0, done.stdout
    assert 'DDS between two processes fine' in ' '.join(done.stdout.split())
    assert 'there and back' in done.stdout
    assert 'drawing without a display fine' in ' '.join(done.stdout.split())
    assert 'vla_nav[sim]' in done.stdout
    assert 'Ready to drive.' in done.stdout


def test_doctor_names_what_is_broken(vla_nav):
    done = vla_nav('doctor', CYCLONEDDS_URI='<General><Interfaces><NetworkInterface '
                   'name="nosuch0"/></Interfaces></General>')
    assert done.returncode == 1
    assert 'Broken: DDS between two processes' in done.stdout
    assert 'check CYCLONEDDS_URI and the interfaces it names' in done.stdout
    done = vla_nav('doctor', '--quick', ROS_DOMAIN_ID='500')
    assert done.returncode == 1
    assert "ROS_DOMAIN_ID is '500'; expected a number from 0 to 101" in done.stdout


def test_a_private_domain_is_one_that_nobody_uses(monkeypatch):
    taken = set()
    monkeypatch.setattr(domain, '_taken', lambda port: (port - 7400) // 250 in taken)
    first = private_domain()
    taken.add(first)
    assert private_domain() != first
    taken.update(range(102))
    with pytest.raises(domain.DomainError, match='set ROS_DOMAIN_ID'):
        private_domain()
    assert domain_problem('42') is None
    assert 'expected a number' in domain_problem('many')


def test_a_simulated_drive_leaves_video_map_and_figures(vla_nav, models, tmp_path):
    """The tiny model cannot find anything: it fails, and leaves everything it should."""
    started = time.time()
    done = vla_nav('drive', '--sim', '--model', 'forward', '--robot', str(models / 'tiny.yaml'),
                   '--seed', '0', '--out', 'run')
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'DRIVING' in done.stdout
    figures = json.loads((tmp_path / 'run' / 'run.json').read_text())
    assert figures['outcome'] in ('collision', 'timeout')
    assert figures['instruction'] == 'stop at the red box'
    assert figures['target'] == 'red box'
    assert figures['distance_m'] > 0.6
    assert 'DRIVING' in [moment['state'] for moment in figures['states']]
    with av.open(str(tmp_path / 'run' / 'video.mp4')) as video:
        frames = [frame.to_ndarray(format='rgb24') for frame in video.decode(video=0)]
    assert len(frames) > 10
    assert frames[0].shape == (480, 640, 3)
    assert (frames[0][:30, 300:] < 40).mean() > 0.8, 'the bar with the sentence'
    assert cv2.imread(str(tmp_path / 'run' / 'map.png')).std() > 10
    assert os.path.getmtime(tmp_path / 'run' / 'map.png') > started


def test_without_matplotlib_a_drive_has_its_verdict(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'matplotlib.backends.backend_agg', None)
    target = sample_scene(0, 'easy').target_object.name
    folder = RunFolder(tmp_path)
    folder.add_moment(SimpleNamespace(
        drive={'state': 'DRIVING', 'reason': '', 'instruction': 'go'}, diagnostics={},
        outcome={'pose': [0.0, 0.0, 0.0], 'target': target}, command=(0.0, 0.0),
        largest_gap_s=0.1))
    assert folder.save(seed=0, level='easy') == [tmp_path / 'run.json']
    assert "no map: matplotlib is missing; pip install 'vla_nav[sim]'" in capsys.readouterr().out


def test_brackets_are_no_markup(tmp_path, capsys):
    figures = {'outcome': 'success', 'instruction': "pip install 'vla_nav[sim]' [/]"}
    StatusLine(tmp_path).conclude(figures, [tmp_path / '[a]'])
    say('[b]')
    captured = capsys.readouterr()
    assert captured.out == f"success: pip install 'vla_nav[sim]' [/]\n  {tmp_path}/[a]\n"
    assert captured.err == '[b]\n'


def test_an_instruction_that_fits_nothing_here_is_named(vla_nav, models):
    done = vla_nav('drive', '--sim', '--model', 'forward', '--robot', str(models / 'tiny.yaml'),
                   '--instruction', 'go to the orange ball', '--out', 'run')
    assert done.returncode == 2
    assert 'fits no single object of this scene' in done.stderr
    assert 'red box' in done.stderr


def test_every_module_is_there():
    for name in MODULES:
        assert callable(__import__(f'vla_nav.cli.{name}', fromlist=['add_parser']).add_parser)


@pytest.mark.parametrize(('package', 'words', 'remedy'), [
    ('pyarrow', ['offline', '--data', 'dataset'], "; pip install 'vla_nav[train]'"),
    ('mcap', ['record'], f' for {sys.executable}; activate the environment'),
])
def test_a_missing_package_is_named(vla_nav, tmp_path, package, words, remedy):
    (tmp_path / f'{package}.py').write_text(
        f"raise ModuleNotFoundError('No module named {package}', name='{package}')")
    done = vla_nav(*words, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert done.returncode == 2
    assert done.stderr.startswith(f'error: {package} is not installed{remedy}')
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize('verb', ['drive', 'record', 'sim'])
def test_a_file_of_parameters_counts_where_nothing_else_was_asked_for(vla_nav, tmp_path, verb):
    (tmp_path / 'parameters.yaml').write_text('/**: {ros__parameters: {robot: /nowhere.yaml}}')
    done = vla_nav(verb, '--ros-args', '--params-file', 'parameters.yaml')
    assert done.returncode == 2
    assert "robot is '/nowhere.yaml'" in done.stderr


@pytest.mark.parametrize('verb', ['drive', 'record'])
def test_what_was_asked_for_counts_more_than_a_file_of_parameters(vla_nav, tmp_path, verb):
    (tmp_path / 'parameters.yaml').write_text('/**: {ros__parameters: {robot: /nowhere.yaml}}')
    done = vla_nav(verb, '--robot', '/asked.yaml', '--ros-args', '--params-file',
                   'parameters.yaml')
    assert done.returncode == 2
    assert "robot is '/asked.yaml'" in done.stderr


@pytest.mark.parametrize('words', [['say', 'go'], ['drive'], ['doctor', '--quick']])
def test_a_ros_2_for_another_python_is_named(vla_nav, tmp_path, words):
    (tmp_path / 'rclpy.py').write_text("raise ImportError('no module _rclpy_pybind11')")
    done = vla_nav(*words, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert done.returncode != 0 and 'Traceback' not in done.stderr
    said = ' '.join((done.stdout + done.stderr).split())
    assert 'cannot import its rclpy: no module _rclpy_pybind11' in said
