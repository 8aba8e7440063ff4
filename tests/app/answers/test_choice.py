"""Which mode answers: what was asked for, and in mode auto the best there is."""

from __future__ import annotations

import pytest

from app.answers.choice import Choice, Mode, choose, without_version
from app.answers.memory import MemoryCache
from app.database import Database
from app.errors import NoActiveVersionError, UserNotFoundError
from app.repositories import history, users, versions
from engine.prompts import Message, messages_for
from tests.support.records import samples, version

QUERY = Message("user", "question 3?")
AUTO_AND_PERSONALIZED: tuple[Mode, ...] = ("auto", "personalized")


def user(
    database: Database,
    *,
    profile: str = "",
    pairs: int = 0,
    published: bool = False,
    active: bool = False,
    with_memory: bool = False,
) -> None:
    with database.write() as session:
        made = users.ensure_user(session, "t", "u", profile)
        if pairs:
            history.add_samples(session, "t", "u", samples(pairs), 1000)
        if published:
            kept = versions.add_version(session, version(with_memory=with_memory))
            versions.activate(session, made, kept.id if active else None)


def chosen(database: Database, mode: Mode, *conversation: Message) -> Choice:
    with database.read() as session:
        return choose(session, MemoryCache(), "t", "u", conversation or (QUERY,), mode, 2)


def test_auto_is_the_active_version_asked_the_query_alone(database: Database) -> None:
    user(database, profile="a cook", pairs=10, published=True, active=True)
    for mode in AUTO_AND_PERSONALIZED:
        choice = chosen(database, mode)
        assert (choice.mode, choice.messages, choice.memory) == ("personalized", (QUERY,), ())
        assert choice.version is not None


def test_a_version_trained_with_the_memory_prompt_is_asked_with_it(database: Database) -> None:
    user(database, profile="a cook", pairs=10, published=True, active=True, with_memory=True)
    choice = chosen(database, "auto")
    assert (choice.mode, len(choice.memory)) == ("personalized", 2)
    assert choice.version is not None
    assert list(choice.messages) == messages_for(QUERY.content, profile="a cook", memory=choice.memory)


def test_a_version_that_cannot_be_used_leaves_the_memory_prompt(database: Database) -> None:
    user(database, pairs=10, published=True, active=True)
    with database.read() as session:
        choice = without_version(session, MemoryCache(), "t", "u", (QUERY,), 2)
    assert (choice.mode, choice.version, len(choice.memory)) == ("memory", None, 2)


def test_auto_is_the_memory_prompt_while_no_version_is_active(database: Database) -> None:
    user(database, profile="a cook", pairs=10, published=True, active=False)
    choice = chosen(database, "auto")
    assert (choice.mode, choice.version, len(choice.memory)) == ("memory", None, 2)
    assert choice.memory[-1].query == "question 3"
    assert list(choice.messages) == messages_for(QUERY.content, profile="a cook", memory=choice.memory)


def test_auto_is_the_base_for_a_user_of_whom_nothing_is_known(database: Database) -> None:
    user(database)
    choice = chosen(database, "auto")
    assert (choice.mode, choice.messages) == ("base", (QUERY,))


def test_personalized_without_an_active_version_is_refused(database: Database) -> None:
    user(database, pairs=10, published=True, active=False)
    with pytest.raises(NoActiveVersionError, match="versions"):
        chosen(database, "personalized")


def test_base_and_memory_leave_the_version_aside(database: Database) -> None:
    user(database, pairs=10, published=True, active=True)
    assert (chosen(database, "base").mode, chosen(database, "base").messages) == ("base", (QUERY,))
    assert chosen(database, "memory").mode == "memory"
    assert chosen(database, "memory").version is None


def test_an_unknown_user_is_refused_in_every_mode(database: Database) -> None:
    modes: list[Mode] = ["auto", "personalized", "memory", "base"]
    for mode in modes:
        with pytest.raises(UserNotFoundError):
            chosen(database, mode)


def test_memory_comes_after_one_system_turn_and_before_the_conversation(database: Database) -> None:
    user(database, profile="a cook", pairs=10)
    earlier = (Message("user", "hi"), Message("assistant", "hello"))
    choice = chosen(database, "auto", Message("system", "be brief"), *earlier, QUERY)
    assert [message.role for message in choice.messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert choice.messages[0].content == "a cook\n\nbe brief"
    assert choice.messages[-3:] == (*earlier, QUERY)
