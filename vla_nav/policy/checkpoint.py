"""A policy on disk: one folder, everything hashed, nothing in it that can run code."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vla_nav.contract import Contract
from vla_nav.errors import VlaNavError
from vla_nav.policy.card import model_card
from vla_nav.policy.errors import CheckpointError
from vla_nav.policy.files import (
    MANIFEST,
    FileEntry,
    Stamp,
    copy_files,
    list_files,
    read_tensors,
    refuse_pickles,
    replace_folder,
    sha256_of,
    stamp,
    verify,
    write_json,
)
from vla_nav.policy.normaliser import ActionNormaliser
from vla_nav.policy.reference import BACKBONE, BackboneReference, read_entries, read_reference
from vla_nav.policy.variant import Variant

if TYPE_CHECKING:
    import torch

    from vla_nav.policy.backbone import Backbone
    from vla_nav.policy.heads import Head
    from vla_nav.policy.tune import Tuning

FORMAT_VERSION = 1
HEAD = 'head.safetensors'
ENGINE = 'engine'
"""Folder of the ONNX graph, which has hashes of its own."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder that was read and found to be in order."""

    path: Path
    name: str
    variant: Variant
    """What it was trained as: context, decode, head and tune settings."""
    context_shape: tuple[int, int]
    """(n, D) of the context its head was made for."""
    backbone: BackboneReference
    contract: Contract
    normaliser: ActionNormaliser
    provenance: dict = field(default_factory=dict)
    """Git commit, dataset hash, seed, and under `measured` what was measured."""
    files: dict[str, FileEntry] = field(default_factory=dict)
    sha256: str = ''
    """Hash of policy.json, which holds the hashes of everything else."""
    vision_shape: tuple[int, int] | None = None
    """Number and size of the vision blocks that its head modulates (FiLM)."""
    said: dict = field(default_factory=dict)
    """Variant, contract and statistics in the words of policy.json: settings that a newer version
    of this package has beside them change nothing, and belong in no hash."""
    seen: dict[Path, Stamp] = field(default_factory=dict, compare=False, repr=False)
    """Its files as they were just before they were verified."""

    @classmethod
    def open(
        cls, path: str | os.PathLike, contract: Contract | None = None, quick: bool = False
    ) -> Checkpoint:
        """Read and verify a checkpoint folder.

        contract: of the robot it shall drive; quick: do not hash large files. Raises
        CheckpointError naming the file, what was found, what was expected and the remedy.
        """
        checkpoint = cls.describe(path)
        seen = {file: stamp(file) for file in checkpoint._paths(quick)}
        refuse_pickles(checkpoint.path)
        verify(checkpoint.path, checkpoint.files, quick)
        if contract is not None:
            checkpoint.check_contract(contract)
        checkpoint.backbone_folder(quick)
        return replace(checkpoint, seen=seen)

    @classmethod
    def describe(cls, path: str | os.PathLike) -> Checkpoint:
        """Read what a checkpoint says of itself; the files it lists may be gone.

        It suffices for a report, and for nothing that runs the policy. Raises CheckpointError.
        """
        root = _real_root(Path(path))
        data = _read_manifest(root / MANIFEST)
        return _build(cls, root, data, read_entries(data, 'files', root))

    @property
    def model_sha256(self) -> str:
        """Hash of what its numbers come from: weights, tokenizer, settings and image size."""
        weights = {k: v.sha256 for k, v in self.files.items() if k.endswith('.safetensors')}
        said = {
            'variant': self.said['variant'], 'weights': weights,
            'backbone': self.backbone.sha256, 'context_shape': self.context_shape,
            'image': (self.contract.camera.height, self.contract.camera.width),
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def check_contract(self, contract: Contract) -> None:
        """Raise CheckpointError, naming the fields, where it cannot drive a robot."""
        if contract.command and len(contract.command.fields) != self.normaliser.action_dim:
            raise CheckpointError(
                f'{self.path}: found actions of dimension {self.normaliser.action_dim}, expected '
                f'{len(contract.command.fields)} ({", ".join(contract.command.fields)}); choose a '
                'policy trained for this robot'
            )
        differences = self.contract.differences(contract)
        if differences:
            robot = repr(contract.robot)
            if contract.robot == self.contract.robot:
                robot = 'this one of the same name'
            raise CheckpointError(
                f"{self.path}: it was trained for robot '{self.contract.robot}' and does not fit "
                f"{robot}: {'; '.join(differences)}. Choose a policy trained for this robot, or "
                'correct the robot file'
            )

    def check_unchanged(self) -> None:
        """Raise CheckpointError if a file was changed since it was verified by `open`."""
        for path, before in self.seen.items():
            if stamp(path) != before or (
                    path == self.path / MANIFEST and sha256_of(path) != self.sha256):
                raise CheckpointError(
                    f'{path}: it was changed after it was checked; load the model again'
                )

    def _paths(self, quick: bool) -> Iterator[Path]:
        """policy.json, and every file that it lists."""
        yield self.path / MANIFEST
        yield from (self.path / name for name in self.files)
        if self.backbone.path is None:
            folder = self.backbone.place(self.path, quick)
            yield from (folder / name for name in self.backbone.files)

    def backbone_folder(self, quick: bool = False) -> Path:
        """Return the backbone's folder, verified; a hub reference is fetched unless quick."""
        return self.backbone.folder(self.path, quick)

    def head_state(self) -> dict[str, torch.Tensor]:
        """The head's weights."""
        return read_tensors(self.path / HEAD)


def validate(
    path: str | os.PathLike, contract: Contract | None = None, quick: bool = True
) -> Checkpoint:
    """Check a checkpoint folder without loading it; fast enough to answer a parameter change."""
    return Checkpoint.open(path, contract, quick)


def save_checkpoint(
    path: str | os.PathLike,
    *,
    variant: Variant,
    head: Head,
    backbone: Backbone,
    context_shape: tuple[int, int],
    contract: Contract,
    normaliser: ActionNormaliser,
    provenance: Mapping | None = None,
    tuning: Tuning | None = None,
    repo: str | None = None,
    revision: str | None = None,
    beside: str | None = None,
) -> Checkpoint:
    """Write a checkpoint folder: under a temporary name, then renamed.

    tuning: what trained beside the head, whose changes are stored too. The backbone's folder is
    copied, unless it is referenced: `repo` and `revision` for a hub id, `beside` for the name of
    a checkpoint in the same folder whose backbone is the same, byte for byte. An older checkpoint
    of that name is replaced, and stays as it was if anything fails.
    """
    from safetensors.torch import save_file

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f'.{target.name}.', dir=target.parent))
    try:
        state = {k: v.detach().cpu().contiguous() for k, v in head.state_dict().items()}
        save_file(state, temporary / HEAD)
        if tuning is not None:
            tuning.save(temporary)
        where: dict = {'repo': repo, 'revision': revision} if repo else {'model': beside}
        files = backbone.files
        if (temporary / BACKBONE).is_dir():
            where, files = {'path': BACKBONE}, list_files(temporary / BACKBONE)
        elif not repo and not beside:
            where = {'path': BACKBONE}
            copy_files(backbone.folder, temporary / BACKBONE, files)
        checkpoint = Checkpoint(
            temporary, target.name, variant, context_shape, BackboneReference(files, **where),
            contract, normaliser, dict(provenance or {}), vision_shape=head.vision,
        )
        (temporary / 'README.md').write_text(model_card(checkpoint), encoding='utf-8')
        write_json(temporary / MANIFEST, _manifest(checkpoint, list_files(temporary)))
        Checkpoint.open(temporary, quick=True)
        replace_folder(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Checkpoint.open(target, quick=True)


def _manifest(checkpoint: Checkpoint, files: dict[str, FileEntry]) -> dict:
    reference = {k: v for k, v in asdict(checkpoint.backbone).items() if v is not None}
    return {
        'format_version': FORMAT_VERSION,
        'name': checkpoint.name,
        'variant': checkpoint.variant.to_dict(),
        'context_shape': list(checkpoint.context_shape),
        'vision_shape': checkpoint.vision_shape and list(checkpoint.vision_shape),
        'backbone': reference,
        'contract': checkpoint.contract.to_dict(),
        'statistics': checkpoint.normaliser.to_dict(),
        'provenance': checkpoint.provenance,
        'files': {name: asdict(entry) for name, entry in files.items()},
    }


def _real_root(path: Path) -> Path:
    """Follow a folder, or an install made of links, to where policy.json really is."""
    if not path.exists():
        raise CheckpointError(f'{path}: found nothing, expected a checkpoint folder')
    if not path.is_dir():
        raise CheckpointError(
            f'{path}: found a file, expected a checkpoint folder (with {MANIFEST} in it)'
        )
    manifest = path / MANIFEST
    try:
        if not any(path.iterdir()):
            raise CheckpointError(
                f'{path}: the folder is empty, expected a checkpoint; copy or train it again'
            )
        if not manifest.is_file():
            hint = ''
            if (path / 'config.json').is_file():
                hint = '; it looks like a backbone, which has no head yet: train one on it'
            raise CheckpointError(f'{manifest}: it is missing; expected a checkpoint folder{hint}')
    except PermissionError as error:
        raise CheckpointError(
            f'{path}: cannot be read: {error.strerror}; check its permissions'
        ) from None
    return manifest.resolve().parent


def _read_manifest(manifest: Path) -> dict:
    try:
        text = manifest.read_text(encoding='utf-8')
        data = json.loads(text)
    except OSError as error:
        raise CheckpointError(
            f'{manifest}: cannot be read: {error.strerror}; check its permissions'
        ) from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f'{manifest}: not valid JSON ({error}), truncated or changed; copy it again'
        ) from None
    if not isinstance(data, dict):
        raise CheckpointError(f'{manifest}: found {type(data).__name__}, expected a JSON object')
    version = data.get('format_version')
    if type(version) is not int or version < 1:
        raise CheckpointError(
            f'{manifest}: format_version is {version!r}, expected a whole number from 1'
        )
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f'{manifest}: format_version is {version}, this vla_nav reads up to {FORMAT_VERSION}; '
            'install a newer vla_nav'
        )
    return data


def _build(cls: type[Checkpoint], root: Path, data: dict, files: dict) -> Checkpoint:
    manifest = root / MANIFEST
    for key in ('variant', 'context_shape', 'backbone', 'contract', 'statistics'):
        if not data.get(key):
            raise CheckpointError(
                f"{manifest}: '{key}' is missing; the checkpoint is incomplete, train it again"
            )
    try:
        tokens, width = (int(v) for v in data['context_shape'])
        vision = data.get('vision_shape')
        vision = None if vision is None else (int(vision[0]), int(vision[1]))
        normaliser = ActionNormaliser.from_dict(data['statistics'])
        contract = Contract.from_dict(data['contract'])
        variant = Variant.from_dict(data['variant'])
    except VlaNavError as error:
        raise CheckpointError(f'{manifest}: {error}') from None
    except (TypeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{manifest}: 'context_shape' or 'vision_shape': {error}; expected two numbers"
        ) from None
    if len(contract.command.fields) != normaliser.action_dim:
        raise CheckpointError(
            f'{manifest}: statistics are of {normaliser.action_dim} action dimensions, its '
            f'contract has {len(contract.command.fields)}; train it again'
        )
    if HEAD not in files:
        raise CheckpointError(f"{manifest}: '{HEAD}' is not among its files; train it again")
    reference = read_reference(data['backbone'], root)
    if reference.path is not None:
        missing = [n for n in reference.files if f'{reference.path}/{n}' not in files]
        if missing or not reference.files:
            raise CheckpointError(
                f"{manifest}: the backbone's {missing or 'files'} not listed in 'files'"
            )
    provenance = data.get('provenance')
    return cls(
        root, str(data.get('name') or root.name), variant, (tokens, width), reference, contract,
        normaliser, provenance if isinstance(provenance, dict) else {}, files,
        sha256_of(manifest), vision,
        {key: data[key] for key in ('variant', 'contract', 'statistics')},
    )
