"""Second stage of pretraining: connector and language model, on features of the frozen tower.

Each image is asked several things at once: the questions stand behind one another in a packed
sequence, and a block mask lets each see the image and itself alone, so that no answer can be
copied from an earlier one and the image is read only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vla_nav.training.grounding import (
    BEARINGS,
    CAPTION,
    COLOUR_NAMES,
    DISTANCES,
    LOCATION_TOKENS,
    NOWHERE,
    PAIRS,
    SHAPE_NAMES,
    WHERE,
    cell,
    sentence,
)
from vla_nav.training.precision import half_precision
from vla_nav.training.resume import cosine_rate, load_state, save_state
from vla_nav.training.views import Views

SAVE_EVERY_STEPS = 200
CLEAR_SHARE = 16 / 192 ** 2
"""An object with less of the frame than this is neither in view nor out of it: nobody asks."""
WORD, LOCATION = 1, 2


@dataclass(frozen=True)
class LanguageSettings:
    """How connector and language model are trained."""

    samples: int = 120_000
    """Images seen, counting repeats."""
    batch: int = 64
    questions: int = 6
    """Sequences about each image; one of them is a caption."""
    rate: float = 2e-3
    warm_up: int = 200
    weight_decay: float = 0.02


@dataclass(frozen=True)
class Packed:
    """A batch of packed sequences behind their images' tokens."""

    ids: torch.Tensor
    """int64 (B, T)."""
    segment: torch.Tensor
    """int64 (B, T): 0 the image's part, 1.. the questions, -1 padding."""
    position: torch.Tensor
    """int64 (B, T): each question counts on from the image's part."""
    kind: torch.Tensor
    """int64 (B, T): what the token at this place has to predict: WORD, LOCATION or nothing."""
    word: torch.Tensor
    """int64 (B, T): the next token, where kind is WORD."""
    bearing: torch.Tensor
    """int64 (B, T): the bin, where kind is LOCATION; -1 = not in view."""
    distance: torch.Tensor
    """int64 (B, T), likewise."""

    def mask(self) -> torch.Tensor:
        """Float (B, 1, T, T): 0 where a place may look at another, very low where not."""
        length = self.ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        same = self.segment[:, :, None] == self.segment[:, None, :]
        image = self.segment[:, None, :] == 0
        allowed = ((same | image) & causal)[:, None]
        return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)


def clearly(visible: np.ndarray) -> np.ndarray:
    """The objects (n, 5) of a view that are so large that one may ask about them."""
    return visible[visible[:, 4] >= CLEAR_SHARE]


def choose_pairs(visible: np.ndarray, count: int, rng: np.random.Generator
                 ) -> Iterator[tuple[tuple[int, int], np.ndarray | None]]:
    """Colour and shape to ask for, and the object, or None where there is no such thing in view.

    Half are in view, half are not, most of these like something in view.
    """
    known = {(int(o[0]), int(o[1])) for o in visible if o[0] >= 0}
    absent = [pair for pair in PAIRS if pair not in known]
    alike = [pair for pair in absent if any(pair[0] == c or pair[1] == s for c, s in known)]
    present = [o for o in rng.permutation(clearly(visible)) if (int(o[0]), int(o[1])) in PAIRS]
    for turn in range(count):
        if present and rng.random() < 0.55:
            # Each object once: asking again would show the answer's words twice, not more.
            thing = present[turn % len(present)]
            yield (int(thing[0]), int(thing[1])), thing
        else:
            pool = alike if alike and rng.random() < 0.7 else absent
            yield pool[rng.integers(len(pool))], None


class Asker:
    """Turns what is in view into packed token sequences."""

    def __init__(self, tokenizer, prefix: list[int], questions: int) -> None:
        self._tokenizer = tokenizer
        self._prefix = prefix
        self._questions = questions
        ids = tokenizer.convert_tokens_to_ids
        self.nowhere, self.first_location = ids(NOWHERE), ids(LOCATION_TOKENS[0])
        self._where, self._caption, self._end = ids(WHERE), ids(CAPTION), tokenizer.eos_token_id

    def pack(self, objects: np.ndarray, rng: np.random.Generator) -> Packed:
        """Ask about B images; `objects` is (B, MAX_OBJECTS, 5) as in Views."""
        rows = []
        for visible in objects:
            segments = [self._describe(rng.permutation(clearly(visible)))]
            segments += [self._ask(pair, thing)(rng)
                         for pair, thing in choose_pairs(visible, self._questions - 1, rng)]
            rows.append(segments)
        return self._join(rows)

    def _ask(self, pair, thing):
        answer = None if thing is None else cell(thing[2], thing[3])

        def build(rng):
            text = sentence(COLOUR_NAMES[pair[0]], SHAPE_NAMES[pair[1]], rng)
            ids = self._encode(text) + [self._where]
            return ids, {len(ids) - 1: answer or (-1, -1)}
        return build

    def _describe(self, things):
        ids, places = [self._caption], {}
        for thing in things:
            ids += self._encode(f'{COLOUR_NAMES[int(thing[0])]} {SHAPE_NAMES[int(thing[1])]}')
            bearing, distance = cell(thing[2], thing[3])
            places[len(ids) - 1] = (bearing, distance)
            ids.append(self.first_location + bearing * DISTANCES + distance)
        return [*ids, self._end], places

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)['input_ids']

    def _join(self, rows) -> Packed:
        start = len(self._prefix)
        length = start + max(sum(len(ids) for ids, _ in segments) for segments in rows)
        fields = {name: np.full((len(rows), length), fill, np.int64) for name, fill in (
            ('ids', self._tokenizer.pad_token_id), ('segment', -1), ('position', 0), ('kind', 0),
            ('word', 0), ('bearing', -1), ('distance', -1))}
        for row, segments in enumerate(rows):
            fields['ids'][row, :start] = self._prefix
            fields['segment'][row, :start] = 0
            fields['position'][row, :start] = np.arange(start)
            at = start
            for number, (ids, places) in enumerate(segments, start=1):
                span = slice(at, at + len(ids))
                fields['ids'][row, span] = ids
                fields['segment'][row, span] = number
                fields['position'][row, span] = start + np.arange(len(ids))
                if ids[0] == self._caption:
                    fields['kind'][row, at:at + len(ids) - 1] = WORD
                    fields['word'][row, at:at + len(ids) - 1] = ids[1:]
                for offset, (bearing, distance) in places.items():
                    fields['kind'][row, at + offset] = LOCATION
                    fields['bearing'][row, at + offset] = bearing
                    fields['distance'][row, at + offset] = distance
                at += len(ids)
        return Packed(**{name: torch.from_numpy(value) for name, value in fields.items()})


def hidden_states(model, features: torch.Tensor, packed: Packed) -> torch.Tensor:
    """Run connector and language model: features (B, P, width) -> hidden (B, T, width)."""
    core = model.model
    tokens = core.connector(features)
    embeddings = core.text_model.get_input_embeddings()(packed.ids)
    places = packed.ids == model.config.image_token_id
    embeddings = embeddings.masked_scatter(places[..., None], tokens.to(embeddings.dtype))
    return core.text_model(inputs_embeds=embeddings, attention_mask=packed.mask(),
                           position_ids=packed.position, use_cache=False).last_hidden_state


def answer_losses(model, hidden: torch.Tensor, packed: Packed, asker: Asker) -> tuple:
    """Loss of words and of locations, and the share of exact cells among the answers."""
    words = packed.kind == WORD
    word_loss = functional.cross_entropy(model.lm_head(hidden[words]).float(),
                                         packed.word[words])
    places = packed.kind == LOCATION
    bearing, distance = packed.bearing[places], packed.distance[places]
    logits = model.lm_head(hidden[places]).float().log_softmax(-1)
    cells = logits[:, asker.first_location:asker.first_location + BEARINGS * DISTANCES]
    cells = cells.reshape(-1, BEARINGS, DISTANCES)
    seen = bearing >= 0
    # A neighbouring bearing is nearly right; distances are read off the marginal as well.
    near = functional.one_hot(bearing[seen], BEARINGS).float()
    smooth = 0.8 * near + 0.1 * (near.roll(1, -1) + near.roll(-1, -1))
    loss = -(smooth * cells[seen].logsumexp(2)).sum(-1)
    loss = loss - cells[seen].logsumexp(1).gather(1, distance[seen, None])[:, 0]
    place_loss = (loss.sum() - 2 * logits[~seen, asker.nowhere].sum()) / len(bearing)
    with torch.no_grad():
        best = logits.argmax(-1)
        truth = torch.where(seen, asker.first_location + bearing * DISTANCES + distance,
                            torch.as_tensor(asker.nowhere))
        exact = float((best == truth)[seen].float().mean())
        absent = float((best == truth)[~seen].float().mean())
    return word_loss, place_loss, {'cell': exact, 'absent': absent}


def cache_features(tower: nn.Module, views: Views, path: Path, width: int,
                   progress: Callable[[int], None], batch: int = 100) -> np.ndarray:
    """Run the frozen tower over all views once: float16 (N, P, width), on disk."""
    from vla_nav.training.vision import to_pixels
    patches = views.colour.shape[1] * views.colour.shape[2]
    features = np.lib.format.open_memmap(path, 'w+', np.float16, (len(views), patches, width))
    with torch.inference_mode(), half_precision():
        for start in range(0, len(views), batch):
            chosen = range(start, min(start + batch, len(views)))
            pixels = to_pixels(np.stack([views.image(i) for i in chosen]))
            out = tower(pixel_values=pixels).last_hidden_state
            features[start:start + len(chosen)] = out.float().numpy()
            progress(len(chosen))
    return features


def train_language(model, asker: Asker, features: np.ndarray, views: Views,
                   settings: LanguageSettings, seed: int, state: Path,
                   report: Callable[[int, dict], None]) -> None:
    """Train connector and language model in place; goes on from `state` where it exists."""
    torch.manual_seed(seed)
    model.model.text_model.set_attn_implementation('eager')
    modules = {'connector': model.model.connector, 'text': model.model.text_model,
               'answer': model.lm_head}
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, settings.rate, betas=(0.9, 0.98),
                                  weight_decay=settings.weight_decay)
    steps, step = settings.samples // settings.batch, 0
    if state.exists():
        step = load_state(state, modules, optimizer)['step']
        report(step * settings.batch, {})

    def prepare(step):
        rng = np.random.default_rng((seed, step))
        chosen = np.sort(rng.integers(len(features), size=settings.batch))
        return (torch.from_numpy(features[chosen].astype(np.float32)),
                asker.pack(views.objects[chosen], rng))

    model.train()
    with ThreadPoolExecutor(1) as loader:
        pending = loader.submit(prepare, step)
        while step < steps:
            images, packed = pending.result()
            pending = loader.submit(prepare, step + 1)
            for group in optimizer.param_groups:
                group['lr'] = cosine_rate(step, steps, settings.warm_up, settings.rate)
            with half_precision():
                hidden = hidden_states(model, images, packed)
            word_loss, place_loss, right = answer_losses(model, hidden.float(), packed, asker)
            (word_loss + place_loss).backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            report(settings.batch, {'loss': float((word_loss + place_loss).detach()), **right})
            if step % SAVE_EVERY_STEPS == 0 or step == steps:
                save_state(state, modules, optimizer, {'step': step})
    model.eval()
