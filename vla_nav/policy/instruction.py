"""The sentence a robot follows, made safe to put into a model's prompt."""

import unicodedata

from vla_nav.policy.errors import InstructionError

MAX_CHARACTERS = 2000


def clean_instruction(text: str) -> str:
    """Return the instruction on one line, without control characters.

    Raises InstructionError for anything that is not text, is empty once cleaned, or is longer
    than `MAX_CHARACTERS`.
    """
    if not isinstance(text, str):
        raise InstructionError(f'instruction: found {type(text).__name__}, expected text')
    if len(text) > MAX_CHARACTERS:
        raise InstructionError(
            f'instruction: found {len(text)} characters, expected at most {MAX_CHARACTERS}; '
            f"shorten it (it begins '{text[:40]}')"
        )
    # Cc: control, Cf: invisible formatting, Cs: lone surrogates, which no tokenizer accepts.
    kept = (
        ' ' if c.isspace() else c
        for c in text
        if c.isspace() or unicodedata.category(c) not in ('Cc', 'Cf', 'Cs')
    )
    cleaned = ' '.join(''.join(kept).split())
    if not cleaned:
        raise InstructionError(
            'instruction: it is empty; say where to go, for example "go to the red cone"'
        )
    return cleaned


def refuse_model_tokens(text: str, tokens: frozenset[str]) -> None:
    """Raise InstructionError where a sentence contains a token the model gives a meaning to.

    Such a token (`<image>`, an end-of-text mark) would change the prompt's structure.
    """
    for token in tokens:
        if token in text:
            raise InstructionError(
                f"instruction: it contains '{token}', which the model reads as a control token; "
                'write it without'
            )
