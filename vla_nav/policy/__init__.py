"""(image, instruction, history) -> action chunk.

Names are imported when they are first used, so that importing this package does not import torch.
"""

import importlib

_HOME = {
    'ActionNormaliser': 'normaliser',
    'Backbone': 'backbone',
    'BackboneError': 'errors',
    'BackboneReference': 'checkpoint',
    'BatchPolicy': 'policy',
    'Checkpoint': 'checkpoint',
    'CheckpointError': 'errors',
    'ContextReader': 'context',
    'ContextSettings': 'context',
    'Head': 'heads',
    'HeadSettings': 'heads',
    'InstructionError': 'errors',
    'NormaliserError': 'errors',
    'Policy': 'policy',
    'PolicyError': 'errors',
    'SettingsError': 'errors',
    'Variant': 'variant',
    'build_head': 'heads',
    'clean_instruction': 'instruction',
    'load_head': 'policy',
    'load_variant': 'variant',
    'model_folders': 'locate',
    'pick_device': 'policy',
    'resolve_model': 'locate',
    'save_checkpoint': 'checkpoint',
    'validate': 'checkpoint',
    'variant_names': 'variant',
}

__all__ = [
    'ActionNormaliser',
    'Backbone',
    'BackboneError',
    'BackboneReference',
    'BatchPolicy',
    'Checkpoint',
    'CheckpointError',
    'ContextReader',
    'ContextSettings',
    'Head',
    'HeadSettings',
    'InstructionError',
    'NormaliserError',
    'Policy',
    'PolicyError',
    'SettingsError',
    'Variant',
    'build_head',
    'clean_instruction',
    'load_head',
    'load_variant',
    'model_folders',
    'pick_device',
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
