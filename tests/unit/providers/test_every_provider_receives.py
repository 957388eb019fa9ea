"""What each provider's callbacks can do at our addresses: what they are for, and nothing else.

Each delivery here is signed by its sender's own scheme, rightly. What is wrong with it is where it is sent,
whose secret signed it, or what it says.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services import tokens
from services.api import Request, Response
from services.models import Callback, Delivery, HttpAnswer, Job, Status
from services.providers import BUILT_IN, built_in
from services.providers.base import CallbackAddress, Completion, Provider
from services.receive import needs_token
from tests.unit.conftest import KEY, NOW, World
from tests.unit.signatures.key_documents import Party, parties
from tests.vectors.cases import HERE

WEBHOOKS = {
    name: replace(provider, api_url=provider.api_url or provider.api_url_example or "")
    for name in BUILT_IN
    if (provider := built_in(name)).completion is Completion.WEBHOOK
}
CONTENT_TYPES = {
    ".json": "application/json",
    ".form": "application/x-www-form-urlencoded",
    ".multipart": "multipart/form-data; boundary=sample",
}
SCHEME_NAMES = {"twilio": "twilio_form"}
SHARED_KEYS = {"fal", "plaid"}
"""One key of these signs for all their customers."""
PER_JOB = [
    name for name, provider in WEBHOOKS.items() if provider.callback_address is CallbackAddress.PER_JOB
]
SAMPLES = {
    f"{name}-{path.stem}": (name, path) for name in WEBHOOKS for path in HERE.glob(f"{name}/callback.*")
}
each_provider = pytest.mark.parametrize("name", WEBHOOKS)
each_sample = pytest.mark.parametrize(("name", "sample"), SAMPLES.values(), ids=SAMPLES)


def sender(name: str, tenant: int = 0) -> Party:
    """Whoever signs for one of the provider's customers; no two providers or customers have one secret."""
    party = parties(SCHEME_NAMES.get(name, name))[tenant]
    if "PRIVATE KEY" in party.private:
        return party
    secret = hashlib.sha256(f"{name} {tenant}".encode()).hexdigest()
    return Party(private=secret, secrets=(secret,))


def token_for(name: str, job_id: str | None = None) -> str:
    expires_at = NOW + timedelta(days=1) if job_id else None
    return tokens.mint(tokens.Token(provider=name, job_id=job_id, expires_at=expires_at), KEY)


def own_token(name: str, job_id: str | None = "job_a") -> str:
    """The token that a callback of a provider comes with, if it comes with one."""
    return token_for(name, (job_id or "job_a") if name in PER_JOB else None)


def signed(
    name: str,
    body: bytes,
    content_type: str,
    *,
    at: str | None = None,
    token: str | None = None,
    tenant: int = 0,
) -> Delivery:
    """Sign as a provider does, for the address of this or another one."""
    delivery = Delivery(
        method="POST",
        url=f"https://hooks.example/api/webhooks/{at or name}{f'/{token}' if token else ''}",
        headers={
            "content-type": content_type,
            "content-length": str(len(body)),
            "webhook-id": "evt_1",
            "x-fal-webhook-request-id": "evt_1",
            "x-fal-webhook-user-id": "user_1",
        },
        body=body,
        received_at=NOW,
    )
    scheme = WEBHOOKS[name].scheme
    return scheme.sign(delivery, sender(name, tenant).private, NOW) if scheme else delivery


def of_sample(name: str, sample: Path, **to: str | int | None) -> Delivery:
    return signed(name, sample.read_bytes(), CONTENT_TYPES[sample.suffix], **to)  # type: ignore[arg-type]


def first_sample(name: str) -> Path:
    return next(path for owner, path in SAMPLES.values() if owner == name)


def told_by(name: str, sample: Path) -> Callback:
    return WEBHOOKS[name].read(of_sample(name, sample))[0]


def prepared(world: World, name: str) -> None:
    """Enable a provider as an operator does: with its secrets, and with its keys where it publishes them."""
    world.receive.providers[name] = WEBHOOKS[name]  # type: ignore[index] # a dict
    object.__setattr__(world.receive, "max_bytes", 200_000)
    party, secret = sender(name), WEBHOOKS[name].signing_secret
    world.vault.versions[f"{name}-api-key"] = ("id:secret",)
    if secret:
        world.vault.versions[secret] = party.secrets
    world.answers.extend([HttpAnswer(status=200, body=document) for document in party.keys] * 20)


async def send(world: World, delivery: Delivery) -> Response:
    name, _, token = delivery.url.partition("/api/webhooks/")[2].partition("?")[0].partition("/")
    request = Request(method="POST", url=delivery.url, headers=delivery.headers, body=delivery.body)
    return await world.api.receive_webhook(request, name, token or None)


def subjects(world: World) -> list[str]:
    return [message.subject for message in world.bus.published]


def named(world: World) -> Iterator[str | None]:
    """The jobs that the published callbacks are for."""
    for message in world.bus.published:
        if message.subject == "callback.received":
            yield json.loads(message.body)["data"]["job_id"]


async def put(world: World, provider: Provider, job_id: str, operation: str, external_id: str | None) -> Job:
    job = Job(
        id=job_id,
        provider=provider.name,
        operation=operation,
        status=Status.RUNNING,
        input={},
        request_digest="",
        created_at=NOW,
        updated_at=NOW,
        deadline_at=NOW + timedelta(days=30),
        external_id=external_id,
    )
    await world.store.create(job)
    if external_id:
        await world.store.link(provider.name, external_id, job_id)
    return job


@each_sample
async def test_a_callback_is_taken_once(world: World, name: str, sample: Path) -> None:
    prepared(world, name)
    delivery = of_sample(name, sample, token=own_token(name, told_by(name, sample).job_id))
    for _ in range(2):
        assert (await send(world, delivery)).status == WEBHOOKS[name].answer.status
        published = len(world.bus.published)
        assert set(subjects(world)) == {"callback.received"}
    assert published == len(list(named(world))) == len(WEBHOOKS[name].read(delivery))


@each_provider
async def test_without_our_token_only_a_signature_that_binds_opens(world: World, name: str) -> None:
    prepared(world, name)
    answer = await send(world, of_sample(name, first_sample(name)))
    if needs_token(WEBHOOKS[name]):
        assert (answer.status, subjects(world)) == (401, [])
    else:
        assert answer.status == WEBHOOKS[name].answer.status


@pytest.mark.parametrize("name", PER_JOB)
async def test_an_accounts_token_opens_no_jobs_address(world: World, name: str) -> None:
    prepared(world, name)
    answer = await send(world, of_sample(name, first_sample(name), token=token_for(name)))
    assert (answer.status, subjects(world)) == (401, [])


def test_those_that_need_our_token_are_these() -> None:
    needing = {name for name, provider in WEBHOOKS.items() if needs_token(provider)}
    assert needing == {"apify", "assemblyai", "deepgram", "fal", "paypal", "plaid"}


@each_provider
async def test_a_callback_to_another_customer_of_the_provider_is_refused(world: World, name: str) -> None:
    prepared(world, name)
    forged = tokens.mint(tokens.Token(provider=name, job_id="job_a", expires_at=NOW + timedelta(1)), "f" * 32)
    tokens_of_others = [None, forged, own_token("mux" if name != "mux" else "stripe")]
    if WEBHOOKS[name].scheme and name not in SHARED_KEYS:
        tokens_of_others.append(own_token(name))
    for token in tokens_of_others:
        answer = await send(world, of_sample(name, first_sample(name), token=token, tenant=1))
        assert (answer.status, subjects(world)) == (401, [])


@each_provider
async def test_a_callback_of_another_provider_is_refused(world: World, name: str) -> None:
    prepared(world, name)
    for other in WEBHOOKS.keys() - {name}:
        tokens_there = [own_token(other)]
        if WEBHOOKS[name].scheme:
            tokens_there.append(own_token(name))
        for token in tokens_there:
            answer = await send(world, of_sample(other, first_sample(other), at=name, token=token))
            assert (answer.status, subjects(world)) == (401, []), other


@each_sample
async def test_what_one_job_is_told_settles_no_other_jobs_address(
    world: World, name: str, sample: Path
) -> None:
    prepared(world, name)
    provider = WEBHOOKS[name]
    delivery = of_sample(name, sample, token=token_for(name, "job_b"))
    told = told_by(name, sample)
    operation = told.operation or provider.default_operation
    job_a = await put(world, provider, told.job_id or "job_a", operation, told.external_id or "ext_a")
    job_b = await put(world, provider, "job_b", operation, "ext_b")
    assert (await send(world, delivery)).status == provider.answer.status
    if told.job_id:
        assert subjects(world) == ["callback.unrecognised"]
    else:
        assert set(named(world)) == {"job_b"}
    await world.forward()
    assert await world.job(job_a.id) == job_a
    if told.external_id:
        assert await world.job(job_b.id) == job_b


def has_an_address_for_all(provider: Provider) -> bool:
    return provider.name not in PER_JOB or not needs_token(provider)


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        pytest.param(name, path, id=case)
        for case, (name, path) in SAMPLES.items()
        if has_an_address_for_all(WEBHOOKS[name])
    ],
)
async def test_what_one_job_is_told_at_the_address_of_all_reaches_no_other(
    world: World, name: str, sample: Path
) -> None:
    provider = WEBHOOKS[name]
    prepared(world, name)
    delivery = of_sample(name, sample, token=token_for(name) if needs_token(provider) else None)
    told = told_by(name, sample)
    operation = told.operation or provider.default_operation
    await put(world, provider, told.job_id or "job_a", operation, told.external_id or "ext_a")
    job_b = await put(world, provider, "job_b", operation, None)
    assert (await send(world, delivery)).status == provider.answer.status
    await world.forward()
    assert await world.job("job_b") == job_b
    put_back = [message for _, message in world.bus.scheduled.values() if message.subject in subjects(world)]
    assert put_back == [], "each has found its job"


@each_sample
async def test_a_job_of_another_provider_is_not_moved(world: World, name: str, sample: Path) -> None:
    prepared(world, name)
    provider = WEBHOOKS[name]
    told = told_by(name, sample)
    delivery = of_sample(name, sample, token=own_token(name, told.job_id))
    theirs = replace(provider, name="theirs")
    world.receive.providers["theirs"] = theirs  # type: ignore[index] # a dict
    operation = told.operation or provider.default_operation
    job = await put(world, theirs, told.job_id or "job_a", operation, told.external_id)
    assert (await send(world, delivery)).status == provider.answer.status
    await world.forward()
    assert await world.job(job.id) == job


HOSTILE = {
    "blank": b" ",
    "no-utf-8": b"\xff\xfe\x00",
    "utf-16": '{"id":"x"}'.encode("utf-16"),
    "bom": b'\xef\xbb\xbf{"id":"x"}',
    "null": b"null",
    "lists": b"[[[]]]",
    "object": b"{}",
    "nan": b'{"id":NaN}',
    "huge-float": b'{"id":1e999}',
    "huge-integer": b'{"id":' + b"9" * 5000 + b"}",
    "name-twice": b'{"id":"a","id":"b"}',
    "nested": b'{"id":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "surrogates": b'{"type":"\\ud800","event":"\\udfff","status":"\\ud800","id":7}',
    "odd-members": b'{"type":[],"event":{},"data":7,"status":[],"resource":null,"payload":"x","id":{}}',
    "form": b"a=1&a=2&MessageStatus=%ff%fe&MessageSid=%00",
}


@each_provider
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_body_that_was_rightly_signed_is_taken_and_kept_for_somebody_to_look_at(
    world: World, name: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    prepared(world, name)
    kind = CONTENT_TYPES[".form" if name == "twilio" else ".json"]
    delivery = signed(name, body, kind, token=own_token(name))
    assert (await send(world, delivery)).status == WEBHOOKS[name].answer.status
    assert subjects(world) == ["callback.unrecognised"]
    assert "delivery.not_read" not in caplog.messages, "nothing was stumbled over"
    assert len(await world.payloads.names("deliveries/", 10)) == 1
