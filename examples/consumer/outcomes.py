"""What a message means: the part of the consumer that does not know how the message came."""

import logging
from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue, ValidationError

from examples.consumer.database import Database, Outcome
from examples.consumer.payloads import Payloads, Poison

OUTCOMES = frozenset({"job.succeeded", "job.failed", "job.canceled", "job.expired"})

_log = logging.getLogger(__name__)


class Event(BaseModel):
    """A CloudEvent, as far as it is needed here. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md"""

    specversion: Literal["1.0"]
    id: str = Field(min_length=1)
    type: str
    subject: str | None = None
    data: JsonValue = None
    dataref: str | None = None


async def take(body: bytes, traceparent: str | None, database: Database, payloads: Payloads) -> None:
    """Record the outcome that a message brings, or log what else it tells; return when that is committed.

    Raises Poison for what no retry can help. All work on a message is in this call, with its parent in the
    trace as an argument: this is where to open a span.
    """
    try:
        event = Event.model_validate_json(body)
    except ValidationError as error:
        raise Poison("not_an_event", _where(error)) from None
    told = {"type": event.type, "job_id": event.subject, "traceparent": traceparent}
    if event.type not in OUTCOMES:
        _log.info("notice.read", extra=told)
        return
    try:
        if event.dataref is None:
            outcome = Outcome.model_validate(event.data)
        else:
            outcome = Outcome.model_validate_json(await payloads.read(event.dataref))
    except ValidationError as error:
        raise Poison("not_an_outcome", _where(error)) from None
    new = database.record(event.id, outcome)
    _log.info("outcome.recorded" if new else "outcome.known", extra=told)


def _where(error: ValidationError) -> str:
    """Say which fields are wrong, without their values: a dead letter's description is read by many."""
    wrong: list[Any] = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['type']}" for one in wrong)[:1000]
