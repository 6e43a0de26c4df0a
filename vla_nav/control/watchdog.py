"""Is there something to drive on: fresh images, and a policy that answers in time."""

from __future__ import annotations

import math

from vla_nav.control.settings import ControlSettings


class CameraWatch:
    """Knows how fresh the camera's images are, by their stamps and by a steady clock.

    Stamps come from the camera's clock, which may stop, step or disagree; arrivals are measured
    with a clock that cannot. An image counts only if both make sense.
    """

    def __init__(self, settings: ControlSettings, topic: str) -> None:
        self._topic = topic
        self._stale_ns = _ns(settings.stale_timeout_s)
        self._freeze_ns = _ns(settings.freeze_timeout_s)
        self._tolerance_ns = _ns(settings.stamp_tolerance_s)
        self.stamp_ns = 0
        self._arrival_ns: int | None = None
        self._good_ns = 0
        self._changed_ns = 0
        self._refused_ns = 0
        self._unreadable_ns = 0
        self._refusal = ''
        self.refusals = 0

    def arrived(self, stamp_ns: int, now_ns: int, steady_ns: int) -> bool:
        """Note an image message; False if its stamp rules it out."""
        problem = self._stamp_problem(stamp_ns, now_ns, steady_ns)
        if problem:
            self._refuse(problem, steady_ns)
            return False
        if self._arrival_ns is None:
            self._good_ns = self._changed_ns = steady_ns
        self.stamp_ns = stamp_ns
        self._arrival_ns = steady_ns
        return True

    def _stamp_problem(self, stamp_ns: int, now_ns: int, steady_ns: int) -> str | None:
        if stamp_ns <= 0:
            return 'its stamp is zero; the camera driver must stamp its images'
        if stamp_ns - now_ns > self._tolerance_ns:
            return (f'its stamp lies {_at_least(stamp_ns - now_ns)} in the future; synchronise '
                    'the clocks, or check use_sim_time')
        if stamp_ns == self.stamp_ns:
            return 'its stamp is the one before; the camera hangs'
        if self._arrival_ns is None or steady_ns - self._arrival_ns > 2 * self._stale_ns:
            return None  # After a gap the camera may have been restarted with another clock.
        if stamp_ns < self.stamp_ns:
            return f'its stamp went back by {(self.stamp_ns - stamp_ns) / 1e9:.2f} s'
        return None

    def _refuse(self, reason: str, steady_ns: int) -> None:
        self.refusals += 1
        self._refusal = reason
        self._refused_ns = steady_ns

    def unreadable(self, reason: str, steady_ns: int) -> None:
        """Note an image that arrived but could not be decoded, and why."""
        self._refuse(reason, steady_ns)
        self._unreadable_ns = steady_ns

    def used(self, arrival_ns: int, changed: bool) -> None:
        """Note that an image could be decoded; `changed`: it differs from the one before."""
        self._good_ns = arrival_ns
        if changed:
            self._changed_ns = arrival_ns

    def forgive(self, steady_ns: int) -> None:
        """Forget refused and repeated images: somebody looked and wants to go on."""
        self._good_ns = self._changed_ns = steady_ns
        self._refused_ns = self._unreadable_ns = 0

    def age_s(self, now_ns: int, steady_ns: int) -> float | None:
        """Age of the newest image, the larger of both clocks' views; None before the first."""
        if self._arrival_ns is None:
            return None
        return max(now_ns - self.stamp_ns, steady_ns - self._arrival_ns) / 1e9

    def problem(self, now_ns: int, steady_ns: int, moving_since_ns: int | None) -> str | None:
        """Say why the camera cannot be relied on; None if it can.

        `moving_since_ns`: steady time since when the robot is told to move, None if it is not:
        a robot that stands may see the same pixels for ever.
        """
        if self._arrival_ns is None:
            if self._refused_ns:
                return f'no usable image on {self._topic}: {self._refusal}'
            return (f'no image on {self._topic} yet; does the camera run, and do its topic and '
                    'type match the contract (or camera_topic)?')
        silent = steady_ns - self._arrival_ns > self._stale_ns
        age_ns = now_ns - self.stamp_ns
        if (silent or age_ns > self._stale_ns) and self._refused_ns > self._arrival_ns:
            return f'no usable image on {self._topic}: {self._refusal}'
        # Of its age, the longer part tells what is wrong: on the way here, or since it came.
        if silent or self._stale_ns < age_ns < 2 * (steady_ns - self._arrival_ns):
            return (f'camera stale: no new image on {self._topic} for {self._stale_ns / 1e9:g} s; '
                    'does the camera still run?')
        if age_ns > self._stale_ns:
            return (f'camera stale: the newest image on {self._topic} is {_at_least(age_ns)} old '
                    'by its stamp; is the link too slow, or do the clocks differ?')
        if age_ns < -self._tolerance_ns:
            return (f'the clock went back: the newest image on {self._topic} lies '
                    f'{_at_least(-age_ns)} in the future')
        if self._unreadable_ns > self._good_ns and steady_ns - self._good_ns > self._stale_ns:
            return f'no usable image on {self._topic}: {self._refusal}'
        if self._freeze_ns and moving_since_ns is not None:
            if self._good_ns - max(self._changed_ns, moving_since_ns) > self._freeze_ns:
                return (f'camera frozen: images on {self._topic} have had the same pixels for '
                        f'{self._freeze_ns / 1e9:g} s while the robot is told to move')
        return None


class ClockWatch:
    """Notices when the clock that stamps images jumps: what was fresh may be old, or not yet be.

    A simulated clock may run several times faster than the steady one without a jump.
    """

    _MIN_JUMP_NS = 1_000_000_000
    _FASTEST = 20

    def __init__(self) -> None:
        self._before: tuple[int, int] | None = None

    def jump(self, now_ns: int, steady_ns: int) -> str | None:
        """Say by how much the clock has jumped since the last call; None if it has not."""
        before, self._before = self._before, (now_ns, steady_ns)
        if before is None:
            return None
        passed_ns, steady_passed_ns = now_ns - before[0], steady_ns - before[1]
        if -self._MIN_JUMP_NS <= passed_ns <= (self._MIN_JUMP_NS
                                               + self._FASTEST * steady_passed_ns):
            return None
        return f'the clock jumped by {(passed_ns - steady_passed_ns) / 1e9:+.2f} s'


class PolicyWatch:
    """Measures how long there has been nothing to execute."""

    def __init__(self, settings: ControlSettings) -> None:
        self._timeout_ns = _ns(settings.policy_timeout_s)
        self._since_ns: int | None = None
        self.useless_answers = 0
        """Answers that came while there was nothing to execute, and did not change that."""

    def fed(self) -> None:
        """Note that there is an action to execute."""
        self._since_ns = None
        self.useless_answers = 0

    def answered(self) -> None:
        """Note an answer of the policy."""
        if self._since_ns is not None:
            self.useless_answers += 1

    def starved(self, steady_ns: int) -> bool:
        """Note that there is none; True once that has lasted policy_timeout_s."""
        if self._since_ns is None:
            self._since_ns = steady_ns
        return steady_ns - self._since_ns > self._timeout_ns


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _at_least(nanoseconds: int) -> str:
    """A time to one digit: a reason that changed at every tick would be told at every tick."""
    step = 10 ** math.floor(math.log10(nanoseconds))
    return f'at least {nanoseconds // step * step / 1e9:g} s'
