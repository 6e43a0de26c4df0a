"""Which parameters of a backbone train, and how what they learned is stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vla_nav.policy.errors import BackboneError, CheckpointError
from vla_nav.policy.files import copy_files, read_tensors
from vla_nav.policy.registry import unknown
from vla_nav.policy.settings import require

if TYPE_CHECKING:
    import torch

    from vla_nav.policy.backbone import Backbone

TUNES = {
    'head': (),
    'lora': (),
    'connector': ('connector',),
    'vision': ('vision', 'connector'),
    'full': ('vision', 'connector', 'language'),
}
"""What trains to the parts of the backbone whose own weights change."""
ADAPTER = 'adapter'
TUNED = 'tuned.safetensors'
WEIGHTS = ('.safetensors', '.safetensors.index.json')


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adaptation of every linear layer (arXiv 2106.09685); defaults are OpenVLA's."""

    rank: int = 32
    alpha: int = 16
    dropout: float = 0.0
    init: str = 'gaussian'
    """gaussian, or default for peft's own."""
    tokens: bool = False
    """Train the embeddings of the action tokens too, in and out, where there are such tokens."""

    def __post_init__(self) -> None:
        require(1 <= self.rank <= 1024, 'lora.rank', self.rank, '1 to 1024')
        require(self.alpha >= 1, 'lora.alpha', self.alpha, 'at least 1')
        require(0 <= self.dropout < 1, 'lora.dropout', self.dropout, '0 to below 1')
        require(self.init in ('gaussian', 'default'), 'lora.init', self.init,
                'gaussian or default')


class Tuning:
    """The trainable side of a backbone; making one sets `requires_grad` on all its parameters."""

    def __init__(self, backbone: Backbone, tune: str, lora: LoraSettings | None = None,
                 words: Sequence[int] = ()):
        """words: ids of the action tokens, for `lora.tokens`."""
        from vla_nav.policy.parts import part_of

        if tune not in TUNES:
            raise unknown('tune', tune, TUNES)
        self.backbone = backbone
        self.tune = tune
        self.adapter = None
        for name, parameter in backbone.model.named_parameters():
            parameter.requires_grad_(part_of(name) in TUNES[tune])
        for part in TUNES[tune]:
            if not any(part_of(name) == part for name in self.state()):
                raise BackboneError(
                    f"backbone of type '{backbone.model_type}': no {part} parameters were found "
                    f"in it, which tune '{tune}' trains; choose another tune"
                )
        if tune == 'lora':
            self.adapter = _add_lora(backbone, lora or LoraSettings(), words)

    def parameters(self) -> list[torch.nn.Parameter]:
        """The backbone's trainable parameters (those of the head are not among them)."""
        return [p for p in self.backbone.model.parameters() if p.requires_grad]

    def state(self) -> dict[str, torch.Tensor]:
        """Name to value of every trainable parameter of the backbone."""
        return {n: p for n, p in self.backbone.model.named_parameters() if p.requires_grad}

    def save(self, folder: Path) -> None:
        """Write what was learned into a checkpoint folder.

        LoRA as `adapter/` in peft's format, a part of the backbone as `tuned.safetensors`, all of
        it as a Hugging Face folder `backbone/`.
        """
        if self.adapter is not None:
            self.adapter.save_pretrained(folder / ADAPTER, save_embedding_layers=False)
            (folder / ADAPTER / 'README.md').unlink(missing_ok=True)
        elif self.tune == 'full':
            others = [n for n in self.backbone.files if not n.endswith(WEIGHTS)]
            copy_files(self.backbone.folder, folder / 'backbone', others)
            self.backbone.model.save_pretrained(folder / 'backbone', safe_serialization=True)
        elif TUNES[self.tune]:
            from safetensors.torch import save_file

            tensors = {k: v.detach().cpu().contiguous() for k, v in self.state().items()}
            save_file(tensors, folder / TUNED)


def lora_targets(model: torch.nn.Module) -> list[str]:
    """Names of every linear layer of a model, vision too, but the output embedding."""
    from torch import nn

    head = model.get_output_embeddings()
    inside_attention = {
        child for m in model.modules() if isinstance(m, nn.MultiheadAttention)
        for child in m.modules()  # reads its projections' weights without calling them
    }
    return [
        name for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and module not in inside_attention
    ]


def load_tuned(backbone: Backbone, folder: Path) -> None:
    """Bring what `Tuning.save` wrote into a backbone: an adapter is merged into its weights."""
    if (folder / ADAPTER).is_dir():
        _merge_adapter(backbone, folder / ADAPTER)
    elif (folder / TUNED).is_file():
        path = folder / TUNED
        tensors = read_tensors(path)
        own = dict(backbone.model.named_parameters())
        for name, value in tensors.items():
            if name not in own or own[name].shape != value.shape:
                found = tuple(own[name].shape) if name in own else 'no such parameter'
                raise CheckpointError(
                    f"{path}: '{name}' is {tuple(value.shape)}, the backbone has {found}; the "
                    'checkpoint was trained on another backbone'
                )
            own[name].data.copy_(value)


def _embeddings(model: torch.nn.Module) -> list[str]:
    """Names of a model's embeddings, in and out; the first alone where they are one."""
    into, out = model.get_input_embeddings(), model.get_output_embeddings()
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(m)] for m in ([into] if into.weight is out.weight else [into, out])]


def _add_lora(backbone: Backbone, settings: LoraSettings, words: Sequence[int]):
    from peft import LoraConfig, get_peft_model

    rows = {name: list(words) for name in _embeddings(backbone.model)}
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, bias='none',
        init_lora_weights='gaussian' if settings.init == 'gaussian' else True,
        target_modules=lora_targets(backbone.model),
        trainable_token_indices=rows if settings.tokens and words else None,
    )
    # Its own record of where the base model was would be a path of this machine.
    backbone.model.name_or_path = 'backbone'
    return get_peft_model(backbone.model, config)


def _merge_adapter(backbone: Backbone, folder: Path) -> None:
    """Add the adapter's low-rank products to the weights, from its shape and tensors alone.

    peft would obey everything an adapter_config.json says, modules to import among it.
    """
    from peft import LoraConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    try:
        said = json.loads((folder / 'adapter_config.json').read_text(encoding='utf-8'))
        if said['peft_type'] != 'LORA' or said.get('use_dora') or said.get('use_rslora'):
            raise ValueError('expected plain LoRA')
        config = LoraConfig(
            r=int(said['r']), lora_alpha=int(said['lora_alpha']), bias='none',
            target_modules=[str(name) for name in said['target_modules']],
            trainable_token_indices={
                str(name): [int(row) for row in rows]
                for name, rows in (said.get('trainable_token_indices') or {}).items()} or None,
        )
        tensors = read_tensors(folder / 'adapter_model.safetensors')
        adapted = get_peft_model(backbone.model, config)
        own = {k: tuple(v.shape) for k, v in get_peft_model_state_dict(adapted).items()}
        found = {k: tuple(v.shape) for k, v in tensors.items()}
        if own != found:
            odd = sorted(set(own.items()) ^ set(found.items()))[0]
            raise ValueError(f'its tensors do not fit the backbone, first at {odd[0]} {odd[1]}')
        set_peft_model_state_dict(adapted, tensors)
        backbone.model = adapted.merge_and_unload()
    except Exception as error:
        reason = ' '.join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(
            f'{folder}: not an adapter of this backbone: {reason}; copy the checkpoint again'
        ) from error
    backbone.model.eval()
