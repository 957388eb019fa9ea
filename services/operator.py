"""What an operator can finish by hand: dead letters, kept deliveries, and callbacks that are nobody's.

Each may be done again: a copy or an event has the id that it had the first time, and what is done with is
removed only afterwards.
"""

import json
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import date

from services.advance import MISSED, PUT_OFF
from services.errors import OperatorError, PoisonMessage
from services.jobs import Jobs
from services.kept import DELIVERIES, Kept, kept_names, read_kept
from services.lifecycle import Called, NoticeKind, next_step
from services.messages import ORPHANS, next_copy, read_callback
from services.models import DeadLetter, Message, Status, is_id
from services.ports import Clock, DeadLetters, MessageBus, PayloadStore
from services.receive import ReceiveWebhook

REPLAYS = "replays"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """Which dead letters are meant; what is empty says nothing."""

    reason: str = ""
    subject: str = ""
    contains: str = ""

    def __call__(self, letter: DeadLetter) -> bool:
        message = letter.message
        named = (message.message_id, message.correlation_id, message.body.decode("utf-8", "replace"))
        return (
            (self.reason in letter.reason or self.reason in letter.description)
            and self.subject in ("", message.subject)
            and any(self.contains in text for text in named)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviveDeadLetters:
    """Sends dead letters through `queue` once more; `replayable` are those that came to it, or were to."""

    letters: DeadLetters
    bus: MessageBus
    clock: Clock
    topic: str
    queue: str
    replayable: Sequence[str]

    async def find(self, entity: str, like: Like) -> AsyncGenerator[DeadLetter]:
        """List dead letters and leave them as they are; close what this returns.

        Raises OperatorError for a name that cannot be one of ours, and Unavailable for one that is not there.
        """
        topic, _, subscription = entity.partition("/")
        if entity != self.queue and (topic != self.topic or not subscription or "/" in subscription):
            raise OperatorError(f"{entity} is neither {self.queue} nor {self.topic}/SUBSCRIPTION")
        async with aclosing(self.letters.peek(entity)) as letters:
            async for letter in letters:
                if like(letter):
                    yield letter

    async def replay(self, entity: str, like: Like, most: int, sent: Callable[[DeadLetter], None]) -> int:
        """Send a copy of each to the queue and then remove it; `sent` is told of each.

        Only those that lie there now: what comes back is not sent again. Returns how many were not reached.
        """
        if entity not in self.replayable:
            raise OperatorError(
                f"{entity} is a consumer's own: a copy on the topic would go to all subscriptions, "
                f"so only {' and '.join(self.replayable)} can be replayed"
            )
        count = last = 0
        async with aclosing(self.find(entity, like)) as letters:
            async for letter in letters:
                if count == most:
                    break
                count, last = count + 1, letter.sequence_number

        async def send(letter: DeadLetter) -> None:
            await self._send(letter.message)
            sent(letter)

        def wanted(letter: DeadLetter) -> bool:
            return letter.sequence_number <= last and like(letter)

        return count - await self.letters.take(entity, wanted, send, count) if count else 0

    async def _send(self, message: Message) -> None:
        try:
            await self.bus.schedule(_revived(message), self.clock.now())
        except ValueError:
            raise OperatorError(f"{message.message_id} is too large to be sent again") from None


def _revived(message: Message) -> Message:
    """Make the copy of a dead letter: one and the same however often, and with all its tries before it."""
    copy = next_copy(message, REPLAYS)
    kept = {name: value for name, value in copy.properties.items() if name not in (MISSED, PUT_OFF)}
    return replace(copy, properties=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayDeliveries:
    """Reads kept deliveries again with today's code."""

    receive: ReceiveWebhook

    async def find(
        self, provider: str | None = None, since: date | None = None
    ) -> AsyncGenerator[tuple[str, Kept]]:
        """List kept deliveries by name, the oldest day first."""
        today = self.receive.clock.now()
        oldest = (today - self.receive.keep_for).date()
        for day in range(max(oldest, since or oldest).toordinal(), today.toordinal() + 1):
            async for name in kept_names(self.receive.payloads, date.fromordinal(day)):
                try:
                    kept = await self.load(name)
                except OperatorError:
                    _log.warning("delivery.unreadable", extra={"kept": name})
                    continue
                if provider in (None, kept.provider):
                    yield name, kept

    async def load(self, name: str) -> Kept:
        """Read one; raises OperatorError if there is none of this name."""
        try:
            return read_kept(await _get(self.receive.payloads, DELIVERIES, name))
        except ValueError:
            raise OperatorError(f"{name} is not a kept delivery") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A callback that was nobody's."""

    name: str
    called: Called
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a job made of a callback that was given to it."""

    before: Status
    after: Status
    notices: Sequence[NoticeKind]


@dataclass(frozen=True, slots=True, kw_only=True)
class BindOrphans:
    """Gives a callback that was nobody's to a job."""

    jobs: Jobs

    async def find(self, limit: int) -> AsyncGenerator[Orphan]:
        """List kept orphans."""
        for name in await self.jobs.payloads.names(ORPHANS, limit):
            try:
                yield await self.load(name)
            except OperatorError:
                _log.warning("orphan.unreadable", extra={"kept": name})

    async def load(self, name: str) -> Orphan:
        """Read one; raises OperatorError if there is none of this name."""
        document = await _get(self.jobs.payloads, ORPHANS, name)
        try:
            fields = json.loads(document)
            called = Called(
                provider=str(fields["provider"]),
                callback=read_callback(document),
                message_id=name.rpartition("/")[2].removesuffix(".json"),
            )
            return Orphan(name=name, called=called, reason=str(fields.get("reason", "")))
        except (ValueError, LookupError, TypeError, RecursionError, PoisonMessage):
            raise OperatorError(f"{name} is not a kept callback") from None

    async def bind(self, name: str, job_id: str) -> Bound:
        """Tell a job of a callback as if it had named it, and delete it only then.

        Raises OperatorError that says why it cannot be this job's; nothing has changed then.
        """
        orphan = await self.load(name)
        stored = await self.jobs.store.load(job_id) if is_id(job_id) else None
        if stored is None:
            raise OperatorError(f"there is no job {job_id}")
        before = stored.job
        _, operation = self.jobs.attempt.declared(before)
        step = next_step(before, orphan.called, self.jobs.clock.now(), operation, self.jobs.chance())
        for notice in step.notices:
            if notice.kind is NoticeKind.ORPHANED:
                raise OperatorError(f"{name} is not for {job_id}: {notice.reason}")
        after = await self.jobs.tell(job_id, orphan.called)
        if after is None:
            raise OperatorError(f"there is no job {job_id}")
        await self.jobs.payloads.delete(name)
        kinds = [notice.kind for notice in step.notices]
        return Bound(before=before.status, after=after.status, notices=kinds)


async def _get(payloads: PayloadStore, prefix: str, name: str) -> bytes:
    try:
        data = await payloads.get(name) if name.startswith(prefix) else None
    except ValueError:
        data = None
    if data is None:
        raise OperatorError(f"there is no {name}: give a name as it is listed, {prefix}...")
    return data
