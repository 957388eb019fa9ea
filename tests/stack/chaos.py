"""The service as processes that are killed by a plan, a third party that lies, and callers who persist.

Two hosts compete for one queue; jobs are in Azure Tables and payloads in blobs, both in Azurite. The app is
as it is deployed, but for its timer, which drains the spool every few seconds: so that drains meet kills.
"""

import asyncio
import contextlib
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from azure.data.tables.aio import TableClient
from azure.servicebus import ServiceBusReceivedMessage, ServiceBusReceiveMode, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient
from azure.storage.blob.aio import ContainerClient

from dev import azurite
from dev.process import ROOT, NotStarted, Running, start
from dev.stack import Ports, Stack, running
from services.adapters.tables import TablesJobStore
from services.bootstrap import JOBS_TABLE
from services.models import Ledger

EVERY_MINUTE, OFTEN = '"0 * * * * *"', '"*/5 * * * * *"'
HOSTS = ("host-a", "host-b")
PARTS = (*HOSTS, "servicebus", "storage")
SETTINGS = ROOT / "local.settings.json.example"
WORKERS = 16
PATIENCE = 240.0
"""Seconds for what has no other bound: the machine may be busy."""
LAST_DEADLINE = 25
"""Seconds after which, when the load has ended, every deadline is over."""
TROUBLES: Mapping[str, Mapping[str, Any]] = {
    "trouble-none": {},
    "trouble-lost": {"callback": {"lost": True}},
    "trouble-repeated": {"callback": {"repeat": 2}},
    "trouble-late": {"callback": {"delay": 4}},
    "trouble-early": {"callback": {"early": True}},
    "trouble-unheard": {"callback": {"early": True, "lost": True}},
    "trouble-cutafter": {"cut": "after"},
    "trouble-cutbefore": {"cut": "before", "times": 10},
    "trouble-busy": {"status": 503, "times": 10},
    "trouble-hanging": {"hang": True, "times": 5},
}
"""What the third party does to the jobs whose input has the word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """kill -9 of a part, `at` seconds from the beginning, and `away` seconds until it is started again."""

    at: float
    part: str
    away: float


def kills(seed: int, seconds: float) -> Sequence[Kill]:
    """Plan what is killed within this time: each part once at least, then any."""
    chance = random.Random(f"{seed}:kills")
    first = chance.sample(PARTS, len(PARTS))
    parts = itertools.chain(first, iter(lambda: chance.choice(PARTS), ""))
    pace = min(5.0, seconds / len(PARTS))
    moments = itertools.accumulate(chance.uniform(0.1, pace) for _ in itertools.count())
    return [
        Kill(at=at, part=part, away=chance.uniform(0.1, 3))
        for at, part in zip(itertools.takewhile(lambda at: at < seconds, moments), parts, strict=False)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A job as its caller wants it; `mark` stands in its input."""

    mark: str
    provider: str
    body: Mapping[str, Any]


def wish(seed: int, number: int, longest: float) -> Wish:
    """Make up a job: where, with which trouble, until when, in seconds."""
    chance = random.Random(f"{seed}:job:{number}")
    mark = f"job-{number}-{chance.choice(list(TROUBLES))}"
    provider, given = chance.choice(
        [
            ("replicate", {"model": "meta/llama", "input": {"prompt": mark}}),
            (
                "stripe",
                {
                    "amount": 1999,
                    "currency": "usd",
                    "payment_method": "pm_usBankAccount_success",
                    "description": mark,
                },
            ),
            ("standard", {"mark": mark}),
        ]
    )
    body = {"input": given, "deadline_seconds": int(chance.uniform(8, longest)), "metadata": {"mark": mark}}
    return Wish(mark=mark, provider=provider, body=body)


@dataclass(kw_only=True)
class Town:
    """All parts, and what can be done to them and asked of them."""

    stack: Stack
    folder: Path
    app: Path
    ports: Mapping[str, int]
    storage: azurite.Running
    hosts: dict[str, Running] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)

    def url(self, host: str) -> str:
        return f"http://127.0.0.1:{self.ports[host]}"

    def kill(self, part: str) -> None:
        if part == "servicebus":
            self.stack.running[part].kill()
        elif part == "storage":
            self.storage.kill()
        else:
            self.hosts[part].kill()
        self.killed[part] += 1

    def start(self, part: str) -> None:
        """Start a part on the ports and the files that it had; raises NotStarted."""
        if part == "servicebus":
            self.stack.start(part)
        elif part == "storage":
            self.storage = azurite.start(
                blob_port=self.storage.blob_port, table_port=self.storage.table_port, folder=self.folder
            )
        else:
            own = {"PUBLIC_URL": self.url(part)}
            self.hosts[part] = start(
                "dev.host",
                ["--app", str(self.app), "--settings", str(SETTINGS), "--port", str(self.ports[part])],
                log=self.log(part),
                environment=self.stack.settings | own,
                patience=PATIENCE,
            )

    async def restart(self, part: str) -> None:
        """Start a part that was killed, and again if somebody was faster on its port."""
        last = asyncio.get_running_loop().time() + PATIENCE
        while True:
            try:
                return await asyncio.to_thread(self.start, part)
            except (NotStarted, azurite.NotStarted):
                if asyncio.get_running_loop().time() > last:
                    raise
                await asyncio.sleep(1)

    async def carry_out(self, plan: Sequence[Kill]) -> None:
        """Kill by the plan, and return when all is up again; what is away already is left alone."""
        away: set[str] = set()
        begin = asyncio.get_running_loop().time()

        async def one(kill: Kill) -> None:
            await asyncio.to_thread(self.kill, kill.part)
            await asyncio.sleep(kill.away)
            await self.restart(kill.part)
            away.remove(kill.part)

        async with asyncio.TaskGroup() as group:
            for kill in plan:
                await asyncio.sleep(begin + kill.at - asyncio.get_running_loop().time())
                if kill.part not in away:
                    away.add(kill.part)
                    group.create_task(one(kill))

    def log(self, part: str) -> Path:
        return self.stack.log(part)

    def logged(self, event: str) -> int:
        """Count a log event of the hosts."""
        return sum(self.log(host).read_text("utf-8").count(f": {event}") for host in HOSTS)

    def bugs(self) -> list[str]:
        """List what the hosts logged as errors of our own, and not of parts that were away."""
        words = (": request.failed", ": inbox.poison", ": delivery.not_read")
        lines = [line for host in HOSTS for line in self.log(host).read_text("utf-8").splitlines()]
        put_back = [line for line in lines if ": inbox.put_back" in line]
        return [line for line in lines if any(word in line for word in words)] + [
            line for line in put_back if "error=Unavailable" not in line
        ]

    async def ledger(self) -> Ledger:
        """Count the jobs as an audit does."""
        table = TableClient.from_connection_string(self.storage.connection_string, JOBS_TABLE)
        async with table:
            return await TablesJobStore(table).ledger()

    async def names(self, prefix: str) -> list[str]:
        """List payloads."""
        async with ContainerClient.from_connection_string(self.storage.connection_string, "hookbus") as one:
            if not await one.exists():
                return []
            return [name async for name in one.list_blob_names(name_starts_with=prefix)]

    async def read(self, subscription: str) -> list[ServiceBusReceivedMessage]:
        """Take all that a subscription has, until nothing has come for 5 s."""
        async with (
            ServiceBusClient.from_connection_string(self.stack.connection) as client,
            client.get_subscription_receiver(
                "job-events", subscription, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE
            ) as receiver,
        ):
            found: list[ServiceBusReceivedMessage] = []
            while some := await receiver.receive_messages(max_message_count=200, max_wait_time=5):
                found += some
            return found

    async def dead_letters(self) -> list[str]:
        """Tell what lies in the dead-letter queues, with the reasons."""
        dead = ServiceBusSubQueue.DEAD_LETTER
        async with ServiceBusClient.from_connection_string(self.stack.connection) as client:
            receivers = [client.get_queue_receiver("job-inbox", sub_queue=dead)]
            receivers += [
                client.get_subscription_receiver("job-events", name, sub_queue=dead)
                for name in ("inbox", "outcomes", "everything")
            ]
            found = []
            for receiver in receivers:
                async with receiver:
                    for message in await receiver.peek_messages(100):
                        reason = f"{message.dead_letter_reason}: {message.dead_letter_error_description}"
                        found.append(f"{receiver.entity_path} {message.message_id} {reason}")
            return found


@contextlib.contextmanager
def town(directory: Path) -> Iterator[Town]:
    """Run everything, with its files in `directory`."""
    app = directory / "app"
    app.mkdir()
    text = (ROOT / "function_app.py").read_text("utf-8")
    assert text.count(EVERY_MINUTE) == 1, "the one timer"
    (app / "function_app.py").write_text(text.replace(EVERY_MINUTE, OFTEN), "utf-8")
    (app / "host.json").write_bytes((ROOT / "host.json").read_bytes())
    folder = directory / "azurite"
    folder.mkdir()
    ports, other = Ports.free(), Ports.free()
    with (
        azurite.start(folder=folder) as storage,
        running(directory, ports, SETTINGS, parts=("servicebus", "provider")) as stack,
    ):
        stack.settings |= {
            "JOB_STORE": storage.connection_string,
            "PAYLOAD_STORE": storage.connection_string,
        }
        one = Town(
            stack=stack,
            folder=folder,
            app=app / "function_app.py",
            ports=dict(zip(HOSTS, (ports.functions, other.functions), strict=True)),
            storage=storage,
        )
        try:
            for name in HOSTS:
                one.start(name)
            yield one
        finally:
            for host in one.hosts.values():
                host.kill()
            one.storage.kill()


@dataclass(kw_only=True)
class Callers:
    """Who starts jobs: each repeats its start, with its key, at either host, until it hears of a job."""

    town: Town
    http: httpx.AsyncClient
    seed: int
    accepted: dict[str, tuple[str, str]] = field(default_factory=dict)
    heard: Counter[str] = field(default_factory=Counter)
    until: float = 0.0

    async def work(self, seconds: float) -> None:
        """Start jobs for so long, and return when each that was begun is accepted."""
        self.until = asyncio.get_running_loop().time() + seconds
        numbers = itertools.count()

        async def caller() -> None:
            while asyncio.get_running_loop().time() < self.until:
                await self.have(next(numbers))

        async with asyncio.timeout(seconds + PATIENCE), asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(caller())

    async def have(self, number: int) -> None:
        """Have one job; some callers ask again for what they have, and must hear of the same job."""
        longest = self.until - asyncio.get_running_loop().time() + LAST_DEADLINE
        wanted, chance = wish(self.seed, number, longest), random.Random(f"{self.seed}:caller:{number}")
        job_id = await self._insist(wanted, chance)
        self.accepted[wanted.mark] = (wanted.provider, job_id)
        if chance.random() < 0.2:
            assert await self._insist(wanted, chance) == job_id
        await asyncio.sleep(chance.uniform(0, 0.3))

    async def _insist(self, wanted: Wish, chance: random.Random) -> str:
        while True:
            url = f"{self.town.url(chance.choice(HOSTS))}/api/jobs/{wanted.provider}"
            headers = {"idempotency-key": f"{self.seed}-{wanted.mark}"}
            if chance.random() < 0.2:
                headers["prefer"] = "respond-async"
            try:
                answer = await self.http.post(
                    url, json=wanted.body, headers=headers, timeout=chance.choice((0.5, 15, 15))
                )
            except httpx.TransportError:
                self.heard["nothing"] += 1
            else:
                self.heard[str(answer.status_code)] += 1
                if answer.status_code in (200, 202):
                    return str(answer.json()["id"])
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["retry-after"]) >= 1
            await asyncio.sleep(chance.uniform(0.05, 0.5))


@dataclass(kw_only=True)
class ThirdParty:
    """The fake third party's control."""

    town: Town
    http: httpx.AsyncClient

    async def turn(self, **knobs: Any) -> None:
        answer = await self.http.post(f"{self.town.stack.provider_url}/_control", json=knobs)
        answer.raise_for_status()

    async def make_trouble(self) -> None:
        """Set what goes wrong with which jobs."""
        for provider in ("replicate", "stripe", "standard"):
            await self.turn(provider=provider, latency=0.5, latency_jitter=2)
            for word, knobs in TROUBLES.items():
                await self.turn(provider=provider, match=word, **knobs)

    async def state(self) -> Mapping[str, Any]:
        answer = await self.http.get(f"{self.town.stack.provider_url}/_control/state")
        found: Mapping[str, Any] = answer.raise_for_status().json()["providers"]
        return found

    async def most_effects(self) -> Mapping[str, int]:
        """Tell how often the same thing was done at most, by provider."""
        state = await self.state()
        runs = Counter(job["input"]["prompt"] for job in state["replicate"]["jobs"].values())
        return {
            "replicate": max(runs.values(), default=0),
            "stripe": max(state["stripe"]["effects"].values(), default=0),
            "standard": max(state["standard"]["effects"].values(), default=0),
        }

    async def callbacks(self) -> tuple[set[str], set[str]]:
        """Tell which callbacks were taken (answered 2xx), and which not yet."""
        state = await self.state()
        sent = [one for provider in state.values() for one in provider["callbacks"]]
        taken = {one["id"] for one in sent if str(one["answer"]).startswith("2")}
        return taken, {one["id"] for one in sent} - taken


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=300, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=60, limits=limits) as http:
        yield http


def event(message: ServiceBusReceivedMessage) -> Mapping[str, Any]:
    """Read a message's body."""
    found: Mapping[str, Any] = json.loads(str(message))
    return found
