"""Models asked for in the moments in which another one is ready, refused, or still loading."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness import PATIENCE_S, drive_words, environment, new_name

from vla_nav.contract import Contract
from vla_nav.nodes.models import ModelLoader
from vla_nav.policy import Policy

RACES = Path(__file__).parent / 'racing_drive.py'


def race(models, second: str, third: str, when: str) -> list[str]:
    """What the parameter says in the end, and what drives."""
    done = subprocess.run(
        [sys.executable, str(RACES), 'forward', second, third, when,
         *drive_words(models, f'/{new_name()}', '--log-level', 'fatal')],
        capture_output=True, text=True, timeout=120,
        env={**environment(), 'VLA_NAV_MODELS': str(models)})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_back_to_the_one_that_drives_as_another_is_ready(models):
    assert race(models, 'left', 'forward', 'ready') == ['forward', 'forward']


def test_a_good_one_as_another_is_refused(models):
    assert race(models, 'nan', 'left', 'refused') == ['left', 'left']


@pytest.mark.parametrize('between', ['cancel', 'request'])
def test_a_model_that_was_mended_while_it_loaded_is_loaded_again(between, monkeypatch):
    content, loads, ended = ['broken'], [], []
    started, go = threading.Event(), threading.Event()

    def load(self, name, number):
        loads.append(content[0])
        started.set()
        go.wait(10.0)
        return (None, 'it is broken') if loads[-1] == 'broken' else (loads[-1], None)

    monkeypatch.setattr(ModelLoader, '_load', load)
    loader = ModelLoader(Contract(), 'cpu', 'torch', 1,
                         lambda name, policy, accept: accept() and ended.append(policy),
                         lambda name, problem: ended.append(problem))
    loader.request('mine')
    started.wait(10.0)
    if between == 'cancel':
        loader.cancel()
    content[0] = 'mended'
    loader.request('mine')
    go.set()
    loader.wait()
    assert loads == ['broken', 'mended'] and ended == ['mended']
    assert loader.status == 'running mine' and loader.loading is None


class Panic(BaseException):
    """As libraries in Rust raise it."""


def test_a_library_that_panics_leaves_the_loader_alive(monkeypatch):
    problems = []
    loader = ModelLoader(Contract(), 'cpu', 'torch', 1, None,
                         lambda name, problem: problems.append(problem))

    def panic(*_):
        raise Panic

    def load(name):
        loader.request(name)
        waiting = threading.Thread(target=loader.wait, daemon=True)
        waiting.start()
        waiting.join(PATIENCE_S)
        assert not waiting.is_alive()

    with monkeypatch.context() as patch:
        patch.setattr(Policy, 'load', panic)
        load('nano')
    load('no such model')
    assert [text.partition(':')[0] for text in problems] == [
        'model nano cannot be loaded', 'model refused']


def test_a_missing_package_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers.utils', None)
    problems = []
    loader = ModelLoader(Contract(), 'cpu', 'torch', 1, None,
                         lambda name, problem: problems.append(problem))
    loader.request('nano')
    loader.wait()
    assert problems[0].startswith('model nano cannot be loaded: transformers is not installed for '
                                  f'{sys.executable}; activate the environment')
