"""What counts as a word of a text, in any script.

Text only: no tensors, no model, no scores.
"""

from __future__ import annotations

import unicodedata

import regex

from engine.stop_words import STOP_WORDS

# Scripts that are written without spaces: each character, with its marks, is a word, as is usual for ROUGE of Chinese.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# Vowel signs of Indic scripts are marks, so a word is not its letters alone. Possessive: a text of ten million letters
# would be remembered letter by letter for going back.
_LETTERS = rf"[[\p{{L}}\p{{N}}]--[{_UNSPACED}]][[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]*+"
_RUN = regex.compile(rf"(?V1)[{_UNSPACED}]\p{{M}}*+|{_LETTERS}")
_WORD = regex.compile(rf"(?V1)[{_UNSPACED}]\p{{M}}*+|{_LETTERS}(?:'{_LETTERS})*+")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})


def words_of(text: str) -> list[str]:
    """The words of a text, in order: lower case, Unicode-normalised, punctuation dropped."""
    found: list[str] = _WORD.findall(unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).lower())
    return found


def content_words(text: str) -> list[str]:
    """The words of a text that are no stop words, in order."""
    return [word for word in words_of(text) if word not in STOP_WORDS]


class RougeTokenizer:
    """rouge-score's own tokenizer with the Porter stemmer, which drops whatever is not a-z or 0-9, for ASCII text; for
    the rest words as they are, so that answers in other scripts have a score at all."""

    def __init__(self) -> None:
        # Loaded on first use: rouge-score brings nltk, which takes a second to import.
        from rouge_score.tokenizers import DefaultTokenizer

        self._of_ascii = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        runs = [text] if text.isascii() else _RUN.findall(unicodedata.normalize("NFKC", text).lower())
        return [token for run in runs for token in (self._of_ascii.tokenize(run) if run.isascii() else [run])]
