"""Apify: runs of Actors, each with a webhook of its own.

Webhooks are not signed: our token in the address is what proves them. What a run put out stays at Apify, and
the outcome says where: fetching it needs the API key.
"""

import base64
import json
from datetime import timedelta
from functools import partial
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from services.jsons import parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import refusal_in, told
from services.providers.reading import object_at, status_in, text_at, time_from_text
from services.providers.requests import about_job, bearer, json_request, segment
from services.signatures.scheme import Declared

# https://docs.apify.com/actors/development/builds-and-runs#lifecycle
STATUSES = {
    "READY": Status.RUNNING,
    "RUNNING": Status.RUNNING,
    "SUCCEEDED": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
    "TIMING-OUT": Status.RUNNING,
    "TIMED-OUT": Status.FAILED,
    "ABORTING": Status.RUNNING,
    "ABORTED": Status.CANCELED,
}
# https://docs.apify.com/integrations/webhooks/events#event-types: only those that end a run
EVENTS: list[JsonValue] = [
    "ACTOR.RUN.SUCCEEDED",
    "ACTOR.RUN.FAILED",
    "ACTOR.RUN.ABORTED",
    "ACTOR.RUN.TIMED_OUT",
]
# https://docs.apify.com/api/v2/dataset-items-get
ITEMS = "https://api.apify.com/v2/datasets/{}/items"


# https://docs.apify.com/api/v2/actors-runs-post
class RunInput(Input):
    """Which Actor to run (by its id, or `owner~name`), its input, and limits: seconds, megabytes, dollars."""

    model_config = ConfigDict(alias_generator=to_camel)

    actor: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(~[A-Za-z0-9][A-Za-z0-9_.-]*)?$", max_length=128)
    input: dict[str, JsonValue] = Field({})
    build: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    timeout: int | None = Field(None, ge=0, le=31_536_000)
    memory: int | None = Field(None, ge=128, le=32_768)
    max_items: int | None = Field(None, ge=1)
    max_total_charge_usd: float | None = Field(None, gt=0)


# https://docs.apify.com/api/v2/actor-run-get
class Run(BaseModel):
    """A run that succeeded, and where what it put out lies."""

    model_config = ConfigDict(alias_generator=to_camel)

    id: str
    act_id: str | None = None
    status_message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    exit_code: int | None = None
    default_dataset_id: str | None = None
    default_key_value_store_id: str | None = None
    dataset_items_url: str | None = None
    usage_total_usd: float | None = None


# https://docs.apify.com/integrations/webhooks/ad-hoc-webhooks
def start(job: Start) -> HttpRequest:
    query = job.input.model_dump(by_alias=True, exclude_none=True)
    actor, body = query.pop("actor"), query.pop("input")
    webhooks = json.dumps([{"eventTypes": EVENTS, "requestUrl": job.callback_url}])
    query["webhooks"] = base64.b64encode(webhooks.encode()).decode()
    url = f"{job.api_url}/v2/actors/{actor}/runs?{urlencode(query)}"
    return json_request("POST", url, body, bearer(job.api_key))


def read_answer(answer: HttpAnswer) -> Started:
    return _standing(object_at(parse_object(answer.body), "data"))


# https://docs.apify.com/integrations/webhooks/actions#default-payload-template
def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    run = object_at(event, "resource")
    callback = _standing(run).as_callback(
        event_id=Declared().event_id(delivery),
        event_type=text_at(event, "eventType"),
        operation="run",
        occurred_at=time_from_text(event.get("createdAt")),
    )
    return (callback,)


def _standing(run: JsonObject) -> Started:
    found = Started(external_id=text_at(run, "id"), status=status_in(STATUSES, run.get("status")))
    if found.status is Status.SUCCEEDED:
        dataset = run.get("defaultDatasetId")
        items = ITEMS.format(segment(dataset)) if isinstance(dataset, str) else None
        return found.with_result(Run, {**run, "datasetItemsUrl": items})
    if found.status.settled:
        word = text_at(run, "status")
        reason = run.get("statusMessage") or f"the run ended as {word}"
        code = word.lower().replace("-", "_")
        return found.with_failure(told(code, reason, otherwise="run_failed"))
    return found


PROVIDER = Provider(
    name="apify",
    documentation="https://docs.apify.com/api/v2/actors-runs-post",
    completion=Completion.WEBHOOK,
    api_url="https://api.apify.com",
    api_key="apify-api-key",
    operations={
        "run": Operation(
            input=RunInput,
            result=Run,
            start=start,
            read_start=read_answer,
            # https://docs.apify.com/api/v2/actor-run-abort-post
            cancel=about_job("POST", "/v2/actor-runs/{id}/abort", bearer),
            poll=about_job("GET", "/v2/actor-runs/{id}", bearer),
            read_poll=read_answer,
        )
    },
    default_operation="run",
    read=read,
    refusal=partial(refusal_in, path="error.message"),
    # https://docs.apify.com/integrations/webhooks/actions: eleven times, the last after 32 hours
    patience=timedelta(seconds=30),
    repeats_for=timedelta(hours=32),
)
