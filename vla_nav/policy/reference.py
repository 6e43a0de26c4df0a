"""Where a checkpoint's backbone is: inside it, in a checkpoint beside it, or on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vla_nav.errors import VlaNavError
from vla_nav.policy.errors import CheckpointError
from vla_nav.policy.files import (
    MANIFEST,
    FileEntry,
    combined_sha256,
    confined,
    refuse_pickles,
    verify,
)

BACKBONE = 'backbone'
"""Folder of an embedded backbone."""
_HUB_ID = re.compile(r'\w[\w.-]*(/\w[\w.-]*)?')


@dataclass(frozen=True)
class BackboneReference:
    """Where a checkpoint's backbone is; exactly one of path, model and repo is given."""

    files: dict[str, FileEntry]
    """Hash and size of every file of the backbone."""
    path: str | None = None
    """Folder inside the checkpoint."""
    model: str | None = None
    """Name of a checkpoint beside this one, whose embedded backbone is used."""
    repo: str | None = None
    """Hub id."""
    revision: str | None = None
    """Commit of the hub repository."""

    @property
    def sha256(self) -> str:
        """One hash for all files."""
        return combined_sha256(self.files)

    @property
    def label(self) -> str:
        """What it is, for people."""
        return self.path or self.model or f'{self.repo}@{self.revision}'

    def folder(self, root: Path, quick: bool = False) -> Path:
        """As `place`, verified. That of an embedded backbone is, by the checkpoint's own list."""
        from vla_nav.policy.hub import PATTERNS

        place = self.place(root, quick)
        if self.model is not None:
            refuse_pickles(place)
            verify(place, self.files, quick, ['**/*'])
        elif self.repo is not None and not quick:
            # The cache of the hub has links from snapshots/<revision>/ to blobs/.
            verify(place, self.files, quick, [f'**/{pattern}' for pattern in PATTERNS],
                   inside=place.parents[1])
        return place

    def place(self, root: Path, quick: bool = False) -> Path:
        """The backbone's folder, for the checkpoint in `root`; the hub is asked unless quick."""
        if self.path is not None:
            return confined(root, self.path)
        if self.model is not None:
            place = root.parent / self.model / BACKBONE
            if not place.is_dir():
                raise CheckpointError(
                    f"{root}: its backbone is that of model '{self.model}', expected in {place}, "
                    'and it is gone; copy that model there too'
                )
            return place
        if quick:
            return Path(self.repo)
        from vla_nav.policy.hub import snapshot

        try:
            return snapshot(self.repo, self.revision)
        except VlaNavError as error:
            raise CheckpointError(
                f'{root}: its backbone is gone: {error}; connect to the network once, or copy '
                'the Hugging Face cache'
            ) from None


def read_reference(data: object, root: Path) -> BackboneReference:
    """Read what policy.json in `root` says of the backbone. Raises CheckpointError."""
    places = ('path', 'model', 'repo')
    if not isinstance(data, dict) or sum(isinstance(data.get(p), str) for p in places) != 1:
        raise CheckpointError(
            f"{root / MANIFEST}: 'backbone' is {data!r:.80}; expected exactly one of "
            f'{", ".join(places)}'
        )
    if data.get('path') is not None:
        confined(root, data['path'])
    name, repo = data.get('model'), data.get('repo')
    if name is not None and (name == '..' or Path(name).name != name):
        raise CheckpointError(
            f"{root / MANIFEST}: 'backbone.model' is '{name}'; expected the name of a "
            'checkpoint beside this one'
        )
    if repo is not None and not _HUB_ID.fullmatch(repo):
        raise CheckpointError(
            f"{root / MANIFEST}: 'backbone.repo' is '{repo:.80}'; expected a Hugging Face id, as "
            'owner/name'
        )
    return BackboneReference(
        read_entries(data, 'files', root), **{k: data.get(k) for k in (*places, 'revision')}
    )


def read_entries(data: dict, key: str, root: Path) -> dict[str, FileEntry]:
    """Read hashes and sizes of files, whose names must stay inside `root`."""
    try:
        entries = {
            str(name): FileEntry(str(e['sha256']), int(e['size'])) for name, e in data[key].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError):
        raise CheckpointError(
            f"{root / MANIFEST}: '{key}' is missing or malformed; expected for each file its "
            'sha256 and size'
        ) from None
    for name in entries:
        confined(root, name)
    return entries
