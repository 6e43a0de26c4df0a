"""Workers end with the process they work for, however that ends."""

import subprocess
import sys
import time

import psutil

PARENT = """
import os, time
from vla_nav.workers import worker_pool
if __name__ == '__main__':
    pool = worker_pool(2)
    jobs = [pool.submit(time.sleep, 3600) for _ in range(4)]
    pool.submit(os.getpid)
    while len(pool._processes) < 2 or not all(p.is_alive() for p in pool._processes.values()):
        time.sleep(0.05)
    print(*pool._processes, flush=True)
    time.sleep(3600)
"""


def test_a_killed_parent_leaves_no_worker_behind(tmp_path):
    script = tmp_path / 'parent.py'
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    time.sleep(2.0)  # They are at work.
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    for worker in alive:
        worker.kill()
    assert not alive
