"""What must hold at every step, and what must hold at the end."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from services.models import Job, Message, Status
from tests.simulation.parties import FORGED, PROVIDERS, STATES, Order

if TYPE_CHECKING:
    from tests.simulation.world import World

BOUND = timedelta(minutes=15)
"""How long a job may be open after its deadline, and its outcome unpublished after its end, in calm weather.

A lock ends after at most 5 minutes, a message that is put back comes after at most 5 (BACKOFF_CAP), the spool
is drained each minute, a poll takes at most half a minute, clocks differ by 2 minutes at most.
"""
AUDITED = timedelta(minutes=20)
"""How much longer a job may be open whose tick is a dead letter: the audit's ten minutes, and its turn."""
AT_ONCE = timedelta(0)
NOTICED = timedelta(minutes=30)
"""How long before the deadline a callback that we took must have ended the job: outages and waits."""
APART = timedelta(seconds=150)
"""How far clocks may be apart, and a poll's time with it."""
LINKED = timedelta(seconds=100)
"""How long after a callback its job's external id may become known: less than the looks for it last."""
RANK = {Status.ACCEPTED: 0, Status.AMBIGUOUS: 1, Status.RUNNING: 2}
UNDONE = {"provider_unavailable", "provider_unreachable", "no_access_token", "refused"}
NOTICES = ("progress", "late_result")


class Watch:
    """Sees each write, message and answer as it happens."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.rows: dict[str, Job] = {}
        self.canceled: set[str] = set()
        self.outcomes: dict[str, Message] = {}
        self._keys: dict[str, str] = {}
        self._callbacks: set[tuple[object, ...]] = set()
        self._taken: dict[tuple[object, ...], timedelta] = {}
        self._told: dict[str, timedelta] = {}
        self._named_at: dict[str, timedelta] = {}
        self._on_topic: dict[str, Message] = {}

    def external_id(self, job_id: str) -> str | None:
        return self.rows[job_id].external_id if job_id in self.rows else None

    def left(self, job_id: str) -> float:
        """Say how long it is to a job's deadline, in seconds; 0 if there is no such job."""
        job = self.rows.get(job_id)
        return (job.deadline_at - self.world.at()).total_seconds() if job else 0.0

    def acted(self, part: str, method: str, arguments: tuple[Any, ...]) -> None:
        """Look at what a port has just done."""
        match (part, method):
            case ("store", "create") | ("store", "save"):
                self._saved(arguments[0])
            case ("bus", "publish"):
                self._published(arguments[0])
            case ("bus", "cancel"):
                for job_id in self.rows:
                    self._require_tick(job_id)

    def completed(self, message: Message) -> None:
        """A message has left the queue."""
        self._require_tick(message.correlation_id)

    def promise(self, job_id: str, key: str | None) -> None:
        """A caller was told that this job exists."""
        if job_id not in self.rows:
            self.world.fail(f"{job_id} was told of and is not in the store")
        if key and self._keys.setdefault(key, job_id) != job_id:
            self.world.fail(f"{key} has two jobs")

    def taken(self, order: Order, event: str, state: str) -> None:
        """A third party was told that its delivery is taken."""
        job_id = None if order.provider.name == "keyed" else order.ref
        name = (order.provider.name, event, job_id)
        if name not in self._callbacks and name not in map(self._named, self.world.spooled()):
            self.world.fail(f"{name} was answered 2xx and is neither on the bus nor in the spool")
        self._taken.setdefault(name, timedelta(seconds=self.world.now()))
        if STATES[state].settled:
            self._told.setdefault(order.ref, timedelta(seconds=self.world.now()))

    def minute(self) -> None:
        """Look whether any job is late."""
        for job in self.rows.values():
            end = max(min(job.deadline_at, job.settled_at or job.deadline_at), self.world.storm_ends)
            if not job.published and self.world.at() > end + BOUND + (
                AUDITED if self.world.bus.dead else AT_ONCE
            ):
                self.world.fail(
                    f"{job.id} is still {job.status} and not published {BOUND} after {end:%H:%M:%S}"
                )

    def overdue(self) -> bool:
        """Tell whether some job waits for nothing but an audit."""
        return any(not job.published and not self._has_tick(job) for job in self.rows.values())

    def end(self) -> None:
        """Look at what is left when nothing is scheduled any more."""
        self._require_balance()
        if lost := self._taken.keys() - self._callbacks:
            self.world.fail(f"lost after they were answered 2xx: {sorted(map(str, lost))}")
        for job in self.rows.values():
            if not job.published or job.id not in self.outcomes:
                self.world.fail(f"{job.id} ended without an outcome")
            if job.id in self.canceled and job.status is not Status.CANCELED:
                self.world.fail(f"{job.id} was canceled and is {job.status}")
            self._require_true(job)
        outcomes = [m.message_id for m in self.world.bus.published if m.properties["kind"] == "outcome"]
        if len(outcomes) != len(set(outcomes)):
            self.world.fail(f"an outcome is on the topic twice: {sorted(outcomes)}")
        said = {message.message_id for message in self.world.bus.published}
        dead = {message.message_id.partition("~")[0] for message in self.world.bus.dead}
        for message in self.world.bus.published:
            if message.subject == "callback.received" and message.message_id not in dead:
                self._require_heard(message, said)

    def _saved(self, job: Job) -> None:
        old = self.rows.get(job.id)
        if old and _stage(job) < _stage(old):
            self.world.fail(f"{job.id} went back from {old.status} to {job.status}")
        elif old and old.status.settled and _end(job) != _end(old):
            self.world.fail(f"{job.id} ended anew: {_end(old)}, then {_end(job)}")
        self.rows[job.id] = job
        self._require_balance()
        if job.external_id:
            self._named_at.setdefault(job.id, timedelta(seconds=self.world.now()))
        if job.published and job.id not in self.outcomes:
            spooled = {message.message_id for message in self.world.spooled()}
            if f"outcome-{job.id}" not in spooled:
                self.world.fail(f"{job.id} is noted as published and is not")
        self._require_tick(job.id)

    def _published(self, message: Message) -> None:
        if FORGED.encode() in message.body:
            self.world.fail(f"a forged delivery is on the bus: {message.message_id}")
        first = self._on_topic.setdefault(message.message_id, message)  # the only one that consumers see
        if message.subject == "callback.received":
            self._callbacks.add(self._named(first))
        if message.properties["kind"] != "outcome":
            return
        job = self.rows.get(message.correlation_id)
        if job is None or not job.status.settled:
            self.world.fail(f"an outcome is out before its job is settled: {message.message_id}")
            return
        data = self.world.data(message)
        told = (data["status"], job.result_ref or data["result"], (data["failure"] or {}).get("code"))
        if told != (job.status, job.result_ref or job.result, job.failure and job.failure.code):
            self.world.fail(f"the outcome of {job.id} says {told}, its row {_end(job)}")
        known = self.outcomes.setdefault(job.id, message)
        if (known.message_id, self._said(known)) != (message.message_id, self._said(message)):
            self.world.fail(f"{job.id} has two outcomes: {known.body!r} and {message.body!r}")

    def _said(self, outcome: Message) -> dict[str, Any]:
        return self.world.data(outcome)

    def _named(self, message: Message) -> tuple[object, ...]:
        data = self.world.data(message)
        return message.properties["provider"], data.get("event_id"), data.get("job_id")

    def _require_tick(self, job_id: str) -> None:
        job = self.rows.get(job_id)
        if self.world.bus.dead:
            return  # the audit finds it
        if job and not job.published and not self._has_tick(job):
            self.world.fail(f"no tick {job.tick} waits for {job_id}, which is {job.status}")

    def _has_tick(self, job: Job) -> bool:
        return any(number >= job.tick for number in self.world.bus.ticks(job.id))

    def _require_balance(self) -> None:
        store = self.world.store
        accepted, settled, waiting = store._accepted, store._settled, len(store._due)
        ended = sum(job.published for job in self.rows.values())
        if (accepted, settled, waiting) != (len(self.rows), ended, len(self.rows) - ended):
            self.world.fail(f"the ledger says {accepted} = {settled} + {waiting} of {len(self.rows)}")

    def _require_heard(self, callback: Message, said: set[str]) -> None:
        """A callback has ended its job as it says, or a notice tells what became of it."""
        data = self.world.data(callback)
        status = Status(str(data["status"]))
        owner = self.rows[self.world.vendor.orders[data["external_id"]].ref]
        if f"orphaned-{callback.message_id}" in said:
            at, named_at = self._taken.get(self._named(callback)), self._named_at.get(owner.id)
            if data["job_id"] not in (owner.id, None):
                return
            if data["job_id"] == owner.id or (at and named_at and named_at < at + LINKED):
                self.world.fail(f"{callback.message_id} is called nobody's, and is {owner.id}'s")
            if named_at is None:
                return
        noticed = any(f"{kind}-{callback.message_id}" in said for kind in NOTICES)
        if (
            not noticed
            and status is not Status.UNKNOWN
            and (not status.settled or status is not owner.status)
        ):
            self.world.fail(f"nobody heard {callback.message_id}: {data}")

    def _require_true(self, job: Job) -> None:
        orders = [one for one in self.world.vendor.orders.values() if one.ref == job.id]
        told = {STATES[state] for one in orders for state in one.told}
        code = job.failure.code if job.failure else None
        match job.status:
            case Status.EXPIRED:
                self._require_no_news(job, orders)
                true = job.settled_at is not None and job.settled_at >= job.deadline_at
            case Status.SUCCEEDED:
                result = self.world.data(self.outcomes[job.id])["result"]
                true = Status.SUCCEEDED in told and result == {"text": orders[0].result}
            case Status.CANCELED:
                true = job.id in self.world.cancels or Status.CANCELED in told
            case Status.FAILED if code in UNDONE:
                true = not orders
            case _:
                true = job.status in told
        if not true:
            self.world.fail(f"{job.id} is {job.status} ({code}), which is not so: {told}")

    def _require_no_news(self, job: Job, orders: list[Order]) -> None:
        """An expired job is one whose end nobody told us in time."""
        if self.world.bus.dead:
            return  # it may be a callback, and waits to be replayed
        operation = PROVIDERS[job.provider].operations["work"]
        at, named_at = self._told.get(job.id), self._named_at.get(job.id)
        findable = job.provider != "keyed" or (at and named_at and named_at < at + LINKED)
        if at and findable and self.world.at(at) < job.deadline_at - NOTICED:
            self.world.fail(f"{job.id} expired although its end was told at {at}")
        asked = operation.poll is not None and job.deadline_at > self.world.storm_ends + BOUND
        for order in orders:
            if asked and job.external_id and self.world.at(order.ends) < job.deadline_at - APART:
                self.world.fail(f"{job.id} expired although its provider knew its end since {order.ends}")


def _stage(job: Job) -> int:
    return RANK.get(job.status, 3 + job.published)


def _end(job: Job) -> tuple[object, ...]:
    return job.status.value, job.result, job.result_ref, job.failure, job.settled_at
