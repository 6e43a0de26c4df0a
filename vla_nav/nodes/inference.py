"""The policy at work: one thread, always on the newest image."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from vla_nav.contract import ActionChunk, Camera, Frame
from vla_nav.control import Controller, Task
from vla_nav.errors import VlaNavError
from vla_nav.frames import FrameError, Pacer, decode_image, frame_from_message
from vla_nav.nodes.models import free_memory


class Engine(Protocol):
    """What computes a policy."""

    name: str


class Policy(Protocol):
    """What the worker asks of a policy."""

    name: str
    sha256: str
    engine_in_use: Engine

    def must_load(self, instruction: str) -> bool:
        """Whether `reset` will take as long for this instruction as loading a model does."""

    def reset(self, instruction: str) -> None:
        """Begin with a new instruction and no history."""

    def step(self, frame: Frame, velocity: np.ndarray | None = None) -> ActionChunk:
        """Decide on one frame."""


class InferenceWorker:
    """Turns the newest image message into an action chunk, again and again.

    Images that arrive while the policy thinks replace each other: only the newest is looked at.
    Decoding happens here too, so that nothing is decoded in vain.
    """

    def __init__(self, controller: Controller, camera: Camera, rate_hz: float,
                 now_ns: Callable[[], int], velocity: Callable[[], np.ndarray | None],
                 on_chunk: Callable[[ActionChunk], None],
                 on_error: Callable[[str], None],
                 decode: Callable[[object], np.ndarray] = decode_image) -> None:
        self._controller = controller
        self._camera = camera
        self._rate_hz = rate_hz
        self._now_ns = now_ns
        self._velocity = velocity
        self._on_chunk = on_chunk
        self._on_error = on_error
        self._decode = decode
        self._wake = threading.Condition()
        self._newest: tuple[object, int] | None = None
        self._policy: Policy | None = None
        self._generation = 0
        self._dropped = False
        self._closed = False
        self.replaced = 0
        """Images that were replaced by a newer one before the policy looked at them."""
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    @property
    def policy(self) -> Policy | None:
        """The policy that gets the next image."""
        return self._policy

    def use(self, policy: Policy) -> None:
        """Give the next image to this policy; the thread frees the memory of the one before."""
        with self._wake:
            self._policy = policy
            self._generation += 1
            self._dropped = True
            self._wake.notify()
        self._controller.release()

    def drop(self) -> None:
        """Have no policy; the thread frees its memory as soon as it is done with it."""
        with self._wake:
            self._policy = self._newest = None
            self._generation += 1
            self._dropped = True
            self._wake.notify()

    def submit(self, message: object, arrival_ns: int) -> None:
        """Offer an image message that arrived at `arrival_ns` (steady clock)."""
        with self._wake:
            if self._newest is not None:
                self.replaced += 1
            self._newest = (message, arrival_ns)
            self._wake.notify()

    def close(self, timeout_s: float = 1.0) -> bool:
        """End the thread; False if it still hangs in the policy."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        looker = _Looker(self._camera, self._rate_hz, self._decode)
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._dropped or self._newest)
                if self._closed:
                    return
                dropped, self._dropped = self._dropped, False
            try:
                if dropped:
                    free_memory()
                else:
                    self._look(looker)
            except BaseException as error:  # Without this thread no policy would ever act again.
                self._on_error(f'{type(error).__name__}: {error}')

    def _look(self, looker: _Looker) -> None:
        """Take the newest image; the policy is held no longer than that takes."""
        with self._wake:
            if self._newest is None:
                return
            (message, arrival_ns), self._newest = self._newest, None
            policy, generation = self._policy, self._generation
        task = self._controller.task
        if policy is None or task is None:
            return
        try:
            frame, changed = looker.look(message, (generation, task))
        except FrameError as error:
            self._controller.image_unreadable(str(error), time.monotonic_ns())
            return
        except Exception as error:
            self._controller.image_unreadable(f'{type(error).__name__}: {error}',
                                              time.monotonic_ns())
            return
        self._controller.image_used(arrival_ns, changed)
        if frame is None:
            return
        if looker.begins_episode() and not self._begin(policy, task, generation):
            looker.forget()
            return
        self._decide(policy, task, frame, arrival_ns, looker)

    def _begin(self, policy: Policy, task: Task, generation: int) -> bool:
        """Tell the policy its instruction; False if the image at hand is not to be decided on."""
        waits = failed = False
        try:
            waits = policy.must_load(task.instruction)
            if waits:
                self._controller.hold(f'loading what {policy.name} needs for so long a sentence')
            policy.reset(task.instruction)
        except BaseException as error:  # A library in Rust that panics raises no Exception.
            failed = True
            self._controller.policy_failed(self._failed(policy, error), task)
        if waits:
            with self._wake:  # unless it has been let go of meanwhile
                if generation == self._generation:
                    self._controller.release()
        return not (waits or failed)

    def _failed(self, policy: Policy, error: BaseException) -> str:
        """Say what a policy raised."""
        text = str(error) or type(error).__name__
        if not isinstance(error, VlaNavError):
            text = f'policy {policy.name} raised {type(error).__name__}: {text}'
        self._on_error(text)
        return text

    def _decide(self, policy: Policy, task: Task, frame: Frame, arrival_ns: int,
                looker: _Looker) -> None:
        try:
            chunk = policy.step(frame, self._velocity())
            now_ns, steady_ns = self._now_ns(), time.monotonic_ns()
            accepted = self._controller.chunk(chunk, task, arrival_ns, now_ns, steady_ns)
        except BaseException as error:  # As above.
            looker.forget()
            self._controller.policy_failed(self._failed(policy, error), task)
            return
        if accepted:
            self._on_chunk(chunk)


class _Looker:
    """Decodes images and knows which of them a policy is due to see, and for which episode."""

    def __init__(self, camera: Camera, rate_hz: float,
                 decode: Callable[[object], np.ndarray]) -> None:
        self._camera = camera
        self._decode = decode
        self._rate_hz = rate_hz
        self._pacer = Pacer(rate_hz)
        self._previous: bytes | None = None
        self._episode: object = None
        self._begun: object = None

    def look(self, message: object, episode: object) -> tuple[Frame | None, bool]:
        """The frame, or None if it is not due; and whether it differs from the one before."""
        frame = frame_from_message(message, self._camera, self._decode)
        pixels = frame.image.tobytes()
        changed, self._previous = pixels != self._previous, pixels
        if episode != self._episode:
            self._episode = episode
            self._pacer = Pacer(self._rate_hz)
        return (frame if self._pacer.admit(frame.stamp_ns) else None), changed

    def begins_episode(self) -> bool:
        """Whether the frame looked at last is the first of its episode."""
        begins = self._episode != self._begun
        self._begun = self._episode
        return begins

    def forget(self) -> None:
        """Begin afresh with the next frame."""
        self._begun = None
