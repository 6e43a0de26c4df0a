"""From camera, policy and human to one velocity per tick."""

from __future__ import annotations

import threading
from typing import NamedTuple

from vla_nav.contract import ActionChunk, Contract
from vla_nav.control.executor import ChunkError, ChunkExecutor
from vla_nav.control.instruction import InstructionError, check_instruction
from vla_nav.control.limits import Limiter
from vla_nav.control.meters import Percentiles, Rate
from vla_nav.control.settings import ControlSettings
from vla_nav.control.state import Decision, State, StateMachine
from vla_nav.control.watchdog import CameraWatch, ClockWatch, PolicyWatch

NO_INSTRUCTION = 'no instruction yet'
FIRST_ACTION = 'waiting for the first action of the policy'
USED_UP = 'actions used up: the policy is late'
HUMAN = 'a human drives'
PAUSE = 'a human drives again after letting go for a moment'
EMERGENCY = 'emergency stop is on'
STANDING = 0.01
"""m/s or rad/s: up to this, what the camera sees may stay the same."""
REPEATS_NS = 10_000_000_000
"""A sentence heard again within this time is one that a publisher repeats."""


class Task(NamedTuple):
    """What the policy should be working on."""

    instruction: str
    epoch: int
    """Hand it back with each result: one for an earlier epoch is not driven."""


class Figures(NamedTuple):
    """Numbers for diagnostics."""

    policy_hz: float
    frame_hz: float
    frame_age_s: float | None
    latency_p50_s: float | None
    """From the arrival of an image to the tick that first published its action."""
    latency_p99_s: float | None
    refused_images: int
    dropped_chunks: int


class Controller:
    """Decides what to publish; owns no clock, no thread and no transport.

    All times are ns: `now_ns` on the clock that stamps images, `steady_ns` on one that only ever
    goes forward. Every method may be called from any thread.
    """

    def __init__(self, settings: ControlSettings, contract: Contract,
                 camera_topic: str | None = None) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._state = StateMachine()
        self._camera = CameraWatch(settings, camera_topic or contract.camera.topic)
        self._policy = PolicyWatch(settings)
        self._clock = ClockWatch()
        self._executor = ChunkExecutor(settings.execution_horizon, settings.interpolate)
        self._limiter = Limiter(contract.command)
        self._stale_ns = round(settings.stale_timeout_s * 1e9)
        self._teleop_ns = round(settings.teleop_timeout_s * 1e9)
        self._hold_ns = round(settings.takeover_hold_s * 1e9)
        self._max_dt_s = 2.0 * settings.period_s
        self._received: str | None = None
        self._heard_ns: dict[int, int] = {}
        self._hold: str | None = None
        self._human: tuple[float, float] = (0.0, 0.0)
        self._human_ns: int | None = None
        self._human_must_pause = False
        self._chunk_arrival_ns = 0
        self._chunk_is_new = False
        self._moving_since_ns: int | None = None
        self._ticked_ns: int | None = None
        self._decision = Decision(0.0, 0.0, State.WAITING, NO_INSTRUCTION)
        self._latency = Percentiles()
        self._policy_rate = Rate()
        self._frame_rate = Rate()
        self._dropped_chunks = 0

    # What a human wants.

    def instruct(self, text: str, steady_ns: int) -> bool:
        """Take an instruction; False if it is a repetition, which releases no stop or fault.

        Publishers may repeat their sentences for ever: the one received last changes nothing at
        all, another one heard a moment ago is followed, once somebody lets the robot go. Raises
        InstructionError for a text that cannot be one; the robot then stands still, since
        whoever sent it wanted something else than what the robot was doing.
        """
        with self._lock:
            new = not self._heard_lately(text, steady_ns)
            if text == self._received:
                if text.strip() and text.strip() == self._state.instruction:
                    return False
            self._received = text
            try:
                checked = check_instruction(text)
            except InstructionError as error:
                self._state.stop(f'instruction refused: {error}')
                raise
            release = new or self._state.latch is None
            self._start(lambda: self._state.instruct(checked, release))
            return release

    def clear_instruction(self) -> None:
        """Have no instruction any more: stand and wait for one."""
        with self._lock:
            self._received = None
            self._start(self._state.clear_instruction)

    def stop(self, reason: str) -> None:
        """Stand still until resume or a new instruction."""
        with self._lock:
            self._state.stop(reason)
            self._human_must_pause = self._human_drives(self._ticked_ns or 0)

    def resume(self, steady_ns: int) -> tuple[bool, str]:
        """Release a stop or fault; returns whether that was possible, and what happens now."""
        with self._lock:
            if self._state.latch is None and not self._state.estop:
                return True, f'nothing to resume: {self._decision.state.value}'
            if not self._state.resume():
                return False, f'{EMERGENCY}; release it first'
            self._human_must_pause = False
            self._executor.clear()
            self._policy.fed()
            self._camera.forgive(steady_ns)
            if self._state.instruction is None:
                return True, 'resumed; waiting for an instruction'
            return True, f'resumed: {self._state.instruction}'

    def emergency_stop(self, on: bool) -> None:
        """Switch the emergency stop. Released, the robot needs resume or a new instruction."""
        with self._lock:
            if self._state.estop and not on:
                self._human_must_pause = self._human_drives(self._ticked_ns or 0)
            self._state.emergency(on)

    def teleop(self, v0: float, v1: float, steady_ns: int) -> None:
        """Take a human's command: it is driven at once, instead of the policy's.

        Not so the commands that go on after a stop: a stick may be stuck.
        """
        with self._lock:
            if not self._human_drives(steady_ns):
                self._human_must_pause = False
            self._human = (v0, v1)
            self._human_ns = steady_ns

    def _start(self, begin) -> None:
        was_latched = self._state.latch is not None
        begin()
        self._policy.fed()
        if was_latched or self._state.instruction is None:
            self._executor.clear()

    def _heard_lately(self, text: str, steady_ns: int) -> bool:
        self._heard_ns = {said: heard_ns for said, heard_ns in self._heard_ns.items()
                          if steady_ns - heard_ns <= REPEATS_NS}
        said = hash(text)
        lately = said in self._heard_ns
        self._heard_ns[said] = steady_ns
        return lately

    def _human_drives(self, steady_ns: int) -> bool:
        return self._human_ns is not None and steady_ns - self._human_ns <= self._hold_ns

    # What the camera and the policy bring.

    def image_arrived(self, stamp_ns: int, now_ns: int, steady_ns: int) -> bool:
        """Note an image message; False if its stamp makes it useless."""
        with self._lock:
            good = self._camera.arrived(stamp_ns, now_ns, steady_ns)
            if good:
                self._frame_rate.add(steady_ns)
            return good

    def image_unreadable(self, reason: str, steady_ns: int) -> None:
        """Note that an image could not be decoded."""
        with self._lock:
            self._camera.unreadable(reason, steady_ns)

    def image_used(self, arrival_ns: int, changed: bool) -> None:
        """Note that the image that arrived at `arrival_ns` (steady) went to the policy."""
        with self._lock:
            self._camera.used(arrival_ns, changed)

    @property
    def task(self) -> Task | None:
        """What the policy should work on now; None if nothing."""
        state = self._state
        instruction, epoch = state.instruction, state.epoch
        if instruction is None or state.latch or state.estop or self._hold:
            return None
        return Task(instruction, epoch)

    def chunk(self, chunk: ActionChunk, task: Task, arrival_ns: int, now_ns: int,
              steady_ns: int) -> bool:
        """Take the policy's answer to the image that arrived at `arrival_ns` (steady).

        Returns False if it comes too late to matter, or latched a fault because it cannot be
        driven.
        """
        with self._lock:
            if task.epoch != self._state.epoch:
                self._dropped_chunks += 1
                return False
            self._policy_rate.add(steady_ns)
            self._policy.answered()
            try:
                self._executor.accept(chunk, now_ns)
            except ChunkError as error:
                self._state.fault(str(error))
                return False
            self._chunk_arrival_ns = arrival_ns
            self._chunk_is_new = True
            return True

    def policy_failed(self, reason: str, task: Task) -> None:
        """Latch a fault: the policy raised."""
        with self._lock:
            if task.epoch == self._state.epoch:
                self._state.fault(reason)

    def hold(self, reason: str) -> None:
        """Wait, because there is no policy to drive with."""
        with self._lock:
            self._hold = reason

    def release(self) -> None:
        """A policy is there: drive with it from its first answer on."""
        with self._lock:
            self._hold = None
            self._policy.fed()
            self._state.epoch += 1

    def fault(self, reason: str) -> None:
        """Latch a fault found elsewhere."""
        with self._lock:
            self._state.fault(reason)

    # What is published.

    def tick(self, now_ns: int, steady_ns: int) -> Decision:
        """Decide what to publish now."""
        with self._lock:
            before = self._ticked_ns
            self._ticked_ns = steady_ns
            dt_s = 0.0 if before is None else min((steady_ns - before) / 1e9, self._max_dt_s)
            jump = self._clock.jump(now_ns, steady_ns)
            if jump and self._state.engaged:
                self._state.fault(jump)
            state, reason = self._decide(now_ns, steady_ns, dt_s)
            if state not in (State.DRIVING, State.TAKEOVER):
                self._limiter.stop()
            v0, v1 = self._limiter.v0, self._limiter.v1
            if abs(v0) <= STANDING and abs(v1) <= STANDING:
                self._moving_since_ns = None
            elif self._moving_since_ns is None:
                self._moving_since_ns = steady_ns
            decision = self._decision
            if (v0, v1, state, reason) != decision:
                decision = self._decision = Decision(v0, v1, state, reason)
            return decision

    def _decide(self, now_ns: int, steady_ns: int, dt_s: float) -> tuple[State, str]:
        machine = self._state
        if machine.estop:
            return State.ESTOP, EMERGENCY
        if self._human_drives(steady_ns):
            if not self._human_must_pause:
                return self._takeover(steady_ns)
            self._policy.fed()
            state, reason = machine.latch or (State.WAITING, '')
            return state, '; '.join(filter(None, [reason, PAUSE]))
        if machine.latch:
            return machine.latch
        if machine.instruction is None:
            return State.WAITING, NO_INSTRUCTION
        if self._hold:
            return State.WAITING, self._hold
        problem = self._camera.problem(now_ns, steady_ns, self._moving_since_ns)
        if problem:
            if not machine.engaged:
                self._policy.fed()  # it is not the policy that is waited for
                return State.WAITING, problem
            machine.fault(problem)
            return machine.latch
        return self._drive(now_ns, steady_ns, dt_s)

    def _takeover(self, steady_ns: int) -> tuple[State, str]:
        if steady_ns - self._human_ns <= self._teleop_ns:
            self._limiter.take(*self._human)
        else:
            self._limiter.stop()
        self._policy.fed()
        return State.TAKEOVER, HUMAN

    def _drive(self, now_ns: int, steady_ns: int, dt_s: float) -> tuple[State, str]:
        machine, executor = self._state, self._executor
        fresh = not executor.empty and self._acting_age_ns(now_ns, steady_ns) <= self._stale_ns
        target = executor.target(now_ns) if fresh else None
        if target is not None:
            machine.engaged = True
            self._policy.fed()
            if self._chunk_is_new:
                self._chunk_is_new = False
                self._latency.add((steady_ns - self._chunk_arrival_ns) / 1e9)
            self._limiter.approach(*target, dt_s)
            return State.DRIVING, ''
        if self._policy.starved(steady_ns):
            machine.fault(self._starvation(now_ns, steady_ns))
            return machine.latch
        if fresh and self._limiter.moving:
            self._limiter.approach(0.0, 0.0, dt_s)
            if self._limiter.moving:
                return State.DRIVING, USED_UP
        return State.WAITING, USED_UP if machine.engaged else FIRST_ACTION

    def _acting_age_ns(self, now_ns: int, steady_ns: int) -> int:
        """Age of the frame behind the chunk, by whichever clock makes it older."""
        return max(now_ns - self._executor.stamp_ns, steady_ns - self._chunk_arrival_ns)

    def _starvation(self, now_ns: int, steady_ns: int) -> str:
        waited = f'no usable action from the policy for {self.settings.policy_timeout_s:g} s'
        if self._executor.late_s > 0.0:
            return (f'{waited}: its answers come {self._executor.late_s:.2f} s after the end of '
                    'their own chunk; use a faster model or device, or longer chunks')
        if self._policy.useless_answers:
            age_s = self._acting_age_ns(now_ns, steady_ns) / 1e9
            return (f'{waited}: its newest answer is for an image {age_s:.2f} s old; use a faster '
                    'model or device, or raise stale_timeout_s')
        return f'{waited}: it hangs, or is far too slow for this machine'

    # What diagnostics show.

    @property
    def decision(self) -> Decision:
        """What the last tick decided."""
        return self._decision

    @property
    def instruction(self) -> str | None:
        """The instruction in force."""
        return self._state.instruction

    def figures(self, now_ns: int, steady_ns: int) -> Figures:
        """Rates, latencies and counts of the last seconds."""
        with self._lock:
            p50, p99 = self._latency.at(50, 99) or (None, None)
            return Figures(self._policy_rate.hz(steady_ns), self._frame_rate.hz(steady_ns),
                           self._camera.age_s(now_ns, steady_ns), p50, p99,
                           self._camera.refusals, self._dropped_chunks)
