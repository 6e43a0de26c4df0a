"""How a variant is trained, and the recipe that joins both."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import yaml

from vla_nav.policy import Variant
from vla_nav.policy.context import ContextSettings
from vla_nav.policy.registry import unknown
from vla_nav.policy.settings import from_dict, require
from vla_nav.policy.variant import dotted_names, read_preset
from vla_nav.training.progress import say

GROUP = 'training'
"""Name of these settings in a preset and before the dot of `--set`."""


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that determines a training run beside variant, data and backbone."""

    steps: int = 450
    """Steps of the optimiser."""
    batch: int = 32
    """Sequences in each step, over all processes: where contexts are cached, whole episodes, or
    what of them is under one sentence."""
    window: int = 0
    """Frames of a sequence; 0: one, and three for each frame of history that the head sees beside
    the present one. Cached contexts always take whole episodes."""
    rate: float = 1e-3
    """Peak learning rate of the head."""
    backbone_rate: float = 0.0
    """Peak learning rate in the backbone; 0: 0.1 / its width, which is 5e-4 for nano and the 2e-5
    of OpenVLA for 7 billion parameters."""
    warm_up: int = 50
    """Steps until the learning rate is at its peak, from which it falls as a cosine."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradient."""
    accumulate: int = 1
    """Parts into which each process divides its share of the batch: less memory, same result. On
    two cores, parts of about 30 frames are also 1.4 times as fast as a batch of 8 x 34."""
    checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third slower."""
    precision: str = 'auto'
    """bf16, fp32, or auto: bf16 on a GPU that has it. What trains is kept in fp32."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, such as 0.999; 0: none."""
    probe: int = 0
    """Steps in which the head alone is trained first, from cached contexts, so that a random
    head does not spoil the backbone (Kumar et al. 2022, arXiv 2202.10054)."""
    validation: float = 0.1
    """Share of the recordings that is kept for validation."""
    validation_frames: int = 1024
    """Frames looked at in a validation, where contexts are not cached."""
    validate_every: int = 0
    """Steps between validations; 0: twenty of them in the run."""
    patience: int = 8
    """Validations without a better one until training stops; 0: never."""
    judge: str = 'error'
    """What is better: the smaller error of the validation actions (with action tokens, their
    loss), or closed-loop success."""
    judge_scenes: int = 40
    """Simulated scenes of each closed-loop judgement."""
    context_noise: float = 0.05
    """Noise added to cached contexts, as a share of their own spread."""
    colour: float = 0.2
    """Largest change of brightness and contrast, and twice that of saturation; hue stays, as
    colours are named in instructions. Not for cached contexts, nor are the next two."""
    shift: float = 0.02
    """Largest shift and crop of images, as a share of their size."""
    mirror: float = 0.0
    """Share of sequences that are mirrored: the image, left and right in the instruction, and
    the lateral actions."""
    motion_dropout: float = 0.0
    """Share of the frames for which the policy is told the motion of another moment of the episode
    (`head.state_token`, `head.inputs`), lest it learns to go on as it goes. After the past motion
    dropout of ChauffeurNet (arXiv 1812.03079), which leaves the motion out."""
    views: int = 4000
    """Simulated views made for vision-language data, where a variant mixes it in and none is
    given."""
    seed: int = 0

    def __post_init__(self) -> None:
        for least, names in (
            (1, ('steps', 'batch', 'accumulate', 'validation_frames', 'judge_scenes', 'views')),
            (0, ('window', 'warm_up', 'validate_every', 'patience', 'probe', 'seed')),
        ):
            for name in names:
                require(_whole(self, name, least), f'{GROUP}.{name}', getattr(self, name),
                        f'a whole number of at least {least}')
        for name, low, high in (
            ('rate', 0, 1), ('backbone_rate', 0, 1), ('weight_decay', 0, 1), ('ema', 0, 0.99999),
            ('context_noise', 0, 1), ('colour', 0, 0.5), ('shift', 0, 0.2), ('mirror', 0, 1),
            ('motion_dropout', 0, 1),
        ):
            require(_number(self, name) and low <= getattr(self, name) <= high, f'{GROUP}.{name}',
                    getattr(self, name), f'a number from {low} to {high}')
        require(_number(self, 'clip') and self.clip > 0, f'{GROUP}.clip', self.clip,
                'a number above 0')
        require(_number(self, 'validation') and 0 < self.validation < 1, f'{GROUP}.validation',
                self.validation,
                'a number above 0 and below 1: without validation nothing can be judged')
        for name, known in (('precision', ('auto', 'bf16', 'fp32')),
                            ('judge', ('error', 'success'))):
            require(getattr(self, name) in known, f'{GROUP}.{name}', getattr(self, name),
                    ' or '.join(known))

    @property
    def interval(self) -> int:
        """Steps between validations."""
        return self.validate_every or max(1, self.steps // 20)

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self)


def _whole(settings: object, name: str, least: int) -> bool:
    value = getattr(settings, name)
    return type(value) is int and value >= least


def _number(settings: object, name: str) -> bool:
    return type(getattr(settings, name)) in (int, float)


@dataclass(frozen=True)
class Recipe:
    """A variant and how it is trained: what a preset holds."""

    variant: Variant = field(default_factory=Variant)
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def with_settings(self, settings: dict[str, object]) -> Recipe:
        """Return a copy with single settings changed, such as `training.steps` or `head.window`.

        Raises SettingsError for an unknown name, with the nearest one.
        """
        known = dotted_names({**self.variant.to_dict(), GROUP: self.training.to_dict()})
        mine, others = {}, {}
        for dotted, value in settings.items():
            if dotted not in known:
                raise unknown('setting', dotted, known)
            group, _, name = dotted.partition('.')
            (mine if group == GROUP else others)[name if group == GROUP else dotted] = value
        return Recipe(self.variant.with_settings(others), replace(self.training, **mine))

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return {'variant': self.variant.to_dict(), GROUP: self.training.to_dict()}


def load_recipe(name_or_path: str | os.PathLike) -> Recipe:
    """Read a preset of config/variants by name, or a YAML file by path. Raises SettingsError."""
    variant, training = read_preset(name_or_path)
    return Recipe(variant, from_dict(TrainingSettings, training, f'{name_or_path}: {GROUP}'))


def with_own_prompt(recipe: Recipe, backbone: str) -> Recipe:
    """Give a recipe that has none of its own the prompt that a nano VLM was pretrained with."""
    path = Path(backbone) / 'pretraining.json'
    if recipe.variant.context.prompt != ContextSettings().prompt or not path.is_file():
        return recipe
    prompt = json.loads(path.read_text())['prompt']
    say(f"context.prompt is '{prompt}', with which {backbone} was pretrained")
    return recipe.with_settings({'context.prompt': prompt})


def parse_changes(texts: Sequence[str]) -> dict[str, object]:
    """Read NAME=VALUE texts, values as in YAML. Raises SettingsError for one without a value."""
    changes = {}
    for text in texts:
        name, found, value = text.partition('=')
        require(bool(found and name), '--set', text, 'NAME=VALUE, such as head.layers=2')
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed = value
        if isinstance(parsed, str) and re.fullmatch(r'[-+]?\d+(\.\d*)?[eE][-+]?\d+', parsed):
            parsed = float(parsed)  # YAML 1.1 wants a dot in 1e-3
        changes[name.strip()] = parsed
    return changes
