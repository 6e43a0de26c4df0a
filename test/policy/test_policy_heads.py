"""Heads: streaming one frame at a time equals the whole sequence at once."""

import pytest
import torch

from vla_nav.policy import HeadSettings, SettingsError, build_head

ROWS, STEPS, TOKENS, WIDTH = 3, 9, 5, 12

KINDS = [
    {'kind': 'mlp'},
    {'kind': 'mlp', 'window': 4},
    {'kind': 'lstm'},
    {'kind': 'lstm', 'layers': 3, 'output': 'tanh'},
    {'kind': 'lstm', 'window': 1},
    {'kind': 'lstm', 'window': 4},
]


def make(tokens=TOKENS, **settings):
    torch.manual_seed(0)
    small = {'width': 16, 'token_width': 6, 'image_token_width': 2, 'chunk': 3, **settings}
    return build_head(HeadSettings(**small), tokens, WIDTH, 2).eval()


@pytest.fixture
def context():
    return torch.randn(ROWS, STEPS, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))


def stream(head, context):
    state, chunks = None, []
    for t in range(context.shape[1]):
        chunk, state = head(context[:, t:t + 1], state=state)
        chunks.append(chunk)
    return torch.cat(chunks, 1)


@pytest.mark.parametrize('settings', KINDS)
def test_streamed_equals_sequence(settings, context):
    head = make(**settings)
    whole, _ = head(context)
    assert whole.shape == (ROWS, STEPS, 3, 2)
    torch.testing.assert_close(stream(head, context), whole)


def test_tanh_reaches_what_lies_at_the_end_of_the_range(context):
    """Standing still, mostly: no weights give it to a tanh that ends there."""
    for reach, ends in ((1.0, 0), (1.1, ROWS * STEPS * 3 * 2)):
        head = make(output='tanh', output_reach=reach)
        torch.nn.init.constant_(head.output.bias, -1.8)  # 1.1 tanh(-1.8) is -1.04
        torch.nn.init.zeros_(head.output.weight)
        assert int((head(context)[0] <= -1).sum()) == ends
    with pytest.raises(SettingsError, match='head.output_reach is 3; expected 1 to 2'):
        make(output='tanh', output_reach=3)


@pytest.mark.parametrize('settings', KINDS)
def test_a_row_equals_itself_alone(settings, context):
    head = make(**settings)
    torch.testing.assert_close(head(context)[0][1:2], head(context[1:2])[0])


@pytest.mark.parametrize('settings', KINDS)
def test_a_row_that_begins_anew_forgets(settings, context):
    head = make(**settings)
    _, state = head(context[:, :5])
    state.reset(torch.tensor([1]))
    chunks, _ = head(context[:, 5:], state=state)
    torch.testing.assert_close(chunks[1:2], head(context[1:2, 5:])[0])
    torch.testing.assert_close(chunks[[0, 2]], head(context[[0, 2]])[0][:, 5:])


@pytest.mark.parametrize('settings', KINDS)
def test_the_future_has_no_influence(settings, context):
    head = make(**settings)
    changed = context.clone()
    changed[:, 5:] *= -1
    torch.testing.assert_close(head(context)[0][:, :5], head(changed)[0][:, :5])


def test_a_windowed_lstm_sees_its_window_alone(context):
    head = make(kind='lstm', window=4)
    chunks, _ = head(context)
    recomputed, _ = head(context[:, 3:7])
    torch.testing.assert_close(chunks[:, 6], recomputed[:, 3])
    changed = context.clone()
    changed[:, 2] *= -1
    torch.testing.assert_close(head(changed)[0][:, 6], chunks[:, 6])
    assert not torch.allclose(head(changed)[0][:, 5], chunks[:, 5])


def test_a_windowed_lstm_is_a_plain_one_within_its_window(context):
    carried, windowed = make(kind='lstm'), make(kind='lstm', window=STEPS)
    torch.testing.assert_close(windowed(context)[0], carried(context)[0])


def test_image_tokens_are_told_apart_by_place(context):
    head = make()
    swapped = context[:, :, [0, 2, 1, 3, 4]]
    assert not torch.allclose(head(context)[0], head(swapped)[0])


def test_extra_inputs_matter_and_are_checked(context):
    head = make(inputs=('previous_action', 'velocity'))
    zeros = torch.zeros(ROWS, STEPS, 4)
    assert not torch.allclose(head(context, zeros)[0], head(context, zeros + 1)[0])
    with pytest.raises(SettingsError, match=r'found None, expected \(3, 9, 4\)'):
        head(context)


def test_another_context_is_refused():
    with pytest.raises(SettingsError, match=r'\(4, 12\).*made for \(5, 12\)'):
        make()(torch.zeros(1, 1, 4, WIDTH))


@pytest.mark.parametrize('settings', KINDS)
def test_training_lowers_the_loss(settings, context):
    head = make(**settings).train()
    target = torch.tanh(context[:, :, 0, :6].view(ROWS, STEPS, 3, 2))
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.huber_loss(head(context)[0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert all(p.grad is not None for p in head.parameters())
