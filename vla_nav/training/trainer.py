"""The training loop: one for every variant, on any number of processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch

from vla_nav.training.errors import TrainError
from vla_nav.training.interrupts import Interrupts
from vla_nav.training.objective import Objective
from vla_nav.training.progress import Progress
from vla_nav.training.resume import cosine_rate, load_state, save_state
from vla_nav.training.samples import Batch, Source
from vla_nav.training.settings import TrainingSettings
from vla_nav.training.weights import Average, Weights

SAVE_EVERY_S = 60.0
BACKBONE = 'model.vlm.'
"""What the names of a backbone's parameters begin with."""
Judge = Callable[[], float]
"""How good the policy is in closed loop, 0 to 1."""
NO_MEMORY = ("can't allocate memory", 'not enough memory', 'out of memory')

SHOWN = {'error': 'error', 'loss': 'validation loss', 'success': 'success'}
"""What a validation found, on the progress bar."""


@dataclass
class Best:
    """The best weights so far, by validation."""

    facts: dict = field(default_factory=dict)
    """Step, score (smaller is better) and errors."""
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return name to value."""
        return self.weights

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take in what `state_dict` gave."""
        self.weights = dict(state)


def make_accelerator():
    """The processes of this run, as `accelerate launch` or torchrun started them."""
    from accelerate import (
        Accelerator,
        DistributedDataParallelKwargs,
        InitProcessGroupKwargs,
    )
    # A decode may leave parts of a backbone out, such as its LM head.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    # The others wait while one drives demonstrations or makes questions.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    return Accelerator(mixed_precision='no', kwargs_handlers=[unused, patience])


class Trainer:
    """Minimises an objective over a source of batches; goes on from `state` where it exists.

    name: for the progress bar; logs: folder for TensorBoard; judge: asked after each validation,
    in the place of its error.
    """

    def __init__(self, name: str, accelerator, objective: Objective, source: Source,
                 settings: TrainingSettings, state: Path, logs: Path | None = None,
                 judge: Judge | None = None, backbone_rate: float = 0.0) -> None:
        self._name, self._accelerator, self._source = name, accelerator, source
        self._objective, self._settings = objective, settings
        self._state, self._logs, self._judge = state, logs, judge
        processes, most = accelerator.num_processes, source.sequences
        if processes > most:
            raise TrainError(f'{processes} processes are to share batches of {most} sequences; '
                             f'raise training.batch (now {settings.batch}) or start fewer')
        self._accumulate = min(settings.accumulate, most // processes)
        self._parts = processes * self._accumulate
        self._weights = Weights(objective)
        groups = [
            ({'params': [p for n, p in self._weights.parameters.items()
                         if n.startswith(BACKBONE) == inside]}, rate)
            for inside, rate in ((False, settings.rate), (True, backbone_rate))]
        groups = [(group, rate) for group, rate in groups if group['params']]
        if not groups:
            raise TrainError('nothing trains: tune is head, and this decode has no head; choose '
                             'another tune, such as lora')
        self._rates = [rate for _, rate in groups]
        optimizer = torch.optim.AdamW([group for group, _ in groups],
                                      weight_decay=settings.weight_decay)
        self._model, self._optimizer = accelerator.prepare(objective, optimizer)
        self._average = Average(self._weights, settings.ema) if settings.ema else None
        self._best = Best()
        self.step = 0
        self.seconds = 0.0
        """Spent in this loop, validations too."""
        self.frames = 0
        self._busy = 0.0
        self._validated = 0
        self._validation: list[Batch] | None = None

    @property
    def errors(self) -> dict[str, float]:
        """Validation errors of the best weights."""
        return dict(self._best.facts.get('errors', {}))

    @property
    def frames_per_s(self) -> float:
        """Frames in training steps, over the time these took."""
        return self.frames / max(self._busy, 1e-9)

    @property
    def trainable_parameters(self) -> int:
        """How many numbers train."""
        return sum(p.numel() for p in self._weights.parameters.values())

    def run(self) -> None:
        """Train to the end, then put the best weights in place.

        A SIGINT or SIGTERM saves the state and raises KeyboardInterrupt. Raises TrainError when
        memory runs out or the loss is no number.
        """
        settings, main = self._settings, self._accelerator.is_main_process
        if self._state.exists():
            self._load()
        progress = Progress(self._name, settings.steps, unit='steps', begun=self.step,
                            silent=not main)
        with Interrupts() as interrupts, progress, _explained(settings, self._parts), \
                _writer(self._logs if main else None, self.step) as log, \
                closing(self._batches()) as batches:
            due = time.monotonic() + SAVE_EVERY_S
            while not self._finished(interrupts, progress, log):
                began = time.monotonic()
                loss = self._train(*next(batches))
                self._spent(began, busy=True)
                self._report(loss, progress, log)
                stop = self._agreed(interrupts.wished)
                if stop or time.monotonic() > due:
                    due = self._save()
                if stop:
                    progress.note(f'stopped after step {self.step} of {settings.steps}; the same '
                                  'command with --resume goes on')
                    raise KeyboardInterrupt
            self._save()
        self._accelerator.wait_for_everyone()
        self._weights.load_state_dict(self._best.weights)

    def _finished(self, interrupts: Interrupts, progress: Progress, log) -> bool:
        """Validate if that is due; then, whether there is nothing more to do."""
        steps = self._settings.steps
        ended = self.step >= steps
        if self._validated < self.step and (ended or self.step % self._settings.interval == 0):
            try:
                self._validate(progress, log)
            except (Exception, KeyboardInterrupt):
                if not interrupts.wished:
                    raise
                # Ctrl-C reached the judge's processes as well. What was trained is saved.
                self._save()
                raise KeyboardInterrupt from None
        return ended or self._stale

    @property
    def _stale(self) -> bool:
        """Whether validations have not become better for long."""
        best, patience = self._best.facts.get('step', 0), self._settings.patience
        return bool(patience) and self.step - best >= patience * self._settings.interval

    def _batches(self) -> Iterator[tuple[list[Batch], int]]:
        """This process's parts of each step's batch and the step's frames, one step ahead."""
        first = self._accelerator.process_index * self._accumulate

        def prepare(step: int) -> tuple[list[Batch], int]:
            parts = range(first, first + self._accumulate)
            return ([self._source.batch(step, part, self._parts) for part in parts],
                    self._source.frames(step))

        with ThreadPoolExecutor(1) as loader:
            pending = loader.submit(prepare, self.step)
            for step in range(self.step + 1, self._settings.steps + 1):
                ready = pending.result()
                pending = loader.submit(prepare, step)
                yield ready

    def _train(self, parts: list[Batch], frames: int) -> float:
        """One step of the optimiser; returns the loss."""
        settings, accelerator = self._settings, self._accelerator
        for group, peak in zip(self._optimizer.param_groups, self._rates):
            group['lr'] = cosine_rate(self.step, settings.steps, settings.warm_up, peak)
        seed = np.random.SeedSequence((settings.seed, self.step, accelerator.process_index))
        torch.manual_seed(int(seed.generate_state(1)[0]))
        self._objective.train()
        total = 0.0
        for number, part in enumerate(parts, start=1):
            held = nullcontext() if number == len(parts) else accelerator.no_sync(self._model)
            with held:
                # Processes are averaged, but the parts' losses are to be added up.
                loss = self._model(part) * accelerator.num_processes
                accelerator.backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise TrainError(
                f'the loss is {total} at step {self.step + 1}; lower training.rate (now '
                f'{settings.rate:g}) or training.backbone_rate, or set training.precision=fp32. '
                f'The state in {self._state} is from before')
        accelerator.clip_grad_norm_(self._weights.parameters.values(), settings.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update(self.step)
        self.step += 1
        self.frames += frames
        return total

    def _report(self, loss: float, progress: Progress, log) -> None:
        latest = {'rate': self._optimizer.param_groups[0]['lr'], 'frames/s': self.frames_per_s}
        progress.report(1, {'loss': loss}, latest)
        log('train', {'loss': loss, **latest}, self.step)

    def _validate(self, progress: Progress, log) -> None:
        """Judge the weights (their average, where there is one); keep the best."""
        began = time.monotonic()
        with self._average.applied() if self._average is not None else nullcontext():
            errors = self.validate()
            score = errors.get('loss', errors['error'])
            if self._judge is not None:
                errors['success'] = self._judged()
                # Among equals in closed loop, the smaller error or loss.
                score = -errors['success'] + 1e-3 * score
            if not self._best.facts or score < self._best.facts['score']:
                self._best = Best({'step': self.step, 'score': score, 'errors': errors},
                                  self._weights.copy())
        self._validated = self.step
        self._spent(began)
        progress.report(0, {}, {said: errors[name] for name, said in SHOWN.items()
                                if name in errors})
        log('validation', errors, self.step)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Errors of the present weights over the validation episodes.

        error: mean absolute error of normalised actions over whole chunks; rmse_i: of the first
        action of each chunk in dimension i, SI units; loss: of action tokens, as the likeliest of
        them leap between ways to act while the loss falls steadily.
        """
        self._objective.eval()
        if self._validation is None:
            accelerator = self._accelerator
            self._validation = list(self._source.validation(
                accelerator.process_index, accelerator.num_processes))
        normaliser = self._source.normaliser
        by_loss = self._objective.variant.decode == 'tokens'
        sums = np.zeros(4 + normaliser.action_dim)
        for batch in self._validation:
            with self._objective.autocast():
                chunks = self._objective.predict(batch).float().cpu()
            weight = float(batch.mask.sum())
            if by_loss:
                sums[3] += weight * float(self._objective(batch))
            mask = batch.mask[..., None]
            first = batch.mask[..., 0].numpy() > 0
            predicted = normaliser.denormalise(chunks[:, :, 0].numpy())
            wrong = (predicted - batch.actions)[first]
            sums[0] += float(((chunks.clamp(-1, 1) - batch.targets).abs() * mask).sum())
            sums[1] += weight
            sums[2] += len(wrong)
            sums[4:] += (wrong ** 2).sum(0)
        sums = self._summed(sums)
        rmse = np.sqrt(sums[4:] / sums[2])
        loss = {'loss': float(sums[3] / sums[1])} if by_loss else {}
        return {'error': float(sums[0] / sums[1] / normaliser.action_dim), **loss,
                **{f'rmse_{i}': float(value) for i, value in enumerate(rmse)}}

    def _judged(self) -> float:
        value = self._judge() if self._accelerator.is_main_process else 0.0
        return float(self._summed(np.array([value]))[0])

    def _summed(self, values: np.ndarray) -> np.ndarray:
        """The sum over all processes."""
        accelerator = self._accelerator
        tensor = torch.tensor(values, device=accelerator.device, dtype=torch.float32
                              if accelerator.device.type == 'mps' else torch.float64)
        return accelerator.reduce(tensor, 'sum').cpu().numpy()

    def _agreed(self, wished: bool) -> bool:
        """Whether any process was asked to stop."""
        if self._accelerator.num_processes == 1:
            return wished
        return bool(self._summed(np.array([float(wished)]))[0])

    def _spent(self, began: float, busy: bool = False) -> None:
        elapsed = time.monotonic() - began
        self.seconds += elapsed
        if busy:
            self._busy += elapsed

    def _modules(self) -> dict:
        modules = {'weights': self._weights, 'best': self._best}
        return modules | ({'average': self._average} if self._average is not None else {})

    def _save(self) -> float:
        """Write the state; returns when to do so next, so that it takes little of the time."""
        began = time.monotonic()
        if self._accelerator.is_main_process:
            save_state(self._state, self._modules(), self._optimizer, {
                'step': self.step, 'validated': self._validated, 'seconds': self.seconds,
                'frames': self.frames, 'busy': self._busy, 'best': self._best.facts})
        now = time.monotonic()
        return now + max(SAVE_EVERY_S, 20 * (now - began))

    def _load(self) -> None:
        facts = load_state(self._state, self._modules(), self._optimizer)
        self.step, self._validated = facts['step'], facts['validated']
        self.seconds, self.frames, self._busy = facts['seconds'], facts['frames'], facts['busy']
        self._best.facts = facts['best']


@contextmanager
def _explained(settings: TrainingSettings, parts: int) -> Iterator[None]:
    """Turn an out of memory error into one that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = ' '.join(str(error).split())
        if not isinstance(error, MemoryError) and not any(s in text.lower() for s in NO_MEMORY):
            raise
        raise TrainError(
            f'out of memory ({text[:160]}) with {-(-settings.batch // parts)} sequences at once. '
            f'Without changing the result: raise training.accumulate (now {settings.accumulate}), '
            f'set training.checkpointing=true (now {str(settings.checkpointing).lower()}) or, on '
            f'a GPU, training.precision=bf16. Or lower training.batch (now {settings.batch}), '
            'training.window or head.window') from None


@contextmanager
def _writer(folder: Path | None, step: int) -> Iterator[Callable[[str, dict, int], None]]:
    """Return what logs figures for TensorBoard: log(group, figures, step)."""
    if folder is None:
        yield lambda group, figures, step: None
        return
    from tensorboardX import SummaryWriter
    with SummaryWriter(str(folder), purge_step=step or None) as writer:
        def log(group: str, figures: dict[str, float], step: int) -> None:
            for name, value in figures.items():
                writer.add_scalar(f'{group}/{name}', value, step)
        yield log
