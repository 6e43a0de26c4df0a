"""Changing the model while the robot drives."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_models
from harness import environment

MIB = 2**20
BALLAST = 50_000_000
"""Parameters of the heavy model, 4 bytes each."""


@pytest.fixture(scope='module')
def heavy(models):
    """A model of 200 MB."""
    folder = models / 'heavy'
    code = f"""if True:
        import shutil
        from pathlib import Path
        from vla_nav.policy import Backbone
        import tiny_models
        files = tiny_models.build_backbone(Path({str(models)!r}) / 'ballast', {BALLAST})
        tiny_models.build_model(Path({str(folder)!r}), Backbone.load(files), (0.1, 0.6))
        shutil.rmtree(files)
        """
    path = str(Path(tiny_models.__file__).parent)
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True,
                   env={**environment(), 'PYTHONPATH': f'{path}:{environment()["PYTHONPATH"]}'})
    return 'heavy'


def swap(world, model):
    assert world.set_parameter('model', model) == (True, '')
    world.wait(lambda: world.state['model'] == model, f'model {model}')
    world.wait_state('DRIVING')


def mapped_mib(world) -> float:
    """Memory that a node's process has asked for."""
    pages = int(Path(f'/proc/{world.process.process.pid}/statm').read_text().split()[0])
    return pages * resource.getpagesize() / MIB


def test_the_sentence_stays_and_the_robot_rolls_on(world):
    instruction, heard = world.state['instruction'], len(world.commands)
    for model in ('left', 'forward'):
        swap(world, model)
        assert world.state['instruction'] == instruction
        assert world.get_parameter('model') == model
    assert all(any(speed) for _, *speed in world.commands[heard:])


def test_its_progress_is_on_diagnostics(world, heavy):
    seen, wanted = set(), {'loading heavy', 'warming up heavy'}

    def finished():
        seen.add(world.diagnostics['model status'])
        return world.diagnostics['model status'] == 'running heavy'

    for number in range(20):  # The report comes once a second; a quick machine loads in less.
        time.sleep(number / 20)
        assert world.set_parameter('model', heavy) == (True, '')
        world.wait(finished, 'the heavy model')
        swap(world, 'forward')
        world.wait(lambda: world.diagnostics['model status'] == 'running forward', 'the report')
        if seen & wanted:
            return
    assert seen & wanted


def test_the_model_before_is_freed(world, heavy):
    swap(world, 'left')
    before = mapped_mib(world)
    swap(world, heavy)
    with_heavy = mapped_mib(world)
    assert with_heavy > before + 150
    swap(world, 'left')
    world.make_image = None
    world.wait(lambda: mapped_mib(world) < with_heavy - 150, 'the memory of the model before')
    world.drive()
    swap(world, 'forward')


def test_a_model_that_does_not_fit_into_memory_leaves_the_old_one_driving(world, heavy):
    pid, faults = world.process.process.pid, world.process.output.count('FAULT')
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    room = round((mapped_mib(world) + 100) * MIB)
    resource.prlimit(pid, resource.RLIMIT_AS, (room, before[1]))
    try:
        assert world.set_parameter('model', heavy) == (True, '')
        world.wait(lambda: 'does not fit into memory' in world.diagnostics['model status'],
                   'the refusal')
        world.wait(lambda: world.get_parameter('model') == 'forward', 'the parameter to go back')
        world.wait_state('DRIVING')
        assert world.state['model'] == 'forward'
        assert world.process.output.count('FAULT') == faults
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)
    swap(world, heavy)
    swap(world, 'forward')


def test_a_later_request_supersedes_one_that_is_loading(world, heavy):
    heard = world.process.output.count('driving with model')
    for model in (heavy, 'asks_velocity', 'left'):
        assert world.set_parameter('model', model) == (True, '')
    world.wait(lambda: world.state['model'] == 'left', 'the last one asked for')
    assert world.process.output.count('driving with model') == heard + 1
    assert world.get_parameter('model') == 'left'
    swap(world, 'forward')


def test_asking_for_the_running_model_cancels_what_is_loading(world, heavy):
    heard = world.process.output.count('driving with model heavy')
    assert world.set_parameter('model', heavy) == (True, '')
    assert world.set_parameter('model', 'forward') == (True, '')
    world.wait(lambda: world.diagnostics['model status'] == 'loading heavy was cancelled',
               'the end of loading')
    swap(world, 'left')
    assert world.process.output.count('driving with model heavy') == heard
    swap(world, 'forward')


def test_a_bad_request_leaves_the_one_that_is_loading_alone(world, heavy):
    assert world.set_parameter('model', heavy) == (True, '')
    successful, reason = world.set_parameter('model', 'hevy')
    assert not successful
    assert "did you mean 'heavy'?" in reason
    world.wait(lambda: world.state['model'] == heavy, 'the heavy model')
    swap(world, 'forward')


def test_weights_that_are_not_numbers_never_take_over(world):
    faults = world.process.output.count('FAULT')
    assert world.set_parameter('model', 'nan') == (True, '')
    world.wait(lambda: 'not finite' in world.diagnostics['model status'], 'the refusal')
    world.wait(lambda: world.get_parameter('model') == 'forward', 'the parameter to go back')
    world.wait_state('DRIVING')
    assert world.state['model'] == 'forward'
    assert world.process.output.count('FAULT') == faults


def test_a_model_that_cannot_decide_is_a_fault_and_swapping_back_helps(world):
    assert world.set_parameter('model', 'asks_velocity') == (True, '')
    world.assert_stands('FAULT', "takes the base's velocity")
    world.assert_stopped_in_time(world.newest_seen_ns())
    assert world.level == b'\x02'
    assert world.set_parameter('model', 'forward') == (True, '')
    world.wait(lambda: world.state['model'] == 'forward', 'the model from before')
    assert world.call('resume').success
    world.wait_state('DRIVING')


@pytest.mark.parametrize('name', ['head.safetensors', 'backbone/model.safetensors'])
def test_files_changed_under_the_running_model_do_not_harm_it(world, models, name):
    """As `cp` does it: the file that was read is emptied and written anew."""
    swap(world, 'left')
    weights = models / 'left' / name
    content = weights.read_bytes()
    try:
        weights.write_bytes(b'')
        heard = len(world.commands)
        world.wait(lambda: len(world.commands) > heard + 20, 'commands')
        world.drive()
    finally:
        weights.write_bytes(content)
    swap(world, 'forward')
