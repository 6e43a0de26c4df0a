"""Rules for every file of the repository that no linter knows."""

import ast
import re
import subprocess
import sys

import pytest

MAX_FILE_BYTES = 16 * 2**20
MAX_MODULE_LINES = 400
PICKLES = {'.bin', '.ckpt', '.joblib', '.npy', '.pickle', '.pkl', '.pt', '.pth'}
UNSAFE_KEYWORDS = {'trust_remote_code', 'allow_pickle'}


def test_no_file_is_too_large(root, tracked):
    sizes = {str(path): (root / path).stat().st_size for path in tracked}
    assert not {path: size for path, size in sizes.items() if size > MAX_FILE_BYTES}


def test_no_file_is_a_pickle(tracked):
    assert not [str(path) for path in tracked if path.suffix in PICKLES]


def test_no_module_is_too_long(root, tracked):
    lines = {
        str(path): len((root / path).read_text().splitlines()) for path in tracked
        if path.parts[0] == 'vla_nav' and path.suffix == '.py'}
    assert not {path: count for path, count in lines.items() if count > MAX_MODULE_LINES}


def test_no_call_lets_data_run_code(root, tracked):
    """Ruff bans the functions; these are the keywords that turn a safe one into an unsafe one."""
    found = []
    for path in tracked:
        if path.suffix != '.py' or path.parts[0] == 'test':
            continue
        for node in ast.walk(ast.parse((root / path).read_text())):
            if isinstance(node, ast.keyword) and node.arg in UNSAFE_KEYWORDS:
                if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                    found.append(f'{path}:{node.value.lineno}: {node.arg}')
    assert not found


@pytest.fixture(scope='module')
def documents(root):
    """Return the text of the documents a user follows."""
    names = ('README.md', 'CONTRIBUTING.md', 'models/README.md')
    return '\n'.join((root / name).read_text() for name in names)


def test_documented_make_targets_exist(root, documents):
    targets = set(re.findall(r'(?:^|`)make ([a-z]+)', documents, re.MULTILINE))
    assert {'drive', 'test', 'setup'} <= targets
    for target in sorted(targets):
        subprocess.run(['make', '-n', target], cwd=root, check=True, capture_output=True)


def test_documents_and_command_line_have_the_same_verbs(documents):
    code = ('from vla_nav.cli import build_parser; '
            'print(*build_parser()._subparsers._group_actions[0].choices)')
    verbs = subprocess.run(
        [sys.executable, '-c', code], check=True, capture_output=True, text=True).stdout.split()
    assert {'drive', 'rollout', 'doctor'} <= set(verbs)
    assert set(re.findall(r'(?:^|`)vla_nav ([a-z]+)', documents, re.MULTILINE)) == set(verbs)
