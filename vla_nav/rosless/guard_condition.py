"""Guard conditions: a callback that anyone may trigger from any thread."""

from __future__ import annotations

from .entity import Entity


class GuardCondition(Entity):
    """Made by `Node.create_guard_condition`."""

    def __init__(self, node, callback, callback_group) -> None:
        super().__init__(node, callback, callback_group)
        self._triggered = False

    def trigger(self) -> None:
        """Have the callback called once, soon."""
        self._check()
        self._triggered = True
        self._wake()

    def _is_ready(self) -> bool:
        return self._triggered and not self._destroyed

    def _take(self) -> object:
        self._triggered = False
        return True

    def _execute(self, work, executor) -> object:
        return self.callback()
