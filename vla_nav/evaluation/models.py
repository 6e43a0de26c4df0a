"""The checkpoints under evaluation: opened, told apart, and held against each other."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vla_nav import __version__
from vla_nav.contract import Contract
from vla_nav.evaluation.errors import EvaluationError
from vla_nav.policy import Checkpoint, resolve_model
from vla_nav.policy.checkpoint import ENGINE, MANIFEST
from vla_nav.policy.files import sha256_of

if TYPE_CHECKING:
    from vla_nav.policy import Policy

FROZEN = 'head'
"""What `tune` says where the backbone stayed as it was."""


@dataclass(frozen=True)
class Model:
    """One checkpoint under evaluation."""

    label: str
    """Short and different from the others'."""
    checkpoint: Checkpoint
    sha256: str
    """Of everything that decides what it does: not of its model card, what was measured, or an
    exported engine."""

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.checkpoint.path

    @property
    def frozen(self) -> bool:
        """Whether only a head was trained."""
        return self.checkpoint.variant.tune == FROZEN

    @property
    def training(self) -> dict:
        """What was measured while it was trained; empty where nothing was."""
        measured = self.checkpoint.provenance.get('measured')
        training = measured.get('training') if isinstance(measured, dict) else None
        return training if isinstance(training, dict) else {}


def open_model(name_or_path: str | Path) -> Model:
    """Open one checkpoint by folder or name."""
    return open_models([name_or_path])[0]


def open_models(names: Sequence[str | Path], weights: bool = True) -> list[Model]:
    """Open checkpoints; raises EvaluationError where one is given twice.

    weights: whether they must be there, as for everything but a report of what was measured.
    """
    folders = [resolve_model(name) for name in names]
    checkpoints = [Checkpoint.open(folder, quick=True) if weights else Checkpoint.describe(folder)
                   for folder in folders]
    counts = Counter(checkpoint.path.name for checkpoint in checkpoints)
    models: list[Model] = []
    for checkpoint in checkpoints:
        path = checkpoint.path
        label = path.name if counts[path.name] == 1 else f'{path.parent.name}/{path.name}'
        model = Model(label, checkpoint, _identity(checkpoint))
        for other in models:
            if other.sha256 == model.sha256:
                raise EvaluationError(f'{path} and {other.path} are the same model; give '
                                      'different ones')
        models.append(model)
    return models


def check_alike(models: Sequence[Model], contract: Contract | None = None,
                source: str = '') -> None:
    """Raise EvaluationError, with the fields, where models cannot meet the same frames.

    contract: what the frames of `source` (a dataset) are like; the first model's if None.
    """
    if contract is None:
        contract, source = models[0].checkpoint.contract, models[0].label
    for model in models:
        differences = model.checkpoint.contract.differences(
            contract, (f'in {model.label}', f'in {source}'))
        if differences:
            raise EvaluationError(
                f'{model.label} cannot be evaluated on what {source} was made for: '
                f'{"; ".join(differences)}. Compare models trained for the same camera, rate and '
                'command, on data recorded for them')


def load_policy(path: Path, device: str, engine: str = 'torch') -> Policy:
    """Load a policy, kept until another one is asked for, or this one was written anew."""
    return _load(path, device, engine, sha256_of(path / MANIFEST))


@lru_cache(maxsize=1)
def _load(path: Path, device: str, engine: str, sha256: str) -> Policy:
    import torch
    from transformers.utils import logging

    from vla_nav.policy import Policy
    logging.disable_progress_bar()
    return Policy.load(path, device=device, threads=torch.get_num_threads(), engine=engine)


def trainable_parameters(model: Model) -> int:
    """How many numbers training may have changed, counted in the checkpoint's files.

    Raises EvaluationError where one is gone.
    """
    from safetensors import safe_open

    checkpoint = model.checkpoint
    names = [name for name in checkpoint.files if name.endswith('.safetensors')]
    if checkpoint.variant.tune != 'full':
        names = [name for name in names if not name.startswith('backbone/')]
    count = 0
    for name in names:
        if not (checkpoint.path / name).is_file():
            raise EvaluationError(f'{checkpoint.path / name}: it is missing, and policy.json does '
                                  'not say how many parameters were trained; copy it there')
        with safe_open(checkpoint.path / name, 'np') as file:
            for key in file.keys():
                size = 1
                for length in file.get_slice(key).get_shape():
                    size *= length
                count += size
    return count


def _identity(checkpoint: Checkpoint) -> str:
    facts = {
        'vla_nav': __version__, **checkpoint.said,
        'context_shape': checkpoint.context_shape, 'vision_shape': checkpoint.vision_shape,
        'backbone': checkpoint.backbone.sha256,
        'files': {name: entry.sha256 for name, entry in checkpoint.files.items()
                  if name != 'README.md' and not name.startswith(f'{ENGINE}/')},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
