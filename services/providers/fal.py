"""fal: requests to machine-learning models, queued, each with its own webhook address.

What fal asks by is the model's address together with the request's id, so both are the job's external id; a
callback names the request alone and is bound by the token in its address. Every customer's callbacks are
signed with the same keys. Only a callback brings the output along: a job whose end was learned by asking says
where the output lies, which takes the API key.
"""

import re
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, Field, JsonValue

from services.errors import NotUnderstood
from services.jsons import at, parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import plain_refusal, refusal_body, told
from services.providers.reading import status_in, text_at
from services.providers.requests import about_job, json_request
from services.signatures.catalogue import SCHEMES

# https://fal.ai/docs/documentation/model-apis/inference/queue#how-the-queue-works
STATUSES = {"IN_QUEUE": Status.RUNNING, "IN_PROGRESS": Status.RUNNING, "COMPLETED": Status.SUCCEEDED}
# https://fal.ai/docs/documentation/model-apis/inference/webhooks
EVENTS = {"OK": Status.SUCCEEDED, "ERROR": Status.FAILED}
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_REQUEST = re.compile(rf"/({_NAME}(?:/{_NAME}){{1,5}}/requests/[A-Za-z0-9-]{{1,64}})", re.ASCII)


class RequestInput(Input):
    """Which model to run, with its path if it has one, and the model's own input."""

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


def read_poll(answer: HttpAnswer) -> Started:
    request = parse_object(answer.body)
    if status_in(STATUSES, text_at(request, "status")) is not Status.SUCCEEDED:
        return Started()
    if request.get("error"):
        failure = told(request.get("error_type"), request["error"], otherwise="request_failed")
        return Started(status=Status.FAILED, failure=failure)
    place: JsonObject = {"response_url": request.get("response_url")}
    return Started(status=Status.SUCCEEDED).with_result(Output, place)


def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    word, request_id = text_at(event, "status"), text_at(event, "request_id")
    found = Started(status=status_in(EVENTS, word))
    if found.status is Status.SUCCEEDED:
        found = found.with_result(Output, event)
    elif found.status is Status.FAILED:
        code, detail = at(event, "payload.error_type"), _sentence(at(event, "payload.detail"))
        said = [text for text in (event.get("error"), detail) if isinstance(text, str)]
        found = found.with_failure(told(code, ": ".join(said), otherwise="request_failed"))
    callback = found.as_callback(
        event_id=f"{request_id}-{word}", event_type=f"request.{word.lower()}", operation="request"
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
            # A request that runs already may go on, and what it puts out is paid for.
            cancel=about_job("PUT", "/{path}/cancel", _key),
            poll=about_job("GET", "/{path}/status", _key),
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
