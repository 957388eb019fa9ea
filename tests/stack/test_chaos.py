"""Nothing lost, one outcome: everything killed, secrets rotated under load, the bus and storage away."""

import asyncio
import contextlib
import itertools
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import trustme
from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient
from azure.storage.blob.aio import ContainerClient

from dev import azurite
from services.adapters.blobs import BlobPayloads
from services.adapters.keyvault import KeyVaultSecrets
from services.adapters.memory import ManualClock, MemoryBus, MemorySecrets
from services.api import Response
from services.errors import Unavailable
from services.models import Delivery, Ledger, Message
from services.signatures.catalogue import STANDARD_WEBHOOKS
from services.tokens import KEY_NAME, Token, mint
from tests.contracts.vault import Vault, Version, serving
from tests.stack.chaos import HOSTS, PARTS, PATIENCE, Callers, ThirdParty, Town, client, event, kills, town
from tests.unit.conftest import NOW, World, said

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 20)
"""How long parts are killed and jobs started; every deadline is over 25 s later."""
QUIET = 3.0
"""Seconds to listen on for an outcome that should not come."""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Town]:
    with town(tmp_path) as one:
        yield one


def test_a_seed_decides_what_is_killed_and_each_part_is() -> None:
    assert kills(7, 20) == kills(7, 20) != kills(8, 20)
    assert {kill.part for kill in kills(7, 20)} == {"host-a", "host-b", "servicebus", "storage"}


async def test_storage_keeps_what_it_has_answered_when_it_is_killed_at_that_moment(tmp_path: Path) -> None:
    with azurite.start(folder=tmp_path) as storage:
        payloads = payloads_in(storage)
        await payloads.put("a", b"1")
        storage.kill()
    await payloads.close()
    with azurite.start(folder=tmp_path) as storage:
        payloads = payloads_in(storage)
        assert await payloads.get("a") == b"1"
        await payloads.close()


def payloads_in(storage: azurite.Running) -> BlobPayloads:
    container = ContainerClient.from_connection_string(storage.connection_string, "hookbus")
    return BlobPayloads(container, budget=timedelta(seconds=PATIENCE))


@pytest.mark.timeout(SECONDS + 3 * PATIENCE)
async def test_whatever_is_killed_each_accepted_job_has_one_outcome_and_is_done_once(parts: Town) -> None:
    """Each outcome is counted as it comes from the subscription, where the topic has dropped repeated ids.

    Nothing is killed any more when it is read: so none comes twice because its reader was cut off.
    """
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**6))
    plan = kills(seed, SECONDS)
    print(f"seed {seed}, {SECONDS:.0f} s; to repeat its plan: make chaos SEED={seed} SECONDS={SECONDS:.0f}")
    async with client() as http:
        callers, third_party = Callers(town=parts, http=http, seed=seed), ThirdParty(town=parts, http=http)
        await third_party.make_trouble()
        await asyncio.gather(parts.carry_out(plan), callers.work(SECONDS))
        jobs = {job_id: provider for provider, job_id in callers.accepted.values()}
        outcomes = Counter[str]()
        types: dict[str, str] = {}
        with contextlib.suppress(TimeoutError):  # what is missing then is told below
            async with asyncio.timeout(PATIENCE):
                while not jobs.keys() <= types.keys():
                    for message in await parts.read("outcomes"):
                        outcomes[message.message_id or ""] += 1
                        types[str(message.correlation_id)] = event(message)["type"]
                while await parts.names("spool/") or (await third_party.callbacks())[1]:
                    await asyncio.sleep(1)
                while (await parts.ledger()).open:
                    await asyncio.sleep(1)
        await asyncio.sleep(QUIET)
        for message in await parts.read("outcomes"):
            outcomes[message.message_id or ""] += 1
        taken, untaken = await third_party.callbacks()
        published = Counter(
            event(message)["data"]["event_id"]
            for message in await parts.read("everything")
            if message.subject == "callback.received"
        )
        rows = {}
        for job_id in jobs:
            answer = await http.get(f"{parts.url('host-a')}/api/jobs/{job_id}")
            # of a row that is lost, this is the problem's status
            rows[job_id] = f"job.{answer.json()['status']}"
        effects = await third_party.most_effects()
        kept = await parts.names("spool/") + await parts.names("orphans/") + await parts.names("unreadable/")
        dead = await parts.dead_letters()
        ledger = await parts.ledger()
    print(f"{sum(parts.killed.values())} kills {dict(parts.killed)}, answers {dict(callers.heard)}")
    print(f"{len(jobs)} jobs {dict(Counter(jobs.values()))}")
    print(f"{sum(outcomes.values())} outcomes {dict(Counter(types.values()))}")
    print(f"{len(taken)} callbacks taken, {parts.logged('event.spooled')} messages spooled")
    assert set(parts.killed) == set(PARTS)
    assert len(jobs) == len(callers.accepted), "each wish has a job of its own"
    assert outcomes == {f"outcome-{job_id}": 1 for job_id in jobs}
    assert types == rows
    assert ledger == Ledger(accepted=len(jobs), settled=len(jobs), open=0)
    assert "job.succeeded" in types.values()
    assert effects == {"replicate": 1, "stripe": 1, "standard": 1}
    assert published == dict.fromkeys(taken, 1)
    assert (untaken, kept, dead, parts.bugs()) == (set(), [], [], [])


# Secrets rotated under load

SIGNING = "acme-signing-secret"
SIGNING_SECRETS = [
    "whsec_c2VjcmV0LW51bWJlci0wLW9mLWFjbWU=",
    "whsec_c2VjcmV0LW51bWJlci0xLW9mLWFjbWU=",
    "whsec_c2VjcmV0LW51bWJlci0yLW9mLWFjbWU=",
    "whsec_c2VjcmV0LW51bWJlci0zLW9mLWFjbWU=",
]
TOKEN_KEYS = ["0" * 32, "1" * 32, "2" * 32, "3" * 32]
FORGED = "whsec_Zm9yZ2VkLWJ5LXNvbWVib2R5LWVsc2U="
BEAT = timedelta(seconds=0.5)
TOGETHER = 10
"""Deliveries that come at one moment; the next ones come a beat later."""


class AskedVault(MemorySecrets):
    """The real adapter, and how often it was asked."""

    def __init__(self, source: KeyVaultSecrets) -> None:
        super().__init__({})
        self.source = source

    async def fetch(self, name: str) -> tuple[str, ...]:
        self.fetches.append(name)
        return await self.source.fetch(name)


@dataclass(kw_only=True)
class Fleet:
    """Two instances of the service, one bus, one vault that they read by HTTPS, and who sends to them."""

    vault: Vault
    clock: ManualClock
    bus: MemoryBus
    instances: Sequence[World]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def rotate(self, age: int) -> None:
        """Put these versions into the vault, beside the older ones."""
        for name, values in ((SIGNING, SIGNING_SECRETS), (KEY_NAME, TOKEN_KEYS)):
            versions = self.vault.secrets.setdefault(name, {})
            versions[f"v{age}"] = Version(value=values[age], created=self.clock.now())

    async def deliver(self, secret: str, key: str) -> int:
        """Send a callback of a job of its own to one of the instances; returns the answer's status."""
        number = next(self.numbers)
        token = Token(
            provider="acme", job_id=f"job_{number:032}", expires_at=self.clock.now() + timedelta(hours=1)
        )
        answer = await self.instances[number // 5 % 2].deliver(
            {"state": "busy"},
            address=f"https://hooks.example/api/webhooks/acme/{mint(token, key)}",
            event=f"evt_{number}",
            secret=secret,
        )
        return answer.status

    async def load(self, seconds: int, secrets: Sequence[str], keys: Sequence[str]) -> Counter[int]:
        """Send for so long, with these secrets and keys in turn; counts the answers."""
        answers = Counter[int]()
        for _ in range(seconds * 2):
            pairs = itertools.islice(itertools.cycle(itertools.product(secrets, keys)), TOGETHER)
            answers.update(await asyncio.gather(*(self.deliver(*pair) for pair in pairs)))
            self.clock.advance(BEAT)
        return answers

    def asked(self) -> list[Counter[str]]:
        """Count, by instance, how often the vault was asked for what."""
        return [Counter(instance.vault.fetches) for instance in self.instances]


@pytest.fixture
async def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    authority, clock, bus = trustme.CA(), ManualClock(NOW), MemoryBus()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with serving(authority) as vault, contextlib.AsyncExitStack() as stack:
        monkeypatch.setenv("IDENTITY_ENDPOINT", vault.identity_url)
        monkeypatch.setenv("IDENTITY_HEADER", "header-1")
        sources = [await stack.enter_async_context(_reading(vault, clock, tmp_path)) for _ in range(2)]
        instances = [World(clock=clock, bus=bus, vault=AskedVault(source)) for source in sources]
        fleet = Fleet(vault=vault, clock=clock, bus=bus, instances=instances)
        fleet.rotate(0)
        yield fleet


@asynccontextmanager
async def _reading(vault: Vault, clock: ManualClock, folder: Path) -> AsyncIterator[KeyVaultSecrets]:
    # localhost is not below vault.azure.net, which the client checks: https://aka.ms/azsdk/blog/vault-uri
    async with ManagedIdentityCredential() as credential:
        secret_client = SecretClient(
            vault.url,
            credential,
            verify_challenge_resource=False,
            connection_verify=str(folder / "ca.pem"),
        )
        source = KeyVaultSecrets(secret_client, clock, budget=timedelta(seconds=PATIENCE))
        yield source
        await source.close()


async def test_three_rotations_under_load_refuse_nothing_and_cost_one_read_each(fleet: Fleet) -> None:
    answers = await fleet.load(15, SIGNING_SECRETS[:1], TOKEN_KEYS[:1])
    for age in (1, 2, 3):
        fleet.rotate(age)
        old, new = (SIGNING_SECRETS[age - 1], TOKEN_KEYS[age - 1]), (SIGNING_SECRETS[age], TOKEN_KEYS[age])
        answers += await fleet.load(15, old[:1], old[1:])
        answers += await fleet.load(15, [old[0], new[0]], [old[1], new[1]])
        answers += await fleet.load(15, new[:1], new[1:])
        answers += await fleet.load(5, old[:1], old[1:])
    assert answers == {202: 3300}
    assert len(fleet.bus.published) == 3300
    assert fleet.asked() == [{SIGNING: 4, KEY_NAME: 4}] * 2
    assert fleet.vault.paths.count(f"/secrets/{SIGNING}/v3") == 2
    assert fleet.vault.paths.count(f"/secrets/{KEY_NAME}/v3") == 2


async def test_forged_deliveries_under_load_cost_one_read_in_ten_seconds(fleet: Fleet) -> None:
    right, key = SIGNING_SECRETS[0], TOKEN_KEYS[0]
    answers = await fleet.load(60, [right, FORGED], [key, "f" * 32])
    assert answers == {202: 360, 401: 840}
    assert len(fleet.bus.published) == 360
    assert fleet.asked() == [{SIGNING: 6, KEY_NAME: 6}] * 2


async def test_among_forgeries_a_new_secret_counts_ten_seconds_after_it_is_in_the_vault(fleet: Fleet) -> None:
    """A forgery may have used up the read of these ten seconds: till then a sender has to try again."""
    await fleet.load(23, [SIGNING_SECRETS[0], FORGED], TOKEN_KEYS[:1])
    fleet.rotate(1)
    at_first = await fleet.load(10, [SIGNING_SECRETS[1], FORGED], TOKEN_KEYS[:1])
    later = await fleet.load(30, [SIGNING_SECRETS[1], FORGED], TOKEN_KEYS[:1])
    assert at_first[202] > 0
    assert later == {202: 300, 401: 300}


# Service Bus away, storage away, both

AWAY = {"bus": ("servicebus",), "storage": ("storage",), "both": ("servicebus", "storage")}


@dataclass(kw_only=True)
class Sender:
    """A third party's hand on the callbacks of some jobs, which itself does not send."""

    town: Town
    http: httpx.AsyncClient

    async def send(self, host: str, job_id: str) -> httpx.Response:
        """Tell that a job is done; every time with the same id."""
        now = datetime.now(UTC)
        token = Token(provider="standard", job_id=job_id, expires_at=now + timedelta(hours=1))
        key, secret = (
            self.town.stack.settings[name] for name in ("CALLBACK_TOKEN_KEY", "STANDARD_SIGNING_SECRET")
        )
        delivery = Delivery(
            method="POST",
            url=f"{self.town.url(host)}/api/webhooks/standard/{mint(token, key)}",
            headers={"content-type": "application/json", "webhook-id": f"msg_{job_id}"},
            body=b'{"type": "job.completed", "status": "done", "result": {}}',
            received_at=now,
        )
        signed = STANDARD_WEBHOOKS.sign(delivery, secret, now)
        return await self.http.post(signed.url, content=signed.body, headers=dict(signed.headers))

    async def start(self, host: str, key: str, **more: object) -> httpx.Response:
        return await self.http.post(
            f"{self.town.url(host)}/api/jobs/standard",
            json={"input": {"key": key}, **more},
            headers={"idempotency-key": key},
        )


@pytest.mark.timeout(3 * PATIENCE)
@pytest.mark.parametrize(
    ("away", "taken"), [("bus", True), ("storage", True), ("both", False)], ids=["bus", "storage", "both"]
)
async def test_while_parts_are_away_what_is_answered_2xx_is_kept_and_the_rest_comes_again(
    parts: Town, away: str, taken: bool
) -> None:
    async with client() as http:
        sender, third_party = Sender(town=parts, http=http), ThirdParty(town=parts, http=http)
        await third_party.turn(provider="standard", callback={"lost": True})
        begun = await asyncio.gather(*(sender.start(HOSTS[n % 2], f"before-{n}") for n in range(10)))
        jobs = [str(answer.json()["id"]) for answer in begun]
        for part in AWAY[away]:
            await asyncio.to_thread(parts.kill, part)
        callbacks, starts = await asyncio.gather(
            asyncio.gather(*(sender.send(HOSTS[n % 2], job_id) for n, job_id in enumerate(jobs))),
            asyncio.gather(*(sender.start(host, f"during-{host}", deadline_seconds=5) for host in HOSTS)),
        )
        assert {answer.status_code for answer in callbacks} == {200 if taken else 503}
        assert {answer.status_code for answer in starts} == {503}
        refused = [answer for answer in (*callbacks, *starts) if answer.status_code == 503]
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        spooled = await parts.names("spool/") if away == "bus" else []
        assert len(spooled) == (10 if away == "bus" else 0)
        for part in AWAY[away]:
            await parts.restart(part)
        if not taken:
            await _until_taken(sender, jobs)
        late = [(await sender.start(host, f"during-{host}", deadline_seconds=5)) for host in HOSTS]
        assert {answer.status_code for answer in late} == {202}
        jobs += [answer.json()["id"] for answer in late]
        found = await _outcomes(parts, jobs)
        while await parts.names("spool/"):
            await asyncio.sleep(0.5)
        everything = Counter(message.message_id for message in await parts.read("everything"))
        found += Counter(message.message_id or "" for message in await parts.read("outcomes"))
    assert found == {f"outcome-{job_id}": 1 for job_id in jobs}
    assert set(everything.values()) == {1}
    received = {name for name in everything if name and name.startswith("callback-")}
    assert len(received) == 10
    assert {name.partition("-")[2] for name in spooled} <= received


async def _until_taken(sender: Sender, jobs: Sequence[str]) -> None:
    async with asyncio.timeout(PATIENCE):
        for job_id in jobs:
            while (await sender.send("host-a", job_id)).status_code != 200:
                await asyncio.sleep(0.5)


async def _outcomes(parts: Town, jobs: Sequence[str]) -> Counter[str]:
    found = Counter[str]()
    async with asyncio.timeout(PATIENCE):
        while len(found) < len(jobs):
            found.update(message.message_id or "" for message in await parts.read("outcomes"))
    return found


# The same for ten minutes of a clock that is moved


class CountingBus(MemoryBus):
    """Counts what it takes, repeated ids too."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = Counter[str]()

    async def publish(self, message: Message) -> None:
        await super().publish(message)
        self.taken[message.message_id] += 1


@dataclass(kw_only=True)
class Outage:
    """A service in a world whose parts go away, and those who use it meanwhile."""

    world: World
    bus: CountingBus
    addresses: dict[str, str] = field(default_factory=dict)
    untaken: set[str] = field(default_factory=set)
    unbegun: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)
    forwarded: int = 0

    async def begin(self, key: str) -> Response:
        """Start a job, or try to."""
        answer = await self.world.start(idempotency_key=key)
        if answer.status == 202:
            self.jobs.add(said(answer)["id"])
            self.unbegun.discard(key)
            self.addresses[key] = self.world.callback_address()
        else:
            self.unbegun.add(key)
        return answer

    async def call_back(self, key: str) -> Response:
        """Tell that a job is done, or try to."""
        answer = await self.world.deliver(
            {"state": "done", "result": {"words": 1}}, address=self.addresses[key], event=f"evt-{key}"
        )
        if answer.status == 202:
            self.untaken.discard(key)
        else:
            self.untaken.add(key)
        return answer

    async def pass_time(self, seconds: int) -> None:
        """Let time pass: the bus delivers if it is there, and the timer fires at each full minute."""
        world = self.world
        moment = world.clock.now() + timedelta(seconds=seconds)
        if self.bus.available:
            new, self.forwarded = self.bus.published[self.forwarded :], len(self.bus.published)
            for message in new:
                if message.properties["kind"] == "callback":
                    await world.advance(message)
            await world.run_until(moment)
        else:
            world.clock.advance(moment - world.clock.now())
        if moment.second == 0:
            with contextlib.suppress(Unavailable):
                await world.outbox.drain()


@pytest.mark.parametrize(
    ("away", "taken"),
    [(["bus"], True), (["store", "payloads"], True), (["bus", "store", "payloads"], False)],
    ids=["bus", "storage", "both"],
)
async def test_ten_minutes_without_parts_lose_nothing_that_was_answered_2xx(
    away: Sequence[str], taken: bool
) -> None:
    bus = CountingBus()
    world = World(bus=bus)
    outage = Outage(world=world, bus=bus)
    for number in range(60):
        assert (await outage.begin(f"before-{number}")).status == 202
    requests = len(world.sender.requests)
    for part in away:
        getattr(world, part).available = False
    for number in range(60):
        called, begun = await outage.call_back(f"before-{number}"), await outage.begin(f"during-{number}")
        assert (called.status, begun.status) == (202 if taken else 503, 503)
        for answer in (called, begun):
            assert answer.status == 202 or int(answer.headers["Retry-After"]) >= 1
        await outage.pass_time(10)
    assert world.clock.now() == NOW + timedelta(minutes=10)
    assert len(world.sender.requests) == requests, "what was refused was not begun"
    for part in away:
        getattr(world, part).available = True
    spooled = await world.payloads.names("spool/", 100)
    for key in sorted(outage.untaken):
        assert (await outage.call_back(key)).status == 202
    for key in sorted(outage.unbegun):
        assert (await outage.begin(key)).status == 202
    for _ in range(6 * 70):
        await outage.pass_time(10)
    assert len(outage.jobs) == 120
    assert sorted(status for status, _ in world.outcomes()) == ["job.expired"] * 60 + ["job.succeeded"] * 60
    assert {said["job_id"] for _, said in world.outcomes()} == outage.jobs
    assert len(world.events("callback")) == 60
    assert set(bus.taken.values()) == {1}
    assert {name.partition("-")[2] for name in spooled} <= bus.taken.keys()
    assert len(spooled) == (60 if away == ["bus"] else 0)
    assert await world.payloads.names("spool/", 1) == []
