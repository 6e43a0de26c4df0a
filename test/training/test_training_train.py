"""Every preset trains on a recorded dataset by one call, and its checkpoint drives."""

import json
import os
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vla_nav.cli import main
from vla_nav.contract import Frame
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.policy import (
    BackboneError,
    CheckpointError,
    NormaliserError,
    Policy,
    variant_names,
)
from vla_nav.share import share_path
from vla_nav.training.data import fingerprint
from vla_nav.training.errors import TrainError
from vla_nav.training.resume import ResumeError, read_facts
from vla_nav.training.samples import FrameSource
from vla_nav.training.settings import load_recipe
from vla_nav.training.train import Job, train

SMALL = {'training.steps': 20, 'training.batch': 12, 'training.warm_up': 2, 'training.rate': 5e-3,
         'training.backbone_rate': 5e-3, 'training.validate_every': 8,
         'training.validation_frames': 24, 'head.chunk': 3}
BY_HEAD = {'lstm': {'head.width': 24, 'head.token_width': 16, 'head.layers': 1}, 'none': {},
           'mlp': {'head.width': 24, 'head.token_width': 16}, 'residual': {'head.width': 24}}


def small_job(name, folder, dataset, backbone, changes=None, **options):
    recipe = load_recipe(name)
    settings = {**SMALL, **BY_HEAD[recipe.variant.head.kind],
                'training.probe': int(bool(recipe.training.probe))}
    if recipe.variant.head.window:
        # An LSTM begins slowly, and max-pooled a random backbone says little.
        settings |= {'head.window': 4, 'head.output_layers': 2, 'training.steps': 60,
                     'training.batch': 8}
    if recipe.variant.decode == 'tokens':
        settings['tokens.bins'] = 16
    return Job(recipe.with_settings({**settings, **(changes or {})}), str(backbone),
               folder / 'models' / name, folder / f'work_{name}', data=dataset,
               cache=folder / 'cache', **options)


def logged(folder, tag):
    """Values of one scalar in a folder of TensorBoard logs, in order."""
    from tensorboardX.proto.event_pb2 import Event
    values = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack('<Q', data[:8])
            event = Event.FromString(data[12:12 + length])
            values += [v.simple_value for v in event.summary.value if v.tag == tag]
            data = data[16 + length:]
    return values


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('presets')


@pytest.fixture(scope='module')
def questions(folder, dataset):
    """Captions of the dataset's own frames."""
    import cv2
    recorded = EpisodeDataset(dataset)
    lines = []
    (folder / 'questions').mkdir()
    for row in range(3):
        cv2.imwrite(str(folder / 'questions' / f'{row}.png'), recorded.frames(0, row, row + 1)[0])
        lines.append(json.dumps({'image': f'{row}.png', 'prompt': '{image}what is there?',
                                 'answer': 'a red ball'}))
    (folder / 'questions' / 'examples.jsonl').write_text('\n'.join(lines))
    return folder / 'questions'


@pytest.fixture(scope='module')
def trained(folder, dataset, tiny_backbone, questions):
    """Return a function that trains a preset, once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = train(small_job(name, folder, dataset, tiny_backbone,
                                         questions=questions))
        return made[name]
    return get


@pytest.mark.parametrize('name', variant_names())
def test_every_preset_trains_and_drives(trained, folder, dataset, name):
    checkpoint = trained(name)
    stage = 'head' if name == 'frozen_head' else 'policy'
    losses = logged(folder / f'work_{name}' / 'logs' / stage, 'train/loss')
    quarter = checkpoint.provenance['training']['steps'] // 4
    assert len(losses) == 4 * quarter
    assert np.mean(losses[-quarter:]) < 0.9 * np.mean(losses[:quarter])
    policy = Policy.load(checkpoint.path)
    recorded = EpisodeDataset(dataset)
    policy.reset(recorded.instruction(0))
    chunk = policy.step(Frame(recorded.frames(0, 0, 1)[0], 0), np.zeros(2))
    assert chunk.actions.shape == (3, 2) and np.isfinite(chunk.actions).all()


@pytest.mark.parametrize('name, stored', [
    ('frozen_head', 'head.safetensors'), ('lora_head', 'adapter/adapter_model.safetensors'),
    ('roboflamingo', 'tuned.safetensors'), ('openvla_full', 'backbone/model.safetensors'),
])
def test_what_trained_is_stored(trained, name, stored):
    checkpoint = trained(name)
    assert stored in checkpoint.files
    count = checkpoint.provenance['measured']['training']['trainable_parameters']
    tensors = load_file(checkpoint.path / 'head.safetensors')
    if stored != 'head.safetensors':
        tensors |= load_file(checkpoint.path / stored)
    assert sum(t.numel() for t in tensors.values()) == count


@pytest.mark.parametrize('name, judged', [('openvla_lora', 'loss'), ('openvla_oft', 'error')])
def test_the_weights_of_the_best_validation_are_stored(dataset, tiny_backbone, tmp_path, name,
                                                       judged):
    job = small_job(name, tmp_path, dataset, tiny_backbone, {
        'training.steps': 20, 'training.validate_every': 2, 'training.backbone_rate': 0.5})
    kept = train(job).provenance['measured']['validation']
    assert ('loss' in kept) == (judged == 'loss')
    validations = {tag: logged(job.work / 'logs' / 'policy', f'validation/{tag}')
                   for tag in ('error', judged)}
    best = int(np.argmin(validations[judged]))
    for tag, values in validations.items():
        assert kept[tag] == pytest.approx(values[best])


def test_the_checkpoint_says_where_it_comes_from_and_what_it_cost(trained, folder, dataset):
    provenance = trained('lora_head').provenance
    assert provenance['data']['dataset_sha256'] == EpisodeDataset(dataset).sha256
    data = provenance['data']
    assert (data['training_episodes'], data['frames']) == (6, 144)
    (kept,) = data['validation_episodes']
    rows = EpisodeDataset(dataset).actions.reshape(6, 24, 2)
    assert data['trained_on'] == [fingerprint(rows[e]) for e in range(6) if e != kept]
    assert provenance['backbone_sha256'] == trained('frozen_head').backbone.sha256
    assert len(provenance['git_commit']) >= 40
    assert set(provenance['environment']) >= {'torch', 'transformers', 'peft', 'accelerate'}
    assert provenance['training']['steps'] == 60
    measured = provenance['measured']['training']
    assert measured['device'].startswith('cpu')
    for name in ('seconds', 'frames_per_s', 'peak_memory_bytes', 'contexts_seconds',
                 'probe_seconds'):
        assert measured[name] > 0
    run = json.loads((folder / 'work_lora_head' / 'run.json').read_text())
    assert run['finished'] and run['settings']['training']['steps'] == 60
    assert run['git_commit'] == provenance['git_commit']


def test_tokens_for_actions_are_none_the_prompts_use(trained, dataset):
    checkpoint = trained('rt2')
    policy = Policy.load(checkpoint.path)
    tokenizer = policy.backbone.tokenizer
    said = {i for text in (*EpisodeDataset(dataset).tasks, 'what is there?', 'a red ball')
            for i in tokenizer(text)['input_ids']}
    assert len(checkpoint.variant.tokens.ids) == 15
    assert said.isdisjoint(checkpoint.variant.tokens.ids)


@pytest.mark.parametrize('name', ['frozen_head', 'openvla_oft'])
def test_a_finished_run_resumes_to_the_same_checkpoint(trained, folder, dataset, tiny_backbone,
                                                       name, capsys):
    before = trained(name)
    again = train(small_job(name, folder, dataset, tiny_backbone, resume=True))
    said = ' '.join(capsys.readouterr().err.split())
    assert 'holds a checkpoint, which will be replaced' in said
    assert again.files['head.safetensors'] == before.files['head.safetensors']


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path, trained, dataset, tiny_backbone,
                                                monkeypatch):
    whole = trained('lora_head')
    job = small_job('lora_head', tmp_path, dataset, tiny_backbone)
    batch = FrameSource.batch

    def stop(source, step, *parts):
        if step == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch(source, step, *parts)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FrameSource, 'batch', stop)
        train(job)
    assert read_facts(job.work / 'policy.safetensors')['step'] in (8, 9)
    assert not job.out.exists()
    resumed = train(replace(job, resume=True))
    for name in ('head.safetensors', 'adapter/adapter_model.safetensors'):
        assert resumed.files[name] == whole.files[name]


@pytest.mark.parametrize('changes', [
    {'head.film': True, 'training.ema': 0.5}, {'training.checkpointing': True},
    {'training.precision': 'bf16', 'training.accumulate': 2}])
def test_settings_of_the_loop_reach_it(tmp_path, dataset, tiny_backbone, changes):
    changes = {'training.steps': 3, 'head.chunk': 2, **changes}
    checkpoint = train(small_job('openvla_oft', tmp_path, dataset, tiny_backbone, changes))
    assert np.isfinite(checkpoint.provenance['measured']['validation']['error'])


def test_what_is_mirrored_is_not_clipped(dataset_copy, tmp_path, tiny_backbone):
    def leftwards(values):
        return abs(values) * np.array([1.0, 0.2], np.float32) + np.array([0.0, 0.4], np.float32)
    rewrite(dataset_copy, 'action', leftwards)
    recorded = EpisodeDataset(dataset_copy)
    low, high = np.percentile(recorded.actions, [1, 99], axis=0).tolist()
    mean, std = recorded.actions.mean(0).tolist(), recorded.actions.std(0).tolist()
    damage(dataset_copy, 'stats.json', lambda data: data['action'].update(
        q01=low, q99=high, mean=mean, std=std))
    ranges = []
    for mirror in (0.0, 0.5):
        normaliser = train(small_job('lora_head', tmp_path / str(mirror), dataset_copy,
                                     tiny_backbone, {'training.mirror': mirror,
                                                     'training.steps': 1})).normaliser
        ranges.append((normaliser.low[1], normaliser.high[1]))
    (least, most), (mirrored, same) = ranges
    assert 0.4 <= least < most and same == pytest.approx(most, rel=0.05)
    assert mirrored == pytest.approx(-same)


def test_cached_contexts_are_made_anew_when_what_they_depend_on_changes(
        tmp_path, dataset, tiny_backbone):
    def folders():
        return {path.name for path in (tmp_path / 'cache').iterdir()}

    short = {'training.steps': 1}
    train(small_job('frozen_head', tmp_path, dataset, tiny_backbone, short))
    first = folders()
    train(small_job('frozen_head', tmp_path, dataset, tiny_backbone,
                    {**short, 'head.width': 16, 'training.seed': 3}))
    assert folders() == first
    train(small_job('frozen_head', tmp_path, dataset, tiny_backbone,
                    {**short, 'context.prompt': '{image}do: {instruction}'}))
    train(small_job('frozen_head', tmp_path, dataset, tiny_backbone,
                    {**short, 'context.layer': 0}))
    assert len(folders()) == 3


def test_cached_contexts_are_what_the_policy_computes(trained, folder, dataset):
    from vla_nav.training.demonstrations import load_episodes
    policy = Policy.load(trained('frozen_head').path)
    recorded = EpisodeDataset(dataset)
    cached = [load_episodes(path)[0] for path in (folder / 'cache').iterdir()
              if list(path.glob('episodes_*'))]
    policy.reset(recorded.instruction(0))
    live = policy.context(Frame(recorded.frames(0, 0, 1)[0], 0))
    assert any(episode.contexts.shape[1:] == live.shape
               and np.allclose(episode.contexts[0], live, atol=5e-3) for episode in cached)


def test_a_head_begins_with_the_trunk_of_a_seven_dimensional_one(
        tmp_path, trained, dataset, tiny_backbone):
    from safetensors.torch import save_file
    tensors = load_file(trained('frozen_head').path / 'head.safetensors')
    tensors['output.weight'], tensors['output.bias'] = torch.zeros(21, 24), torch.zeros(21)
    save_file(tensors, tmp_path / 'arm.safetensors')
    job = small_job('frozen_head', tmp_path, dataset, tiny_backbone,
                    {'training.steps': 1, 'training.rate': 0.0},
                    init_from=str(tmp_path / 'arm.safetensors'))
    checkpoint = train(job)
    assert checkpoint.provenance['data']['head_begun_from'] == {
        'source': 'arm.safetensors', 'new_weights': ['output.bias', 'output.weight']}
    assert 'arm.safetensors' in (checkpoint.path / 'README.md').read_text()
    kept = load_file(checkpoint.path / 'head.safetensors')
    assert torch.equal(kept['lstm.weight_ih_l0'], tensors['lstm.weight_ih_l0'])


def test_a_backbone_may_be_shared_with_the_checkpoint_beside(tmp_path, trained, dataset):
    import shutil
    shutil.copytree(trained('frozen_head').path, tmp_path / 'models' / 'base')
    backbone = tmp_path / 'models' / 'base' / 'backbone'
    job = small_job('frozen_head', tmp_path, dataset, backbone, {'training.steps': 1},
                    share_backbone=True)
    checkpoint = train(job)
    assert checkpoint.backbone.model == 'base' and not (checkpoint.path / 'backbone').exists()
    assert Policy.load(checkpoint.path).backbone.width == 64
    with pytest.raises(TrainError, match='expected the one inside a checkpoint beside'):
        train(replace(job, out=tmp_path / 'elsewhere'))


TWO = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from test_training_train import small_job
from vla_nav.training.train import train
folder, dataset, backbone, questions = map(Path, sys.argv[1:])
torch.set_num_threads(1)
plain = {'training.steps': 4, 'training.colour': 0.0, 'training.shift': 0.0,
         'training.context_noise': 0.0}
train(small_job('lora_head', folder, dataset, backbone, plain))
train(small_job('rt2', folder, dataset, backbone, plain, questions=questions))
"""


def test_two_processes_train_as_one(tmp_path, dataset, tiny_backbone, questions):
    (tmp_path / 'two.py').write_text(TWO)
    env = {**os.environ, 'ACCELERATE_USE_CPU': 'true', 'OMP_NUM_THREADS': '1',
           'PYTHONPATH': os.pathsep.join(filter(None, [
               *map(str, (Path(__file__).parent, Path(__file__).parents[2])),
               os.environ.get('PYTHONPATH')]))}
    models = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        subprocess.run(
            [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node',
             str(processes), str(tmp_path / 'two.py'), str(folder), str(dataset),
             str(tiny_backbone), str(questions)], check=True, env=env)
        models.append(folder / 'models')
    for stored in ('lora_head/head.safetensors', 'lora_head/adapter/adapter_model.safetensors',
                   'rt2/backbone/model.safetensors'):
        one, two = (load_file(model / stored) for model in models)
        before = load_file(tiny_backbone / 'model.safetensors')
        assert any(not torch.equal(one[n], before.get(n, torch.zeros(1))) for n in one)
        for name, tensor in one.items():
            # Softmax does not see a bias of the keys: its gradient is rounding, which Adam scales.
            if not name.endswith('k_proj.bias'):
                torch.testing.assert_close(two[name], tensor, atol=3e-4, rtol=1e-3)


def test_a_folder_that_is_no_checkpoint_is_not_replaced(tmp_path, dataset, tiny_backbone):
    job = small_job('frozen_head', tmp_path, dataset, tiny_backbone)
    job.out.mkdir(parents=True)
    (job.out / 'thesis.txt').write_text('years of work')
    with pytest.raises(TrainError, match='exists and is no checkpoint; choose another folder'):
        train(job)


def test_a_folder_that_no_training_began_is_not_worked_in(tmp_path, trained, dataset,
                                                          tiny_backbone):
    import shutil
    model = shutil.copytree(trained('frozen_head').path, tmp_path / 'model')
    before = sorted(model.rglob('*'))
    job = small_job('frozen_head', tmp_path, dataset, tiny_backbone)
    with pytest.raises(TrainError, match=r'policy\.json is no part of a training run, .* choose'):
        train(replace(job, work=model))
    for out, work in ((model, model), (model, model / 'work'), (model / 'new', model)):
        with pytest.raises(TrainError, match='expected neither inside the other'):
            train(replace(job, out=out, work=work))
    assert sorted(model.rglob('*')) == before


def test_a_new_run_replaces_the_states_of_the_last_alone(tmp_path, dataset, tiny_backbone):
    job = small_job('frozen_head', tmp_path, dataset, tiny_backbone, {'training.steps': 1})
    train(job)
    (job.work / 'mine.safetensors').write_bytes(b'years of work')
    (job.work / 'head_3.safetensors').write_bytes(b'a state')
    train(job)
    names = [path.name for path in sorted(job.work.glob('*.safetensors'))]
    assert names == ['head.safetensors', 'mine.safetensors']


def test_one_episode_is_too_few(tmp_path, dataset, tiny_backbone):
    with pytest.raises(TrainError, match='at least 2 recordings .* found 1, of 1:'):
        train(small_job('frozen_head', tmp_path, dataset, tiny_backbone, episodes=1))
    with pytest.raises(TrainError, match='has 6 episodes, 7 were asked for'):
        train(small_job('frozen_head', tmp_path, dataset, tiny_backbone, episodes=7))


def test_other_settings_do_not_resume(trained, folder, dataset, tiny_backbone):
    trained('frozen_head')
    with pytest.raises(ResumeError, match=r'other settings: training\.rate was 0\.005, is 0\.1'):
        train(small_job('frozen_head', folder, dataset, tiny_backbone, {'training.rate': 0.1},
                        resume=True))


def test_an_unfinished_run_is_not_overwritten(tmp_path, dataset, tiny_backbone):
    job = small_job('frozen_head', tmp_path, dataset, tiny_backbone, {'training.steps': 1})
    train(job)
    path = job.work / 'run.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'finished': False}))
    with pytest.raises(ResumeError, match='holds an unfinished run; go on with it by --resume'):
        train(job)


def test_two_processes_do_not_train_in_one_folder(tmp_path, dataset, tiny_backbone):
    job = small_job('frozen_head', tmp_path, dataset, tiny_backbone, {'training.steps': 1})
    begins = ('import sys; from pathlib import Path; from vla_nav.training.run import Run; '
              'Run(Path(sys.argv[1])).begin({}, False); print("begun", flush=True); '
              'sys.stdin.read()')
    other = subprocess.Popen([sys.executable, '-c', begins, job.work], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == 'begun\n'
    with pytest.raises(ResumeError, match='is in use by another training that still runs'):
        train(job)
    other.kill()
    other.communicate()
    train(job)


def damage(folder, name, act):
    path = folder / 'meta' / name
    data = json.loads(path.read_text())
    act(data)
    path.write_text(json.dumps(data))


def test_a_dataset_without_statistics_is_refused(dataset_copy, tmp_path, tiny_backbone):
    damage(dataset_copy, 'stats.json', lambda data: data.pop('action'))
    with pytest.raises(TrainError, match=r'stats\.json lacks q01, q99, mean, std of the actions'):
        train(small_job('frozen_head', tmp_path, dataset_copy, tiny_backbone))


def test_statistics_of_other_data_are_refused_with_the_numbers(dataset_copy, tmp_path,
                                                               tiny_backbone):
    def degrees(data):
        for name in ('q01', 'q99'):
            data['action'][name][1] *= 57.3
    damage(dataset_copy, 'stats.json', degrees)
    with pytest.raises(NormaliserError, match=r'stats\.json: action statistics of angular\.z say '
                       r'-\d+.* to \d+.*, the data lie in .*check the units'):
        train(small_job('frozen_head', tmp_path, dataset_copy, tiny_backbone))


def rewrite(folder, column, change):
    """Change a column of a dataset's rows on disk."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    (path,) = folder.glob('data/*/*.parquet')
    parts = [pq.ParquetFile(path).read_row_group(i) for i in range(6)]
    place = parts[0].column_names.index(column)
    changed = []
    for part in parts:
        values = change(np.array(part.column(column).to_pylist(), np.float32))
        flat = pa.array(values.ravel())
        array = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        changed.append(part.set_column(place, column, array))
    with pq.ParquetWriter(path, changed[0].schema) as writer:
        for part in changed:
            writer.write_table(part)


def nan(values):
    values[3, 1] = np.nan
    return values


def test_nan_in_the_data_is_refused(dataset_copy, tmp_path, tiny_backbone):
    rewrite(dataset_copy, 'observation.state', nan)
    with pytest.raises(TrainError, match=r'observation\.state is not finite in 6 of 144 rows, '
                       r'first in row 3: \[.*, nan\]'):
        train(small_job('palm_e_frozen', tmp_path, dataset_copy, tiny_backbone))
    rewrite(dataset_copy, 'action', nan)
    with pytest.raises(TrainError, match=r': action is not finite in 6 of 144 rows'):
        train(small_job('frozen_head', tmp_path, dataset_copy, tiny_backbone))


def test_actions_of_another_dimension_are_refused(dataset_copy, tmp_path, tiny_backbone):
    rewrite(dataset_copy, 'action', lambda values: np.tile(values, (1, 4))[:, :7])
    with pytest.raises(TrainError, match='its actions have 7 dimensions, its contract 2'):
        train(small_job('frozen_head', tmp_path, dataset_copy, tiny_backbone))


def test_a_state_token_needs_odometry(tmp_path, tiny_backbone):
    from drawn_world import write_dataset
    dataset = write_dataset(tmp_path / 'still', 2, 8, odometry=False)
    with pytest.raises(TrainError, match='has no observation.state, .*palm_e_frozen'):
        train(small_job('palm_e_frozen', tmp_path, dataset, tiny_backbone))


@pytest.mark.parametrize('name, changes, message', [
    ('lora_head', {}, "variant 'lora_head' trains on images .*give --data"),
    ('frozen_head', {'head.inputs': ['velocity']}, 'velocity, which is not measured .*give --dat'),
    ('frozen_head', {'head.inputs': ['previous_action']}, 'no policy is told .*give --rounds 0'),
])
def test_what_simulation_cannot_teach_is_refused_first(tmp_path, tiny_backbone, name, changes,
                                                       message):
    with pytest.raises(TrainError, match=message):
        train(small_job(name, tmp_path, None, tiny_backbone, changes, rounds=1))
    assert not (tmp_path / 'cache').exists()


def test_an_lstm_that_carries_its_state_needs_more_than_single_frames(tmp_path, dataset,
                                                                      tiny_backbone):
    job = small_job('frozen_head', tmp_path, dataset, tiny_backbone,
                    {'tune': 'lora', 'training.steps': 1})
    with pytest.raises(TrainError, match='sequences of one frame .*Set head.window=12, or train'):
        train(job)
    assert not job.work.exists()
    train(replace(job, recipe=job.recipe.with_settings({'training.window': 4})))


@pytest.mark.parametrize('arguments, message', [
    (['--variant', 'lora_haed'], "unknown variant 'lora_haed'; did you mean 'lora_head'"),
    (['--set', 'training.stepps=3'], "did you mean 'training.steps'"),
    (['--set', 'head.windw=12'], "did you mean 'head.window'"),
    (['--episodes', '-1'], '--episodes is -1; expected at least 0'),
    (['--backbone', './nowhere'], "backbone './nowhere': there is no such folder"),
    (['--backbone', str(share_path('models/nano'))], 'that is a policy, expected the vision-'),
    (['--backbone', './nowhere', '--data', 'nope'], 'nope does not exist'),
    (['--data', 'dataset', '--rounds', '1'], '--rounds is for demonstrations in simulation'),
    (['--questions', 'views'], "variant 'frozen_head' mixes in no vision-language data"),
    (['--seed', '999'], 'training.seed is 999; expected at most 998 in simulation'),
])
def test_bad_arguments_are_one_line(capsys, tmp_path, arguments, message):
    assert main(['train', '--out', str(tmp_path / 'model'), '--work', str(tmp_path / 'work'),
                 *arguments]) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert not (tmp_path / 'work').exists()


def test_demonstrations_show_no_scene_of_a_rollout(capsys, tmp_path):
    assert main(['demos', '--out', str(tmp_path / 'demos'), '--episodes', '3', '--seed',
                 '999999998']) == 2
    assert '--seed is 999999998; expected 0 to 999999997' in capsys.readouterr().err
    assert not (tmp_path / 'demos').exists()


@pytest.mark.parametrize('own, used', [
    (None, '{image}{instruction}<where>'), ('{image}go: {instruction}',) * 2])
def test_a_nano_backbone_is_asked_as_it_was_pretrained(capsys, tmp_path, dataset, tiny_backbone,
                                                       own, used):
    import shutil
    backbone = shutil.copytree(tiny_backbone, tmp_path / 'nano')
    pretrained = {'prompt': '{image}{instruction}<where>'}
    (backbone / 'pretraining.json').write_text(json.dumps(pretrained))
    recipe = tmp_path / 'mine.yaml'
    recipe.write_text(json.dumps({'context': {'prompt': own}} if own else {}))
    assert main(['train', '--variant', str(recipe), '--data', str(dataset), '--backbone',
                 str(backbone), '--out', str(tmp_path / 'model'), '--work', str(tmp_path / 'work'),
                 '--cache', str(tmp_path / 'cache'), '--set', 'training.steps=1']) == 0
    manifest = json.loads((tmp_path / 'model' / 'policy.json').read_text())
    assert manifest['variant']['context']['prompt'] == used
    assert ('with which' in capsys.readouterr().err) == (own is None)


def test_a_backbone_without_vision_is_refused(tmp_path, dataset):
    from transformers import LlamaConfig
    LlamaConfig(hidden_size=64, num_hidden_layers=1).save_pretrained(tmp_path / 'llama')
    with pytest.raises(BackboneError, match="of type 'llama', which is not a vision-lang"):
        train(small_job('frozen_head', tmp_path, dataset, tmp_path / 'llama'))


def test_action_tokens_have_no_head_to_begin_from(tmp_path, trained, dataset, tiny_backbone):
    with pytest.raises(TrainError, match='decodes action tokens and has no head'):
        train(small_job('openvla_lora', tmp_path, dataset, tiny_backbone,
                        init_from=str(trained('frozen_head').path)))
    with pytest.raises(CheckpointError, match='does not fit this one'):
        train(small_job('frozen_head', tmp_path, dataset, tiny_backbone, {'head.width': 8},
                        init_from=str(trained('frozen_head').path)))
