"""Actions as words: bins on [-1, 1] that take the ids of tokens the prompts do not use.

As OpenVLA does it (arXiv 2406.09246): `linspace(-1, 1, 256)`, so 255 centres, greedy decoding.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vla_nav.policy.errors import SettingsError
from vla_nav.policy.settings import require

if TYPE_CHECKING:
    import torch

    from vla_nav.policy.backbone import Backbone
    from vla_nav.policy.prompts import Tokens


@dataclass(frozen=True)
class TokenSettings:
    """How actions are written in a vocabulary."""

    bins: int = 256
    """Edges of the bins on [-1, 1]; there is one centre less."""
    ids: tuple[int, ...] = ()
    """Token id of each bin, lowest first; chosen when training begins, kept with the weights."""

    def __post_init__(self) -> None:
        require(8 <= self.bins <= 4096, 'tokens.bins', self.bins, '8 to 4096')
        ids = tuple(int(i) for i in self.ids)
        object.__setattr__(self, 'ids', ids)
        require(
            not ids or (len(ids) == len(set(ids)) == self.bins - 1 and min(ids) >= 0),
            'tokens.ids', f'{len(ids)} ids ({len(set(ids))} different)',
            f'{self.bins - 1} different ids',
        )


class ActionTokens:
    """Normalised actions to token ids and back."""

    def __init__(self, settings: TokenSettings):
        if not settings.ids:
            raise SettingsError(
                'tokens.ids is empty; expected the ids that choose_token_ids gives, which are '
                'stored with the weights trained on them'
            )
        self.ids = np.array(settings.ids)
        self.edges = np.linspace(-1.0, 1.0, settings.bins)
        self.centres = ((self.edges[:-1] + self.edges[1:]) / 2).astype(np.float32)
        self._bins = {int(token): index for index, token in enumerate(self.ids)}

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """Normalised actions (...), clipped to [-1, 1], to token ids (...)."""
        bins = np.digitize(np.clip(actions, -1.0, 1.0), self.edges) - 1
        return self.ids[np.clip(bins, 0, len(self.centres) - 1)]

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Token ids (...) to normalised actions; NaN for an id that is no action token."""
        flat = [self._bins.get(int(i), -1) for i in np.ravel(ids)]
        values = np.where(np.array(flat) < 0, np.float32('nan'), self.centres[flat])
        return values.reshape(np.shape(ids)).astype(np.float32)


def choose_token_ids(tokenizer, bins: int = 256, texts: Iterable[str] = ()) -> tuple[int, ...]:
    """Choose the ids of `bins - 1` tokens of a vocabulary that a robot's prompts use least.

    Tokens that occur in `texts` (the prompts) come last, then common ones: in byte-pair
    vocabularies the earliest merges, in unigram ones those of high probability. Special and added
    tokens, and embedding rows beyond the vocabulary, are never taken. Raises SettingsError where
    there are not enough.
    """
    used = Counter(i for text in texts for i in tokenizer(text)['input_ids'])
    ranks = _ranks(tokenizer)
    order = sorted(ranks, key=lambda i: (used[i], -ranks[i], -i))
    free = [i for i in order if not used[i]]
    if len(free) < bins - 1:
        raise SettingsError(
            f'tokens.bins is {bins}, which takes {bins - 1} tokens; the vocabulary has '
            f'{len(ranks)} ordinary ones, {len(free)} of them free. Lower tokens.bins to '
            f'{len(free) + 1} or less'
        )
    return tuple(sorted(free[:bins - 1]))


def _ranks(tokenizer) -> dict[int, float]:
    """Id to how rare a token is, for every ordinary token of the vocabulary."""
    taken = set(tokenizer.added_tokens_decoder) | set(tokenizer.all_special_ids)
    vocabulary = tokenizer.get_vocab()
    backend = getattr(tokenizer, 'backend_tokenizer', None)
    model = json.loads(backend.to_str())['model'] if backend is not None else {}
    if model.get('merges'):
        pairs = [m.split(' ') if isinstance(m, str) else m for m in model['merges']]
        order = {''.join(pair): rank for rank, pair in enumerate(pairs)}
        ranks = {i: order[token] for token, i in vocabulary.items() if token in order}
    elif model.get('type') == 'Unigram':
        scores = dict(model['vocab'])
        ranks = {i: -scores[token] for token, i in vocabulary.items() if token in scores}
    else:
        ranks = {i: i for i in vocabulary.values()}
    return {i: rank for i, rank in ranks.items() if i not in taken}


def token_loss(
    backbone: Backbone, batch: Tokens, ids: torch.Tensor, mask: torch.Tensor, soft=None,
    among: Sequence[int] | None = None,
) -> torch.Tensor:
    """Cross-entropy of token ids (B, n) that stand at the end of each row of a batch.

    mask: (B, n), the ids that count; among: the only ids that could be said. Every id is
    predicted from the position before it.
    """
    import torch
    from torch.nn import functional

    states = backbone.hidden_states(batch, last_layer_only=True, soft=soft)
    count = ids.shape[1]
    places = states.last[:, None] - count + torch.arange(count, device=ids.device)
    rows = torch.arange(len(ids), device=ids.device)[:, None]
    logits = backbone.model.get_output_embeddings()(states.layers[-1][rows, places])
    if among is not None:
        # A model has learned well never to say these tokens; that need not be unlearned.
        only = torch.full((logits.shape[-1],), float('-inf'), device=logits.device)
        only[list(among)] = 0
        logits = logits.float() + only
    each = functional.cross_entropy(logits.float().flatten(0, 1), ids.flatten(), reduction='none')
    weights = mask.flatten().to(each.dtype)
    return (each * weights).sum() / weights.sum().clamp(min=1)


def generate_ids(
    backbone: Backbone, batch: Tokens, allowed: Sequence[int], count: int, soft=None
) -> torch.Tensor:
    """Decode `count` tokens greedily, out of the allowed ones; batch padded on the left.

    Returns ids (B, count).
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

    class Only(LogitsProcessor):
        def __call__(self, input_ids, scores):
            kept = torch.full_like(scores, float('-inf'))
            kept[:, allowed] = scores[:, allowed]
            return kept

    backbone.feed(soft)
    names = backbone.accepted(backbone.model)
    length = batch['input_ids'].shape[1]
    greedy = GenerationConfig(
        do_sample=False, max_new_tokens=count, min_new_tokens=count, use_cache=True,
        pad_token_id=backbone.pad_id, eos_token_id=None,
    )
    # The checkpoint's own configuration, which may sample or punish repetition, would fill what
    # this one leaves open.
    model = backbone.model
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        outputs = model.generate(
            **{k: v for k, v in batch.items() if k in names and k != 'labels'},
            generation_config=greedy, logits_processor=LogitsProcessorList([Only()]),
        )
    finally:
        model.generation_config = own
    return outputs[:, length:]
