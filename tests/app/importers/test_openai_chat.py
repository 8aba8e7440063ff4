"""OpenAI chat JSONL: what becomes of turns, and whose they are."""

from __future__ import annotations

import json

import pytest

from app.errors import InvalidImportError, InvalidInputError, InvalidJsonError
from app.importers.result import DUPLICATE, TEXTLESS, UNANSWERED, UNASKED
from tests.app.importers.files import dropped, fixture, imported, pairs, times

LINE = json.dumps({"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b."}]})


def test_each_run_of_user_turns_with_the_assistants_next_is_a_pair_of_the_lines_user() -> None:
    result = imported("openai-chat", fixture("openai_chat.jsonl"))
    assert pairs(result) == {
        "mira": [
            ("How warm should dough be?", "Like your hand."),
            ("Which bread keeps longest?", "Rye, wrapped in linen."),
            ("And the crust?\nMine goes soft.", "Leave the oven door open at the end."),
        ],
        "tom": [("Is the ferry late?", "By ten minutes.")],
    }


def test_a_later_line_with_an_earlier_time_comes_first() -> None:
    result = imported("openai-chat", fixture("openai_chat.jsonl"))
    assert times(result, "mira") == ["2026-03-01T09:00:00+00:00"] + ["2026-03-02T09:00:00+00:00"] * 2
    assert times(result, "tom") == [None]


def test_every_turn_that_is_of_no_use_is_counted_with_its_lines() -> None:
    assert dropped(imported("openai-chat", fixture("openai_chat.jsonl"))) == {
        "turn of a role that is neither user nor assistant": (1, (1,)),
        UNANSWERED: (1, (3,)),
        UNASKED: (2, (3, 5)),
        "turn that is not text": (1, (5,)),
        DUPLICATE: (1, (5,)),
    }


def test_the_answer_after_a_tools_call_is_the_questions_and_the_turn_without_text_is_counted() -> None:
    said = [("user", "late?"), ("assistant", ""), ("tool", "10"), ("assistant", "By ten minutes."), ("user", " ")]
    line = json.dumps({"messages": [{"role": role, "content": text} for role, text in said]})
    result = imported("openai-chat", line, user="ann")
    assert pairs(result) == {"ann": [("late?", "By ten minutes.")]}
    assert dropped(result)[TEXTLESS] == (2, (1,))


def test_lines_that_name_no_user_are_the_named_users() -> None:
    assert pairs(imported("openai-chat", LINE, user="ann")) == {"ann": [("a?", "b.")]}
    with pytest.raises(InvalidImportError, match=r"line 1 names no `user`\. Say whose history it is: --user ID"):
        imported("openai-chat", LINE)


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (LINE + "\n{oops", InvalidJsonError, "line 2: the text is not JSON"),
        (LINE + "\n[]", InvalidImportError, "line 2 is a list. Put each of its objects on a line"),
        (LINE + '\n{"prompt": "a", "completion": "b"}', InvalidInputError, "line 2: messages"),
        ('{"messages": [{"content": "a"}]}', InvalidInputError, "line 1: messages.0.role"),
        ('{"messages": [], "user": 7}', InvalidInputError, "line 1: user"),
        ('{"messages": [], "time": "soon"}', InvalidInputError, "line 1: time"),
    ],
)
def test_a_line_of_another_form_is_named(text: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        imported("openai-chat", text, user="ann")


def test_what_is_not_to_be_learned_is_counted_and_joined_to_no_other_answer() -> None:
    messages = [
        {"role": "user", "content": "a?"},
        {"role": "assistant", "content": "wrong", "weight": 0},
        {"role": "user", "content": "b?"},
        {"role": "assistant", "content": "right", "weight": 1},
    ]
    lines = [{"messages": messages, "tools": []}, {"messages": []}]
    result = imported("openai-chat", "\n".join(map(json.dumps, lines)), user="ann")
    assert pairs(result) == {"ann": [("b?", "right")]}
    assert dropped(result) == {
        "answer of weight 0, which is not to be learned, with what it answers": (1, (1,)),
        "field of a line that is none of messages, user, time and kind": (1, (1,)),
        "conversation without a turn": (1, (2,)),
    }
