"""Errors of the training room."""

from vla_nav.errors import VlaNavError


class TrainError(VlaNavError):
    """Training cannot start or go on."""
