"""The fault suite works on the world of the node tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'nodes'))

from harness import models, shared_world, start_drive, world  # noqa: F401
