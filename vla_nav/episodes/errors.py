"""Errors of recorded episodes: bags that cannot be written, read, recovered or converted."""

from __future__ import annotations

from vla_nav.errors import VlaNavError


class EpisodeError(VlaNavError):
    """A bag or dataset is unusable; the message names the file and the remedy."""


class NameTaken(EpisodeError):
    """There is an episode of this name already."""
