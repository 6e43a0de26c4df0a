"""vla_nav doctor: what works on this machine, what does not, and what to do about it."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

EXAMPLES = """examples:
  vla_nav doctor
  vla_nav doctor --quick        without drawing a picture and without network traffic
"""

FINE, MISSING, BROKEN = 'fine', 'missing', 'broken'
_MARKS = {FINE: '[green]fine[/]', MISSING: '[yellow]missing[/]', BROKEN: '[red]broken[/]'}
_TIMEOUT_S = 60.0
_WIDTH = 160
"""Columns where the output is no terminal."""

_DRAW = """
import os
from vla_nav.sim import Renderer, sample_scene
scene = sample_scene(0)
with Renderer(64, 48) as renderer:
    print(int(renderer.render(scene, scene.start).std()))
print(os.environ.get('MUJOCO_GL'))
"""
_MODEL = """
import sys
from vla_nav.errors import VlaNavError
from vla_nav.policy import resolve_model, validate
try:
    checkpoint = validate(resolve_model('nano'), quick=False)
except VlaNavError as error:
    sys.exit(str(error))
print(checkpoint.name, checkpoint.sha256[:12], checkpoint.path)
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    subject: str
    state: str
    """FINE, MISSING (only some verbs need it) or BROKEN (driving will not work)."""
    found: str
    remedy: str = ''


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'doctor', help='check this machine and say what to do',
        description='Checks what vla_nav needs. Exit code 1 if something is broken.',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true',
                        help='skip what takes seconds: drawing, DDS, hashing the model')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run every check and print the table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    checks: list[Callable[[], Iterator[Finding]]] = [
        _python, _packages, _torch, _onnx, _ros, _network]
    if not args.quick:
        checks += [_drawing, _loopback, _model]
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    table = Table(box=None, pad_edge=False)
    for title in ('', 'state', 'found'):
        table.add_column(title, overflow='fold')
    findings = []
    for check in checks:
        for finding in check():
            findings.append(finding)
            table.add_row(escape(finding.subject), _MARKS[finding.state], escape(finding.found))
    console.print(table)
    todo = [finding for finding in findings if finding.remedy]
    for finding in todo:
        console.print(f'\n[bold]{escape(finding.subject)}[/]: {escape(finding.remedy)}',
                      highlight=False)
    broken = [finding.subject for finding in findings if finding.state == BROKEN]
    console.print(f'\n{"Broken: " + ", ".join(broken) if broken else "Ready to drive."}')
    return 1 if broken else 0


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    good = sys.version_info >= (3, 10)
    yield Finding('Python', FINE if good else BROKEN, f'{version} ({sys.executable})',
                  '' if good else 'install Python 3.10 or newer')
    yield Finding('CPU', FINE, f'{len(os.sched_getaffinity(0))} cores, {platform.machine()}')


def _packages() -> Iterator[Finding]:
    groups = {'': ('numpy', 'opencv-python', 'PyYAML', 'rich', 'torch', 'transformers',
                   'safetensors', 'peft', 'pillow', 'rosbags', 'mcap'),
              'sim': ('mujoco', 'av', 'matplotlib'),
              'train': ('accelerate', 'av', 'matplotlib', 'onnx', 'onnxscript', 'pyarrow',
                        'tensorboardX')}
    modules = {'opencv-python': 'cv2', 'pillow': 'PIL', 'PyYAML': 'yaml'}
    for extra, names in groups.items():
        there, gone = [], []
        for name in names:
            if importlib.util.find_spec(modules.get(name, name)) is None:
                gone.append(name)
            else:
                there.append(f'{name} {_version(name)}')
        package = f'vla_nav[{extra}]' if extra else 'vla_nav'
        yield Finding(f'packages of {package}', FINE if not gone else MISSING if extra else BROKEN,
                      ', '.join(there + [f'no {name}' for name in gone]),
                      f"pip install '{package}'" if gone else '')


def _version(package: str) -> str:
    for name in (package, f'{package}-headless'):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return '(version unknown)'


def _torch() -> Iterator[Finding]:
    if importlib.util.find_spec('torch') is None:
        return
    try:
        import torch

        if torch.cuda.is_available():
            found = ', '.join(torch.cuda.get_device_name(i)
                              for i in range(torch.cuda.device_count()))
            yield Finding('GPU', FINE, found)
            return
        built = torch.version.cuda
    except (ImportError, OSError, RuntimeError) as error:
        yield Finding('GPU', BROKEN, str(error), 'install torch again')
        return
    if built and os.path.exists('/dev/nvidia0'):
        yield Finding('GPU', MISSING, f'torch for CUDA {built} sees none',
                      'there is a GPU, but its driver is older than this torch: update it, or '
                      'install a torch for an older CUDA')
    else:
        yield Finding('GPU', FINE, 'none; models run on the CPU')


def _onnx() -> Iterator[Finding]:
    if importlib.util.find_spec('onnxruntime') is None:
        yield Finding('ONNX Runtime', MISSING, 'not installed; models run on torch',
                      "pip install 'vla_nav[cpu]' or 'vla_nav[gpu]'")
        return
    import onnxruntime

    yield Finding('ONNX Runtime', FINE, f'{onnxruntime.__version__}: '
                  + ', '.join(onnxruntime.get_available_providers()))


def _ros() -> Iterator[Finding]:
    from vla_nav import rosless

    try:
        native = rosless.ensure()
    except ImportError as error:
        yield Finding('ROS', BROKEN, str(error), "pip install 'vla_nav'")
        return
    if native:
        yield Finding('ROS', FINE, f'ROS 2 {os.environ.get("ROS_DISTRO", "(unnamed)")}, '
                      f'{os.environ.get("RMW_IMPLEMENTATION", "default middleware")}')
    else:
        yield Finding('ROS', FINE, 'no ROS 2 is sourced; rosless speaks to one over the network')
        if os.path.isdir('/opt/ros'):
            yield Finding('ROS installation', FINE,
                          f'/opt/ros has {", ".join(sorted(os.listdir("/opt/ros")))}, not sourced')
    from vla_nav.nodes.images import image_decoder

    yield Finding('image conversion', FINE, image_decoder()[1])


def _network() -> Iterator[Finding]:
    from vla_nav.cli.domain import domain_problem

    domain = os.environ.get('ROS_DOMAIN_ID', '0')
    problem = domain_problem(domain)
    yield Finding('ROS_DOMAIN_ID', BROKEN if problem else FINE, problem or domain,
                  'set ROS_DOMAIN_ID to a number from 0 to 101' if problem else '')
    names = ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY', 'CYCLONEDDS_URI')
    found = [f'{name}={os.environ[name]}' for name in names if os.environ.get(name)]
    yield Finding('DDS settings', FINE, ', '.join(found) or 'none: this machine only')


def _drawing() -> Iterator[Finding]:
    code, out, error = _python_process(_DRAW)
    if code == 0:
        _, backend = out.split()
        yield Finding('drawing without a display', FINE, f'MuJoCo over {backend}')
    else:
        yield Finding('drawing without a display', MISSING, error,
                      'only the simulator needs it; apt-get install libegl1 libgl1-mesa-dri')


def _loopback() -> Iterator[Finding]:
    from vla_nav.nodes.loopback import measure

    try:
        trip_s = measure()
    except Exception as error:  # Whatever a middleware raises is what the user needs to read.
        yield Finding('DDS between two processes', BROKEN, f'{type(error).__name__}: {error}',
                      'check CYCLONEDDS_URI and the interfaces it names, ROS_DOMAIN_ID, and '
                      'firewall rules for UDP on this machine')
        return
    yield Finding('DDS between two processes', FINE, f'{trip_s * 1e3:.1f} ms there and back')


def _model() -> Iterator[Finding]:
    code, out, error = _python_process(_MODEL)
    yield Finding('model nano', FINE if code == 0 else MISSING, out if code == 0 else error,
                  '' if code == 0 else 'get it with the repository, or make it: make models')


def _python_process(code: str) -> tuple[int, str, str]:
    """Run code apart, so that a crash in a library is only a finding."""
    try:
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                              timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return 1, '', f'no end within {_TIMEOUT_S:g} s'
    lines = done.stderr.strip().splitlines()
    return done.returncode, done.stdout.strip(), (lines[-1] if lines else
                                                  f'ended with code {done.returncode}')
