"""Checkpoint folders: written, verified, and refused with the file and the reason."""

import gc
import json
import os
import stat
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_nav.contract import Camera, Command, Contract
from vla_nav.policy import Checkpoint, CheckpointError, Policy, resolve_model, validate
from vla_nav.policy import checkpoint as checkpoint_module


def edit(folder, **changes):
    path = folder / 'policy.json'
    data = json.loads(path.read_text())
    for dotted, value in changes.items():
        *rooms, last = dotted.split('__')
        room = data
        for name in rooms:
            room = room[name]
        if value is None:
            del room[last]
        else:
            room[last] = value
    path.write_text(json.dumps(data))


def refused(folder, message, **options):
    with pytest.raises(CheckpointError, match=message):
        validate(folder, **options)


def test_round_trip(checkpoint_folder, make_policy, contract):
    checkpoint = validate(checkpoint_folder, contract, quick=False)
    policy = make_policy()
    assert checkpoint.variant == policy.variant and checkpoint.contract == contract
    assert checkpoint.normaliser == policy.normaliser
    assert checkpoint.provenance == {'seed': 3, 'measured': {'success': 0.5}}
    loaded = Policy.load(checkpoint_folder)
    for name, value in policy.head.state_dict().items():
        assert torch.equal(loaded.head.state_dict()[name], value)
    for name, value in policy.backbone.model.state_dict().items():
        assert torch.equal(loaded.backbone.model.state_dict()[name], value)


def test_every_file_is_listed(checkpoint_folder):
    listed = set(json.loads((checkpoint_folder / 'policy.json').read_text())['files'])
    there = {p.relative_to(checkpoint_folder).as_posix()
             for p in checkpoint_folder.rglob('*') if p.is_file()}
    assert there == listed | {'policy.json'}
    assert {'head.safetensors', 'README.md', 'backbone/model.safetensors'} <= listed


def test_everybody_may_read_it(checkpoint_folder):
    for path in (checkpoint_folder, *checkpoint_folder.rglob('*')):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_the_model_card_has_the_figures(checkpoint_folder):
    card = (checkpoint_folder / 'README.md').read_text()
    assert '| success | 0.5 |' in card and 'seed: 3' in card and 'linear.x (m/s' in card


def test_saving_again_replaces(checkpoint_copy, make_policy, save_policy):
    before = validate(checkpoint_copy).sha256
    save_policy(make_policy(), checkpoint_copy, provenance={'seed': 4})
    assert validate(checkpoint_copy).provenance == {'seed': 4}
    assert validate(checkpoint_copy).sha256 != before
    assert [p.name for p in checkpoint_copy.parent.iterdir()] == ['tiny']


def test_an_interrupted_save_leaves_the_old_one(
    checkpoint_copy, make_policy, save_policy, monkeypatch
):
    before = validate(checkpoint_copy, quick=False).sha256

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module, 'write_json', interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_policy(make_policy(), checkpoint_copy, provenance={'seed': 4})
    assert validate(checkpoint_copy, quick=False).sha256 == before
    assert [p.name for p in checkpoint_copy.parent.iterdir()] == ['tiny']


def test_missing(tmp_path):
    refused(tmp_path / 'none', 'none: found nothing, expected a checkpoint folder')


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / 'model').write_text('')
    refused(tmp_path / 'model', 'found a file, expected a checkpoint folder')


def test_empty_folder(tmp_path):
    refused(tmp_path, 'the folder is empty')


def test_a_backbone_is_no_policy(idefics3_folder):
    refused(idefics3_folder, 'policy.json: it is missing.*has no head yet')


@pytest.mark.parametrize('name', ['head.safetensors', 'backbone/model.safetensors'])
def test_a_missing_file(checkpoint_copy, name):
    (checkpoint_copy / name).unlink()
    refused(checkpoint_copy, f'{name}: it is missing .*copy the checkpoint again')


@pytest.mark.parametrize('name', ['head.safetensors', 'backbone/model.safetensors'])
def test_a_truncated_file(checkpoint_copy, name):
    os.truncate(checkpoint_copy / name, 100)
    refused(checkpoint_copy, f'{name}: it is truncated: found 100 bytes, expected')


@pytest.mark.parametrize('name', ['head.safetensors', 'backbone/model.safetensors'])
def test_a_changed_file(checkpoint_copy, name):
    data = bytearray((checkpoint_copy / name).read_bytes())
    data[-1] ^= 1
    (checkpoint_copy / name).write_bytes(data)
    refused(checkpoint_copy, f'{name}: wrong hash: found sha256 .* expected')


def test_a_quick_check_hashes_small_files_alone(checkpoint_copy, monkeypatch):
    monkeypatch.setattr('vla_nav.policy.files.QUICK_BYTES', 0)
    name = 'backbone/model.safetensors'
    data = bytearray((checkpoint_copy / name).read_bytes())
    data[-1] ^= 1
    (checkpoint_copy / name).write_bytes(data)
    validate(checkpoint_copy, quick=True)
    refused(checkpoint_copy, 'wrong hash', quick=False)


@pytest.mark.parametrize('name', [
    'head.bin', 'backbone/pytorch_model.bin', 'x.pt', 'a/b.pkl', 'backbone/modeling.py',
])
def test_pickles_and_code_are_refused(checkpoint_copy, name):
    path = checkpoint_copy / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'')
    refused(checkpoint_copy, f'{name}: files of type .* can run code')


def test_a_file_slipped_into_the_backbone_is_refused(checkpoint_copy):
    (checkpoint_copy / 'backbone' / 'adapter_config.json').write_text('{}')
    refused(checkpoint_copy, 'adapter_config.json: policy.json does not list it')


@pytest.mark.parametrize('path', ['../elsewhere', '/etc', 'a/../../b', '..\\b'])
def test_paths_stay_inside(checkpoint_copy, path):
    edit(checkpoint_copy, backbone__path=path)
    refused(checkpoint_copy, 'outside the checkpoint folder')


def test_listed_files_stay_inside(checkpoint_copy):
    data = json.loads((checkpoint_copy / 'policy.json').read_text())
    edit(checkpoint_copy, files=data['files'] | {'../x.json': {'sha256': '0', 'size': 1}})
    refused(checkpoint_copy, r"names the file '\.\./x\.json', which is outside")


def test_a_link_out_of_the_folder(checkpoint_copy, tmp_path):
    head = checkpoint_copy / 'head.safetensors'
    head.rename(tmp_path / 'head.safetensors')
    head.symlink_to(tmp_path / 'head.safetensors')
    refused(checkpoint_copy, 'head.safetensors: it is a link to')


def test_an_install_made_of_links_is_followed(checkpoint_folder, tmp_path):
    for source in checkpoint_folder.rglob('*'):
        target = tmp_path / 'installed' / source.relative_to(checkpoint_folder)
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
    assert validate(tmp_path / 'installed').path == checkpoint_folder


def test_a_newer_format(checkpoint_copy):
    edit(checkpoint_copy, format_version=99)
    refused(checkpoint_copy, 'format_version is 99, this vla_nav reads up to 1; install a newer')


def test_a_cut_manifest(checkpoint_copy):
    os.truncate(checkpoint_copy / 'policy.json', 200)
    refused(checkpoint_copy, 'policy.json: not valid JSON')


@pytest.mark.parametrize('key', ['variant', 'backbone', 'contract', 'context_shape', 'files'])
def test_an_incomplete_manifest(checkpoint_copy, key):
    edit(checkpoint_copy, **{key: None})
    refused(checkpoint_copy, f"policy.json: '{key}' is missing")


def test_missing_statistics(checkpoint_copy):
    edit(checkpoint_copy, statistics__high=None)
    refused(checkpoint_copy, 'policy.json: action statistics lack high')


def test_an_unknown_setting(checkpoint_copy):
    edit(checkpoint_copy, variant__head__kind='lstn')
    refused(checkpoint_copy, "policy.json: unknown head 'lstn'; did you mean 'lstm'")


def test_another_action_dimension(checkpoint_copy, contract):
    data = json.loads((checkpoint_copy / 'policy.json').read_text())['statistics']
    seven = {k: v * 4 if isinstance(v, list) else v for k, v in data.items()}
    edit(checkpoint_copy, statistics=seven)
    refused(checkpoint_copy, 'statistics are of 8 action dimensions, its contract has 2')


def test_a_contract_that_differs_names_the_field(checkpoint_folder):
    holonomic = Contract(
        camera=Camera(width=64, height=64),
        command=Command(fields=('linear.x', 'linear.y'), low=(0, -1)),
    )
    refused(checkpoint_folder, 'command.fields is linear.x, angular.z', contract=holonomic)
    faster = Contract(camera=Camera(width=64, height=64), rate_hz=20)
    refused(checkpoint_folder, 'rate_hz is 10.0 in the checkpoint and 20.0', contract=faster)
    namesake = replace(faster, robot=Checkpoint.open(checkpoint_folder).contract.robot)
    refused(checkpoint_folder, 'does not fit this one of the same name', contract=namesake)


@pytest.mark.skipif(os.geteuid() == 0, reason='root reads everything')
def test_unreadable(checkpoint_copy):
    (checkpoint_copy / 'policy.json').chmod(0)
    refused(checkpoint_copy, 'policy.json: cannot be read: Permission denied')
    (checkpoint_copy / 'policy.json').chmod(stat.S_IRUSR)


def test_a_head_of_another_shape(checkpoint_copy):
    edit(checkpoint_copy, variant__head__width=64)
    with pytest.raises(CheckpointError, match='its weights are not those of the head'):
        Policy.load(checkpoint_copy)


def test_backbone_of_a_checkpoint_beside(checkpoint_copy, make_policy, save_policy, frames):
    second = checkpoint_copy.parent / 'second'
    save_policy(make_policy(kind='mlp'), second, beside='tiny')
    assert not (second / 'backbone').exists()
    policy = Policy.load(second)
    policy.reset('go')
    assert policy.step(frames[0]).actions.shape == (8, 2)
    os.truncate(checkpoint_copy / 'backbone' / 'model.safetensors', 10)
    refused(second, 'model.safetensors: it is truncated')


@pytest.mark.parametrize('name', ['evil.py', 'pytorch_model.bin', 'special_tokens_map.json'])
def test_a_file_added_to_the_backbone_beside(checkpoint_copy, make_policy, save_policy, name):
    second = checkpoint_copy.parent / 'second'
    save_policy(make_policy(), second, beside='tiny')
    (checkpoint_copy / 'backbone' / name).write_text('{}')
    refused(second, f'{name}: (files of type|policy.json does not list it)')


def test_a_backbone_in_the_cache_of_the_hub(checkpoint_copy, make_policy, save_policy, frames,
                                            tmp_path, monkeypatch):
    """Which holds links to files of other names."""
    expected = Policy.load(checkpoint_copy)
    repo, revision = tmp_path / 'models--someone--model', 'a' * 40
    snapshot = repo / 'snapshots' / revision
    for path in (snapshot, repo / 'blobs', repo / 'refs'):
        path.mkdir(parents=True)
    for number, path in enumerate(sorted((checkpoint_copy / 'backbone').iterdir())):
        path.rename(repo / 'blobs' / str(number))
        (snapshot / path.name).symlink_to(f'../../blobs/{number}')
    (repo / 'refs' / 'main').write_text(revision)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    save_policy(make_policy(), tmp_path / 'second', repo='someone/model', revision=revision)
    policies = [Policy.load(tmp_path / 'second'), expected]
    for policy in policies:
        policy.reset('go')
    first, second = (policy.step(frames[0]).actions for policy in policies)
    assert (first == second).all()
    (snapshot / 'special_tokens_map.json').write_text('{}')
    with pytest.raises(CheckpointError, match='special_tokens_map.json: policy.json does not'):
        Policy.load(tmp_path / 'second')
    (snapshot / 'special_tokens_map.json').unlink()
    (snapshot / 'config.json').unlink()
    (snapshot / 'config.json').symlink_to(checkpoint_copy / 'policy.json')
    with pytest.raises(CheckpointError, match='config.json: it is a link to'):
        Policy.load(tmp_path / 'second')


@pytest.mark.parametrize('place', ['/tmp/other', '../other', '~/other', './other', 'a/b/c', '..'])
def test_a_hub_backbone_is_no_path(checkpoint_copy, place):
    edit(checkpoint_copy, backbone__repo=place, backbone__path=None)
    refused(checkpoint_copy, "'backbone.repo' is .*expected a Hugging Face id")


def test_weights_are_apart_from_their_files(checkpoint_copy, frames):
    policy = Policy.load(checkpoint_copy)
    policy.reset('go')
    expected = policy.step(frames[0]).actions
    for name in ('head.safetensors', 'backbone/model.safetensors'):
        path = checkpoint_copy / name
        header = path.read_bytes()[:1000]
        path.write_bytes(header + bytes(path.stat().st_size - 1000))
    policy.reset('go')
    assert (policy.step(frames[0]).actions == expected).all()


def test_nothing_keeps_the_weights_of_a_model_that_is_let_go(tmp_path, make_policy, save_policy,
                                                             frames):
    """Not even for a collector: the node has it look at nothing that was there at the start."""
    save_policy(make_policy(kind='mlp', state_token=True), tmp_path / 'soft')
    policy = Policy.load(tmp_path / 'soft')
    policy.reset('go')
    policy.step(frames[0], np.zeros(2))
    weights = weakref.ref(policy.backbone.model)
    gc.collect()
    gc.disable()
    try:
        del policy
        assert weights() is None
    finally:
        gc.enable()


def test_a_model_that_is_replaced_while_it_loads(checkpoint_copy, make_policy, save_policy,
                                                 monkeypatch):
    def trained_anew(checkpoint):
        monkeypatch.undo()
        save_policy(make_policy(), checkpoint_copy, provenance={'seed': 4})
        return checkpoint.head_state()

    monkeypatch.setattr(Checkpoint, 'head_state', trained_anew)
    with pytest.raises(CheckpointError, match='policy.json: it was changed after it was checked'):
        Policy.load(checkpoint_copy)
    Policy.load(checkpoint_copy)


def test_a_backbone_that_is_gone(checkpoint_copy, make_policy, save_policy):
    second = checkpoint_copy.parent / 'second'
    save_policy(make_policy(), second, beside='tiny')
    checkpoint_copy.rename(checkpoint_copy.parent / 'moved')
    refused(second, "its backbone is that of model 'tiny', expected in .*, and it is gone")
    for elsewhere in ('../tiny', '..', '/tmp'):
        edit(second, backbone__model=elsewhere)
        refused(second, 'expected the name of a checkpoint beside this one')


def test_a_hub_backbone_that_cannot_be_had(checkpoint_copy, monkeypatch):
    from huggingface_hub import errors

    edit(checkpoint_copy, backbone__repo='someone/model', backbone__path=None)

    def offline(*_, **__):
        raise errors.LocalEntryNotFoundError('no network')

    monkeypatch.setattr('huggingface_hub.snapshot_download', offline)
    validate(checkpoint_copy)
    with pytest.raises(CheckpointError, match="its backbone is gone: .*'someone/model'"):
        Checkpoint.open(checkpoint_copy)


def test_models_are_found_by_name(checkpoint_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('VLA_NAV_MODELS', str(checkpoint_folder.parent))
    assert resolve_model('tiny') == checkpoint_folder
    assert resolve_model(checkpoint_folder) == checkpoint_folder
    with pytest.raises(CheckpointError, match="model 'tny': not found; did you mean 'tiny'"):
        resolve_model('tny')
    (tmp_path / 'models' / 'mine').mkdir(parents=True)
    assert resolve_model('mine').resolve() == tmp_path / 'models' / 'mine'
    with pytest.raises(CheckpointError, match='found nothing there'):
        resolve_model('some/where')
    with pytest.raises(CheckpointError, match='the name is empty'):
        resolve_model(' ')
