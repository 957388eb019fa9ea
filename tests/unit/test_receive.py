"""What a sender hears, and what happens to what it sent."""

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from services import tokens
from services.models import Callback, Delivery
from tests.unit.conftest import KEY, NOW, PREVIOUS_SECRET, SECRET, World, request, said

ACCOUNT = "https://hooks.example/api/webhooks/account"
DONE = {"id": "x_1", "state": "done"}


def with_headers(**changes: str | None) -> Callable[[Delivery], Delivery]:
    def change(delivery: Delivery) -> Delivery:
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        kept = {k: v for k, v in delivery.headers.items() if k not in named}
        return replace(delivery, headers=kept | {k: v for k, v in named.items() if v is not None})

    return change


async def test_a_signed_delivery_is_published_before_it_is_answered_as_the_provider_wants(
    world: World,
) -> None:
    taken = await world.deliver(DONE, address=ACCOUNT)
    assert (taken.status, taken.body) == (202, b"thanks")
    assert [m.subject for m in world.bus.published] == ["callback.received"]


@pytest.mark.parametrize(
    "change",
    [
        with_headers(webhook_signature=None),
        with_headers(webhook_signature=""),
        with_headers(webhook_signature="v1,AAAA"),
        with_headers(webhook_signature="\udcff\udcfe"),
        with_headers(webhook_timestamp="9" * 400),
        with_headers(webhook_timestamp=None),
        with_headers(webhook_id="evt_2"),
        lambda delivery: replace(delivery, body=delivery.body + b" "),
        lambda delivery: replace(delivery, body=b""),
    ],
    ids=[
        "no signature",
        "empty signature",
        "wrong signature",
        "lone surrogates",
        "400 digits",
        "no timestamp",
        "another id",
        "a byte more",
        "no body",
    ],
)
async def test_a_delivery_that_does_not_verify_is_401_without_an_echo_or_a_reason(
    world: World, change: Callable[[Delivery], Delivery]
) -> None:
    refused = await world.deliver(DONE, address=ACCOUNT, change=change)
    assert refused.status == 401
    assert said(refused) == {
        "type": "urn:hookbus:problem:not-verified",
        "title": "not verified",
        "status": 401,
        "detail": "the delivery is not signed as this endpoint needs: "
        "check the secret, the bytes and the clock",
    }
    assert world.bus.published == []


@pytest.mark.parametrize(("age", "status"), [(300, 202), (301, 401), (-300, 202), (-301, 401)])
async def test_a_rightly_signed_delivery_is_taken_only_within_the_tolerance(
    world: World, age: int, status: int
) -> None:
    world.clock.advance(timedelta(seconds=-age))
    await world.deliver({"state": "busy"}, address=ACCOUNT, event="evt_0")
    sent = []

    def keep(delivery: Delivery) -> Delivery:
        sent.append(delivery)
        return with_headers(webhook_signature="v1,AAAA")(delivery)

    await world.deliver(DONE, address=ACCOUNT, change=keep)
    world.clock.advance(timedelta(seconds=age))
    again = await world.deliver(DONE, address=ACCOUNT, change=lambda _: sent[0])
    assert again.status == status


async def test_the_previous_secret_still_verifies_while_it_is_rotated_out(world: World) -> None:
    assert (await world.deliver(DONE, address=ACCOUNT, secret=PREVIOUS_SECRET)).status == 202


async def test_a_secret_newer_than_the_cache_is_fetched_once_and_verifies(world: World) -> None:
    await world.deliver(DONE, address=ACCOUNT)
    newer = "whsec_dGVzdC1zZWNyZXQtdGVzdC1zZWNyZXQtMDAwMg=="
    world.vault.versions["acme-signing-secret"] = (newer, SECRET)
    world.clock.advance(timedelta(seconds=10))
    assert (await world.deliver(DONE, address=ACCOUNT, event="evt_2", secret=newer)).status == 202
    assert world.vault.fetches.count("acme-signing-secret") == 2


async def test_a_flood_of_forged_deliveries_does_not_drain_the_vault(world: World) -> None:
    forged = "whsec_Zm9yZ2VkLWZvcmdlZC1mb3JnZWQtZm9yZ2VkLWZvcg=="
    for _ in range(50):
        assert (await world.deliver(DONE, address=ACCOUNT, secret=forged)).status == 401
    assert world.vault.fetches.count("acme-signing-secret") == 1


@pytest.mark.parametrize("versions", [(), ("",)], ids=["none", "empty"])
async def test_without_a_secret_every_delivery_is_refused_and_the_sender_told_to_come_back(
    world: World, versions: tuple[str, ...]
) -> None:
    world.vault.versions["acme-signing-secret"] = versions
    refused = await world.deliver(DONE, address=ACCOUNT)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
    assert b"acme-signing-secret" not in refused.body
    assert world.bus.published == []


async def test_a_vault_that_is_away_is_503_and_not_401(world: World) -> None:
    world.vault.available = False
    assert (await world.deliver(DONE, address=ACCOUNT)).status == 503


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * 1001, {}, 413),
        (b"x" * 1001, {"content_length": None}, 413),
        (b"", {"content_length": None}, 411),
    ],
    ids=["too large", "too large without length", "chunked"],
)
async def test_a_body_that_cannot_be_taken_is_refused_before_any_secret_is_read(
    world: World,
    body: bytes,
    headers: dict[str, str | None],
    status: int,
) -> None:
    refused = await world.deliver(body, address=ACCOUNT, change=with_headers(**headers))
    assert refused.status == status
    assert world.vault.fetches == []


async def test_a_body_of_exactly_the_limit_is_taken(world: World) -> None:
    body = b'{"state": "busy"}'.ljust(1000)
    assert (await world.deliver(body, address=ACCOUNT)).status == 202


@pytest.mark.parametrize(
    "change",
    [with_headers(webhook_timestamp="soon"), with_headers(webhook_signature=None)],
    ids=["malformed", "unsigned"],
)
async def test_only_a_signature_that_does_not_fit_asks_the_vault_again(
    world: World, change: Callable[[Delivery], Delivery]
) -> None:
    await world.deliver(DONE, address=ACCOUNT)
    world.clock.advance(timedelta(minutes=1))
    await world.deliver(DONE, address=ACCOUNT, change=change)
    assert world.vault.fetches.count("acme-signing-secret") == 1


async def test_a_bad_token_is_refused_before_the_signature_is_looked_at(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.deliver(DONE, address=f"{ACCOUNT}/x.y", change=with_headers(webhook_signature="v1,AAAA"))
    [record] = [one for one in caplog.records if one.message == "delivery.refused"]
    assert vars(record)["reason"] == "wrong_token"


async def test_a_delivery_that_our_own_reading_stumbles_over_is_kept_and_taken(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(_: Delivery) -> tuple[Callback, ...]:
        raise KeyError("42" * 2)

    broken = replace(world.receive.providers["account"], read=stumble)
    monkeypatch.setitem(world.receive.providers, "account", broken)
    assert (await world.deliver(DONE, address=ACCOUNT)).status == 202
    assert [m.subject for m in world.bus.published] == ["callback.unrecognised"]
    assert "4242" not in "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_other_methods_are_405_where_the_provider_has_no_handshake(world: World, method: str) -> None:
    refused = await world.api.receive_webhook(request(method, "webhooks/account"), "account", None)
    assert (refused.status, refused.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("provider", ["nobody", "quick", "../etc"])
async def test_a_provider_that_sends_no_webhooks_is_404(world: World, provider: str) -> None:
    assert (await world.api.receive_webhook(request("POST", "webhooks/x"), provider, None)).status == 404


async def test_the_address_that_is_verified_is_the_public_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def note(delivery: Delivery) -> tuple[Callback, ...]:
        seen.append(delivery.url)
        return ()

    noting = replace(world.receive.providers["account"], read=note)
    monkeypatch.setitem(world.receive.providers, "account", noting)
    inside = "http://10.0.0.4:8080/api/webhooks/account?a=1&b="
    await world.deliver(DONE, address=inside)
    assert seen == ["https://hooks.example/api/webhooks/account?a=1&b="]


async def test_a_verified_callback_for_no_job_of_ours_is_still_2xx(world: World) -> None:
    assert (await world.deliver({"id": "nobody's", "state": "done"}, address=ACCOUNT)).status == 202


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[1]",
        b'{"state": 5}',
        b"[" * 500,
        b'{"state": "done", "result": {"words": "many"}}',
        b"\xff\xfe",
    ],
    ids=["text", "list", "odd type", "deep", "odd result", "no UTF-8"],
)
async def test_a_verified_delivery_that_nobody_can_read_is_taken_published_and_kept_raw(
    world: World, body: bytes
) -> None:
    taken = await world.deliver(body, address=ACCOUNT)
    assert taken.status == 202
    [message] = world.bus.published
    assert (message.subject, message.properties["kind"]) == ("callback.unrecognised", "notice")
    name = json.loads(message.body)["data"]["delivery"].removeprefix("memory:///")
    kept = json.loads(await world.payloads.get(name) or b"")
    assert base64.b64decode(kept["body"]) == body
    assert kept["provider"] == "account"


async def test_a_word_that_nobody_listed_is_published_as_unknown_and_changes_no_job(world: World) -> None:
    started = said(await world.start())
    await world.deliver({"id": "x_1", "state": "exploded"})
    await world.forward()
    assert world.events("callback")[0].properties["status"] == "unknown"
    assert (await world.job(started["id"])).status == "running"


async def test_with_the_bus_away_a_delivery_is_spooled_and_2xx(world: World) -> None:
    world.bus.available = False
    assert (await world.deliver(DONE, address=ACCOUNT)).status == 202
    world.bus.available = True
    assert await world.outbox.drain() == 1
    await world.deliver(DONE, address=ACCOUNT)
    assert len(world.bus.published) == 1, "what was spooled and what is sent again carry one message id"


async def test_with_the_spool_away_too_it_is_503_with_a_time_to_come_back(world: World) -> None:
    world.bus.available = world.payloads.available = False
    refused = await world.deliver(DONE, address=ACCOUNT)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")


class TestToken:
    async def test_of_another_provider_opens_nothing(self, world: World) -> None:
        await world.start()
        token = world.callback_address().rpartition("/")[2]
        assert (await world.deliver(DONE, address=f"{ACCOUNT}/{token}")).status == 401

    async def test_that_was_changed_opens_nothing(self, world: World) -> None:
        await world.start()
        address = world.callback_address()
        for place in range(len(address) - 40, len(address)):
            changed = address[:place] + ("A" if address[place] != "A" else "B") + address[place + 1 :]
            assert (await world.deliver(DONE, address=changed)).status == 401

    async def test_is_needed_where_the_provider_does_not_sign(self, world: World) -> None:
        await world.start(provider="unsigned")
        bare = "https://hooks.example/api/webhooks/unsigned"
        assert (await world.deliver(DONE, address=bare)).status == 401
        assert (await world.deliver(DONE, address=world.callback_address())).status == 202

    async def test_expires(self, world: World) -> None:
        await world.start()
        address = world.callback_address()
        world.clock.advance(timedelta(hours=1, days=7) - timedelta(seconds=1))
        assert (await world.deliver(DONE, address=address)).status == 202
        world.clock.advance(timedelta(seconds=1))
        assert (await world.deliver(DONE, address=address)).status == 401

    async def test_of_another_version_opens_nothing(self, world: World) -> None:
        await world.start()
        text = world.callback_address().rpartition("/")[2].partition(".")[0]
        fields = base64.urlsafe_b64decode(text + "==").replace(b"1|", b"2|", 1)
        digest = base64.urlsafe_b64encode(hmac.digest(KEY.encode(), fields, "sha256")).rstrip(b"=").decode()
        forged = f"{base64.urlsafe_b64encode(fields).rstrip(b'=').decode()}.{digest}"
        address = f"https://hooks.example/api/webhooks/acme/{forged}"
        assert (await world.deliver(DONE, address=address)).status == 401

    async def test_that_expired_asks_no_vault(self, world: World) -> None:
        await world.start()
        address = world.callback_address()
        world.clock.advance(timedelta(days=9))
        await world.deliver(DONE, address=address)
        world.clock.advance(timedelta(minutes=1))
        await world.deliver(DONE, address=address)
        assert world.vault.fetches.count(tokens.KEY_NAME) == 2

    async def test_of_a_key_that_was_rotated_out_still_opens(self, world: World) -> None:
        await world.start()
        world.vault.versions[tokens.KEY_NAME] = ("n" * 32, KEY)
        world.clock.advance(timedelta(minutes=11))
        assert (await world.deliver(DONE, address=world.callback_address())).status == 202

    async def test_of_a_key_newer_than_the_cache_opens_after_one_refresh(self, world: World) -> None:
        await world.start()
        world.vault.versions[tokens.KEY_NAME] = ("n" * 32, KEY)
        world.clock.advance(timedelta(minutes=1))
        job_id = said(await world.start())["id"]
        token = tokens.mint(
            tokens.Token(job_id=job_id, provider="acme", expires_at=NOW + timedelta(hours=2)), "n" * 32
        )
        address = f"https://hooks.example/api/webhooks/acme/{token}"
        assert (await world.deliver(DONE, address=address)).status == 202

    async def test_that_speaks_for_a_job_outweighs_nothing_the_body_says(self, world: World) -> None:
        await world.start()
        taken = await world.deliver({"id": "x_1", "state": "done", "job": "job_other"})
        assert taken.status == 202
        assert [m.subject for m in world.bus.published] == ["callback.unrecognised"]


async def test_a_store_that_cannot_keep_a_delivery_does_not_stop_it(world: World) -> None:
    object.__setattr__(world.receive, "keep_all", True)
    world.payloads.available = False
    assert (await world.deliver(DONE, address=ACCOUNT)).status == 202
    assert len(world.bus.published) == 1


async def test_deliveries_are_kept_raw_on_request_without_credentials_and_until_their_time(
    world: World,
) -> None:
    object.__setattr__(world.receive, "keep_all", True)
    await world.deliver(
        DONE,
        address=ACCOUNT,
        change=lambda d: replace(d, headers={**d.headers, "authorization": "Bearer s3cret"}),
    )
    [name] = await world.payloads.names("deliveries/", 10)
    assert name.startswith("deliveries/2026-03-01/")
    kept = await world.payloads.get(name) or b""
    assert b"webhook-signature" in kept
    assert b"s3cret" not in kept
    world.clock.advance(timedelta(days=30))
    assert await world.receive.prune() == 0
    world.clock.advance(timedelta(days=1))
    for number in range(450):
        await world.payloads.put(f"deliveries/2026-02-01/{number}", b"")
    assert await world.receive.prune() == 451
    assert await world.payloads.names("deliveries/", 10) == []
