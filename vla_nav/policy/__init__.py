"""(image, instruction, history) -> action chunk.

Names are imported when they are first used, so that importing this package does not import torch.
"""

import importlib

_HOME = {
    'ENGINES': 'settings',
    'ActionNormaliser': 'normaliser',
    'ActionTokens': 'action_tokens',
    'Backbone': 'backbone',
    'BackboneError': 'errors',
    'BackboneReference': 'checkpoint',
    'BatchPolicy': 'policy',
    'Checkpoint': 'checkpoint',
    'CheckpointError': 'errors',
    'ContextReader': 'context',
    'ContextSettings': 'context',
    'EngineMissing': 'onnx_engine',
    'ExportError': 'export',
    'Head': 'heads',
    'HeadSettings': 'heads',
    'InstructionError': 'errors',
    'LoraSettings': 'tune',
    'NormaliserError': 'errors',
    'Policy': 'policy',
    'PolicyError': 'errors',
    'PolicyModel': 'model',
    'SettingsError': 'errors',
    'TokenSettings': 'action_tokens',
    'Tuning': 'tune',
    'Variant': 'variant',
    'adopt_trunk': 'transfer',
    'build_head': 'heads',
    'choose_token_ids': 'action_tokens',
    'clean_instruction': 'instruction',
    'language_loss': 'model',
    'load_head': 'policy',
    'load_variant': 'variant',
    'make_head': 'model',
    'make_reader': 'model',
    'model_folders': 'locate',
    'pick_device': 'policy',
    'read_head': 'transfer',
    'resolve_model': 'locate',
    'save_checkpoint': 'checkpoint',
    'validate': 'checkpoint',
    'variant_names': 'variant',
}

__all__ = [
    'ENGINES',
    'ActionNormaliser',
    'ActionTokens',
    'Backbone',
    'BackboneError',
    'BackboneReference',
    'BatchPolicy',
    'Checkpoint',
    'CheckpointError',
    'ContextReader',
    'ContextSettings',
    'EngineMissing',
    'ExportError',
    'Head',
    'HeadSettings',
    'InstructionError',
    'LoraSettings',
    'NormaliserError',
    'Policy',
    'PolicyError',
    'PolicyModel',
    'SettingsError',
    'TokenSettings',
    'Tuning',
    'Variant',
    'adopt_trunk',
    'build_head',
    'choose_token_ids',
    'clean_instruction',
    'language_loss',
    'load_head',
    'load_variant',
    'make_head',
    'make_reader',
    'model_folders',
    'pick_device',
    'read_head',
    'resolve_model',
    'save_checkpoint',
    'validate',
    'variant_names',
]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_HOME[name]}'), name)


def __dir__() -> list[str]:
    return __all__
