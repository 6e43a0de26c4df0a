"""From a backbone and demonstrations to a checkpoint folder: what `vla_nav train` does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vla_nav.contract import Contract
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.policy import (
    ActionNormaliser,
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
from vla_nav.training.contexts import cache_contexts, can_cache, context_facts
from vla_nav.training.data import check_statistics, fit_normaliser, read_tracks, split_episodes
from vla_nav.training.demonstrations import collect, load_episodes
from vla_nav.training.errors import TrainError
from vla_nav.training.folders import keyed_folder
from vla_nav.training.judge import ClosedLoop
from vla_nav.training.objective import ContextObjective, FrameObjective
from vla_nav.training.progress import Progress, say
from vla_nav.training.questions import Questions, make_questions, open_questions
from vla_nav.training.run import Run, device_name, origin, peak_memory_bytes
from vla_nav.training.samples import ContextSource, FrameSource, Track
from vla_nav.training.settings import Recipe
from vla_nav.training.trainer import Trainer, make_accelerator

FIRST_SEED = 1_000_000
"""Demonstration scenes are drawn from here on; rollouts use seeds from 1,000,000,000."""


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
    """Rounds in simulation in which the policy drives and the expert corrects (DAgger)."""
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


def context_prompt(backbone: str) -> str | None:
    """Return the prompt that a nano VLM was pretrained to answer; None for other backbones."""
    path = Path(backbone) / 'pretraining.json'
    return json.loads(path.read_text())['prompt'] if path.is_file() else None


class Training:
    """A job under way: its processes, backbone and files."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.settings = job.recipe.training
        self.variant = job.recipe.variant
        self.accelerator = make_accelerator()
        device = self.accelerator.device
        bf16 = device.type == 'cuda' and torch.cuda.is_bf16_supported()
        precision = self.settings.precision
        self.bf16 = precision == 'bf16' or (precision == 'auto' and bf16)
        # What trains keeps its master weights in float32.
        narrow = self.bf16 and self.variant.tune in ('head', 'lora')
        self.backbone = Backbone.load(job.backbone, job.revision, device=device,
                                      dtype=torch.bfloat16 if narrow else torch.float32)
        self.measured: dict = {}

    def run(self) -> Checkpoint:
        """Train on the dataset, or in simulation."""
        job = self.job
        dataset = None if job.data is None else EpisodeDataset(job.data)
        if dataset is None and not can_cache(self.variant):
            raise TrainError(
                f"variant '{self.variant.name}' trains on images (tune {self.variant.tune}): give "
                '--data DATASET, which `vla_nav demos` and `vla_nav dataset` make')
        facts = {**job.recipe.to_dict(), 'backbone_sha256': self.backbone.sha256,
                 'dataset_sha256': dataset.sha256 if dataset else None,
                 'episodes': job.episodes, 'init_from': job.init_from,
                 'rounds': [job.rounds, job.round_episodes] if job.data is None else None}
        if self.accelerator.is_main_process:
            Run.begin(job.work, facts, job.resume)
        self.accelerator.wait_for_everyone()
        self.files = Run(job.work)
        if dataset is None:
            self._in_simulation(job.contract)
        else:
            self._on_dataset(dataset)
        if self.accelerator.is_main_process:
            self.files.finish()
        self.accelerator.wait_for_everyone()
        return Checkpoint.open(job.out, quick=True)

    def _on_dataset(self, dataset: EpisodeDataset) -> None:
        tracks = read_tracks(dataset, self.variant, self.job.episodes)
        check_statistics(dataset)
        split = split_episodes(len(tracks), self.settings.validation, self.settings.seed)
        normaliser = fit_normaliser([tracks[e] for e in split[0]], dataset.contract)
        data = {'source': dataset.root.name, 'dataset_sha256': dataset.sha256}
        if can_cache(self.variant):
            contexts = self.contexts(dataset, self.variant, len(tracks))
            self._fit_head('head', self.job.out, contexts, tracks, split, normaliser,
                           dataset.contract, data)
        else:
            self._fit_policy(dataset, tracks, split, normaliser, data)

    def _in_simulation(self, contract: Contract) -> None:
        """Rounds of demonstrations, each of which the head is trained on anew."""
        job, settings = self.job, self.settings
        count = job.episodes or 500
        seed = FIRST_SEED + 1_000_000 * settings.seed
        contexts, tracks, driver = [], [], None
        for number in range(job.rounds + 1):
            title = f'round {number}: corrections' if number else 'demonstrations'
            folder = self._demonstrate(title, contract, driver, range(seed, seed + count))
            seed += count
            for episode in load_episodes(folder):
                contexts.append(episode.contexts)
                tracks.append(Track(episode.actions))
            split = split_episodes(len(tracks), settings.validation, settings.seed)
            normaliser = fit_normaliser([tracks[e] for e in split[0]], contract)
            driver = job.out if number == job.rounds else job.work / f'driver_{number}'
            data = {'source': 'simulation', 'demonstrations': job.episodes or 500,
                    'correction_rounds': number,
                    'correction_episodes': number * job.round_episodes}
            self._fit_head(f'head_{number}', driver, contexts, tracks, split, normaliser,
                           contract, data)
            count = job.round_episodes

    def _demonstrate(self, title: str, contract: Contract, driver: Path | None, seeds: range
                     ) -> Path:
        folder = keyed_folder(self.job.cache, {
            **context_facts(self.backbone, self.variant, contract),
            'contract': contract.to_dict(), 'seeds': [seeds.start, seeds.stop],
            'driver': None if driver is None else Checkpoint.open(driver, quick=True).sha256})
        if self.accelerator.is_main_process:
            with Progress(title, len(seeds), unit='episodes') as progress:
                collect(folder, self.backbone.folder, self.variant, contract, driver, seeds,
                        self.job.workers, progress.advance)
        self.accelerator.wait_for_everyone()
        return folder

    def contexts(self, dataset: EpisodeDataset, variant: Variant, count: int
                 ) -> list[np.ndarray]:
        """Contexts of the dataset's first episodes, from the cache or computed now."""
        with Progress('contexts', count, unit='episodes',
                      silent=not self.accelerator.is_main_process) as progress:
            contexts, seconds = cache_contexts(
                self.job.cache, dataset, range(count), self.backbone, variant, self.accelerator,
                progress.advance)
        self.measured['contexts_seconds'] = seconds
        return contexts

    def new_head(self, normaliser: ActionNormaliser, contract: Contract) -> tuple[Head, list[str]]:
        """A fresh head, or one begun from another; and which of its weights are new then."""
        torch.manual_seed(self.settings.seed)
        camera = contract.camera
        head = make_head(self.backbone, self.variant, camera.height, camera.width,
                         normaliser.action_dim)
        if self.job.init_from is None:
            return head, []
        if self.variant.decode == 'tokens':
            raise TrainError(f"--init-from {self.job.init_from}: variant '{self.variant.name}' "
                             'decodes action tokens and has no head; leave it out')
        source = Path(self.job.init_from)
        source = source if source.exists() else resolve_model(self.job.init_from)
        return head, adopt_trunk(head, read_head(source), str(source))

    def _fit_head(self, stage: str, out: Path, contexts: Sequence[np.ndarray],
                  tracks: Sequence[Track], split, normaliser: ActionNormaliser,
                  contract: Contract, data: dict) -> None:
        """Train a head over contexts and save the checkpoint."""
        head, new = self.new_head(normaliser, contract)
        judge = ClosedLoop(self.settings, self.job.work, self.job.workers,
                           lambda folder: self._save(folder, head, contract, normaliser, {}))
        trainer = self.head_trainer(stage, head, self.variant, contexts, tracks, split,
                                    normaliser, self.settings.steps, judge)
        trainer.run()
        self._finish(out, trainer, head, None, contract, normaliser, tracks, split, data, new)

    def head_trainer(self, stage: str, head: Head, variant: Variant,
                     contexts: Sequence[np.ndarray], tracks: Sequence[Track], split,
                     normaliser: ActionNormaliser, steps: int, judge: ClosedLoop | None = None
                     ) -> Trainer:
        """A trainer of a head on contexts."""
        settings = replace(self.settings, steps=steps)
        source = ContextSource(contexts, tracks, *split, variant, normaliser, settings)
        objective = ContextObjective(head, variant, settings.context_noise,
                                     self.accelerator.device)
        return Trainer(f'{variant.name}, {stage}', self.accelerator, objective, source,
                       normaliser, settings, self.files.state(stage), self.job.work / 'logs' /
                       stage, judge and judge.wanted())

    def _fit_policy(self, dataset: EpisodeDataset, tracks: Sequence[Track], split,
                    normaliser: ActionNormaliser, data: dict) -> None:
        """Train a variant that changes the backbone, or feeds it, and save the checkpoint."""
        settings, contract = self.settings, dataset.contract
        camera = contract.camera
        questions = self._questions(contract)
        if self.variant.decode == 'tokens' and not self.variant.tokens.ids:
            self.variant = self._with_tokens(dataset, questions)
        head, new = self.new_head(normaliser, contract)
        if settings.probe:
            self._probe(dataset, head, tracks, split, normaliser)
        model = PolicyModel(self.backbone, self.variant, head, camera.height, camera.width)
        torch.manual_seed(settings.seed)
        tuning = Tuning(self.backbone, self.variant.tune, self.variant.lora)
        self._prepare_backbone()
        rate = settings.backbone_rate or min(0.1 / self.backbone.width, 1e-3)
        source = FrameSource(dataset, tracks, *split, self.variant, normaliser, settings,
                             questions)
        judge = ClosedLoop(
            settings, self.job.work, self.job.workers,
            lambda folder: self._save(folder, head, contract, normaliser, {}, tuning))
        trainer = Trainer(self.variant.name, self.accelerator, FrameObjective(model, self.bf16),
                          source, normaliser, settings, self.files.state('policy'),
                          self.job.work / 'logs' / 'policy', judge.wanted(), rate)
        trainer.run()
        self._finish(self.job.out, trainer, head, tuning, contract, normaliser, tracks, split,
                     data, new)

    def _probe(self, dataset: EpisodeDataset, head: Head, tracks: Sequence[Track], split,
               normaliser: ActionNormaliser) -> None:
        """Train the head alone on cached contexts of the backbone as it is."""
        frozen = replace(self.variant, tune='head')
        if not can_cache(frozen):
            raise TrainError(
                f"training.probe: variant '{self.variant.name}' has no contexts that could be "
                'cached (action tokens, a state token or FiLM); set training.probe=0')
        contexts = self.contexts(dataset, frozen, len(tracks))
        trainer = self.head_trainer('probe', head, frozen, contexts, tracks, split, normaliser,
                                    self.settings.probe)
        trainer.run()
        self.measured['probe_seconds'] = trainer.seconds

    def _questions(self, contract: Contract) -> Questions | None:
        if not self.variant.vision_language:
            return None
        camera, tokenizer = contract.camera, self.backbone.tokenizer
        folder = self.job.questions
        if folder is None:
            with self.accelerator.main_process_first():  # the others find them made
                folder = make_questions(self.job.cache, camera, self.settings.views,
                                        self.job.workers)
        return open_questions(folder, camera, tokenizer)

    def _with_tokens(self, dataset: EpisodeDataset, questions: Questions | None) -> Variant:
        """The variant with the tokens chosen that stand for actions."""
        texts = [self.variant.context.text(task).replace('{image}', '') for task in dataset.tasks]
        texts += questions.texts() if questions else []
        ids = choose_token_ids(self.backbone.tokenizer, self.variant.tokens.bins, texts)
        return self.variant.with_settings({'tokens.ids': ids})

    def _prepare_backbone(self) -> None:
        """Number formats and gradient checkpointing."""
        model = self.backbone.model
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
            elif self.bf16:
                parameter.data = parameter.data.bfloat16()
        if self.settings.checkpointing:
            if not model.supports_gradient_checkpointing:
                raise TrainError(f"backbone of type '{self.backbone.model_type}' has no gradient "
                                 'checkpointing; set training.checkpointing=false')
            model.gradient_checkpointing_enable({'use_reentrant': False})

    def _finish(self, out: Path, trainer: Trainer, head: Head, tuning: Tuning | None,
                contract: Contract, normaliser: ActionNormaliser, tracks: Sequence[Track], split,
                data: dict, new: list[str]) -> None:
        """Write the checkpoint with where it comes from and what was measured."""
        if not self.accelerator.is_main_process:
            return
        errors = trainer.errors
        measured = {
            'seconds': trainer.seconds + sum(self.measured.values()), **self.measured,
            'steps': trainer.step, 'frames': trainer.frames,
            'frames_per_s': trainer.frames_per_s, 'peak_memory_bytes': peak_memory_bytes(),
            'trainable_parameters': trainer.trainable_parameters,
            'device': device_name(self.accelerator.device),
            'processes': self.accelerator.num_processes}
        provenance = {
            **origin(), 'seed': self.settings.seed,
            # Of the first so many episodes all but these were trained on.
            'data': {**data, 'training_episodes': len(tracks), 'validation_episodes': split[1],
                     'frames': sum(len(track.actions) for track in tracks)},
            'training': asdict(self.settings),
            'backbone_parameters': sum(p.numel() for p in self.backbone.model.parameters()),
            'measured': {'validation': errors, 'training': measured},
        }
        if self.job.init_from:
            provenance['init_from'] = {'source': Path(self.job.init_from).name, 'new': new}
        self._save(out, head, contract, normaliser, provenance, tuning)
        command = contract.command
        say('validation RMSE: ' + ', '.join(
            f'{name} {errors[f"rmse_{i}"]:.3f} {unit}'
            for i, (name, unit) in enumerate(zip(command.fields, command.units))))

    def _save(self, out: Path, head: Head, contract: Contract, normaliser: ActionNormaliser,
              provenance: dict, tuning: Tuning | None = None) -> None:
        folder, where = self.backbone.folder.resolve(), {}
        if not Path(self.job.backbone).expanduser().is_dir():
            where = {'repo': self.job.backbone, 'revision': folder.name}
        elif self.job.share_backbone:
            beside = folder.parent
            if folder.name != 'backbone' or beside.parent != out.resolve().parent:
                raise TrainError(f'--share-backbone: the backbone is {folder}; expected the one '
                                 f'inside a checkpoint beside {out}')
            where = {'beside': beside.name}
        save_checkpoint(out, variant=self.variant, head=head, backbone=self.backbone,
                        context_shape=head.context_shape, contract=contract,
                        normaliser=normaliser, provenance=provenance, tuning=tuning, **where)
