"""Build a dataset from bags: find them, convert them, join what fits together."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vla_nav.contract import Contract
from vla_nav.episodes.bag import PARTIAL
from vla_nav.episodes.convert import IMAGES, ConvertJob, convert_bag
from vla_nav.episodes.episode import AlignSettings
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.lerobot import INFO_PATH, assemble
from vla_nav.episodes.report import write_report
from vla_nav.episodes.summary import BagSummary
from vla_nav.errors import VlaNavError

REPORT = 'report.html'
WORK = 'work'


class NothingUsableError(EpisodeError):
    """No bag could be used."""

    def __init__(self, bags: int, failures: dict[str, str]) -> None:
        first = next(iter(failures.values()), 'all are marked as failed; use --include-failed')
        super().__init__(f'none of {bags} bags can be used; the first: {first}')
        self.failures = failures


Results = Iterable[tuple[ConvertJob, 'BagSummary | VlaNavError']]


@dataclass(frozen=True)
class DatasetSettings:
    """How a dataset is built."""

    contract: Contract | None = None
    """Instead of the contracts in the bags."""
    align: AlignSettings = field(default_factory=AlignSettings)
    images: str = 'mp4'
    """'mp4' (small, at least 38 dB PSNR) or 'png' (exact)."""
    include_failed: bool = False
    """Take episodes marked as failed too."""

    def __post_init__(self) -> None:
        if self.images not in IMAGES:
            raise EpisodeError(f'images is {self.images!r}; expected one of {", ".join(IMAGES)}')


@dataclass(frozen=True)
class Built:
    """A finished dataset."""

    root: Path
    info: dict
    bags: list[BagSummary]
    """Those that are in it."""
    skipped: list[BagSummary]
    failures: dict[str, str]
    """Bag to error message."""


def build_dataset(paths: Sequence[Path], out: Path, settings: DatasetSettings,
                  convert: Callable[[Sequence[ConvertJob]], Results] | None = None) -> Built:
    """Convert the bags found under `paths` into a LeRobotDataset v3.0 folder `out`.

    `convert` runs convert_bag over jobs, perhaps in parallel; the default does so one by one.
    The folder grows as `<out>.partial`; starting again goes on from the bags converted so far.
    Bags that cannot be used are left out and named in the result. Raises EpisodeError if no
    bag can be used, or if `out` exists, unless as an empty folder, or cannot be written.
    """
    target = out.resolve()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        what = 'is a dataset already' if (target / INFO_PATH).exists() else 'exists already'
        raise EpisodeError(f'{out} {what}; choose another folder or delete it')
    bags = find_bags(paths)
    partial = target.with_name(target.name + '.partial')
    work = partial / WORK
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EpisodeError(f'cannot write {partial}: {error.strerror}; give an output folder '
                           'that is writable') from None
    jobs = [ConvertJob(bag, work, settings.contract, settings.align, settings.images,
                       settings.include_failed) for bag in bags]
    summaries: dict[Path, BagSummary] = {}
    failures: dict[str, str] = {}
    for job, result in (convert or convert_one_by_one)(jobs):
        if isinstance(result, VlaNavError):
            failures[str(job.bag)] = str(result)
        else:
            summaries[job.bag] = result
    ordered = [summaries[bag] for bag in bags if bag in summaries]
    skipped = [summary for summary in ordered if summary.skipped]
    fitting = _fitting([summary for summary in ordered if not summary.skipped], failures)
    if not fitting:
        raise NothingUsableError(len(bags), failures)
    for stale in ('data', 'videos', 'meta'):
        shutil.rmtree(partial / stale, ignore_errors=True)
    info = assemble(partial, fitting, settings.images)
    write_report(partial / REPORT, info, fitting, skipped, failures)
    partial.rename(target)
    shutil.rmtree(target / WORK)
    return Built(out, info, fitting, skipped, failures)


def convert_one_by_one(jobs: Sequence[ConvertJob]) -> Iterator[
        tuple[ConvertJob, BagSummary | VlaNavError]]:
    """Run convert_bag over jobs in this process."""
    for job in jobs:
        try:
            yield job, convert_bag(job)
        except VlaNavError as error:
            yield job, error


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """Find bag folders and files under `paths`, sorted; raises EpisodeError if there are none.

    Links are followed; a bag that is reached in several ways is found once.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise EpisodeError(f'{path} does not exist; give bags or folders of bags')
        if path.is_file() or _is_bag(path):
            found.append(path)
            continue
        bags = [bag for bag in _below(path) if PARTIAL not in bag.parts]
        if not bags:
            raise EpisodeError(f'no bags under {path}; give bag folders or a folder of them')
        found += sorted(bags)
    once: dict[Path, Path] = {}
    for bag in found:
        once.setdefault(bag.resolve(), bag)
    return list(once.values())


def _below(root: Path) -> Iterator[Path]:
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link may lead back
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort(key=lambda name: (os.path.islink(os.path.join(folder, name)), name))
        if _is_bag(Path(folder)):
            yield Path(folder)
        yield from (Path(folder, name) for name in files if name.endswith('.bag'))


def _is_bag(folder: Path) -> bool:
    return (folder / 'metadata.yaml').exists() or any(
        folder.glob('*.mcap')) or any(folder.glob('*.db3'))


def _fitting(summaries: list[BagSummary], failures: dict[str, str]) -> list[BagSummary]:
    """Keep the bags that agree with most others on everything a policy depends on."""
    if not summaries:
        return []
    keys = {summary.bag: _key(summary) for summary in summaries}
    common, _ = Counter(keys.values()).most_common(1)[0]
    usual = json.loads(common)
    fitting = []
    for summary in summaries:
        own = json.loads(keys[summary.bag])
        differences = [f'{name} is {own[name]} here and {usual[name]} in most other bags'
                       for name in usual if own[name] != usual[name]]
        if differences:
            failures[summary.bag] = (
                f'{summary.bag} does not fit the others: {"; ".join(differences)}. Convert it '
                'separately, or give one contract for all with --contract')
        else:
            fitting.append(summary)
    return fitting


def _key(summary: BagSummary) -> str:
    contract = Contract.from_dict(summary.contract)
    camera = contract.camera
    return json.dumps({
        'the command': contract.command.fields, 'rate_hz': contract.rate_hz,
        'camera.topic': camera.topic, 'camera.crop': camera.crop,
        'the frame size': (camera.width, camera.height),
        'the camera image': summary.image_size, 'odometry': contract.odometry is not None,
    })
