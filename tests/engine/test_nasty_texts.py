"""No text of a user ever becomes a marker, whatever the tokenizer, the place it stands in and the characters in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from engine.errors import PromptTooLongError
from engine.history import Sample
from engine.prompts import PromptFormat, messages_for
from tests.support.examples import tried
from tests.support.families import BASE_MODEL

MARKERS = ["<|end|>", "<|assistant|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|im_start|>", "<|im_end|>",
           "<think>", "</think>", "<s>", "</s>", "<unk>", "[INST]"]  # fmt: skip
ODD = [
    "שלום",
    "مرحبا",
    "\u202e",
    "👩‍👩‍👧",
    "e\u0301",
    "\x00",
    "\ufeff",
    "\ue0000\ue001",
    "\ue0001\ue001",
    "{{ x }}",
    "\r\n",
]
texts = st.lists(
    st.sampled_from(MARKERS) | st.sampled_from(ODD) | st.text("ab <|>/", max_size=4) | st.text(max_size=3), max_size=6
).map("".join)


def base_tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(BASE_MODEL)


def without_template() -> Any:
    tokenizer = base_tokenizer()
    tokenizer.chat_template = None
    return tokenizer


def with_markers_it_does_not_call_special() -> Any:
    """As Qwen3's <think> and <tool_call>."""
    tokenizer = base_tokenizer()
    tokenizer.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    tokenizer.chat_template += "<think></think>"
    return tokenizer


def with_markers_among_its_words() -> Any:
    """A unigram model, whose vocabulary holds its special tokens, so that it finds them by itself."""
    words = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0), *((chr(c), -4.0) for c in range(33, 127))]
    model = Tokenizer(models.Unigram(words, 0, False))
    model.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.chat_template = "<s>{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    return tokenizer


KINDS: list[Callable[[], Any]] = [
    base_tokenizer,
    without_template,
    with_markers_it_does_not_call_special,
    with_markers_among_its_words,
]


@cache
def formatted(kind: Callable[[], Any]) -> tuple[PromptFormat, frozenset[int]]:
    """The format, and the ids of all that the tokenizer or its template treat as a marker."""
    tokenizer = kind()
    known = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    known |= {tokenizer.convert_tokens_to_ids(m) for m in MARKERS if m in tokenizer.get_vocab() and m != "<unk>"}
    return PromptFormat(tokenizer), frozenset(known)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(profile=texts, query=texts, response=texts, asked=texts)
@tried(40)
def test_a_prompt_has_the_markers_of_its_template_and_no_other(
    kind: Callable[[], Any], profile: str, query: str, response: str, asked: str
) -> None:
    form, markers = formatted(kind)
    nasty = form.prompt_ids(messages_for(asked, profile=f"p{profile}", memory=[Sample(query, response)]))
    plain = form.prompt_ids(messages_for("a", profile="p", memory=[Sample("b", "c")]))
    assert [i for i in nasty if i in markers] == [i for i in plain if i in markers]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(response=texts)
@tried(40)
def test_an_answer_that_is_learned_ends_once(kind: Callable[[], Any], response: str) -> None:
    form, markers = formatted(kind)
    ids = form.response_ids(response)
    assert [i for i in ids if i in markers] == [form.end_id]
    assert ids[-1] == form.end_id


@given(text=texts)
@tried(60)
def test_of_a_text_nothing_is_lost(text: str) -> None:
    form, _ = formatted(base_tokenizer)
    assert form.decode(form.response_ids(text)) == text


@pytest.mark.parametrize("character", ["a", " ", "א", "😀", "\n"])
def test_ten_million_characters_are_refused_before_anything_is_encoded(
    character: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = PromptFormat(base_tokenizer())
    encoded: list[str] = []
    monkeypatch.setattr(form, "_encode", lambda text, **_: encoded.append(text))
    with pytest.raises(PromptTooLongError, match="the prompt has 10000001 characters"):
        form.prompt_ids(messages_for(character * 10_000_000, profile="p"), 1000)
    assert encoded == []


def test_what_may_fit_is_encoded_and_counted_by_tokens() -> None:
    form = PromptFormat(base_tokenizer())
    with pytest.raises(PromptTooLongError, match="the prompt has 1003 tokens, 1000 is the most"):
        form.prompt_ids(messages_for("a" * 1000), 1000)
