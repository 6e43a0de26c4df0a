"""The model card: what a checkpoint is and what was measured, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vla_nav.policy.checkpoint import Checkpoint

FEW = 8
"""Longer lists are not written out."""


def model_card(checkpoint: Checkpoint) -> str:
    """Write a checkpoint's README.md; `provenance['measured']` becomes its table of figures."""
    variant, contract = checkpoint.variant, checkpoint.contract
    command = contract.command
    actions = ', '.join(
        f'{name} ({unit}, {low:g} to {high:g})'
        for name, unit, low, high in zip(
            command.fields, command.units, checkpoint.normaliser.low, checkpoint.normaliser.high
        )
    )
    lines = [
        f'# {checkpoint.name}',
        '',
        f'A vla_nav policy: a camera image and a sentence become {variant.chunk} actions of '
        f'{contract.step_s:g} s.',
        '',
        f'- variant: `{variant.name}` (trained: {variant.tune}; decode: {variant.decode})',
        f'- backbone: {checkpoint.backbone.label}, sha256 `{checkpoint.backbone.sha256[:16]}`',
        f'- context: {variant.context.pooling} of layer {variant.context.layer}, '
        f'{checkpoint.context_shape[0]} x {checkpoint.context_shape[1]}',
        f'- camera: {contract.camera.width} x {contract.camera.height} RGB at '
        f'{contract.rate_hz:g} Hz',
        f'- actions: {actions}; the ranges it was trained on',
        '',
    ]
    measured = checkpoint.provenance.get('measured') or {}
    lines += ['## Measured', '']
    if measured:
        lines += ['| figure | value |', '| --- | --- |']
        lines += [f'| {name} | {_text(value)} |' for name, value in measured.items()]
    else:
        lines.append('Nothing was measured yet.')
    others = {k: v for k, v in checkpoint.provenance.items() if k not in ('measured', 'notes')}
    if others:
        lines += ['', '## Where it comes from', '']
        lines += [f'- {name}: {_text(value)}' for name, value in others.items()]
    notes = checkpoint.provenance.get('notes')
    if notes:
        lines += ['', '## Notes', '', str(notes)]
    return '\n'.join(lines) + '\n'


def _text(value: object) -> str:
    """In a line of Markdown; of a long list its length, as policy.json has it whole."""
    if isinstance(value, float):
        return f'{value:.4g}'
    if isinstance(value, Mapping):
        return ', '.join(f'{name} {_text(each)}' for name, each in value.items())
    if isinstance(value, (list, tuple)):
        few = len(value) <= FEW
        return ' '.join(map(_text, value)) if few else f'({len(value)} in policy.json)'
    return str(value)
