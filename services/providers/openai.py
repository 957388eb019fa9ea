"""OpenAI: responses of models, made in the background; a callback says which one is done, and no more."""

from datetime import timedelta
from functools import partial

from pydantic import BaseModel, Field

from services.errors import NotUnderstood
from services.jsons import at, parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import CallbackAddress, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import refusal_in, told
from services.providers.reading import JOB_ID, header_text, status_in, text_at, time_from_unix
from services.providers.requests import about_job, bearer, json_request
from services.signatures.catalogue import SCHEMES

# https://developers.openai.com/api/docs/guides/background#polling-background-responses
STATUSES = {
    "queued": Status.RUNNING,
    "in_progress": Status.RUNNING,
    "completed": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "incomplete": Status.FAILED,
    "cancelled": Status.CANCELED,
}
# https://developers.openai.com/api/reference/resources/webhooks: how it ended is to be asked
ENDED = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")


# https://developers.openai.com/api/reference/resources/responses/methods/create
class ResponseInput(Input):
    """What to ask of which model."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$")
    input: str | list[JsonObject] = Field(min_length=1, max_length=500_000)
    instructions: str | None = Field(None, max_length=500_000)
    reasoning: JsonObject | None = None
    text: JsonObject | None = None
    tools: list[JsonObject] | None = Field(None, max_length=128)
    max_output_tokens: int | None = Field(None, ge=16, le=10_000_000)
    previous_response_id: str | None = Field(None, pattern=r"^resp_[A-Za-z0-9_]{1,200}$")


class Response(BaseModel):
    """What the model put out, and what it took."""

    id: str
    model: str
    output: list[JsonObject]
    usage: JsonObject | None = None
    created_at: float | None = None
    completed_at: float | None = None


# https://developers.openai.com/api/docs/guides/background
def start(job: Start) -> HttpRequest:
    body: JsonObject = job.input.model_dump(exclude_none=True)
    body |= {"background": True, "store": True, "metadata": {JOB_ID: job.job_id}}
    return json_request("POST", f"{job.api_url}/v1/responses", body, bearer(job.api_key))


def read_answer(answer: HttpAnswer) -> Started:
    response = parse_object(answer.body)
    found = Started(external_id=text_at(response, "id"), status=status_in(STATUSES, response.get("status")))
    if found.status is Status.SUCCEEDED:
        return found.with_result(Response, response)
    if found.status is Status.CANCELED:
        return found.with_failure(told(None, "the response was cancelled", otherwise="canceled"))
    if response.get("status") == "incomplete":
        reason = at(response, "incomplete_details.reason")
        return found.with_failure(told(reason, "the response is incomplete", otherwise="incomplete"))
    if found.status is Status.FAILED:
        code, message = at(response, "error.code"), at(response, "error.message")
        return found.with_failure(told(code, message, otherwise="response_failed"))
    return found


def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    event_type = text_at(event, "type")
    if not event_type.startswith("response."):
        raise NotUnderstood("events of this type are not about jobs")
    ended = event_type in ENDED
    callback = Callback(
        event_id=header_text(delivery, "webhook-id"),
        event_type=event_type,
        status=Status.RUNNING if ended else Status.UNKNOWN,
        operation="response",
        external_id=text_at(event, "data.id"),
        occurred_at=time_from_unix(event.get("created_at")),
        thin=ended,
    )
    return (callback,)


PROVIDER = Provider(
    name="openai",
    documentation="https://developers.openai.com/api/docs/guides/background",
    completion=Completion.WEBHOOK,
    api_url="https://api.openai.com",
    api_key="openai-api-key",
    scheme=SCHEMES["openai"],
    signing_secret="openai-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "response": Operation(
            input=ResponseInput,
            result=Response,
            start=start,
            read_start=read_answer,
            # https://developers.openai.com/api/docs/guides/background#cancelling-a-background-response
            cancel=about_job("POST", "/v1/responses/{id}/cancel", bearer),
            poll=about_job("GET", "/v1/responses/{id}", bearer),
            read_poll=read_answer,
            # "background mode stores response data for roughly 10 minutes"
            poll_after=timedelta(minutes=3),
            poll_every=timedelta(minutes=5),
            start_budget=timedelta(seconds=10),  # only the start's answer tells which response is ours
        )
    },
    default_operation="response",
    read=read,
    # https://developers.openai.com/api/docs/guides/error-codes
    refusal=partial(refusal_in, path="error.message"),
    # https://developers.openai.com/api/docs/guides/webhooks; how long it waits for an answer is not said
    repeats_for=timedelta(hours=72),
)
