"""Replicate: predictions of machine-learning models, each with its own webhook address."""

from datetime import timedelta
from functools import partial
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import (
    Ask,
    Completion,
    Operation,
    Provider,
    Start,
    Started,
    declared,
    parse_object,
)
from services.providers.reading import at, header_text, refusal_in, status_in, text_at, time_from_text, told
from services.providers.requests import bearer, json_request, segment
from services.signatures.catalogue import STANDARD_WEBHOOKS

# https://replicate.com/docs/topics/predictions/lifecycle
STATUSES = {
    "starting": Status.RUNNING,
    "processing": Status.RUNNING,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "canceled": Status.CANCELED,  # by somebody, or past its own deadline while it ran
    "aborted": Status.CANCELED,  # past its own deadline before it ran
}
_MODEL = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*"


class PredictionInput(BaseModel):
    """What to run (a version, or an official model by name), and the model's own input."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str | None = Field(None, pattern=rf"^({_MODEL}(:[0-9a-zA-Z]+)?|[0-9a-zA-Z]+)$", max_length=255)
    model: str | None = Field(None, pattern=rf"^{_MODEL}$", max_length=190)
    input: dict[str, JsonValue]

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.version is None) == (self.model is None):
            raise ValueError("give either version or model")
        return self


class Metrics(BaseModel):
    """How long it took, in seconds."""

    predict_time: float | None = None
    total_time: float | None = None


class Prediction(BaseModel):
    """What a prediction came to."""

    output: JsonValue = None
    metrics: Metrics | None = None
    model: str | None = None
    version: str | None = None
    started_at: str | None = None
    completed_at: str | None = None


# https://replicate.com/docs/reference/http#predictions.create and #models.predictions.create
def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump()
    place = f"models/{asked['model']}/predictions" if asked["model"] else "predictions"
    body: JsonObject = {"input": asked["input"], "webhook": job.callback_url}
    # https://replicate.com/docs/topics/webhooks/setup-webhook: each event sent is an execution paid for
    body["webhook_events_filter"] = ["completed"]
    if asked["version"]:
        body["version"] = asked["version"]
    return json_request("POST", f"{job.api_url}/v1/{place}", body, bearer(job.api_key))


def read_answer(answer: HttpAnswer) -> Started:
    prediction = parse_object(answer.body)
    external_id, status = text_at(prediction, "id"), status_in(STATUSES, prediction.get("status"))
    if not status.settled:
        return Started(external_id=external_id)
    result, failure = _outcome(prediction, status)
    return Started(external_id=external_id, status=status, result=result, failure=failure)


# https://replicate.com/docs/reference/http#predictions.get
def poll(job: Ask) -> HttpRequest:
    url = f"{job.api_url}/v1/predictions/{segment(job.external_id)}"
    return HttpRequest(method="GET", url=url, headers=bearer(job.api_key))


# https://replicate.com/docs/reference/http#predictions.cancel
def cancel(job: Ask) -> HttpRequest:
    return HttpRequest(
        method="POST",
        url=f"{job.api_url}/v1/predictions/{segment(job.external_id)}/cancel",
        headers=bearer(job.api_key),
    )


# https://replicate.com/docs/topics/webhooks/receive-webhook: the body is the prediction as it then was
def read(delivery: Delivery) -> tuple[Callback, ...]:
    prediction = parse_object(delivery.body)
    word = text_at(prediction, "status")
    status = status_in(STATUSES, word)
    result, failure = _outcome(prediction, status)
    when = prediction.get("completed_at") or prediction.get("started_at") or prediction.get("created_at")
    callback = Callback(
        event_id=header_text(delivery, "webhook-id"),
        event_type=f"prediction.{word}",
        status=status,
        operation="prediction",
        external_id=text_at(prediction, "id"),
        occurred_at=time_from_text(when),
        result=result,
        failure=failure,
    )
    return (callback,)


def _outcome(prediction: JsonObject, status: Status) -> tuple[JsonObject | None, Failure | None]:
    if status is Status.SUCCEEDED:
        return declared(Prediction, prediction), None
    if status is Status.FAILED:
        return None, told(None, prediction.get("error"), otherwise="prediction_failed")
    if status is Status.CANCELED:
        reason = at(prediction, "error") or f"the prediction was {prediction.get('status')}"
        return None, told(prediction.get("status"), reason, otherwise="canceled")
    return None, None


PROVIDER = Provider(
    name="replicate",
    documentation="https://replicate.com/docs/reference/http",
    completion=Completion.WEBHOOK,
    api_url="https://api.replicate.com",
    api_key="replicate-api-key",
    scheme=STANDARD_WEBHOOKS,  # https://replicate.com/docs/topics/webhooks/verify-webhook
    signing_secret="replicate-signing-secret",  # noqa: S106 - the secret's name
    operations={
        "prediction": Operation(
            input=PredictionInput,
            result=Prediction,
            start=start,
            read_start=read_answer,
            cancel=cancel,
            poll=poll,
            read_poll=read_answer,
            # https://replicate.com/docs/topics/predictions/data-retention: what came out is kept for an hour
            poll_every=timedelta(minutes=20),
        )
    },
    default_operation="prediction",
    read=read,
    refusal=partial(refusal_in, path="detail"),
    # https://replicate.com/docs/topics/webhooks/receive-webhook#retries: "a few seconds", "about 1 minute"
    patience=timedelta(seconds=3),
    repeats_for=timedelta(minutes=1),
)
