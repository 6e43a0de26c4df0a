"""Two minutes of `vla_nav soak`: the shipped model, eleven sentences, seven swaps."""

import json
import os
import subprocess
import sys

import pytest
from harness import PATIENCE_S, ROOT, environment

WORDS = ('--minutes', '2', '--say-every', '10', '--swap-every', '15', '--settle', '30')


def soak(*words):
    settings = {'VLA_NAV_MODELS': str(ROOT / 'models')}
    return subprocess.run([sys.executable, '-m', 'vla_nav', 'soak', *words], capture_output=True,
                          text=True, timeout=2 * PATIENCE_S, check=False,
                          env={**environment(**settings), 'OMP_NUM_THREADS': '1'})


@pytest.mark.timeout(600)
def test_nothing_grows_and_nothing_is_missed(tmp_path):
    done = soak(*WORDS, '--out', str(tmp_path))
    said = json.loads((tmp_path / 'soak.json').read_text())
    assert said['swaps'] == 7 and said['sentences'] == 12
    assert said['share of the time driving'] > 0.5
    assert set(said['exit codes']) == {'sim', 'drive'}
    assert said['samples'][-1]['time_s'] >= 120
    assert (tmp_path / 'memory.png').read_bytes().startswith(b'\x89PNG')
    failures = said['failures']
    if said['ticks missed by a bare loop beside it'] or os.getloadavg()[0] > os.cpu_count():
        # The machine was away: the node's ticks and images were late with everybody else's.
        failures = [text for text in failures if 'ticks' not in text and 'faults' not in text]
    else:
        assert done.returncode == bool(failures)
    assert not failures, done.stdout


@pytest.mark.parametrize('words, message', [
    (('--minutes', '1'), 'expected at least 360 s, as --settle is 300'),
    (('--say-every', '90'), 'expected more than 0 s, and none longer than the next'),
    (('--model', 'nowhere/nothing'), 'found nothing there'),
    (('--robot', 'nobody'), 'nobody'),
])
def test_bad_input_is_one_line(words, message):
    done = soak(*words)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count('\n') == 1
