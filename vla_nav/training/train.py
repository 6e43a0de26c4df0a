"""From a backbone and demonstrations to a checkpoint folder: what `vla_nav train` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vla_nav.contract import Camera, Contract
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.evaluation.rollout import FIRST_SEED as ROLLOUTS
from vla_nav.policy import (
    Backbone,
    Checkpoint,
    Head,
    PolicyModel,
    Tuning,
    Variant,
    adopt_trunk,
    choose_token_ids,
    make_head,
    read_head,
    resolve_model,
    save_checkpoint,
)
from vla_nav.policy.checkpoint import HEAD, MANIFEST
from vla_nav.policy.prompts import IMAGE
from vla_nav.training.contexts import (
    cache_contexts,
    can_cache,
    check_source,
    context_facts,
    own_episodes,
)
from vla_nav.training.data import (
    Demonstrations,
    Track,
    check_statistics,
    fingerprint,
    read_tracks,
)
from vla_nav.training.demonstrations import SEARCHES, collect, is_search, load_episodes
from vla_nav.training.errors import TrainError
from vla_nav.training.folders import keyed_folder
from vla_nav.training.judge import success
from vla_nav.training.objective import ContextObjective, FrameObjective
from vla_nav.training.precision import set_formats
from vla_nav.training.progress import Progress, say
from vla_nav.training.questions import Questions, make_questions, open_questions
from vla_nav.training.run import Run, device_name, origin, peak_memory_bytes
from vla_nav.training.samples import ContextSource, FrameSource
from vla_nav.training.settings import Recipe
from vla_nav.training.trainer import Judge, Trainer, make_accelerator

FIRST_SEED = 1_000_000
"""Demonstration scenes are FIRST_SEED + 1,000,000 * seed + n: those of rollouts come after."""
SEEDS = range((ROLLOUTS - FIRST_SEED) // 1_000_000)


@dataclass(frozen=True)
class Job:
    """One call of `vla_nav train`."""

    recipe: Recipe
    backbone: str
    """Folder or hub id."""
    out: Path
    """Where the checkpoint goes."""
    work: Path
    """Folder for training states and logs."""
    data: Path | None = None
    """A dataset; without it the scripted expert demonstrates in simulation."""
    cache: Path = Path('data/contexts')
    """Folder for contexts, shared among runs."""
    revision: str | None = None
    """Of a hub id."""
    contract: Contract | None = None
    """Of the simulated robot; a dataset has its own."""
    episodes: int = 0
    """How many of the dataset's episodes are used; 0: all, or 500 in simulation."""
    rounds: int = 0
    """Rounds in simulation in which the policy drives and the expert corrects (DAgger), but for
    one episode in four, which demonstrates a search."""
    round_episodes: int = 250
    init_from: str | None = None
    """A checkpoint or head whose trunk the head begins with."""
    questions: Path | None = None
    """Vision-language data for variants that mix it in."""
    resume: bool = False
    share_backbone: bool = False
    """Refer to the backbone of the checkpoint beside `out` instead of copying it."""
    workers: int = 1
    """Processes that simulate."""


def train(job: Job) -> Checkpoint:
    """Train what a job describes and write its checkpoint.

    Every process of `accelerate launch` calls it; the first one writes. Raises VlaNavError for
    what cannot be trained, KeyboardInterrupt when interrupted, after saving the state.
    """
    return Training(job).run()


class Training:
    """A job under way: its processes, backbone and files."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.settings = job.recipe.training
        self.variant = job.recipe.variant
        self.accelerator = make_accelerator()
        self.main = self.accelerator.is_main_process
        self.files = Run(job.work)
        # Before the backbone is loaded, which may take minutes.
        self.dataset = None if job.data is None else EpisodeDataset(job.data)
        device = self.accelerator.device
        precision = self.settings.precision
        self.bf16 = precision == 'bf16' or (
            precision == 'auto' and device.type == 'cuda' and torch.cuda.is_bf16_supported())
        # What trains keeps its master weights in float32.
        narrow = self.bf16 and self.variant.tune in ('head', 'lora')
        self.backbone = Backbone.load(job.backbone, job.revision, device=device,
                                      dtype=torch.bfloat16 if narrow else torch.float32)
        self.measured: dict = {}

    def run(self) -> Checkpoint:
        """Train on the dataset, or in simulation."""
        job = self.job
        if job.out.exists() and not (job.out / MANIFEST).exists() and (
                job.out.is_file() or any(job.out.iterdir())):
            raise TrainError(f'{job.out} exists and is no checkpoint; choose another folder for '
                             '--out, as it would be replaced')
        out, work = job.out.resolve(), job.work.resolve()
        if out.is_relative_to(work) or work.is_relative_to(out):
            raise TrainError(f'--work is {job.work}, --out is {job.out}; expected neither inside '
                             'the other, as the checkpoint replaces the whole of --out. Choose '
                             'another --work folder')
        self._where(job.out)
        dataset = self.dataset
        check_source(job.recipe, dataset is None, job.rounds)
        if dataset is None and self.settings.seed not in SEEDS:
            raise TrainError(f'training.seed is {self.settings.seed}; expected at most {SEEDS[-1]}'
                             ' in simulation, as the scenes of others are those of rollouts')
        if self.main:
            self.files.begin({
                **job.recipe.to_dict(), 'backbone_sha256': self.backbone.sha256,
                'dataset_sha256': dataset.sha256 if dataset else None,
                'tasks_sha256': dataset.tasks_sha256 if dataset else None,
                'contract': None if dataset else job.contract.to_dict(),
                'questions': str(job.questions or '') if self.variant.vision_language else None,
                'episodes': job.episodes, 'init_from': job.init_from,
                'rounds': [job.rounds, job.round_episodes] if job.data is None else None,
            }, job.resume)
            if (job.out / MANIFEST).exists():
                say(f'{job.out} holds a checkpoint, which will be replaced')
        self.accelerator.wait_for_everyone()
        if dataset is None:
            self._in_simulation(job.contract)
        else:
            self._on_dataset(dataset)
        if self.main:
            self.files.finish()
            judge = f'offline --validation --data {job.data}' if job.data else 'rollout'
            say(f'saved {job.out}; next: vla_nav {judge} --model {job.out}')
        self.accelerator.wait_for_everyone()
        return Checkpoint.open(job.out, quick=True)

    def _on_dataset(self, dataset: EpisodeDataset) -> None:
        tracks = read_tracks(dataset, self.variant, self.job.episodes)
        check_statistics(dataset)
        data = self._split(tracks, dataset.contract, {
            'source': dataset.root.name, 'dataset_sha256': dataset.sha256})
        data.facts['trained_on'] = [fingerprint(tracks[episode].actions)
                                    for episode in data.training]
        if can_cache(self.variant):
            contexts = self.contexts(dataset, self.variant, len(tracks))
            self._fit_head('head', self.job.out, contexts, data)
        else:
            self._fit_policy(dataset, data.mirrored() if self.settings.mirror else data)

    def _in_simulation(self, contract: Contract) -> None:
        """Rounds of demonstrations, each of which the head is trained on anew."""
        job = self.job
        demonstrations = count = job.episodes or 500
        seed = FIRST_SEED + 1_000_000 * self.settings.seed
        episodes, driver, searches = [], None, 0
        for number in range(job.rounds + 1):
            title = f'round {number}: corrections' if number else 'demonstrations'
            seeds = range(seed, seed + count)
            episodes += load_episodes(self._demonstrate(title, contract, driver, seeds))
            searches += sum(map(is_search, seeds)) if number else 0
            seed, count = seeds.stop, job.round_episodes
            data = self._split([Track(e.actions) for e in episodes], contract, {
                'source': 'simulation', 'demonstrations': demonstrations,
                'correction_rounds': number, 'correction_episodes': number * count - searches,
                'demonstrated_searches': searches})
            driver = job.out if number == job.rounds else job.work / f'driver_{number}'
            self._fit_head(f'head_{number}', driver, [e.contexts for e in episodes], data)

    def _split(self, tracks: Sequence[Track], contract: Contract, facts: dict) -> Demonstrations:
        settings = self.settings
        return Demonstrations.of(tracks, contract, settings.validation, settings.seed, facts)

    def _demonstrate(self, title: str, contract: Contract, driver: Path | None, seeds: range
                     ) -> Path:
        pilot = None if driver is None else Checkpoint.open(driver, quick=True).files[HEAD].sha256
        folder = keyed_folder(self.job.cache, {
            **context_facts(self.backbone, self.variant, contract), 'driver': pilot,
            'contract': contract.to_dict(), 'seeds': [seeds.start, seeds.stop],
            **({'searches_shown': SEARCHES} if driver else {})})
        if self.main:
            with Progress(title, len(seeds), unit='episodes') as progress:
                collect(folder, self.backbone.folder, self.variant, contract, driver, seeds,
                        self.job.workers, progress.advance)
        self.accelerator.wait_for_everyone()
        return folder

    def contexts(self, dataset: EpisodeDataset, variant: Variant, count: int
                 ) -> list[np.ndarray]:
        """Contexts of the dataset's first episodes, from the cache or computed now."""
        episodes = range(count)
        with Progress('contexts', len(own_episodes(episodes, self.accelerator)), unit='episodes',
                      silent=not self.main) as progress:
            contexts, seconds = cache_contexts(
                self.job.cache, dataset, episodes, self.backbone, variant, self.accelerator,
                progress.advance)
        self.measured['contexts_seconds'] = seconds
        return contexts

    def new_head(self, data: Demonstrations) -> Head:
        """A fresh head, or one begun from another."""
        torch.manual_seed(self.settings.seed)
        camera, source = data.contract.camera, self.job.init_from
        head = make_head(self.backbone, self.variant, camera.height, camera.width,
                         data.normaliser.action_dim)
        if source is not None:
            if self.variant.decode == 'tokens':
                raise TrainError(f"--init-from {source}: variant '{self.variant.name}' decodes "
                                 'action tokens and has no head; leave it out')
            path = Path(source) if Path(source).exists() else resolve_model(source)
            new = adopt_trunk(head, read_head(path), source)
            data.facts['head_begun_from'] = {'source': path.name, 'new_weights': new}
        return head

    def head_trainer(self, stage: str, head: Head, variant: Variant,
                     contexts: Sequence[np.ndarray], data: Demonstrations, steps: int,
                     judge: Judge | None = None) -> Trainer:
        """A trainer of a head on contexts."""
        settings = replace(self.settings, steps=steps)
        objective = ContextObjective(head, variant, settings.context_noise,
                                     self.accelerator.device)
        return Trainer(f'{variant.name}, {stage}', self.accelerator, objective,
                       ContextSource(contexts, data, variant, settings), settings,
                       self.files.state(stage), self.files.logs(stage), judge)

    def _fit_head(self, stage: str, out: Path, contexts: Sequence[np.ndarray],
                  data: Demonstrations) -> None:
        """Train a head over contexts and save the checkpoint."""
        head = self.new_head(data)
        trainer = self.head_trainer(stage, head, self.variant, contexts, data,
                                    self.settings.steps, self._judge(head, data))
        trainer.run()
        self._finish(out, trainer, head, data)
        self.accelerator.wait_for_everyone()  # it may drive the next round

    def _fit_policy(self, dataset: EpisodeDataset, data: Demonstrations) -> None:
        """Train a variant that changes the backbone, or feeds it, and save the checkpoint."""
        settings, camera = self.settings, data.contract.camera
        questions = self._questions(camera)
        if self.variant.decode == 'tokens' and not self.variant.tokens.ids:
            self.variant = self._with_tokens(dataset, questions)
        head = self.new_head(data)
        if settings.probe:
            self._probe(dataset, head, data)
        model = PolicyModel(self.backbone, self.variant, head, camera.height, camera.width)
        torch.manual_seed(settings.seed)
        tuning = Tuning(self.backbone, self.variant.tune, self.variant.lora,
                        self.variant.tokens.ids)
        self._prepare_backbone()
        source = FrameSource(dataset, data, self.variant, settings, questions)
        trainer = Trainer(
            self.variant.name, self.accelerator, FrameObjective(model, self.bf16), source,
            settings, self.files.state('policy'), self.files.logs('policy'),
            self._judge(head, data, tuning),
            settings.backbone_rate or min(0.1 / self.backbone.width, 1e-3))
        trainer.run()
        self._finish(self.job.out, trainer, head, data, tuning)

    def _probe(self, dataset: EpisodeDataset, head: Head, data: Demonstrations) -> None:
        """Train the head alone on cached contexts of the backbone as it is."""
        frozen = replace(self.variant, tune='head')
        if not can_cache(frozen):
            raise TrainError(
                f"training.probe: variant '{self.variant.name}' has no contexts that could be "
                'cached (action tokens, a state token or FiLM); set training.probe=0')
        contexts = self.contexts(dataset, frozen, len(data.tracks))
        trainer = self.head_trainer('probe', head, frozen, contexts, data, self.settings.probe)
        trainer.run()
        self.measured['probe_seconds'] = trainer.seconds

    def _questions(self, camera: Camera) -> Questions | None:
        if not self.variant.vision_language:
            return None
        folder = self.job.questions
        if folder is None:
            with self.accelerator.main_process_first():  # the others find them made
                folder = make_questions(self.job.cache, camera, self.settings.views,
                                        self.job.workers)
        return open_questions(folder, camera, self.backbone.tokenizer)

    def _with_tokens(self, dataset: EpisodeDataset, questions: Questions | None) -> Variant:
        """The variant with the tokens chosen that stand for actions."""
        texts = [self.variant.context.text(task).replace(IMAGE, '') for task in dataset.tasks]
        texts += questions.texts() if questions else []
        ids = choose_token_ids(self.backbone.tokenizer, self.variant.tokens.bins, texts)
        return self.variant.with_settings({'tokens.ids': ids})

    def _prepare_backbone(self) -> None:
        """Number formats and gradient checkpointing."""
        model = self.backbone.model
        set_formats(self.backbone, self.bf16)
        if self.settings.checkpointing:
            if not model.supports_gradient_checkpointing:
                raise TrainError(f"backbone of type '{self.backbone.model_type}' has no gradient "
                                 'checkpointing; set training.checkpointing=false')
            model.gradient_checkpointing_enable({'use_reentrant': False})

    def _judge(self, head: Head, data: Demonstrations, tuning: Tuning | None = None
               ) -> Judge | None:
        """What judges the policy in closed loop, where the settings ask for it."""
        if self.settings.judge != 'success':
            return None
        candidate = self.job.work / 'candidate'

        def judge() -> float:
            self._save(candidate, head, data, {}, tuning)
            return success(candidate, self.settings.judge_scenes, self.job.workers)
        return judge

    def _finish(self, out: Path, trainer: Trainer, head: Head, data: Demonstrations,
                tuning: Tuning | None = None) -> None:
        """Write the checkpoint with where it comes from and what was measured."""
        if not self.main:
            return
        measured = {
            'seconds': trainer.seconds + sum(self.measured.values()), **self.measured,
            'steps': trainer.step, 'frames': trainer.frames,
            'frames_per_s': trainer.frames_per_s, 'peak_memory_bytes': peak_memory_bytes(),
            'trainable_parameters': trainer.trainable_parameters,
            'device': device_name(self.accelerator.device),
            'processes': self.accelerator.num_processes}
        command, errors = data.contract.command, dict(trainer.errors)
        for i, (name, unit) in enumerate(zip(command.fields, command.units)):
            errors[f'RMSE of {name} ({unit})'] = errors.pop(f'rmse_{i}')
        self._save(out, head, data, {
            **origin(), 'seed': self.settings.seed, 'data': data.facts,
            'training': asdict(self.settings),
            'backbone_sha256': self.backbone.sha256,  # it began with, even if all of it was tuned
            'backbone_parameters': sum(p.numel() for p in self.backbone.model.parameters()),
            'measured': {'validation': errors, 'training': measured},
        }, tuning)
        say('validation: ' + ', '.join(f'{name} {value:.3f}' for name, value in errors.items()))

    def _save(self, out: Path, head: Head, data: Demonstrations, provenance: dict,
              tuning: Tuning | None = None) -> None:
        save_checkpoint(out, variant=self.variant, head=head, backbone=self.backbone,
                        context_shape=head.context_shape, contract=data.contract,
                        normaliser=data.normaliser, provenance=provenance, tuning=tuning,
                        **self._where(out))

    def _where(self, out: Path) -> dict:
        """How a checkpoint at `out` names its backbone; nothing where it holds a copy."""
        folder = self.backbone.folder.resolve()
        if not Path(self.job.backbone).expanduser().is_dir():
            return {'repo': self.job.backbone, 'revision': folder.name}
        beside = folder.parent
        if not self.job.share_backbone or out.parent == self.job.work:
            return {}
        if folder.name != 'backbone' or beside.parent != out.resolve().parent \
                or beside == out.resolve():
            raise TrainError(f'--share-backbone: the backbone is {folder}; expected the one '
                             f'inside a checkpoint beside {out}')
        return {'beside': beside.name}
