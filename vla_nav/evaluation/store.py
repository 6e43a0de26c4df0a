"""Results kept in a folder, so that an interrupted comparison goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.rollout import Attempt


class Store:
    """Each result lies under the hash of everything that determines it: its key.

    Keys are plain data; `sha256` in them says of which model.
    """

    def __init__(self, root: Path) -> None:
        """Raises EvaluationError where nothing can be written."""
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            raise _unwritable(root, error) from None

    def get(self, kind: str, key: dict, make: Callable[[], dict]) -> dict:
        """Return what was kept of a kind, or make it and keep it; plain data."""
        path = self._path(kind, key, '.json')
        try:
            return json.loads(path.read_text(encoding='utf-8'))['result']
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (ValueError, KeyError, TypeError):
            path.unlink()  # cut off or changed by hand
        except OSError as error:
            raise EvaluationError(f'cannot read {path}: {error.strerror}; check its permissions'
                                  ) from None
        result = make()
        write_text(path, json.dumps({'key': key, 'result': result}))
        return result

    def keys(self, kind: str) -> list[dict]:
        """Of all results of a kind."""
        found = []
        for path in sorted(self.root.glob(f'{kind}/*.json')):
            try:
                found.append(json.loads(path.read_text(encoding='utf-8'))['key'])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # `get` says what is wrong with it, should it be needed
        return found

    def attempts(self, key: dict) -> AttemptLog:
        """The attempts made so far under a key."""
        return AttemptLog(self._path('rollouts', key, '.jsonl'), key)

    def _path(self, kind: str, key: dict, suffix: str) -> Path:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.root / kind / f'{key["sha256"][:12]}-{digest[:12]}{suffix}'


class AttemptLog:
    """A file of attempts, one a line after a line that says what they belong to."""

    def __init__(self, path: Path, key: dict) -> None:
        self.path = path
        self._key = key

    def read(self) -> list[Attempt]:
        """All attempts; a last line that an interruption cut off is dropped.

        Raises EvaluationError where the file is not a log of attempts under this key.
        """
        first = json.dumps({'key': self._key})
        try:
            *lines, last = self.path.read_text(encoding='utf-8').split('\n')
        except FileNotFoundError:
            lines, last = [], first
        lines = lines or [first]
        if last:
            write_text(self.path, ''.join(f'{line}\n' for line in lines))
        again = 'delete it, and these rollouts are driven again'
        try:
            head, *attempts = map(json.loads, lines)
            if head != json.loads(first):
                raise EvaluationError(f'{self.path} has rollouts of another model, or under other '
                                      f'settings: {head}, expected {first}; {again}')
            return [Attempt(**attempt) for attempt in attempts]
        except (ValueError, TypeError) as error:
            raise EvaluationError(f'{self.path} cannot be read ({error}); {again}') from None

    def append(self, attempts: Sequence[Attempt]) -> None:
        """Write more attempts."""
        with self.path.open('a', encoding='utf-8') as file:
            file.writelines(json.dumps(asdict(attempt)) + '\n' for attempt in attempts)


def write_text(path: Path, text: str) -> None:
    """Write a file under a temporary name, then rename it; make its folder where needed."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As write_text."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> EvaluationError:
    return EvaluationError(f'cannot write {path}: {error.strerror}; give a place that is writable')
