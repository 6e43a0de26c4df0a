"""What pip and colcon install is complete, and says one version."""

import ast
import importlib
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import vla_nav

IMPORT_NAMES = {
    'onnxruntime-gpu': 'onnxruntime', 'opencv-python': 'cv2', 'pillow': 'PIL', 'pyyaml': 'yaml',
    'rerun-sdk': 'rerun', 'tensorboardx': 'tensorboardX'}


def test_one_version(root, wheel):
    declared = ElementTree.parse(root / 'package.xml').findtext('version')
    newest = re.search(r'^(\d+\.\d+\.\d+) \(', (root / 'CHANGELOG.rst').read_text(), re.MULTILINE)
    assert vla_nav.__version__ == declared
    assert wheel.name.split('-')[1] == declared
    assert newest and newest[1] == declared


def test_wheel_has_every_module(tracked, wheel_files):
    modules = {
        str(path) for path in tracked if path.parts[0] == 'vla_nav' and path.suffix != '.md'}
    assert modules
    assert modules <= wheel_files


def test_wheel_has_every_shared_file(tracked, wheel_files):
    shared = {
        f'vla_nav-{vla_nav.__version__}.data/data/share/vla_nav/{path}' for path in tracked
        if path.parts[0] in ('config', 'launch', 'models') or path.name == 'package.xml'}
    assert len(shared) > 3
    assert shared <= wheel_files


def test_wheel_has_the_ament_index_marker(wheel_files):
    marker = 'share/ament_index/resource_index/packages/vla_nav'
    assert any(name.endswith(marker) for name in wheel_files)


def test_wheel_has_no_tests(wheel_files):
    assert not [name for name in wheel_files if name.startswith(('test/', 'docs/'))]


def declared_packages(root, wheel):
    """Return what requirements, extras and package.xml name, as import names."""
    with ZipFile(wheel) as archive:
        metadata = next(n for n in archive.namelist() if n.endswith('/METADATA'))
        lines = archive.read(metadata).decode().splitlines()
    names = {
        re.match(r'[\w-]+', line.removeprefix('Requires-Dist: '))[0].lower()
        for line in lines if line.startswith('Requires-Dist: ')}
    names = {IMPORT_NAMES.get(name, name) for name in names}
    if 'transformers' in names:
        names |= {'huggingface_hub', 'tokenizers'}
    return names | {e.text for e in ElementTree.parse(root / 'package.xml').iter('exec_depend')}


def test_every_import_is_a_declared_dependency(root, tracked, wheel):
    declared = declared_packages(root, wheel) | set(sys.stdlib_module_names) | {'vla_nav'}
    found = set()
    for path in tracked:
        if path.suffix == '.py' and path.parts[0] in ('vla_nav', 'launch'):
            for node in ast.walk(ast.parse((root / path).read_text())):
                if isinstance(node, ast.Import):
                    found |= {(alias.name.split('.')[0], str(path)) for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add((node.module.split('.')[0], str(path)))
    assert len(found) > 50
    assert not {(name, path) for name, path in found if name not in declared}


def console_scripts(wheel):
    parser = ConfigParser()
    with ZipFile(wheel) as archive:
        entry_points = next(n for n in archive.namelist() if n.endswith('entry_points.txt'))
        parser.read_string(archive.read(entry_points).decode())
    return dict(parser['console_scripts'])


def test_every_console_script_can_be_called(wheel):
    scripts = console_scripts(wheel)
    assert 'vla_nav' in scripts
    for target in scripts.values():
        module, function = target.split(':')
        assert callable(getattr(importlib.import_module(module), function)), target


def test_every_node_is_an_executable(root, wheel):
    nodes = {
        path.stem for path in (root / 'vla_nav/nodes').glob('*.py')
        if re.search(r'^def main\(', path.read_text(), re.MULTILINE)}
    assert nodes
    assert nodes <= set(console_scripts(wheel))


def test_shared_files_are_found_once_installed(wheel, tmp_path):
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index',
         '--target', tmp_path, wheel], check=True, capture_output=True)
    code = "from vla_nav.share import share_path; print(share_path('config/robots/sim.yaml'))"
    found = subprocess.run(
        [sys.executable, '-P' if sys.version_info >= (3, 11) else '-B', '-c', code], cwd='/',
        env={'PYTHONPATH': str(tmp_path)}, check=True, capture_output=True, text=True).stdout
    assert Path(found.strip()) == tmp_path / 'share/vla_nav/config/robots/sim.yaml'


def test_setup_probe_needs_the_standard_library_alone(root):
    """`make setup` asks this module about OpenGL before anything is installed."""
    code = ("import runpy; opengl = runpy.run_path('vla_nav/sim/opengl.py'); "
            "opengl['egl_works'](); opengl['osmesa_works']()")
    subprocess.run([sys.executable, '-I', '-S', '-c', code], cwd=root, check=True)
