"""Onfido: workflow runs that verify who somebody is; a callback says that one is done.

A run that waits for its applicant goes on in Onfido's SDK or at its link, which Onfido gives for the job's
external id. That an applicant is declined is a result of a run that succeeded.
"""

from datetime import timedelta
from functools import partial
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from services.errors import NotUnderstood
from services.jsons import at, parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, Status, is_id
from services.providers.base import CallbackAddress, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import refusal_in, told
from services.providers.reading import JOB_ID, status_in, text_at, time_from_text
from services.providers.requests import about_job, json_request
from services.signatures.catalogue import SCHEMES

# https://github.com/onfido/onfido-openapi-spec/blob/master/schemas/workflow_runs/definitions.yaml
STATUSES = {
    "processing": Status.RUNNING,
    "awaiting_input": Status.RUNNING,
    "awaiting_client_input": Status.RUNNING,
    "approved": Status.SUCCEEDED,
    "declined": Status.SUCCEEDED,
    "review": Status.SUCCEEDED,
    "abandoned": Status.CANCELED,
    "error": Status.FAILED,
}
TAG = f"{JOB_ID}:"
SCHEME = SCHEMES["onfido"]

Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


# https://github.com/onfido/onfido-openapi-spec/blob/master/paths/workflow_runs.yaml
class WorkflowRunInput(Input):
    """Which workflow to run, and for which applicant."""

    workflow_id: Uuid
    applicant_id: Uuid
    custom_data: dict[str, JsonValue] | None = None
    customer_user_id: str | None = Field(None, min_length=1, max_length=256)
    tags: list[Annotated[str, Field(min_length=1, max_length=128)]] = Field([], max_length=29)


class WorkflowRun(BaseModel):
    """What a run came to: `status` is its decision, `output` what the workflow is made to tell."""

    id: str
    status: str
    applicant_id: str | None = None
    workflow_id: str | None = None
    workflow_version_id: int | None = None
    output: dict[str, JsonValue] | None = None
    reasons: list[str] | None = None
    dashboard_url: str | None = None


def start(job: Start) -> HttpRequest:
    body = job.input.model_dump(exclude_none=True)
    body["tags"].append(f"{TAG}{job.job_id}")
    return json_request("POST", f"{job.api_url}/v3.6/workflow_runs", body, _token(job.api_key))


# https://github.com/onfido/onfido-python/blob/master/onfido/configuration.py
def _token(api_key: str) -> dict[str, str]:
    return {"authorization": f"Token token={api_key}"}


def read_answer(answer: HttpAnswer) -> Started:
    run = parse_object(answer.body)
    word = run.get("status")
    found = Started(external_id=text_at(run, "id"), status=status_in(STATUSES, word))
    if found.status is Status.SUCCEEDED:
        return found.with_result(WorkflowRun, run)
    if found.status is Status.FAILED:
        code, message = at(run, "error.type"), at(run, "error.message")
        return found.with_failure(told(code, message, otherwise="workflow_run_failed"))
    if found.status is Status.CANCELED:
        return found.with_failure(told(word, "the applicant did not go on with it", otherwise="canceled"))
    return found


# https://github.com/onfido/onfido-openapi-spec/blob/master/schemas/webhooks/webhook_event.yaml: not every
# event holds its `resource`, so that the run is asked for
def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    action = text_at(event, "payload.action")
    if action != "workflow_run.completed":
        raise NotUnderstood("events of this type are not about jobs")
    callback = Callback(
        event_id=SCHEME.event_id(delivery),
        event_type=action,
        status=Status.RUNNING,
        operation="workflow_run",
        job_id=_job_id(at(event, "payload.resource.tags")),
        external_id=text_at(event, "payload.object.id"),
        occurred_at=time_from_text(at(event, "payload.object.completed_at_iso8601")),
        thin=True,
    )
    return (callback,)


def _job_id(tags: JsonValue) -> str | None:
    texts = [one for one in tags if isinstance(one, str)] if isinstance(tags, list) else []
    ids = [one.removeprefix(TAG) for one in texts if one.startswith(TAG)]
    return ids[0] if len(ids) == 1 and is_id(ids[0]) else None


PROVIDER = Provider(
    name="onfido",
    documentation="https://documentation.onfido.com/api/latest/",
    completion=Completion.WEBHOOK,
    # https://github.com/onfido/onfido-openapi-spec/blob/master/openapi.yaml: by region, eu, us or ca
    api_url="",
    api_url_example="https://api.eu.onfido.com",
    api_key="onfido-api-key",
    scheme=SCHEME,
    signing_secret="onfido-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "workflow_run": Operation(
            input=WorkflowRunInput,
            result=WorkflowRun,
            start=start,
            read_start=read_answer,
            poll=about_job("GET", "/v3.6/workflow_runs/{id}", _token),
            read_poll=read_answer,
            deadline=timedelta(days=7),  # a person has to act
        )
    },
    default_operation="workflow_run",
    read=read,
    refusal=partial(refusal_in, path="error.message"),
    # https://github.com/onfido/onfido-openapi-spec/blob/master/paths/webhooks.yaml; how long it repeats is
    # not said
    patience=timedelta(seconds=10),
)
