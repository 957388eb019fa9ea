"""fal: requests to machine-learning models, queued, each with its own webhook address.

What fal asks by is the model's address together with the request's id, so both are the job's external id; a
callback names the request alone and is bound by the token in its address. Every customer's callbacks are
signed with the same keys. Only a callback brings the output along: a job whose end was learned by asking says
where the output lies, which takes the API key.
"""

import re
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.errors import NotUnderstood
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import (
    Ask,
    Completion,
    Operation,
    Provider,
    Start,
    Started,
    declared,
    parse_object,
    plain_refusal,
)
from services.providers.reading import at, refusal_body, status_in, text_at, told
from services.providers.requests import json_request, segment
from services.signatures.catalogue import SCHEMES

# https://fal.ai/docs/documentation/model-apis/inference/queue#how-the-queue-works
STATUSES = {"IN_QUEUE": Status.RUNNING, "IN_PROGRESS": Status.RUNNING, "COMPLETED": Status.SUCCEEDED}
# https://fal.ai/docs/documentation/model-apis/inference/webhooks
EVENTS = {"OK": Status.SUCCEEDED, "ERROR": Status.FAILED}
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_REQUEST = re.compile(rf"/({_NAME}(?:/{_NAME}){{1,5}}/requests/[A-Za-z0-9-]{{1,64}})", re.ASCII)


class RequestInput(BaseModel):
    """Which model to run, with its path if it has one, and the model's own input."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(pattern=rf"^{_NAME}(/{_NAME}){{1,5}}$", max_length=160)
    input: dict[str, JsonValue]


class Output(BaseModel):
    """What a model put out; `payload_error` says why that could not be sent along."""

    payload: JsonValue = None
    payload_error: str | None = None
    response_url: str | None = None


# https://fal.ai/docs/documentation/model-apis/inference/webhooks
def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump()
    url = f"{job.api_url}/{asked['model']}?{urlencode({'fal_webhook': job.callback_url})}"
    return json_request("POST", url, asked["input"], _key(job.api_key))


# https://fal.ai/docs/documentation/model-apis/inference/queue: the model's path is not part of the address
def read_start(answer: HttpAnswer) -> Started:
    found = _REQUEST.fullmatch(_path(text_at(parse_object(answer.body), "response_url")))
    if not found:
        raise NotUnderstood("there is no address of a request at response_url")
    return Started(external_id=found[1])


def poll(job: Ask) -> HttpRequest:
    return HttpRequest(method="GET", url=_address(job, "status"), headers=_key(job.api_key))


# A request that runs already may go on, and what it puts out is paid for.
def cancel(job: Ask) -> HttpRequest:
    return HttpRequest(method="PUT", url=_address(job, "cancel"), headers=_key(job.api_key))


def _address(job: Ask, question: str) -> str:
    return "/".join((job.api_url, *map(segment, job.external_id.split("/")), question))


def read_poll(answer: HttpAnswer) -> Started:
    request = parse_object(answer.body)
    status = status_in(STATUSES, text_at(request, "status"))
    if status is not Status.SUCCEEDED:
        return Started()
    if request.get("error"):
        failure = told(request.get("error_type"), request["error"], otherwise="request_failed")
        return Started(status=Status.FAILED, failure=failure)
    place = {"response_url": request.get("response_url")}
    return Started(status=status, result=declared(Output, place))


def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    word, request_id = text_at(event, "status"), text_at(event, "request_id")
    status = status_in(EVENTS, word)
    failure = None
    if status is Status.FAILED:
        code, detail = at(event, "payload.error_type"), _sentence(at(event, "payload.detail"))
        said = [text for text in (event.get("error"), detail) if isinstance(text, str)]
        failure = told(code, ": ".join(said), otherwise="request_failed")
    callback = Callback(
        event_id=f"{request_id}-{word}",
        event_type=f"request.{word.lower()}",
        status=status,
        operation="request",
        result=declared(Output, event) if status is Status.SUCCEEDED else None,
        failure=failure,
    )
    return (callback,)


# https://fal.ai/docs/documentation/model-apis/errors and
# https://fal.ai/docs/documentation/model-apis/request-errors
def refusal(answer: HttpAnswer) -> Failure:
    body = refusal_body(answer)
    detail = _sentence(body.get("detail")) if body else None
    if body is None or detail is None:
        return plain_refusal(answer)
    return told(body.get("error_type"), detail, otherwise="provider_refused")


def _sentence(detail: JsonValue) -> str | None:
    """Read what is said as a sentence, or of the single parts of an input as `loc` and `msg`."""
    if isinstance(detail, str):
        return detail
    found = []
    for one in detail if isinstance(detail, list) else ():
        place, message = at(one, "loc"), at(one, "msg")
        if isinstance(message, str):
            steps = [str(step) for step in place] if isinstance(place, list) else []
            found.append(": ".join(filter(None, (".".join(steps), message))))
    return "; ".join(found) or None


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        raise NotUnderstood("there is no address") from None


# https://fal.ai/docs/documentation/model-apis/inference/queue#submit-a-request
def _key(api_key: str) -> dict[str, str]:
    return {"authorization": f"Key {api_key}"}


PROVIDER = Provider(
    name="fal",
    documentation="https://fal.ai/docs/documentation/model-apis/inference/queue",
    completion=Completion.WEBHOOK,
    api_url="https://queue.fal.run",
    api_key="fal-api-key",
    scheme=SCHEMES["fal"],
    operations={
        "request": Operation(
            input=RequestInput,
            result=Output,
            start=start,
            read_start=read_start,
            cancel=cancel,
            poll=poll,
            read_poll=read_poll,
        )
    },
    default_operation="request",
    read=read,
    refusal=refusal,
    max_bytes=16 * 1024 * 1024,  # the callback carries the result
    # https://fal.ai/docs/documentation/model-apis/inference/webhooks#retry-policy
    patience=timedelta(seconds=15),
    repeats_for=timedelta(hours=2),
)
