"""Several models measured on the same data, frames and scenes; what is done once stays done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.evaluation.data import Sample, draw_sample, held_out, open_dataset, remembers
from vla_nav.evaluation.errors import EvaluationError
from vla_nav.evaluation.latency import Latency, machine, measure_latency
from vla_nav.evaluation.models import Model, check_alike, load_policy, open_models
from vla_nav.evaluation.offline import OfflineErrors, offline_errors
from vla_nav.evaluation.rollout import Attempt, RolloutSettings, count_trials, rollout
from vla_nav.evaluation.similarity import (
    Contexts,
    Projection,
    Similarity,
    compare_contexts,
    contexts,
    movement,
    project,
)
from vla_nav.evaluation.store import Store
from vla_nav.sim.task import TIME_LIMIT_S
from vla_nav.training.progress import Progress


@dataclass(frozen=True)
class CompareSettings:
    """On what models are compared."""

    scenes: int = 100
    """Of each split."""
    seed: int = 0
    level: str = 'standard'
    frames: int = 256
    """Of the dataset, whose contexts are compared."""
    time_limit_s: float = TIME_LIMIT_S
    device: str = 'cpu'
    workers: int = 1
    """Processes that drive."""
    threads: int = 1
    """Of torch, while latencies are measured."""

    def __post_init__(self) -> None:
        """Refuse scenes that do not exist now, and not after an hour of measuring."""
        _ = self.seen, self.unseen

    @property
    def seen(self) -> RolloutSettings:
        """Scenes like those of training, each once per object in view too."""
        return RolloutSettings(self.scenes, self.seed, self.level, swap=True,
                               time_limit_s=self.time_limit_s)

    @property
    def unseen(self) -> RolloutSettings:
        """Scenes whose target is a colour and shape that no demonstration shows together."""
        return replace(self.seen, split='unseen-pairs', swap=False)


@dataclass(frozen=True)
class Measured:
    """Everything about one model."""

    model: Model
    latency: Latency
    machine: dict
    """That the latency was measured on."""
    errors: OfflineErrors
    seen: list[Attempt]
    """With the swapped sentences among them."""
    unseen: list[Attempt]
    similarity: Similarity | None
    """To the frozen model; None for that itself, and where there is none."""
    movement: np.ndarray | None
    """How far another sentence moves the context of each frame."""
    projection: Projection

    @property
    def plain(self) -> list[Attempt]:
        """One attempt a scene, with the scene's own sentence."""
        return [attempt for attempt in self.seen if not attempt.swapped]

    @property
    def swapped(self) -> list[Attempt]:
        """The same scenes with other sentences."""
        return [attempt for attempt in self.seen if attempt.swapped]


@dataclass(frozen=True)
class Comparison:
    """What `compare` measured."""

    settings: CompareSettings
    dataset: EpisodeDataset
    episodes: tuple[int, ...]
    """Of the dataset, that errors and contexts come from."""
    unseen_data: bool
    """Whether it is known that no model was trained on these episodes."""
    sample: Sample
    machine: dict
    """That most latencies were measured on."""
    measured: tuple[Measured, ...]
    frozen: Measured | None
    """What the others are held against."""

    @property
    def others(self) -> list[Measured]:
        """All but the frozen one."""
        return [each for each in self.measured if each is not self.frozen]


def compare(names: Sequence[str | Path], data: Path, out: Path, settings: CompareSettings,
            reference: str | None = None, measure: bool = True) -> Comparison:
    """Measure models; results lie under `out`, and are not made again by a second call.

    reference: label of the frozen model to hold the others against; by default the first.
    measure: whether to measure what was not measured yet. If not, no weights are needed, and
    latencies may come from other machines.
    Raises EvaluationError for models or data that cannot be compared, and where results that must
    not be measured are missing.
    """
    if len(names) < 2:
        raise EvaluationError(f'{len(names)} model given; expected at least two to compare')
    models = open_models(names, weights=measure)
    check_alike(models)
    store = Store(out)
    dataset = open_dataset(data)
    check_alike(models, dataset.contract, str(data))
    frozen = _reference(models, reference)
    episodes = held_out(models, dataset)
    unseen_data = bool(episodes) and all(remembers(model, dataset) for model in models)
    episodes = episodes or list(range(len(dataset)))
    sample = draw_sample(dataset, settings.frames, episodes, settings.seed)
    work = _Work(store, dataset, tuple(episodes), sample, settings, frozen, measure)
    latencies, where = _latencies(store, models, settings, measure)
    order = sorted(models, key=lambda model: model is not frozen)
    measured = {model.label: work.measure(model, *latencies[model.sha256]) for model in order}
    return Comparison(settings, dataset, tuple(episodes), unseen_data, sample, where,
                      tuple(measured[model.label] for model in models),
                      measured[frozen.label] if frozen else None)


def drive(store: Store, model: Model, settings: RolloutSettings, workers: int, device: str,
          measure: bool = True) -> list[Attempt]:
    """Drive what was not driven yet; where `measure` is false, raise EvaluationError for that."""
    log = store.attempts({'sha256': model.sha256, **settings.facts})
    done = log.read()
    if not measure and (missing := count_trials(settings, done)):
        raise _unmeasured(store, model, f'{missing} rollouts ({settings.split})')
    title = f'{model.label}: {settings.split}, rollouts'
    with Progress(title, count_trials(settings)) as progress:
        return rollout(model.path, settings, workers, progress.advance, device=device,
                       done=done, keep=log.append)


class _Work:
    """Measures one model after the other on the same things."""

    def __init__(self, store: Store, dataset: EpisodeDataset, episodes: tuple[int, ...],
                 sample: Sample, settings: CompareSettings, frozen: Model | None,
                 measure: bool) -> None:
        self._store = store
        self._dataset = dataset
        self._episodes = episodes
        self._sample = sample
        self._settings = settings
        self._frozen = frozen
        self._measure = measure
        self._reference: Contexts | None = None
        self._facts = {'data': dataset.sha256, 'tasks': dataset.tasks_sha256,
                       'episodes': list(episodes)}

    def measure(self, model: Model, latency: Latency, machine: dict) -> Measured:
        """Measure a model, or read what was measured."""
        errors = self._errors(model)
        alike = self._alike(model)
        seen, unseen = (drive(self._store, model, settings, self._settings.workers,
                              self._settings.device, self._measure)
                        for settings in (self._settings.seen, self._settings.unseen))
        similarity = alike['similarity']
        if similarity is not None:
            cosine = similarity.pop('cosine')
            similarity = Similarity(cosine=None if cosine is None else np.array(cosine),
                                    **similarity)
        moved = alike['movement']
        return Measured(model, latency, machine, errors, seen, unseen, similarity,
                        None if moved is None else np.array(moved),
                        Projection(**alike['projection']))

    def _errors(self, model: Model) -> OfflineErrors:
        def make() -> dict:
            self._require(model, 'errors')
            frames = sum(self._dataset.episodes[e].length for e in self._episodes)
            with Progress(f'{model.label}: open loop, frames', frames) as progress:
                made = offline_errors(self._policy(model), self._dataset, self._episodes,
                                      progress.advance)
            return {name: value.tolist() for name, value in vars(made).items()}

        key = {'sha256': model.sha256, **self._facts}
        kept = self._store.get('offline', key, make)
        return OfflineErrors(**{name: np.array(value) for name, value in kept.items()})

    def _alike(self, model: Model) -> dict:
        """Similarity to the frozen model, movement by the sentence, and the projection."""
        def make() -> dict:
            self._require(model, 'contexts')
            own = self._contexts(model)
            similarity = None
            if self._frozen is not None and model is not self._frozen:
                if self._reference is None:
                    self._reference = self._contexts(self._frozen)
                similarity = asdict(compare_contexts(self._reference, own))
                if similarity['cosine'] is not None:
                    similarity['cosine'] = similarity['cosine'].tolist()
            elif model is self._frozen:
                self._reference = own
            moved = movement(own)
            return {'similarity': similarity, 'projection': asdict(project(own)),
                    'movement': None if moved is None else moved.tolist()}

        key = {'sha256': model.sha256, **self._facts, 'frames': self._settings.frames,
               'seed': self._settings.seed,
               'frozen': self._frozen.sha256 if self._frozen else None}
        return self._store.get('contexts', key, make)

    def _contexts(self, model: Model) -> Contexts:
        with Progress(f'{model.label}: contexts, frames', len(self._sample)) as progress:
            return contexts(self._policy(model), self._sample, progress.advance)

    def _policy(self, model: Model):
        return load_policy(model.path, self._settings.device)

    def _require(self, model: Model, what: str) -> None:
        if not self._measure:
            raise _unmeasured(self._store, model, what)


def _unmeasured(store: Store, model: Model, what: str) -> EvaluationError:
    return EvaluationError(f'{store.root}: {what} of {model.label} ({model.sha256[:12]}) missing; '
                           'expected everything measured. Measure it without --report-only')


def _reference(models: Sequence[Model], name: str | None) -> Model | None:
    if name is None:
        return next((model for model in models if model.frozen), None)
    for model in models:
        if name in (model.label, model.checkpoint.name, str(model.path)):
            if model.frozen:
                return model
            raise EvaluationError(f'reference {name} was trained with tune: '
                                  f'{model.checkpoint.variant.tune}; expected a frozen model '
                                  '(tune: head)')
    raise EvaluationError(f'reference {name} is not among the models; expected one of '
                          f'{", ".join(model.label for model in models)}')


def _latencies(store: Store, models: Sequence[Model], settings: CompareSettings, measure: bool
               ) -> tuple[dict[str, tuple[Latency, dict]], dict]:
    """By hash, latency and its machine; and the machine that most were measured on.

    They are measured one model after the other, before anything else runs.
    """
    here = machine(settings.device, settings.threads)
    load = here.pop('load')
    most, places = here, {model.sha256: here for model in models}
    if not measure:
        most, places = _where_measured(store, models, here)

    def make(model: Model) -> dict:
        return asdict(measure_latency(model.path, settings.device, settings.threads)) | {
            'load': load}

    found, loads = {}, []
    with Progress('latencies, models', len(models)) as progress:
        for model in models:
            place = places[model.sha256]
            kept = store.get('latency', {'sha256': model.sha256, **place},
                             lambda model=model: make(model))
            load_then = kept.pop('load')
            if place == most:
                loads.append(load_then)
            found[model.sha256] = Latency(**kept), place
            progress.advance(1)
    return found, most | {'load': max(loads)}


def _where_measured(store: Store, models: Sequence[Model], here: dict
                    ) -> tuple[dict, dict[str, dict]]:
    """The machine that the most models were measured on, this one if it can be; and each's own."""
    machines = [here]
    measured = {model.sha256: [] for model in models}
    for key in store.keys('latency'):
        sha256 = key.pop('sha256')
        if key not in machines:
            machines.append(key)
        if sha256 in measured:
            measured[sha256].append(key)
    for model in models:
        if not measured[model.sha256]:
            raise _unmeasured(store, model, 'latency')
    most = max(machines, key=lambda each: sum(each in own for own in measured.values()))
    return most, {sha256: most if most in own else own[0] for sha256, own in measured.items()}
