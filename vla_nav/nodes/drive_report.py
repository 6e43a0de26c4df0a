"""What the drive node says about itself on /diagnostics."""

from __future__ import annotations

import time

from vla_nav import rosless
from vla_nav.control import State

rosless.ensure()

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402

from vla_nav.nodes import messages  # noqa: E402

_LEVELS = {State.STOPPED.value: DiagnosticStatus.WARN,
           State.FAULT.value: DiagnosticStatus.ERROR, State.ESTOP.value: DiagnosticStatus.ERROR}
"""Others are fine."""
_SLOW = 0.8
"""Below this share of the contract's rate, a driving policy is reported as slow."""


class DriveReport:
    """Collects one diagnostic status of a drive node."""

    def __init__(self, node) -> None:
        self._node = node
        self._topic = node.resolve_topic_name(node.contract.command.topic)
        self._rivals = self._named = 0

    def message(self) -> DiagnosticArray:
        """The status of this moment."""
        node, contract = self._node, self._node.contract
        now_ns, steady_ns = node.get_clock().now().nanoseconds, time.monotonic_ns()
        state, reason = node.doing
        figures = node.controller.figures(now_ns, steady_ns)
        policy = node.worker.policy
        late_p50_s, late_p99_s, late_most_s = node.ticks.late_s() or (None, None, None)
        warnings = self._warnings(state, figures.policy_hz)
        level = _LEVELS.get(state, DiagnosticStatus.OK)
        if warnings and level == DiagnosticStatus.OK:
            level = DiagnosticStatus.WARN
        text = ': '.join(filter(None, [state, reason]))
        return messages.diagnostics_message(
            f'{node.get_fully_qualified_name().strip("/")}: control', contract.robot, level,
            '; '.join([text, *warnings]),
            {'state': state, 'reason': reason,
             'instruction': node.controller.instruction,
             'model': policy.name if policy else None,
             'model sha256': policy.sha256 if policy else None,
             'engine': policy.engine_in_use.name if policy else None,
             'model status': node.models.loader.status,
             'policy rate (Hz)': figures.policy_hz, 'camera rate (Hz)': figures.frame_hz,
             'frame age (s)': figures.frame_age_s,
             'latency p50 (s)': figures.latency_p50_s, 'latency p99 (s)': figures.latency_p99_s,
             'images refused': figures.refused_images,
             'images replaced by newer ones': node.worker.replaced,
             'chunks dropped': figures.dropped_chunks,
             'control loop': ('real-time priority' if node.loop.real_time
                              else 'ordinary priority'),
             'ticks missed': node.ticks.missed,
             'tick late p50 (s)': late_p50_s, 'tick late p99 (s)': late_p99_s,
             'tick late max (s)': late_most_s,
             'other publishers on command topic': self._rivals},
            now_ns)

    def _warnings(self, state: str, policy_hz: float) -> list[str]:
        warnings = []
        self._rivals = max(self._node.count_publishers(self._topic) - 1, 0)
        if self._rivals and self._node.output.in_charge:
            warnings.append(f'{self._rivals} other publisher(s) on {self._topic}')
            if self._rivals > self._named:
                self._node.get_logger().warn(
                    f'{self._rivals} other publisher(s) on {self._topic}: the base hears them '
                    f"all; send a human's commands to {self._node.contract.teleop_topic} instead")
        self._named = self._rivals if self._node.output.in_charge else 0
        wanted_hz = self._node.contract.rate_hz
        if state == State.DRIVING and 0.0 < policy_hz < _SLOW * wanted_hz:
            warnings.append(f'the policy runs at {policy_hz:.1f} Hz, its contract says '
                            f'{wanted_hz:g} Hz')
        return warnings
