"""How text becomes token ids: messages, the prompt of each mode, and the three formats bases were trained with.

Text of users can never act as a marker: the template is laid out around placeholders first, and each text is encoded
by itself with special tokens switched off. Loads no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

from engine.errors import BaseModelError, PromptTooLongError
from engine.history import Sample

Role = Literal["system", "user", "assistant"]

# Private-use characters: no template writes them, and contents are put in only after the template was laid out.
_PLACEHOLDER = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


def messages_for(query: str, *, profile: str = "", memory: Sequence[Sample] = ()) -> list[Message]:
    """The conversation that a query is answered in.

    Without profile and memory this is the prompt of the base and of a personalised answer: the query alone, for what
    is known of the user is in the weights. With them it is the memory prompt: profile first, then remembered pairs as
    earlier turns.
    """
    messages = [Message("system", profile)] if profile.strip() else []
    for sample in memory:
        messages += [Message("user", sample.query), Message("assistant", sample.response)]
    return [*messages, Message("user", query)]


Prompting = Callable[[Sample], Sequence[Message]]
"""How a sample's query is asked."""


def query_alone(sample: Sample) -> list[Message]:
    """As the base and a personalised stack are asked."""
    return messages_for(sample.query)


class PromptFormat:
    """Turns messages into ids for one tokenizer.

    With a chat template, that is used. Without one, turns are joined by the end-of-text token, as DialoGPT was
    trained (Zhang et al. 2020, section 3.1); a tokenizer with a classifier token at the start (RoBERTa) gets it.
    """

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.eos_token_id is None:
            raise BaseModelError("the tokenizer has no end-of-sequence token, so answers could not end.")
        self._tokenizer = tokenizer
        # Whether special tokens are recognised is state of the tokenizer, and threads encode at the same time.
        self._lock = Lock()
        self._markers = _markers(tokenizer)
        self._longest_token = max(map(len, tokenizer.get_vocab()))
        self.end_id: int = tokenizer.eos_token_id

    def prompt_ids(self, messages: Sequence[Message], max_tokens: int | None = None, *, cut: bool = False) -> list[int]:
        """Ids of the conversation up to where the answer begins.

        With `cut`, a prompt over `max_tokens` loses its oldest turns, then the beginning of the last query.

        Raises:
            PromptTooLongError: over `max_tokens` and not to be cut.
        """
        if max_tokens is not None and not cut:
            self._refuse_hopeless(messages, max_tokens)
        parts = self._parts(messages)
        length = sum(len(ids) for _, ids in parts)
        if max_tokens is None or length <= max_tokens:
            return [i for _, ids in parts for i in ids]
        if not cut:
            raise PromptTooLongError(
                f"the prompt has {length} tokens, {max_tokens} is the most: shorten the query or send fewer turns."
            )
        if len(messages) > 1:
            # Pairs go together, so that roles keep alternating; the profile stays as long as anything else can go.
            keep = 1 if messages[0].role == "system" and len(messages) > 2 else 0
            drop = 2 if len(messages) - keep > 2 else 1
            return self.prompt_ids([*messages[:keep], *messages[keep + drop :]], max_tokens, cut=True)
        excess = length - max_tokens
        return [i for is_text, ids in parts for i in (ids[excess:] if is_text else ids)]

    def response_ids(self, text: str) -> list[int]:
        """Ids of an answer, the end token last."""
        return [*self._encode_text(text), self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _refuse_hopeless(self, messages: Sequence[Message], max_tokens: int) -> None:
        """Raises PromptTooLongError for what cannot fit, whatever its tokens: encoding 10 MB keeps others waiting."""
        length, most = sum(len(message.content) for message in messages), max_tokens * self._longest_token
        if length > most:
            raise PromptTooLongError(
                f"the prompt has {length} characters, more than any {max_tokens} tokens, and {max_tokens} is the most: "
                "shorten the query or send fewer turns."
            )

    def _parts(self, messages: Sequence[Message]) -> list[tuple[bool, list[int]]]:
        """(is it a user's text, ids) in order; texts and markers encoded apart."""
        if self._tokenizer.chat_template is None:
            return self._joined_turns(messages)
        layout = self._layout(messages)
        pieces = _PLACEHOLDER.split(layout)
        if sorted(pieces[1::2], key=int) != [str(i) for i in range(len(messages))]:
            raise BaseModelError("the tokenizer's chat template does not keep every message exactly once.")
        return [
            (True, self._encode_text(messages[int(piece)].content))
            if position % 2
            else (False, self._encode_markers(piece))
            for position, piece in enumerate(pieces)
        ]

    def _layout(self, messages: Sequence[Message]) -> str:
        turns = [{"role": m.role, "content": f"\ue000{i}\ue001"} for i, m in enumerate(messages)]
        try:
            return self._render(turns)
        except Exception:
            # Some templates (Gemma's) refuse a system turn: say it at the head of the first user turn instead.
            if len(turns) < 2 or turns[0]["role"] != "system":
                raise
            turns[1]["content"] = f"{turns[0]['content']}\n\n{turns[1]['content']}"
            return self._render(turns[1:])

    def _render(self, turns: list[dict[str, str]]) -> str:
        layout: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return layout

    def _joined_turns(self, messages: Sequence[Message]) -> list[tuple[bool, list[int]]]:
        start = [self._tokenizer.cls_token_id] if self._tokenizer.cls_token_id is not None else []
        parts: list[tuple[bool, list[int]]] = [(False, start)]
        for message in messages:
            parts += [(True, self._encode_text(message.content)), (False, [self.end_id])]
        return parts

    def _encode_text(self, text: str) -> list[int]:
        ids: list[int] = self._encode(text, split_special_tokens=True)["input_ids"]
        return ids if self._markers.isdisjoint(ids) else self._without_markers(text)

    def _without_markers(self, text: str) -> list[int]:
        """Ids of a text in which the tokenizer sees markers all the same: these are spelled out by characters.

        It sees those that it does not call special (Qwen3's `<think>`), and those that its model knows as words.
        """
        if not self._tokenizer.is_fast:
            return self._spelled(text)  # it cannot say where a token stands
        encoded = self._encode(text, split_special_tokens=True, return_offsets_mapping=True)
        ids: list[int] = []
        for token, (begin, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            ids += self._spelled(text[begin:end]) if token in self._markers else [token]
        return ids

    def _spelled(self, text: str) -> list[int]:
        each = (self._encode(character, split_special_tokens=True)["input_ids"] for character in text)
        return [i for ids in each for i in ids if i not in self._markers]

    def _encode_markers(self, text: str) -> list[int]:
        ids: list[int] = self._encode(text, split_special_tokens=False)["input_ids"] if text else []
        return ids

    def _encode(self, text: str, **how: bool) -> Any:
        with self._lock:
            return self._tokenizer(text, add_special_tokens=False, **how)


def _markers(tokenizer: Any) -> frozenset[int]:
    """Ids that no text may become: the tokenizer's special tokens, and those added ones that its template writes."""
    template = tokenizer.chat_template or ""
    added = {
        i
        for i, token in tokenizer.added_tokens_decoder.items()
        if token.special or (token.content.strip() and token.content in str(template))
    }
    ids = {*added, *tokenizer.all_special_ids}
    # What has no token of its own is no marker, unless one id is both, as in GPT-2.
    return frozenset(ids - ({tokenizer.unk_token_id} - {tokenizer.eos_token_id}))
