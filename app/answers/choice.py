"""Which mode answers a query, and what its prompt and its stack are. Decides; generates nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlmodel import Session

from app.answers.memory import MemoryCache
from app.errors import NoActiveVersionError
from app.repositories.answering import ActiveVersion, Known, known
from engine.history import Sample
from engine.prompts import Message

UsedMode = Literal["personalized", "memory", "base"]
Mode = Literal["auto", "personalized", "memory", "base"]


@dataclass(frozen=True, slots=True)
class Choice:
    """How a query is answered.

    Args:
        mode: what answers.
        messages: the whole prompt.
        version: the stack to use, in mode personalized.
        memory: pairs shown in the prompt: in mode memory, or with a version that was trained so.
    """

    mode: UsedMode
    messages: tuple[Message, ...]
    version: ActiveVersion | None = None
    memory: tuple[Sample, ...] = ()


def without_user(conversation: Sequence[Message]) -> Choice:
    """The base alone."""
    return Choice("base", tuple(conversation))


def choose(
    session: Session,
    cache: MemoryCache,
    tenant: str,
    user_id: str,
    conversation: Sequence[Message],
    mode: Mode,
    memory_pairs: int,
) -> Choice:
    """The way to answer the last of `conversation`'s messages for this user.

    auto is the active version; where there is none, the memory prompt; without any history, the base.

    Raises:
        UserNotFoundError: unknown user.
        NoActiveVersionError: mode is personalized and the user has no active version.
    """
    user = known(session, tenant, user_id)
    if mode == "base":
        return without_user(conversation)
    if mode == "memory":
        return _remembered(session, cache, user, conversation, memory_pairs)
    version = user.active
    if version is not None and version.with_memory:
        return replace(
            _remembered(session, cache, user, conversation, memory_pairs), mode="personalized", version=version
        )
    if version is not None:
        return Choice("personalized", tuple(conversation), version=version)
    if mode == "auto":
        return _unpersonalized(session, cache, user, conversation, memory_pairs)
    raise NoActiveVersionError(
        f"User '{user_id}' has no active version. Use mode auto, wait for the personalization job, or activate "
        f"one of GET /v1/users/{user_id}/versions."
    )


def without_version(
    session: Session,
    cache: MemoryCache,
    tenant: str,
    user_id: str,
    conversation: Sequence[Message],
    memory_pairs: int,
) -> Choice:
    """What mode auto does where there is no version, or none that can be used.

    Raises:
        UserNotFoundError: unknown user.
    """
    return _unpersonalized(session, cache, known(session, tenant, user_id), conversation, memory_pairs)


def _unpersonalized(
    session: Session, cache: MemoryCache, user: Known, conversation: Sequence[Message], memory_pairs: int
) -> Choice:
    choice = _remembered(session, cache, user, conversation, memory_pairs)
    # Of whom nothing is known, the memory prompt is the base's: say so.
    return choice if choice.memory or user.profile.strip() else without_user(conversation)


def shortened(choice: Choice, conversation: Sequence[Message]) -> Choice | None:
    """The next shorter prompt with memory: a pair less, the least similar first; at last the conversation alone.

    The reports' memory prompts are cut in the same order. None where nothing but the caller's own words is left.
    """
    if choice.memory:
        first = 1 if choice.messages[0].role == "system" else 0
        left = (*choice.messages[:first], *choice.messages[first + 2 :])
        return replace(choice, messages=left, memory=choice.memory[1:])
    alone = tuple(conversation)
    return replace(choice, messages=alone) if choice.messages != alone else None


def _remembered(
    session: Session, cache: MemoryCache, user: Known, conversation: Sequence[Message], memory_pairs: int
) -> Choice:
    pairs = tuple(cache.retriever(session, user.tenant, user.user_id).nearest(conversation[-1].content, memory_pairs))
    return Choice("memory", _with_memory(conversation, user.profile, pairs), memory=pairs)


def _with_memory(conversation: Sequence[Message], profile: str, pairs: Sequence[Sample]) -> tuple[Message, ...]:
    """Profile first, then the remembered pairs as earlier turns, then the conversation.

    For a single query these are the messages of `engine.prompts.messages_for`, which the reports are made with. A
    system message of the caller follows the profile in the same turn: templates know one.
    """
    system = [profile] if profile.strip() else []
    turns = list(conversation)
    if turns[0].role == "system":
        system.append(turns.pop(0).content)
    remembered = [
        message for pair in pairs for message in (Message("user", pair.query), Message("assistant", pair.response))
    ]
    head = [Message("system", "\n\n".join(system))] if system else []
    return (*head, *remembered, *turns)
