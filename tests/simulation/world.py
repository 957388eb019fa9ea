"""A whole deployment in one seeded run: instances that die, ports that fail, third parties, callers."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any, TypeVar

from pydantic import TypeAdapter

from services.access import Credentials
from services.adapters.memory import MemoryJobStore, MemoryPayloads, MemorySecrets
from services.advance import AdvanceJob
from services.api import Api, Request, Response
from services.attempt import Attempt
from services.audit import Audit
from services.errors import AnswerLost, HookbusError, NotSent, Unavailable
from services.jobs import Jobs
from services.keys import Keys
from services.models import HttpAnswer, HttpRequest, Job, Message
from services.outbox import SPOOL, Outbox
from services.pace import Paces
from services.receive import ReceiveWebhook
from services.secrets import Secrets
from services.start import StartJob
from tests.simulation import plans
from tests.simulation.bus import Bus
from tests.simulation.invariants import Watch
from tests.simulation.loop import VirtualLoop
from tests.simulation.parties import PROVIDERS, SECRETS, Vendor, moment

STORM = 2400.0
"""When all faults are over, in seconds."""
MOST_STEPS = 5_000
"""How long a trace gets at most: about four times the longest that a right run was seen to have."""
CALL_BUDGET = 5.0
"""How long a call of a port takes at most, as in services/adapters."""
EXPECTED = {"Unavailable", "OperatorError", "SecretMissing"}
Act = Callable[[], Awaitable[Any]]
T = TypeVar("T")
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


class Violation(AssertionError):
    """Something happened that must not."""


@dataclass(kw_only=True)
class Ended:
    """How a piece of work on an instance ended: done, cut off by death, or not yet."""

    done: bool = False
    died: bool = False
    result: Any = None


@dataclass(kw_only=True)
class Service:
    api: Api
    advance: AdvanceJob
    outbox: Outbox
    audit: Audit


class Node:
    """One instance: its own clock and caches. Once it has died, none of its calls ever returns."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        plan = world.plan
        self._skew = world.random.uniform(-plan.skew, plan.skew)
        self._drift = world.random.uniform(-plan.drift, plan.drift)
        self._open: list[asyncio.Future[Ended]] = []
        self.service = build(world, self)

    def now(self) -> datetime:
        seconds = self.world.now()
        return moment(seconds + self._skew + min(seconds, STORM) * self._drift)

    def run(self, work: Coroutine[Any, Any, Any], patience: float) -> asyncio.Future[Ended]:
        """Begin a piece of work; tell how it ended, or that it has not within `patience` seconds."""
        fate: asyncio.Future[Ended] = self.world.loop.create_future()
        task = self.world.loop.create_task(work)
        self.world.hanging.append(task)

        def tell(_: object) -> None:
            error = task.exception() if self.alive else None
            if error and not isinstance(error, Unavailable):
                self.world.fail(f"{type(error).__name__} escaped: {error}", error)
            if self.alive:
                answer_to(fate, Ended(done=error is None, result=None if error else task.result()))

        task.add_done_callback(tell)
        self.world.later(patience, partial(answer_to, fate, Ended()))
        self._open.append(fate)
        return fate

    def die(self) -> None:
        if self.alive:
            self.alive = False
            self.world.note(self.name, "dies")
            for fate in self._open:
                answer_to(fate, Ended(died=True))
            self.world.died(self)

    async def living(self) -> None:
        """Return if this process lives; never, if it has died."""
        if not self.alive:
            await self.world.loop.create_future()

    async def reach(self, part: str, method: str, real: Act, what: tuple[Any, ...]) -> Any:
        """Make a call of a port: late, cut short, failing before or after it acts, or the last one."""
        await self.living()
        world, act = self.world, partial(self._act, part, method, real, what)
        fate, there, back = world.fate(), world.delay(), world.delay()
        world.note(self.name, f"{part}.{method} {fate}")
        if fate == "dies early":
            self.die()
            if world.random.random() < 0.5:  # the call was on its way
                world.spawn(self._land(act, back))
            await self.living()
        fails = fate == "fails" or world.is_away(part) or (part == "bus" and world.is_away("sends"))
        if fails or there >= CALL_BUDGET:
            if not fails:  # it arrives when nobody waits for it any more
                world.spawn(self._land(act, there))
            await world.sleep(min(there, CALL_BUDGET))
            await self.living()
            raise Unavailable(part)
        await world.sleep(there)
        if world.random.random() < 0.5:  # who died meanwhile may have sent it, or not
            await self.living()
        result = await act()
        if fate == "dies late":
            self.die()
        await world.sleep(min(back, CALL_BUDGET - there))
        await self.living()
        if fate == "answer lost" or there + back > CALL_BUDGET:
            raise Unavailable(part)
        return result

    async def _act(self, part: str, method: str, real: Act, what: tuple[Any, ...]) -> Any:
        result = await real()
        self.world.note(self.name, f"{part}.{method} acted {_brief(what)}")
        self.world.watch.acted(part, method, what)
        return result

    async def _land(self, act: Act, wait: float) -> None:
        await self.world.sleep(wait)
        try:
            await act()
        except HookbusError as error:
            self.world.note(self.name, f"{type(error).__name__}, and nobody hears")


class Port:
    """An adapter over a network: whatever methods it has."""

    def __init__(self, node: Node, part: str, real: object) -> None:
        self._node, self._part, self._real = node, part, real

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        real = getattr(self._real, method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._node.reach(self._part, method, partial(real, *args, **kwargs), args)

        return call


def answer_to(fate: asyncio.Future[T], result: T) -> None:
    """Answer whoever waits; one who has given up, or has heard already, hears nothing."""
    if not fate.done():
        fate.set_result(result)


class Sender:
    """The way to the third parties, who may act on a request whose sender is long gone."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def send(self, request: HttpRequest, *, budget: timedelta) -> HttpAnswer:
        node, world = self._node, self._node.world
        await node.living()
        fate, there, back = world.fate(), world.delay(), world.delay()
        world.note(node.name, f"{request.method} {request.url} {fate}")
        back += world.random.choice((0, 0, 0, 0.5, 2)) if request.method == "POST" else 0
        answered: asyncio.Future[HttpAnswer] = world.loop.create_future()

        def arrive() -> None:
            answer = world.vendor.take(request)
            world.note("vendor", f"{request.method} {request.url}: {answer.status}")
            if fate != "answer lost":
                world.later(back, partial(answer_to, answered, answer))

        if fate == "fails" or budget <= timedelta(0):
            await world.sleep(min(there, 1))
            await node.living()
            raise NotSent
        if fate == "dies early":
            node.die()
        if fate != "dies early" or world.random.random() < 0.5:
            world.later(there, arrive)
        await node.living()
        try:
            async with asyncio.timeout(budget.total_seconds()):
                answer = await answered
        except TimeoutError:
            await node.living()
            raise AnswerLost from None
        if fate == "dies late":
            node.die()
        await node.living()
        return answer


def build(world: "World", node: Node) -> Service:
    """Put the service together as services/bootstrap.py does, on this instance's way to the shared parts."""
    store: Any = Port(node, "store", world.store)
    bus: Any = Port(node, "bus", world.bus)
    payloads: Any = Port(node, "payloads", world.payloads)
    vault: Any = Port(node, "vault", world.vault)
    sender = Sender(node)
    secrets = Secrets(source=vault, clock=node)
    outbox = Outbox(bus=bus, payloads=payloads, clock=node)
    jobs = Jobs(
        store=store,
        bus=bus,
        payloads=payloads,
        outbox=outbox,
        attempt=Attempt(
            providers=PROVIDERS,
            secrets=secrets,
            credentials=Credentials(secrets=secrets, sender=sender, clock=node),
            sender=sender,
            clock=node,
            public_url="https://hooks.example",
        ),
        paces=Paces(store=store, clock=node, chance=world.random.random),
        clock=node,
        chance=world.random.random,
        new_id=lambda: world.random.randbytes(20),
    )
    receive = ReceiveWebhook(
        providers=PROVIDERS,
        secrets=secrets,
        keys=Keys(secrets=secrets, sender=sender, clock=node),
        outbox=outbox,
        payloads=payloads,
        sender=sender,
        clock=node,
        max_bytes=1_000_000,
    )
    api = Api(
        start=StartJob(jobs=jobs),
        receive=receive,
        public_url="https://hooks.example",
        max_request_bytes=100_000,
    )
    return Service(
        api=api,
        advance=AdvanceJob(jobs=jobs, payloads=payloads),
        outbox=outbox,
        audit=Audit(jobs=jobs),
    )


class World:
    """One run: `run` returns when nothing is left to happen, or raises Violation."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.loop = VirtualLoop()
        self.plan = plans.choose(self.random)
        self.trace: list[tuple[float, str, str]] = []
        self.hanging: deque[asyncio.Task[Any]] = deque()
        self.errands: dict[asyncio.Task[None], None] = {}
        self.over: asyncio.Future[None] = self.loop.create_future()
        self.loop.set_exception_handler(lambda _, context: self.fail(str(context), context.get("exception")))
        self.watch = Watch(self)
        self.store = MemoryJobStore()
        self.bus = Bus(self)
        self.payloads = MemoryPayloads()
        self.vault = MemorySecrets(
            {"callback-token-key": ("k" * 32,), "api-key": ("a",), "signing-secret": (SECRETS[0],)}
        )
        self.vendor = Vendor(self)
        self.cancels: set[str] = set()
        began = self.random.uniform(0, STORM - 600)
        self._away = (began, began + 600)
        self._named = 0
        self.nodes: list[Node] = []
        for _ in range(self.random.choice((1, 2, 3))):
            self._start_node()

    def run(self) -> "World":
        watcher = _Log(self)
        logging.getLogger("services").addHandler(watcher)
        asyncio.set_event_loop(None)
        try:
            self.spawn(self._live())
            self.loop.run_until_complete(self.over)
        finally:
            logging.getLogger("services").removeHandler(watcher)
            self.loop.end()
        return self

    def fingerprint(self) -> str:
        return sha256(repr(self.trace).encode()).hexdigest()

    def told(self, last: int) -> str:
        return "\n".join(f"{at:10.3f}  {who:10} {what}" for at, who, what in self.trace[-last:])

    # time and chance

    def now(self) -> float:
        return self.loop.time()

    def at(self, when: float | timedelta | None = None) -> datetime:
        """Say the moment of a time of this run; now, if none is given."""
        if isinstance(when, timedelta):
            return moment(when.total_seconds())
        return moment(self.now() if when is None else when)

    @property
    def storm_ends(self) -> datetime:
        return moment(STORM)

    @property
    def stormy(self) -> bool:
        return self.now() < STORM

    def calm(self) -> bool:
        return not self.stormy or self.plan.slow == 0

    def is_away(self, part: str) -> bool:
        return part in self.plan.away and self._away[0] <= self.now() < self._away[1]

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0))

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        self.loop.call_later(seconds, act)

    def delay(self) -> float:
        if self.stormy and self.random.random() < self.plan.slow:
            return self.random.choice((1, 3, 10, 30))
        return self.random.choice((0.001, 0.004, 0.02, 0.1))

    def fate(self) -> str:
        chance = self.random.random()
        if not self.stormy:
            return ""
        for fate, likely in (
            ("dies early", self.plan.crash / 2),
            ("dies late", self.plan.crash / 2),
            ("fails", self.plan.fail / 2),
            ("answer lost", self.plan.fail / 2),
        ):
            if chance < likely:
                return fate
            chance -= likely
        return ""

    def lost(self) -> bool:
        return self.stormy and self.random.random() < self.plan.lost

    # what happens

    def note(self, who: str, what: str) -> None:
        self.trace.append((self.now(), who, what))
        if len(self.trace) == MOST_STEPS:
            self.fail("this goes on and on")

    def fail(self, what: str, cause: BaseException | None = None) -> None:
        """End the run: what is told is enough to play it again."""
        if not self.over.done():
            violation = Violation(
                f"\n{self.told(60)}\n{self.plan}\nseed {self.seed}: {what}\n"
                f"all of it: make simulate SEED={self.seed}"
            )
            violation.__cause__ = cause
            self.over.set_exception(violation)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.errands[task] = None
        task.add_done_callback(self._came_back)

    def _came_back(self, task: asyncio.Task[None]) -> None:
        del self.errands[task]
        if error := task.exception():
            self.fail(f"{type(error).__name__}: {error}", error)

    def _start_node(self) -> None:
        self._named += 1
        self.nodes.append(Node(self, f"node-{self._named}"))

    def died(self, node: Node) -> None:
        self.nodes.remove(node)
        self.later(self.random.uniform(0.1, 30), self._start_node)

    async def some_node(self, part: str = "") -> Node:
        while not self.nodes or self.is_away(part):
            await self.sleep(1)
        return self.random.choice(self.nodes)

    def spooled(self) -> list[Message]:
        return [
            _MESSAGE.validate_json(data)
            for name, data in self.payloads._data.items()
            if name.startswith(SPOOL)
        ]

    def data(self, message: Message) -> dict[str, Any]:
        """Return an event's data, wherever it lies."""
        event = json.loads(message.body)
        if "dataref" not in event:
            return dict(event["data"])
        return dict(json.loads(self.payloads._data[event["dataref"].removeprefix("memory:///")]))

    async def http(
        self,
        what: str,
        act: Callable[[Service], Coroutine[Any, Any, Response]],
        allowed: tuple[int, ...],
        patience: float,
    ) -> Response | None:
        """Send a request to some instance; None if no answer comes."""
        await self.sleep(self.delay())
        if self.lost() or not self.nodes:
            return None
        node = self.random.choice(self.nodes)
        self.note(node.name, what)
        ended = await node.run(act(node.service), patience)
        answer: Response | None = ended.result
        self.note(node.name, f"{what}: {answer.status if answer else ended}")
        if answer and answer.status not in allowed:
            self.fail(f"{what} was answered {answer.status}")
        await self.sleep(self.delay())
        return None if self.lost() else answer

    # the drivers

    async def _live(self) -> None:
        menu = self.random.sample(list(PROVIDERS), 2)
        for _ in range(self.random.choice((1, 2, 3, 4))):
            self.spawn(self._call(self.random.choice(menu)))
        if self.random.random() < 0.4:
            self.spawn(self._rotate())
        while (
            len(self.errands) > 1
            or self.bus.scheduled
            or self.bus.entries
            or self.spooled()
            or self.watch.overdue()
            or self.stormy
        ):
            await self.sleep(60)
            self.watch.minute()
            if self.nodes and (self.spooled() or self.random.random() < 0.02):
                node = self.random.choice(self.nodes)
                await node.run(node.service.outbox.drain(), 300)
            audits = self.watch.overdue() or self.random.random() < 0.02
            if self.nodes and audits and self.now() % 300 < 60:
                node = self.random.choice(self.nodes)
                await node.run(node.service.audit(), 300)
        self.watch.end()
        if not self.over.done():
            self.over.set_result(None)

    async def _rotate(self) -> None:
        """Give the vault a new signing secret, and the third parties a little later."""
        for number in range(1, self.random.choice((2, 3))):
            await self.sleep(self.random.uniform(60, STORM / 2))
            self.vault.versions["signing-secret"] = (SECRETS[number], SECRETS[number - 1])
            await self.sleep(self.random.choice((15, 60)))  # the vault is asked once in ten seconds
            self.vendor.secret = SECRETS[number]
            self.note("vault", "rotated")

    async def _call(self, name: str) -> None:
        """Be a caller: start a job, insist if nobody answers, and perhaps cancel it."""
        await self.sleep(self.random.choice((0, self.random.uniform(0, STORM * 0.9))))
        body: dict[str, Any] = {"input": {"text": "t"}}
        if self.random.random() < 0.6:
            body["deadline_seconds"] = self.random.choice((2, 40, 600, 3600, 10_000))
        headers = {}
        if key := self.random.random() < 0.7:
            headers["idempotency-key"] = f"key-{self.random.random()}"
        if self.random.random() < 0.3:
            headers["prefer"] = "respond-async"
        request = _request("POST", f"jobs/{name}", json.dumps(body).encode(), headers)
        twins = self.random.choice((1, 1, 1, 2)) if key else 1
        for _ in range(twins - 1):
            self.spawn(self._insist(name, request))
        job_id = await self._start(name, request, self.random.choice((1, 3, 6)) if key else 1)
        if job_id and self.random.random() < 0.5:
            await self.sleep(self.random.choice((0, 0.05, 1, 33, 300, 1500)))
            await self._cancel(job_id)

    async def _insist(self, name: str, request: Request) -> None:
        await self._start(name, request, 3)

    async def _start(self, name: str, request: Request, tries: int) -> str | None:
        for _ in range(tries):
            answer = await self.http(
                f"start {name}",
                lambda service: service.api.start_job(request, name),
                (200, 202, 422, 503),
                60,
            )
            if answer and answer.status != 503:
                said = json.loads(answer.body)
                job_id = str(said.get("id") or said["job_id"])
                self.watch.promise(job_id, request.headers.get("idempotency-key"))
                return job_id
            await self.sleep(self.random.choice((0, 2, 30, 200)))
        return None

    async def _cancel(self, job_id: str) -> None:
        request = _request("DELETE", f"jobs/{job_id}", b"", {})
        for _ in range(self.random.choice((1, 4))):
            self.cancels.add(job_id)
            answer = await self.http(
                f"cancel {job_id[-6:]}",
                lambda service: service.api.cancel_job(request, job_id),
                (202, 409, 503),
                60,
            )
            if answer and answer.status == 202:
                self.watch.canceled.add(job_id)
            if answer and answer.status != 503:
                return
            await self.sleep(self.random.choice((0, 5, 60)))


class _Log(logging.Handler):
    """Finds in the log what the use cases caught and must never meet: bugs of ours."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        event, error = record.getMessage(), getattr(record, "error", "")
        self._world.note("log", f"{event} {error}")
        bug = event in (
            "request.failed",
            "request.not_set_up",
            "delivery.not_read",
            "poll.broken",
            "inbox.poison",
        )
        if bug or (event == "inbox.put_back" and error not in EXPECTED):
            self._world.fail(f"{event}: {error} {getattr(record, 'stack', '')}{getattr(record, 'said', '')}")


def _request(method: str, path: str, body: bytes, headers: dict[str, str]) -> Request:
    headers = {"content-length": str(len(body)), **headers}
    return Request(method=method, url=f"https://hooks.example/api/{path}", headers=headers, body=body)


def _brief(what: tuple[Any, ...]) -> str:
    """Say what a call was about, for the trace."""
    match what[:1]:
        case (Job() as job,):
            return f"{job.id[-6:]} {job.status} tick {job.tick}{' published' if job.published else ''}"
        case (Message() as message,):
            return message.message_id
    return str(what[0])[:60] if what else ""
