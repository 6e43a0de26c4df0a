"""The recorder node: topics go into bags, one per episode, as they are.

It is a managed node. `configure` looks at the disk, completes what was interrupted, and listens
to the topics; episodes start only in `active`. To deactivate it ends a running episode and keeps
it; `cleanup` stops listening. With `autostart` it is active whatever the disk is like: the log
says what is wrong, and so does `start`, until it is mended.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from vla_nav import rosless
from vla_nav.control import State
from vla_nav.episodes.errors import EpisodeError
from vla_nav.episodes.recorder import Recorder
from vla_nav.episodes.recorder_types import STRING, RecordedTopic, contract_topics
from vla_nav.episodes.recovery import recover

rosless.ensure()

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup  # noqa: E402
from rclpy.clock import Clock, ClockType  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from sensor_msgs.msg import Joy  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from vla_nav.contract import Contract, contract_file  # noqa: E402
from vla_nav.nodes import messages, qos, runner  # noqa: E402
from vla_nav.nodes.managed import ManagedNode  # noqa: E402
from vla_nav.nodes.parameters import declare  # noqa: E402
from vla_nav.nodes.raw_subscription import RawSubscription  # noqa: E402
from vla_nav.nodes.record_parameters import (  # noqa: E402
    PARAMETERS,
    extra_topics,
    joy_buttons,
    recorder_settings,
)

_ADAPT_PERIOD_S = 0.25
_REPORT_PERIOD_S = 1.0
_TRANSFORMS, _PARTS = 'tf2_msgs/msg/TFMessage', 100
"""Of /tf_static each publisher has its part, which counts for later episodes too."""
_DRIVING = (State.DRIVING.value, State.TAKEOVER.value)


class RecordNode(ManagedNode):
    """Wires topics, services and gamepad to the recorder, and its figures to /diagnostics."""

    def __init__(self) -> None:
        super().__init__('record')
        values = declare(self, PARAMETERS)
        self.contract = Contract.load(contract_file(values['robot']))
        settings = recorder_settings(values)
        resolve = self.resolve_topic_name
        self.recorder = Recorder(
            settings, self.contract, resolve(self.contract.instruction_topic),
            resolve(self.contract.teleop_topic), self._ended)
        self._state_topic = values['drive_state_topic'] and resolve(values['drive_state_topic'])
        self._simulated = self.get_parameter('use_sim_time').value
        self._drive_state, self._drive_lives = '', False
        self._pressed: set[int] = set()
        self._buttons = joy_buttons(values)
        self._recorded: dict[str, RawSubscription] = {}
        self._extra = [resolve(name) for name in
                       (*self.contract.extra_topics, *extra_topics(values))]
        self._unknown: list[str] = []
        self._side = MutuallyExclusiveCallbackGroup()
        self._serve(values['joy_topic'])
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_ADAPT_PERIOD_S, self._adapt, callback_group=self.transitions,
                          clock=steady)
        self.create_timer(_REPORT_PERIOD_S, self._report, callback_group=self._side,
                          clock=steady)
        if values['autostart']:
            self.autostart()

    # States.

    def configure(self) -> None:
        """Look at the disk and listen to the topics. Raises EpisodeError for a bad disk."""
        try:
            self.recorder.check_disk()
        except EpisodeError as error:
            if not self.starting:
                raise
            self.get_logger().error(str(error))
        self._recover(self.recorder.settings.root)
        for topic in contract_topics(self.contract, self.resolve_topic_name):
            self._record(topic)
        if self._state_topic:
            self._record(RecordedTopic(self._state_topic, STRING, latched=1))
        self._unknown = [name for name in dict.fromkeys(self._extra)
                         if name not in self._recorded]
        self._adapt()

    def activate(self) -> None:
        """Allow episodes."""
        self.get_logger().info(
            f'ready to record into {self.recorder.settings.root}: ' + ', '.join(self._recorded))

    def deactivate(self) -> None:
        """Complete what is being recorded."""
        self._complete('the recorder was deactivated')

    def cleanup(self) -> None:
        """Stop listening."""
        for subscription in self._recorded.values():
            subscription.destroy()
        self._recorded, self._unknown = {}, []
        self.recorder.forget()

    def close(self) -> None:
        """Complete what is being recorded, for good."""
        self._complete('the recorder was shut down')

    def _complete(self, reason: str) -> None:
        try:
            self.recorder.close(reason)
        except EpisodeError as error:
            self.get_logger().error(str(error))

    def _recover(self, root) -> None:
        try:
            if not root.exists():
                return
            done, failed = recover(root, ours=True)
        except OSError as error:
            done, failed = [], [f'{root} cannot be searched for interrupted episodes: {error}']
        for bag in done:
            self.get_logger().warn(f'recovered {bag.path.name}, which was interrupted')
        for text in failed:
            self.get_logger().error(text)

    def _serve(self, joy_topic: str) -> None:
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', qos.RELIABLE)
        for name in ('start', 'stop', 'discard'):
            self.create_service(Trigger, f'~/{name}', self._trigger(name),
                                callback_group=self.transitions)
        self.create_service(SetBool, '~/mark', self._mark, callback_group=self.transitions)
        if joy_topic:
            self.create_subscription(Joy, joy_topic, self._joy, qos.SENSOR,
                                     callback_group=self.transitions)

    # Messages.

    def _record(self, topic: RecordedTopic) -> None:
        package, _, name = topic.msgtype.partition('/msg/')
        kind = getattr(importlib.import_module(f'{package}.msg'), name)
        self.recorder.add_topic(topic)
        self._recorded[topic.name] = RawSubscription(
            self, kind, topic.name, self._take, MutuallyExclusiveCallbackGroup(),
            bool(topic.latched))

    def _take(self, topic: str, data: bytes, publish_ns: int) -> None:
        # In simulated time there is no telling when a message was sent; some RMW never tell.
        sent_ns = None if self._simulated or publish_ns <= 0 else publish_ns
        self.recorder.take(topic, data, self._now_ns(), sent_ns)
        if topic == self._state_topic:
            self._note_driver(deserialize_message(data, String).data)

    def _note_driver(self, text: str) -> None:
        try:
            state = json.loads(text)
            active = state['state'] in _DRIVING and bool(state['instruction'])
        except (ValueError, KeyError, TypeError):
            return
        self._drive_state = text
        model, sha256 = (str(state.get(key) or '') for key in ('model', 'model sha256'))
        self.recorder.drives(Path(model).name, sha256, active)

    def _adapt(self) -> None:
        """Find the types of extra topics, and fit subscriptions to their publishers."""
        if self._state_topic:
            self._watch_drive_node()
        if self._unknown:
            known = dict(self.get_topic_names_and_types())
            found = [name for name in self._unknown if known.get(name)]
            self._unknown = [name for name in self._unknown if name not in found]
            for name in found:
                self._record_extra(name, known[name][0])
        for subscription in self._recorded.values():
            subscription.adapt(self.recorder.recording)

    def _watch_drive_node(self) -> None:
        """Without its drive node no policy drives; a link that is back repeats no old state."""
        lives = bool(self.count_publishers(self._state_topic))
        if lives != self._drive_lives:
            self._drive_lives = lives
            if not lives:
                self.recorder.drives('', '', False)
            elif self._drive_state:
                self._note_driver(self._drive_state)

    def _record_extra(self, name: str, msgtype: str) -> None:
        infos = self.get_publishers_info_by_topic(name)
        latched = any(info.qos_profile.durability.name == 'TRANSIENT_LOCAL' for info in infos)
        try:
            parts = _PARTS if msgtype == _TRANSFORMS else 1
            self._record(RecordedTopic(name, msgtype, latched=parts if latched else 0))
            self.get_logger().info(f'recording {name} ({msgtype}) too')
        except (EpisodeError, ImportError, AttributeError) as error:
            self.get_logger().error(f'extra topic {name} is not recorded: {error}')

    # Commands.

    def _trigger(self, name: str):
        def serve(_request, response):
            response.success, response.message = self._do(name)
            return response
        return serve

    def _mark(self, request, response):
        response.success, response.message = self._do('success' if request.data else 'failure')
        return response

    def _do(self, action: str) -> tuple[bool, str]:
        recorder = self.recorder
        actions = {
            'start': lambda: f'recording {recorder.start(self._now_ns(), self._offered())}',
            'stop': lambda: f'recorded {recorder.stop()}',
            'discard': lambda: f'discarded {recorder.discard()}',
            'success': lambda: f'{recorder.mark(True)} is a success',
            'failure': lambda: f'{recorder.mark(False)} is a failure',
        }
        try:
            if action == 'start' and self.stage != 'active':
                raise EpisodeError(f'the recorder is {self.stage}, not active: see `ros2 '
                                   f'lifecycle list {self.get_fully_qualified_name()}`')
            text = actions[action]()
        except EpisodeError as error:
            self.get_logger().error(str(error))
            return False, str(error)
        self.get_logger().info(text)
        return True, text

    def _offered(self) -> dict:
        return {name: subscription.offered()
                for name, subscription in self._recorded.items()}

    def _joy(self, message: Joy) -> None:
        pressed = {index for index, value in enumerate(message.buttons) if value}
        new, self._pressed = pressed - self._pressed, pressed
        for action, button in self._buttons.items():
            if button not in new:
                continue
            toggles = self._buttons.get('start') == self._buttons.get('stop') == button
            if toggles and (action == 'start') == self.recorder.recording:
                continue
            self._do(action)
            if toggles:
                new.discard(button)

    # Figures.

    def _ended(self, text: str, is_error: bool) -> None:
        (self.get_logger().error if is_error else self.get_logger().info)(text)

    def _report(self) -> None:
        now_ns = self._now_ns()
        status = self.recorder.check(now_ns)
        if status.warnings and status.episode:
            self.get_logger().warn('; '.join(status.warnings), throttle_duration_sec=5.0)
        values: dict[str, object] = {
            'episode': status.episode, 'seconds': status.seconds, 'outcome': status.outcome,
            'instruction': status.instruction, 'episodes finished': status.finished,
            'queue (%)': 100 * status.queue_fill, 'free disk (GB)': status.free_gb,
            'dropped': sum(status.dropped.values())}
        for name, topic in status.topics.items():
            dropped = f', {status.dropped[name]} dropped' if name in status.dropped else ''
            values[name] = (f'{topic.messages} messages, {topic.rate_hz:.1f} Hz, '
                            f'{topic.size_bytes / 1e6:.1f} MB, {topic.gaps} gaps{dropped}')
        level = DiagnosticStatus.WARN if status.warnings else DiagnosticStatus.OK
        idle = 'idle' if self.stage == 'active' else self.stage
        state = f'recording {status.episode}' if status.episode else idle
        self._diagnostics.publish(messages.diagnostics_message(
            f'{self.get_fully_qualified_name().strip("/")}: recorder', self.contract.robot,
            level, '; '.join([state, *status.warnings]), values, now_ns))

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return runner.run(RecordNode, args, threads=4)


if __name__ == '__main__':
    raise SystemExit(main())
