"""Errors of the policy room; each message names what was found, expected and what to do."""

from vla_nav.errors import VlaNavError


class PolicyError(VlaNavError):
    """A policy cannot be built, or produced something that must not reach a robot."""


class SettingsError(PolicyError):
    """A setting is unknown, out of range or contradicts another."""


class InstructionError(PolicyError):
    """An instruction that no policy should be asked to follow."""


class BackboneError(PolicyError):
    """A vision-language checkpoint that cannot serve as a backbone."""


class NormaliserError(PolicyError):
    """Action statistics that are missing or do not fit the data."""


class CheckpointError(PolicyError):
    """A checkpoint folder that is missing, damaged, unsafe or made for another robot."""
