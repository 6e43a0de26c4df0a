"""Training state on disk: safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

from vla_nav.errors import VlaNavError


class ResumeError(VlaNavError):
    """A training state cannot be continued from."""


def save_state(path: Path, modules: dict, optimizer, facts: dict) -> None:
    """Write modules, an optimizer and plain facts (JSON) to one file.

    The random state of torch goes with them, so that a resumed run goes on bit for bit. Raises
    ResumeError where it cannot be written; an older state is intact then.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    tensors = {'rng': torch.get_rng_state()}
    for name, module in modules.items():
        for key, tensor in module.state_dict().items():
            tensors[f'module.{name}.{key}'] = _on_cpu(tensor)
    for index, state in optimizer.state_dict()['state'].items():
        for key, tensor in state.items():
            tensors[f'optimizer.{index}.{key}'] = _on_cpu(tensor)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix('.tmp')
    try:
        save_file(tensors, temporary, {'facts': json.dumps(facts)})
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise ResumeError(f'{path} cannot be written ({error}); make room on the disk, then go '
                          'on from the state before, which is intact') from None


def _on_cpu(tensor):
    """A copy there: on a GPU that a model fills, there is no room for another."""
    return tensor.detach().to('cpu', copy=True).contiguous()


def read_facts(path: Path) -> dict:
    """Return the facts of a saved state without its tensors."""
    from safetensors import SafetensorError, safe_open
    try:
        with safe_open(path, 'pt') as file:
            return json.loads((file.metadata() or {})['facts'])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ResumeError(f'{path} is not a training state ({error}); delete it to start '
                          'afresh') from None


def load_state(path: Path, modules: dict, optimizer) -> dict:
    """Fill modules and optimizer from a file of save_state; returns its facts."""
    import torch
    from safetensors.torch import load_file
    facts = read_facts(path)
    tensors = load_file(path)
    for name, module in modules.items():
        prefix = f'module.{name}.'
        state = {key[len(prefix):]: value for key, value in tensors.items()
                 if key.startswith(prefix)}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise ResumeError(f'{path} was made by another model ({error}); delete it to start '
                              'afresh') from None
    state: dict[int, dict] = {}
    for key, tensor in tensors.items():
        if key.startswith('optimizer.'):
            _, index, name = key.split('.', 2)
            state.setdefault(int(index), {})[name] = tensor
    saved = optimizer.state_dict()
    saved['state'] = state
    optimizer.load_state_dict(saved)
    torch.set_rng_state(tensors['rng'])
    return facts


def cosine_rate(step: int, steps: int, warm_up: int, peak: float) -> float:
    """Learning rate of a cosine schedule with linear warm-up, ending at a hundredth of `peak`."""
    import math
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = min((step - warm_up) / max(steps - warm_up, 1), 1.0)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
