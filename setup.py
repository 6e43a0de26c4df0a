"""Package for ament_python (colcon) and for plain pip."""

from itertools import groupby
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'vla_nav'
HERE = Path(__file__).resolve().parent
TEST = ['pytest>=8', 'pytest-timeout>=2.3']


def requirements():
    """Return the lines of requirements.txt that name a package."""
    lines = (HERE / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def share(*patterns):
    """Return data_files that put the files below into share/vla_nav, keeping their folders."""
    files = [
        path.relative_to(HERE) for pattern in patterns for path in sorted(HERE.glob(pattern))
        if path.is_file() and not {'__pycache__', 'engine'} & {*path.parts}]
    return [
        (str(Path('share', PACKAGE, folder)), [str(path) for path in group])
        for folder, group in groupby(files, lambda path: path.parent)]


setup(
    name=PACKAGE,
    version='0.1.0',
    description='Drive a mobile robot from a camera and a sentence',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    maintainer='vla_nav maintainers',
    maintainer_email='maintainers@vla-nav.example',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        *share('package.xml', 'launch/*.py', 'config/**/*', 'models/**/*'),
    ],
    python_requires='>=3.10',
    install_requires=requirements(),
    extras_require={
        'sim': ['av>=12', 'matplotlib>=3.7', 'mujoco>=3.2'],
        'train': [
            'accelerate>=1', 'av>=12', 'matplotlib>=3.7', 'onnx>=1.17', 'onnxscript>=0.2',
            'pyarrow>=15', 'tensorboardX>=2.6'],
        'view': ['av>=12', 'pyarrow>=15', 'rerun-sdk>=0.23'],
        'cpu': ['onnxruntime>=1.18'],
        'gpu': ['onnxruntime-gpu>=1.18'],
        'test': TEST,  # `colcon test` runs pytest where it finds it in this extra
        'dev': ['import-linter>=2.1', 'pytest-xdist>=3.6', *TEST, 'ruff>=0.9', 'setuptools>=70.1'],
    },
    zip_safe=False,
    entry_points={
        'console_scripts': [
            'vla_nav = vla_nav.cli:main',
            'drive = vla_nav.nodes.drive:main',
            'record = vla_nav.nodes.record:main',
            'sim = vla_nav.nodes.sim:main',
            'teleop = vla_nav.nodes.teleop:main',
        ],
    },
)
