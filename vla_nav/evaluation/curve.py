"""Data efficiency: the same variants trained on more and more demonstrations."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vla_nav.evaluation.comparison import Comparison, drive
from vla_nav.evaluation.contrasts import success
from vla_nav.evaluation.data import open_dataset
from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.models import Model, open_model
from vla_nav.evaluation.rollout import Attempt
from vla_nav.evaluation.store import Store
from vla_nav.evaluation.verdict import judge_curve
from vla_nav.policy import Checkpoint, variant_names
from vla_nav.training.settings import Recipe, TrainingSettings, load_recipe
from vla_nav.training.train import Job, train


@dataclass(frozen=True)
class Curve:
    """One model's success over the number of demonstrations it was trained on."""

    label: str
    attempts: dict[int, list[Attempt]]
    """Number of demonstrations, ascending, to attempts at the same scenes."""

    @property
    def finding(self) -> str:
        """What more demonstrations would bring."""
        fewer, most = list(self.attempts)[-2:]
        last = success(self.attempts[most], self.attempts[fewer])
        return judge_curve(self.label, list(self.attempts), last)

    @property
    def figures(self) -> dict:
        """Plain data."""
        return {'model': self.label, 'finding': self.finding,
                'success': {str(count): sum(a.success for a in attempts) / len(attempts)
                            for count, attempts in self.attempts.items()}}


def parse_counts(text: str, data: Path) -> list[int]:
    """Read numbers of a dataset's episodes such as 50,100,250; raises EvaluationError."""
    try:
        counts = [int(part) for part in text.split(',')]
    except ValueError:
        counts = []
    if len(counts) < 2 or counts[0] < 2 or counts != sorted(set(counts)):
        raise EvaluationError(f'episodes is {text!r}; expected at least two ascending numbers '
                              'from 2, such as 50,100,250')
    there = len(open_dataset(data))
    if counts[-1] > there:
        raise EvaluationError(f'{counts[-1]} episodes were asked for, {data} has {there}; ask for '
                              'fewer, or record more')
    return counts


def measure_curves(comparison: Comparison, counts: Sequence[int], out: Path) -> list[Curve]:
    """Train every model's variant on the first so many episodes, with one seed, and drive it.

    Checkpoints lie under `out`; those that are there are not trained again.
    """
    settings = comparison.settings
    recipes = {each.model.label: _recipe(each.model, settings.seed)
               for each in comparison.measured}
    backbones = {each.model.label: _backbone(each.model, comparison)
                 for each in comparison.measured}
    store, curves = Store(out), []
    for label, recipe in recipes.items():
        attempts = {}
        for count in counts:
            checkpoint = _trained(out / 'curve', recipe, backbones[label], comparison, count)
            attempts[count] = drive(
                store, replace(open_model(checkpoint), label=f'{label}, {count} episodes'),
                replace(settings.seen, swap=False), settings.workers, settings.device)
        curves.append(Curve(label, attempts))
    return curves


def _recipe(model: Model, seed: int) -> Recipe:
    """How the model was trained, as its checkpoint says, else as its preset does."""
    variant, said = model.checkpoint.variant, model.checkpoint.provenance.get('training')
    known = {field.name for field in dataclasses.fields(TrainingSettings)}
    if isinstance(said, dict) and said and set(said) <= known:
        training = TrainingSettings(**said)
    elif variant.name in variant_names():
        training = load_recipe(variant.name).training
    else:
        training = TrainingSettings()
    return Recipe(variant, replace(training, seed=seed))


def _backbone(model: Model, comparison: Comparison) -> Path:
    """What the model's training began with."""
    checkpoint = model.checkpoint
    if checkpoint.variant.tune != 'full':
        return checkpoint.backbone_folder()
    reason = (f'{model.label} was trained with tune: full, so its checkpoint does not hold the '
              'backbone it began with')
    if comparison.frozen is None:
        raise EvaluationError(f'{reason}; give a frozen model of that backbone too')
    frozen = comparison.frozen.model
    if not _alike(checkpoint, frozen.checkpoint):
        raise EvaluationError(f'{reason}, and that of {frozen.label} is another; give a frozen '
                              'model of the same backbone, as --reference, or leave it out')
    return frozen.checkpoint.backbone_folder()


def _alike(tuned: Checkpoint, frozen: Checkpoint) -> bool:
    """Whether they began with one backbone, as far as their checkpoints can tell."""
    began = tuned.provenance.get('backbone_sha256')
    if began is not None:
        return began == frozen.backbone.sha256
    sizes = {c.provenance.get('backbone_parameters') for c in (tuned, frozen)} - {None}
    return len(sizes) < 2


def _trained(folder: Path, recipe: Recipe, backbone: Path, comparison: Comparison, count: int
             ) -> Path:
    """Train, or go on training, or find what was trained; returns the checkpoint."""
    facts = {**recipe.to_dict(), 'backbone': str(backbone.resolve()), 'episodes': count,
             'data': comparison.dataset.sha256}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    out = folder / f'{recipe.variant.name}_{count}_{digest}'
    if not out.is_dir():
        train(Job(recipe, str(backbone), out, work=folder / 'work' / out.name,
                  data=comparison.dataset.root, cache=folder / 'contexts', episodes=count,
                  resume=True, workers=comparison.settings.workers))
    return Checkpoint.open(out, quick=True).path
