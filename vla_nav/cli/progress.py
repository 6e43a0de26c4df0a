"""Work in several processes under one progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import TypeVar

from vla_nav.errors import VlaNavError
from vla_nav.workers import worker_pool

J = TypeVar('J')
R = TypeVar('R')


def map_in_processes(work: Callable[[J], R], jobs: Sequence[J], processes: int, title: str
                     ) -> Iterator[tuple[J, R | VlaNavError]]:
    """Yield (job, result) as jobs finish; a VlaNavError raised by a job is its result."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TextColumn('left'), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(title, total=len(jobs))
        for job, result in _results(work, jobs, processes):
            progress.advance(task)
            yield job, result


def _results(work: Callable[[J], R], jobs: Sequence[J], processes: int
             ) -> Iterator[tuple[J, R | VlaNavError]]:
    processes = min(processes, len(jobs))
    if processes <= 1:
        for job in jobs:
            yield job, _guarded(work, job)
        return
    with worker_pool(processes, initializer=_single_threaded) as pool:
        futures = {pool.submit(_guarded, work, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _guarded(work: Callable[[J], R], job: J) -> R | VlaNavError:
    try:
        return work(job)
    except VlaNavError as error:
        return error


def _single_threaded() -> None:
    for name in ('LP_NUM_THREADS', 'OMP_NUM_THREADS'):
        os.environ.setdefault(name, '1')
    import cv2

    cv2.setNumThreads(1)
