"""Parameters of the recorder node, and the settings they make up."""

from __future__ import annotations

from pathlib import Path

from vla_nav import rosless
from vla_nav.episodes.recorder_types import RecorderSettings
from vla_nav.nodes.managed import AUTOSTART
from vla_nav.nodes.parameters import Parameter, ParameterError

rosless.ensure()

from rclpy.exceptions import InvalidTopicNameException  # noqa: E402
from rclpy.validate_topic_name import validate_topic_name  # noqa: E402

_DEFAULTS = RecorderSettings(Path())

PARAMETERS = (
    AUTOSTART,
    Parameter('robot', 'sim', 'Robot: the path of a contract, or a name in config/robots/.'),
    Parameter('out', 'data/episodes', 'Folder for the bags.'),
    Parameter('extra_topics', '', "Topics to record beside the contract's, separated by commas."),
    Parameter('drive_state_topic', 'drive/state', 'Where the drive node says what it does; with '
              'it, takeovers are marked in the bag. Empty: not recorded.'),
    Parameter('require_instruction', True, 'Refuse to start without an instruction.'),
    Parameter('pre_roll_s', _DEFAULTS.pre_roll_s,
              'Seconds from before the start that are in the bag.', 0.0, 60.0),
    Parameter('pre_roll_mb', _DEFAULTS.pre_roll_mb, 'At most this many megabytes of them.',
              0.0, 4096.0),
    Parameter('queue_mb', _DEFAULTS.queue_mb,
              'Megabytes that may wait for a slow disk before messages are dropped and counted.',
              1.0, 16384.0),
    Parameter('sync_period_s', _DEFAULTS.sync_period_s,
              'How often data is flushed to disk (fsync).', 0.05, 0.5),
    Parameter('min_free_gb', _DEFAULTS.min_free_gb,
              'With less than this free, no episode starts and a running one ends.', 0.0, 10000.0),
    Parameter('silence_s', _DEFAULTS.silence_s,
              'A topic of the contract that is silent for longer is a warning.', 0.1, 600.0),
    Parameter('takeover_hold_s', _DEFAULTS.takeover_hold_s,
              'A human command during policy driving counts as intervention for this long; as in '
              'the drive node.', 0.05, 60.0),
    Parameter('compress', _DEFAULTS.compress, 'Compress chunks with zstd: helps raw images, '
              'costs CPU, does nothing for JPEG.'),
    Parameter('joy_topic', 'joy', 'Gamepad (sensor_msgs/Joy). Empty: none.'),
    Parameter('joy_start', 7, 'Button that starts an episode; -1: none.', -1, 64),
    Parameter('joy_stop', 6, 'Button that stops it; the same as joy_start: it toggles.', -1, 64),
    Parameter('joy_success', 0, 'Button that marks success.', -1, 64),
    Parameter('joy_failure', 1, 'Button that marks failure.', -1, 64),
    Parameter('joy_discard', 3, 'Button that deletes the running episode.', -1, 64),
)


def recorder_settings(values: dict) -> RecorderSettings:
    """The recorder's settings out of the node's parameters."""
    names = ('pre_roll_s', 'pre_roll_mb', 'queue_mb', 'sync_period_s', 'min_free_gb', 'silence_s',
             'takeover_hold_s', 'require_instruction', 'compress')
    return RecorderSettings(Path(values['out']).expanduser(),
                            **{name: values[name] for name in names})


def extra_topics(values: dict) -> list[str]:
    """Topics to record beside the contract's. Raises ParameterError for what cannot be one."""
    names = [name.strip() for name in values['extra_topics'].split(',') if name.strip()]
    try:
        for name in names:
            validate_topic_name(name)
    except InvalidTopicNameException:
        raise ParameterError(f'extra_topics is {values["extra_topics"]!r:.200}; expected names of '
                             'topics, separated by commas') from None
    return names


def joy_buttons(values: dict) -> dict[str, int]:
    """Button of each action, without those that have none."""
    actions = ('start', 'stop', 'success', 'failure', 'discard')
    return {action: values[f'joy_{action}'] for action in actions if values[f'joy_{action}'] >= 0}
