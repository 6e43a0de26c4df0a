"""Beginning a head from one that was trained for other actions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from vla_nav.policy.errors import CheckpointError
from vla_nav.policy.heads import Head


def read_head(path: Path) -> dict[str, torch.Tensor]:
    """Read a head's weights from a checkpoint folder or a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = path / 'head.safetensors' if path.is_dir() else path
    if file.suffix != '.safetensors':
        raise CheckpointError(f'{file}: expected a checkpoint folder or a safetensors file')
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f'{file}: cannot be read as safetensors: {error}') from None


def adopt_trunk(head: Head, tensors: Mapping[str, torch.Tensor], source: str) -> list[str]:
    """Copy every weight that fits into a head; return the names of those that stay new.

    Made for heads of another action dimension (a 7-DOF arm's): the trunk is kept, the output
    layer is new. Raises CheckpointError where the trunk does not fit.
    """
    own = head.state_dict()
    fitting = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    new = sorted(set(own) - set(fitting))
    changed = [n for n in new if n.split('.')[0] != 'output' and not n.startswith(_last(head))]
    if changed or not fitting:
        name = (changed or new)[0]
        found = tuple(tensors[name].shape) if name in tensors else 'nothing'
        raise CheckpointError(
            f"{source}: its head does not fit this one: '{name}' is {tuple(own[name].shape)}, "
            f'found {found}; expected the same kind, window, sizes and context, and only the '
            'output layer to differ'
        )
    head.load_state_dict(fitting, strict=False)
    return new


def _last(head: Head) -> str:
    """Name of the layer that gives a residual head's actions."""
    return f'body.{len(head.body) - 1}.' if head.settings.kind == 'residual' else 'output.'
