"""Policy heads: a sequence of contexts becomes a sequence of action chunks.

Every head has one forward for training and driving: `head(context, inputs, state)` takes
T steps and the state left by the steps before, so that streaming one frame at a time gives the
numbers of the whole sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn

from vla_nav.policy.errors import SettingsError
from vla_nav.policy.registry import Registry
from vla_nav.policy.settings import from_dict, require
from vla_nav.policy.soft import FiLM, StateEncoder

INPUTS = ('previous_action', 'velocity')
LAYERED = ('hidden', 'cell')
"""Parts of a state that have the rows second, after the layers."""


@dataclass(frozen=True)
class HeadSettings:
    """Shape of a policy head."""

    kind: str = 'lstm'
    """mlp or lstm on the context; residual on OFT's placeholders; none for action tokens."""
    chunk: int = 8
    """Actions predicted per frame (K)."""
    window: int = 0
    """Frames of history. mlp: how many enter (0 or 1: the present one alone). lstm: recompute
    the state from that many (RoboFlamingo: 12); 0 carries the state without end."""
    width: int = 256
    """Hidden size of the trunk."""
    layers: int = 2
    """Hidden layers of the trunk."""
    token_width: int = 128
    """Size the pooled token is projected to."""
    image_token_width: int = 8
    """Size each image token is projected to, before they are laid side by side."""
    dropout: float = 0.0
    output: str = 'linear'
    """linear or tanh, on normalised actions."""
    output_reach: float = 1.0
    """What tanh is multiplied by. To stand still is often -1, which tanh alone nears but never
    reaches: the robot creeps on."""
    output_layers: int = 1
    """Linear layers from the trunk to the actions, with ReLU between them."""
    state_token: bool = False
    """Put the base's velocity into the prompt as a soft token (PaLM-E)."""
    film: bool = False
    """Let the sentence scale and shift every vision block (OFT+)."""
    inputs: tuple[str, ...] = ()
    """previous_action and velocity, where wanted. Off by default: a head that is told what it
    did just now learns to repeat it (arXiv 1905.11979)."""

    def __post_init__(self) -> None:
        HEADS[self.kind]
        require(1 <= self.chunk <= 256, 'head.chunk', self.chunk, '1 to 256 actions')
        require(0 <= self.window <= 1024, 'head.window', self.window, '0 to 1024 frames')
        for name in ('width', 'layers', 'token_width', 'image_token_width', 'output_layers'):
            value = getattr(self, name)
            require(value >= 1, f'head.{name}', value, 'at least 1')
        require(0 <= self.dropout < 1, 'head.dropout', self.dropout, '0 to below 1')
        require(self.output in ('linear', 'tanh'), 'head.output', self.output, 'linear or tanh')
        require(1 <= self.output_reach <= 2, 'head.output_reach', self.output_reach, '1 to 2')
        object.__setattr__(self, 'inputs', tuple(self.inputs))
        for name in self.inputs:
            require(name in INPUTS, 'head.inputs', name, ' or '.join(INPUTS))

    @classmethod
    def from_dict(cls, data: dict) -> HeadSettings:
        """Read settings from plain data; unknown keys are refused with the nearest name."""
        return from_dict(cls, data, 'head')

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self)


@dataclass
class HeadState:
    """What a head remembers of the frames before, one row per episode."""

    age: torch.Tensor
    """int64 (B,): frames seen since the episode began."""
    history: torch.Tensor | None = None
    """(B, window - 1, E) embedded contexts, newest last; rows younger than that are padded."""
    hidden: tuple[torch.Tensor, torch.Tensor] | None = None
    """LSTM h and c, (layers, B, width)."""

    def reset(self, rows: torch.Tensor) -> None:
        """Begin new episodes in the given rows."""
        self.age[rows] = 0
        if self.hidden is not None:
            for part in self.hidden:
                part[:, rows] = 0

    def tensors(self) -> dict[str, torch.Tensor]:
        """What there is of it by name: age, history, hidden, cell."""
        hidden, cell = self.hidden or (None, None)
        named = {'age': self.age, 'history': self.history, 'hidden': hidden, 'cell': cell}
        return {k: v for k, v in named.items() if v is not None}

    def select(self, rows: Sequence[int]) -> HeadState:
        """The state of these episodes, in this order; if these are all, in theirs, itself."""
        if list(rows) == list(range(len(self.age))):
            return self
        index = torch.tensor(list(rows), device=self.age.device)
        return HeadState.of({
            name: value.index_select(1 if name in LAYERED else 0, index)
            for name, value in self.tensors().items()
        })

    @classmethod
    def stack(cls, rows: Sequence[HeadState]) -> HeadState:
        """The inverse of selecting each."""
        if len(rows) == 1:
            return rows[0]
        named = [row.tensors() for row in rows]
        return cls.of({
            name: torch.cat([n[name] for n in named], dim=1 if name in LAYERED else 0)
            for name in named[0]
        })

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> HeadState:
        """Build it from what `tensors` gave; other names are ignored."""
        hidden = (tensors['hidden'], tensors['cell']) if 'hidden' in tensors else None
        return cls(tensors['age'], tensors.get('history'), hidden)


class InputStage(nn.Module):
    """Contexts (B, T, n, D) to vectors (B, T, E): each image token gets a few numbers of its own.

    The first token is projected to `token_width`, each of the others, by one shared projection,
    to `image_token_width`; laid side by side they keep where in the image they are from.
    """

    def __init__(self, settings: HeadSettings, tokens: int, width: int, action_dim: int):
        super().__init__()
        self.tokens, self.width = tokens, width
        self.norm_in = nn.LayerNorm(width, elementwise_affine=False)
        self.first = nn.Linear(width, settings.token_width)
        self.image = nn.Linear(width, settings.image_token_width) if tokens > 1 else None
        self.extra = len(settings.inputs) * action_dim
        self.size = (
            settings.token_width + (tokens - 1) * settings.image_token_width + self.extra
        )
        self.norm = nn.LayerNorm(self.size - self.extra)

    def forward(self, context: torch.Tensor, inputs: torch.Tensor | None) -> torch.Tensor:
        if context.shape[2:] != (self.tokens, self.width):
            raise SettingsError(
                f'context has {tuple(context.shape[2:])} tokens and width; the head was made for '
                f'{(self.tokens, self.width)}'
            )
        context = self.norm_in(context)
        parts = [self.first(context[:, :, 0])]
        if self.image is not None:
            parts.append(self.image(context[:, :, 1:]).flatten(2))
        x = self.norm(torch.cat(parts, dim=-1))
        if self.extra:
            if inputs is None or inputs.shape != (*x.shape[:2], self.extra):
                found = None if inputs is None else tuple(inputs.shape)
                raise SettingsError(
                    f'head inputs: found {found}, expected {(*x.shape[:2], self.extra)}'
                )
            x = torch.cat([x, inputs], dim=-1)
        return x  # (B, T, E)


class Head(nn.Module):
    """Everything that is trained from scratch: the head proper and what feeds the backbone."""

    def __init__(
        self, settings: HeadSettings, tokens: int, width: int, action_dim: int,
        vision: tuple[int, int] | None = None,
    ):
        super().__init__()
        self.settings = settings
        self.action_dim = action_dim
        self.context_shape = (tokens, width)
        self.vision = vision if settings.film else None
        self.state_encoder = StateEncoder(action_dim, width) if settings.state_token else None
        self.film = None
        if settings.film:
            require(vision is not None, 'head.film', True, 'a backbone with vision blocks')
            self.film = FiLM(width, *vision)

    def initial_state(self, rows: int) -> HeadState:
        """State of `rows` episodes that have seen nothing yet."""
        parameter = next(self.parameters(), torch.empty(0))
        return HeadState(torch.zeros(rows, dtype=torch.long, device=parameter.device))

    def forward(
        self, context: torch.Tensor, inputs: torch.Tensor | None = None,
        state: HeadState | None = None,
    ) -> tuple[torch.Tensor, HeadState]:
        """Predict chunks for T consecutive frames.

        context: (B, T, n, D); inputs: (B, T, extra) or None; state: of the frames before, None at
        an episode's start. Returns normalised chunks (B, T, K, A) and the state after frame T.
        """
        raise NotImplementedError


class SequenceHead(Head):
    """Common to heads with history: input stage, output layer, the embeddings of frames before."""

    def __init__(self, settings: HeadSettings, tokens: int, width: int, *args):
        super().__init__(settings, tokens, width, *args)
        self.stage = InputStage(settings, tokens, width, self.action_dim)
        before = [(nn.Linear(settings.width, settings.width), nn.ReLU())
                  for _ in range(1, settings.output_layers)]
        self.before_output = nn.Sequential(*(layer for pair in before for layer in pair))
        self.output = nn.Linear(settings.width, settings.chunk * self.action_dim)

    def initial_state(self, rows: int) -> HeadState:
        state = super().initial_state(rows)
        if self.settings.window > 1:
            shape = (rows, self.settings.window - 1, self.stage.size)
            state.history = self.output.weight.new_zeros(shape)
        return state

    def forward(
        self, context: torch.Tensor, inputs: torch.Tensor | None = None,
        state: HeadState | None = None,
    ) -> tuple[torch.Tensor, HeadState]:
        x = self.stage(context, inputs)
        state = state or self.initial_state(len(x))
        features, state = self.trunk(x, state)
        actions = self.output(self.before_output(features))
        actions = actions.unflatten(-1, (self.settings.chunk, self.action_dim))
        if self.settings.output == 'tanh':
            actions = self.settings.output_reach * actions.tanh()
        return actions, state

    def trunk(self, x: torch.Tensor, state: HeadState) -> tuple[torch.Tensor, HeadState]:
        """Vectors (B, T, E) to features (B, T, width)."""
        raise NotImplementedError

    def _windows(self, x: torch.Tensor, state: HeadState) -> tuple[torch.Tensor, torch.Tensor]:
        """Per frame its window (B, T, W, E), newest last, and how many of W are real (B, T)."""
        window = self.settings.window
        steps = x.shape[1]
        joined = torch.cat([state.history, x], dim=1)  # (B, W - 1 + T, E)
        windows = joined.unfold(1, window, 1).transpose(2, 3)
        age = state.age[:, None] + torch.arange(1, steps + 1, device=x.device)
        return windows, age.clamp(max=window)

    def _advance(self, x: torch.Tensor, state: HeadState, hidden=None) -> HeadState:
        history = state.history
        if history is not None:
            history = torch.cat([history, x], dim=1)[:, -history.shape[1]:]
        return HeadState(state.age + x.shape[1], history, hidden)


HEADS: Registry[type[Head]] = Registry('head')


@HEADS.register('mlp')
class MLPHead(SequenceHead):
    """A window of frames side by side, then hidden layers; the first frame stands in for none."""

    def __init__(self, settings: HeadSettings, tokens: int, width: int, *args):
        super().__init__(settings, tokens, width, *args)
        sizes = [self.stage.size * max(settings.window, 1)] + [settings.width] * settings.layers
        blocks = []
        for before, after in zip(sizes, sizes[1:]):
            blocks += [nn.Linear(before, after), nn.GELU(), nn.Dropout(settings.dropout)]
        self.body = nn.Sequential(*blocks)

    def trunk(self, x: torch.Tensor, state: HeadState) -> tuple[torch.Tensor, HeadState]:
        if self.settings.window <= 1:
            return self.body(x), self._advance(x, state)
        windows, real = self._windows(x, state)
        window = windows.shape[2]
        index = torch.arange(window, device=x.device).expand(*real.shape, window)
        index = torch.maximum(index, (window - real)[..., None])  # the oldest real frame
        windows = windows.gather(2, index[..., None].expand_as(windows))
        return self.body(windows.flatten(2)), self._advance(x, state)


@HEADS.register('lstm')
class LSTMHead(SequenceHead):
    """An LSTM over the frames of an episode, its state carried or recomputed from a window."""

    def __init__(self, settings: HeadSettings, tokens: int, width: int, *args):
        super().__init__(settings, tokens, width, *args)
        between = settings.dropout if settings.layers > 1 else 0.0
        self.lstm = nn.LSTM(
            self.stage.size, settings.width, settings.layers, batch_first=True, dropout=between
        )
        self.dropout = nn.Dropout(settings.dropout)

    def initial_state(self, rows: int) -> HeadState:
        state = super().initial_state(rows)
        if self.settings.window == 0:
            shape = (self.settings.layers, rows, self.settings.width)
            zeros = self.output.weight.new_zeros(shape)
            state.hidden = (zeros, zeros.clone())
        return state

    def trunk(self, x: torch.Tensor, state: HeadState) -> tuple[torch.Tensor, HeadState]:
        if self.settings.window == 0:
            features, hidden = self.lstm(x, state.hidden)
        else:
            features, hidden = self._recomputed(x, state), None
        return self.dropout(features), self._advance(x, state, hidden)

    def _recomputed(self, x: torch.Tensor, state: HeadState) -> torch.Tensor:
        if self.settings.window == 1:
            return self.lstm(x.flatten(0, 1)[:, None])[0].view(*x.shape[:2], -1)
        windows, real = self._windows(x, state)
        rows, steps, window, size = windows.shape
        # Shift each window so that its oldest real frame comes first; what follows the newest
        # does not reach back through time.
        index = torch.arange(window, device=x.device) + (window - real)[..., None]
        index = index.clamp(max=window - 1)
        shifted = windows.gather(2, index[..., None].expand_as(windows))
        features, _ = self.lstm(shifted.reshape(rows * steps, window, size))
        newest = (real - 1).flatten()
        picked = features[torch.arange(len(features), device=x.device), newest]
        return picked.view(rows, steps, -1)


class ResidualBlock(nn.Module):
    """x + relu(linear(norm(x)))."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


@HEADS.register('residual')
class ResidualHead(Head):
    """OpenVLA-OFT's head (arXiv 2502.19645), for each action of the chunk by itself.

    The hidden states of the action's placeholders, side by side, go through LayerNorm, Linear and
    residual blocks.
    """

    def __init__(self, settings: HeadSettings, tokens: int, width: int, *args):
        super().__init__(settings, tokens, width, *args)
        require(tokens == settings.chunk * self.action_dim, 'context', tokens,
                f'{settings.chunk} x {self.action_dim} placeholders')
        size = width * self.action_dim
        self.body = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, settings.width), nn.ReLU(),
            *(ResidualBlock(settings.width) for _ in range(settings.layers)),
            nn.LayerNorm(settings.width), nn.Linear(settings.width, self.action_dim),
        )

    def forward(
        self, context: torch.Tensor, inputs: torch.Tensor | None = None,
        state: HeadState | None = None,
    ) -> tuple[torch.Tensor, HeadState]:
        rows, steps, _, width = context.shape
        state = state or self.initial_state(rows)
        # (B, T, K * A, D) -> (B, T, K, A * D)
        actions = self.body(context.reshape(rows, steps, self.settings.chunk, -1))
        return actions, HeadState(state.age + steps)


@HEADS.register('none')
class NoHead(Head):
    """For action tokens, which the language model's own head predicts."""


def build_head(
    settings: HeadSettings, tokens: int, width: int, action_dim: int,
    vision: tuple[int, int] | None = None,
) -> Head:
    """Make the head for contexts (tokens, width), freshly initialised by torch's own generator.

    vision: number and size of the backbone's vision blocks, where FiLM is wanted.
    """
    return HEADS[settings.kind](settings, tokens, width, action_dim, vision)
