"""The drive node with a first deactivation that fails before it has begun."""

from vla_nav.nodes import runner
from vla_nav.nodes.drive import DriveNode


class BrokenDrive(DriveNode):
    """The drive node as it is, but for its first deactivation."""

    _failed = False

    def deactivate(self) -> None:
        if not self._failed:
            self._failed = True
            raise RuntimeError('told to fail')
        super().deactivate()


if __name__ == '__main__':
    raise SystemExit(runner.run(BrokenDrive, threads=4))
