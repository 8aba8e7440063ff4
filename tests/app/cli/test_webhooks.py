"""`milp webhooks`: from the making of one to its end, as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from standardwebhooks import Webhook as Verifier

from app.settings import Settings
from tests.app.cli.service import Ran, milp, one_line, remember_key
from tests.support.api import served
from tests.support.keys import KEY
from tests.support.receiver import receiver


def test_a_webhook_from_its_making_to_its_end(
    settings: Settings, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.webhooks.sender.EVERY_SECONDS", 0.02)
    small = settings.model_copy(update={"database_url": sqlite_url, "base_model": str(tmp_path / "none")})
    with served(small) as service, receiver() as receiving:
        remember_key(service.url, KEY)

        def webhooks(*arguments: str) -> Ran:
            ran = milp("webhooks", *arguments, "--url", service.url, folder=tmp_path)
            assert ran.code == 0, ran.err
            return ran

        made = webhooks("add", receiving.url, "--event", "job.failed")
        secret = made.out.strip()
        (webhook,) = service.http.get("/v1/webhooks").json()["items"]
        assert webhook["id"] in made.err
        assert secret not in made.err
        listed = webhooks("list").out
        assert webhook["id"] in listed
        assert "job.failed" in listed
        assert secret not in listed

        delivery = webhooks("test", webhook["id"]).out.split()[0]
        (request,) = receiving.wait_for(1)
        assert Verifier(secret).verify(request.body, request.headers)["type"] == "webhook.test"
        assert request.id == delivery
        told = webhooks("deliveries", webhook["id"]).out
        assert delivery in told
        assert "webhook.test" in told
        webhooks("redeliver", webhook["id"], delivery)
        assert receiving.wait_for(2)[1].id == delivery

        webhooks("remove", webhook["id"])
        refused = milp("webhooks", "remove", webhook["id"], "--url", service.url, folder=tmp_path)
        assert "There is no webhook" in one_line(refused)
