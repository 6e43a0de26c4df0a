"""Switch the protections off one at a time, and see which cases of the fault suite fail.

python test/faults/prove.py                      all of them (about 50 minutes)
python test/faults/prove.py --only watchdog      those whose name has this in it
python test/faults/prove.py --list

Each runs its cases on a copy of the package. The exit code is 1 if there is a protection without
which every case passes, or a case cannot even begin: a copy that does not start proves nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from protections import PROTECTIONS, Protection

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20
"""How long a case waits for what will not come."""
_LINE = re.compile(r'^(FAILED|ERROR) test/\S*?(\w+)\.py::(\w+)(\[.*?\])?( - .*)?$', re.MULTILINE)


def main() -> int:
    """Run them; 1 if a protection is not tested."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', default='', metavar='TEXT')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--markdown', type=Path, metavar='FILE', help='write the table to FILE')
    args = parser.parse_args()
    chosen = [p for p in PROTECTIONS if args.only in p.name]
    if args.list:
        print('\n'.join(p.name for p in chosen))
        return 0
    rows, unproved = [], []
    with tempfile.TemporaryDirectory(prefix='vla_nav_prove_') as folder:
        models = Path(folder) / 'models'
        subprocess.run([sys.executable, str(ROOT / 'test/nodes/tiny_models.py'), str(models)],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for protection in chosen:
            began_s = time.monotonic()
            failed, broken, passed = run(protection, Path(folder) / 'copy', models)
            proved = bool(failed) and not broken
            print(f'{"ok  " if proved else "NOT "} {protection.name}: {len(failed)} failed, '
                  f'{passed} passed, {len(broken)} could not begin '
                  f'({time.monotonic() - began_s:.0f} s)', flush=True)
            for case in [*failed, *broken]:
                print(f'       {case}', flush=True)
            rows.append((protection.name, failed, passed))
            if not proved:
                unproved.append(protection.name)
    if args.markdown:
        args.markdown.write_text(table(rows), encoding='utf-8')
    print(f'{len(chosen) - len(unproved)} of {len(chosen)} protections are proved'
          + ''.join(f'\nnot: {name}' for name in unproved))
    return 1 if unproved else 0


def run(protection: Protection, copy: Path, models: Path) -> tuple[list[str], list[str], int]:
    """Cases that fail, that cannot begin, and how many pass, with a protection switched off."""
    shutil.rmtree(copy, ignore_errors=True)
    for name in ('vla_nav', 'test', 'config'):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT / 'pyproject.toml', copy)
    for edit in protection.edits:
        edit.apply(copy / 'vla_nav')
    words = ['-q', '-rfE', '--tb=no', '-p', 'no:cacheprovider', f'test/{protection.file}']
    if protection.cases:
        words += ['-k', protection.cases]
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', *words], cwd=copy, capture_output=True, text=True,
        check=False, env={**os.environ, 'PYTHONPATH': str(copy), 'COLUMNS': '1000',
                          'VLA_NAV_TEST_PATIENCE_S': str(PATIENCE_S),
                          'VLA_NAV_TEST_MODELS': str(models)})
    found = {'FAILED': [], 'ERROR': []}
    for kind, _, name, words, _ in _LINE.findall(done.stdout):
        found[kind].append(name.removeprefix('test_') + (words or ''))
    passed = re.search(r'(\d+) passed', done.stdout)
    if done.returncode not in (0, 1):
        found['ERROR'].append(f'pytest ended with {done.returncode}: {done.stdout[-500:]}')
    never_began = [case for case in found['ERROR'] if case not in found['FAILED']]
    return found['FAILED'], never_began, int(passed[1]) if passed else 0


def table(rows: list[tuple[str, list[str], int]]) -> str:
    """The result in Markdown."""
    lines = ['| protection switched off | cases that fail | cases that pass |',
             '| --- | --- | --- |']
    for name, failed, passed in rows:
        cases = ', '.join(f'`{case}`' for case in failed) or '**none**'
        lines.append(f'| {name} | {cases} | {passed} |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    raise SystemExit(main())
