"""Access tokens: exchanged once, kept until shortly before their end, and no reason for a job to be lost."""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import jwt
import pytest

from services.access import Credentials
from services.adapters.memory import ManualClock, MemorySecrets, MemorySender
from services.bootstrap import build
from services.errors import AnswerLost, NotSent, OperatorError, Unavailable
from services.models import HttpAnswer, HttpRequest, Status
from services.providers.base import Access, AccessToken, Provider
from services.secrets import Secrets
from tests.unit.conftest import ACME, GUARDED, NOW, QUICK, World, answer, read_access, request, said

BUDGET = timedelta(seconds=3)
GIVEN = answer({"access_token": "token-1", "expires_in": 3600})
AGAIN = answer({"access_token": "token-2", "expires_in": 3600})


class Vault:
    """Credentials, and what they reach."""

    def __init__(self, *answers: HttpAnswer | Exception) -> None:
        self.clock = ManualClock(NOW)
        self.source = MemorySecrets({"acme-api-key": ("acme-key",)})
        self.sender = MemorySender(answers)
        self.credentials = Credentials(
            secrets=Secrets(source=self.source, clock=self.clock), sender=self.sender, clock=self.clock
        )

    async def token(self, provider: Provider = GUARDED) -> str:
        return (await self.credentials.current(provider, budget=BUDGET))[0]


async def test_a_provider_without_access_gets_its_api_key() -> None:
    assert await Vault().credentials.current(ACME, budget=BUDGET) == ("acme-key", BUDGET)


async def test_a_provider_without_a_key_gets_nothing() -> None:
    vault, keyless = Vault(), replace(QUICK, api_key=None)
    assert await vault.credentials.current(keyless, budget=BUDGET) == ("", BUDGET)
    await vault.credentials.refused(keyless, "")
    assert vault.source.fetches == []


def test_access_without_a_key_cannot_be_declared() -> None:
    with pytest.raises(ValueError, match="for an API key"):
        replace(GUARDED, api_key=None)


async def test_an_api_key_is_exchanged_for_a_token_once() -> None:
    vault = Vault(GIVEN)
    assert [await vault.token(), await vault.token()] == ["token-1", "token-1"]
    [asked] = vault.sender.requests
    assert (asked.url, asked.body) == (
        "https://acme.example/token",
        b"grant_type=client_credentials&secret=acme-key&at=12:00:00",
    )


async def test_an_api_key_can_be_exchanged_by_a_signed_grant() -> None:
    def ask(api_url: str, api_key: str, now: datetime) -> HttpRequest:
        grant = jwt.encode({"iss": "me", "exp": now + timedelta(minutes=5)}, api_key * 8, algorithm="HS256")
        return HttpRequest(method="POST", url=f"{api_url}/oauth", body=grant.encode())

    vault = Vault(GIVEN)
    assert await vault.token(replace(GUARDED, access=Access(request=ask, read=read_access))) == "token-1"
    [asked] = vault.sender.requests
    claims = jwt.decode(asked.body, "acme-key" * 8, algorithms=["HS256"], options={"verify_exp": False})
    assert claims == {"iss": "me", "exp": 1772366700}


@pytest.mark.parametrize(
    ("lifetime", "kept_for"),
    [(3600, 3540), (240, 180), (60, 45), (1, 0.75), (10**9, 86340), (0, None), (-5, None)],
)
async def test_a_token_is_kept_until_shortly_before_its_end(lifetime: int, kept_for: float | None) -> None:
    vault = Vault(answer({"access_token": "token-1", "expires_in": lifetime}), AGAIN)
    assert await vault.token() == "token-1"
    if kept_for is not None:
        vault.clock.advance(timedelta(seconds=kept_for, milliseconds=-1))
        assert await vault.token() == "token-1"
        vault.clock.advance(timedelta(milliseconds=1))
    assert await vault.token() == "token-2"


async def test_an_exchange_that_takes_time_takes_it_off_the_tokens_life_and_off_the_budget() -> None:
    vault = Vault(answer({"access_token": "token-1", "expires_in": 60}), AGAIN)
    send, budgets = vault.sender.send, []

    async def slow(asked: HttpRequest, *, budget: timedelta) -> HttpAnswer:
        budgets.append(budget)
        vault.clock.advance(timedelta(seconds=2))
        return await send(asked, budget=budget)

    vault.sender.send = slow  # type: ignore[method-assign,assignment] # a slow line
    assert await vault.credentials.current(GUARDED, budget=BUDGET) == ("token-1", timedelta(seconds=1))
    vault.clock.advance(timedelta(seconds=42))
    assert await vault.credentials.current(GUARDED, budget=BUDGET) == ("token-1", BUDGET)
    vault.clock.advance(timedelta(seconds=1))
    assert await vault.token() == "token-2"
    assert budgets == [BUDGET, BUDGET]


async def test_who_comes_while_an_exchange_is_under_way_waits_for_it() -> None:
    vault = Vault(GIVEN)
    send = vault.sender.send

    async def slow(asked: HttpRequest, *, budget: timedelta) -> HttpAnswer:
        await asyncio.sleep(0)
        return await send(asked, budget=budget)

    vault.sender.send = slow  # type: ignore[method-assign,assignment] # others come meanwhile
    assert await asyncio.gather(*(vault.token() for _ in range(5))) == ["token-1"] * 5
    assert len(vault.sender.requests) == 1


async def test_who_gives_up_waiting_takes_the_token_from_nobody() -> None:
    vault = Vault(GIVEN)
    send, arrived = vault.sender.send, asyncio.Event()

    async def slow(asked: HttpRequest, *, budget: timedelta) -> HttpAnswer:
        await arrived.wait()
        return await send(asked, budget=budget)

    vault.sender.send = slow  # type: ignore[method-assign,assignment] # one gives up meanwhile
    first, second = asyncio.create_task(vault.token()), asyncio.create_task(vault.token())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    arrived.set()
    assert await second == "token-1"


@pytest.mark.parametrize(
    ("trouble", "wait"),
    [
        (NotSent(), None),
        (AnswerLost(), None),
        (answer({}, 408), None),
        (answer({}, 425), None),
        (answer({}, 429, retry_after="20"), timedelta(seconds=20)),
        (answer({}, 500), None),
        (answer({}, 503, retry_after="Sun, 01 Mar 2026 12:01:00 GMT"), timedelta(minutes=1)),
        (answer({"odd": 1}), None),
        (answer([]), None),
    ],
    ids=["not sent", "lost", "408", "425", "429", "500", "503", "unreadable", "no object"],
)
async def test_an_exchange_that_may_pass_means_that_nothing_was_sent(
    trouble: HttpAnswer | Exception, wait: timedelta | None
) -> None:
    vault = Vault(trouble, GIVEN)
    with pytest.raises(NotSent) as passing:
        await vault.token()
    assert passing.value.retry_after == wait
    assert await vault.token() == "token-1"


async def test_all_who_wait_hear_that_an_exchange_failed() -> None:
    vault = Vault(NotSent(), GIVEN)
    heard = await asyncio.gather(*(vault.token() for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in heard] == [NotSent] * 3
    assert len(vault.sender.requests) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404])
async def test_an_exchange_that_is_refused_is_the_operators_and_not_repeated_at_once(status: int) -> None:
    vault = Vault(answer({"error": "invalid_client"}, status), answer({}, status), GIVEN)
    for _ in range(3):
        with pytest.raises(OperatorError, match="acme-api-key"):
            await vault.token()
    assert len(vault.sender.requests) == 1
    vault.clock.advance(timedelta(seconds=10))
    with pytest.raises(OperatorError, match="acme-api-key"):
        await vault.token()
    assert len(vault.sender.requests) == 2


async def test_a_key_that_was_rotated_is_read_anew_when_the_old_one_is_refused() -> None:
    vault = Vault(answer({}, 401), answer({}, 401), GIVEN)
    with pytest.raises(OperatorError):
        await vault.token()
    vault.source.versions["acme-api-key"] = ("new-key",)
    vault.clock.advance(timedelta(seconds=10))
    with pytest.raises(OperatorError):
        await vault.token()
    assert await vault.token() == "token-1", "another key, so that no rest is needed"
    assert b"secret=new-key" in vault.sender.requests[-1].body


async def test_a_vault_that_is_away_when_a_key_is_refused_changes_nothing() -> None:
    vault = Vault(answer({}, 401))
    await vault.credentials.secrets.newest("acme-api-key")
    vault.clock.advance(timedelta(seconds=10))
    vault.source.available = False
    with pytest.raises(OperatorError):
        await vault.token()
    await vault.credentials.refused(ACME, "acme-key")


async def test_a_vault_that_is_away_is_not_the_providers_trouble() -> None:
    vault = Vault()
    vault.source.available = False
    with pytest.raises(Unavailable):
        await vault.token()


async def test_another_key_gets_a_token_of_its_own() -> None:
    vault = Vault(GIVEN, AGAIN)
    assert await vault.token() == "token-1"
    vault.source.versions["acme-api-key"] = ("new-key",)
    vault.clock.advance(timedelta(minutes=10))
    assert await vault.token() == "token-2"


async def test_a_token_that_a_request_was_refused_with_is_replaced() -> None:
    vault = Vault(GIVEN, AGAIN)
    await vault.token()
    vault.clock.advance(timedelta(seconds=10))
    await vault.credentials.refused(GUARDED, "token-1")
    assert await vault.token() == "token-2"
    await vault.credentials.refused(GUARDED, "token-1")
    vault.clock.advance(timedelta(minutes=5))
    await vault.credentials.refused(GUARDED, "token-1")
    assert await vault.token() == "token-2", "it was another one that was refused"


async def test_a_token_that_was_just_given_is_not_replaced_however_often_it_is_refused() -> None:
    vault = Vault(GIVEN)
    await vault.token()
    vault.clock.advance(timedelta(seconds=10, milliseconds=-1))
    await vault.credentials.refused(GUARDED, "token-1")
    assert await vault.token() == "token-1"


async def test_no_key_and_no_token_is_ever_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    vault = Vault(NotSent(), answer({}, 503), answer({"odd": 1}), GIVEN, answer({}, 401))
    for _ in range(3):
        with pytest.raises(NotSent):
            await vault.token()
    await vault.token()
    shown = repr(vault.credentials) + repr(AccessToken(text="token-1", lifetime=BUDGET))
    vault.clock.advance(timedelta(hours=2))
    with pytest.raises(OperatorError) as refused:
        await vault.token()
    assert [record.message for record in caplog.records if record.name == "services.access"] == [
        "access.not_asked",
        "access.put_off",
        "access.not_understood",
        "access.given",
        "access.refused",
    ]
    shown += str(refused.value) + "".join(str(vars(record)) for record in caplog.records)
    assert "acme-key" not in shown
    assert "token-1" not in shown


def carried(world: World) -> list[tuple[str, str | None]]:
    return [(r.method, r.headers.get("authorization")) for r in world.sender.requests]


async def test_starts_polls_and_cancels_carry_the_token(world: World) -> None:
    job_id = said(await world.start(provider="guarded"))["id"]
    await world.run_until(NOW + timedelta(minutes=10))
    await world.api.cancel_job(request("DELETE", "j"), job_id)
    assert carried(world) == [
        ("POST", None),
        ("POST", "Bearer token-1"),
        ("GET", "Bearer token-1"),
        ("DELETE", "Bearer token-1"),
    ]


async def test_a_request_gets_what_the_exchange_left_of_its_budget(world: World) -> None:
    send, budgets = world.sender.send, []

    async def slow(asked: HttpRequest, *, budget: timedelta) -> HttpAnswer:
        budgets.append((asked.method, budget.total_seconds()))
        world.clock.advance(timedelta(seconds=1))
        return await send(asked, budget=budget)

    world.sender.send = slow  # type: ignore[method-assign,assignment] # a slow line
    await world.start(provider="guarded")
    world.jobs.attempt.credentials._kept.clear()
    await world.run_until(NOW + timedelta(minutes=11))
    assert budgets == [("POST", 3), ("POST", 2), ("POST", 30), ("GET", 29)]


@pytest.mark.parametrize(
    ("idempotent", "seconds", "starts"),
    [(False, 1.6, 0), (False, 1.5, 1), (True, 1.6, 1)],
    ids=["most gone", "half left", "safe to repeat"],
)
async def test_a_start_that_cannot_be_repeated_is_not_sent_with_what_a_slow_exchange_leaves(
    world: World, *, idempotent: bool, seconds: float, starts: int
) -> None:
    work = replace(GUARDED.operations["work"], idempotent=idempotent)
    providers = {"guarded": replace(GUARDED, operations={"work": work})}
    object.__setattr__(world.jobs.attempt, "providers", providers)
    send = world.sender.send

    async def slow(asked: HttpRequest, *, budget: timedelta) -> HttpAnswer:
        if "authorization" not in asked.headers:
            world.clock.advance(timedelta(seconds=seconds))
        return await send(asked, budget=budget)

    world.sender.send = slow  # type: ignore[method-assign,assignment] # a slow line
    job_id = said(await world.start(provider="guarded"))["id"]
    assert len(carried(world)) == 1 + starts
    await world.run_until(NOW + timedelta(seconds=40))
    job = await world.job(job_id)
    assert (job.status, job.attempts) == (Status.RUNNING, 1)
    assert carried(world) == [("POST", None), ("POST", "Bearer token-1")]


async def test_a_start_without_a_token_is_put_off_and_counts(world: World) -> None:
    world.answers = [answer({}, 503, retry_after="20")]
    started = await world.start(provider="guarded")
    assert (started.status, said(started)["status"]) == (202, "accepted")
    await world.run_until(NOW + timedelta(seconds=19))
    assert len(world.sender.requests) == 1
    await world.run_until(NOW + timedelta(seconds=20))
    job = await world.job(said(started)["id"])
    assert (job.status, job.attempts) == (Status.RUNNING, 2)
    assert [e.detail for e in job.history if e.event == "start.put_off"] == ["no_access_token"]


async def test_a_start_whose_token_request_lost_its_answer_is_not_ambiguous(world: World) -> None:
    world.answers = [AnswerLost()]
    assert said(await world.start(provider="guarded"))["status"] == "accepted"
    await world.run_until(NOW + timedelta(seconds=5))
    assert carried(world) == [("POST", None), ("POST", None), ("POST", "Bearer token-1")]


async def test_a_start_whose_key_is_refused_waits_for_the_operator(world: World) -> None:
    world.answers = [answer({"error": "invalid_client"}, 400)] * 60
    job_id = said(await world.start(provider="guarded"))["id"]
    await world.run_until(NOW + timedelta(minutes=20))
    job = await world.job(job_id)
    assert (job.status, job.attempts, len(world.sender.requests)) == (Status.ACCEPTED, 0, 41)
    world.answers = []
    await world.run_until(NOW + timedelta(minutes=21))
    assert (await world.job(job_id)).status is Status.RUNNING


async def test_a_poll_without_a_token_is_put_off_as_long_as_the_provider_asks(world: World) -> None:
    job_id = said(await world.start(provider="guarded"))["id"]
    world.jobs.attempt.credentials._kept.clear()
    world.answers = [answer({}, 429, retry_after="50")]
    await world.run_until(NOW + timedelta(minutes=10))
    assert (await world.job(job_id)).history[-1].detail == "provider_unreachable"
    assert [at for at, _ in world.bus.scheduled.values()] == [NOW + timedelta(minutes=10, seconds=50)]


async def test_a_token_that_a_poll_is_refused_with_is_replaced_by_the_next_poll(world: World) -> None:
    await world.start(provider="guarded")
    world.answers = [answer({}, 401)]
    await world.run_until(NOW + timedelta(minutes=11))
    assert carried(world)[2:] == [
        ("GET", "Bearer token-1"),
        ("POST", None),
        ("GET", "Bearer token-1"),
    ]


async def test_a_cancel_without_a_token_does_not_stop_it(world: World) -> None:
    job_id = said(await world.start(provider="guarded"))["id"]
    world.jobs.attempt.credentials._kept.clear()
    world.answers = [NotSent()]
    assert (await world.api.cancel_job(request("DELETE", "j"), job_id)).status == 202
    assert [subject for subject, _ in world.outcomes()] == ["job.canceled"]


@pytest.mark.parametrize(("key", "wrong"), [("-----BEGIN KEY-----\nabc", False), ("-----NO KEY", True)])
def test_a_key_is_judged_by_what_it_is_exchanged_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, wrong: bool
) -> None:
    def ask(api_url: str, api_key: str, now: datetime) -> HttpRequest:
        if not api_key.startswith("-----BEGIN"):
            raise OperatorError("no key")
        return HttpRequest(method="POST", url=api_url)

    guarded = replace(GUARDED, access=Access(request=ask, read=read_access))
    monkeypatch.setattr("services.bootstrap.providers", lambda *_: {"guarded": guarded})
    values = {
        "SERVICEBUS": "Endpoint=sb://localhost;SharedAccessKeyName=n;SharedAccessKey=a2V5;",
        "SECRET_SOURCE": "environment",
        "PUBLIC_URL": "https://hooks.example",
        "PROVIDERS": "guarded",
        "JOB_STORE": f"sqlite:{tmp_path}/jobs.db",
        "PAYLOAD_STORE": f"file:{tmp_path}/p",
        "CALLBACK_TOKEN_KEY": "k" * 32,
        "ACME_SIGNING_SECRET": "whsec_YWNtZS1hY21lLWFjbWUtYWNtZS1hY21lLWFjbWU=",
        "ACME_API_KEY": key,
    }
    if wrong:
        with pytest.raises(OperatorError, match="ACME_API_KEY"):
            build(values)
    else:
        build(values)
