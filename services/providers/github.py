"""GitHub: runs of Actions workflows that take a `workflow_dispatch`; a run is found by its own address.

Runs that somebody else dispatched call back too, and are nobody's here.
"""

import re
from datetime import timedelta
from functools import partial
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from services.errors import NotUnderstood
from services.jsons import parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import CallbackAddress, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import refusal_in, told
from services.providers.reading import object_at, status_in, text_at, time_from_text
from services.providers.requests import about_job, bearer, json_request
from services.signatures.catalogue import SCHEMES

# https://docs.github.com/webhooks/webhook-events-and-payloads#workflow_run
STATUSES = dict.fromkeys(("requested", "queued", "pending", "waiting", "in_progress"), Status.RUNNING)
CONCLUSIONS = {
    "success": Status.SUCCEEDED,
    # https://docs.github.com/pull-requests/reference/status-checks#check-statuses-and-conclusions: both pass
    "neutral": Status.SUCCEEDED,
    "skipped": Status.SUCCEEDED,
    "failure": Status.FAILED,
    "timed_out": Status.FAILED,
    "startup_failure": Status.FAILED,
    "stale": Status.FAILED,
    "cancelled": Status.CANCELED,
}
SCHEME = SCHEMES["github"]
_RUN = re.compile(r"/repos/([A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}/actions/runs/[0-9]{1,20})", re.ASCII)


# https://docs.github.com/rest/actions/workflows#create-a-workflow-dispatch-event
class RunInput(Input):
    """Which workflow to run, by its file's name or its id, on which branch or tag."""

    owner: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")
    repo: str = Field(pattern=r"^[A-Za-z0-9_.-]{0,99}[A-Za-z0-9_-]$")
    workflow: str = Field(pattern=r"^([0-9]{1,20}|[A-Za-z0-9_.-]{1,200}\.ya?ml)$")
    ref: str = Field(min_length=1, max_length=255)
    inputs: dict[
        Annotated[str, Field(min_length=1, max_length=100)], Annotated[str, Field(max_length=65_535)]
    ] = Field({}, max_length=25)


class Run(BaseModel):
    """A run that has ended; its logs and artifacts are fetched at GitHub."""

    id: int
    name: str | None = None
    conclusion: str
    html_url: str | None = None
    run_number: int | None = None
    run_attempt: int | None = None
    head_branch: str | None = None
    head_sha: str | None = None
    run_started_at: str | None = None
    updated_at: str | None = None


def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump()
    place = f"repos/{asked['owner']}/{asked['repo']}/actions/workflows/{asked['workflow']}/dispatches"
    # https://github.blog/changelog/2026-02-19-workflow-dispatch-api-now-returns-run-ids
    body: JsonObject = {"ref": asked["ref"], "inputs": asked["inputs"], "return_run_details": True}
    return json_request("POST", f"{job.api_url}/{place}", body, _headers(job.api_key))


# https://docs.github.com/rest/about-the-rest-api/api-versions
def _headers(api_key: str) -> dict[str, str]:
    return {
        **bearer(api_key),
        "accept": "application/vnd.github+json",
        "x-github-api-version": "2022-11-28",
    }


def read_start(answer: HttpAnswer) -> Started:
    return Started(external_id=_external_id(parse_object(answer.body).get("run_url")))


def read_poll(answer: HttpAnswer) -> Started:
    return _standing(parse_object(answer.body))


# The header that names the event is not signed, so that what is read is the run itself.
def read(delivery: Delivery) -> tuple[Callback, ...]:
    run = object_at(parse_object(delivery.body), "workflow_run")
    if run.get("event") != "workflow_dispatch":
        raise NotUnderstood("this run was not dispatched")
    callback = _standing(run).as_callback(
        event_id=SCHEME.event_id(delivery),
        event_type=f"workflow_run.{text_at(run, 'status')}",
        operation="run",
        occurred_at=time_from_text(run.get("updated_at")),
    )
    return (callback,)


def _external_id(url: JsonValue) -> str:
    """Return what names a run, and leads to it: letter case counts for nothing in names of repositories."""
    found = _RUN.search(url) if isinstance(url, str) else None
    if found is None:
        raise NotUnderstood("there is no address of a run")
    return found[1].lower()


def _standing(run: JsonObject) -> Started:
    word, conclusion = run.get("status"), run.get("conclusion")
    status = status_in(CONCLUSIONS, conclusion) if word == "completed" else status_in(STATUSES, word)
    found = Started(external_id=_external_id(run.get("url")), status=status)
    if status is Status.SUCCEEDED:
        return found.with_result(Run, run)
    if status.settled:
        failure = told(conclusion, f"the run ended as {conclusion}", otherwise="run_failed")
        return found.with_failure(failure)
    return found


PROVIDER = Provider(
    name="github",
    documentation="https://docs.github.com/rest/actions/workflows#create-a-workflow-dispatch-event",
    completion=Completion.WEBHOOK,
    api_url="https://api.github.com",
    api_key="github-api-key",
    scheme=SCHEME,
    signing_secret="github-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "run": Operation(
            input=RunInput,
            result=Run,
            start=start,
            read_start=read_start,
            # https://docs.github.com/rest/actions/workflow-runs#cancel-a-workflow-run
            cancel=about_job("POST", "/repos/{path}/cancel", _headers),
            # https://docs.github.com/rest/actions/workflow-runs#get-a-workflow-run
            poll=about_job("GET", "/repos/{path}", _headers),
            read_poll=read_poll,
            # Only the start's answer tells which run is ours: GitHub itself gives up after so long.
            start_budget=timedelta(seconds=10),
        )
    },
    default_operation="run",
    read=read,
    refusal=partial(refusal_in, path="message"),
    # https://docs.github.com/webhooks/using-webhooks/handling-failed-webhook-deliveries
    patience=timedelta(seconds=10),
    repeats_for=timedelta(0),
)
