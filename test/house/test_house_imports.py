"""The import arrow is one that breaks: each forbidden import is put into a copy and caught."""

import os
import shutil
import subprocess
import sys

import pytest

HEAVY = ('torch', 'transformers', 'peft', 'mujoco', 'matplotlib', 'av', 'pyarrow', 'cv2',
         'cyclonedds', 'onnxruntime', 'rclpy')


def lint_imports(folder):
    return subprocess.run(
        [shutil.which('lint-imports', path=os.path.dirname(sys.executable)) or 'lint-imports',
         '--no-cache'],
        cwd=folder, env={**os.environ, 'PYTHONPATH': str(folder)}, capture_output=True, text=True)


@pytest.fixture
def house(copy, tmp_path):
    """Return a copy of the package with its settings, for one test to spoil."""
    shutil.copytree(copy / 'vla_nav', tmp_path / 'vla_nav')
    shutil.copy(copy / 'pyproject.toml', tmp_path)
    return tmp_path


def add(house, module, line):
    with open(house / 'vla_nav' / module, 'a') as file:
        file.write(f'\n{line}\n')


def test_nodes_may_know_ros_and_the_house_stands(house):
    add(house, 'nodes/another.py', 'import rclpy')
    result = lint_imports(house)
    assert result.returncode == 0, result.stdout


def test_each_forbidden_import_is_caught(house):
    spoiled = {
        'control/spoiled.py': ('vla_nav.control.spoiled', 'rclpy'),
        'training/spoiled.py': ('vla_nav.training.spoiled', 'sensor_msgs'),
        'evaluation/spoiled.py': ('vla_nav.evaluation.spoiled', 'vla_nav.nodes'),
        'policy/spoiled.py': ('vla_nav.policy.spoiled', 'vla_nav.sim'),
        'sim/spoiled.py': ('vla_nav.sim.spoiled', 'vla_nav.training'),
        'contract.py': ('vla_nav.contract', 'vla_nav.control'),
        'rosless/spoiled.py': ('vla_nav.rosless.spoiled', 'vla_nav.errors'),
    }
    for module, (_, imported) in spoiled.items():
        add(house, module, f'import {imported}')
    result = lint_imports(house)
    assert result.returncode != 0
    for importer, imported in spoiled.values():
        assert f'{importer} -> {imported} (l.' in result.stdout


def test_a_new_room_needs_its_place(house):
    add(house, 'attic.py', '')
    result = lint_imports(house)
    assert result.returncode != 0
    assert 'vla_nav.attic' in result.stdout


@pytest.mark.parametrize('arguments', [['--help'], ['drive', '--help'], ['rollout', '--help']])
def test_help_imports_nothing_heavy(arguments):
    code = ('import sys; from vla_nav.cli import main\n'
            f'try: main({arguments})\n'
            'except SystemExit: pass\n'
            f'print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)')
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'usage: vla_nav' in result.stdout
    assert result.stderr == '[]\n'
