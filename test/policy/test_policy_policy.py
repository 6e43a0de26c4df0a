"""The policy at run time."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from vla_nav.contract import Frame
from vla_nav.policy import ContextSettings, InstructionError, Policy, PolicyError

WORDS = ['go to the red cone', 'go', 'head for the yellow cylinder on the left']


@pytest.fixture(scope='module')
def policy(make_policy):
    return make_policy()


def run(policy, instruction, frames):
    policy.reset(instruction)
    return [policy.step(f).actions for f in frames]


def test_a_chunk(policy, frames):
    policy.reset('go to the red cone')
    chunk = policy.step(frames[1])
    assert chunk.actions.shape == (8, 2) and chunk.actions.dtype == np.float32
    assert chunk.stamp_ns == frames[1].stamp_ns and chunk.step_s == 0.1
    low, high = policy.normaliser.low, policy.normaliser.high
    assert (chunk.actions >= np.float32(low)).all() and (chunk.actions <= np.float32(high)).all()


def test_instruction_image_and_history_matter(policy, frames):
    actions = run(policy, 'go', frames)
    assert not np.allclose(actions[0], run(policy, 'stop', frames)[0])
    assert not np.allclose(actions[0], actions[1])
    assert not np.allclose(actions[1], run(policy, 'go', frames[1:])[0])


def test_reset_forgets(policy, frames):
    np.testing.assert_array_equal(run(policy, 'go', frames), run(policy, 'go', frames))


def test_loaded_equals_saved(policy, checkpoint_folder, frames, contract):
    loaded = Policy.load(checkpoint_folder, contract, device='cpu')
    np.testing.assert_allclose(run(loaded, 'go', frames), run(policy, 'go', frames), atol=1e-6)
    assert loaded.name == 'tiny' and len(loaded.sha256) == 64


@pytest.mark.parametrize('settings', [
    {}, {'kind': 'mlp', 'window': 3}, {'window': 3}, {'inputs': ('previous_action',)},
])
def test_batch_equals_single(make_policy, frames, settings):
    policy = make_policy(**settings)
    batch = policy.batch(3)
    batch.reset(WORDS)
    orders = [[0, 1, 2, 0], [1, 2, 0, 1], [2, 0, 1, 2]]
    together = []
    for step in range(4):
        if step == 2:
            batch.reset('stop', rows=[1])
        chunks = batch.step([frames[order[step]] for order in orders])
        together.append([c.actions for c in chunks])
    alone = [run(policy, words, [frames[i] for i in order]) for words, order in zip(WORDS, orders)]
    alone[1][2:] = run(policy, 'stop', [frames[i] for i in orders[1][2:]])
    np.testing.assert_allclose(np.swapaxes(together, 0, 1), alone, atol=1e-5)


@pytest.mark.parametrize('settings', [{}, {'window': 3}, {'inputs': ('previous_action',)}])
def test_rows_that_are_kept_go_on(make_policy, frames, settings):
    policy = make_policy(**settings)
    batch = policy.batch(3)
    batch.reset(WORDS)
    batch.step(frames[:1] * 3)
    batch.keep([2, 1])
    kept = [batch.step([frames[1], frames[2]]), batch.step([frames[2], frames[0]])]
    alone = [run(policy, WORDS[2], [frames[i] for i in (0, 1, 2)])[1:],
             run(policy, WORDS[1], [frames[i] for i in (0, 2, 0)])[1:]]
    together = [[chunk.actions for chunk in chunks] for chunks in kept]
    np.testing.assert_allclose(np.swapaxes(together, 0, 1), alone, atol=1e-5)


def test_context_leaves_history_alone(policy, frames):
    expected = run(policy, 'go', frames)
    policy.reset('go')
    got = []
    for frame in frames:
        context = policy.context(frame)
        got.append(policy.step(frame).actions)
    np.testing.assert_array_equal(got, expected)
    assert context.shape == (5, 48)


def test_warm_up_leaves_the_episode_alone(policy, frames):
    expected = run(policy, 'go', frames[:2])
    policy.reset('go')
    first = policy.step(frames[0]).actions
    assert policy.warm_up() > 0
    np.testing.assert_array_equal([first, policy.step(frames[1]).actions], expected)


def test_step_before_reset(make_policy, frames):
    with pytest.raises(PolicyError, match='no instruction: call reset'):
        make_policy().step(frames[0])


def test_a_frame_of_another_size(policy):
    policy.reset('go')
    with pytest.raises(PolicyError, match=r'found uint8 \(32, 64, 3\), expected uint8 \(64, 64,'):
        policy.step(Frame(np.zeros((32, 64, 3), np.uint8), 0))


@pytest.mark.parametrize('text', ['', 'a' * 100_000, 'go to <image>'])
def test_a_bad_instruction_changes_nothing(policy, frames, text):
    expected = run(policy, 'go', frames)
    policy.reset('go')
    got = [policy.step(frames[0]).actions]
    with pytest.raises(InstructionError):
        policy.reset(text)
    got += [policy.step(f).actions for f in frames[1:]]
    np.testing.assert_array_equal(got, expected)


def test_output_that_is_not_finite(make_policy, frames):
    policy = make_policy()
    with torch.no_grad():
        policy.head.output.bias[3] = float('nan')
    policy.reset('go')
    with pytest.raises(PolicyError, match='not finite for the frame stamped 1000 ns'):
        policy.step(frames[1])


def test_velocity_is_asked_for(make_policy, frames):
    policy = make_policy(inputs=('velocity',))
    policy.reset('go')
    with pytest.raises(PolicyError, match="takes the base's velocity: found None"):
        policy.step(frames[0])
    still = policy.step(frames[0], np.array([0.0, 0.0])).actions
    policy.reset('go')
    assert not np.allclose(policy.step(frames[0], np.array([0.4, 0.5])).actions, still)


def test_a_head_for_another_context(make_policy, backbone, normaliser, contract):
    from vla_nav.policy import Variant

    head = make_policy(ContextSettings(pooling='last')).head
    with pytest.raises(PolicyError, match=r'shape \(5, 48\) .* head expects \(1, 48\)'):
        Policy(backbone, head, Variant(head=head.settings), normaliser, contract)


def test_a_device_that_is_not_there(checkpoint_folder):
    with pytest.raises(PolicyError, match="device 'tpu9' is not known"):
        Policy.load(checkpoint_folder, device='tpu9')
    if not torch.cuda.is_available():
        with pytest.raises(PolicyError, match='torch sees no GPU here'):
            Policy.load(checkpoint_folder, device='cuda')


def test_importing_the_room_imports_no_torch():
    code = 'import sys, vla_nav.policy as p; p.CheckpointError; print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'False'
