"""The benchmark is tried on the tiny models of the node tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'nodes'))

from harness import models  # noqa: F401
