"""Backbones of real shapes with random weights: speed does not depend on what they learned.

Tokenizer and image settings are small ones, made from those of a backbone on disk.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from vla_nav.policy import Backbone
from vla_nav.policy.hub import load_processors

SMOLVLM_256M = {
    'vision_config': {
        'hidden_size': 768, 'intermediate_size': 3072, 'num_hidden_layers': 12,
        'num_attention_heads': 12},
    'text_config': {
        'hidden_size': 576, 'intermediate_size': 1536, 'num_hidden_layers': 30,
        'num_attention_heads': 9, 'num_key_value_heads': 3, 'head_dim': 64, 'vocab_size': 49280},
}
"""Of SmolVLM-256M (SigLIP base, SmolLM2-135M), on images of the base's size."""
PALIGEMMA_3B = {
    'vision_config': {
        'model_type': 'siglip_vision_model', 'hidden_size': 1152, 'intermediate_size': 4304,
        'num_hidden_layers': 27, 'num_attention_heads': 16, 'patch_size': 14, 'image_size': 224,
        'vision_use_head': False},
    'text_config': {
        'model_type': 'gemma', 'hidden_size': 2048, 'intermediate_size': 16384,
        'num_hidden_layers': 18, 'num_attention_heads': 8, 'num_key_value_heads': 1,
        'head_dim': 256, 'vocab_size': 257216},
}
"""Of PaliGemma-3B at 224 pixels (SigLIP so400m, Gemma-2B)."""


def like(base: Path, shape: Mapping, folder: Path) -> Backbone:
    """An Idefics3 with the tokenizer and images of `base`, and other sizes."""
    config = json.loads((base / 'config.json').read_text(encoding='utf-8'))
    for part, sizes in shape.items():
        config[part] |= sizes
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns('*.safetensors'))
    (folder / 'config.json').write_text(json.dumps(config), encoding='utf-8')
    return _random(folder)


def paligemma(base: Path, shape: Mapping, folder: Path, device: str, dtype: torch.dtype
              ) -> Backbone:
    """A PaliGemma of the given sizes, its tokenizer that of `base`."""
    from transformers import AutoImageProcessor, AutoTokenizer, PaliGemmaConfig, PaliGemmaProcessor

    tokenizer = AutoTokenizer.from_pretrained(base)
    vision, text = shape['vision_config'], shape['text_config']
    side = vision['image_size']
    folder.mkdir()
    (folder / 'preprocessor_config.json').write_text(json.dumps({
        'image_processor_type': 'SiglipImageProcessor', 'size': {'height': side, 'width': side},
        'image_seq_length': (side // vision['patch_size']) ** 2}), encoding='utf-8')
    images = AutoImageProcessor.from_pretrained(folder)
    images.image_seq_length = (side // vision['patch_size']) ** 2
    PaliGemmaProcessor(images, tokenizer).save_pretrained(folder)
    PaliGemmaConfig(
        vision_config={**vision, 'projection_dim': text['hidden_size']},
        text_config={**text, 'pad_token_id': tokenizer.pad_token_id},
        projection_dim=text['hidden_size'], hidden_size=text['hidden_size'],
        image_token_index=tokenizer.convert_tokens_to_ids('<image>'),
    ).save_pretrained(folder)
    return _random(folder, device, dtype)


def _random(folder: Path, device: str = 'cpu', dtype: torch.dtype = torch.float32) -> Backbone:
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(folder)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    model.eval().requires_grad_(False)
    return Backbone(model, *load_processors(folder, config), folder)
