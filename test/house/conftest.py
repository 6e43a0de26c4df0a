"""The checkout, its tracked files, and a wheel built from them."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session')
def root():
    """Return the root of the checkout."""
    return ROOT


@pytest.fixture(scope='session')
def tracked():
    """Return the files Git knows, relative to the root."""
    if not (ROOT / '.git').exists():
        pytest.skip('not a Git checkout: no list of tracked files')
    listing = subprocess.run(
        ['git', 'ls-files', '-z'], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in listing.split('\0') if name and (ROOT / name).is_file()]


@pytest.fixture(scope='session')
def copy(tracked, tmp_path_factory):
    """Return a copy of the tracked files, so that a build leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp('checkout')
    for path in tracked:
        target = copy / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target)
    return copy


@pytest.fixture(scope='session')
def wheel(copy, tmp_path_factory):
    """Return the path of a wheel, built as pip builds it but without a download."""
    folder = tmp_path_factory.mktemp('wheel')
    built = subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation',
         '--wheel-dir', folder, copy],
        capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return next(folder.glob('vla_nav-*.whl'))


@pytest.fixture(scope='session')
def wheel_files(wheel):
    """Return the names of the files in the wheel."""
    with ZipFile(wheel) as archive:
        return set(archive.namelist())
