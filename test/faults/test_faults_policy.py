"""Policies that cannot be driven, and checkpoints that cannot be loaded."""

import json
import os
import shutil

import pytest


def swap_to(world, model):
    assert world.set_parameter('model', str(model)) == (True, '')
    world.wait(lambda: world.state['model'] == str(model), f'model {model}')


def back_to_good(world):
    swap_to(world, 'forward')
    assert world.call('resume').success
    world.wait_state('DRIVING')


@pytest.mark.parametrize(('model', 'reason'), [
    ('asks_velocity', "takes the base's velocity"),
])
def test_a_policy_that_raises_is_a_fault(world, model, reason):
    swap_to(world, model)
    world.assert_stands('FAULT', reason)
    assert world.level == b'\x02'
    back_to_good(world)


def test_a_policy_of_nan_never_takes_over(world):
    assert world.set_parameter('model', 'nan') == (True, '')
    world.wait(lambda: 'not finite' in world.diagnostics['model status'], 'the refusal')
    world.wait(lambda: world.get_parameter('model') == 'forward', 'the parameter to go back')
    world.wait_state('DRIVING')
    assert world.state['model'] == 'forward'


def copy_of(models, tmp_path):
    return shutil.copytree(models / 'forward', tmp_path / 'model')


def change_manifest(folder, **changes):
    file = folder / 'policy.json'
    data = json.loads(file.read_text())
    data.update(changes)
    file.write_text(json.dumps(data))


def missing_file(folder):
    (folder / 'head.safetensors').unlink()


def truncated_tensor(folder):
    file = folder / 'head.safetensors'
    file.write_bytes(file.read_bytes()[:-100])


def wrong_hash(folder):
    file = folder / 'head.safetensors'
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def pickle_inside(folder):
    (folder / 'weights.pkl').write_bytes(b'\x80\x04N.')


def path_traversal(folder):
    data = json.loads((folder / 'policy.json').read_text())
    change_manifest(folder, backbone={**data['backbone'], 'path': '../forward/backbone'})


def link_out(folder):
    file = folder / 'head.safetensors'
    outside = folder.parent / 'outside.safetensors'
    file.rename(outside)
    os.symlink(outside, file)


def newer_format(folder):
    change_manifest(folder, format_version=99)


def wrong_dimension(folder):
    data = json.loads((folder / 'policy.json').read_text())
    statistics = {name: value + value[:1] if isinstance(value, list) else value
                  for name, value in data['statistics'].items()}
    change_manifest(folder, statistics=statistics)


def other_robot(folder):
    data = json.loads((folder / 'policy.json').read_text())
    change_manifest(folder, contract={**data['contract'], 'rate_hz': 5.0})


def backbone_gone(folder):
    shutil.rmtree(folder / 'backbone')


def empty_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES = {
    missing_file: 'head.safetensors', truncated_tensor: 'head.safetensors',
    wrong_hash: 'head.safetensors', pickle_inside: 'weights.pkl', path_traversal: 'backbone',
    link_out: 'head.safetensors', newer_format: 'format_version is 99',
    wrong_dimension: 'dimension', other_robot: 'rate_hz is 5.0', backbone_gone: 'backbone',
    empty_folder: 'empty'}


@pytest.mark.parametrize(('damage', 'message'), DAMAGES.items(), ids=lambda v: getattr(
    v, '__name__', ''))
def test_a_damaged_checkpoint_is_refused_while_the_old_one_drives_on(
        world, models, tmp_path, damage, message):
    folder = copy_of(models, tmp_path)
    damage(folder)
    successful, reason = world.set_parameter('model', str(folder))
    if successful:
        # Only the full hash, taken while loading, shows it.
        world.wait(lambda: message in world.diagnostics['model status'], 'the refusal')
    else:
        assert message in reason
        assert str(folder) in reason
    world.wait_state('DRIVING')
    assert world.state['model'] == 'forward'


def test_a_second_request_supersedes_the_first(world):
    assert world.set_parameter('model', 'left')[0]
    assert world.set_parameter('model', 'asks_velocity')[0]
    assert world.set_parameter('model', 'left')[0]
    world.wait(lambda: world.state['model'] == 'left', 'the last one asked for')
    world.wait_state('DRIVING')
    swap_to(world, 'forward')


def test_a_bad_model_at_the_start_stands_and_says_so_until_a_good_one_comes(start_drive, models):
    world = start_drive(model='nowhere')
    world.assert_stands('FAULT', "model refused: model 'nowhere': not found")
    world.instruction.publish(world.instruction.msg_type(data='go to the red cone'))
    world.assert_stands('WAITING', "model refused: model 'nowhere': not found")
    assert world.set_parameter('model', 'forward') == (True, '')
    world.wait_state('DRIVING')
    world.process.end()
