"""Loading the parts of a Hugging Face checkpoint: never code, never pickle, plain reasons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vla_nav.policy.errors import BackboneError
from vla_nav.policy.files import MANIFEST
from vla_nav.policy.prompts import LAYOUTS

PATTERNS = ('*.jinja', '*.json', '*.model', '*.safetensors', '*.txt')
"""The files of a checkpoint that are read; nothing else is downloaded, hashed or copied."""
ATTENTIONS = ('eager', 'sdpa')
"""Kinds of attention that run no code but torch's and transformers'."""
OPTIONS = {'trust_remote_code': False, 'local_files_only': True}
"""Arguments every from_pretrained call gets."""


def local_folder(path_or_id: str | Path, revision: str | None) -> Path:
    """Return the folder of a checkpoint; a hub id is downloaded first (or found in the cache)."""
    source = str(path_or_id)
    path = Path(source).expanduser()
    if path.is_dir():
        if (path / 'adapter_config.json').exists():
            raise BackboneError(
                f"backbone '{source}': found a peft adapter in it, expected a whole model; merge "
                'the adapter into its base model first'
            )
        if (path / MANIFEST).exists():
            backbone = path / 'backbone'
            raise BackboneError(
                f"backbone '{source}': that is a policy, expected the vision-language model in it;"
                + (f' give {backbone}' if backbone.is_dir() else
                   f" {path / MANIFEST} says at 'backbone' where that is")
            )
        return path
    if path.exists():
        raise BackboneError(f"backbone '{source}': found a file, expected a folder or a hub id")
    if isinstance(path_or_id, Path) or source.startswith(('.', '/', '~')) or source.count('/') > 1:
        raise BackboneError(
            f"backbone '{source}': there is no such folder; give a Hugging Face folder or hub id"
        )
    return snapshot(source, revision)


def snapshot(repo: str, revision: str | None) -> Path:
    """Return the folder of a hub id, downloaded first (or found in the cache)."""
    from huggingface_hub import snapshot_download

    with refused(repo, 'it is no folder here and cannot be fetched from the hub'):
        patterns = list(PATTERNS)
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))


@contextmanager
def refused(source: str, what: str) -> Iterator[None]:
    """Turn whatever a library raises while loading into a BackboneError naming the checkpoint."""
    try:
        yield
    except BackboneError:
        raise
    except Exception as error:
        reason = ' '.join(str(error).split())[:300] or type(error).__name__
        raise BackboneError(
            f"backbone '{source}': {what}: {reason}; expected a Hugging Face folder or hub id of "
            'a vision-language model with safetensors weights'
        ) from error


def load_config(folder: Path):
    """Read a checkpoint's configuration; refuse what is not a vision-language model."""
    import transformers
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    source = str(folder)
    with refused(source, 'its configuration cannot be read'):
        config = AutoConfig.from_pretrained(source, **OPTIONS)
    saved, here = getattr(config, 'transformers_version', None), transformers.__version__
    if saved and int(saved.split('.')[0]) > int(here.split('.')[0]):
        # Those of the other major version have other names for settings, which would be ignored.
        raise BackboneError(
            f"backbone '{source}' was saved by transformers {saved}, and {here} would read it "
            f"otherwise; pip install 'transformers>={saved.split('.')[0]}'"
        )
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise BackboneError(
            f"backbone '{source}' is of type '{config.model_type}', which is not a "
            'vision-language model; expected one that AutoModelForImageTextToText loads, such as '
            'idefics3, smolvlm, paligemma, qwen2_5_vl, qwen3_vl, llava or kosmos-2'
        )
    if config.model_type == 'paligemma' and int(here.split('.')[0]) < 5:
        # There the tokens of a prompt see those of the answer that a policy is to learn.
        raise BackboneError(
            f"backbone '{source}' is of type 'paligemma', which transformers {here} computes "
            "otherwise than 5; pip install 'transformers>=5'"
        )
    for attention in _attentions(config):
        if attention not in ATTENTIONS:
            raise BackboneError(
                f"backbone '{source}': its configuration has attn_implementation '{attention}', "
                'which may be code from a hub and is not run; expected one of '
                f'{", ".join(ATTENTIONS)}, or remove that entry'
            )
    return config


def _attentions(config) -> Iterator[str]:
    """The kinds of attention that a configuration and its parts name, wherever they have it from.

    transformers would fetch code for some from a hub, flash attention too if it is not installed.
    """
    from transformers import PretrainedConfig

    if config._attn_implementation is not None:
        yield str(config._attn_implementation)
    for part in vars(config).values():
        if isinstance(part, PretrainedConfig):
            yield from _attentions(part)


def load_processors(folder: Path, config):
    """Return (tokenizer, image processor, processor or None where ours lays out the tokens)."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    source = str(folder)
    if config.model_type not in LAYOUTS:
        processor = AutoProcessor.from_pretrained(source, **OPTIONS)
        if not hasattr(processor, 'image_processor') or not hasattr(processor, 'tokenizer'):
            raise BackboneError(
                f"backbone '{source}': found a {type(processor).__name__}, expected a processor "
                'of images and text (processor_config.json, preprocessor_config.json)'
            )
        return processor.tokenizer, processor.image_processor, processor
    tokenizer = AutoTokenizer.from_pretrained(source, **OPTIONS)
    return tokenizer, AutoImageProcessor.from_pretrained(source, **OPTIONS), None
