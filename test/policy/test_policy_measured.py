"""Measured figures are added to a checkpoint without touching its weights."""

import pytest

from vla_nav.policy import CheckpointError, validate
from vla_nav.policy.measured import record_measured


def test_figures_and_notes_reach_the_card(checkpoint_copy):
    before = validate(checkpoint_copy, quick=False)
    record_measured(checkpoint_copy, {'success': '91 %'}, notes='Made in simulation.')
    after = validate(checkpoint_copy, quick=False)
    card = (checkpoint_copy / 'README.md').read_text()
    assert '| success | 91 % |' in card and 'Made in simulation.' in card
    assert after.provenance['measured']['success'] == '91 %'
    assert after.files['head.safetensors'] == before.files['head.safetensors']
    assert not list(checkpoint_copy.parent.glob('.*'))


def test_earlier_figures_stay(checkpoint_copy):
    record_measured(checkpoint_copy, {'a': 1})
    record_measured(checkpoint_copy, {'b': 2})
    assert {'a', 'b'} <= set(validate(checkpoint_copy).provenance['measured'])


def test_a_damaged_checkpoint_is_left_alone(checkpoint_copy):
    head = checkpoint_copy / 'head.safetensors'
    head.write_bytes(head.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match='truncated'):
        record_measured(checkpoint_copy, {'a': 1})
