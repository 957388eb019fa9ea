"""Replicate: predictions of machine-learning models, each with its own webhook address."""

from datetime import timedelta
from functools import partial
from typing import Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from services.jsons import parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import refusal_in, told
from services.providers.reading import header_text, status_in, text_at, time_from_text
from services.providers.requests import about_job, bearer, json_request
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


class PredictionInput(Input):
    """What to run (a version, or an official model by name), and the model's own input."""

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
    return _standing(parse_object(answer.body)).as_answer()


# https://replicate.com/docs/topics/webhooks/receive-webhook: the body is the prediction as it then was
def read(delivery: Delivery) -> tuple[Callback, ...]:
    prediction = parse_object(delivery.body)
    when = prediction.get("completed_at") or prediction.get("started_at") or prediction.get("created_at")
    callback = _standing(prediction).as_callback(
        event_id=header_text(delivery, "webhook-id"),
        event_type=f"prediction.{text_at(prediction, 'status')}",
        operation="prediction",
        occurred_at=time_from_text(when),
    )
    return (callback,)


def _standing(prediction: JsonObject) -> Started:
    word, error = prediction.get("status"), prediction.get("error")
    found = Started(external_id=text_at(prediction, "id"), status=status_in(STATUSES, word))
    if found.status is Status.SUCCEEDED:
        return found.with_result(Prediction, prediction)
    if found.status is Status.FAILED:
        return found.with_failure(told(None, error, otherwise="prediction_failed"))
    if found.status is Status.CANCELED:
        reason = error or f"the prediction was {word}"
        return found.with_failure(told(word, reason, otherwise="canceled"))
    return found


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
            # https://replicate.com/docs/reference/http#predictions.cancel
            cancel=about_job("POST", "/v1/predictions/{id}/cancel", bearer),
            # https://replicate.com/docs/reference/http#predictions.get
            poll=about_job("GET", "/v1/predictions/{id}", bearer),
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
