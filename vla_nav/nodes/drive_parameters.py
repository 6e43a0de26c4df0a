"""Parameters of the drive node, and the settings they make up."""

from __future__ import annotations

import dataclasses

from vla_nav.contract import Contract, contract_file
from vla_nav.control import ControlSettings
from vla_nav.nodes.managed import AUTOSTART
from vla_nav.nodes.parameters import Parameter

CONTRACT = 'contract'
"""Value of a parameter that leaves the choice to the robot's contract."""
COMPRESSED_SUFFIX = '/compressed'

_DEFAULTS = ControlSettings()

PARAMETERS = (
    AUTOSTART,
    Parameter('model', 'nano', 'Model: a name in models/, or a folder. Can be changed while '
              'driving; the new one takes over when it is loaded.', changeable=True),
    Parameter('robot', 'sim', 'Robot: the path of a contract, or a name in config/robots/.'),
    Parameter('instruction', '', 'What to do. An empty text waits for the instruction topic.',
              changeable=True),
    Parameter('device', 'auto', 'Where the model computes: auto, cpu, cuda or cuda:N.'),
    Parameter('engine', 'auto', 'What computes: torch, onnx (written by `vla_nav export`), or '
              'auto: onnx on a CPU where the model has it.', choices=('auto', 'torch', 'onnx')),
    Parameter('threads', 0, 'CPU threads of the model; 0: half of the cores.', 0, 256),
    Parameter('camera_topic', CONTRACT, "Camera topic instead of the contract's; one ending in "
              '/compressed carries CompressedImage.'),
    Parameter('cmd_vel_topic', CONTRACT, "Command topic instead of the contract's."),
    Parameter('command_type', CONTRACT, "Type of the command instead of the contract's.",
              choices=(CONTRACT, 'Twist', 'TwistStamped')),
    Parameter('base_frame', 'base_link', 'Frame of the robot, for the stamped command and the '
              'predicted path.'),
    Parameter('control_rate_hz', _DEFAULTS.control_rate_hz,
              'How often a velocity is published, whatever the model does.', 1.0, 200.0),
    Parameter('execution_horizon', _DEFAULTS.execution_horizon,
              'Steps of an action chunk that are driven before ramping to zero.', 1, 1000),
    Parameter('interpolate', _DEFAULTS.interpolate,
              'Blend from one action to the next instead of holding each.'),
    Parameter('stale_timeout_s', _DEFAULTS.stale_timeout_s,
              'The robot never moves on an image older than this.', 0.05, 10.0),
    Parameter('freeze_timeout_s', _DEFAULTS.freeze_timeout_s,
              'Same pixels for this long while moving: the camera hangs. 0: off.', 0.0, 60.0),
    Parameter('stamp_tolerance_s', _DEFAULTS.stamp_tolerance_s,
              "How far an image's stamp may lie in the future.", 0.0, 10.0),
    Parameter('policy_timeout_s', _DEFAULTS.policy_timeout_s,
              'No usable action for this long although images arrive: a fault.', 0.1, 600.0),
    Parameter('teleop_timeout_s', _DEFAULTS.teleop_timeout_s,
              "A human's last command is driven for this long.", 0.05, 10.0),
    Parameter('takeover_hold_s', _DEFAULTS.takeover_hold_s,
              "The model takes no part until this long after a human's last command.",
              0.05, 60.0),
)


def control_settings(values: dict) -> ControlSettings:
    """The controller's settings out of the node's parameters of the same names."""
    names = [field.name for field in dataclasses.fields(ControlSettings)]
    return ControlSettings(**{name: values[name] for name in names})


def robot_contract(values: dict) -> Contract:
    """The robot's contract, with topics and types replaced where parameters say so."""
    contract = Contract.load(contract_file(values['robot']))
    camera, command = contract.camera, contract.command
    if values['camera_topic'] != CONTRACT:
        compressed = values['camera_topic'].endswith(COMPRESSED_SUFFIX)
        camera = dataclasses.replace(
            camera, topic=values['camera_topic'],
            type=f'sensor_msgs/msg/{"CompressedImage" if compressed else "Image"}')
    if values['cmd_vel_topic'] != CONTRACT:
        command = dataclasses.replace(command, topic=values['cmd_vel_topic'])
    if values['command_type'] != CONTRACT:
        command = dataclasses.replace(command,
                                      type=f'geometry_msgs/msg/{values["command_type"]}')
    return dataclasses.replace(contract, camera=camera, command=command)
