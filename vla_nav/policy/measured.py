"""Adds measured figures to a checkpoint and its model card."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from vla_nav.policy.card import model_card
from vla_nav.policy.checkpoint import ENGINE, MANIFEST, Checkpoint
from vla_nav.policy.files import copy_files, list_files, replace_folder, write_json

CARD = 'README.md'


def record_measured(path: Path, figures: Mapping, notes: str | None = None) -> Checkpoint:
    """Add figures (and notes) to a checkpoint's provenance; its weights stay as they are.

    The folder is rewritten under a temporary name, then renamed. Raises CheckpointError where
    the checkpoint is not in order.
    """
    checkpoint = Checkpoint.open(path, quick=True)
    root = checkpoint.path
    provenance = {**checkpoint.provenance,
                  'measured': {**checkpoint.provenance.get('measured', {}), **figures}}
    if notes is not None:
        provenance['notes'] = notes
    temporary = Path(tempfile.mkdtemp(prefix=f'.{root.name}.', dir=root.parent))
    try:
        copy_files(root, temporary, [name for name in checkpoint.files if name != CARD])
        if (root / ENGINE).is_dir():
            shutil.copytree(root / ENGINE, temporary / ENGINE)
        card = model_card(replace(checkpoint, provenance=provenance))
        (temporary / CARD).write_text(card, encoding='utf-8')
        manifest = json.loads((root / MANIFEST).read_text(encoding='utf-8'))
        manifest['provenance'] = provenance
        manifest['files'] = {
            name: asdict(entry) for name, entry in list_files(temporary).items()
            if not name.startswith(f'{ENGINE}/')
        }
        write_json(temporary / MANIFEST, manifest)
        Checkpoint.open(temporary, quick=True)
        replace_folder(temporary, root)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Checkpoint.open(root, quick=True)
