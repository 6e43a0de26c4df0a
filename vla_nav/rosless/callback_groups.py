"""Which callbacks of a node may run at the same time."""

from __future__ import annotations

import threading
import weakref


class CallbackGroup:
    """Base of callback groups."""

    def __init__(self) -> None:
        self.entities: weakref.WeakSet = weakref.WeakSet()

    def add_entity(self, entity) -> None:
        self.entities.add(entity)

    def has_entity(self, entity) -> bool:
        return entity in self.entities

    def can_execute(self, entity) -> bool:
        raise NotImplementedError()

    def beginning_execution(self, entity) -> bool:
        """Claim the right to run; False if another callback has it."""
        raise NotImplementedError()

    def ending_execution(self, entity) -> None:
        raise NotImplementedError()


class ReentrantCallbackGroup(CallbackGroup):
    """Callbacks run in parallel, also with themselves."""

    def can_execute(self, entity) -> bool:
        return True

    def beginning_execution(self, entity) -> bool:
        return True

    def ending_execution(self, entity) -> None:
        pass


class MutuallyExclusiveCallbackGroup(CallbackGroup):
    """One callback at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._active = None
        self._lock = threading.Lock()

    def can_execute(self, entity) -> bool:
        return self._active is None

    def beginning_execution(self, entity) -> bool:
        with self._lock:
            if self._active is not None:
                return False
            self._active = entity
            return True

    def ending_execution(self, entity) -> None:
        with self._lock:
            self._active = None
