"""Any vision-language checkpoint of transformers as a source of hidden states."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from vla_nav.policy.errors import BackboneError
from vla_nav.policy.files import FileEntry, combined_sha256, list_files
from vla_nav.policy.hub import PATTERNS
from vla_nav.policy.images import ImageReader
from vla_nav.policy.instruction import refuse_model_tokens
from vla_nav.policy.parts import blocks, hidden_size
from vla_nav.policy.prompts import PromptBuilder, Tokens, collate, extend
from vla_nav.policy.soft import SoftInputs, SoftPort

PROMPT_CACHE = 4096
"""Prompts whose tokens are kept."""


@dataclass(frozen=True)
class HiddenStates:
    """What a backbone computed for a batch of prompts."""

    layers: tuple[torch.Tensor, ...]
    """Per layer (B, L, D): the embeddings, then every block's output, the last one normalised."""
    mask: torch.Tensor
    """bool (B, L): positions that are not padding."""
    image: torch.Tensor
    """bool (B, L): positions of image tokens; none where images enter by cross-attention."""
    last: torch.Tensor
    """int64 (B,): index of the last prompt token."""


def _own_weights(model: torch.nn.Module) -> None:
    """Copy weights out of their file, which is mapped: cut short, it would end the process."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


class Backbone:
    """A vision-language model with its tokenizer and image processor.

    Build it with `Backbone.load`. `model` is the transformers model with its LM head; hidden
    states are computed by the base model under that head. Where an engine computes elsewhere, it
    is read by `weights` when it is first asked for.
    """

    def __init__(
        self, model, tokenizer, image_processor, processor=None,
        folder: Path | None = None, config=None, weights: Callable | None = None,
    ):
        if model is not None:
            self.model = model
        self._weights = weights
        self.config = model.config if config is None else config
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.folder = folder
        """Where it was read from; None for a model made in memory."""
        self.model_type = self.config.model_type
        if hasattr(image_processor, 'max_image_size'):
            # Tiles multiply the tokens by up to 17; a robot's camera is resized to one tile, and
            # not to the size from which tiles would be cut before.
            image_processor.do_image_splitting = False
            image_processor.size = image_processor.max_image_size
        tokenizer.padding_side = 'right'
        self._builder = PromptBuilder(self.model_type, self.config, tokenizer, processor)
        self._readers: dict[tuple[int, int], ImageReader] = {}
        self._prompts: dict[tuple[str, int, int], Tokens] = {}
        self._accepted: dict[type, frozenset[str]] = {}

    @classmethod
    def load(
        cls, path_or_id: str | Path, revision: str | None = None,
        dtype: str | torch.dtype | None = None, device: str | torch.device = 'cpu',
        weights: Callable | None = None,
    ) -> Backbone:
        """Load a checkpoint by local folder or hub id.

        `dtype` defaults to float32 on a CPU and bfloat16 elsewhere. Only safetensors are read
        and no code from the checkpoint is run. weights: what returns the model when it is first
        asked for, instead of loading it now. Raises BackboneError for a checkpoint that is
        missing, damaged or not a vision-language model.
        """
        from transformers import AutoModelForImageTextToText

        from vla_nav.policy import hub

        folder = hub.local_folder(path_or_id, revision)
        source = str(path_or_id)
        config = hub.load_config(folder)
        device = torch.device(device)
        if dtype is None:
            dtype = torch.float32 if device.type == 'cpu' else torch.bfloat16
        elif isinstance(dtype, str):
            dtype = _dtype(dtype)
        model = None
        if weights is None:
            with hub.refused(source, 'its weights cannot be loaded'):
                model = AutoModelForImageTextToText.from_pretrained(
                    str(folder), config=config, dtype=dtype, use_safetensors=True, **hub.OPTIONS
                )
                if device.type == 'cpu':
                    _own_weights(model)
            model.to(device).eval()
        with hub.refused(source, 'its tokenizer or image processor cannot be loaded'):
            tokenizer, images, processor = hub.load_processors(folder, config)
        return cls(model, tokenizer, images, processor, folder, config, weights)

    @cached_property
    def files(self) -> dict[str, FileEntry]:
        """Path to hash and size of each file it was read from."""
        if self.folder is None:
            raise BackboneError('this backbone was made in memory; save it, then load it')
        return list_files(self.folder, PATTERNS)

    @cached_property
    def sha256(self) -> str:
        """One hash for all its files: the key of anything computed with it."""
        return combined_sha256(self.files)

    @cached_property
    def model(self):
        """The transformers model."""
        return self._weights()

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device if 'model' in self.__dict__ else torch.device('cpu')

    @property
    def dtype(self) -> torch.dtype:
        """The floating point type of the weights."""
        return self.model.dtype if 'model' in self.__dict__ else torch.float32

    @property
    def base(self) -> torch.nn.Module:
        """The model under the LM head (the model itself where transformers has no such part)."""
        return self.model.base_model

    @cached_property
    def text_config(self):
        """The language model's configuration."""
        return self.config.get_text_config()

    @cached_property
    def width(self) -> int:
        """Size of a hidden state."""
        config = self.text_config
        for name in ('hidden_size', 'embed_dim', 'd_model'):
            if getattr(config, name, None):
                return int(getattr(config, name))
        raise BackboneError(
            f"backbone of type '{self.model_type}': its configuration has no hidden size"
        )

    @cached_property
    def layers(self) -> int:
        """Number of blocks in the language model; hidden states are indexed 0 to this."""
        config = self.text_config
        return int(getattr(config, 'num_hidden_layers', None) or config.layers)

    @cached_property
    def vision_shape(self) -> tuple[int, int]:
        """Number and size of the vision encoder's blocks."""
        found = blocks(self.model, 'vision')
        return len(found), hidden_size(found[0])

    @cached_property
    def image_token_id(self) -> int | None:
        """The id that stands for image features in a prompt, where the model has one."""
        for name in ('image_token_id', 'image_token_index'):
            if getattr(self.config, name, None) is not None:
                return int(getattr(self.config, name))
        return None

    @cached_property
    def model_tokens(self) -> frozenset[str]:
        """Tokens with a meaning to the model, which an instruction must not contain."""
        special = set(self.tokenizer.all_special_tokens)
        special |= {t.content for t in self.tokenizer.added_tokens_decoder.values() if t.special}
        special |= {'<image>', '{image}'}
        return frozenset(t for t in special if len(t) > 2 and not t.isspace())

    def reader(self, height: int, width: int) -> ImageReader:
        """The converter of frames of one size, made at its first use."""
        if (height, width) not in self._readers:
            self._readers[height, width] = ImageReader(self.image_processor, height, width)
        return self._readers[height, width]

    def prompt(self, text: str, height: int, width: int) -> Tokens:
        """Tokenise a prompt for frames of one size; computed once per text. Tensors are (1, L)."""
        key = (text, height, width)
        if key not in self._prompts:
            if len(self._prompts) >= PROMPT_CACHE:
                self._prompts.pop(next(iter(self._prompts)))
            blank = np.zeros((height, width, 3), np.uint8)
            image = self.reader(height, width)([blank])
            self._prompts[key] = self._builder(text, image, height, width)
        return self._prompts[key]

    def check_instruction(self, instruction: str) -> None:
        """Raise InstructionError where a sentence contains one of the model's own tokens."""
        refuse_model_tokens(instruction, self.model_tokens)

    @property
    def pad_id(self) -> int:
        """A token id for positions that are not looked at."""
        if self.tokenizer.pad_token_id is not None:
            return self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id or 0

    def tokens(
        self, prompts: Sequence[str], height: int, width: int,
        suffixes: Sequence[Sequence[int]] | None = None, side: str = 'right',
    ) -> Tokens:
        """Tokens of a batch of prompts, on the device: what changes with the instruction only.

        suffixes: token ids that follow each prompt; side: where the batch is padded.
        """
        rows = [self.prompt(p, height, width) for p in prompts]
        if suffixes is not None:
            rows = [extend(r, s, self.model_type) if len(s) else r for r, s in zip(rows, suffixes)]
        return {k: v.to(self.device) for k, v in collate(rows, self.pad_id, side).items()}

    def pixels(self, images: Sequence[np.ndarray]) -> Tokens:
        """Vision inputs of uint8 (H, W, 3) frames of one size, on the device."""
        outputs = self.reader(*images[0].shape[:2])(images)
        moved = {k: v.to(self.device, non_blocking=True) for k, v in outputs.items()}
        moved['pixel_values'] = moved['pixel_values'].to(self.dtype)
        if self.model_type == 'idefics':  # (B, images, 3, H, W)
            moved['pixel_values'] = moved['pixel_values'][:, None]
        return moved

    def inputs(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> Tokens:
        """A batch for the model: one frame and one prompt each, padded on the right."""
        if len(images) != len(prompts) or not len(images):
            raise BackboneError(
                f'batch: found {len(images)} images and {len(prompts)} prompts; expected as many '
                'of both, and at least one'
            )
        return {**self.tokens(prompts, *images[0].shape[:2]), **self.pixels(images)}

    def accepted(self, module: torch.nn.Module) -> frozenset[str]:
        """Names of the arguments a model's forward takes."""
        kind = type(module)
        if kind not in self._accepted:
            self._accepted[kind] = frozenset(inspect.signature(module.forward).parameters)
        return self._accepted[kind]

    def masks(self, batch: Tokens) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Positions that are not padding, positions of image tokens, index of the last token."""
        mask = batch['attention_mask'].bool()
        if 'image_embeds_position_mask' in batch:
            image = batch['image_embeds_position_mask'].bool()
        elif self.image_token_id is not None and 'image_attention_mask' not in batch:
            image = batch['input_ids'] == self.image_token_id
        else:
            image = torch.zeros_like(mask)
        return mask, image, mask.sum(1) - 1

    @cached_property
    def port(self) -> SoftPort:
        """Where vectors other than token embeddings enter the model."""
        return SoftPort(self.model, self.layers)

    def feed(self, soft: SoftInputs | None) -> None:
        """Set the vectors that the next forward pass takes beside its tokens."""
        if soft is not None or 'port' in self.__dict__:
            self.port.inputs = soft

    def hidden_states(
        self, batch: Tokens, last_layer_only: bool = False, soft: SoftInputs | None = None
    ) -> HiddenStates:
        """Hidden states of every layer (or the last alone); gradients as the caller set them."""
        base = self.base
        self.feed(soft)
        names = self.accepted(base)
        kept = {k: v for k, v in batch.items() if k in names and k != 'labels'}
        if base is self.model and 'logits_to_keep' in names:
            kept['logits_to_keep'] = 1
        headless = base is not self.model
        outputs = base(
            **kept, use_cache=False, return_dict=True,
            output_hidden_states=not (last_layer_only and headless),
        )
        if last_layer_only and headless:
            layers = (outputs.last_hidden_state,)
        else:
            layers = tuple(outputs.hidden_states)
        return HiddenStates(layers, *self.masks(batch))


def _dtype(name: str) -> torch.dtype:
    known = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
    if name not in known:
        raise BackboneError(f"dtype '{name}' is not known; expected one of {', '.join(known)}")
    return known[name]
