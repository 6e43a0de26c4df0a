"""What can be wrong with a checkpoint folder, and what is said about it.

A resealed folder lists the hashes of what it holds, as one does that was made in bad faith.
"""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HEAD = 'head.safetensors'
MARK = 'code_was_run'


def edit_manifest(folder: Path, change) -> None:
    file = folder / 'policy.json'
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def reseal(folder: Path) -> None:
    def change(data):
        for prefix, files in (('', data['files']), ('backbone/', data['backbone']['files'])):
            for name in files:
                content = (folder / f'{prefix}{name}').read_bytes()
                files[name] = {'sha256': hashlib.sha256(content).hexdigest(),
                               'size': len(content)}
    edit_manifest(folder, change)


def missing_file(folder):
    (folder / HEAD).unlink()


def missing_manifest(folder):
    (folder / 'policy.json').unlink()


def broken_manifest(folder):
    file = folder / 'policy.json'
    file.write_text(file.read_text()[:-200])


def truncated_tensor(folder):
    file = folder / HEAD
    file.write_bytes(file.read_bytes()[:-100])


def truncated_tensor_resealed(folder):
    truncated_tensor(folder)
    reseal(folder)


def wrong_hash(folder):
    file = folder / HEAD
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def wrong_hash_of_the_backbone(folder):
    file = folder / 'backbone' / 'model.safetensors'
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def wrong_contract(folder):
    edit_manifest(folder, lambda data: data['contract'].update(rate_hz=5.0))


def pickle_beside(folder):
    (folder / 'weights.pkl').write_bytes(pickle.dumps([1.0]))


def pickle_as_weights(folder):
    (folder / HEAD).write_bytes(pickle.dumps([1.0] * 100))
    reseal(folder)


def unlisted_weights(folder):
    shutil.copy(folder / HEAD, folder / 'backbone' / 'model-2.safetensors')


def code_inside(folder):
    """Code that the configuration asks for and the manifest lists; it leaves a mark if run."""
    backbone = folder / 'backbone'
    mark = folder.parent / MARK
    (backbone / 'evil.py').write_text(
        'from transformers import Idefics3Config\n'
        f'open({str(mark)!r}, "w").close()\n'
        'class Config(Idefics3Config):\n    model_type = "evil"\n')
    config = json.loads((backbone / 'config.json').read_text())
    config.update(auto_map={'AutoConfig': 'evil.Config'}, model_type='evil')
    (backbone / 'config.json').write_text(json.dumps(config))
    edit_manifest(folder, lambda data: [files.update({name: {}}) for name, files in (
        ('backbone/evil.py', data['files']), ('evil.py', data['backbone']['files']))])
    reseal(folder)


def path_traversal(folder):
    edit_manifest(folder, lambda data: data['backbone'].update(path='../forward/backbone'))


def path_traversal_of_a_file(folder):
    edit_manifest(folder, lambda data: data['files'].update(
        {'../outside.json': {'sha256': '0' * 64, 'size': 1}}))


def link_out(folder):
    file = folder / HEAD
    outside = folder.parent / 'outside.safetensors'
    file.rename(outside)
    os.symlink(outside, file)


def folder_link_out(folder):
    outside = folder.parent / 'outside_backbone'
    (folder / 'backbone').rename(outside)
    os.symlink(outside, folder / 'backbone')


def newer_format(folder):
    edit_manifest(folder, lambda data: data.update(format_version=99))


def wrong_dimension(folder):
    def change(data):
        data['statistics'] = {
            name: value + value[:1] if isinstance(value, list) else value
            for name, value in data['statistics'].items()}
    edit_manifest(folder, change)


def wrong_shape_of_the_head(folder):
    tensors = load_file(folder / HEAD)
    save_file({name: np.concatenate([t, t]) for name, t in tensors.items()}, folder / HEAD)
    reseal(folder)


def absurd_width(folder):
    edit_manifest(folder, lambda data: data['variant']['head'].update(width=10**7))


def two_colours(folder):
    path = next(path for path in (folder / 'backbone').glob('*processor_config.json')
                if 'image_mean' in path.read_text())  # transformers 5 nests it
    config = json.loads(path.read_text())
    config.get('image_processor', config)['image_mean'] = [0.5, 0.5]
    path.write_text(json.dumps(config))
    reseal(folder)


def backbone_gone(folder):
    shutil.rmtree(folder / 'backbone')


def empty_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def unreadable_file(folder):
    (folder / HEAD).chmod(0)


def unreadable_backbone(folder):
    (folder / 'backbone').chmod(0)


def unreadable_folder(folder):
    folder.chmod(0)


DAMAGES = {
    missing_file: f'{HEAD}: it is missing',
    missing_manifest: 'policy.json: it is missing; expected a checkpoint folder',
    broken_manifest: 'policy.json: not valid JSON',
    truncated_tensor: f'{HEAD}: it is truncated',
    truncated_tensor_resealed: f'{HEAD}: not a safetensors file',
    wrong_hash: f'{HEAD}: wrong hash',
    wrong_hash_of_the_backbone: 'backbone/model.safetensors: wrong hash',
    wrong_contract: 'rate_hz is 5.0',
    pickle_beside: 'weights.pkl: files of type .pkl can run code',
    pickle_as_weights: f'{HEAD}: not a safetensors file',
    unlisted_weights: 'model-2.safetensors: policy.json does not list it',
    code_inside: 'evil.py: files of type .py can run code',
    path_traversal: "'../forward/backbone', which is outside the checkpoint folder",
    path_traversal_of_a_file: "'../outside.json', which is outside the checkpoint folder",
    link_out: f'{HEAD}: it is a link to',
    folder_link_out: 'outside the checkpoint folder; put the file itself there',
    newer_format: 'format_version is 99',
    wrong_dimension: 'statistics are of 3 action dimensions',
    wrong_shape_of_the_head: 'its weights are not those of the head in policy.json',
    absurd_width: 'its weights are not those of the head in policy.json',
    two_colours: 'cannot be loaded: ValueError',
    backbone_gone: 'backbone',
    empty_folder: 'the folder is empty',
    unreadable_file: f'{HEAD}: cannot be read: Permission denied',
    unreadable_backbone: 'cannot be read: Permission denied',
    unreadable_folder: 'cannot be read: Permission denied',
}
"""Each spoils a checkpoint folder in one way; the value is part of what the node says then."""


def make_readable(folder: Path) -> None:
    """Undo what the last three did."""
    for path in (folder, folder / 'backbone', folder / HEAD):
        if path.exists():
            path.chmod(0o755)
