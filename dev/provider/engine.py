"""Jobs that work for a while and callbacks that are sent until they are taken: what every vendor has."""

import asyncio
import json
import random
import string
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web

from dev.provider.knobs import Knobs, Rules
from services.models import Delivery
from services.signatures.scheme import Scheme

Document = dict[str, Any]
FORGED_SECRET = "whsec_Zm9yZ2VkLWJ5LXRoZS1mYWtlLXByb3ZpZGVy"
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 2.0
"""Seconds between attempts of a callback: doubled from the first to the longest."""
EARLY_PATIENCE = 5.0
"""Seconds that a start's answer waits for the callback that shall come before it."""


class Refusal(Exception):
    """A request that the vendor refuses, in the vendor's words."""

    def __init__(self, status: int, body: Document, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One callback. A repeated attempt has the same id and bytes; `retried` says whether there is any."""

    id: str
    type: str
    document: Document
    last: bool = True
    retried: bool = True


@dataclass(slots=True, kw_only=True)
class Job:
    """A job at a vendor; `document` is the vendor's own object, `address` where its callbacks go."""

    id: str
    knobs: Knobs
    chance: random.Random
    address: str | None
    document: Document = field(default_factory=dict)
    settled: bool = False
    callbacks: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)

    def letters(self, count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
        """Make up a part of an id."""
        return "".join(self.chance.choices(alphabet, k=count))


@dataclass(slots=True, kw_only=True)
class Vendor:
    """One vendor's account with us, and what has happened in it.

    `error` words a refusal that a knob asks for. `effects` counts what was really done (money moved, a
    model run) by the caller's idempotency key or, without one, by the callback's address.
    """

    name: str
    error: Callable[[int], Document]
    api_key: str = ""
    scheme: Scheme | None = None
    secret: str = ""
    rules: Rules = field(default_factory=Rules)
    jobs: dict[str, Job] = field(default_factory=dict)
    starts: int = 0
    effects: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    sent: list[Document] = field(default_factory=list)
    lost: list[Document] = field(default_factory=list)

    def admit(self, request: web.Request) -> bool:
        """Tell whether a request has our Bearer key, and count it."""
        right = request.headers.get("Authorization") == f"Bearer {self.api_key}"
        self.keys["right" if right else "wrong"] += 1
        return right

    def state(self) -> Document:
        return {
            "starts": self.starts,
            "jobs": {job.id: job.document for job in self.jobs.values()},
            "effects": dict(self.effects),
            "keys": {"right": self.keys["right"], "wrong": self.keys["wrong"]},
            "callbacks": self.sent,
            "lost": self.lost,
        }

    def reset(self) -> None:
        self.rules = Rules()
        self.starts = 0
        for record in (self.jobs, self.effects, self.keys, self.sent, self.lost):
            record.clear()


class Engine:
    """Runs jobs and sends their callbacks; what chance decides follows from the seed and the job's number.

    `retry_for` is in seconds: vendors repeat a callback for hours or days, here that would help nobody.
    """

    def __init__(self, *, seed: int | str, retry_for: float) -> None:
        self.seed = seed
        self._retry_for = retry_for
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=10), connector=aiohttp.TCPConnector(limit=0)
        )

    async def close(self) -> None:
        await self.forget()
        if self._session:
            await self._session.close()

    async def forget(self) -> None:
        """Drop all work and every callback that is still on its way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def make_job(
        self, vendor: Vendor, knobs: Knobs, address: str | None, new_id: Callable[[Job], str]
    ) -> Job:
        """Make a job and give it the vendor's kind of id."""
        chance = random.Random(f"{self.seed}:{vendor.name}:{len(vendor.jobs)}")
        job = Job(id="", knobs=knobs, chance=chance, address=address)
        job.id = new_id(job)
        vendor.jobs[job.id] = job
        return job

    async def take(
        self,
        vendor: Vendor,
        request: web.Request,
        asked: str,
        act: Callable[[Knobs], tuple[web.Response, Job | None]],
    ) -> web.StreamResponse:
        """Answer a valid start as the knobs say; `act` makes the job and the answer, or replays them."""
        vendor.starts += 1
        knobs = vendor.rules.draw(asked)
        if knobs.troubled and knobs.cut != "after":
            return await _trouble(vendor, knobs, request)
        answer, job = act(knobs)
        if knobs.troubled:
            return await _trouble(vendor, knobs, request)
        if job and knobs.callback.early:
            await asyncio.wait({asyncio.create_task(job.called.wait())}, timeout=EARLY_PATIENCE)
        await asyncio.sleep(knobs.delay)
        return answer

    def work(
        self, vendor: Vendor, job: Job, begin: Callable[[], News | None], end: Callable[[], News | None]
    ) -> None:
        """Let a job work: tell what `begin` says now, and what `end` says when it is over.

        `end` is not asked if the job was settled meanwhile.
        """
        self._spawn(self._work(vendor, job, begin, end))

    def tell(self, vendor: Vendor, job: Job, news: News) -> None:
        """Send a callback, in its own time."""
        self._spawn(self._tell(vendor, job, news))

    async def _work(
        self, vendor: Vendor, job: Job, begin: Callable[[], News | None], end: Callable[[], News | None]
    ) -> None:
        first = begin()
        if first and not job.knobs.callback.reorder:
            self.tell(vendor, job, first)
        await asyncio.sleep(job.knobs.latency + job.chance.uniform(0, job.knobs.latency_jitter))
        if not job.settled and (last := end()):
            job.settled = True
            await self._tell(vendor, job, last)
        if first and job.knobs.callback.reorder:
            await self._tell(vendor, job, first)

    async def _tell(self, vendor: Vendor, job: Job, news: News) -> None:
        knobs = job.knobs.callback
        if job.address is None:
            job.called.set()
            return
        job.callbacks += 1
        if knobs.loses(job.callbacks, job.chance):
            vendor.lost.append({"job": job.id, "id": news.id, "type": news.type})
            job.called.set()
            return
        await asyncio.sleep(knobs.delay)
        body = json.dumps(news.document, separators=(",", ":")).encode()
        for _ in range(1 + knobs.repeat):
            await self._send_until_taken(vendor, job, news, body)

    async def _send_until_taken(self, vendor: Vendor, job: Job, news: News, body: bytes) -> None:
        pause, attempt, waited = FIRST_PAUSE, 1, 0.0
        while True:
            answer = await self._send(vendor, job, news, body)
            record = {"job": job.id, "id": news.id, "type": news.type, "attempt": attempt, "answer": answer}
            vendor.sent.append(record | {"at": datetime.now(UTC).timestamp()})
            if news.last:
                job.called.set()
            taken = answer is not None and 200 <= answer < 300
            if taken or not news.retried or waited + pause > self._retry_for:
                return
            await asyncio.sleep(pause)
            pause, attempt, waited = min(pause * 2, LONGEST_PAUSE), attempt + 1, waited + pause

    async def _send(self, vendor: Vendor, job: Job, news: News, body: bytes) -> int | None:
        assert self._session is not None, "open() comes first"
        assert vendor.scheme is not None, "only who signs calls back"
        assert job.address is not None, "only who has an address is called back"
        now = datetime.now(UTC)
        headers = {"content-type": "application/json", "webhook-id": news.id}
        delivery = Delivery(method="POST", url=job.address, headers=headers, body=body, received_at=now)
        secret = FORGED_SECRET if job.knobs.callback.forge else vendor.secret
        signed = vendor.scheme.sign(delivery, secret, now)
        try:
            async with self._session.post(
                signed.url, data=signed.body, headers=signed.headers, allow_redirects=False
            ) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _trouble(vendor: Vendor, knobs: Knobs, request: web.Request) -> web.StreamResponse:
    if knobs.hang:
        await asyncio.Event().wait()  # ends when the client goes away: the handler is cancelled then
    if knobs.status is not None:
        headers = {"Retry-After": str(knobs.retry_after)} if knobs.retry_after is not None else None
        return web.json_response(vendor.error(knobs.status), status=knobs.status, headers=headers)
    if request.transport:
        request.transport.abort()
    return web.Response()
