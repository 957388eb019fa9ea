"""Carries out what `lifecycle.next_step` decides, so that a crash between any two lines loses nothing.

    schedule the next tick ─► save the row (compare and set) ─► publish ─► note it ─► cancel the old tick

The tick that waits is only cancelled when the outcome is out; until then, whoever dies is followed by a
redelivered message or by that tick, and every line may run twice.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from services.attempt import Attempt
from services.errors import Unavailable, VersionConflict
from services.lifecycle import (
    Answered,
    Call,
    Called,
    Happened,
    Held,
    Lost,
    Notice,
    NoticeKind,
    Polled,
    PutOff,
    Refused,
    Step,
    Ticked,
    next_step,
)
from services.messages import (
    MAX_DATA_BYTES,
    data_name,
    event_data,
    event_message,
    notice_event,
    orphan_name,
    orphans_prefix,
    outcome_event,
    read_callback,
    returned_callback,
    returned_message,
    tick_message,
)
from services.models import Job, Stored
from services.outbox import Outbox
from services.pace import Paces
from services.ports import Clock, JobStore, MessageBus, PayloadStore
from services.providers.base import CallbackAddress

MAX_CONFLICTS = 20
MOST_ORPHANS = 100
ORPHAN_DELAY = timedelta(seconds=5)
"""When a kept callback comes through the queue again: after the row that knows whose it is."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """The jobs of this service, and the one way to move them."""

    store: JobStore
    bus: MessageBus
    payloads: PayloadStore
    outbox: Outbox
    attempt: Attempt
    paces: Paces
    clock: Clock
    chance: Callable[[], float]
    new_id: Callable[[], bytes]

    async def tell(self, job_id: str, happened: Happened) -> Job | None:
        """Apply what happened to a job; returns it as it is then, or None if there is no such job."""
        stored = await self.store.load(job_id)
        return None if stored is None else await self.move(stored, happened)

    async def move(self, stored: Stored, happened: Happened) -> Job:
        """Apply what happened to a job just loaded; a lost compare-and-set decides again on the new row."""
        first, woken_by = happened, happened.number if isinstance(happened, Ticked) else 0
        for _ in range(MAX_CONFLICTS):
            if isinstance(happened, Ticked) and woken_by < stored.job.tick:
                return stored.job  # another tick waits in its place
            provider, operation = self.attempt.declared(stored.job)
            if isinstance(happened, Called) and happened.callback.thin and operation.poll is None:
                named = {"provider": stored.job.provider, "operation": stored.job.operation}
                _log.error("callback.thin_without_poll", extra={"job_id": stored.job.id, **named})
            step = next_step(stored.job, happened, self.clock.now(), operation, self.chance())
            if step.call is Call.POLL:
                # Nothing is on record before: after a crash the same message asks again, which is harmless.
                happened = await self._poll(step.job, happened)
                continue
            try:
                if step.call is not Call.START:
                    return await self._carry_out(stored, step, woken_by)
                held = await self.paces.hold(provider, operation, stored.job)
                if held:
                    happened = held
                    continue
                # On record before it is sent: who finds the mark after a crash must not send blindly again.
                version = await self.store.save(step.job, stored.version)
                happened = await self.start(step.job)
                stored = Stored(job=step.job, version=version)
            except VersionConflict:
                stored = await self._reload(stored.job.id)
                if isinstance(happened, Held):
                    happened = first  # the row may have moved past its start
        raise Unavailable("a job changes too often to be saved")

    async def start(self, job: Job) -> Answered | Refused | PutOff | Lost:
        """Send a job's start, which has its turn and its mark, and let its provider's pace learn from it."""
        happened = await self.attempt.start(job)
        await self.paces.heed(job.provider, happened)
        return happened

    async def publish_notice(self, notice: Notice, job: Job | None, traceparent: str | None) -> None:
        """Tell consumers of a callback that settled nothing; one that is nobody's is kept as well."""
        event = notice_event(notice, job=job, now=self.clock.now(), traceparent=traceparent)
        if notice.kind is NoticeKind.ORPHANED:
            called, now = notice.called, self.clock.now()
            kept = returned_callback(called.provider, called.callback, called.message_id, now)
            name = orphan_name(called.provider, called.callback, called.message_id)
            said = replace(kept, data={**kept.data, "reason": notice.reason})
            await self.payloads.put(name, event_data(said))
            _log.warning("callback.orphaned", extra={"event_id": event.id, "provider": event.provider})
        await self.outbox.publish(event)

    async def cancel_tick(self, job: Job) -> None:
        """Take a job's tick back, if the bus can be reached: one that fires all the same does nothing."""
        if job.tick_sequence is None:
            return
        try:
            await self.bus.cancel(job.tick_sequence)
        except Unavailable:
            _log.warning("tick.not_cancelled", extra={"job_id": job.id, "tick": job.tick})

    async def _poll(self, job: Job, after: Happened) -> Polled:
        assert isinstance(after, Ticked | Called)  # noqa: S101 - nothing else has us ask
        told, retry_after = await self.attempt.poll(job)
        return Polled(after=after, told=told, retry_after=retry_after)

    async def _carry_out(self, stored: Stored, step: Step, woken_by: int) -> Job:
        job, version = await self._put_large_result_aside(step.job), stored.version
        if step.look_at:
            number = max(stored.job.tick, woken_by) + 1
            tick = tick_message(job, number, step.look_at, self.new_id())
            sequence = await self.bus.schedule(tick, step.look_at)
            job = replace(job, tick=number, tick_sequence=sequence, tick_at=step.look_at)
        if job.external_id and job.external_id != stored.job.external_id:
            await self.store.link(job.provider, job.external_id, job.id)
            await self._return_orphans(job, job.external_id)
        if job != stored.job:
            try:
                version = await self.store.save(job, version)
            except VersionConflict:
                if step.look_at:
                    await self.cancel_tick(job)
                raise
        if step.call is Call.CANCEL:
            await self.attempt.cancel(job)
        for notice in step.notices:
            await self.publish_notice(notice, job, job.traceparent)
        if job.status.settled and not job.published:
            await self.outbox.publish(outcome_event(job), dataref=job.result_ref)
            job = await self._note_published(Stored(job=job, version=version))
            _log.info(
                "job.settled",
                extra={
                    "job_id": job.id,
                    "provider": job.provider,
                    "operation": job.operation,
                    "status": job.status,
                },
            )
        ended = job.published and not stored.job.published
        if (ended or step.look_at) and stored.job.tick != woken_by:
            await self.cancel_tick(stored.job)
        if ended and step.look_at:
            await self.cancel_tick(job)
        return job

    async def _return_orphans(self, job: Job, external_id: str) -> None:
        """Send callbacks through the queue once more that came long before we knew whose they were."""
        provider, _ = self.attempt.declared(job)
        if provider.callback_address is CallbackAddress.PER_JOB:
            return  # their address says whose they are
        prefix = orphans_prefix(job.provider, external_id)
        for name in await self.payloads.names(prefix, MOST_ORPHANS):
            data = await self.payloads.get(name)
            if data is not None:
                event_id, now = name.removeprefix(prefix).removesuffix(".json"), self.clock.now()
                event = returned_callback(job.provider, read_callback(data), event_id, now)
                long = len(data) > MAX_DATA_BYTES
                dataref = await self.payloads.put(data_name(event_id), data) if long else None
                await self.bus.schedule(
                    returned_message(event_message(event, dataref=dataref), self.new_id()), now + ORPHAN_DELAY
                )
                await self.payloads.delete(name)

    async def _put_large_result_aside(self, job: Job) -> Job:
        if job.result is None or job.published:
            return job
        data = event_data(outcome_event(job))
        if len(data) <= MAX_DATA_BYTES:
            return job
        # Named by its moment: two that settle at once write two documents, and the row names the winner's.
        name = f"events/outcome-{job.id}-{job.settled_at:%Y%m%dT%H%M%S.%f}.json"
        return replace(job, result=None, result_ref=await self.payloads.put(name, data))

    async def _note_published(self, stored: Stored) -> Job:
        while not stored.job.published:
            noted = replace(stored.job, published=True)
            try:
                await self.store.save(noted, stored.version)
            except VersionConflict:
                stored = await self._reload(stored.job.id)
            else:
                return noted
        return stored.job

    async def _reload(self, job_id: str) -> Stored:
        stored = await self.store.load(job_id)
        if stored is None:
            raise Unavailable("a job disappeared while it was being saved")
        return stored
