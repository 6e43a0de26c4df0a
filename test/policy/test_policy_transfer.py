"""A head that begins from one for other actions."""

import pytest
import torch
from safetensors.torch import save_file

from vla_nav.policy import CheckpointError, HeadSettings, adopt_trunk, build_head, read_head

SETTINGS = HeadSettings(width=16, token_width=6, image_token_width=2, chunk=3)


def make(action_dim, settings=SETTINGS, width=12):
    return build_head(settings, 5, width, action_dim)


def test_the_trunk_of_seven_dimensions_is_kept(tmp_path):
    arm, base = make(7), make(2)
    save_file(arm.state_dict(), tmp_path / 'head.safetensors')
    new = adopt_trunk(base, read_head(tmp_path), 'arm')
    assert new == ['output.bias', 'output.weight']
    for name, value in arm.state_dict().items():
        if not name.startswith('output'):
            assert torch.equal(base.state_dict()[name], value)


def test_a_trunk_of_another_size_is_refused():
    with pytest.raises(CheckpointError, match=r"arm: .* does not fit .*'stage.first.weight'"):
        adopt_trunk(make(2), make(7, width=20).state_dict(), 'arm')
    with pytest.raises(CheckpointError, match='found nothing'):
        adopt_trunk(make(2), {}, 'arm')


def test_a_pickle_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match='expected a checkpoint folder or a safetensors'):
        read_head(tmp_path / 'head.pt')
    (tmp_path / 'head.safetensors').write_bytes(b'nonsense')
    with pytest.raises(CheckpointError, match='cannot be read as safetensors'):
        read_head(tmp_path)
