"""What lies on Service Bus: the contract with consumers (docs/messages.md) and with ourselves.

An event is a CloudEvent 1.0 in structured JSON, https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md,
as `azure.core.messaging.CloudEvent.from_json` reads it. A tick is a small JSON object of our own.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from pydantic import TypeAdapter

from services.errors import PoisonMessage
from services.lifecycle import Notice, NoticeKind
from services.models import Callback, Delivery, Job, JsonObject, Message, Status, is_id

MAX_DATA_BYTES = 192 * 1024
EVENT_TYPE = "application/cloudevents+json"
TICK_SUBJECT = "job.tick"
CALLBACK_RECEIVED = "callback.received"
CALLBACK_UNRECOGNISED = "callback.unrecognised"

ORPHANS = "orphans/"

_CALLBACK: TypeAdapter[Callback] = TypeAdapter(Callback)


class Kind(StrEnum):
    """Which messages a consumer may subscribe to together; ticks never reach the topic."""

    CALLBACK = "callback"
    OUTCOME = "outcome"
    NOTICE = "notice"
    TICK = "tick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something to tell consumers. Equal ids are the same event, told twice."""

    id: str
    type: str
    kind: Kind
    provider: str
    time: datetime
    data: JsonObject = field(repr=False)
    job_id: str | None = None
    operation: str | None = None
    status: Status | None = None
    traceparent: str | None = None


def callback_event(
    provider: str, callback: Callback, *, address: str, received_at: datetime, traceparent: str | None
) -> Event:
    """Tell of a verified callback. `address` is what the delivery was bound to besides its signature.

    The address belongs to the identity: the same delivery replayed at another job's address must not make
    the real one look like a duplicate.
    """
    return Event(
        id=f"callback-{_digest(provider, address, callback.event_id)}",
        type=CALLBACK_RECEIVED,
        kind=Kind.CALLBACK,
        provider=provider,
        operation=callback.operation,
        status=callback.status,
        job_id=callback.job_id,
        time=received_at,
        traceparent=traceparent,
        data=_callback_data(provider, callback),
    )


def unrecognised_event(
    provider: str, delivery: Delivery, *, reason: str, kept: str, address: str, traceparent: str | None
) -> Event:
    """Tell of a verified delivery that nobody could read; its raw form is at `kept`."""
    return Event(
        id=delivery_id(provider, delivery, address),
        type=CALLBACK_UNRECOGNISED,
        kind=Kind.NOTICE,
        provider=provider,
        job_id=address or None,
        time=delivery.received_at,
        traceparent=traceparent,
        data={"provider": provider, "job_id": address or None, "reason": reason, "delivery": kept},
    )


def delivery_id(provider: str, delivery: Delivery, address: str) -> str:
    """Name a delivery by its bytes, the only part of it that can be trusted before it is read."""
    return f"delivery-{_digest(provider, address, hashlib.sha256(delivery.body).hexdigest())}"


def outcome_event(job: Job) -> Event:
    """Tell how a settled job ended: the same id and content, however often it is made."""
    assert job.settled_at is not None  # noqa: S101 - a settled job says when
    return Event(
        id=f"outcome-{job.id}",
        type=f"job.{job.status}",
        kind=Kind.OUTCOME,
        provider=job.provider,
        operation=job.operation,
        status=job.status,
        job_id=job.id,
        time=job.settled_at,
        traceparent=job.traceparent,
        data={
            "job_id": job.id,
            "provider": job.provider,
            "operation": job.operation,
            "status": job.status,
            "external_id": job.settled_external_id,
            "metadata": dict(job.metadata),
            "result": job.result,
            "failure": {"code": job.failure.code, "message": job.failure.message} if job.failure else None,
            "created_at": job.created_at.isoformat(),
            "settled_at": job.settled_at.isoformat(),
        },
    )


def notice_event(notice: Notice, *, job: Job | None, now: datetime, traceparent: str | None) -> Event:
    """Tell of a callback that settled nothing."""
    provider, callback = notice.called.provider, notice.called.callback
    data = _callback_data(provider, callback)
    if notice.kind is NoticeKind.PROGRESS:
        data["superseded"] = notice.superseded
    else:
        data["reason"] = notice.reason
    if job:
        data |= {"job_id": job.id, "operation": job.operation, "metadata": dict(job.metadata)}
    return Event(
        id=f"{notice.kind.partition('.')[2]}-{notice.called.message_id}"[:128],
        type=notice.kind,
        kind=Kind.NOTICE,
        provider=provider,
        operation=job.operation if job else callback.operation,
        status=callback.status,
        job_id=job.id if job else callback.job_id,
        time=now,
        traceparent=traceparent,
        data=data,
    )


def event_message(event: Event, *, dataref: str | None = None) -> Message:
    """Wrap an event for the bus. With `dataref` its data lies there and not in the message.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/dataref.md
    """
    envelope: JsonObject = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/hookbus/{event.provider}",
        "type": event.type,
        "time": event.time.isoformat(),
        "datacontenttype": "application/json",
    }
    if event.job_id:
        envelope["subject"] = event.job_id
    if event.traceparent:
        envelope["traceparent"] = event.traceparent
    envelope |= {"dataref": dataref} if dataref else {"data": event.data}
    owner = event.job_id or event.id
    properties: dict[str, str | int] = {"kind": event.kind, "provider": event.provider}
    if event.operation:
        properties["operation"] = event.operation
    if event.status:
        properties["status"] = event.status
    if event.traceparent:
        # https://learn.microsoft.com/azure/service-bus-messaging/service-bus-end-to-end-tracing
        properties |= {"traceparent": event.traceparent, "Diagnostic-Id": event.traceparent}
    return Message(
        message_id=event.id,
        subject=event.type,
        session_id=owner,
        correlation_id=owner,
        content_type=EVENT_TYPE,
        body=_json(envelope),
        properties=properties,
    )


def event_data(event: Event) -> bytes:
    """Write an event's data as it lies in a message or at its dataref."""
    return _json(event.data)


def data_name(event_id: str) -> str:
    """Name the payload that holds the data of an event with a dataref."""
    return f"events/{event_id}.json"


def returned_message(message: Message, nonce: bytes) -> Message:
    """Give a message for job-inbox an id of its own, so that it is no duplicate of its first coming."""
    return replace(message, message_id=f"{message.message_id[:100]}~r{nonce[:6].hex()}")


def orphans_prefix(provider: str, external_id: str | None) -> str:
    """Name the folder of the payloads that hold the callbacks of a job that nobody here has, or not yet."""
    return f"{ORPHANS}{_digest(provider, external_id or '')}/"


def orphan_name(provider: str, callback: Callback, event_id: str) -> str:
    """Name the payload that holds one of them."""
    return f"{orphans_prefix(provider, callback.external_id)}{event_id}.json"


def returned_callback(provider: str, callback: Callback, event_id: str, now: datetime) -> Event:
    """Tell job-inbox of a kept callback once more, under its first id."""
    return Event(
        id=event_id,
        type=CALLBACK_RECEIVED,
        kind=Kind.CALLBACK,
        provider=provider,
        operation=callback.operation,
        status=callback.status,
        job_id=callback.job_id,
        time=now,
        data=_callback_data(provider, callback),
    )


def tick_message(job: Job, number: int, at: datetime, nonce: bytes) -> Message:
    """Make the tick with this number, to be scheduled for this moment.

    The nonce makes each one a message of its own: one that was a duplicate of another that is cancelled
    would leave the job with none, and one too many does nothing.
    """
    properties: dict[str, str | int] = {"kind": Kind.TICK}
    if job.traceparent:
        properties |= {"traceparent": job.traceparent, "Diagnostic-Id": job.traceparent}
    return Message(
        message_id=f"tick-{job.id}-{number}-{nonce[:6].hex()}",
        subject=TICK_SUBJECT,
        session_id=job.id,
        correlation_id=job.id,
        content_type="application/json",
        body=_json({"job_id": job.id, "tick": number, "at": at.isoformat()}),
        properties=properties,
    )


def count(message: Message, name: str) -> int:
    """Read one of the counts that a message put back carries along."""
    value = message.properties.get(name, 0)
    return value if isinstance(value, int) and value >= 0 else 0


def next_copy(message: Message, counted: str) -> Message:
    """Make the copy that is looked at later, under an id of its own so that it is no duplicate."""
    copies = count(message, "copies")
    base = message.message_id.removesuffix(f"~{copies}")
    properties = {"copies": copies + 1, counted: count(message, counted) + 1}
    return replace(
        message, message_id=f"{base[:112]}~{copies + 1}", properties={**message.properties, **properties}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRead:
    """A tick, as job-inbox delivers it: not before `at`, by the bus's clock."""

    job_id: str
    number: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRead:
    """A callback's event, as job-inbox delivers it; `callback` is None while its data lies elsewhere."""

    provider: str
    event_id: str
    callback: Callback | None
    traceparent: str | None


def read_inbox(message: Message) -> TickRead | CallbackRead:
    """Read a message from job-inbox; raises PoisonMessage if no retry could ever read it."""
    try:
        body = json.loads(message.body)
    except (ValueError, RecursionError):
        raise PoisonMessage("the body is not JSON") from None
    if not isinstance(body, dict):
        raise PoisonMessage("the body is not a JSON object")
    if message.subject == TICK_SUBJECT:
        job_id, number, at = body.get("job_id"), body.get("tick"), _moment(body.get("at"))
        if (
            not isinstance(job_id, str)
            or not is_id(job_id)
            or not isinstance(number, int)
            or isinstance(number, bool)
            or at is None
        ):
            raise PoisonMessage("a tick names a job, a number and a moment")
        return TickRead(job_id=job_id, number=number, at=at)
    if message.subject == CALLBACK_RECEIVED:
        provider, event_id = message.properties.get("provider"), body.get("id")
        traceparent = body.get("traceparent")
        if not isinstance(provider, str) or not isinstance(event_id, str) or not is_id(event_id):
            raise PoisonMessage("a callback's event names its provider and has an id")
        return CallbackRead(
            provider=provider,
            event_id=event_id,
            callback=None if "dataref" in body else read_callback(_json(body.get("data"))),
            traceparent=traceparent if isinstance(traceparent, str) else None,
        )
    raise PoisonMessage("neither a tick nor a callback")


def read_callback(data: bytes) -> Callback:
    """Read a callback's data back; raises PoisonMessage if it is none."""
    try:
        return _CALLBACK.validate_json(data)
    except ValueError:
        raise PoisonMessage("the data is not a callback") from None


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


def _callback_data(provider: str, callback: Callback) -> JsonObject:
    return {"provider": provider, **_CALLBACK.dump_python(callback, mode="json")}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:40]
