"""What counts as an instruction."""

import pytest

from vla_nav.control import InstructionError, check_instruction


@pytest.mark.parametrize('text', ['go to the red cone', 'fahre zur grünen Kugel', '去红色的锥子'])
def test_a_sentence_is_kept(text):
    assert check_instruction(f'  {text}\n') == text


@pytest.mark.parametrize('text', ['', '   ', '\n\t'])
def test_an_empty_one_is_refused(text):
    with pytest.raises(InstructionError, match="empty; expected a sentence such as 'go to"):
        check_instruction(text)


def test_a_very_long_one_is_refused_with_its_beginning_only():
    with pytest.raises(InstructionError, match='102400 characters, starting with') as refusal:
        check_instruction('x' * 102400)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize('character', ['\x00', '\x1b', '\x07', '\ud800'])
def test_control_characters_are_refused_by_place(character):
    with pytest.raises(InstructionError, match='control character .* at place 2'):
        check_instruction(f'go{character} to the red cone')
