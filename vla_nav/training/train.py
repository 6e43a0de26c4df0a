"""From a backbone and demonstrations to a checkpoint folder."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vla_nav import __version__
from vla_nav.contract import Contract
from vla_nav.episodes.windows import EpisodeDataset
from vla_nav.errors import VlaNavError
from vla_nav.policy import Backbone, Checkpoint, Variant, save_checkpoint
from vla_nav.training.contexts import cache_dataset
from vla_nav.training.demonstrations import Episode, collect, load_episodes
from vla_nav.training.frozen_head import HeadTraining, fit_normaliser, train_head
from vla_nav.training.progress import Progress

FIRST_SEED = 1_000_000
"""Demonstration scenes are drawn from here on; rollouts use seeds from 1,000,000,000."""


class TrainError(VlaNavError):
    """Training cannot start or go on."""


@dataclass(frozen=True)
class TrainSettings:
    """Everything that determines a head trained in simulation."""

    variant: Variant
    episodes: int = 500
    """Demonstrations by the expert."""
    rounds: int = 0
    """Rounds in which the policy drives and the expert corrects (DAgger)."""
    round_episodes: int = 250
    """Episodes in each of these rounds."""
    seed: int = 0
    training: HeadTraining = field(default_factory=HeadTraining)


def train_in_simulation(backbone_path: Path, out: Path, work: Path, contract: Contract,
                        settings: TrainSettings, workers: int) -> Checkpoint:
    """Collect demonstrations, train the head, write the checkpoint `out`.

    `work` keeps contexts and training states; a second call goes on from there.
    """
    backbone = Backbone.load(backbone_path)
    _remember(work, {**asdict(settings), 'backbone_sha256': backbone.sha256})
    seed = FIRST_SEED + 1_000_000 * settings.seed
    episodes, driver = [], None
    for number in range(settings.rounds + 1):
        count = settings.round_episodes if number else settings.episodes
        title = f'round {number}: corrections' if number else 'demonstrations'
        with Progress(title, count) as progress:
            collect(work / f'round_{number}', backbone_path, settings.variant, contract, driver,
                    range(seed, seed + count), workers, progress.advance)
        seed += count
        episodes += load_episodes(work / f'round_{number}')
        driver = out if number == settings.rounds else work / f'driver_{number}'
        data = {'source': 'simulation', 'demonstrations': settings.episodes,
                'correction_rounds': number,
                'correction_episodes': number * settings.round_episodes}
        _train_and_save(driver, work / f'head_{number}.safetensors', episodes, backbone, contract,
                        settings.variant, settings.training, settings.seed, data)
    return Checkpoint.open(out)


def train_on_dataset(backbone_path: Path, out: Path, work: Path, data: Path, variant: Variant,
                     training: HeadTraining, seed: int) -> Checkpoint:
    """Train a head on a dataset that `vla_nav dataset` built; write the checkpoint `out`."""
    dataset = EpisodeDataset(data)
    backbone = Backbone.load(backbone_path)
    _remember(work, {'variant': variant.to_dict(), 'training': asdict(training), 'seed': seed,
                     'dataset_sha256': dataset.sha256, 'backbone_sha256': backbone.sha256})
    with Progress('contexts, episodes', len(dataset)) as progress:
        cache_dataset(work / 'contexts', dataset, backbone, variant, progress.advance)
    facts = {'source': str(data), 'dataset_sha256': dataset.sha256}
    _train_and_save(out, work / 'head.safetensors', load_episodes(work / 'contexts'), backbone,
                    dataset.contract, variant, training, seed, facts)
    return Checkpoint.open(out)


def _train_and_save(out: Path, state: Path, episodes: Sequence[Episode], backbone: Backbone,
                    contract: Contract, variant: Variant, training: HeadTraining, seed: int,
                    data: dict) -> None:
    if len(episodes) < 2:
        raise TrainError(f'found {len(episodes)} episodes to train on; expected at least 2, one '
                         'of them for validation: record more')
    normaliser = fit_normaliser(episodes, contract)
    with Progress('head, epochs', training.epochs) as progress:
        head, errors = train_head(episodes, variant, normaliser, training, seed, state,
                                  progress.report)
        progress.note(_validation(errors, contract))
    data['frames'] = sum(len(episode.actions) for episode in episodes)
    save_checkpoint(out, variant=variant, head=head, backbone=backbone,
                    context_shape=episodes[0].contexts.shape[1:], contract=contract,
                    normaliser=normaliser,
                    provenance=_provenance(training, seed, data, backbone, episodes, errors))


def context_prompt(backbone_path: Path) -> str | None:
    """Return the prompt that a nano VLM was pretrained to answer; None for other backbones."""
    path = Path(backbone_path) / 'pretraining.json'
    return json.loads(path.read_text())['prompt'] if path.is_file() else None


def _provenance(training: HeadTraining, seed: int, data: dict, backbone: Backbone,
                episodes: Sequence[Episode], errors: dict) -> dict:
    actions = hashlib.sha256(b''.join(e.actions.tobytes() for e in episodes)).hexdigest()
    return {
        'vla_nav': __version__, 'git_commit': _git_commit(), 'python': platform.python_version(),
        'seed': seed, 'dataset_sha256': actions, 'data': data, 'training': asdict(training),
        'backbone_parameters': sum(p.numel() for p in backbone.model.parameters()),
        'measured': {'validation': errors},
    }


def _validation(errors: dict[str, float], contract: Contract) -> str:
    command = contract.command
    return 'validation RMSE: ' + ', '.join(
        f'{field} {value:.3f} {unit}'
        for field, unit, value in zip(command.fields, command.units, errors.values()))


def _git_commit() -> str | None:
    try:
        return subprocess.run(['git', '-C', str(Path(__file__).parent), 'rev-parse', 'HEAD'],
                              capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _remember(work: Path, settings: dict) -> None:
    """Refuse to go on in a folder that was begun with other settings or another backbone."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / 'settings.json'
    text = json.dumps(settings, indent=1)
    if path.exists() and path.read_text() != text:
        raise TrainError(f'{path} was begun with other settings, data or backbone; give the same '
                         'ones to go on, or another --work folder to start afresh')
    path.write_text(text)
