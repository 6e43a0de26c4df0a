"""Actions as words of a vocabulary."""

import numpy as np
import pytest
from policy_families import IDEFICS, SENTENCES, build_tokenizer

from vla_nav.policy import ActionTokens, SettingsError, TokenSettings, choose_token_ids


@pytest.fixture
def words():
    return ActionTokens(TokenSettings(256, tuple(range(1000, 1255))))


def test_openvlas_bins(words):
    assert len(words.centres) == 255 and words.centres[127] == pytest.approx(0, abs=1e-7)
    edges = np.linspace(-1, 1, 256)
    np.testing.assert_allclose(words.centres, (edges[1:] + edges[:-1]) / 2, atol=1e-7)


def test_there_and_back_is_within_half_a_bin(words, rng):
    actions = rng.uniform(-1, 1, (500, 8, 2))
    ids = words.encode(actions)
    assert ids.shape == (500, 8, 2)
    assert np.abs(words.decode(ids) - actions).max() <= 1 / 255 + 1e-6


def test_the_ends_and_beyond(words):
    assert words.encode(np.array([-9.0, -1.0, 1.0, 9.0])).tolist() == [1000, 1000, 1254, 1254]


def test_an_id_that_is_no_action_decodes_to_nan(words):
    assert np.isnan(words.decode(np.array([[5, 1000]]))).tolist() == [[True, False]]


def test_missing_ids_are_refused():
    with pytest.raises(SettingsError, match='tokens.ids is empty'):
        ActionTokens(TokenSettings())
    with pytest.raises(SettingsError, match=r'254 ids \(254 different\).*expected 255'):
        TokenSettings(256, tuple(range(254)))


def test_chosen_ids_are_ordinary_unused_and_rare():
    tokenizer = build_tokenizer(IDEFICS)
    ids = choose_token_ids(tokenizer, 32, SENTENCES[:2])
    assert len(ids) == len(set(ids)) == 31
    used = {i for text in SENTENCES[:2] for i in tokenizer(text)['input_ids']}
    assert not used & set(ids)
    assert not set(ids) & (set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder))
    assert max(ids) < len(tokenizer)
    merges = sorted(set(tokenizer.get_vocab().values()) - used)[-31:]
    assert set(ids) == set(merges)


def test_too_small_a_vocabulary_says_what_to_lower():
    with pytest.raises(SettingsError, match='Lower tokens.bins to'):
        choose_token_ids(build_tokenizer(IDEFICS), 4096)


def test_a_unigram_vocabulary_gives_its_least_likely():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    pieces = [('<unk>', 0.0)] + [(f'w{i}', -float(i % 7) - i / 1000) for i in range(40)]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.Unigram(pieces, unk_id=0)), unk_token='<unk>')
    ids = choose_token_ids(tokenizer, 9)
    scores = [s for i, (_, s) in enumerate(pieces) if i not in ids and i]
    assert max(pieces[i][1] for i in ids) <= min(scores)
