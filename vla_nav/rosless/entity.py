"""What an executor needs of publishers' and subscriptions' kin."""

from __future__ import annotations

from cyclonedds.core import DDSStatus

from . import wire
from .exceptions import InvalidHandle
from .messages import dds_type_name
from .typestore import type_hash


class Entity:
    """Something of a node that an executor runs callbacks for.

    The executor asks `_is_ready`, takes the work with `_take` (None if there is none after all),
    then calls `_execute` with it in the thread that shall run the callback. `_execute` may return
    a coroutine, which the executor then drives.
    """

    def __init__(self, node, callback, callback_group) -> None:
        self._node = node
        self.callback = callback
        self.callback_group = callback_group
        self._destroyed = False
        if callback_group is not None:
            callback_group.add_entity(self)

    @property
    def handle(self) -> Entity:
        return self

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _take(self) -> object:
        raise NotImplementedError

    def _execute(self, work, executor) -> object:
        raise NotImplementedError

    def _wake(self) -> None:
        self._node._wake_executor()

    def _check(self) -> None:
        if self._destroyed:
            raise InvalidHandle('cannot use Destroyable because destruction was requested')

    def destroy(self) -> None:
        """Take the entity out of the graph."""
        self._destroyed = True

    def __enter__(self) -> Entity:
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()


class Endpoints(Entity):
    """An entity with DDS readers and writers that its node announces."""

    def __init__(
        self, node, callback, callback_group, qos_profile, event_callbacks=None
    ) -> None:
        super().__init__(node, callback, callback_group)
        self.qos_profile = qos_profile
        self._event_callbacks = event_callbacks
        self.event_handlers: list = []
        self._participant = node.context.participant
        self._readers: dict[bytes, object] = {}
        self._writers: dict[bytes, object] = {}
        self._has_data = False

    def _open_writer(self, dds_topic: str, ros_type: str, extra: str = ''):
        writer = self._participant.create_writer(
            dds_topic, dds_type_name(ros_type), self.qos_profile,
            wire.user_data(type_hash(ros_type), extra),
        )
        self._participant.watch(writer, self._events(writer))
        guid = writer.get_guid().bytes
        self._writers[guid] = writer
        self._node._announced.writers.append(guid)
        return writer

    def _open_reader(self, dds_topic: str, ros_type: str, extra: str = ''):
        reader = self._participant.create_reader(
            dds_topic, dds_type_name(ros_type), self.qos_profile,
            wire.user_data(type_hash(ros_type), extra),
        )
        guid = reader.get_guid().bytes
        self._readers[guid] = self._reader = reader
        self._node._announced.readers.append(guid)
        reactions = {DDSStatus.DataAvailable: self._on_data, **self._events(reader)}
        self._participant.watch(reader, reactions)
        return reader

    def _events(self, endpoint) -> dict:
        if self._event_callbacks is None:
            return {}
        handlers = self._event_callbacks.handlers(self, endpoint, self.callback_group)
        self.event_handlers += handlers.values()
        return {bit: handler.fire for bit, handler in handlers.items()}

    def _on_data(self) -> None:
        self._has_data = True
        self._wake()

    def _is_ready(self) -> bool:
        return self._has_data and not self._destroyed

    def _take(self) -> object:
        self._has_data = False
        if self._destroyed:
            return None
        sample = wire.take(self._reader)
        # There may be more.
        self._has_data = self._has_data or sample is not None
        return sample

    def destroy(self) -> None:
        if self._destroyed:
            return
        super().destroy()
        for handler in self.event_handlers:
            handler.destroy()
        announced = self._node._announced
        for guid in self._readers:
            announced.readers.remove(guid)
        for guid in self._writers:
            announced.writers.remove(guid)
        self._participant.destroy(*self._readers.values(), *self._writers.values())
        self._participant.announce()
