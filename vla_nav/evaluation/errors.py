"""Errors of the evaluation room."""

from vla_nav.errors import VlaNavError


class EvaluationError(VlaNavError):
    """Something cannot be measured, or measurements cannot be compared."""
