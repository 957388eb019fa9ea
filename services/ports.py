"""What the use cases need from the world. Any method may raise Unavailable; others it names."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from services.models import (
    DeadLetter,
    HttpAnswer,
    HttpRequest,
    Job,
    Ledger,
    Message,
    Pace,
    Stored,
    Version,
)


class JobStore(Protocol):
    """Jobs by id, and ids by what a provider calls them. Every write is durable when it returns."""

    async def create(self, job: Job) -> Version:
        """Insert a job; raises AlreadyExists."""

    async def load(self, job_id: str) -> Stored | None: ...

    async def save(self, job: Job, version: Version) -> Version:
        """Replace a job if its version is still this one; raises VersionConflict (also if it is gone)."""

    async def link(self, provider: str, external_id: str, job_id: str) -> None:
        """Note whose external id this is. The first note stands; repeating it is no error."""

    async def find(self, provider: str, external_id: str) -> str | None:
        """Look up the id of the job that a provider calls this."""

    async def ledger(self) -> Ledger:
        """Count the jobs, without reading one."""

    async def overdue(self, before: datetime, limit: int) -> Sequence[str]:
        """List open jobs that were due before this, at most `limit`; reads no other."""

    async def load_pace(self, provider: str) -> tuple[Pace, Version] | None: ...

    async def save_pace(self, provider: str, pace: Pace, version: Version | None) -> Version:
        """Replace a pace if its version is still this one, None if there was none; raises VersionConflict."""


class MessageBus(Protocol):
    """The topic job-events and the queue job-inbox."""

    async def publish(self, message: Message) -> None:
        """Send to the topic; returns when Service Bus has it. A message that is too large is a ValueError."""

    async def schedule(self, message: Message, at: datetime) -> int:
        """Send to the queue, visible from `at` on; returns the sequence number that cancels it."""

    async def cancel(self, sequence_number: int) -> None:
        """Take a scheduled message back; one that is gone already is no error."""

    async def check(self) -> None:
        """See that the topic and the queue can be reached."""


class DeadLetters(Protocol):
    """The dead-letter queues, of a queue by its name and of a subscription as TOPIC/SUBSCRIPTION."""

    def peek(self, entity: str) -> AsyncGenerator[DeadLetter]:
        """Read them one after the other and leave them as they are; close what this returns."""

    async def take(
        self,
        entity: str,
        wanted: Callable[[DeadLetter], bool],
        use: Callable[[DeadLetter], Awaitable[None]],
        most: int,
    ) -> int:
        """Give what is wanted to `use`, at most so many, and remove each after it; return how many.

        What `use` raises goes through, and its letter stays, as do all that are not wanted. Fewer than there
        are come back if others have locked them, or too many that are not wanted lie before them.
        """


class PayloadStore(Protocol):
    """Bytes by name: what is too large for a message, the spool, raw deliveries.

    A name is 1 to 512 characters of A-Z a-z 0-9 . _ - in parts joined by single slashes, no part
    starting with a dot; anything else is a ValueError.
    """

    async def put(self, name: str, data: bytes) -> str:
        """Write, replacing what was there; returns the address by which a consumer finds it."""

    async def get(self, name: str) -> bytes | None: ...

    async def delete(self, name: str) -> None:
        """Remove; what is gone already is no error."""

    async def names(self, prefix: str, limit: int) -> Sequence[str]:
        """List names that start with a prefix, in order, at most `limit`."""


class SecretSource(Protocol):
    """Secrets by name, as they are now in the vault."""

    async def fetch(self, name: str) -> tuple[str, ...]:
        """Return the versions that are valid now, newest first, at most two; () if there is none."""


class HttpSender(Protocol):
    """The way out to providers: no redirects, bounded answers."""

    async def send(self, request: HttpRequest, *, budget: timedelta) -> HttpAnswer:
        """Send once and return the whole answer within `budget`; raises NotSent or AnswerLost."""


class Clock(Protocol):
    """The time, in UTC, with its zone."""

    def now(self) -> datetime: ...
