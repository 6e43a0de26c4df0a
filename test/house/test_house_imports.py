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


def test_the_house_as_it_is(house):
    result = lint_imports(house)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(('module', 'line', 'contract'), [
    ('control/spoiled.py', 'import rclpy', 'Only nodes and rosless know ROS'),
    ('training/spoiled.py', 'import sensor_msgs.msg', 'Only nodes and rosless know ROS'),
    ('policy/spoiled.py', 'import vla_nav.sim', 'The import arrow'),
    ('contract.py', 'import vla_nav.control', 'The import arrow'),
    ('sim/spoiled.py', 'import vla_nav.training', 'The import arrow'),
    ('rosless/spoiled.py', 'import vla_nav.errors', 'rosless stands alone'),
    ('spoiled.py', '', 'The import arrow'),
])
def test_a_forbidden_import_is_caught(house, module, line, contract):
    with open(house / 'vla_nav' / module, 'a') as file:
        file.write(f'\n{line}\n')
    result = lint_imports(house)
    assert result.returncode != 0
    assert f'{contract} BROKEN' in result.stdout


def test_nodes_may_know_ros(house):
    (house / 'vla_nav/nodes/another.py').write_text('import rclpy\n')
    assert lint_imports(house).returncode == 0


@pytest.mark.parametrize('arguments', [['--help'], ['drive', '--help'], ['rollout', '--help']])
def test_help_imports_nothing_heavy(arguments):
    code = ('import sys; from vla_nav.cli import main\n'
            f'try: main({arguments})\n'
            'except SystemExit: pass\n'
            f'print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)')
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'usage: vla_nav' in result.stdout
    assert result.stderr == '[]\n'
