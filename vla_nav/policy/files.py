"""The files of a checkpoint folder: listed, hashed, and kept inside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vla_nav.policy.errors import CheckpointError

if TYPE_CHECKING:
    import torch

MANIFEST = 'policy.json'
"""What a checkpoint says of itself, the hashes of its other files among it."""
PICKLES = frozenset(
    {'.bin', '.ckpt', '.dill', '.joblib', '.npy', '.npz', '.pickle', '.pkl', '.pt', '.pth', '.py'}
)
"""Kinds of file that hold, or may hold, code; a checkpoint has no use for any of them."""
MODEL_FILES = ('backbone/**/*', 'adapter/**/*', '*.safetensors')
"""Files of a checkpoint that change what is loaded, listed or not."""
QUICK_BYTES = 64 * 2**20
"""Files up to this size are hashed even by a quick check."""


@dataclass(frozen=True)
class FileEntry:
    """What a checkpoint says of one of its files."""

    sha256: str
    size: int


def sha256_of(path: Path) -> str:
    """Hash a file, as a hexadecimal string."""
    digest = hashlib.sha256()
    with open(path, 'rb') as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def list_files(root: Path, patterns: tuple[str, ...] = ('*',)) -> dict[str, FileEntry]:
    """Describe the files of a folder that match, by their path relative to it, in order."""
    found = sorted({p for pattern in patterns for p in root.rglob(pattern) if p.is_file()})
    return {
        p.relative_to(root).as_posix(): FileEntry(sha256_of(p), p.stat().st_size) for p in found
    }


def combined_sha256(files: dict[str, FileEntry]) -> str:
    """One hash of a list of files: their names and contents."""
    lines = ''.join(f'{entry.sha256}  {name}\n' for name, entry in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def confined(root: Path, relative: str, inside: Path | None = None) -> Path:
    """Resolve a path a checkpoint names; raises CheckpointError where it leaves the folder.

    inside: how far a link may lead; `root` unless said.
    """
    pure = PurePosixPath(relative)
    if not relative or pure.is_absolute() or '..' in pure.parts or '\\' in relative:
        raise CheckpointError(
            f"{root / MANIFEST}: it names the file '{relative}', which is outside the "
            'checkpoint folder; expected paths within it. Do not use this checkpoint'
        )
    path = root / pure
    real_root = (inside or root).resolve()
    if not path.resolve().is_relative_to(real_root):
        raise CheckpointError(
            f'{path}: it is a link to {path.resolve()}, outside the checkpoint folder; put the '
            'file itself there'
        )
    return path


def refuse_pickles(root: Path) -> None:
    """Raise CheckpointError where a folder contains a kind of file that can run code."""
    for path in sorted(root.rglob('*')):
        if path.suffix.lower() in PICKLES:
            raise CheckpointError(
                f'{path}: files of type {path.suffix} can run code when they are read and are '
                'never loaded; expected safetensors and JSON only. Remove it, or convert it'
            )


def verify(
    root: Path, files: dict[str, FileEntry], quick: bool, complete: Iterable[str] = MODEL_FILES,
    inside: Path | None = None,
) -> None:
    """Compare a folder with its list: nothing missing, cut or changed, and nothing added.

    quick: hash small files only and trust the size of large ones. complete: patterns of files of
    which none may be there that is not listed. inside: as for `confined`.
    """
    for relative, entry in files.items():
        path = confined(root, relative, inside)
        try:
            if not path.is_file():
                raise CheckpointError(
                    f'{path}: it is missing (policy.json lists it, {entry.size} bytes); copy the '
                    'checkpoint again, or train it again'
                )
            size = path.stat().st_size
            if size != entry.size:
                kind = 'truncated' if size < entry.size else 'changed'
                raise CheckpointError(
                    f'{path}: it is {kind}: found {size} bytes, expected {entry.size}; copy the '
                    'checkpoint again'
                )
            if quick and size > QUICK_BYTES:
                continue
            found = sha256_of(path)
        except OSError as error:
            raise CheckpointError(
                f'{path}: cannot be read: {error.strerror}; check its permissions'
            ) from None
        if found != entry.sha256:
            raise CheckpointError(
                f'{path}: wrong hash: found sha256 {found[:16]}..., expected '
                f'{entry.sha256[:16]}...; the file was changed after training, copy the '
                'checkpoint again'
            )
    _refuse_unlisted(root, files, complete)


def _refuse_unlisted(root: Path, files: dict[str, FileEntry], complete: Iterable[str]) -> None:
    for pattern in complete:
        for path in sorted(root.glob(pattern)):
            if not path.is_dir() and path.relative_to(root).as_posix() not in files:
                raise CheckpointError(
                    f'{path}: policy.json does not list it, and an added file can change what is '
                    'loaded; remove it'
                )


Stamp = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """What changes when a file is written or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file into memory: a mapped one, cut short, would end the process.

    Raises CheckpointError.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f'{path}: not a safetensors file: {error}; copy the checkpoint again'
        ) from None


def write_json(path: Path, data: object) -> None:
    """Write indented JSON that ends with a newline; refuses numbers JSON has no name for."""
    text = json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False)
    path.write_text(text + '\n', encoding='utf-8')


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy files of a folder, making the folders they need."""
    for name in names:
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, copy)


def make_readable(folder: Path) -> None:
    """Let everybody read a folder: a robot's service may be another user.

    Temporary folders, and files that safetensors writes, are their owner's alone.
    """
    for path in (folder, *folder.rglob('*')):
        path.chmod(0o755 if path.is_dir() else 0o644)


def replace_folder(temporary: Path, target: Path) -> None:
    """Put a finished folder in the place of an older one, which stays if anything fails."""
    make_readable(temporary)
    if not target.exists():
        os.replace(temporary, target)
        return
    old = Path(tempfile.mkdtemp(prefix=f'.{target.name}.old.', dir=target.parent))
    os.replace(target, old / target.name)
    try:
        os.replace(temporary, target)
    except BaseException:
        os.replace(old / target.name, target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
