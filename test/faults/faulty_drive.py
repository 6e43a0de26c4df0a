"""The drive node around a policy that does what the sentence says, however bad that is."""

import time

import numpy as np

from vla_nav.contract import ActionChunk
from vla_nav.nodes import drive, runner
from vla_nav.nodes.inference import InferenceWorker

ROWS = 40
"""Chunks are this long: their end stops the robot long after it should have been stopped."""


class Panic(BaseException):
    """As libraries in Rust raise it."""


class FaultyPolicy:
    """A real policy that can be told to misbehave."""

    def __init__(self, policy) -> None:
        self._policy = policy
        self.name, self.sha256, self.engine = policy.name, policy.sha256, policy.engine
        self.engine_in_use = policy.engine
        self._fault = ''
        self._told: set[str] = set()

    def must_load(self, instruction: str) -> bool:
        """For a sentence beginning with `long`, said for the first time."""
        return instruction.startswith('long') and instruction not in self._told

    def reset(self, instruction: str) -> None:
        self._fault, self._policy_began = instruction.split()[0], time.monotonic()
        if self.must_load(instruction):
            time.sleep(4.0)
            self._told.add(instruction)
            if 'fails' in instruction:
                raise RuntimeError('told to fail as it loads')
        if self._fault == 'reset':
            raise RuntimeError('told to fail at reset')
        self._policy.reset(instruction)

    def step(self, frame, velocity=None) -> ActionChunk:
        chunk = self._policy.step(frame, velocity)
        chunk = self._with(chunk, np.resize(chunk.actions, (ROWS, 2)))
        # Drive well for half a second first: faults are found while moving.
        if time.monotonic() - self._policy_began < 0.5:
            return chunk
        fault = getattr(self, f'_{self._fault}', None)
        return chunk if fault is None else fault(chunk)

    def _raise(self, chunk):
        raise RuntimeError('told to fail')

    def _panic(self, chunk):
        raise Panic('told to panic')

    def _exhaust(self, chunk):
        raise MemoryError

    def _hang(self, chunk):
        time.sleep(4.0)
        return chunk

    def _freeze(self, chunk):
        time.sleep(3600.0)
        return chunk

    def _slow(self, chunk):
        time.sleep(0.9)
        return chunk

    def _slower(self, chunk):
        time.sleep(0.25)
        return chunk

    def _nan(self, chunk):
        return self._with(chunk, np.where(np.arange(ROWS)[:, None] == 5, np.nan, chunk.actions))

    def _inf(self, chunk):
        return self._with(chunk, chunk.actions * np.float32(np.inf))

    def _shape(self, chunk):
        return self._with(chunk, chunk.actions[:, :1])

    def _empty(self, chunk):
        return self._with(chunk, chunk.actions[:0])

    def _kind(self, chunk):
        return ActionChunk(chunk.actions.astype(int), chunk.stamp_ns, chunk.step_s)

    def _instant(self, chunk):
        return ActionChunk(chunk.actions, chunk.stamp_ns, 0.0)

    def _none(self, chunk):
        return None

    def _limits(self, chunk):
        return self._with(chunk, np.full((ROWS, 2), 1e6, np.float32))

    def _backwards(self, chunk):
        return self._with(chunk, np.full((ROWS, 2), -1e6, np.float32))

    @staticmethod
    def _with(chunk, actions):
        return ActionChunk(actions.astype(np.float32), chunk.stamp_ns, chunk.step_s)


class FaultyWorker(InferenceWorker):
    """The drive node's worker as it is, with its policy wrapped."""

    def use(self, policy) -> None:
        super().use(FaultyPolicy(policy))


if __name__ == '__main__':
    drive.InferenceWorker = FaultyWorker
    raise SystemExit(runner.run(drive.DriveNode, threads=4))
