"""Real disks of a given size and speed, for root on Linux."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

THROTTLE = Path('/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device')


class NoDiskError(Exception):
    """Such a disk cannot be made here."""


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int):
    """A tmpfs of this size."""
    disk = folder / 'small_disk'
    disk.mkdir(parents=True)
    _run('mount', '-t', 'tmpfs', '-o', f'size={megabytes}m', 'tmpfs', str(disk))
    try:
        yield disk
    finally:
        _run('umount', '--lazy', str(disk))


@contextlib.contextmanager
def slow_disk(folder: Path, bytes_per_s: int, megabytes: int = 256):
    """An ext4 file system on a loop device that the kernel throttles (cgroup v1, blkio)."""
    if not THROTTLE.exists():
        raise NoDiskError(f'{THROTTLE} is not there (control groups of version 1)')
    disk, image = folder / 'slow_disk', folder / 'slow.img'
    disk.mkdir(parents=True)
    with image.open('wb') as file:
        file.truncate(megabytes * 2**20)
    loop = _run('losetup', '--find', '--show', str(image)).strip()
    device = Path('/sys/block', Path(loop).name, 'dev').read_text().strip()
    try:
        _run('mkfs.ext4', '-q', '-O', '^has_journal', loop)
        _run('mount', loop, str(disk))
        try:
            THROTTLE.write_text(f'{device} {bytes_per_s}')
            yield disk
        finally:
            THROTTLE.write_text(f'{device} 0')
            _run('umount', '--lazy', str(disk))
    finally:
        _run('losetup', '--detach', loop)
        image.unlink()


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoDiskError(f'{command[0]}: {getattr(error, "stderr", "") or error}') from None
