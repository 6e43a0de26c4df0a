"""Where the files that come with the package are: config/, launch/ and models/.

A checkout has them at its root; ament, colcon and pip put them into ``share/vla_nav`` of the
prefix they install to. Both are found by climbing from this file, without asking ament, so that
it also works where there is no ROS.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from vla_nav.errors import VlaNavError


class ShareError(VlaNavError):
    """A file that comes with the package is not there."""


@lru_cache(maxsize=1)
def share_root() -> Path:
    """Return the folder that holds ``package.xml``, ``config/`` and ``models/``.

    :raises ShareError: the package was copied somewhere without them.
    """
    package = Path(__file__).resolve().parent
    for parent in package.parents:
        for root in (parent, parent / 'share' / 'vla_nav'):
            if (root / 'package.xml').is_file() and (root / 'config').is_dir():
                return root
    raise ShareError(
        f'no share/vla_nav with package.xml and config/ in any folder above {package}; '
        'install the package again with pip or colcon, or run it from a checkout')


def share_path(relative: str | Path) -> Path:
    """Return the absolute path of a file or folder such as ``config/drive.yaml``.

    :raises ShareError: it does not exist.
    """
    path = share_root() / relative
    if not path.exists():
        beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        raise ShareError(
            f'{relative} is not in {share_root()}; {path.parent.name}/ holds: '
            f'{", ".join(beside) or "nothing"}')
    return path
