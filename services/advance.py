"""Takes a message from job-inbox, a tick or a callback, and moves its job.

What cannot be done now is put back: a scheduled copy under a new id, then this one is done. So waiting
never burns the delivery count, and what reaches the dead-letter queue is what no retry could help.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from services.errors import HookbusError, OperatorError, PoisonMessage, Unavailable, stack_of
from services.jobs import Jobs
from services.lifecycle import BACKOFF_CAP, Called, Notice, NoticeKind, Ticked, backoff
from services.messages import (
    CallbackRead,
    TickRead,
    count,
    data_name,
    next_copy,
    orphan_name,
    read_callback,
    read_inbox,
)
from services.models import Callback, Message
from services.ports import PayloadStore

MISSED = "missed"
PUT_OFF = "put_off"
JOB_MAY_COME = tuple(timedelta(seconds=s) for s in (2, 10, 30, 60, 120))
"""When to look again for a callback's job: its id may be on its way to the store."""
ROW_MAY_COME = tuple(timedelta(seconds=s) for s in (2, 10, 30, 60))
"""When to look again for a tick's job: the tick is sent before the row."""
MOST_PUT_OFF = 300
"""How often a message that meets a bug of ours is put back, for a day, before it becomes a dead letter."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceJob:
    """The use case behind job-inbox."""

    jobs: Jobs
    payloads: PayloadStore

    async def __call__(self, message: Message) -> None:
        """Do what the message asks for; raises PoisonMessage, or Unavailable if it can't even be put back."""
        try:
            read = read_inbox(message)
            match read:
                case TickRead():
                    await self._tick(read, message)
                case CallbackRead():
                    await self._callback(read, message)
        except PoisonMessage as error:
            _log.error("inbox.poison", extra={"message_id": message.message_id, "reason": str(error)})
            raise
        except Unavailable as error:
            wait = max(error.retry_after, backoff(count(message, PUT_OFF) + 1, self.jobs.chance()))
            await self._put_off(message, wait, error)
        except OperatorError as error:
            await self._put_off(message, BACKOFF_CAP, error)
        except Exception as error:
            # A bug of ours: logged, and given time to be mended.
            if count(message, PUT_OFF) >= MOST_PUT_OFF:
                raise
            await self._put_off(message, BACKOFF_CAP, error)

    async def _put_off(self, message: Message, wait: timedelta, error: Exception) -> None:
        said = str(error) if isinstance(error, HookbusError) else stack_of(error)
        named = {"message_id": message.message_id, "error": type(error).__name__, "said": said}
        _log.warning("inbox.put_back", extra=named)
        await self._put_back(message, PUT_OFF, wait)

    async def _tick(self, tick: TickRead, message: Message) -> None:
        if await self.jobs.tell(tick.job_id, Ticked(number=tick.number, at=tick.at)) is None:
            await self._put_back_or_drop(message)

    async def _put_back_or_drop(self, message: Message) -> None:
        missed = count(message, MISSED)
        if missed < len(ROW_MAY_COME):
            await self._put_back(message, MISSED, ROW_MAY_COME[missed])
        else:
            _log.warning("tick.without_job", extra={"message_id": message.message_id})

    async def _callback(self, read: CallbackRead, message: Message) -> None:
        callback = read.callback or await self._fetch(read.event_id)
        called = Called(provider=read.provider, callback=callback, message_id=read.event_id)
        if await self._told(called):
            return
        missed = count(message, MISSED)
        if missed < len(JOB_MAY_COME):
            await self._put_back(message, MISSED, JOB_MAY_COME[missed])
            return
        notice = Notice(kind=NoticeKind.ORPHANED, called=called, reason="no job here has this id")
        await self.jobs.publish_notice(notice, None, read.traceparent)
        if await self._told(called):  # who learned the job's external id just now has not seen it kept
            await self.payloads.delete(orphan_name(read.provider, callback, read.event_id))

    async def _told(self, called: Called) -> bool:
        callback = called.callback
        job_id = callback.job_id
        if job_id is None and callback.external_id:
            job_id = await self.jobs.store.find(called.provider, callback.external_id)
        return job_id is not None and await self.jobs.tell(job_id, called) is not None

    async def _fetch(self, event_id: str) -> Callback:
        data = await self.payloads.get(data_name(event_id))
        if data is None:
            raise PoisonMessage("the callback's data is no longer kept")
        return read_callback(data)

    async def _put_back(self, message: Message, counted: str, wait: timedelta) -> None:
        await self.jobs.bus.schedule(next_copy(message, counted), self.jobs.clock.now() + wait)
