"""The nano VLM: a small Idefics3 model with a tokenizer and a processor of its own.

The architecture is the one of SmolVLM (arXiv 2504.05299) at a ten-thousandth of its cost, built
and saved with transformers alone, so that the code which loads it is the code that loads any
vision-language model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vla_nav.policy.files import make_readable
from vla_nav.training.grounding import CAPTION, LOCATION_TOKENS, NOWHERE, WHERE, corpus

IMAGE = '<image>'
AROUND = '<fake_token_around_image>'
GLOBAL = '<global-img>'
SPECIAL = ('<pad>', '<bos>', '<eos>', IMAGE, AROUND, GLOBAL, '<end_of_utterance>', WHERE, CAPTION,
           NOWHERE)


@dataclass(frozen=True)
class NanoSettings:
    """The shape of the nano VLM."""

    image_size: int = 192
    """Pixels on a side; images are square."""
    patch_size: int = 16
    width: int = 192
    """Hidden size of vision tower and language model."""
    vision_layers: int = 4
    text_layers: int = 3
    vision_head_dim: int = 64
    text_head_dim: int = 32
    shuffle: int = 2
    """Pixel shuffle: shuffle^2 patches become one image token."""
    words: int = 640
    """Size of the byte-pair vocabulary, without special tokens."""

    @property
    def grid(self) -> int:
        """Patches on a side."""
        return self.image_size // self.patch_size

    @property
    def image_tokens(self) -> int:
        """Tokens that one image takes in the language model."""
        return (self.grid // self.shuffle) ** 2


def build_tokenizer(settings: NanoSettings, seed: int = 0):
    """Train a byte-level BPE tokenizer on made-up instructions; nothing is downloaded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus(seed), trainers.BpeTrainer(
        vocab_size=settings.words, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.add_special_tokens(list(LOCATION_TOKENS))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token='<pad>',
                                   bos_token='<bos>', eos_token='<eos>',
                                   clean_up_tokenization_spaces=False)


def build_model(settings: NanoSettings, tokenizer, seed: int = 0):
    """Make the model with fan-in initialisation (the default one learns too slowly: std 0.02)."""
    import torch
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration
    torch.manual_seed(seed)
    text_heads = settings.width // settings.text_head_dim
    ids = tokenizer.convert_tokens_to_ids
    special = {f'{name}_token_id': ids(f'<{name}>') for name in ('pad', 'bos', 'eos')}
    config = Idefics3Config(
        vision_config={'hidden_size': settings.width, 'intermediate_size': 4 * settings.width,
                       'num_hidden_layers': settings.vision_layers,
                       'num_attention_heads': settings.width // settings.vision_head_dim,
                       'image_size': settings.image_size, 'patch_size': settings.patch_size},
        text_config={'model_type': 'llama', 'hidden_size': settings.width,
                     'intermediate_size': 8 * settings.width // 3,
                     'num_hidden_layers': settings.text_layers, 'num_attention_heads': text_heads,
                     'num_key_value_heads': text_heads, 'head_dim': settings.text_head_dim,
                     'vocab_size': len(tokenizer), 'max_position_embeddings': 512, **special},
        scale_factor=settings.shuffle, image_token_id=ids(IMAGE), tie_word_embeddings=False,
        pad_token_id=special['pad_token_id'])
    model = Idefics3ForConditionalGeneration(config)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=module.in_features ** -0.5)
        elif isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=0.5)
    return model


def shape(config) -> NanoSettings:
    """Read the shape off the config of any Idefics3 model."""
    vision, text = config.vision_config, config.text_config
    return NanoSettings(
        vision.image_size, vision.patch_size, vision.hidden_size, vision.num_hidden_layers,
        text.num_hidden_layers, vision.hidden_size // vision.num_attention_heads, text.head_dim,
        config.scale_factor, text.vocab_size - len(LOCATION_TOKENS))


def build_processor(settings: NanoSettings, tokenizer):
    """Make the processor: one square image, no splitting, pixels to [-1, 1]."""
    from transformers import Idefics3Processor
    from transformers.models import idefics3
    kind = getattr(idefics3, 'Idefics3ImageProcessorPil', None) or idefics3.Idefics3ImageProcessor
    size = {'longest_edge': settings.image_size}
    images = kind(size=size, max_image_size=size, do_image_splitting=False,
                  image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return Idefics3Processor(images, tokenizer, image_seq_len=settings.image_tokens)


def save(model, processor, path: Path) -> None:
    """Write an ordinary Hugging Face folder (config, tokenizer, processor, safetensors)."""
    model.save_pretrained(path, safe_serialization=True)
    processor.save_pretrained(path)
    make_readable(path)
