"""Every port in memory: real implementations for unit tests and the simulator, gone with the process.

They pass the contract suites that the real ones pass. Setting `available` to False makes one raise
Unavailable, as the real thing does when it is away.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from services.adapters.payload_names import require_payload_name
from services.errors import AlreadyExists, Unavailable, VersionConflict
from services.models import (
    HttpAnswer,
    HttpRequest,
    Job,
    Ledger,
    Message,
    Pace,
    Stored,
    Version,
    job_from_json,
    job_to_json,
)

# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas (Standard tier)
MAX_MESSAGE_BYTES = 256 * 1024


class _Part:
    """Something that can be away."""

    available = True

    def _reach(self) -> None:
        if not self.available:
            raise Unavailable(f"{type(self).__name__} is away")


class MemoryJobStore(_Part):
    """Jobs as the JSON documents that real stores keep."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[bytes, Version]] = {}
        self._links: dict[tuple[str, str], str] = {}
        self._due: dict[str, datetime] = {}
        self._accepted = self._settled = 0
        self._paces: dict[str, tuple[Pace, Version]] = {}
        self._writes = 0

    async def create(self, job: Job) -> Version:
        self._reach()
        if job.id in self._rows:
            raise AlreadyExists(job.id)
        self._accepted += 1
        self._settled += job.due_at is None
        return self._write(job)

    async def load(self, job_id: str) -> Stored | None:
        self._reach()
        row = self._rows.get(job_id)
        return None if row is None else Stored(job=job_from_json(row[0]), version=row[1])

    async def save(self, job: Job, version: Version) -> Version:
        self._reach()
        row = self._rows.get(job.id)
        if row is None or row[1] != version:
            raise VersionConflict(job.id)
        self._settled += job.due_at is None and job.id in self._due
        return self._write(job)

    async def link(self, provider: str, external_id: str, job_id: str) -> None:
        self._reach()
        self._links.setdefault((provider, external_id), job_id)

    async def find(self, provider: str, external_id: str) -> str | None:
        self._reach()
        return self._links.get((provider, external_id))

    async def ledger(self) -> Ledger:
        self._reach()
        return Ledger(accepted=self._accepted, settled=self._settled, open=len(self._due))

    async def overdue(self, before: datetime, limit: int) -> Sequence[str]:
        self._reach()
        return [job_id for job_id, due_at in self._due.items() if due_at < before][:limit]

    async def load_pace(self, provider: str) -> tuple[Pace, Version] | None:
        self._reach()
        return self._paces.get(provider)

    async def save_pace(self, provider: str, pace: Pace, version: Version | None) -> Version:
        self._reach()
        known = self._paces.get(provider)
        if version != (known[1] if known else None):
            raise VersionConflict(provider)
        self._paces[provider] = (pace, self._next_version())
        return self._paces[provider][1]

    def _write(self, job: Job) -> Version:
        version = self._next_version()
        self._rows[job.id] = (job_to_json(job), version)
        if job.due_at is None:
            self._due.pop(job.id, None)
        else:
            self._due[job.id] = job.due_at
        return version

    def _next_version(self) -> Version:
        self._writes += 1
        return Version(str(self._writes))


class MemoryBus(_Part):
    """A topic and a queue with duplicate detection: of equal message ids the first one wins, for ever.

    A message counts as sent before even if it was taken or cancelled since, as on Service Bus.
    """

    def __init__(self) -> None:
        self.published: list[Message] = []
        self.scheduled: dict[int, tuple[datetime, Message]] = {}
        self._seen_by_topic: set[str] = set()
        self._seen_by_queue: set[str] = set()
        self._last_sequence_number = 0

    async def publish(self, message: Message) -> None:
        self._reach()
        _require_fits(message)
        if message.message_id not in self._seen_by_topic:
            self._seen_by_topic.add(message.message_id)
            self.published.append(message)

    async def schedule(self, message: Message, at: datetime) -> int:
        self._reach()
        _require_fits(message)
        self._last_sequence_number += 1
        if message.message_id not in self._seen_by_queue:
            self._seen_by_queue.add(message.message_id)
            self.scheduled[self._last_sequence_number] = (at, message)
        return self._last_sequence_number

    async def cancel(self, sequence_number: int) -> None:
        self._reach()
        self.scheduled.pop(sequence_number, None)

    async def check(self) -> None:
        self._reach()

    def take_due(self, now: datetime) -> list[Message]:
        """Take off the queue what is visible by `now`, earliest first."""
        due = sorted((at, number) for number, (at, _) in self.scheduled.items() if at <= now)
        return [self.scheduled.pop(number)[1] for _, number in due]


def _require_fits(message: Message) -> None:
    texts = [message.message_id, message.subject, message.session_id, message.correlation_id]
    texts += [text for name, value in message.properties.items() for text in (name, str(value))]
    if len(message.body) + sum(len(text.encode()) for text in texts) > MAX_MESSAGE_BYTES:
        raise ValueError("the message is larger than Service Bus takes: put the result in the payload store")


class MemoryPayloads(_Part):
    """Bytes by name."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    async def put(self, name: str, data: bytes) -> str:
        self._reach()
        require_payload_name(name)
        self._data[name] = bytes(data)
        return f"memory:///{name}"

    async def get(self, name: str) -> bytes | None:
        self._reach()
        require_payload_name(name)
        return self._data.get(name)

    async def delete(self, name: str) -> None:
        self._reach()
        require_payload_name(name)
        self._data.pop(name, None)

    async def names(self, prefix: str, limit: int) -> Sequence[str]:
        self._reach()
        return sorted(name for name in self._data if name.startswith(prefix))[:limit]


class MemorySecrets(_Part):
    """Secrets in a mapping from name to versions, newest first; change `versions` to rotate."""

    def __init__(self, versions: Mapping[str, tuple[str, ...]]) -> None:
        self.versions = dict(versions)
        self.fetches: list[str] = []

    async def fetch(self, name: str) -> tuple[str, ...]:
        self.fetches.append(name)
        self._reach()
        return tuple(value for value in self.versions.get(name, ()) if value)[:2]


Answer = HttpAnswer | Exception


class MemorySender:
    """Provider answers from a script: one for each request, or what a function says.

    An exception is raised instead of answered. A script that has ended is a LookupError.
    """

    def __init__(self, script: Iterable[Answer] | Callable[[HttpRequest], Answer]) -> None:
        self.requests: list[HttpRequest] = []
        self._answer = script if callable(script) else self._play(list(script))

    async def send(self, request: HttpRequest, *, budget: timedelta) -> HttpAnswer:  # noqa: ARG002 the port's signature; a script needs no time
        self.requests.append(request)
        answer = self._answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @staticmethod
    def _play(answers: list[Answer]) -> Callable[[HttpRequest], Answer]:
        remaining = iter(answers)

        def next_answer(_: HttpRequest) -> Answer:
            for answer in remaining:
                return answer
            raise LookupError("the script has no more answers")

        return next_answer


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now: datetime) -> None:
        if now.tzinfo is None:
            raise ValueError("a clock's time has a zone")
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now += by
