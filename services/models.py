"""The values that everything else passes around; each refuses to exist half-valid."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

from pydantic import JsonValue, TypeAdapter, ValidationError

JsonObject = dict[str, JsonValue]
Version = NewType("Version", str)
"""What a store says a row's state is; a save that names another one is refused."""

HISTORY_LENGTH = 50
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
# https://www.w3.org/TR/trace-context/#traceparent-header-field-values
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


class Status(StrEnum):
    """Where a job stands; UNKNOWN is only for a callback whose word nobody has listed."""

    ACCEPTED = "accepted"
    AMBIGUOUS = "ambiguous"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def settled(self) -> bool:
        return self in _SETTLED


_TIMES_OF_A_JOB = (
    "created_at",
    "updated_at",
    "deadline_at",
    "attempt_since",
    "tick_at",
    "turn_at",
    "progress_at",
    "settled_at",
)
_SETTLED = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.EXPIRED})


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_aware(name: str, value: datetime | None) -> None:
    if value is not None:
        _require(
            isinstance(value, datetime) and value.tzinfo is not None, f"{name} must be a time with a zone"
        )


def is_id(value: object) -> bool:
    """Tell whether a value can be a job's id."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def is_name(value: object) -> bool:
    """Tell whether a value can name a provider or an operation."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_traceparent(value: object) -> bool:
    """Tell whether a value is a W3C traceparent that can be passed on."""
    return isinstance(value, str) and _TRACEPARENT.fullmatch(value) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something did not succeed: a stable code, and a sentence without anything secret."""

    code: str
    message: str

    def __post_init__(self) -> None:
        _require(isinstance(self.code, str) and bool(self.code), "a failure needs a code")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a job's history."""

    at: datetime
    event: str
    detail: str | None = None
    elapsed_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work asked of a provider.

    `tick` is the number of the tick that waits for this job, `tick_sequence` what cancels it.
    `tick_at` is when that tick is due, and `turn_at` the moment that the provider's rate limit has kept
    for this job's start. `attempt_since` is set while a start request may be on its way: who finds it set
    after the time that a start can take knows that the answer was lost. `polls` counts the polls that found
    the job running, `polls_failed` those since that told nothing. `settled_external_id` is the external id as
    it was known at the end, for an outcome never changes.
    """

    id: str
    provider: str
    operation: str
    status: Status
    input: JsonObject = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    request_digest: str
    created_at: datetime
    updated_at: datetime
    deadline_at: datetime
    traceparent: str | None = None
    external_id: str | None = None
    attempts: int = 0
    attempt_since: datetime | None = None
    polls: int = 0
    polls_failed: int = 0
    tick: int = 1
    tick_sequence: int | None = None
    tick_at: datetime | None = None
    turn_at: datetime | None = None
    progress_at: datetime | None = None
    settled_at: datetime | None = None
    settled_external_id: str | None = None
    result: JsonObject | None = field(default=None, repr=False)
    result_ref: str | None = None
    failure: Failure | None = None
    published: bool = False
    history: tuple[Entry, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _require(is_id(self.id), "a job's id is 1 to 64 of A-Z a-z 0-9 _ -")
        _require(is_name(self.provider), "a provider's name is lower case, at most 32 characters")
        _require(is_name(self.operation), "an operation's name is lower case, at most 32 characters")
        _require(isinstance(self.status, Status) and self.status is not Status.UNKNOWN, "a job has a status")
        for name in _TIMES_OF_A_JOB:
            _require_aware(name, getattr(self, name))
        _require(
            self.status.settled == (self.settled_at is not None), "a settled job says when, others do not"
        )
        _require(not self.published or self.status.settled, "only a settled job's outcome is published")

    @property
    def due_at(self) -> datetime | None:
        """When the job is to be looked at next; None once its outcome is published."""
        return None if self.published else self.tick_at or self.deadline_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A job as a store holds it, with the version that the next save must name."""

    job: Job
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """How many jobs a store has taken, has seen the end of (the outcome is published), and holds open.

    The first two are counted as it happens, the last is the length of the list of open jobs: where they do
    not add up, a job was lost.
    """

    accepted: int
    settled: int
    open: int

    @property
    def balanced(self) -> bool:
        return self.accepted == self.settled + self.open


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a provider takes starts now, as all instances share it.

    `troubles` counts the starts in a row that it did not take. Until `rests_until` it is sent none, and then
    one, whose answer is waited for until `trial_until`. `next_at` is when its rate limit has room again.
    """

    troubles: int = 0
    rests_until: datetime | None = None
    trial_until: datetime | None = None
    next_at: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("rests_until", "trial_until", "next_at"):
            _require_aware(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One inbound webhook request as it arrived: header names in lower case, the body's exact bytes."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    received_at: datetime

    def __post_init__(self) -> None:
        _require(isinstance(self.body, bytes), "a delivery's body is bytes")
        _require_aware("received_at", self.received_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """What a verified delivery says, in our words.

    `event_id` comes only from bytes that the signature covers: equal ids are the same news. A `thin` one
    says only that something has happened: how the job stands is to be asked of the provider.
    """

    event_id: str
    event_type: str
    status: Status
    operation: str | None = None
    job_id: str | None = None
    external_id: str | None = None
    occurred_at: datetime | None = None
    result: JsonObject | None = field(default=None, repr=False)
    failure: Failure | None = None
    thin: bool = False

    def __post_init__(self) -> None:
        _require(isinstance(self.event_id, str) and bool(self.event_id), "a callback needs an event id")
        _require(isinstance(self.event_type, str), "a callback's event type is text")
        _require(self.job_id is None or is_id(self.job_id), "a callback's job id must be one of ours")
        _require(
            self.external_id is None or (isinstance(self.external_id, str) and bool(self.external_id)),
            "a callback's external id is text",
        )
        _require_aware("occurred_at", self.occurred_at)
        _require(not (self.thin and self.status.settled), "a thin callback settles nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is handed to Service Bus. Equal `message_id` means the same message."""

    message_id: str
    subject: str
    session_id: str
    correlation_id: str
    content_type: str
    body: bytes = field(repr=False)
    properties: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas
        for name in ("message_id", "session_id", "correlation_id"):
            _require(1 <= len(getattr(self, name)) <= 128, f"{name} has 1 to 128 characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message in a dead-letter queue, and why it lies there."""

    sequence_number: int
    enqueued_at: datetime
    reason: str
    description: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request to a provider, ready to be sent."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """A provider's answer: header names in lower case, `elapsed` from sending to the body's end."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    elapsed: timedelta = timedelta(0)


_JOB: TypeAdapter[Job] = TypeAdapter(Job)
_PACE: TypeAdapter[Pace] = TypeAdapter(Pace)


def job_to_json(job: Job) -> bytes:
    """Write a job as its stores keep it."""
    return _JOB.dump_json(job)


def job_from_json(document: bytes | str) -> Job:
    """Read a job back; raises ValueError if the document is not one."""
    try:
        return _JOB.validate_json(document)
    except ValidationError:  # its text would show what the document holds
        raise ValueError("the document is not a job") from None


def pace_to_json(pace: Pace) -> bytes:
    """Write a pace as its stores keep it."""
    return _PACE.dump_json(pace)


def pace_from_json(document: bytes | str) -> Pace:
    """Read a pace back; one that cannot be read is a pace like any other provider's at first."""
    try:
        return _PACE.validate_json(document)
    except ValidationError:
        return Pace()
