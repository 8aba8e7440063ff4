"""The engine's process: it comes back when it is gone, goes with its API, and forgets or ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import anyio
import psutil
import pytest

from app.answers import engine_client, runtime
from app.answers.engine_client import EngineAnswer, EngineClient
from app.answers.runtime import AnsweringRuntime
from app.errors import BaseUnavailableError
from app.settings import Settings
from engine.errors import EngineError, PromptTooLongError
from engine.prompts import Message

PATIENCE = 120.0
LONG: Any = {"temperature": 1.0, "top_p": 1.0, "seed": 1, "stop": (), "owner": "", "path": None, "streamed": True}


@pytest.fixture(scope="module")
def engine_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("engine")
    return Settings(_env_file=None, data_dir=folder, dtype="float32", torch_threads=1, log_level="warning")


@pytest.fixture(scope="module")
def kept(engine_settings: Settings) -> Iterator[AnsweringRuntime]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "_PAUSES", (0.05, 0.1))
        made = AnsweringRuntime(engine_settings)
        made.start()
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def running(kept: AnsweringRuntime) -> AnsweringRuntime:
    """Ready, also after a test that ended its engine."""
    ready(kept)
    return kept


def ready(made: AnsweringRuntime, unlike: EngineClient | None = None) -> EngineClient:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if (engine := made.get()) is not unlike:
                return engine
        except BaseUnavailableError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def process_of(made: AnsweringRuntime) -> psutil.Process:
    assert made._running is not None
    return psutil.Process(made._running.process_id)


def engines(api: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in psutil.Process(api.pid).children() if "app.answers.engine_process" in child.cmdline()]


def ask(engine: EngineClient, tokens: int = 60) -> EngineAnswer:
    return engine.submit([Message("user", "Tell me a long story.")], max_new_tokens=tokens, **LONG)


def text_of(answer: EngineAnswer) -> str:
    return anyio.run(answer.text)


def test_an_engine_that_is_killed_fails_its_answers_and_comes_back(running: AnsweringRuntime) -> None:
    engine = running.get()
    answer = ask(engine)
    process, starts = process_of(running), running.starts
    process.kill()
    with pytest.raises(EngineError, match="has ended"):
        text_of(answer)
    with pytest.raises(EngineError):
        ask(engine)
    again = ready(running, unlike=engine)
    assert text_of(ask(again, tokens=3))
    assert process_of(running).pid != process.pid
    assert running.starts == starts + 1


def test_an_engine_that_does_not_forget_is_ended_and_forgets_so(
    running: AnsweringRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_client, "FORGET_SECONDS", 0.2)
    monkeypatch.setattr(runtime, "_END_SECONDS", 0.2)
    process = process_of(running)
    process.suspend()
    running.forget("t/u/")
    assert not process.is_running()


def test_an_engine_forgets_says_how_busy_it_is_and_refuses_what_is_too_long(running: AnsweringRuntime) -> None:
    running.forget("nobody/")
    figures = running.figures()
    assert (figures.waiting, figures.running, figures.stacks, figures.evictions) == (0, 0, 0, 0)
    with pytest.raises(PromptTooLongError):
        ask(running.get(), tokens=10**6)


def test_a_cancelled_answer_ends_with_what_there_is_of_it(running: AnsweringRuntime) -> None:
    async def main() -> tuple[str, EngineAnswer]:
        answer = ask(running.get(), tokens=400)
        pieces = []
        async for piece in answer:
            pieces.append(piece)
            answer.cancel()
        await answer.ended()
        return "".join(pieces), answer

    text, answer = anyio.run(main)
    assert text
    assert answer.finish_reason == "cancelled"
    assert 0 < answer.completion_tokens < 400
    assert running.figures().running == 0


def test_no_engine_outlives_its_api(engine_settings: Settings) -> None:
    """Also one that is still loading its base."""
    code = (
        "import sys, time; from app.settings import Settings; from app.answers.runtime import AnsweringRuntime;"
        "made = AnsweringRuntime(Settings.model_validate_json(sys.argv[1])); made.start(); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, engine_settings.model_dump_json()]
    api = subprocess.Popen(command, start_new_session=True)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := engines(api)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        api.kill()
        api.wait(PATIENCE)
        _, alive = psutil.wait_procs(found, PATIENCE)
        assert not alive
    finally:
        api.kill()


def test_a_base_that_is_none_starts_no_process(settings: Settings) -> None:
    made = AnsweringRuntime(settings.model_copy(update={"base_model": str(settings.data_dir / "none")}))
    made.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with pytest.raises(BaseUnavailableError) as refused:
                made.get()
            if "no folder" in refused.value.detail:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert made._running is None
    finally:
        made.close()
