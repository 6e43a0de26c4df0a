"""The base of every error that vla_nav raises on purpose, and words for a missing package."""

import sys

EXTRAS = {'onnxruntime': 'cpu', 'rerun': 'view',
          **dict.fromkeys(('av', 'matplotlib', 'mujoco'), 'sim'),
          **dict.fromkeys(('accelerate', 'onnx', 'onnxscript', 'pyarrow', 'tensorboardX'),
                          'train')}
"""Module to the extra of this package that brings it; some are in several."""


class VlaNavError(Exception):
    """Bad input: the message names what, what was found, what was expected and what to do."""


def not_installed(error: ModuleNotFoundError) -> str:
    """Say which package is missing, and what to do."""
    package = str(error.name).partition('.')[0]
    if package in EXTRAS:
        return f"{package} is not installed; pip install 'vla_nav[{EXTRAS[package]}]'"
    return (f'{package} is not installed for {sys.executable}; activate the environment that '
            'vla_nav was installed in, or see docs/ros.md, Install. `vla_nav doctor` says what '
            'else is missing')
