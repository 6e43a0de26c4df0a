"""Messages to and from CDR bytes."""

from __future__ import annotations

from .messages import Message, deserialize, serialize


def serialize_message(message: Message) -> bytes:
    """A message as CDR, with the 4-byte encapsulation header."""
    return bytes(serialize(message))


def deserialize_message(serialized_message: bytes, message_type: type) -> Message:
    """A message of a type from CDR."""
    return deserialize(serialized_message, message_type.__ros_name__)
