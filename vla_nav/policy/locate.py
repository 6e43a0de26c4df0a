"""Finding a model folder by its name."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from vla_nav.policy.errors import CheckpointError
from vla_nav.share import ShareError, share_root

VARIABLE = 'VLA_NAV_MODELS'
"""Environment variable: further folders of models, separated as in PATH."""


def model_folders() -> list[Path]:
    """Folders that hold models, in the order they are searched."""
    folders = [Path(p) for p in os.environ.get(VARIABLE, '').split(os.pathsep) if p]
    folders.append(Path('models'))
    try:
        folders.append(share_root() / 'models')
    except ShareError:
        pass
    return folders


def resolve_model(name_or_path: str | os.PathLike) -> Path:
    """Return the folder of a model given by path, or by name as found in `model_folders`.

    Raises CheckpointError, with the places searched and the nearest name, where there is none.
    """
    text = os.fspath(name_or_path)
    if not text.strip():
        raise CheckpointError('model: the name is empty; give the name or the folder of a model')
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    is_name = len(path.parts) == 1 and text not in ('.', '..')
    if not is_name:
        kind = 'a file' if path.exists() else 'nothing'
        raise CheckpointError(f"model '{text}': found {kind} there, expected a checkpoint folder")
    folders = model_folders()
    for folder in folders:
        if (folder / text).is_dir():
            return folder / text
    names = sorted({p.name for f in folders if f.is_dir() for p in f.iterdir() if p.is_dir()})
    near = difflib.get_close_matches(text, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ''
    raise CheckpointError(
        f"model '{text}': not found{hint} (searched {', '.join(map(str, folders))}; found "
        f'{", ".join(names) or "no model at all"}). Give its folder, or set ${VARIABLE}'
    )
