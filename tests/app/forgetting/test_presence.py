"""Which requests an erasure waits for: those of that user that had begun, and no others."""

from __future__ import annotations

from adapters_store import layout
from app.forgetting.presence import Presence

ANN, BEN = (layout.user_folder("t", name) for name in ("ann", "ben"))


def test_requests_that_begin_later_or_are_of_others_are_not_waited_for() -> None:
    presence = Presence()
    early = presence.enter("t", "ann")
    of_another = presence.enter("t", "ben")
    before = presence.now(ANN)
    late = presence.enter("t", "ann")
    assert not presence.ended(ANN, before)
    presence.leave(early)
    assert presence.ended(ANN, before)
    assert presence.now(ANN) == {late}
    assert presence.now(BEN) == {of_another}


def test_the_same_id_of_another_tenant_is_somebody_else() -> None:
    presence = Presence()
    presence.enter("other", "ann")
    assert presence.now(ANN) == frozenset()


def test_a_request_that_fails_has_ended_for_all_its_users() -> None:
    presence = Presence()
    try:
        with presence.of("t", ["ann", "ben"]):
            assert presence.now(ANN)
            assert presence.now(BEN)
            raise ValueError
    except ValueError:
        pass
    assert presence.now(ANN) == presence.now(BEN) == frozenset()
