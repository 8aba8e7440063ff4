"""What an API's processes hold in memory of a user who was erased: nothing that can be reached any more."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters_store import layout
from app.answers import runtime
from app.answers.engine_process import EngineServer
from app.answers.wire import Line
from app.settings import Settings
from engine.base import Base
from tests.support.api import Service, publish, served, wait_until_ready

PARTS = ("frob", "ozz", "mark")
"""Put together only within what is sent: this module holds no text with the whole of it."""


def launched_here(settings: Settings) -> runtime.Running:
    """The engine's process as a thread of this one, so that what it holds can be looked through too."""
    ours, theirs = (Line(end) for end in socket.socketpair())
    serving = threading.Thread(target=EngineServer(theirs, settings).run)
    serving.start()

    def end() -> str:
        ours.close()
        serving.join()
        return "closed"

    return runtime.Running(ours, os.getpid(), end)


@pytest.fixture
def in_one_process(answering: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service whose engine is in this process, as all of it is."""
    monkeypatch.setattr(runtime, "launched", launched_here)
    with served(answering.settings.model_copy(update={"data_dir": tmp_path})) as service:
        wait_until_ready(service.http)
        yield service


def held_texts() -> Iterator[str]:
    """Every text that some object in this process, whatever its kind, holds and that has the mark in it."""
    gc.collect()
    mark = "".join(PARTS)
    for holder in gc.get_objects():
        for held in gc.get_referents(holder):
            if type(held) is str and len(held) > len(mark) and mark in held:
                yield held


def learn_and_ask(service: Service, base: Base, user_id: str) -> None:
    """A user whose texts and stack are in the caches of the service, which runs in this process."""
    mark = "".join(PARTS)
    body = {
        "samples": [{"query": f"what of {mark} {i}", "response": f"{mark}{i} it is"} for i in range(12)],
        "profile": f"{mark} is kind",
        "personalize": False,
    }
    service.http.post(f"/v1/users/{user_id}/history", json=body).raise_for_status()
    publish(service, base, user_id, seed=91)
    for mode in ("auto", "memory"):
        for stream in (False, True):
            asked = {"query": f"what of {mark}", "mode": mode, "stream": stream, "max_new_tokens": 2}
            service.http.post(f"/v1/users/{user_id}/responses", json=asked).raise_for_status()
    chat = {"model": f"milp:{user_id}", "messages": [{"role": "user", "content": f"{mark}?"}], "max_tokens": 2}
    service.http.post("/v1/chat/completions", json=chat).raise_for_status()


def test_of_an_erased_user_neither_text_nor_stack_is_held(
    in_one_process: Service, small_base: Base, caplog: pytest.LogCaptureFixture
) -> None:
    learn_and_ask(in_one_process, small_base, "held")
    caplog.clear()  # the test client logs nothing of bodies, but pytest keeps what it logs
    assert any(held_texts())
    erased = in_one_process.http.delete("/v1/users/held").json()
    assert erased["state"] == "complete"
    assert list(held_texts()) == []
    folder = layout.user_folder("default", "held")
    assert not [
        key for holder in gc.get_objects() if type(holder) is dict for key in list(holder) if _names(key, folder)
    ]


def _names(key: object, folder: str) -> bool:
    return type(key) is str and key.startswith(f"{folder}/v_")
