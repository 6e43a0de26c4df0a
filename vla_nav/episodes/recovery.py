"""Find interrupted episodes and complete them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import yaml

from vla_nav.episodes.bag import PARTIAL, RESERVE, SIDECAR, finish
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.metadata import EpisodeMetadata, wall_time
from vla_nav.episodes.repair import MAGIC, Recovered, complete


def recover(root: str | os.PathLike,
            ours: bool = False) -> tuple[list[Recovered], list[str]]:
    """Complete every interrupted episode under `root`; those being recorded are left alone.

    `root` is a folder of episodes, one bag folder, or an MCAP file. Bags that are complete are
    not touched; with `ours`, neither are those that another program began. Returns what was
    recovered, and one sentence for each bag that could not be. Raises EpisodeError if `root`
    does not exist.
    """
    root = Path(root)
    if not root.exists():
        raise EpisodeError(f'{root} does not exist; give a folder of episodes')
    done, failed = [], []
    for folder in _interrupted(root.parent if root.is_file() else root):
        if ours and folder.parent.name != PARTIAL:
            continue
        try:
            recovered = _recover_folder(folder)
        except (EpisodeError, OSError) as error:
            failed.append(str(error))
        except Exception as error:  # A damaged bag must not keep the others from being mended.
            failed.append(f'{folder}: {type(error).__name__}: {error}')
        else:
            done += [recovered] if recovered else []
    return done, failed


def _interrupted(root: Path) -> list[Path]:
    if any(root.glob('*.mcap')):
        return [] if _is_complete(root) else [root]
    partial = [path for folder in root.rglob(PARTIAL) for path in folder.iterdir()]
    bags = sorted({path.parent for path in root.rglob('*.mcap')} | set(partial))
    return [path for path in bags
            if path.parent.name == PARTIAL or not _is_complete(path)]


def _is_complete(folder: Path) -> bool:
    for path in folder.glob('*.mcap'):
        with path.open('rb') as file:
            file.seek(max(0, path.stat().st_size - len(MAGIC)))
            if file.read() != MAGIC:
                return False
    return (folder / 'metadata.yaml').exists()


def _recover_folder(folder: Path) -> Recovered | None:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    try:
        if folder.parent.name == PARTIAL and _is_empty(folder):
            shutil.rmtree(folder)
            return None
        if folder.parent.name != PARTIAL and any(
                map(_is_being_written, folder.glob('*.mcap'))):
            raise EpisodeError(f'{folder} is being written by another program; stop that first')
        if _is_complete(folder):
            result = Recovered(folder, 0, 0)
        else:
            result = complete(folder, _interrupted_metadata(folder))
        if folder.parent.name != PARTIAL:
            return result
        path = folder.parent.parent / folder.name
        if path.exists():
            raise EpisodeError(f'{folder} is complete, but {path} exists; rename one of them')
        finish(folder, path)
        return Recovered(path, result.messages, result.unreadable_bytes)
    finally:
        os.close(lock)


def _is_empty(folder: Path) -> bool:
    """Whether a recorder was interrupted before it wrote a byte of an episode."""
    return all(path.name in (SIDECAR, RESERVE) or (
        path.suffix == '.mcap' and not path.stat().st_size) for path in folder.iterdir())


def _is_being_written(path: Path) -> bool:
    """Whether a process has a file open for writing; False where that cannot be told."""
    if _may_be_leased(path):
        return False
    handle, fresh = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    try:
        return _may_be_leased(Path(fresh))  # network disks refuse it for files of nobody, too
    finally:
        os.unlink(fresh)


def _may_be_leased(path: Path) -> bool:
    """Whether the kernel leases a file for reading, which it does if nobody writes (fcntl(2))."""
    with path.open('rb') as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except (AttributeError, OSError) as error:
            return getattr(error, 'errno', None) != errno.EAGAIN
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def _interrupted_metadata(folder: Path) -> EpisodeMetadata:
    custom: dict | None = None
    with suppress(OSError, ValueError):
        custom = json.loads((folder / SIDECAR).read_text(encoding='utf-8'))
    if not custom:
        with suppress(OSError, yaml.YAMLError, KeyError, TypeError):
            text = (folder / 'metadata.yaml').read_text(encoding='utf-8')
            custom = yaml.safe_load(text)['rosbag2_bagfile_information']['custom_data']
    metadata = EpisodeMetadata.from_custom_data(custom, str(folder))
    return metadata.replace(recovered=True, stopped=metadata.stopped or wall_time(),
                            stop_reason=metadata.stop_reason or 'interrupted')
