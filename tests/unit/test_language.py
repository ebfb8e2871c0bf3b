"""Guessing the language of a turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.text.language import guess_language
from duologue.text.template import LANGUAGES


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Hello! Can you find me a hotel?", "en"),
        ("HELP", "en"),
        ("I'd like two, please.", "en"),
        ("你好", "zh"),
        ("我想买一个 iPhone 15 Pro Max", "zh"),
        ("OK，谢谢！", "zh"),
        ("Ich möchte einen Tisch für zwei Personen.", "de"),
        ("Guten Tag", "de"),
        ("Wo ist der Bahnhof?", "de"),
        ("Größe?", "de"),
    ],
)
def test_a_sentence_is_recognised(text: str, code: str) -> None:
    assert guess_language(text, LANGUAGES) == code


@pytest.mark.parametrize("text", ["", "42", "?!", "😀", "Anna Schmidt", "zzxq"])
def test_what_gives_no_sign_is_not_guessed(text: str) -> None:
    assert guess_language(text, LANGUAGES) is None


def test_only_the_languages_asked_for_are_answered() -> None:
    assert guess_language("你好", ("en", "de")) is None
    assert guess_language("Ich möchte einen Tisch.", ("en", "zh")) is None
    assert guess_language("Please show the hotel called 北京 to me", ("en", "zh")) == "en"


@given(st.text())
def test_any_text_gives_a_language_or_none(text: str) -> None:
    assert guess_language(text, LANGUAGES) in (None, *LANGUAGES)
