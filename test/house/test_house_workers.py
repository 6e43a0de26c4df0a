"""Workers end with the process they work for, however that ends."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

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

LEFT = """
import os, signal, sys, time
from pathlib import Path
from vla_nav.cli.progress import map_in_processes

def work(number):
    (Path(sys.argv[1]) / str(number)).touch()
    time.sleep(0.3)

if __name__ == '__main__':
    try:
        for job, _ in map_in_processes(work, range(1000), 2, 'work'):
            if job == 3:
                os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        print('interrupted')
"""

LONG = """
import sys, time
from pathlib import Path
from vla_nav.workers import worker_pool

def work(path):
    path.touch()
    try:
        time.sleep(60)
    finally:
        path.with_suffix('.ended').touch()

if __name__ == '__main__':
    try:
        with worker_pool(2) as pool:
            folder = Path(sys.argv[1])
            jobs = [pool.submit(work, folder / f'{number}.begun') for number in range(9)]
            print('submitted', flush=True)
            jobs[0].result()
    except KeyboardInterrupt:
        print('interrupted')
"""


@pytest.mark.parametrize('at_work', [False, True], ids=['while they start', 'at work'])
@pytest.mark.parametrize('to', [os.kill, os.killpg], ids=['parent', 'terminal'])
def test_an_interrupt_ends_the_work_at_once_and_in_silence(tmp_path, to, at_work):
    script, folder = tmp_path / 'long.py', tmp_path / 'work'
    script.write_text(LONG)
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(folder)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              start_new_session=True)
    assert parent.stdout.readline() == 'submitted\n'
    while at_work and len(list(folder.glob('*.begun'))) < 2:
        time.sleep(0.05)
    to(parent.pid, signal.SIGINT)
    said, errors = parent.communicate(timeout=30)
    assert (said, errors) == ('interrupted\n', '')
    begun = {path.stem for path in folder.glob('*.begun')}
    assert begun == {path.stem for path in folder.glob('*.ended')}
    assert len(begun) == (2 if at_work else 0)


def test_after_an_interrupt_no_more_work_is_begun(tmp_path):
    script, done = tmp_path / 'left.py', tmp_path / 'done'
    script.write_text(LEFT)
    done.mkdir()
    parent = subprocess.run([sys.executable, str(script), str(done)], capture_output=True,
                            timeout=60)
    assert b'interrupted' in parent.stdout
    assert 4 <= len(list(done.iterdir())) < 20


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
