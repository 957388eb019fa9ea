"""Twilio: messages and calls, each with its own status callback.

The API key is ACCOUNT_SID:AUTH_TOKEN, for the account's id stands in every address too; the signing secret is
the auth token. Where a carrier tells Twilio nothing of a message's arrival, it stays `sent` until the job's
deadline.
"""

import json
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from services.errors import NotUnderstood, OperatorError
from services.jsons import parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import Ask, Completion, Input, Operation, Provider, Start, Started, WebhookAnswer
from services.providers.failures import refusal_in, told
from services.providers.reading import status_in, text_at
from services.providers.requests import basic, form_request, segment
from services.signatures.catalogue import SCHEMES
from services.signatures.forms import read_urlencoded

# https://www.twilio.com/docs/messaging/api/message-resource#message-status-values
MESSAGES = {
    "accepted": Status.RUNNING,
    "scheduled": Status.RUNNING,
    "queued": Status.RUNNING,
    "sending": Status.RUNNING,
    "sent": Status.RUNNING,  # to the nearest carrier
    "delivered": Status.SUCCEEDED,
    "read": Status.SUCCEEDED,
    "undelivered": Status.FAILED,
    "failed": Status.FAILED,
    "canceled": Status.CANCELED,
}
# https://www.twilio.com/docs/voice/api/call-resource#call-status-values
CALLS = {
    "queued": Status.RUNNING,
    "initiated": Status.RUNNING,
    "ringing": Status.RUNNING,
    "in-progress": Status.RUNNING,
    "completed": Status.SUCCEEDED,
    "busy": Status.FAILED,
    "no-answer": Status.FAILED,
    "failed": Status.FAILED,
    "canceled": Status.CANCELED,
}
WORDS = {"message": MESSAGES, "call": CALLS}
# Fields of the API's answers by those of callbacks:
# https://www.twilio.com/docs/messaging/guides/track-outbound-message-status#how-are-status-callback-requests-sent
# https://www.twilio.com/docs/voice/api/call-resource#statuscallback
FIELDS = {
    "MessageSid": "sid",
    "MessageStatus": "status",
    "ErrorCode": "error_code",
    "ErrorMessage": "error_message",
    "CallSid": "sid",
    "CallStatus": "status",
    "CallDuration": "duration",
    "AnsweredBy": "answered_by",
    "RecordingUrl": "recording_url",
    "To": "to",
    "From": "from",
}

Address = Annotated[str, Field(pattern=r"^(\+[1-9][0-9]{1,14}|[a-z]{2,20}:[!-~]{1,200})$")]
Sender = Annotated[str, Field(pattern=r"^[!-~][ -~]{0,199}$")]
Url = Annotated[str, Field(pattern=r"^https?://[!-~]+$", max_length=2000)]


# https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
class MessageInput(Input):
    """Whom to write to, from where, and what: a text, media, or a content template with its variables."""

    to: Address
    from_: Sender | None = Field(None, alias="from")
    messaging_service_sid: str | None = Field(None, pattern=r"^MG[0-9a-f]{32}$")
    body: str | None = Field(None, min_length=1, max_length=1600)
    media_url: list[Url] | None = Field(None, min_length=1, max_length=10)
    content_sid: str | None = Field(None, pattern=r"^HX[0-9a-f]{32}$")
    content_variables: dict[str, str] | None = Field(None, max_length=100)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.from_ or self.messaging_service_sid):
            raise ValueError("give from or messaging_service_sid")
        if not (self.body or self.media_url or self.content_sid):
            raise ValueError("give body, media_url or content_sid")
        return self


class Message(BaseModel):
    """A message that has arrived."""

    sid: str
    status: str
    to: str | None = None
    from_: str | None = Field(None, alias="from")


# https://www.twilio.com/docs/voice/api/call-resource#create-a-call-resource
class CallInput(Input):
    """Whom to call, from where, and what to do then: TwiML, or an address that answers with it."""

    to: Address
    from_: Sender = Field(alias="from")
    twiml: str | None = Field(None, min_length=1, max_length=4000)
    url: Url | None = None
    timeout: int | None = Field(None, ge=1, le=600)
    send_digits: str | None = Field(None, pattern=r"^[0-9A-D#*wW]{1,32}$")
    machine_detection: Literal["Enable", "DetectMessageEnd"] | None = None
    record: bool | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.twiml is None) == (self.url is None):
            raise ValueError("give either twiml or url")
        return self


class Call(BaseModel):
    """A call that was answered and has ended; `duration` is in seconds."""

    sid: str
    status: str
    to: str | None = None
    from_: str | None = Field(None, alias="from")
    duration: int | None = None
    answered_by: str | None = None
    recording_url: str | None = None


def start(job: Start, *, resource: str) -> HttpRequest:
    asked = job.input.model_dump(by_alias=True, exclude_none=True)
    fields = {"".join(map(str.capitalize, name.split("_"))): _written(asked[name]) for name in asked}
    fields["StatusCallback"] = job.callback_url
    return form_request(f"{_account(job)}/{resource}.json", fields, basic(job.api_key))


def poll(job: Ask, *, resource: str) -> HttpRequest:
    url = f"{_account(job)}/{resource}/{segment(job.external_id)}.json"
    return HttpRequest(method="GET", url=url, headers=basic(job.api_key))


# https://www.twilio.com/docs/messaging/api/message-resource#update-a-message-resource: while it is not sent
# https://www.twilio.com/docs/voice/api/call-resource#update-a-call-resource: "completed" hangs up at any time
def cancel(job: Ask, *, resource: str, word: str) -> HttpRequest:
    url = f"{_account(job)}/{resource}/{segment(job.external_id)}.json"
    return form_request(url, {"Status": word}, basic(job.api_key))


def _account(job: Start | Ask) -> str:
    sid, _, token = job.api_key.partition(":")
    if not sid.startswith("AC") or not token:
        raise OperatorError("secret twilio-api-key cannot be used: set it as ACCOUNT_SID:AUTH_TOKEN")
    return f"{job.api_url}/2010-04-01/Accounts/{segment(sid)}"


def _written(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict) else value


def read_answer(answer: HttpAnswer, *, operation: str) -> Started:
    return _standing(parse_object(answer.body), operation).as_answer()


def read(delivery: Delivery) -> tuple[Callback, ...]:
    thing = _form(delivery)
    operation = "call" if "CallSid" in thing else "message"
    thing = {FIELDS[name]: value for name, value in thing.items() if name in FIELDS and value}
    word = text_at(thing, "status")
    callback = _standing(thing, operation).as_callback(
        event_id=SCHEMES["twilio_form"].event_id(delivery),
        event_type=f"{operation}.{word}",
        operation=operation,
    )
    return (callback,)


def _form(delivery: Delivery) -> JsonObject:
    """Read the form as its scheme does; a field that stands more than once says nothing."""
    try:
        pairs = [(name.decode(), value.decode()) for name, value in read_urlencoded(delivery.body)]
    except ValueError:
        raise NotUnderstood("the body is not a form in UTF-8") from None
    times = Counter(name for name, _ in pairs)
    return {name: value for name, value in pairs if times[name] == 1}


def _standing(thing: JsonObject, operation: str) -> Started:
    word = thing.get("status")
    found = Started(external_id=text_at(thing, "sid"), status=status_in(WORDS[operation], word))
    if found.status is Status.SUCCEEDED:
        return found.with_result(Message if operation == "message" else Call, thing)
    if found.status.settled:
        message = thing.get("error_message") or f"the {operation} ended as {word}"
        # https://www.twilio.com/docs/api/errors: a number in answers, its digits in callbacks
        return found.with_failure(told(thing.get("error_code"), message, otherwise=str(word)))
    return found


PROVIDER = Provider(
    name="twilio",
    documentation="https://www.twilio.com/docs/usage/api",
    completion=Completion.WEBHOOK,
    api_url="https://api.twilio.com",
    api_key="twilio-api-key",
    scheme=SCHEMES["twilio_form"],
    signing_secret="twilio-signing-secret",  # noqa: S106 - the secret's name
    operations={
        "message": Operation(
            input=MessageInput,
            result=Message,
            start=partial(start, resource="Messages"),
            read_start=partial(read_answer, operation="message"),
            poll=partial(poll, resource="Messages"),
            read_poll=partial(read_answer, operation="message"),
            cancel=partial(cancel, resource="Messages", word="canceled"),
        ),
        "call": Operation(
            input=CallInput,
            result=Call,
            start=partial(start, resource="Calls"),
            read_start=partial(read_answer, operation="call"),
            poll=partial(poll, resource="Calls"),
            read_poll=partial(read_answer, operation="call"),
            cancel=partial(cancel, resource="Calls", word="completed"),
        ),
    },
    default_operation="message",
    read=read,
    # https://www.twilio.com/docs/api/errors/15003: 200 with TwiML
    answer=WebhookAnswer(body=b"<Response/>", content_type="text/xml"),
    # https://www.twilio.com/docs/usage/twilios-response#response-formats-exceptions
    refusal=partial(refusal_in, path="message"),
    # https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides: one more try, and only if no
    # connection was made; both together take no longer than this
    patience=timedelta(seconds=15),
    repeats_for=timedelta(seconds=15),
)
