"""A policy's decision at fixed shapes: what is exported to ONNX and captured as a CUDA graph.

transformers' forwards look at values (where are the image tokens, is this image padding), build
masks and rotary tables each time, and so can be neither exported nor captured. Here the blocks of
the same model are called one after the other, with the arguments that its own forward gave them:
recorded once, as they depend on the length of the prompt alone.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils._pytree import tree_map

from vla_nav.policy.backbone import HiddenStates
from vla_nav.policy.context import INSTRUCTION, POOLINGS
from vla_nav.policy.errors import PolicyError
from vla_nav.policy.fused import fused
from vla_nav.policy.heads import HeadState
from vla_nav.policy.model import PolicyModel
from vla_nav.policy.oft import PlaceholderReader
from vla_nav.policy.parts import blocks
from vla_nav.policy.prompts import IMAGE, SUFFIX_VALUES, Tokens, extend
from vla_nav.policy.soft import SoftInputs
from vla_nav.policy.vision import VISIONS

Feed = dict[str, torch.Tensor]


class StaticError(PolicyError):
    """A policy has no form of fixed shapes; transformers' own forward runs it."""


def refuse_static(model: PolicyModel) -> None:
    """Raise StaticError for a policy that cannot be brought to fixed shapes."""
    backbone, prompt = model.backbone, model.variant.context.prompt
    if model.words is not None:
        raise StaticError(
            f"decode '{model.variant.decode}' says one token after another, each depending on the "
            'one before: it runs on the torch engine alone; decodes head and chunk_oft can be '
            'exported'
        )
    if backbone.model_type not in VISIONS:
        raise StaticError(
            f"backbone of type '{backbone.model_type}' has no form of fixed shapes here (known: "
            f'{", ".join(sorted(VISIONS))}): it runs on the torch engine alone'
        )
    if prompt.find(IMAGE) > prompt.find(INSTRUCTION):
        raise StaticError(
            f"context.prompt is '{prompt}': the place of the image moves with the instruction; "
            'expected the image first'
        )


class StaticForward(nn.Module):
    """The decision for prompts of up to `length` tokens; `prepare` pads shorter ones on the right.

    `prompt` computes what depends on the instruction alone, `step` the rest, for each frame. Both
    speak in named tensors: `image` uint8 (B, H, W, 3), or `pixels` where the image processor
    must resize; `chunk` (B, K, A) normalised; the state's names are those of `HeadState.tensors`.
    """

    def __init__(self, model: PolicyModel, length: int):
        super().__init__()
        refuse_static(model)
        backbone, reader = model.backbone, model.reader
        self.head = model.head
        self.length = length
        self.pooling = reader.settings.pooling
        self.placeholders = getattr(reader, 'placeholders', 0)
        self.suffix = len(reader.suffix())
        self.film = reader.film if isinstance(reader, PlaceholderReader) else None
        self.prefix_sees_itself = backbone.model_type in SUFFIX_VALUES  # PaliGemma
        self.embed = backbone.model.get_input_embeddings()
        self._feed = backbone.feed
        self._pad = backbone.pad_id
        images = backbone.reader(reader.height, reader.width)
        self.image_name = 'image' if images.direct else 'pixels'
        scale, shift = (v.flatten().repeat(reader.width) for v in (images.scale, images.shift))
        self.register_buffer('scale', scale.to(backbone.device), persistent=False)  # (W * 3,)
        self.register_buffer('shift', shift.to(backbone.device), persistent=False)
        language = blocks(backbone.model, 'language', backbone.layers)
        layer = reader.settings.layer
        count = layer if layer >= 0 else backbone.layers + 1 + layer
        self.blocks = fused(language[:count])
        """Up to the one whose output is read: the rest is not computed."""
        self.norm = None
        if count == backbone.layers:
            self.norm = fused(_owner(backbone.model, language).norm)
        self._record(model, language)

    @torch.no_grad()
    def _record(self, model: PolicyModel, language: nn.ModuleList) -> None:
        """Run the model's own forward once and keep what its language blocks were given."""
        backbone, reader = model.backbone, model.reader
        blank = torch.zeros(reader.height, reader.width, 3, dtype=torch.uint8).numpy()
        batch = reader.tokens(['go'])
        missing = self.length - batch['input_ids'].shape[1]
        if missing < 0:
            raise StaticError(
                f'a prompt of {self.length} tokens: the image and the words around the '
                f'instruction alone take {self.length - missing}'
            )
        batch.pop('sentence', None)
        batch = extend(batch, [self._pad] * missing, backbone.model_type)
        inputs = backbone.pixels([blank])
        calls: list[tuple[tuple, dict]] = []
        hooks = [
            block.register_forward_pre_hook(
                lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
            for block in language
        ]
        try:
            backbone.hidden_states({**batch, **inputs}, last_layer_only=True)
        finally:
            for hook in hooks:
                hook.remove()
        self._arguments = [_without_mask(*call) for call in calls[:len(self.blocks)]]
        pixels = inputs['pixel_values'].flatten(0, -4)  # Idefics3: (B, images, 3, h, w)
        self.vision = fused(VISIONS[backbone.model_type](backbone, pixels))
        _, image, _ = backbone.masks(batch)
        places = image[0].nonzero().flatten()
        self.first, self.after = int(places[0]), int(places[-1]) + 1
        if self.after - self.first != len(places):
            raise StaticError('its image tokens do not follow one another in the prompt')
        ids = batch['input_ids'].masked_fill(image, self._pad)
        entered, embedded = _hidden(*calls[0]), self.embed(ids)
        features = self.vision(pixels)
        # Some models scale embeddings on the way in: by how much is read off.
        self.text_scale = _ratio(entered[~image], embedded[~image])
        self.image_scale = _ratio(entered[image], features[0])

    def prepare(self, batch: Tokens) -> Feed:
        """Inputs of `prompt`, from the tokens of a reader: padded to this form's length."""
        ids, mask = batch['input_ids'], batch['attention_mask']
        ids = nn.functional.pad(ids, (0, self.length - ids.shape[1]), value=self._pad)
        ids[:, self.first:self.after] = self._pad
        feed = {'tokens': ids, 'length': mask.sum(1)}
        if self.film is not None:
            feed['sentence'] = batch['sentence']
        return feed

    def prompt(self, feed: Feed) -> Feed:
        """What depends on the instruction alone, out of tokens (B, L) and length (B,)."""
        tokens, length = feed['tokens'], feed['length']
        self._feed(None)
        embedded = self.embed(tokens) * self.text_scale
        place = torch.arange(tokens.shape[1], device=tokens.device)
        valid = place < length[:, None]  # (B, L)
        acting = valid & (place >= length[:, None] - self.placeholders)
        out = {'last': length - 1, 'valid': valid}
        if self.placeholders:
            embedded = embedded * ~acting[..., None]
        if self.placeholders or self.prefix_sees_itself:
            allowed = (place[:, None] >= place) | acting[..., None]  # (B, L, L)
            if self.prefix_sees_itself:
                prefix = place < length[:, None] - self.suffix
                allowed = allowed | (prefix[..., None] & prefix[:, None])
            allowed = (allowed & valid[:, None])[:, None]
            closed = torch.finfo(embedded.dtype).min
            out['mask'] = torch.where(allowed, 0.0, closed).to(embedded.dtype)
        out['words'] = embedded
        if self.film is not None:
            for index, pair in enumerate(self.film(feed['sentence'])):
                out[f'gamma{index}'], out[f'beta{index}'] = pair
        return out

    def step(self, feed: Feed) -> Feed:
        """Chunk and next state, out of the frame, the prompt's tensors and the state."""
        x = self._enter(feed)
        for block, (args, kwargs) in zip(self.blocks, self._shortened(x.shape[1])):
            x = block(x, *args, **kwargs, attention_mask=feed.get('mask'))
            x = x[0] if isinstance(x, tuple) else x
        if self.norm is not None:
            x = self.norm(x)
        context = self._pool(x, feed['last'], feed['valid']).float()
        inputs = feed.get('inputs')
        chunk, state = self.head(
            context[:, None], None if inputs is None else inputs[:, None],
            HeadState.of(feed),
        )
        return {'chunk': chunk[:, 0], **state.tensors()}

    def forward(self, feed: Feed) -> Feed:
        """Prompt and step in one."""
        return self.step({**feed, **self.prompt(feed)})

    def _shortened(self, length: int) -> list[tuple[tuple, dict]]:
        """What the language blocks are given beside hidden states, for prompts of `length`."""
        def shortened(value):
            if not torch.is_tensor(value) or self.length not in value.shape:
                return value
            return value.narrow(value.shape.index(self.length), 0, length)

        return tree_map(shortened, self._arguments)

    def _enter(self, feed: Feed) -> torch.Tensor:
        """What the first language block gets, (B, L, D)."""
        words = feed['words']
        if self.film is not None:
            pairs = [(feed[f'gamma{i}'], feed[f'beta{i}']) for i in range(len(self.film.layers))]
            nowhere = torch.zeros(len(words), 0, dtype=torch.long, device=words.device)
            self._feed(SoftInputs(nowhere, film=pairs))
        features = self.vision(self._pixels(feed).to(words.dtype)) * self.image_scale
        self._feed(None)
        x = torch.cat([words[:, :self.first], features, words[:, self.after:]], dim=1)
        if self.head.state_encoder is not None:
            vector = self.head.state_encoder(feed['velocity']).to(x.dtype)  # (B, 1, D)
            index = (feed['last'] - self.placeholders)[:, None, None].expand_as(vector)
            x = x.scatter(1, index, vector)
        return x

    def _pixels(self, feed: Feed) -> torch.Tensor:
        if self.image_name == 'pixels':
            return feed['pixels'].flatten(0, -4)
        image = feed['image']
        flat = image.flatten(2).float() * self.scale + self.shift  # (B, H, W * 3)
        return flat.unflatten(2, (-1, 3)).permute(0, 3, 1, 2)

    def _pool(self, x: torch.Tensor, last: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """The context (B, n, D), as the reader takes it."""
        if self.placeholders:
            back = torch.arange(self.placeholders - 1, -1, -1, device=x.device)
            index = (last[:, None] - back)[..., None]
            return x.gather(1, index.expand(-1, -1, x.shape[-1]))
        states = HiddenStates((), valid, None, last)
        if self.pooling == 'last+image':
            return torch.cat([POOLINGS['last'](x, states), x[:, self.first:self.after]], dim=1)
        return POOLINGS[self.pooling](x, states)


def _owner(model: nn.Module, blocks_: nn.ModuleList) -> nn.Module:
    """The module that holds a list of blocks."""
    return next(m for m in model.modules() if any(c is blocks_ for c in m.children()))


def _without_mask(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    if 'attention_mask' not in kwargs:
        raise StaticError('its language blocks take their mask by place, which is not known here')
    dropped = ('attention_mask', 'hidden_states')
    return args[1:], {k: v for k, v in kwargs.items() if k not in dropped}


def _hidden(args: tuple, kwargs: dict) -> torch.Tensor:
    return args[0] if args else kwargs['hidden_states']


def _ratio(scaled: torch.Tensor, plain: torch.Tensor) -> float:
    """The number that `plain` was multiplied with; 1 if that is what it is up to rounding."""
    scaled, plain = scaled.float().flatten(), plain.float().flatten()
    ratio = float(scaled @ plain / (plain @ plain))
    return 1.0 if abs(ratio - 1) < 1e-3 else ratio
