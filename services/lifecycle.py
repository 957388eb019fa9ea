"""What a job does next: a pure function of the job, what happened, and the time.

    accepted ──► running ──► succeeded | failed | canceled | expired
        └► ambiguous ┘        (the first to settle wins; nothing goes back)

No I/O, no clock, no chance of its own: `services.jobs` carries out what is decided here.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from services.models import HISTORY_LENGTH, Callback, Entry, Failure, Job, JsonObject, Status
from services.providers.base import Operation, Started

BACKOFF_BASE = timedelta(seconds=2)
BACKOFF_CAP = timedelta(minutes=5)
MENDING = timedelta(seconds=30)
"""How long to wait for an operator to mend what stands in a request's way."""
POLL_AFTER = timedelta(minutes=10)
"""How long a callback is waited for before the provider is asked, where its declaration says nothing."""
POLL_EVERY = timedelta(hours=1)
FIND_AFTER = timedelta(seconds=30)
"""How long after a start whose answer was lost its job is first looked for at the provider."""
OVERDUE = timedelta(minutes=10)
"""How long after its time a job's tick is taken for lost: more than a backlog takes."""
ANSWER_GRACE = timedelta(seconds=30)
"""How long after a start's budget whoever sent it has certainly noted its answer, or is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """The job's tick, or a later one, came due: not before this moment by the bus's clock."""

    number: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The provider took the start."""

    started: Started
    elapsed: timedelta
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The provider refused the start for good."""

    failure: Failure


class Trouble(StrEnum):
    """What a start says about its provider's health."""

    LIMITED = "limited"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """The start did not happen, and may later. What is ours to mend does not count as an attempt."""

    failure: Failure
    retry_after: timedelta | None = None
    counts: bool = True
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The start was not sent, for it was not its turn; `turn_at` is kept for it, if there is one."""

    until: datetime
    reason: str
    turn_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The start was sent and its answer is not known."""

    failure: Failure
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A verified callback of this provider came, with this message."""

    provider: str
    callback: Callback
    message_id: str


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """The caller asked for the end."""


@dataclass(frozen=True, slots=True)
class Overlooked:
    """An audit found the job overdue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """The provider was asked how the job stands, after a tick or a thin callback: a failure is no answer."""

    after: Ticked | Called
    told: Started | Failure
    retry_after: timedelta | None = None


Happened = Ticked | Answered | Refused | PutOff | Held | Lost | Called | CancelRequested | Polled | Overlooked


class Call(StrEnum):
    """A request to the provider."""

    START = "start"
    POLL = "poll"
    CANCEL = "cancel"


class NoticeKind(StrEnum):
    """What is worth a message besides the outcome."""

    PROGRESS = "job.progress"
    LATE_RESULT = "job.late_result"
    ORPHANED = "callback.orphaned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """News about a callback that settles nothing."""

    kind: NoticeKind
    called: Called
    superseded: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do: the row to write, the request to make, the notices to publish, when to look again.

    `look_at` asks for a new tick in place of the one that waits; None leaves that one waiting.
    """

    job: Job
    call: Call | None = None
    look_at: datetime | None = None
    notices: tuple[Notice, ...] = field(default=())


def next_step(job: Job, happened: Happened, now: datetime, operation: Operation, chance: float) -> Step:
    """Decide. `chance` in [0, 1) places a retry within its backoff window (full jitter).

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    now = _not_before_its_tick(happened, now)
    match happened:
        case Ticked():
            return _ticked(job, now, operation, chance)
        case Called():
            return _called(job, happened, now, operation, chance)
        case Polled():
            return _polled(job, happened, now, operation, chance)
        case CancelRequested():
            return _canceled(job, now)
        case Overlooked():
            return _overlooked(job, now, chance)
        case Answered():
            return _answered(job, happened, now, operation, chance)
        case Held():
            return _held(job, happened, now)
        case Refused() | PutOff() | Lost():
            return _not_started(job, happened, now, operation, chance)


def _not_before_its_tick(happened: Happened, now: datetime) -> datetime:
    """Believe the bus, which does not deliver a tick before its time, where our own clock is behind."""
    tick = happened.after if isinstance(happened, Polled) else happened
    return max(now, tick.at) if isinstance(tick, Ticked) else now


def backoff(
    attempt: int, chance: float, *, base: timedelta = BACKOFF_BASE, cap: timedelta = BACKOFF_CAP
) -> timedelta:
    """Return how long to wait after this attempt (1 is the first): full jitter under a doubling ceiling."""
    return min(cap, base * (1 << min(attempt - 1, 16))) * chance


def _ticked(job: Job, now: datetime, operation: Operation, chance: float) -> Step:
    if job.status.settled:
        return Step(job=job)
    if now >= job.deadline_at:
        # Once more, for the callback may be what was lost.
        return Step(job=job, call=Call.POLL) if _can_poll(job, operation) else _expired(job, now)
    if job.attempt_since is not None:
        noted_by = job.attempt_since + operation.start_budget + ANSWER_GRACE
        if now < noted_by:
            return Step(job=job, look_at=_from(noted_by, now))
        status = Status.AMBIGUOUS if job.status is Status.ACCEPTED else job.status
        job = _note(replace(job, status=status, attempt_since=None), now, "start.lost", "cut short")
    elif _can_poll(job, operation):
        return Step(job=job, call=Call.POLL)
    waiting = job.status is Status.ACCEPTED or (job.status is Status.AMBIGUOUS and operation.idempotent)
    if waiting and job.attempts < operation.max_attempts and not _forgotten(job, now, operation):
        begun = replace(job, attempts=job.attempts + 1, attempt_since=now, updated_at=now)
        return Step(job=begun, call=Call.START)
    return Step(job=job, look_at=_next_look(job, now, operation, chance))


def _forgotten(job: Job, now: datetime, operation: Operation) -> bool:
    """Say whether the provider may know of an earlier start no more, and would act on another one anew."""
    known_for = operation.idempotent_for
    return job.attempts > 0 and known_for is not None and now >= job.created_at + known_for


def _answered(job: Job, answered: Answered, now: datetime, operation: Operation, chance: float) -> Step:
    started, elapsed_ms = answered.started, round(answered.elapsed / timedelta(milliseconds=1))
    noted = _note(
        replace(job, attempt_since=None, external_id=job.external_id or started.external_id),
        now,
        "start.answered",
        elapsed_ms=elapsed_ms,
    )
    if job.status.settled:
        return Step(job=noted, call=Call.CANCEL if job.status is Status.CANCELED else None)
    if started.status.settled:
        return Step(
            job=_settle(
                noted, started.status, "start answer", now, result=started.result, failure=started.failure
            )
        )
    running = replace(noted, status=Status.RUNNING)
    return Step(job=running, look_at=_next_look(running, now, operation, chance, answered.retry_after))


def _not_started(
    job: Job, happened: Refused | PutOff | Lost, now: datetime, operation: Operation, chance: float
) -> Step:
    words = {Refused: "start.refused", PutOff: "start.put_off", Lost: "start.lost"}
    job = _note(replace(job, attempt_since=None), now, words[type(happened)], happened.failure.code)
    if job.status is not Status.ACCEPTED and job.status is not Status.AMBIGUOUS:
        return Step(job=job, look_at=None if job.status.settled else _next_look(job, now, operation, chance))
    wait = backoff(job.attempts, chance)
    exhausted = job.attempts >= operation.max_attempts
    match happened:
        case Refused() if job.status is Status.ACCEPTED or operation.idempotent:
            return Step(job=_settle(job, Status.FAILED, "start refused", now, failure=happened.failure))
        case PutOff() if job.status is Status.ACCEPTED and exhausted and happened.counts:
            return Step(job=_settle(job, Status.FAILED, "retries exhausted", now, failure=happened.failure))
        case PutOff():
            wait = max(wait, min(happened.retry_after or timedelta(0), job.deadline_at - now))
            if not happened.counts:
                job, exhausted, wait = replace(job, attempts=job.attempts - 1), False, max(wait, MENDING)
        case _:  # an earlier request may have been acted on, so no later answer can end the job
            job = replace(job, status=Status.AMBIGUOUS)
    if exhausted or (job.status is Status.AMBIGUOUS and not operation.idempotent):
        return Step(job=job, look_at=_next_look(job, now, operation, chance))
    return Step(job=job, look_at=min(now + wait, job.deadline_at))


def _held(job: Job, held: Held, now: datetime) -> Step:
    noted = _note_row(replace(job, turn_at=held.turn_at), now, "start.held", held.reason)
    return Step(job=noted, look_at=_from(min(held.until, job.deadline_at), now))


def _called(
    job: Job, called: Called, now: datetime, operation: Operation, chance: float, *, by: str | None = None
) -> Step:
    callback = called.callback
    if called.provider != job.provider:
        return Step(job=job, notices=(_orphan(called, "the job is another provider's"),))
    if callback.external_id and job.external_id and callback.external_id != job.external_id:
        return Step(job=job, notices=(_orphan(called, "the provider's id is another job's"),))
    if callback.operation and callback.operation != job.operation:
        return Step(job=job, notices=(_orphan(called, "the operation is another job's"),))
    if callback.thin:
        return _to_be_asked(job, callback, now, operation)
    if callback.status is Status.UNKNOWN:
        return Step(job=job)
    if job.status.settled:
        return Step(job=job, notices=_after_the_end(job, called))
    known = replace(job, external_id=job.external_id or callback.external_id)
    if callback.status.settled:
        return Step(
            job=_settle(
                known,
                callback.status,
                by or f"callback {callback.event_type}",
                now,
                result=callback.result,
                failure=callback.failure,
            )
        )
    if callback.occurred_at and job.progress_at and callback.occurred_at < job.progress_at:
        return Step(job=job, notices=(_progress(called, superseded=True),))
    begun = replace(known, status=Status.RUNNING, progress_at=callback.occurred_at or job.progress_at)
    if begun != job:
        begun = _note(begun, now, "callback.progress", callback.event_type)
    newly = _can_poll(begun, operation) and not _can_poll(job, operation)
    look_at = _next_look(begun, now, operation, chance) if newly else None
    return Step(job=begun, look_at=look_at, notices=(_progress(called, superseded=False),))


def _to_be_asked(job: Job, callback: Callback, now: datetime, operation: Operation) -> Step:
    if job.status.settled or operation.poll is None:
        return Step(job=job)
    known = replace(job, external_id=job.external_id or callback.external_id)
    if not _can_poll(known, operation):  # the start's answer says whom to ask about, and then it is soon
        return Step(job=_poll_failed(job, now, "external_id_unknown"))
    return Step(job=known, call=Call.POLL)


def _polled(job: Job, polled: Polled, now: datetime, operation: Operation, chance: float) -> Step:
    told, after = polled.told, polled.after
    looked_for = isinstance(after, Ticked) and job.external_id is None
    if isinstance(told, Started) and told.job_id != job.id and (looked_for or told.job_id is not None):
        told = Failure(code="another_job", message="the provider told of another job")
    if looked_for and isinstance(told, Started) and not job.status.settled:
        found = replace(job, external_id=told.external_id, status=Status.RUNNING)
        job = _note(found, now, "start.found")
    if isinstance(told, Started) and (told.status.settled or isinstance(after, Called)):
        return _called(job, _as_callback(job, told, after), now, operation, chance, by="poll")
    if job.status.settled:
        return Step(job=job)
    if isinstance(after, Called):
        if isinstance(told, Failure) and not _can_poll(job, operation):
            # Nobody has borne out that what the callback names is this job.
            return Step(job=_poll_failed(job, now, told.code))
        job = replace(job, status=Status.RUNNING)
    elif after.number < job.tick:
        return Step(job=job)
    elif now >= job.deadline_at:
        return _expired(job, now)
    if isinstance(told, Failure):
        job = _poll_failed(job, now, told.code)
    else:
        job = replace(job, polls=job.polls + 1, polls_failed=0)
    return Step(job=job, look_at=_next_look(job, now, operation, chance, polled.retry_after))


def _as_callback(job: Job, told: Started, after: Ticked | Called) -> Called:
    """Take what the provider told as what its callback would have said."""
    status = told.status if told.status.settled else Status.RUNNING
    if isinstance(after, Called):
        said = replace(
            after.callback,
            thin=False,
            status=status,
            occurred_at=None,
            result=told.result,
            failure=told.failure,
        )
        return replace(after, callback=said)
    name = f"poll-{job.id}-{status}"
    callback = Callback(
        event_id=name,
        event_type="poll",
        status=status,
        operation=job.operation,
        job_id=job.id,
        external_id=job.external_id,
        result=told.result,
        failure=told.failure,
    )
    return Called(provider=job.provider, callback=callback, message_id=name)


def _poll_failed(job: Job, now: datetime, code: str) -> Job:
    return _note_row(replace(job, polls_failed=job.polls_failed + 1), now, "poll.failed", code)


def _can_poll(job: Job, operation: Operation) -> bool:
    if job.external_id is None:
        return operation.find is not None and job.status in (Status.AMBIGUOUS, Status.RUNNING)
    return operation.poll is not None


def _after_the_end(job: Job, called: Called) -> tuple[Notice, ...]:
    callback = called.callback
    if not callback.status.settled:
        return (_progress(called, superseded=True),)
    if callback.status is not job.status:
        reason = f"the job had ended as {job.status}"
        return (Notice(kind=NoticeKind.LATE_RESULT, called=called, reason=reason),)
    return ()


def _canceled(job: Job, now: datetime) -> Step:
    if job.status.settled:
        return Step(job=job)
    failure = Failure(code="canceled", message="the caller canceled the job")
    settled = _settle(job, Status.CANCELED, "cancel", now, failure=failure)
    # No message comes again if this process dies before the outcome is out, so a tick soon looks.
    return Step(job=settled, call=Call.CANCEL if job.external_id else None, look_at=now + ANSWER_GRACE)


def _overlooked(job: Job, now: datetime, chance: float) -> Step:
    if job.due_at is None or job.due_at + OVERDUE > now:
        return Step(job=job)
    return Step(job=_note(job, now, "tick.lost"), look_at=_from(now + MENDING * chance, now))


def _orphan(called: Called, reason: str) -> Notice:
    return Notice(kind=NoticeKind.ORPHANED, called=called, reason=reason)


def _progress(called: Called, *, superseded: bool) -> Notice:
    return Notice(kind=NoticeKind.PROGRESS, called=called, superseded=superseded)


def _expired(job: Job, now: datetime) -> Step:
    failure = Failure(code="deadline", message="no outcome came before the deadline")
    return Step(job=_settle(job, Status.EXPIRED, "deadline", now, failure=failure))


def _settle(
    job: Job,
    status: Status,
    by: str,
    now: datetime,
    *,
    result: JsonObject | None = None,
    failure: Failure | None = None,
) -> Job:
    if status is not Status.SUCCEEDED and failure is None:
        failure = Failure(code=status.value, message="the provider gave no reason")
    settled = replace(
        job,
        status=status,
        settled_at=now,
        settled_external_id=job.external_id,
        attempt_since=None,
        result=result,
        failure=failure,
    )
    return _note(settled, now, f"settled.{status}", by)


def _next_look(
    job: Job, now: datetime, operation: Operation, chance: float, at_least: timedelta | None = None
) -> datetime:
    """Return when to look at a job that was started: in time to ask, and at its deadline at the latest."""
    if not _can_poll(job, operation):
        return _from(job.deadline_at, now)
    first, every = operation.poll_after or POLL_AFTER, operation.poll_every or POLL_EVERY
    if job.external_id is None:
        first = FIND_AFTER
    if job.polls_failed:
        wait = backoff(job.polls_failed, chance, cap=every)
    elif job.polls:
        wait = backoff(job.polls, chance, base=first, cap=every)
    else:
        wait = first
    wait = max(wait, operation.poll_at_least, at_least or wait)
    return _from(now + min(wait, job.deadline_at - now), now)


def _from(moment: datetime, now: datetime) -> datetime:
    """Keep a second's distance: the bus's clock may be ahead of ours, and wake the job too early for ever."""
    return max(moment, now + timedelta(seconds=1))


def _note_row(job: Job, now: datetime, event: str, detail: str) -> Job:
    """Note what may happen many times in a row by one line, for the history is short."""
    kept = job.history[:-1] if job.history and job.history[-1].event == event else job.history
    return _note(replace(job, history=kept), now, event, detail)


def _note(
    job: Job, now: datetime, event: str, detail: str | None = None, elapsed_ms: int | None = None
) -> Job:
    entry = Entry(at=now, event=event, detail=detail, elapsed_ms=elapsed_ms)
    return replace(job, updated_at=now, history=(*job.history, entry)[-HISTORY_LENGTH:])
