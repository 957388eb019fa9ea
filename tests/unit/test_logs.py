"""Nothing secret, and nothing that is somebody's, is logged: traffic of all kinds with words to look for."""

import itertools
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.audit import Audit
from services.errors import AnswerLost, NotSent
from services.models import Delivery, HttpAnswer, HttpRequest
from services.tokens import KEY_NAME
from tests.unit.conftest import NOW, World, answer, request, said

API_KEY = "planted-api-key"
TOKEN_KEY = "planted-token-key-planted-token-key"
SIGNING = "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldC1wbGFudGVk"
ACCESS = "planted-access-token"
BODY = "planted-in-a-body"
HEADER = "planted-in-a-header"
QUERY = "planted-in-a-query"
INPUT = "planted-in-an-input"
ANSWER = "planted-in-an-answer"
PLANTED = ("planted", "cGxhbnRlZC1", SIGNING)
ANSWERS: tuple[HttpAnswer | Exception, ...] = (
    answer({"id": "x_1"}, 201),
    answer({"error": ANSWER}, 400),
    answer({"error": ANSWER}, 401),
    answer({"error": ANSWER}, 429, retry_after="1"),
    answer({"error": ANSWER}, 500),
    answer({"error": ANSWER}, 503, x_planted=ANSWER),
    HttpAnswer(status=200, body=ANSWER.encode()),
    NotSent(ANSWER),
    AnswerLost(ANSWER),
)
STATES = ("done", "error", "busy", "stopped", "changed", "planted-state", None)


@pytest.fixture
def records(world: World) -> Iterator[list[logging.LogRecord]]:
    """Everything that is logged at any level, and the world's secrets replaced by what to look for."""
    world.vault.versions |= {
        KEY_NAME: (TOKEN_KEY,),
        "acme-api-key": (API_KEY,),
        "acme-signing-secret": (SIGNING,),
    }
    found: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    root, handler = logging.getLogger(), Keeping()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield found
    root.removeHandler(handler)
    root.setLevel(before)


def reply(world: World, says: Iterator[HttpAnswer | Exception]) -> None:
    def by_itself(asked: HttpRequest) -> HttpAnswer | Exception:
        if asked.url.endswith("/token"):
            return answer({"access_token": ACCESS, "expires_in": 60})
        return next(says)

    world.sender._answer = by_itself


def hostile(delivery: Delivery) -> list[Delivery]:
    headers = {**delivery.headers, "x-anything": HEADER, "authorization": f"Bearer {HEADER}"}
    return [
        replace(delivery, headers=headers),
        replace(delivery, headers={**headers, "webhook-signature": f"v1,{HEADER}"}),
        replace(delivery, headers={**headers, "webhook-timestamp": HEADER}),
        replace(delivery, headers={**headers, "webhook-id": HEADER}),
        replace(delivery, headers={"x-anything": HEADER, "content-length": "1"}),
        replace(delivery, headers=headers, body=delivery.body + BODY.encode()),
        replace(delivery, headers=headers, method="GET"),
        replace(delivery, headers=headers, method="PUT"),
        replace(delivery, headers=headers, body=BODY.encode() * 100_000),
        replace(delivery, headers={"x-anything": HEADER}, body=b""),
    ]


async def traffic(world: World, *, address: str) -> None:
    for number, state in enumerate(STATES):
        body: dict[str, Any] = {"id": BODY, "state": state, "result": {"words": 1, "text": BODY}, BODY: BODY}
        await world.deliver(body, address=address, event=f"evt_{number}", secret=SIGNING)
        for odd in range(10):
            await world.deliver(
                body,
                address=f"{address}?code={QUERY}" if odd % 2 else address,
                event=f"evt_{number}",
                secret=SIGNING,
                change=lambda delivery, odd=odd: hostile(delivery)[odd],  # type: ignore[misc] # this turn's
            )
    for odd_body in (b"[" * 100_000, BODY.encode(), b"\xff" + BODY.encode()):
        await world.deliver(odd_body, address=address, event="evt_odd", secret=SIGNING)
        await world.deliver(odd_body, address=f"{address}{QUERY}", event="evt_odd", secret=SIGNING)


@pytest.mark.parametrize(
    "provider", ["acme", "account", "asked", "searched", "polled", "guarded", "unsigned", "quick", "open"]
)
async def test_no_secret_no_body_no_header_no_token_and_no_address_is_logged(
    world: World, records: list[logging.LogRecord], provider: str
) -> None:
    planted = list(PLANTED)
    reply(world, itertools.cycle(ANSWERS))
    for text in (INPUT, INPUT * 1000):
        for prefer in ("", "respond-async"):
            body = {"input": {"text": text}, "metadata": {"key": INPUT}}
            started = await world.start(
                body,
                provider=provider,
                prefer=prefer,
                idempotency_key=f"{HEADER}{len(records)}",
                cookie=HEADER,
            )
            if started.status == 202:
                job_id = said(started)["id"]
                await world.run_until(world.clock.now() + timedelta(minutes=1))
                await world.api.read_job(request("GET", f"jobs/{job_id}?code={QUERY}", cookie=HEADER), job_id)
    addresses = [f"https://hooks.example/api/webhooks/{provider}"]
    for sent in world.sender.requests:
        if b'"callback"' in sent.body:
            addresses.append(json.loads(sent.body)["callback"])
            planted.append(addresses[-1].rpartition("/")[2])
    for address in addresses[:3]:
        await traffic(world, address=address)
    await world.forward()
    for part in (world.store, world.bus, world.payloads, world.vault):
        part.available = False
        await traffic(world, address=addresses[-1])
        await world.start({"input": {"text": INPUT}}, provider=provider)
        part.available = True
    await world.run_until(NOW + timedelta(hours=3))
    await Audit(jobs=world.jobs)()
    await world.start(INPUT, provider=provider)
    await world.start({"input": {"text": 7, INPUT: INPUT}, INPUT: INPUT}, provider=provider)
    assert len(records) > 10
    told = "\n".join(f"{vars(record)} {record.getMessage()}" for record in records)
    for word in planted:
        assert word in ("", provider) or word not in told, f"{word} was logged"


async def test_the_search_finds_what_is_planted(world: World, records: list[logging.LogRecord]) -> None:
    logging.getLogger("services.receive").debug("delivery.taken", extra={"headers": {"x": HEADER}})
    assert any("planted" in str(vars(record)) for record in records)
    assert world.outcomes() == []
