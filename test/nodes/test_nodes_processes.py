"""Nodes end with the verb that started them, and with ROS in their own process."""

import os
import subprocess
import sys
import time
from pathlib import Path

from harness import PATIENCE_S, environment

from vla_nav.nodes.processes import PARENT

_STARTS = """
import sys, time
from pathlib import Path
from vla_nav.nodes.processes import NodeProcesses, parameter_words
nodes = NodeProcesses(Path(sys.argv[1]))
print(nodes.start('sim', parameter_words(level='easy')), flush=True)
time.sleep(600)
"""


def alive(pid):
    try:
        return ') Z ' not in Path(f'/proc/{pid}/stat').read_text()
    except FileNotFoundError:
        return False


def until(condition):
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert condition()


def test_a_killed_verb_leaves_no_node_behind(tmp_path):
    verb = subprocess.Popen([sys.executable, '-c', _STARTS, str(tmp_path)], env=environment(),
                            stdout=subprocess.PIPE, text=True)
    node = int(verb.stdout.readline())
    until(lambda: 'scene' in (tmp_path / 'sim.log').read_text())
    assert alive(node)
    verb.kill()
    verb.wait()
    until(lambda: not alive(node))
    assert 'Traceback' not in (tmp_path / 'sim.log').read_text()


_ORPHANED = 'from vla_nav.nodes.processes import orphaned; print(orphaned())'


def orphaned(parent):
    """What a process says that is two generations below this one."""
    words = ['import subprocess, sys; subprocess.run([sys.executable, "-c", sys.argv[1]])']
    return subprocess.run([sys.executable, '-c', *words, _ORPHANED], text=True,
                          env={**environment(), PARENT: str(parent)}, capture_output=True).stdout


def test_a_debugger_may_stand_between_a_node_and_what_it_ends_with():
    assert orphaned(os.getpid()) == 'False\n'
    gone = subprocess.Popen(['true'])
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
    assert orphaned(gone.pid) == 'True\n'  # a zombie
    gone.wait()
    assert orphaned(gone.pid) == 'True\n'


_SHUTS_DOWN = """
import sys, threading
from vla_nav.nodes import runner
from vla_nav.nodes.drive import DriveNode
import rclpy

class Ending(DriveNode):
    def _show(self, shown):
        super()._show(shown)
        if shown['state'] == 'FAULT':
            threading.Timer(0.3, rclpy.shutdown).start()

sys.exit(runner.run(Ending, ['--ros-args', '-p', 'model:=/nowhere'], threads=4))
"""


def test_ros_is_shut_down_from_within():
    ended = subprocess.run([sys.executable, '-c', _SHUTS_DOWN], env=environment(),
                           capture_output=True, text=True, timeout=PATIENCE_S)
    assert 'FAULT: ' in ended.stdout + ended.stderr
    assert ended.returncode == 0 and 'Traceback' not in ended.stderr
