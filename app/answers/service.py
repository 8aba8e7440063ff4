"""Begins an answer: chooses the mode, has the stack loaded onto the shared base, and falls back where it must.

The active version is looked up for every request, so a version published a moment ago is used by every API process
from its next request on. Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from adapters_store import layout
from adapters_store.errors import AdapterCorruptError, AdapterNotFoundError, StoreError
from app import tracing
from app.answers.choice import Choice, Mode, UsedMode, choose, shortened, without_user, without_version
from app.answers.engine_client import EngineAnswer, EngineClient
from app.answers.memory import MemoryCache
from app.answers.runtime import AnsweringRuntime
from app.database import Database
from app.errors import AdapterUnusableError, LearnedDeletedSamplesError, ServiceError, StoreFailedError
from app.forgetting.presence import Presence, Visit
from app.metrics import Metrics
from app.repositories.answering import ActiveVersion
from app.settings import Settings
from engine.errors import PromptTooLongError, StackMismatchError
from engine.history import Sample
from engine.prompts import Message

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How an answer is generated. Temperature 0 is greedy; a seed replays a sampled answer.

    Args:
        streamed: whether its text is wanted as it is decoded.
    """

    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """An answer in the making, and what it is made with."""

    answer: EngineAnswer
    mode: UsedMode
    version_id: str | None
    memory: tuple[Sample, ...]
    warning: ServiceError | None
    visit: Visit | None = None


class AnswerService:
    """Answers queries of users of this process's base. Threads may share it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        runtime: AnsweringRuntime,
        cache: MemoryCache,
        presence: Presence,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._database = database
        self._runtime = runtime
        self._cache = cache
        self._presence = presence
        self._metrics = metrics

    def begin(
        self, tenant: str, user_id: str | None, conversation: Sequence[Message], mode: Mode, decoding: Decoding
    ) -> Started:
        """Put an answer to the conversation's last message into the running batch; returns once it is queued.

        Without a user the base answers. Call `ended` when there is no more of it to come.

        Raises:
            UserNotFoundError, NoActiveVersionError: see `choose`.
            AdapterUnusableError, StoreFailedError: the version cannot be loaded, and mode is personalized.
            BaseUnavailableError: the base is not loaded.
            EngineError: prompt too long, queue full.
        """
        engine = self._runtime.get()
        if user_id is None:
            return self._submit(engine, without_user(conversation), decoding, None, tenant)
        visit = self._presence.enter(tenant, user_id)
        try:
            return replace(self._begin(engine, tenant, user_id, conversation, mode, decoding), visit=visit)
        except BaseException:
            self._presence.leave(visit)
            raise

    async def ended(self, started: Started) -> None:
        """Wait until the engine has no more to do with this answer, whole or broken off; the user's visit is over."""
        await started.answer.ended()
        if started.visit is not None:
            self._presence.leave(started.visit)

    def finished(self, started: Started) -> None:
        """Count and time an answer that has come to its end."""
        answer = started.answer
        self._metrics.count_answer(started.mode, answer.prompt_tokens, answer.completion_tokens)
        about: tracing.Attributes = {
            "milp.mode": started.mode,
            "milp.version": started.version_id or "",
            "milp.prompt_tokens": answer.prompt_tokens,
            "milp.completion_tokens": answer.completion_tokens,
        }
        for phase, began, ended in answer.timeline.phases():
            self._metrics.time_answer(phase, ended - began)
            tracing.past_span(f"answer {phase}", began, ended, about)

    def _begin(
        self,
        engine: EngineClient,
        tenant: str,
        user_id: str,
        conversation: Sequence[Message],
        mode: Mode,
        decoding: Decoding,
    ) -> Started:
        # By the user's folder stacks are forgotten, and with it what is kept of the user's prompts.
        pairs, owner = self._settings.memory_pairs, f"{layout.user_folder(tenant, user_id)}/"
        with self._database.read() as session:
            choice = choose(session, self._cache, tenant, user_id, conversation, mode, pairs)
        try:
            return self._submit_fitting(engine, choice, conversation, decoding, _caution(choice.version), owner)
        except (AdapterUnusableError, StoreFailedError) as error:
            if mode != "auto":
                raise
            log.warning("version_unusable", user_id=user_id, code=error.code, detail=error.detail)
            self._metrics.count_fallback(error.code)
            with self._database.read() as session:
                choice = without_version(session, self._cache, tenant, user_id, conversation, pairs)
            return self._submit_fitting(engine, choice, conversation, decoding, error, owner)

    def _submit_fitting(
        self,
        engine: EngineClient,
        choice: Choice,
        conversation: Sequence[Message],
        decoding: Decoding,
        warning: ServiceError | None,
        owner: str,
    ) -> Started:
        """As much of what is remembered as the context holds: only the caller's own words can be too long."""
        while True:
            try:
                return self._submit(engine, choice, decoding, warning, owner)
            except PromptTooLongError:
                shorter = shortened(choice, conversation)
                if shorter is None:
                    raise
                choice = shorter

    def _submit(
        self, engine: EngineClient, choice: Choice, decoding: Decoding, warning: ServiceError | None, owner: str
    ) -> Started:
        version = choice.version
        try:
            answer = engine.submit(
                choice.messages,
                path=version.path if version else None,
                max_new_tokens=decoding.max_new_tokens or self._settings.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seed=decoding.seed,
                stop=decoding.stop,
                owner=owner,
                streamed=decoding.streamed,
            )
        except (StackMismatchError, AdapterNotFoundError, AdapterCorruptError) as error:
            raise AdapterUnusableError(f"{_named(version)} cannot be used: {error}") from error
        except StoreError as error:
            raise StoreFailedError(f"{_named(version)} cannot be read: {error}") from error
        return Started(answer, choice.mode, version.id if version else None, choice.memory, warning)


def _caution(version: ActiveVersion | None) -> ServiceError | None:
    """What is to be known of an answer by this version."""
    if version is None or not version.deleted_samples:
        return None
    return LearnedDeletedSamplesError(
        f"Version '{version.id}' has learned {len(version.deleted_samples)} samples that were deleted since. "
        "Personalise the user again, or deactivate the version."
    )


def _named(version: ActiveVersion | None) -> str:
    return f"Version '{version.id}'" if version else "The base"
