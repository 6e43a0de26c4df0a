"""Fixtures of the node tests."""

from harness import models, shared_world, start_drive, world  # noqa: F401
