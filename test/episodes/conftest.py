"""Fixtures of the episode tests."""

import pytest
from small_robot import Robot

from vla_nav.episodes.definitions import definition, standard_types


@pytest.fixture
def robot():
    return Robot


@pytest.fixture
def bag(tmp_path):
    """One good bag."""
    return Robot().write(tmp_path / 'bags', 'good')


@pytest.fixture
def add_message():
    """Return a function that adds a topic and one message to an open writer."""

    def add(writer, topic, msgtype, message, time_ns):
        if topic not in writer.topics:
            writer.add_topic(topic, msgtype, definition(msgtype))
        writer.write(topic, standard_types().serialize_cdr(message, msgtype), time_ns)

    return add
