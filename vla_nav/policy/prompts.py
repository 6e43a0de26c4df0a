"""Prompt text to the token tensors of a vision-language model.

`transformers` processors do this where they can. Some of them cannot be built without optional
packages for video (SmolVLM, Qwen-VL), and Idefics' fetches any prompt that looks like a URL: for
these families the image tokens are laid out here, as their processors document it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from vla_nav.policy.errors import BackboneError

IMAGE = '{image}'
"""Where a prompt text wants the image."""

Tokens = dict[str, torch.Tensor]
Layout = Callable[[object, object, dict, str], Tokens]


def idefics3_layout(tokenizer, config, image: dict, text: str) -> Tokens:
    """One unsplit image of Idefics3 and SmolVLM: `<fake><global-img><image>*n<fake>`."""
    height, width = image['pixel_values'].shape[-2:]
    vision = config.vision_config
    patches = (height // vision.patch_size) * (width // vision.patch_size)
    token = tokenizer.convert_ids_to_tokens(config.image_token_id)
    fake = '<fake_token_around_image>'
    block = f'{fake}<global-img>{token * (patches // config.scale_factor**2)}{fake}'
    return _tokenise(tokenizer, _place(text, block, token))


def qwen_layout(tokenizer, config, image: dict, text: str) -> Tokens:
    """Qwen-VL: `<|vision_start|><|image_pad|>*n<|vision_end|>`, n from the patch grid."""
    merge = config.vision_config.spatial_merge_size
    count = int(image['image_grid_thw'].prod()) // merge**2
    start, token, end = tokenizer.convert_ids_to_tokens(
        [config.vision_start_token_id, config.image_token_id, config.vision_end_token_id]
    )
    tokens = _tokenise(tokenizer, _place(text, f'{start}{token * count}{end}', token))
    tokens['mm_token_type_ids'] = (tokens['input_ids'] == config.image_token_id).long()
    return tokens


def idefics_layout(tokenizer, config, image: dict, text: str) -> Tokens:
    """Idefics, which attends to the image from the place of its token on (cross-attention)."""
    token = '<image>'
    fake = '<fake_token_around_image>'
    text = tokenizer.bos_token + _place(text, f'{fake}{token}{fake}', token)
    tokens = _tokenise(tokenizer, text, add_special_tokens=False)
    seen = (tokens['input_ids'] == tokenizer.convert_tokens_to_ids(token)).cumsum(1) > 0
    tokens['image_attention_mask'] = seen.long()[..., None]  # (1, L, images)
    return tokens


LAYOUTS: dict[str, Layout] = {
    'idefics': idefics_layout,
    'idefics3': idefics3_layout,
    'qwen2_5_vl': qwen_layout,
    'qwen2_vl': qwen_layout,
    'qwen3_vl': qwen_layout,
    'smolvlm': idefics3_layout,
}
"""Model type to layout, for the families whose processors are not used."""


class PromptBuilder:
    """Turns prompt texts into token tensors of batch size 1, for one image size."""

    def __init__(self, model_type: str, config, tokenizer, processor=None):
        self.config = config
        self.tokenizer = tokenizer
        self.processor = processor
        self.layout = LAYOUTS.get(model_type)
        if self.layout is None and processor is None:
            raise BackboneError(
                f"backbone of type '{model_type}': its processor cannot be loaded here and its "
                f'image token layout is not known (known: {", ".join(sorted(LAYOUTS))}); install '
                'what its processor asks for, or choose another backbone'
            )

    def __call__(self, text: str, image: dict, height: int, width: int) -> Tokens:
        """Tokenise a prompt; `image` is what the image processor made of one frame."""
        if self.layout is not None:
            return self.layout(self.tokenizer, self.config, image, text)
        marker = str(getattr(self.processor, 'image_token', '') or '')
        blank = np.zeros((height, width, 3), np.uint8)
        outputs = self.processor(
            images=[blank], text=[_place(text, marker, marker)], return_tensors='pt'
        )
        dropped = {*image, 'labels'}
        return {k: v for k, v in outputs.items() if k not in dropped and torch.is_tensor(v)}


SUFFIX_VALUES: dict[str, dict[str, int]] = {'paligemma': {'token_type_ids': 1}}
"""Model type to what marks positions after the prompt: PaliGemma's prompt is bidirectional."""


def extend(prompt: Tokens, ids: Sequence[int], model_type: str) -> Tokens:
    """Append tokens to a prompt of batch size 1; what is said per position goes on as it ended."""
    count = len(ids)
    marks = SUFFIX_VALUES.get(model_type, {})

    def longer(key: str, tensor: torch.Tensor) -> torch.Tensor:
        if key == 'input_ids':
            more = torch.tensor([list(ids)], dtype=tensor.dtype, device=tensor.device)
        elif key in marks:
            more = tensor.new_full((1, count), marks[key])
        else:
            more = tensor[:, -1:].expand(1, count, *tensor.shape[2:])
        return torch.cat([tensor, more], dim=1)

    return {key: longer(key, tensor) for key, tensor in prompt.items()}


def collate(prompts: Sequence[Tokens], pad_id: int, side: str = 'right') -> Tokens:
    """Stack prompts of different lengths, padded on one side.

    On the right, positions are those of the unpadded prompt in every architecture, so a batch
    gives the same numbers as its members alone; the last token is found by index. On the left is
    for generation, where transformers counts the positions itself.
    """
    length = max(p['input_ids'].shape[1] for p in prompts)
    if len(prompts) == 1:
        return dict(prompts[0])

    def padded(key: str, tensor: torch.Tensor) -> torch.Tensor:
        shape = list(tensor.shape)
        shape[1] = length - shape[1]
        padding = tensor.new_full(shape, pad_id if key == 'input_ids' else 0)
        return torch.cat([tensor, padding] if side == 'right' else [padding, tensor], dim=1)

    return {key: torch.cat([padded(key, p[key]) for p in prompts]) for key in prompts[0]}


def _place(text: str, block: str, marker: str) -> str:
    """Put the image block where the text wants it: at `{image}`, at the marker, or in front."""
    if IMAGE in text:
        return text.replace(IMAGE, block, 1)
    if marker and marker in text:
        return text.replace(marker, block, 1)
    return block + text


def _tokenise(tokenizer, text: str, **options) -> Tokens:
    outputs = tokenizer([text], return_tensors='pt', **options)
    return {'input_ids': outputs['input_ids'], 'attention_mask': outputs['attention_mask']}
