"""One sentence and one next step for every code, in both languages."""

from __future__ import annotations

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.sentences import SENTENCES, Language


def test_every_code_has_its_row_and_no_row_is_without_a_code() -> None:
    assert set(SENTENCES) == set(Code)


@pytest.mark.parametrize("language", list(Language))
def test_sentences_are_whole_and_no_two_codes_say_the_same(language: Language) -> None:
    meanings = [sentence.meaning.text(language) for sentence in SENTENCES.values()]
    for text in meanings + [sentence.next_step.text(language) for sentence in SENTENCES.values()]:
        assert text == text.strip()
        assert text.endswith(".")
        assert text[0].isupper()
    assert len(set(meanings)) == len(meanings)


def test_each_text_is_in_its_language() -> None:
    for sentence in SENTENCES.values():
        for phrase in sentence:
            assert phrase.en != phrase.sv
            assert phrase.en.isascii()


def test_no_sentence_names_a_code_or_a_key_that_would_have_to_be_translated() -> None:
    for sentence in SENTENCES.values():
        for phrase in sentence:
            assert not any(code.dotted in text for code in Code for text in phrase if "." in code.dotted)
