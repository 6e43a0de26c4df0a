"""Checkpoints that cannot be driven: at the node's start, and while it drives another."""

import json
import shutil
import signal
import subprocess

import pytest
from damages import DAMAGES, MARK, make_readable
from harness import FAULTS, NodeProcess, World, drive_words, new_name

CASES = pytest.mark.parametrize(('damage', 'message'), DAMAGES.items(),
                                ids=[damage.__name__ for damage in DAMAGES])


@pytest.fixture
def folder(models, tmp_path):
    """A copy of a good checkpoint."""
    folder = shutil.copytree(models / 'forward', tmp_path / 'model')
    yield folder
    make_readable(folder)


def repair(folder, models) -> None:
    assert not (folder.parent / MARK).exists(), 'code of the checkpoint was run'
    make_readable(folder)
    shutil.rmtree(folder)
    shutil.copytree(models / 'forward', folder)


@CASES
def test_while_another_drives_it_is_refused(world, models, folder, damage, message):
    damage(folder)
    heard = len(world.commands)
    successful, reason = world.set_parameter('model', str(folder))
    if not successful:
        assert message in reason
        assert str(folder) in reason
    world.wait(lambda: message in world.diagnostics['model status'], 'the refusal')
    world.wait(lambda: world.get_parameter('model') == 'forward', 'the parameter to go back')
    world.wait(lambda: len(world.commands) > heard + 10, 'commands')
    assert all(any(speed) for _, *speed in world.commands[heard:])
    assert world.state['model'] == 'forward'
    repair(folder, models)
    assert world.set_parameter('model', str(folder)) == (True, '')
    world.wait(lambda: world.state['model'] == str(folder), 'the model, now that it is whole')
    world.wait_state('DRIVING')
    assert world.set_parameter('model', 'forward') == (True, '')
    world.wait(lambda: world.state['model'] == 'forward', 'the model from before')


@pytest.fixture(scope='module')
def series(models, tmp_path_factory):
    """A process that runs one drive node after the other."""
    log = tmp_path_factory.mktemp('series') / 'log'
    process = NodeProcess(log, [str(FAULTS / 'drive_series.py')], stdin=subprocess.PIPE,
                          VLA_NAV_MODELS=str(models))
    yield process
    process.process.stdin.close()
    process.process.kill()
    process.process.wait()


@pytest.fixture
def start(series, models):
    """Start the next node of the series."""
    worlds = []

    def start(model: str) -> World:
        name = new_name()
        words = drive_words(models, f'/{name}', model=model)
        series.process.stdin.write(json.dumps(words).encode() + b'\n')
        series.process.stdin.flush()
        worlds.append(World(name, f'/{name}', series))
        worlds[0].wait_model()
        return worlds[0]

    yield start
    ended = series.output.count('ended with code 0')
    series.process.send_signal(signal.SIGTERM)
    worlds[0].wait(lambda: series.output.count('ended with code 0') > ended, "the node's end")
    worlds[0].close()


@CASES
def test_at_the_start_it_is_a_fault_until_it_is_repaired(start, models, folder, damage, message):
    damage(folder)
    world = start(str(folder))
    world.assert_stands('FAULT', message)
    assert world.level == b'\x02'
    assert message in world.diagnostics['model status']
    world.say('go to the red cone')
    world.assert_stands('WAITING', message)
    repair(folder, models)
    assert world.call('resume').success
    world.wait_state('DRIVING')
    world.wait(lambda: world.moving, 'a velocity')


def test_a_name_that_is_none_stands_until_a_good_one_comes(start):
    world = start('nowhere')
    world.assert_stands('FAULT', "model refused: model 'nowhere': not found")
    answer = world.call('resume')
    assert not answer.success
    assert "'nowhere': not found" in answer.message
    world.say('go to the red cone')
    world.assert_stands('WAITING', "model refused: model 'nowhere': not found")
    assert world.set_parameter('model', 'forward') == (True, '')
    world.wait_state('DRIVING')


@pytest.mark.parametrize(('name', 'message'), [
    ('', 'the name is empty'), ('forwards', "did you mean 'forward'?"),
    ('x' * 5000, 'File name too long'), ('../forward\0', 'found nothing there'),
    ('/dev/null', 'found a file there')], ids=['empty', 'misspelt', 'long', 'nul', 'device'])
def test_a_name_nobody_can_have_meant_is_refused(world, name, message):
    successful, reason = world.set_parameter('model', name)
    assert not successful
    assert message in reason
    assert world.get_parameter('model') == 'forward'
    world.wait_state('DRIVING')
