"""A controller on clocks that tests move by hand."""

import numpy as np
import pytest

from vla_nav.contract import ActionChunk, Command, Contract
from vla_nav.control import Controller, ControlSettings

START_NS = 1_700_000_000_000_000_000


class Bench:
    """Feeds a controller as the drive node does, on a simulated clock."""

    def __init__(self, **settings) -> None:
        self.contract = Contract(idle_speed=(0.4, 0.5), command=Command(
            low=(-0.2, -1.0), high=(0.5, 1.0), max_accel=(1.0, 3.0)))
        self.settings = ControlSettings(**settings)
        self.controller = Controller(self.settings, self.contract)
        self.now_ns = START_NS
        self.steady_ns = 5_000_000_000

    def wait(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
        self.steady_ns += round(seconds * 1e9)

    def frame(self, stamp_ns: int | None = None, changed: bool = True) -> bool:
        """One image arrives now and is decoded."""
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        good = self.controller.image_arrived(stamp_ns, self.now_ns, self.steady_ns)
        if good:
            self.controller.image_used(self.steady_ns, changed)
        return good

    def chunk(self, actions, stamp_ns: int | None = None, step_s: float = 0.1, task=None) -> bool:
        """The policy answers now, to an image that arrived now unless stamped otherwise."""
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        chunk = ActionChunk(np.asarray(actions, np.float32), stamp_ns, step_s)
        task = task or self.controller.task
        return self.controller.chunk(chunk, task, self.steady_ns - (self.now_ns - stamp_ns),
                                     self.now_ns, self.steady_ns)

    def tick(self):
        return self.controller.tick(self.now_ns, self.steady_ns)

    def run(self, seconds: float, actions=((0.3, 0.1),) * 8, changed: bool = True) -> list:
        """Camera and policy at 10 Hz, control at its rate; returns the decisions."""
        decisions, period_s = [], self.settings.period_s
        due = self.steady_ns
        for _ in range(round(seconds / period_s)):
            if self.steady_ns >= due:
                due += 100_000_000
                self.frame(changed=changed)
                if actions is not None and self.controller.task:
                    self.chunk(actions)
            decisions.append(self.tick())
            self.wait(period_s)
        return decisions


@pytest.fixture
def make_bench():
    return Bench


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def driving():
    """A bench whose robot has reached the speed it is told."""
    bench = Bench()
    bench.controller.instruct('go to the red cone', bench.steady_ns)
    bench.run(1.0)
    return bench
