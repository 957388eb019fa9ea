"""Twilio SendGrid: one mail to one recipient, found again by an argument that comes back with every event.

A mail has succeeded when the recipient's server took it; it can bounce even then, which is a late result.
"""

import json
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import Annotated, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from services.errors import NotUnderstood
from services.jsons import parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import CallbackAddress, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import refusal_in, told
from services.providers.reading import JOB_ID, job_id_at, object_at, status_in, text_at, time_from_unix
from services.providers.requests import bearer, json_request
from services.signatures.catalogue import SCHEMES

# https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event#events
EVENTS = {
    "processed": Status.RUNNING,
    "deferred": Status.RUNNING,
    "delivered": Status.SUCCEEDED,
    "bounce": Status.FAILED,
    "dropped": Status.FAILED,
    "open": Status.RUNNING,  # what a recipient does with a mail settles nothing
    "click": Status.RUNNING,
    "spamreport": Status.RUNNING,
    "unsubscribe": Status.RUNNING,
    "group_unsubscribe": Status.RUNNING,
    "group_resubscribe": Status.RUNNING,
}

UNREADABLE = "(unreadable)"

Address = Annotated[str, Field(pattern=r"^[^@\s<>]{1,64}@[^@\s<>]{1,255}$", max_length=320)]


class Mailbox(Input):
    """A mail address, and the name that is shown with it."""

    email: Address
    name: str | None = Field(None, min_length=1, max_length=255)


# https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
class MailInput(Input):
    """Whom to write to, and what: a subject and a text, HTML or both, or a dynamic template and its data."""

    to: Mailbox
    from_: Mailbox = Field(alias="from")
    reply_to: Mailbox | None = None
    subject: str | None = Field(None, min_length=1, max_length=998)
    text: str | None = Field(None, min_length=1)
    html: str | None = Field(None, min_length=1)
    template_id: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    dynamic_template_data: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.template_id is None and not (self.subject and (self.text or self.html)):
            raise ValueError("give a subject and text or html, or a template_id")
        return self


class Mail(BaseModel):
    """What the recipient's server said when it took the mail, and when, in seconds since 1970."""

    email: str | None = None
    response: str | None = None
    timestamp: int | float | None = None
    sg_message_id: str | None = None


def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump(by_alias=True, exclude_none=True)
    recipient: JsonObject = {"to": [asked["to"]], "custom_args": {JOB_ID: job.job_id}}
    if "dynamic_template_data" in asked:
        recipient["dynamic_template_data"] = asked["dynamic_template_data"]
    names = ("from", "reply_to", "subject", "template_id")
    body: JsonObject = {name: asked[name] for name in names if name in asked}
    body["personalizations"] = [recipient]
    # Text comes before HTML: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors#message.content
    kinds = {"text/plain": asked.get("text"), "text/html": asked.get("html")}
    if any(kinds.values()):
        body["content"] = [{"type": kind, "value": value} for kind, value in kinds.items() if value]
    return json_request("POST", f"{job.api_url}/v3/mail/send", body, bearer(job.api_key))


# https://www.twilio.com/docs/sendgrid/glossary/x-message-id: the answer has no body
def read_start(answer: HttpAnswer) -> Started:
    return Started(external_id=text_at({"x-message-id": answer.headers.get("x-message-id")}, "x-message-id"))


def read(delivery: Delivery) -> tuple[Callback, ...]:
    body = parse_object(b'{"events":%b}' % delivery.body)
    events = body.get("events")
    if not isinstance(events, list) or not events:
        raise NotUnderstood("the body is not a list of events")
    callbacks = tuple(_callback_or_unknown(event) for event in events)
    if all(one.event_type == UNREADABLE for one in callbacks):
        raise NotUnderstood("none of the events can be read")
    return callbacks


# One that cannot be read must not take the others of its batch along.
def _callback_or_unknown(event: JsonValue) -> Callback:
    try:
        return _callback(object_at({"event": event}, "event"))
    except NotUnderstood:
        name = sha256(json.dumps(event).encode()).hexdigest()
        return Callback(event_id=name, event_type=UNREADABLE, status=Status.UNKNOWN, operation="mail")


def _callback(event: JsonObject) -> Callback:
    word = text_at(event, "event")
    job_id = job_id_at(event, JOB_ID)
    found = Started(external_id=None if job_id else _message_id(event), status=status_in(EVENTS, word))
    if found.status is Status.SUCCEEDED:
        found = found.with_result(Mail, event)
    elif found.status is Status.FAILED:  # a bounce has a type: "bounce", "blocked" or "expired"
        found = found.with_failure(told(event.get("type"), event.get("reason"), otherwise=word))
    return found.as_callback(
        event_id=text_at(event, "sg_event_id"),
        event_type=word,
        operation="mail",
        job_id=job_id,
        occurred_at=time_from_unix(event.get("timestamp")),
    )


# https://www.twilio.com/docs/sendgrid/glossary/sg-message-id: what the start was answered with, and more
def _message_id(event: JsonObject) -> str | None:
    message_id = event.get("sg_message_id")
    return message_id.partition(".")[0] or None if isinstance(message_id, str) else None


PROVIDER = Provider(
    name="sendgrid",
    documentation="https://www.twilio.com/docs/sendgrid/api-reference",
    completion=Completion.WEBHOOK,
    api_url="https://api.sendgrid.com",
    api_key="sendgrid-api-key",
    scheme=SCHEMES["sendgrid"],
    signing_secret="sendgrid-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "mail": Operation(
            input=MailInput,
            result=Mail,
            start=start,
            read_start=read_start,
            # https://www.twilio.com/docs/sendgrid/ui/sending-email/deferrals: it is tried for 72 hours
            deadline=timedelta(days=4),
        )
    },
    default_operation="mail",
    read=read,
    # https://www.twilio.com/docs/sendgrid/api-reference/how-to-use-the-sendgrid-v3-api/errors
    refusal=partial(refusal_in, path="errors.0.message"),
    # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/troubleshooting; how long it waits
    # for an answer is not said
    repeats_for=timedelta(hours=24),
)
