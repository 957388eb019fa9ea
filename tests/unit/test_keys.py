"""Senders' keys are fetched seldom, once for everybody who waits, and at no stranger's will."""

import asyncio
import contextlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.adapters.memory import ManualClock, MemorySecrets, MemorySender
from services.errors import AnswerLost, NotSent, NotVerified, OperatorError, SecretMissing, Unavailable
from services.keys import Keys
from services.models import Delivery, HttpAnswer, HttpRequest
from services.providers.base import Completion, Provider
from services.secrets import Secrets
from services.signatures.catalogue import STRIPE
from services.signatures.public_catalogue import JWTS, PUBLIC_KEYS
from services.signatures.scheme import KeySource
from tests.unit.conftest import ACME

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FAL = replace(ACME, name="fal", scheme=PUBLIC_KEYS["fal"], signing_secret=None, completion=Completion.WEBHOOK)


def certificate(number: int = 0) -> Delivery:
    """Make a delivery that names a certificate of its own."""
    address = f"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-{number}.pem"
    body = json.dumps({"SigningCertURL": address, "Signature": "AAAA"}).encode()
    return Delivery(method="POST", url="https://x.example/", headers={}, body=body, received_at=NOW)


SNS = replace(FAL, name="sns", scheme=PUBLIC_KEYS["aws_sns"])
ANY = certificate()


class Slow(MemorySender):
    """Answers for fal at once or when it is told to, and for SNS only then."""

    def __init__(self, *, fal_at_once: bool = False) -> None:
        super().__init__(lambda request: HttpAnswer(status=200, body=request.url.encode()))
        self.opened = asyncio.Event()
        self.fal_at_once = fal_at_once

    async def send(self, request: HttpRequest, *, budget: timedelta) -> HttpAnswer:
        answer = await super().send(request, budget=budget)
        if not (self.fal_at_once and "fal" in request.url):
            await self.opened.wait()
        return answer


class World:
    """Keys over a sender whose answer tests change."""

    def __init__(self, sender: MemorySender | None = None) -> None:
        self.answer: HttpAnswer | Exception = HttpAnswer(status=200, body=b"first")
        self.clock = ManualClock(NOW)
        self.sender = sender or MemorySender(lambda _: self.answer)
        self.vault = MemorySecrets({"acme-api-key": ("client:secret",)})
        secrets = Secrets(source=self.vault, clock=self.clock)
        self.keys = Keys(sender=self.sender, secrets=secrets, clock=self.clock)

    @property
    def asked(self) -> int:
        return len(self.sender.requests)

    async def found(self, provider: Provider = FAL, delivery: Delivery = ANY) -> tuple[bytes, ...]:
        return tuple(await self.keys.find(provider, delivery))

    async def refreshed(self, provider: Provider = FAL, delivery: Delivery = ANY) -> tuple[bytes, ...]:
        return tuple(await self.keys.refreshed(provider, delivery))


async def test_are_asked_for_as_the_scheme_says() -> None:
    world = World()
    assert await world.found() == (b"first",)
    request = world.sender.requests[0]
    assert (request.method, request.url) == ("GET", "https://rest.fal.ai/.well-known/jwks.json")


async def test_a_scheme_whose_secrets_are_set_needs_none() -> None:
    world = World()
    provider = replace(ACME, scheme=STRIPE)
    assert await world.found(provider) == await world.refreshed(provider) == ()
    assert world.asked == 0


async def test_are_kept_for_an_hour() -> None:
    world = World()
    await world.found()
    world.clock.advance(timedelta(minutes=59, seconds=59))
    assert await world.found() == (b"first",)
    assert world.asked == 1
    world.answer = HttpAnswer(status=200, body=b"second")
    world.clock.advance(SECOND)
    assert await world.found() == (b"second",)
    assert world.asked == 2


async def test_are_kept_for_each_request_of_its_own() -> None:
    world = World()
    for _ in range(3):
        await world.found(SNS, certificate(1))
        await world.found(SNS, certificate(2))
        await world.found()
    assert [request.url[-6:] for request in world.sender.requests] == ["-1.pem", "-2.pem", "s.json"]


async def test_two_requests_to_one_address_are_two() -> None:
    world = World()
    source = KeySource(
        request=lambda delivery, _: HttpRequest(
            method="POST", url="https://keys.example/", body=delivery.body
        ),
        address=re.compile(r"https://keys\.example/"),
    )
    provider = replace(FAL, scheme=Sourced(source))
    await world.found(provider, certificate(1))
    await world.found(provider, certificate(2))
    await world.found(provider, certificate(1))
    assert world.asked == 2


class Sourced:
    """A scheme of which only the key source matters."""

    binds_nothing = False

    def __init__(self, source: KeySource) -> None:
        self.key_source: KeySource | None = source

    def verify(self, *_: object) -> None: ...

    def sign(self, delivery: Delivery, *_: object) -> Delivery:
        return delivery

    def event_id(self, _: Delivery) -> str:
        return ""

    def lacks(self, _: Delivery) -> list[str]:
        return []


async def test_the_providers_api_key_goes_along() -> None:
    world = World()
    seen: list[str] = []

    def request(_: Delivery, api_key: str) -> HttpRequest:
        seen.append(api_key)
        return HttpRequest(method="GET", url="https://keys.example/")

    sourced = Sourced(KeySource(request=request, address=re.compile(r"https://keys\.example/")))
    await world.found(replace(FAL, scheme=sourced))
    await world.found(replace(FAL, scheme=sourced, api_key=None))
    assert seen == ["client:secret", ""]
    with pytest.raises(SecretMissing):
        await world.found(replace(FAL, scheme=sourced, api_key="another"))


@pytest.mark.parametrize(
    ("url", "pattern"),
    [
        ("https://keys.example/x", r"https://keys\.example/"),
        ("https://keys.example.evil/", r"https://keys\.example/"),
        ("https://keysxexample/", r"https://keys\.example/"),
        ("http://keys.example/", r"https?://keys\.example/"),
    ],
    ids=["longer", "another-host", "a-dot", "no-tls"],
)
async def test_nothing_is_asked_of_an_address_that_is_not_the_senders(url: str, pattern: str) -> None:
    world = World()
    source = KeySource(request=lambda _, __: HttpRequest(method="GET", url=url), address=re.compile(pattern))
    provider = replace(FAL, scheme=Sourced(source))
    for ask in (world.found, world.refreshed):
        with pytest.raises(NotVerified) as refused:
            await ask(provider)
        assert refused.value.reason == "untrusted_key"
    assert world.asked == 0


async def test_a_delivery_that_names_no_key_of_the_senders_is_refused() -> None:
    world = World()
    body = b'{"Signature":"AAAA","SigningCertURL":"https://evil.example/x.pem"}'
    with pytest.raises(NotVerified) as refused:
        await world.found(SNS, replace(ANY, body=body))
    assert refused.value.reason == "untrusted_key"
    assert world.asked == 0


async def test_an_api_key_that_cannot_be_used_is_the_operators() -> None:
    world = World()
    world.vault.versions["acme-api-key"] = ("no-colon",)
    with pytest.raises(OperatorError):
        await world.found(replace(FAL, scheme=JWTS["plaid"]))


async def test_are_refreshed_at_most_every_ten_seconds() -> None:
    world = World()
    assert await world.found() == (b"first",)
    world.answer = HttpAnswer(status=200, body=b"second")
    for _ in range(5):
        assert await world.refreshed() == (b"first",)
    world.clock.advance(9 * SECOND)
    assert await world.refreshed() == (b"first",)
    assert world.asked == 1
    world.clock.advance(SECOND)
    assert await world.refreshed() == await world.found() == (b"second",)
    assert world.asked == 2


async def test_are_fetched_once_for_all_who_ask_at_one_moment() -> None:
    sender = Slow()
    world = World(sender)
    asking = asyncio.gather(*(world.found() for _ in range(50)), *(world.refreshed() for _ in range(50)))
    await asyncio.sleep(0)
    sender.opened.set()
    assert set(await asking) == {(b"https://rest.fal.ai/.well-known/jwks.json",)}
    assert world.asked == 1


async def test_who_gives_up_waiting_holds_nobody_up() -> None:
    sender = Slow()
    world = World(sender)
    first = asyncio.create_task(world.found())
    second = asyncio.create_task(world.found())
    await asyncio.sleep(0)
    first.cancel()
    sender.opened.set()
    assert await second == (b"https://rest.fal.ai/.well-known/jwks.json",)
    assert first.cancelled()


async def test_a_slow_sender_holds_up_no_other() -> None:
    sender = Slow(fal_at_once=True)
    world = World(sender)
    waiting = asyncio.create_task(world.found(SNS))
    await asyncio.sleep(0)
    assert await world.found() == (b"https://rest.fal.ai/.well-known/jwks.json",)
    assert not waiting.done()
    sender.opened.set()
    assert await waiting == (b"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",)


AWAY = [
    NotSent("no connection"),
    AnswerLost("no answer"),
    HttpAnswer(status=500),
    HttpAnswer(status=429),
    HttpAnswer(status=400),
    HttpAnswer(status=401),
    HttpAnswer(status=403),
    HttpAnswer(status=302, headers={"location": "https://evil.example/"}),
    HttpAnswer(status=204),
    HttpAnswer(status=200, body=b"x" * (64 * 1024 + 1)),
]
AWAY_IDS = ["not-sent", "lost", "500", "429", "400", "401", "403", "302", "204", "large"]


@pytest.mark.parametrize("answer", AWAY, ids=AWAY_IDS)
async def test_that_cannot_be_had_are_asked_for_again_after_ten_seconds(
    answer: HttpAnswer | Exception,
) -> None:
    world = World()
    world.answer = answer
    for _ in range(5):
        for ask in (world.found, world.refreshed):
            with pytest.raises(Unavailable) as raised:
                await ask()
            assert raised.value.retry_after == timedelta(seconds=10)
    world.clock.advance(timedelta(seconds=9.9))
    with pytest.raises(Unavailable):
        await world.found()
    assert world.asked == 1
    world.answer = HttpAnswer(status=200, body=b"x" * 64 * 1024)
    world.clock.advance(timedelta(seconds=0.1))
    assert len((await world.found())[0]) == 64 * 1024


@pytest.mark.parametrize("answer", AWAY, ids=AWAY_IDS)
async def test_go_on_serving_for_a_day_while_they_cannot_be_had(answer: HttpAnswer | Exception) -> None:
    world = World()
    await world.found()
    world.answer = answer
    for _ in range(23):
        world.clock.advance(timedelta(hours=1))
        assert await world.found() == (b"first",)
        with pytest.raises(Unavailable):
            await world.refreshed()
    assert world.asked == 24
    world.clock.advance(timedelta(hours=1) - SECOND)
    assert await world.found() == (b"first",)
    world.clock.advance(SECOND)
    with pytest.raises(Unavailable):
        await world.found()
    world.answer = HttpAnswer(status=200, body=b"second")
    world.clock.advance(10 * SECOND)
    assert await world.found() == (b"second",)


@pytest.mark.parametrize("status", [404, 410])
async def test_that_are_unknown_are_asked_for_again_after_ten_seconds(status: int) -> None:
    world = World()
    world.answer = HttpAnswer(status=status, body=b"no such key")
    for _ in range(5):
        assert await world.found() == await world.refreshed() == ()
    assert world.asked == 1
    world.answer = HttpAnswer(status=200, body=b"first")
    world.clock.advance(10 * SECOND)
    assert await world.found() == (b"first",)


@pytest.mark.parametrize("status", [404, 410])
async def test_that_are_said_to_be_gone_serve_for_a_day_and_no_longer(status: int) -> None:
    world = World()
    await world.found()
    world.answer = HttpAnswer(status=status)
    world.clock.advance(10 * SECOND)
    with pytest.raises(Unavailable):
        await world.refreshed()
    assert await world.found() == (b"first",)
    world.clock.advance(timedelta(hours=24) - 11 * SECOND)
    assert await world.found() == (b"first",)
    world.clock.advance(10 * SECOND)
    assert await world.found() == await world.refreshed() == ()


async def test_no_more_than_ten_new_keys_of_a_provider_are_asked_for_in_ten_seconds() -> None:
    world = World()
    world.answer = HttpAnswer(status=404)
    for number in range(10):
        assert await world.found(SNS, certificate(number)) == ()
        world.clock.advance(SECOND / 2)
    for number in range(10, 30):
        for ask in (world.found, world.refreshed):
            with pytest.raises(Unavailable) as raised:
                await ask(SNS, certificate(number))
            assert raised.value.retry_after == timedelta(seconds=10)
    assert world.asked == 10
    world.clock.advance(5 * SECOND)
    await world.found(SNS, certificate(30))
    with pytest.raises(Unavailable):
        await world.found(SNS, certificate(31))
    assert world.asked == 11


async def test_strangers_names_do_not_keep_known_keys_from_serving() -> None:
    world = World()
    await world.found()
    world.clock.advance(timedelta(hours=2))
    for number in range(11):
        with contextlib.suppress(Unavailable):
            await world.found(SNS, certificate(number))
    assert world.asked == 11
    world.answer = HttpAnswer(status=200, body=b"second")
    assert await world.found() == (b"second",)


async def test_strangers_names_do_not_keep_another_providers_keys_from_being_found() -> None:
    world = World()
    for number in range(11):
        with contextlib.suppress(Unavailable):
            await world.found(SNS, certificate(number))
    assert await world.found() == (b"first",)
    assert world.asked == 11


async def test_strangers_names_do_not_keep_a_providers_own_known_keys_from_being_renewed() -> None:
    world = World()
    await world.found(SNS, certificate(99))
    world.clock.advance(timedelta(hours=2))
    for number in range(11):
        with contextlib.suppress(Unavailable):
            await world.found(SNS, certificate(number))
    assert world.asked == 11
    world.answer = HttpAnswer(status=200, body=b"second")
    assert await world.found(SNS, certificate(99)) == (b"second",)


async def test_strangers_names_drive_no_known_key_out() -> None:
    world = World()
    await world.found()
    world.answer = HttpAnswer(status=404)
    for number in range(200):
        world.clock.advance(SECOND)
        await world.found(SNS, certificate(number))
    assert await world.found() == (b"first",)
    assert world.asked == 201


async def test_no_more_than_sixty_four_documents_are_kept() -> None:
    world = World()
    for number in range(65):
        await world.found(SNS, certificate(number))
        world.clock.advance(SECOND)
    await world.found(SNS, certificate(64))
    await world.found(SNS, certificate(1))
    assert world.asked == 65
    await world.found(SNS, certificate(0))
    assert world.asked == 66


async def test_what_was_asked_for_last_is_kept_longest() -> None:
    world = World()
    for number in range(64):
        await world.found(SNS, certificate(number))
        world.clock.advance(SECOND)
    world.clock.advance(10 * SECOND)
    await world.refreshed(SNS, certificate(0))
    await world.found(SNS, certificate(64))
    assert world.asked == 66
    await world.found(SNS, certificate(0))
    assert world.asked == 66
    await world.found(SNS, certificate(1))
    assert world.asked == 67


async def test_nothing_that_was_asked_in_vain_is_kept_for_long() -> None:
    world = World()
    world.answer = HttpAnswer(status=404)
    for number in range(1000):
        await world.found(SNS, certificate(number))
        world.clock.advance(SECOND)
    assert len(world.keys._kept) <= 64
    assert [len(times) for times in world.keys._sent_at.values()] == [10]
    assert len(world.keys._locks) == 1


async def test_a_request_has_three_seconds() -> None:
    budgets: list[timedelta] = []

    class Budgeted(MemorySender):
        async def send(self, request: HttpRequest, *, budget: timedelta) -> HttpAnswer:
            budgets.append(budget)
            return await super().send(request, budget=budget)

    await World(Budgeted([HttpAnswer(status=200)])).found()
    assert budgets == [timedelta(seconds=3)]


async def test_do_not_show_in_a_repr() -> None:
    world = World()
    world.answer = HttpAnswer(status=200, body=b"hush")
    await world.found()
    assert "hush" not in repr(world.keys)
    assert "hush" not in repr(world.keys._kept)


class TestAtHand:
    """What was heard of last, for who must not ask."""

    async def test_are_what_was_heard_and_stay_so(self) -> None:
        world = World()
        assert world.keys.at_hand(FAL, ANY) == ()
        await world.found()
        world.clock.advance(timedelta(days=9))
        assert world.keys.at_hand(FAL, ANY) == (b"first",)
        assert world.asked == 1

    async def test_are_those_that_the_delivery_names(self) -> None:
        world = World()
        await world.found(SNS, certificate(1))
        assert world.keys.at_hand(SNS, certificate(1)) == (b"first",)
        assert world.keys.at_hand(SNS, certificate(2)) == ()

    def test_are_none_where_the_operator_sets_them(self) -> None:
        assert World().keys.at_hand(replace(ACME, scheme=STRIPE, api_key=None), ANY) == ()

    async def test_are_none_while_the_api_key_that_asks_for_them_is_not_at_hand(self) -> None:
        world = World()
        assert world.keys.at_hand(FAL, ANY) == ()
        assert world.vault.fetches == []
        without = replace(FAL, api_key=None)
        await world.found(without)
        assert world.keys.at_hand(without, ANY) == (b"first",)

    def test_are_none_for_a_delivery_that_names_no_key_of_the_senders(self) -> None:
        nameless = replace(ANY, body=b"{}")
        assert World().keys.at_hand(replace(SNS, api_key=None), nameless) == ()

    async def test_are_none_with_an_api_key_that_cannot_be_used(self) -> None:
        world = World()
        world.vault.versions["acme-api-key"] = ("no colon",)
        await world.keys.secrets.valid("acme-api-key")
        assert world.keys.at_hand(replace(FAL, scheme=JWTS["plaid"]), ANY) == ()
