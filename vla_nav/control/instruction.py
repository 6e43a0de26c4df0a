"""What counts as an instruction."""

from __future__ import annotations

import unicodedata

from vla_nav.errors import VlaNavError

MAX_CHARACTERS = 500
"""A sentence for a robot; a policy's text window is not much longer."""


class InstructionError(VlaNavError):
    """A text cannot be an instruction."""


def check_instruction(text: str) -> str:
    """Return `text` without surrounding space. Raises InstructionError saying what is wrong."""
    stripped = text.strip()
    if not stripped:
        raise InstructionError('instruction is empty; expected a sentence such as '
                               "'go to the red cone'")
    if len(stripped) > MAX_CHARACTERS:
        raise InstructionError(f'instruction has {len(stripped)} characters, starting with '
                               f'{stripped[:24]!r}; at most {MAX_CHARACTERS} are accepted')
    for place, character in enumerate(stripped):
        if unicodedata.category(character) in ('Cc', 'Cs', 'Co', 'Cn'):
            raise InstructionError(f'instruction has the control character {character!r} at '
                                   f'place {place}; send plain text')
    return stripped
