"""The folder of a training run: what determines it, whether it is finished, and its origin."""

from __future__ import annotations

import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vla_nav import __version__
from vla_nav.policy.checkpoint import MANIFEST
from vla_nav.training.errors import TrainError
from vla_nav.training.resume import ResumeError

RUN = 'run.json'
LOCK = 'lock'
STATES = ('head', 'head_*', 'probe', 'policy')
"""Names of training states, by stage."""
LIBRARIES = ('torch', 'transformers', 'peft', 'accelerate', 'numpy', 'safetensors')


@dataclass(frozen=True)
class Run:
    """A folder with training states, logs, and run.json."""

    folder: Path

    def begin(self, settings: dict, resume: bool) -> None:
        """Begin a run, or go on with one.

        settings: everything that determines its result (JSON). Raises ResumeError where an
        unfinished run would be overwritten, where one with other settings would go on, and where
        another process is at it; TrainError for a folder of something else.
        """
        path = self.folder / RUN
        self._refuse_foreign()
        self._claim()
        before = self._read()
        settings = json.loads(json.dumps(settings))
        if resume and before is not None:
            changed = _differences(before.get('settings', {}), settings)
            if changed:
                raise ResumeError(f'{path} was begun with other settings: {"; ".join(changed)}. '
                                  'Give the same ones to go on, or leave --resume out, or choose '
                                  'another --work folder, to start afresh')
        elif before is not None and not before.get('finished') and self._states():
            raise ResumeError(f'{self.folder} holds an unfinished run; go on with it by --resume, '
                              'or delete the folder to start afresh')
        else:
            for state in self._states():
                state.unlink()
        self._write({'settings': settings, **origin(), 'finished': False})

    def state(self, name: str) -> Path:
        """The training state of one stage."""
        return self.folder / f'{name}.safetensors'

    def logs(self, name: str) -> Path:
        """The TensorBoard logs of one stage."""
        return self.folder / 'logs' / name

    def _claim(self) -> None:
        """Keep other processes out until this one ends, however it ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise ResumeError(f'{self.folder} is in use by another training that still runs; '
                                  'wait for it, stop it, or choose another --work folder'
                                  ) from None

    def _refuse_foreign(self) -> None:
        """A folder that no run began may be a checkpoint: nothing in it is replaced."""
        if (self.folder / RUN).exists():
            return
        for found in (self.folder / MANIFEST, *sorted(self.folder.glob('*.safetensors'))):
            if found.exists():
                raise TrainError(f'{found} is no part of a training run, as {self.folder} has no '
                                 f'{RUN}; choose another --work folder')

    def _states(self) -> list[Path]:
        return sorted(path for name in STATES for path in self.folder.glob(f'{name}.safetensors'))

    def finish(self) -> None:
        """Say that the run is finished: the next one may begin here."""
        self._write({**self._read(), 'finished': True})

    def _read(self) -> dict | None:
        path = self.folder / RUN
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError) as error:
            raise ResumeError(f'{path} cannot be read ({error}); delete {self.folder} to start '
                              'afresh') from None

    def _write(self, data: dict) -> None:
        temporary = self.folder / f'{RUN}.tmp'
        try:
            temporary.write_text(json.dumps(data, indent=1), encoding='utf-8')
            temporary.replace(self.folder / RUN)
        except OSError as error:
            raise TrainError(f'{self.folder / RUN} cannot be written: {error.strerror}; make room '
                             'on the disk or choose another --work folder') from None


def origin() -> dict:
    """What produced a result: versions, commit and machine."""
    return {
        'vla_nav': __version__, 'git_commit': git_commit(), 'python': platform.python_version(),
        'environment': {name: importlib.metadata.version(name) for name in LIBRARIES},
        'machine': f'{platform.system()} {platform.machine()}, {os.cpu_count()} cores',
    }


def git_commit() -> str | None:
    """The commit of this checkout, `-dirty` where files were changed; None for an installation."""
    folder = Path(__file__).parent
    try:
        inside = subprocess.run(['git', '-C', str(folder), 'ls-files', '--error-unmatch',
                                 __file__], capture_output=True)
        if inside.returncode:
            return None
        return subprocess.run(
            ['git', '-C', str(folder), 'describe', '--always', '--dirty', '--abbrev=40',
             '--exclude', '*'], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def peak_memory_bytes() -> int:
    """Most memory this process had: of the GPU where there is one, else of the machine."""
    import torch
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if platform.system() == 'Darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_name(device) -> str:
    """What a torch device is, for people."""
    import torch
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'{device.type}, {torch.get_num_threads()} threads'


def _differences(before: dict, now: dict, prefix: str = '') -> list[str]:
    """Settings that differ, with both values."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f'{prefix}{name}.')
        elif old != new:
            found.append(f'{prefix}{name} was {old!r:.60}, is {new!r:.60}')
    return found
