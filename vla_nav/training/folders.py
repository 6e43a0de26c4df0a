"""Folders for what is computed once and used by many runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

KEY = 'key.json'


def keyed_folder(root: Path, facts: dict) -> Path:
    """Return the folder for what `facts` (JSON) determine; other facts have another folder."""
    text = json.dumps(facts, sort_keys=True)
    folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / KEY).exists():
        (folder / KEY).write_text(json.dumps(facts, indent=1, sort_keys=True))
    return folder
