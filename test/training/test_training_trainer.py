"""The loop: it learns, resumes bit for bit, stops when asked, and says why it cannot go on."""

import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_nav.contract import Contract
from vla_nav.policy import load_variant, make_head
from vla_nav.policy.heads import build_head
from vla_nav.training.data import Demonstrations, Track
from vla_nav.training.errors import TrainError
from vla_nav.training.interrupts import Interrupts
from vla_nav.training.objective import ContextObjective
from vla_nav.training.resume import ResumeError, read_facts, save_state
from vla_nav.training.samples import ContextSource
from vla_nav.training.settings import TrainingSettings
from vla_nav.training.trainer import Trainer, make_accelerator
from vla_nav.training.weights import Average, Weights

VARIANT = load_variant('frozen_head').with_settings(
    {'head.width': 32, 'head.token_width': 16, 'head.chunk': 4, 'head.dropout': 0.1})
SETTINGS = TrainingSettings(steps=12, batch=4, warm_up=2, validate_every=4, ema=0.9)


def demonstrations(count=12):
    """Contexts that say what to do, for heads to find out."""
    rng = np.random.default_rng(0)
    contexts, tracks = [], []
    for _ in range(count):
        actions = np.stack([rng.uniform(0, 0.5, 30), rng.uniform(-1, 1, 30)], 1)
        seen = 0.1 * rng.normal(size=(30, 3, 8))
        seen[:, 0, :2] += actions * (4, 2) - (1, 0)
        contexts.append(seen.astype(np.float16))
        tracks.append(Track(actions.astype(np.float32)))
    return contexts, tracks


class Source(ContextSource):
    """Does something when a step's batch is asked for."""

    at, act = None, None

    def batch(self, step, part=0, parts=1):
        if step == self.at:
            self.act()
        return super().batch(step, part, parts)


def trainer_in(folder, settings=SETTINGS, variant=VARIANT, noise=0.05, **options):
    contexts, tracks = demonstrations()
    data = replace(Demonstrations.of(tracks, Contract(), 0.2, 0, {}),
                   training=list(range(2, 12)), validation=[0, 1])
    torch.manual_seed(0)
    head = build_head(variant.head, 3, 8, 2)
    source = Source(contexts, data, variant, settings)
    objective = ContextObjective(head, variant, noise, torch.device('cpu'))
    return Trainer('test', make_accelerator(), objective, source, settings,
                   folder / 'state.safetensors', **options), head, source


def test_a_head_learns_what_the_contexts_say(tmp_path):
    settings = TrainingSettings(steps=200, batch=4, warm_up=5, rate=5e-3, patience=0)
    trainer, _, _ = trainer_in(tmp_path, settings)
    trainer.run()
    # Uniform actions spread by 0.14 m/s and 0.58 rad/s.
    assert trainer.errors['rmse_0'] < 0.09 and trainer.errors['rmse_1'] < 0.3
    assert trainer.frames == 200 * 4 * 30 and trainer.frames_per_s > 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(tmp_path, number):
    for name in ('whole', 'parts'):
        (tmp_path / name).mkdir()
    trainer, whole, _ = trainer_in(tmp_path / 'whole')
    trainer.run()
    whole_errors, frames = trainer.errors, trainer.frames
    trainer, _, source = trainer_in(tmp_path / 'parts')
    source.at, source.act = 6, lambda: os.kill(os.getpid(), number)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert signal.getsignal(number) is before
    assert 0 < read_facts(tmp_path / 'parts' / 'state.safetensors')['step'] < 12
    again, resumed, _ = trainer_in(tmp_path / 'parts')
    again.run()
    assert again.errors == whole_errors and again.frames == frames
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_second_signal_interrupts_at_once():
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.wished
        os.kill(os.getpid(), signal.SIGTERM)


def test_where_there_is_a_validation_loss_it_decides(tmp_path):
    found = iter([(0.1, 3.0), (0.3, 1.0), (0.2, 2.0)])
    trainer, _, _ = trainer_in(tmp_path, replace(SETTINGS, steps=6, validate_every=2))
    trainer.validate = lambda: dict(zip(('error', 'loss'), next(found)))
    trainer.run()
    assert trainer.errors == {'error': 0.3, 'loss': 1.0}


def test_the_best_weights_are_kept_and_training_stops_when_none_are_better(tmp_path):
    judged = iter([0.2, 0.8, 0.1, 0.3, 0.2, 0.9])
    settings = replace(SETTINGS, steps=400, validate_every=2, patience=3, judge='success')
    kept = []
    trainer, head, _ = trainer_in(tmp_path, settings, judge=lambda: next(judged))
    validate = trainer.validate
    trainer.validate = lambda: (kept.append({n: p.clone() for n, p in head.state_dict().items()}),
                                validate())[1]
    trainer.run()
    assert trainer.step == 10 and trainer.errors['success'] == 0.8
    for name, tensor in head.state_dict().items():
        assert torch.equal(tensor, kept[1][name])


def test_parts_of_a_batch_add_up_to_the_whole(tmp_path):
    variant = VARIANT.with_settings({'head.dropout': 0.0})
    heads = []
    for parts in (1, 3, 16):  # of nine sequences
        settings = replace(SETTINGS, batch=9, accumulate=parts, steps=3, ema=0.0)
        (tmp_path / str(parts)).mkdir()
        trainer, head, _ = trainer_in(tmp_path / str(parts), settings, variant, noise=0.0)
        trainer.run()
        heads.append(head.state_dict())
    for name, tensor in heads[0].items():
        for other in heads[1:]:
            torch.testing.assert_close(tensor, other[name], atol=1e-5, rtol=1e-4)


def test_nothing_to_train_is_said(tmp_path, tiny_backbone, tiny_contract):
    from vla_nav.policy import Backbone
    backbone = Backbone.load(tiny_backbone)
    variant = load_variant('openvla_lora').with_settings({'tune': 'head'})
    head = make_head(backbone, variant, 64, 64, 2)
    _, _, source = trainer_in(tmp_path)
    with pytest.raises(TrainError, match='nothing trains: tune is head'):
        Trainer('test', make_accelerator(), ContextObjective(head, variant, 0.0, 'cpu'), source,
                SETTINGS, tmp_path / 'state.safetensors')


def test_a_loss_that_is_no_number_stops_training(tmp_path):
    trainer, _, source = trainer_in(tmp_path)
    source._contexts[5][0] = np.inf
    with pytest.raises(TrainError, match=r'the loss is nan at step \d; lower training\.rate'):
        trainer.run()


def test_a_state_of_another_model_is_refused(tmp_path):
    trainer, _, source = trainer_in(tmp_path)
    trainer.run()
    other = VARIANT.with_settings({'head.width': 16})
    with pytest.raises(ResumeError, match='was made by another model'):
        trainer_in(tmp_path, variant=other)[0].run()


def test_a_damaged_state_is_refused(tmp_path):
    (tmp_path / 'state.safetensors').write_bytes(b'nonsense')
    with pytest.raises(ResumeError, match='is not a training state'):
        trainer_in(tmp_path)[0].run()


def test_an_interrupted_save_leaves_the_old_state(tmp_path):
    """The disk takes no more: here, a limit on the size of files."""
    layer = torch.nn.Linear(64, 64)
    optimizer = torch.optim.AdamW(layer.parameters())
    path = tmp_path / 'state.safetensors'
    save_state(path, {'layer': layer}, optimizer, {'step': 1})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ResumeError, match='cannot be written .*the state before, which is'):
            save_state(path, {'layer': layer}, optimizer, {'step': 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from test_training_trainer import SETTINGS, replace, trainer_in
trainer, _, source = trainer_in(Path(sys.argv[1]), replace(SETTINGS, accumulate=2))
used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
source.at = 1
source.act = lambda: resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, -1))
size = trainer._objective.loss
trainer._objective.loss = lambda batch: size(batch) + torch.zeros(2**28).sum() * trainer.step
trainer.run()
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='limits of address space are Linux')
def test_out_of_memory_says_what_to_lower(tmp_path):
    folder = os.path.dirname(__file__)
    result = subprocess.run([sys.executable, '-c', OUT_OF_MEMORY, str(tmp_path)], text=True,
                            capture_output=True, env={**os.environ, 'PYTHONPATH': folder})
    said = result.stderr.splitlines()[-1]
    assert said.startswith('vla_nav.training.errors.TrainError: out of memory')
    assert '2 sequences at once' in said
    assert 'raise training.accumulate (now 2)' in said
    assert 'training.checkpointing=true (now false)' in said
    assert 'lower training.batch (now 4)' in said


def test_an_average_follows_the_weights():
    layer = torch.nn.Linear(2, 1, bias=False)
    weights = Weights(layer)
    average = Average(weights, 0.5)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight += 1.0
    average.update(1000)
    with average.applied():
        torch.testing.assert_close(layer.weight.detach(), before + 0.5)
    torch.testing.assert_close(layer.weight.detach(), before + 1.0)


def test_progress_is_logged_for_tensorboard(tmp_path):
    trainer, _, _ = trainer_in(tmp_path, logs=tmp_path / 'logs')
    trainer.run()
    data = b''.join(path.read_bytes() for path in (tmp_path / 'logs').iterdir())
    for tag in (b'train/loss', b'train/rate', b'train/frames/s', b'validation/error'):
        assert tag in data
