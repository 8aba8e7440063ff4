"""An answer begun and ended on its key's account: what was generated counts, also where nobody waited for its end.

Knows no form of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from anyio import to_thread

from app.answers.choice import Mode
from app.answers.service import Decoding, Started
from app.answers.waiting import begun
from app.auth import Caller
from app.state import Services
from engine.prompts import Message


async def begin(
    services: Services,
    caller: Caller,
    user_id: str | None,
    conversation: Sequence[Message],
    mode: Mode,
    decoding: Decoding,
) -> Started:
    """Begin an answer to the conversation's last message; call `end` when there is no more of it to come.

    Raises:
        TokenQuotaReachedError: the key has used its tokens. Else as `AnswerService.begin`.
    """

    def start() -> Started:
        services.limiter.check_tokens(caller.identity)
        return services.answers.begin(caller.tenant, user_id, conversation, mode, decoding)

    return await begun(services.answer_threads, start)


async def end(services: Services, caller: Caller, started: Started) -> None:
    """Count the answer's tokens, whole or broken off; an erasure of the user waits for it no longer."""
    # Also when the request is being cancelled: what was generated was generated.
    with anyio.CancelScope(shield=True):
        await services.answers.ended(started)
        if caller.identity.limits.tokens_per_day:
            tokens = started.answer.completion_tokens
            await to_thread.run_sync(services.limiter.count_tokens, caller.identity, tokens)
