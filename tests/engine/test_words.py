"""What counts as a word, in any script."""

from __future__ import annotations

from engine.stop_words import STOP_WORDS
from engine.words import content_words, words_of


def test_content_words_are_lower_case_without_punctuation_and_function_words() -> None:
    assert content_words("I don’t take Metformin, doctor: it's the INSULIN!") == [
        "take",
        "metformin",
        "doctor",
        "insulin",
    ]
    assert content_words("snake_case 3.5 mg") == ["snake", "case", "3", "5", "mg"]


def test_content_words_of_other_scripts_and_unicode_forms_count() -> None:
    assert content_words("Cafe\u0301 Ужин ") == content_words("Caf\u00e9 ужин")
    # Vowel signs and other marks belong to their letters.
    assert content_words("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]


def test_function_words_are_stop_words_and_words_of_substance_are_not() -> None:
    assert {"i", "the", "and", "what", "don't", "you're", "of"} <= STOP_WORDS
    assert not {"doctor", "linux", "good", "insulin", "run", "help"} & STOP_WORDS
    assert all(word == word.lower() and content_words(word) == [] for word in STOP_WORDS)


def test_each_character_of_a_script_without_spaces_is_a_word() -> None:
    assert words_of("我有糖尿病。") == ["我", "有", "糖", "尿", "病"]
    assert words_of("สวัสดี ok") == ["ส", "วั", "ส", "ดี", "ok"]
    assert words_of("B超 2次") == ["b", "超", "2", "次"]
