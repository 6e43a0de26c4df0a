"""For all tests, before any message class is imported; and how two processes share them."""

import os
import signal
from pathlib import Path

import pytest

# Jazzy checks assigned fields only when asked to; rosless always does, as Humble.
os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'

# Shells start background jobs with SIGINT ignored, nohup with SIGHUP, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

GIVEN_DOMAIN = os.environ.get('ROS_DOMAIN_ID')

# What is timed on the wire. `pytest --numprocesses 2` gives all of it to one process, first; the
# other works on the rest, with what time that leaves.
REAL_TIME = {'faults', 'nodes', 'record', 'rosless', 'test_bench_soak'}


def _group(file: Path) -> str:
    return 'real time' if REAL_TIME & {file.stem, file.parent.name} else file.stem


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes():
    """Each process has a domain of its own, also if a folder's conftest chose one here already."""
    if GIVEN_DOMAIN is None:
        os.environ.pop('ROS_DOMAIN_ID', None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return _group(Path(nodeid.partition('::')[0]))

    return Scheduling(config, log)


def pytest_runtest_setup(item):
    if 'PYTEST_XDIST_WORKER' in os.environ and _group(item.path) != 'real time':
        os.nice(19 - os.nice(0))
