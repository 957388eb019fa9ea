"""What a sender hears, and what happens to what it sent."""

import base64
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_elliptic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from services import tokens
from services.api import Request, Response
from services.errors import AnswerLost, NotSent, NotVerified, Reason, Why
from services.handshakes import HANDSHAKES
from services.models import Callback, Delivery, HttpAnswer
from services.providers import BUILT_IN, built_in
from services.providers.base import CallbackAddress, Provider
from services.refusals import Finding, Known
from services.signatures.catalogue import SCHEMES
from tests.unit.conftest import ACCOUNT as ACCOUNT_PROVIDER
from tests.unit.conftest import KEY, NOW, PREVIOUS_SECRET, SECRET, World, request, said

ACCOUNT = "https://hooks.example/api/webhooks/account"
DONE = {"id": "x_1", "state": "done"}
MOST = 16 * 1024 * 1024
LONG = {
    "deepgram": b'{"metadata": {"request_id": "r1"}, "results": {"channels": []}}',
    "fal": b'{"request_id": "r1", "status": "OK", "payload": {}}',
}
"""Callbacks that bring the whole result along."""


def with_headers(**changes: str | None) -> Callable[[Delivery], Delivery]:
    def change(delivery: Delivery) -> Delivery:
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        kept = {k: v for k, v in delivery.headers.items() if k not in named}
        return replace(delivery, headers=kept | {k: v for k, v in named.items() if v is not None})

    return change


def in_body(old: bytes, new: bytes) -> Callable[[Delivery], Delivery]:
    def change(delivery: Delivery) -> Delivery:
        assert delivery.body.count(old) == 1
        return replace(delivery, body=delivery.body.replace(old, new))

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


class TestLongResults:
    @pytest.mark.parametrize(("length", "status"), [(1001, 202), (3000, 202), (3001, 413)])
    async def test_are_taken_at_an_address_with_our_token(
        self, world: World, length: int, status: int
    ) -> None:
        long_results(world, 3000)
        await world.start(provider="unsigned")
        assert (await world.deliver(b'{"state": "busy"}'.ljust(length))).status == status

    async def test_are_taken_up_to_the_setting_if_that_is_more(self, world: World) -> None:
        long_results(world, 500)
        await world.start(provider="unsigned")
        assert (await world.deliver(b'{"state": "busy"}'.ljust(1000))).status == 202
        assert (await world.deliver(b'{"state": "busy"}'.ljust(1001))).status == 413

    async def test_are_refused_without_a_token_and_with_a_wrong_one_before_the_signature_is_looked_at(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        long_results(world, 3000)
        address = "https://hooks.example/api/webhooks/unsigned"
        body = b'{"state": "busy"}'.ljust(1001)
        assert (await world.deliver(body, address=address)).status == 413
        assert (await world.deliver(body, address=f"{address}/x.y")).status == 401
        assert reasons(caplog) == ["wrong_token"]

    @pytest.mark.parametrize("name", LONG)
    @pytest.mark.parametrize(("length", "status"), [(MOST, 200), (MOST + 1, 413)], ids=["taken", "too long"])
    async def test_of_these_providers_have_sixteen_mebibytes(
        self, world: World, name: str, length: int, status: int
    ) -> None:
        world.receive.providers[name] = built_in(name)  # type: ignore[index] # a dict
        world.vault.versions[f"{name}-api-key"] = ("key-1",)
        object.__setattr__(world.receive, "max_bytes", 1024 * 1024)
        key = Ed25519PrivateKey.generate()
        world.answers = [key_set(key)]
        expires = NOW + timedelta(hours=1)
        token = tokens.mint(tokens.Token(job_id="job_a", provider=name, expires_at=expires), KEY)
        body = LONG[name].ljust(length)
        assert (await send(world, name, body, secret=pem(key), token=token, headers=FAL)).status == status
        taken = ["callback.received"] if status == 200 else []
        assert [m.subject for m in world.bus.published] == taken

    def test_of_no_other_provider_have_more_than_the_setting(self) -> None:
        assert {name for name in BUILT_IN if built_in(name).max_bytes is not None} == set(LONG)


def long_results(world: World, max_bytes: int) -> None:
    unsigned = replace(world.receive.providers["unsigned"], max_bytes=max_bytes)
    world.receive.providers["unsigned"] = unsigned  # type: ignore[index] # a dict


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
        raise KeyError("planted-" * 2)

    broken = replace(world.receive.providers["account"], read=stumble)
    monkeypatch.setitem(world.receive.providers, "account", broken)
    assert (await world.deliver(DONE, address=ACCOUNT)).status == 202
    assert [m.subject for m in world.bus.published] == ["callback.unrecognised"]
    assert "planted-planted-" not in "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_other_methods_are_405_where_the_provider_has_no_handshake(world: World, method: str) -> None:
    refused = await world.api.receive_webhook(request(method, "webhooks/account"), "account", None)
    assert (refused.status, refused.headers["Allow"]) == (405, "POST")


async def test_other_methods_than_a_handshakes_are_405_and_say_which_there_are(world: World) -> None:
    add(world, "dropbox")
    refused = await ask(world, "dropbox", "OPTIONS")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, POST")


@pytest.mark.parametrize("query", ["", "?challenge=", "?challenge=%3Cscript%3E"])
async def test_a_handshakes_method_without_a_handshake_is_400_without_an_echo(
    world: World, query: str
) -> None:
    add(world, "dropbox", secret="app-secret")
    refused = await ask(world, "dropbox", "GET", query)
    assert (refused.status, said(refused)["type"]) == (400, "urn:hookbus:problem:no-handshake")
    assert b"script" not in refused.body


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


class TestAccountToken:
    async def test_is_needed_where_the_signature_binds_nothing(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        add(world, "gitlab_token", secret="glpat-1")
        refused = await send(world, "gitlab_token", DONE, secret="glpat-1")
        assert (refused.status, reasons(caplog)) == (401, ["no_token"])
        taken = await send(world, "gitlab_token", DONE, secret="glpat-1", token=account_token("gitlab_token"))
        assert taken.status == 202

    async def test_does_not_stand_in_for_the_signature(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        add(world, "gitlab_token", secret="glpat-1")
        token = account_token("gitlab_token")
        refused = await send(world, "gitlab_token", DONE, secret="glpat-2", token=token)
        assert (refused.status, reasons(caplog)) == (401, ["wrong_signature"])

    async def test_is_all_that_an_unsigned_sender_has_at_an_address_for_all(self, world: World) -> None:
        add(world, None, name="grid")
        assert (await send(world, "grid", DONE)).status == 401
        assert (await send(world, "grid", DONE, token=account_token("grid"))).status == 202

    async def test_binds_a_callback_to_no_job(self, world: World) -> None:
        add(world, None, name="grid")
        await send(world, "grid", {**DONE, "job": "job_7"}, token=account_token("grid"))
        await send(world, "grid", DONE, token=account_token("grid"), event="evt_2")
        told = [json.loads(message.body)["data"]["job_id"] for message in world.bus.published]
        assert told == ["job_7", None]

    async def test_of_another_provider_opens_nothing(self, world: World) -> None:
        add(world, None, name="grid")
        assert (await send(world, "grid", DONE, token=account_token("other"))).status == 401

    async def test_opens_nothing_where_each_job_has_its_own_address(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        refused = await world.deliver(
            DONE, address=f"https://hooks.example/api/webhooks/acme/{account_token('acme')}"
        )
        assert (refused.status, reasons(caplog)) == (401, ["wrong_token"])

    async def test_stays_good_while_the_key_does(self, world: World) -> None:
        add(world, None, name="grid")
        world.clock.advance(timedelta(days=3650))
        assert (await send(world, "grid", DONE, token=account_token("grid"))).status == 202


class TestKeys:
    async def test_are_fetched_and_verify_without_a_secret(self, world: World) -> None:
        key = Ed25519PrivateKey.generate()
        add(world, "fal")
        world.answers = [key_set(key)]
        taken = await send(world, "fal", DONE, secret=pem(key), token=account_token("fal"), headers=FAL)
        assert taken.status == 202
        assert [one.url for one in world.sender.requests] == ["https://rest.fal.ai/.well-known/jwks.json"]

    async def test_that_are_older_than_the_signature_are_fetched_again_once(self, world: World) -> None:
        old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        add(world, "fal")
        world.answers = [key_set(old), key_set(new)]
        token = account_token("fal")
        await send(world, "fal", DONE, secret=pem(old), token=token, headers=FAL)
        world.clock.advance(timedelta(seconds=10))
        taken = await send(world, "fal", DONE, secret=pem(new), token=token, headers=FAL)
        assert (taken.status, len(world.sender.requests)) == (202, 2)

    async def test_are_not_fetched_for_every_forged_delivery(self, world: World) -> None:
        key, forger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        add(world, "fal")
        world.answers = [key_set(key)]
        for _ in range(20):
            refused = await send(
                world, "fal", DONE, secret=pem(forger), token=account_token("fal"), headers=FAL
            )
            assert refused.status == 401
        assert len(world.sender.requests) == 1

    async def test_that_do_not_name_the_signer_are_asked_for_anew(self, world: World) -> None:
        key = Ed25519PrivateKey.generate()
        add(world, "fal")
        world.answers = [HttpAnswer(status=200, body=b'{"keys":[]}'), key_set(key)]
        token = account_token("fal")
        assert (await send(world, "fal", DONE, secret=pem(key), token=token, headers=FAL)).status == 401
        world.clock.advance(timedelta(seconds=10))
        assert (await send(world, "fal", DONE, secret=pem(key), token=token, headers=FAL)).status == 202

    async def test_that_cannot_be_had_are_503_and_not_401(self, world: World) -> None:
        add(world, "fal")
        world.answers = [NotSent("away")]
        key = Ed25519PrivateKey.generate()
        away = await send(world, "fal", DONE, secret=pem(key), token=account_token("fal"), headers=FAL)
        assert away.status == 503

    @pytest.mark.parametrize("scheme", ["fal", "aws_sns", "paypal", "plaid"])
    def test_are_all_that_is_missed_in_what_is_right_else(self, scheme: str) -> None:
        secret, delivery = sent_by(scheme)
        signed = SCHEMES[scheme].sign(delivery, secret, NOW)
        with pytest.raises(NotVerified) as refused:
            SCHEMES[scheme].verify(signed, [secret.partition("\n")[0]], NOW)
        assert refused.value.reason is Reason.UNKNOWN_KEY

    @pytest.mark.parametrize(
        ("scheme", "change", "reason"),
        [
            ("fal", with_headers(x_fal_webhook_signature="-"), "malformed_signature"),
            ("fal", with_headers(x_fal_webhook_timestamp="soon"), "malformed_timestamp"),
            ("fal", with_headers(x_fal_webhook_request_id=None), "no_signature"),
            ("aws_sns", in_body(b'"SignatureVersion": "2"', b'"SignatureVersion": "9"'), "wrong_algorithm"),
            ("aws_sns", in_body(b'"Timestamp": "2', b'"Timestamp": "x'), "malformed_timestamp"),
            ("aws_sns", in_body(b":123456789012:", b":666666666666:"), "wrong_signature"),
            ("paypal", with_headers(paypal_transmission_sig="-"), "malformed_signature"),
            ("paypal", with_headers(paypal_auth_algo="none"), "wrong_algorithm"),
            ("paypal", with_headers(paypal_transmission_time="soon"), "malformed_timestamp"),
            ("paypal", with_headers(paypal_transmission_id="a|b"), "malformed_signature"),
            ("plaid", with_headers(plaid_verification="a.b"), "malformed_signature"),
            ("plaid", with_headers(plaid_verification="e30.e30.AAAA"), "wrong_algorithm"),
        ],
        ids=[
            "fal: no signature's form",
            "fal: no time",
            "fal: no request",
            "sns: another version",
            "sns: no time",
            "sns: another topic",
            "paypal: no signature's form",
            "paypal: another algorithm",
            "paypal: no time",
            "paypal: an id with a bar",
            "plaid: no token",
            "plaid: no algorithm",
        ],
    )
    async def test_are_not_fetched_for_what_no_key_could_make_right(
        self,
        world: World,
        caplog: pytest.LogCaptureFixture,
        scheme: str,
        change: Callable[[Delivery], Delivery],
        reason: str,
    ) -> None:
        secret, delivery = sent_by(scheme)
        add(world, scheme, secret=secret.partition("\n")[0])
        sent = change(SCHEMES[scheme].sign(delivery, secret, NOW))
        refused = await ask(
            world,
            scheme,
            "POST",
            headers=dict(sent.headers),
            body=sent.body,
            token=account_token(scheme),
        )
        assert (refused.status, reasons(caplog)) == (401, [reason])
        assert world.sender.requests == []

    async def test_are_fetched_once_a_topic_newer_than_the_cache_is_known(self, world: World) -> None:
        key = generate_private_key(65537, 2048)
        topic = TestSubscription.TOPIC
        add(world, "aws_sns", secret="arn:aws:sns:us-west-2:123456789012:older")
        world.answers = [certificate(key)]
        assert (await send(world, "aws_sns", DONE, secret=f"{topic}\n{pem(key)}")).status == 401
        assert world.sender.requests == []
        world.vault.versions["aws_sns-signing-secret"] = (topic,)
        world.clock.advance(timedelta(seconds=10))
        assert (await send(world, "aws_sns", DONE, secret=f"{topic}\n{pem(key)}")).status == 202
        assert len(world.sender.requests) == 1

    async def test_are_not_fetched_before_the_token_is_right(self, world: World) -> None:
        add(world, "fal")
        key = Ed25519PrivateKey.generate()
        assert (await send(world, "fal", DONE, secret=pem(key), headers=FAL)).status == 401
        assert world.sender.requests == []


class TestHandshake:
    async def test_comes_before_everything_that_is_asked_of_a_callback(self, world: World) -> None:
        add(world, "dropbox", secret="app-secret")
        answered = await ask(world, "dropbox", "GET", "?challenge=abc123")
        assert (answered.status, answered.body) == (200, b"abc123")
        assert answered.headers == {"Content-Type": "text/plain", "X-Content-Type-Options": "nosniff"}
        assert world.bus.published == []

    async def test_needs_no_token_where_callbacks_do(self, world: World) -> None:
        add(world, None, name="grid", handshake="eventgrid")
        headers = {"webhook-request-origin": "eventgrid.azure.net"}
        answered = await ask(world, "grid", "OPTIONS", headers=headers)
        assert answered.headers["WebHook-Allowed-Origin"] == "eventgrid.azure.net"

    @pytest.mark.parametrize(("made_for", "status"), [("grid", 200), ("other", 401)])
    async def test_at_an_address_with_a_token_needs_the_right_one(
        self, world: World, made_for: str, status: int
    ) -> None:
        add(world, None, name="grid", handshake="eventgrid")
        headers = {"webhook-request-origin": "eventgrid.azure.net"}
        answered = await ask(world, "grid", "OPTIONS", headers=headers, token=account_token(made_for))
        assert answered.status == status
        assert ("WebHook-Allowed-Origin" in answered.headers) == (status == 200)

    async def test_with_a_verify_token_newer_than_the_cache_holds_after_one_refresh(
        self, world: World
    ) -> None:
        add(world, "meta", secret="app-secret")
        world.vault.versions["meta-verify-token"] = ("old",)
        query = "?hub.mode=subscribe&hub.challenge=1&hub.verify_token="
        assert (await ask(world, "meta", "GET", query + "old")).body == b"1"
        world.vault.versions["meta-verify-token"] = ("new", "old")
        world.clock.advance(timedelta(seconds=10))
        assert (await ask(world, "meta", "GET", query + "new")).body == b"1"
        forged = await ask(world, "meta", "GET", query + "forged")
        assert (forged.status, said(forged)["type"]) == (401, "urn:hookbus:problem:not-verified")
        assert world.vault.fetches.count("meta-verify-token") == 2

    async def test_has_a_secret_whose_name_the_vault_takes(self, world: World) -> None:
        add(world, "meta", name="my_meta", handshake="meta", secret="app-secret")
        world.vault.versions["my-meta-verify-token"] = ("mine",)
        query = "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=mine"
        assert (await ask(world, "my_meta", "GET", query)).body == b"1"

    async def test_whose_secret_is_missing_does_not_keep_callbacks_out(self, world: World) -> None:
        add(world, "meta", secret="app-secret")
        query = "?hub.mode=subscribe&hub.challenge=1&hub.verify_token="
        assert (await ask(world, "meta", "GET", query)).status == 503
        assert (await send(world, "meta", DONE, secret="app-secret")).status == 202

    async def test_that_is_signed_is_answered_when_its_signature_is_right(self, world: World) -> None:
        add(world, "slack", secret="slack-secret")
        body = {"type": "url_verification", "challenge": "3eZbrw1aBm2rZgRNFdxV"}
        answered = await send(world, "slack", body, secret="slack-secret")
        assert (answered.status, answered.body) == (200, b"3eZbrw1aBm2rZgRNFdxV")
        assert world.bus.published == []

    @pytest.mark.parametrize("age", [0, 301], ids=["forged", "replayed"])
    async def test_that_is_signed_reflects_nothing_before(self, world: World, age: int) -> None:
        add(world, "slack", secret="slack-secret" if age else "other-secret")
        body = {"type": "url_verification", "challenge": "3eZbrw1aBm2rZgRNFdxV"}
        refused = await send(world, "slack", body, secret="slack-secret", age=timedelta(seconds=age))
        assert refused.status == 401
        assert b"3eZbrw" not in refused.body

    async def test_that_is_signed_needs_the_token_where_its_signature_binds_nothing(
        self, world: World
    ) -> None:
        loose = replace(SCHEMES["slack"], binds_nothing=True)  # type: ignore[type-var] # a dataclass
        provider = add(world, "slack", secret="slack-secret")
        world.receive.providers["slack"] = replace(provider, scheme=loose)  # type: ignore[index] # a dict
        body = {"type": "url_verification", "challenge": "abc"}
        assert (await send(world, "slack", body, secret="slack-secret")).status == 401
        token = account_token("slack")
        assert (await send(world, "slack", body, secret="slack-secret", token=token)).body == b"abc"

    async def test_of_zoom_signs_nothing_for_strangers(self, world: World) -> None:
        add(world, "zoom", secret="zoom-secret")
        body = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
        assert (await send(world, "zoom", body, secret="forged")).status == 401
        answered = await send(world, "zoom", body, secret="zoom-secret")
        assert said(answered)["plainToken"] == "qgg8vlvZRS6UYooatFL8Aw"

    async def test_of_x_hands_strangers_no_signature_of_a_callback(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        add(world, "x_twitter", secret="x-secret")
        answered = await ask(world, "x_twitter", "GET", "?crc_token=n1")
        headers = {"x-twitter-webhooks-signature": str(said(answered)["response_token"])}
        refused = await ask(world, "x_twitter", "POST", body=b"n1", headers=headers)
        assert (refused.status, reasons(caplog)) == (401, ["wrong_body"])
        assert world.bus.published == []
        assert await world.payloads.names("deliveries/", 10) == []
        assert (await send(world, "x_twitter", DONE, secret="x-secret")).status == 202

    @pytest.mark.parametrize(("secret", "status"), [("xero-key", 200), ("forged", 401)])
    async def test_of_xero_is_answered_without_a_body_whatever_its_signature(
        self, world: World, secret: str, status: int
    ) -> None:
        add(world, "xero", secret="xero-key")
        body = {"events": [], "firstEventSequence": 0, "lastEventSequence": 0, "entropy": "ABC"}
        answered = await send(world, "xero", body, secret=secret)
        assert (answered.status, answered.body) == (status, b"")

    async def test_of_trello_is_a_head(self, world: World) -> None:
        add(world, "trello", secret="trello-secret")
        answered = await ask(world, "trello", "HEAD")
        assert (answered.status, answered.body) == (200, b"")


class TestHandedOver:
    async def test_secret_is_kept_for_the_operator_and_never_logged(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        add(world, "notion", secret=None)
        answered = await hand_over(world, "secret_abc")
        assert (answered.status, answered.body) == (200, b"")
        [record] = [vars(one) for one in caplog.records if one.message == "handshake.step"]
        assert (record["provider"], record["secret"]) == ("notion", "notion-signing-secret")
        assert record["trust"] == "none: anybody can have sent it"
        kept = json.loads(await world.payloads.get(record["kept"].removeprefix("memory:///")) or b"")
        assert kept == {
            "provider": "notion",
            "secret": "secret_abc",
            "received_at": "2026-03-01T12:00:00+00:00",
        }
        assert "secret_abc" not in "".join(str(vars(one)) for one in caplog.records)
        assert world.bus.published == []

    async def test_secret_verifies_what_comes_then(self, world: World) -> None:
        add(world, "notion", secret=None)
        assert (await send(world, "notion", DONE, secret="secret_abc")).status == 503
        world.vault.versions["notion-signing-secret"] = ("secret_abc",)
        world.clock.advance(timedelta(seconds=10))
        assert (await send(world, "notion", DONE, secret="secret_abc")).status == 202

    async def test_secret_that_came_to_our_token_says_so(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        add(world, "notion", secret=None)
        await hand_over(world, "secret_abc", token=account_token("notion"))
        [record] = [vars(one) for one in caplog.records if one.message == "handshake.step"]
        assert record["trust"] == "the address had our token"

    async def test_secrets_of_strangers_are_few(self, world: World) -> None:
        add(world, "notion", secret=None)
        for number in range(10):
            assert (await hand_over(world, f"secret_{number}")).status == 200
        assert (await hand_over(world, "secret_10")).status == 503
        assert (await hand_over(world, "secret_9")).status == 200, "it is kept already"
        assert (await hand_over(world, "secret_10", token=account_token("notion"))).status == 200
        assert len(await world.payloads.names("handshakes/2026-03-01/notion-", 100)) == 11
        world.clock.advance(timedelta(days=1))
        assert (await hand_over(world, "secret_11")).status == 200

    async def test_secret_that_cannot_be_kept_makes_the_handshake_fail(self, world: World) -> None:
        add(world, "asana", secret=None)
        world.payloads.available = False
        headers = {"x-hook-secret": "b537207f20cb"}
        failed = await ask(world, "asana", "POST", headers=headers)
        assert (failed.status, "X-Hook-Secret" in failed.headers) == (503, False)
        world.payloads.available = True
        answered = await ask(world, "asana", "POST", headers=headers)
        assert (answered.status, answered.headers["X-Hook-Secret"]) == (200, "b537207f20cb")

    async def test_secret_expires_as_deliveries_do(self, world: World) -> None:
        add(world, "notion", secret=None)
        await hand_over(world, "secret_abc")
        world.clock.advance(timedelta(days=30))
        assert await world.receive.prune() == 0
        world.clock.advance(timedelta(days=1))
        assert await world.receive.prune() == 1
        assert await world.payloads.names("handshakes/", 10) == []


class TestSubscription:
    TOPIC = "arn:aws:sns:us-west-2:123456789012:jobs"
    CONFIRM = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336"

    async def send(self, world: World, key: RSAPrivateKey, **changes: str) -> Response:
        add(world, "aws_sns", secret=self.TOPIC)
        message = {
            "Type": "SubscriptionConfirmation",
            "MessageId": "165545c9",
            "Token": "2336",
            "Message": "You have chosen to subscribe",
            "SubscribeURL": self.CONFIRM,
        }
        secret = f"{changes.pop('topic', self.TOPIC)}\n{pem(key)}"
        return await send(world, "aws_sns", message | changes, secret=secret)

    async def test_is_confirmed_after_signature_and_topic_are_verified(self, world: World) -> None:
        key = generate_private_key(65537, 2048)
        world.answers = [certificate(key), HttpAnswer(status=200, body=b"<ConfirmSubscriptionResponse/>")]
        answered = await self.send(world, key)
        assert (answered.status, answered.body) == (200, b"")
        asked = world.sender.requests[1]
        assert (asked.method, asked.url, asked.body) == ("GET", self.CONFIRM, b"")
        assert world.bus.published == []

    async def test_of_another_topic_is_not_confirmed(self, world: World) -> None:
        key = generate_private_key(65537, 2048)
        world.answers = [certificate(key)] * 2
        refused = await self.send(world, key, topic="arn:aws:sns:us-west-2:666666666666:jobs")
        assert refused.status == 401
        assert all(".pem" in one.url for one in world.sender.requests)

    async def test_with_another_signature_is_not_confirmed(self, world: World) -> None:
        key, forger = generate_private_key(65537, 2048), generate_private_key(65537, 2048)
        world.answers = [certificate(key)] * 2
        assert (await self.send(world, forger)).status == 401
        assert all(".pem" in one.url for one in world.sender.requests)

    @pytest.mark.parametrize(
        "fate",
        [HttpAnswer(status=403), HttpAnswer(status=302), AnswerLost("lost"), NotSent("away")],
        ids=repr,
    )
    async def test_that_could_not_be_confirmed_is_to_be_sent_again(
        self, world: World, fate: HttpAnswer | Exception
    ) -> None:
        key = generate_private_key(65537, 2048)
        world.answers = [certificate(key), fate]
        failed = await self.send(world, key)
        assert (failed.status, said(failed)["type"]) == (503, "urn:hookbus:problem:unavailable")

    async def test_elsewhere_is_kept_for_somebody_to_look_at(self, world: World) -> None:
        key = generate_private_key(65537, 2048)
        world.answers = [certificate(key)]
        taken = await self.send(world, key, SubscribeURL="https://evil.example/?Action=ConfirmSubscription&a")
        assert taken.status == 202
        assert [m.subject for m in world.bus.published] == ["callback.unrecognised"]
        assert len(world.sender.requests) == 1

    async def test_that_ended_is_a_step_for_the_operator(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        key = generate_private_key(65537, 2048)
        world.answers = [certificate(key)]
        assert (await self.send(world, key, Type="UnsubscribeConfirmation")).status == 200
        assert len(world.sender.requests) == 1
        assert "handshake.step" in caplog.messages


async def test_a_kept_delivery_does_not_hold_the_secret_that_was_sent_along(world: World) -> None:
    object.__setattr__(world.receive, "keep_all", True)
    add(world, "gitlab_token", secret="glpat-1")
    await send(world, "gitlab_token", DONE, secret="glpat-1", token=account_token("gitlab_token"))
    [name] = await world.payloads.names("deliveries/", 10)
    kept = await world.payloads.get(name) or b""
    assert b"webhook-id" in kept
    assert b"glpat-1" not in kept


@pytest.mark.parametrize("body", [DONE, "nobody can read this"], ids=["read", "unread"])
async def test_a_kept_delivery_does_not_hold_the_token_of_its_address(world: World, body: object) -> None:
    object.__setattr__(world.receive, "keep_all", True)
    await world.start()
    address = world.callback_address()
    token = address.rpartition("/")[2]
    told = {
        "x-original-url": "/api/webhooks/acme/by-another-spelling",
        "x-waws-unencoded-url": f"/api/webhooks/acme/{token}?a=1",
        "user-agent": "acme/1",
    }
    await world.deliver(body, change=lambda d: replace(d, headers={**d.headers, **told}))
    [name] = await world.payloads.names("deliveries/", 10)
    headers = json.loads(await world.payloads.get(name) or b"")["headers"]
    assert sorted(headers) == [
        "content-length",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    ]


FAL = {"x-fal-webhook-request-id": "req_1", "x-fal-webhook-user-id": "user_1"}


def add(
    world: World,
    scheme: str | None,
    *,
    name: str | None = None,
    handshake: str | None = None,
    secret: str | None = None,
) -> Provider:
    """Add a provider with an address for all its callbacks, which signs and shakes hands as its namesake."""
    name = name or scheme or ""
    provider = replace(
        ACCOUNT_PROVIDER,
        name=name,
        callback_address=CallbackAddress.ACCOUNT,
        scheme=SCHEMES[scheme] if scheme else None,
        signing_secret=f"{name}-signing-secret" if scheme and scheme not in ("fal", "plaid") else None,
        handshake=HANDSHAKES.get(handshake or name),
        api_key=None,
    )
    world.receive.providers[name] = provider  # type: ignore[index] # a dict
    if secret:
        world.vault.versions[f"{name}-signing-secret"] = (secret,)
    return provider


def sent_by(scheme: str) -> tuple[str, Delivery]:
    """What a sender who publishes its keys signs with, and a delivery to sign."""
    elliptic = generate_elliptic(SECP256R1())
    rsa = generate_private_key(65537, 2048)
    secret = {
        "fal": pem(Ed25519PrivateKey.generate()),
        "plaid": pem(elliptic),
        "aws_sns": f"{TestSubscription.TOPIC}\n{pem(rsa)}",
        "paypal": f"8PT597110X687430LKGECATA\n{pem(rsa)}",
    }[scheme]
    body = json.dumps(DONE).encode()
    url = f"https://hooks.example/api/webhooks/{scheme}"
    return secret, Delivery(method="POST", url=url, headers=FAL, body=body, received_at=NOW)


def account_token(provider: str) -> str:
    return tokens.mint(tokens.Token(provider=provider), KEY)


async def ask(
    world: World,
    provider: str,
    method: str,
    query: str = "",
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    token: str | None = None,
) -> Response:
    """Send what nobody has signed."""
    url = f"https://hooks.example/api/webhooks/{provider}{f'/{token}' if token else ''}{query}"
    named = {"content-length": str(len(body)), **(headers or {})}
    return await world.api.receive_webhook(
        Request(method=method, url=url, headers=named, body=body), provider, token
    )


async def send(
    world: World,
    provider: str,
    body: object,
    *,
    secret: str = "",
    token: str | None = None,
    headers: dict[str, str] | None = None,
    event: str = "evt_1",
    age: timedelta = timedelta(0),
) -> Response:
    """Send a delivery as the provider signs it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    delivery = Delivery(
        method="POST",
        url=f"https://hooks.example/api/webhooks/{provider}{f'/{token}' if token else ''}",
        headers={"content-length": str(len(raw)), "webhook-id": event, **(headers or {})},
        body=raw,
        received_at=world.clock.now(),
    )
    scheme = world.receive.providers[provider].scheme
    if scheme:
        delivery = scheme.sign(delivery, secret, world.clock.now() - age)
    return await world.api.receive_webhook(
        Request(method="POST", url=delivery.url, headers=delivery.headers, body=delivery.body),
        provider,
        token,
    )


async def hand_over(world: World, secret: str, *, token: str | None = None) -> Response:
    body = json.dumps({"verification_token": secret}).encode()
    return await ask(world, "notion", "POST", body=body, token=token)


def reasons(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [vars(one)["reason"] for one in caplog.records if one.message == "delivery.refused"]


def pem(key: Ed25519PrivateKey | RSAPrivateKey | EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def key_set(key: Ed25519PrivateKey) -> HttpAnswer:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    text = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    body = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": text}]}
    return HttpAnswer(status=200, body=json.dumps(body).encode())


def certificate(key: RSAPrivateKey) -> HttpAnswer:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=30))
        .sign(key, SHA256())
    )
    return HttpAnswer(status=200, body=made.public_bytes(Encoding.PEM))


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


class TestWhyItWasRefused:
    """What is logged beside the reason; the answer knows nothing of it."""

    async def test_is_logged_beside_the_reason(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        await world.deliver(
            b'{"id":"x_1"}', address=ACCOUNT, change=in_body(b'{"id":"x_1"}', b'{"id": "x_1"}')
        )
        assert refusals(caplog) == [("account", "wrong_signature", "body_rewritten", "compact")]

    async def test_changes_nothing_of_the_answer(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        changes: Sequence[Callable[[Delivery], Delivery]] = [
            in_body(b'{"id":"x_1"}', b'{"id": "x_1"}'),
            in_body(b'{"id":"x_1"}', b'{"id":"x_2"}'),
            with_headers(webhook_id=None),
            with_headers(webhook_id=None, webhook_signature=None, webhook_timestamp=None),
            lambda delivery: replace(delivery, body=b""),
        ]
        answers = [await world.deliver(b'{"id":"x_1"}', address=ACCOUNT, change=one) for one in changes]
        assert [why for _, _, why, _ in refusals(caplog)] == [
            "body_rewritten",
            "wrong_secret",
            "missing_header",
            "unsigned",
            "body_empty",
        ]
        assert all(answer == answers[0] for answer in answers)

    async def test_is_looked_into_ten_times_a_minute(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(12):
            await world.deliver(DONE, address=ACCOUNT, change=with_headers(webhook_signature="v1,AAAA"))
        world.clock.advance(timedelta(minutes=1))
        await world.deliver(DONE, address=ACCOUNT, change=with_headers(webhook_signature="v1,AAAA"))
        whys = [why for _, _, why, _ in refusals(caplog)]
        assert whys == ["wrong_secret"] * 10 + ["not_tried"] * 2 + ["wrong_secret"]

    async def test_that_needs_no_trying_uses_up_no_looks(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(12):
            await world.deliver(DONE, address=f"{ACCOUNT}/x.y")
        await world.deliver(DONE, address=ACCOUNT, change=with_headers(webhook_signature="v1,AAAA"))
        assert [why for _, _, why, _ in refusals(caplog)] == ["wrong_address"] * 12 + ["wrong_secret"]

    async def test_is_another_providers_where_its_secret_is_at_hand(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        add(world, "shopify", name="shop", secret="shop-secret")
        body = b'{"id":"x_1"}'
        bare = Delivery(method="POST", url=ACCOUNT, headers={}, body=body, received_at=NOW)
        signed = SCHEMES["shopify"].sign(bare, "shop-secret", NOW)
        await world.deliver(body, address=ACCOUNT, change=lambda _: signed)
        await world.receive.secrets.valid("shop-signing-secret")
        await world.deliver(body, address=ACCOUNT, change=lambda _: signed)
        assert [(why, detail) for _, _, why, detail in refusals(caplog)] == [
            ("other_sender", "shop"),
            ("other_provider", "shop"),
        ]

    async def test_is_looked_for_at_all_other_providers_that_sign(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others: list[str] = []

        def note(_: NotVerified, __: Delivery, known: Known, *___: object) -> Finding:
            others.extend(known.others)
            return Finding(why=Why.WRONG_SECRET)

        monkeypatch.setattr("services.receive.find_why", note)
        await world.deliver(DONE, address=ACCOUNT, change=with_headers(webhook_signature="v1,AAAA"))
        assert others == ["acme", "open", "asked", "searched", "guarded"]

    async def test_asks_neither_the_vault_nor_a_sender_for_anything(self, world: World) -> None:
        add(world, "shopify", secret="shop-secret")
        await world.deliver(DONE, address=ACCOUNT, change=with_headers(webhook_signature="v1,AAAA"))
        assert world.vault.fetches == ["acme-signing-secret"]
        assert world.sender.requests == []

    async def test_is_tried_with_the_public_keys_at_hand(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        world.receive.providers["fal"] = built_in("fal")  # type: ignore[index] # a dict
        world.vault.versions["fal-api-key"] = ("key-1",)
        key = Ed25519PrivateKey.generate()
        world.answers = [key_set(key)]
        expires = NOW + timedelta(hours=1)
        token = tokens.mint(tokens.Token(job_id="job_a", provider="fal", expires_at=expires), KEY)
        url = f"https://hooks.example/api/webhooks/fal/{token}"
        bare = Delivery(method="POST", url=url, headers=FAL, body=b'{"a":1}', received_at=NOW)
        signed = SCHEMES["fal"].sign(bare, pem(key), NOW)
        await world.api.receive_webhook(
            Request(method="POST", url=url, headers=signed.headers, body=b'{"a": 1}'), "fal", token
        )
        assert refusals(caplog) == [("fal", "wrong_signature", "body_rewritten", "compact")]
        assert len(world.sender.requests) == 1

    async def test_that_our_own_search_stumbles_over_is_the_same_401(
        self, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def stumble(*_: object) -> None:
            raise KeyError("planted-" * 2)

        wrong = with_headers(webhook_signature="v1,AAAA")
        before = await world.deliver(DONE, address=ACCOUNT, change=wrong)
        monkeypatch.setattr("services.receive.find_why", stumble)
        assert await world.deliver(DONE, address=ACCOUNT, change=wrong) == before
        assert [why for _, _, why, _ in refusals(caplog)] == ["wrong_secret", "not_tried"]
        assert [one.message for one in caplog.records if one.levelname == "ERROR"] == ["refusals.failed"]
        assert "planted-planted-" not in "".join(str(vars(record)) for record in caplog.records)

    async def test_shows_nothing_that_a_sender_wrote_and_no_secret(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        planted = "planted-in-this-delivery"
        changes = [
            with_headers(webhook_signature=planted),
            with_headers(webhook_signature=f"v1,{planted}", host=planted, x_original_url=f"/{planted}"),
            with_headers(webhook_signature=None, x_signature=planted, stripe_signature=planted),
        ]
        address = f"{ACCOUNT}?{planted}"
        for change in changes:
            await world.deliver({"id": planted}, address=address, change=change)
        await world.deliver({"id": planted}, address=f"{ACCOUNT}/{planted}")
        assert len(refusals(caplog)) == 4
        logged = "".join(str(vars(record)) for record in caplog.records)
        for secret in (planted, SECRET, PREVIOUS_SECRET, KEY, SECRET.removeprefix("whsec_")):
            assert secret not in logged


class TestRefusalsInARow:
    async def test_are_told_of_once_in_twenty(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        await refused(world, 40)
        told = [vars(one) for one in caplog.records if one.message == "refusals.in_a_row"]
        assert [(one["provider"], one["count"], one["levelname"]) for one in told] == [
            ("account", 20, "WARNING"),
            ("account", 40, "WARNING"),
        ]

    async def test_end_with_a_verified_delivery(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        await refused(world, 19)
        await world.deliver(DONE, address=ACCOUNT)
        await refused(world, 19)
        assert "refusals.in_a_row" not in [one.message for one in caplog.records]
        await refused(world, 1)
        assert "refusals.in_a_row" in [one.message for one in caplog.records]


async def refused(world: World, times: int) -> None:
    for _ in range(times):
        await world.deliver(DONE, address=ACCOUNT, change=with_headers(webhook_signature="v1,AAAA"))


def refusals(caplog: pytest.LogCaptureFixture) -> Sequence[tuple[str, str, str, str]]:
    found = [vars(one) for one in caplog.records if one.message == "delivery.refused"]
    return [(one["provider"], one["reason"], one["why"], one["detail"]) for one in found]
