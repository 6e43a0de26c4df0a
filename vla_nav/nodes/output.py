"""What a node prints is never waited for.

A terminal that Ctrl-S paused, a pager, a stalled link: whoever writes to it waits. A control loop
that logs must not, and real rclpy logs from C++ while all other Python threads stand.
"""

from __future__ import annotations

import faulthandler
import os
import select
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_DRAIN_S = 1.0
"""At the end, what is still to be shown may take this long."""


@contextmanager
def unblocked_output() -> Iterator[None]:
    """While entered, standard output and error lose what nobody reads, instead of waiting.

    Files are left alone. Where Python crashes, it writes its stack to the old standard error;
    what C++ says last may be lost.
    """
    kept = {number: os.dup(number) for number in (1, 2) if _may_block(number)}
    if 2 in kept:
        if os.isatty(2):
            os.environ.setdefault('RCUTILS_COLORIZED_OUTPUT', '1')
        faulthandler.enable(kept[2])
    one = len(kept) == 2 and os.path.sameopenfile(1, 2)
    groups = [tuple(kept)] if one else [(number,) for number in kept]
    threads = [_detach(numbers, kept[numbers[0]]) for numbers in groups]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        for number, old in kept.items():
            os.dup2(old, number)  # the pipe's last writer is gone: its thread reads to the end
        for thread in threads:
            thread.join(_DRAIN_S)
        if any(thread.is_alive() for thread in threads):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for number in kept:
                os.dup2(nowhere, number)  # Python's own last flush would wait for ever


def _may_block(number: int) -> bool:
    try:
        return not stat.S_ISREG(os.fstat(number).st_mode)
    except OSError:
        return False  # closed


def _detach(numbers: tuple[int, ...], old: int) -> threading.Thread:
    """Put a pipe in the place of these descriptors, and a thread behind it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in numbers:
        os.dup2(writer, number)
    os.close(writer)
    thread = threading.Thread(target=_pass_on, args=(reader, old), name='output', daemon=True)
    thread.start()
    return thread


def _pass_on(reader: int, old: int) -> None:
    with suppress(OSError):  # the terminal is gone
        while data := os.read(reader, 65536):
            while data:
                try:
                    data = data[os.write(old, data):]
                except BlockingIOError:  # whoever shares it with us made it so
                    select.select([], [old], [])
