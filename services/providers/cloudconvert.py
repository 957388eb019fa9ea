"""CloudConvert: jobs of tasks that import, convert and export files, found again by their tag.

Callbacks come from a webhook of the account: each of these has a signing secret, and the webhook that a
single job can name has none. The addresses of exported files open them to anybody, for 24 hours.
"""

from dataclasses import replace
from functools import partial
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.errors import NotUnderstood
from services.jsons import at, parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import CallbackAddress, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import refusal_in, told
from services.providers.reading import job_id_at, object_at, status_in, text_at, time_from_text
from services.providers.requests import about_job, bearer, json_request
from services.signatures.catalogue import SCHEMES

# https://cloudconvert.com/docs/api-reference/jobs
STATUSES = {
    "waiting": Status.RUNNING,
    "processing": Status.RUNNING,
    "finished": Status.SUCCEEDED,
    "error": Status.FAILED,
}
# https://cloudconvert.com/docs/api-reference/webhooks#available-events
EVENTS = {
    "job.created": Status.RUNNING,
    "job.finished": Status.SUCCEEDED,
    "job.failed": Status.FAILED,
}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class TaskInput(BaseModel):
    """What to do, such as `import/url`, and whatever that takes."""

    model_config = ConfigDict(extra="allow", strict=True)

    operation: str = Field(pattern=r"^[a-z0-9_-]{1,40}(/[a-z0-9_-]{1,40})?$")


# https://cloudconvert.com/docs/api-reference/jobs
class ConversionInput(Input):
    """The job's tasks by name: an import, a conversion and an export, say."""

    tasks: dict[Name, TaskInput] = Field(min_length=1, max_length=50)


class File(BaseModel):
    """A file that was exported to an address."""

    filename: str
    url: str | None = None
    size: int | None = None


class Conversion(BaseModel):
    """What a job came to."""

    id: str
    files: list[File]


def start(job: Start) -> HttpRequest:
    body: JsonObject = {**job.input.model_dump(), "tag": job.job_id}
    return json_request("POST", f"{job.api_url}/v2/jobs", body, bearer(job.api_key))


def read_answer(answer: HttpAnswer) -> Started:
    job = object_at(parse_object(answer.body), "data")
    return _standing(job, status_in(STATUSES, job.get("status"))).as_answer()


def read_found(answer: HttpAnswer) -> Started:
    job = object_at(parse_object(answer.body), "data.0")
    found = _standing(job, status_in(STATUSES, job.get("status"))).as_answer()
    return replace(found, job_id=job_id_at(job, "tag"))


# https://cloudconvert.com/docs/api-reference/webhooks#our-webhook-request: the job's own status may be null
def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    event_type, job = text_at(event, "event"), object_at(event, "job")
    if not event_type.startswith("job."):
        raise NotUnderstood("events of this type are not about jobs")
    found = _standing(job, status_in(EVENTS, event_type))
    callback = found.as_callback(
        event_id=f"{event_type}-{found.external_id}",
        event_type=event_type,
        operation="conversion",
        job_id=job_id_at(job, "tag"),
        occurred_at=time_from_text(job.get("ended_at") or job.get("created_at")),
    )
    return (callback,)


def _standing(job: JsonObject, status: Status) -> Started:
    found = Started(external_id=text_at(job, "id"), status=status)
    tasks = job.get("tasks")
    listed = tasks if isinstance(tasks, list) else []
    if status is Status.SUCCEEDED:
        files: list[JsonValue] = []
        for task in listed:
            exported = at(task, "result.files") if at(task, "operation") == "export/url" else None
            files.extend(exported if isinstance(exported, list) else [])
        return found.with_result(Conversion, {"id": job.get("id"), "files": files})
    if status is Status.FAILED:
        failed = [task for task in listed if at(task, "status") == "error"]
        # Those that waited for the one that failed fail after it, and say no more than that.
        causes = [task for task in failed if at(task, "code") != "INPUT_TASK_FAILED"]
        cause = next(iter(causes or failed), None)
        failure = told(at(cause, "code"), at(cause, "message"), otherwise="conversion_failed")
        return found.with_failure(failure)
    return found


PROVIDER = Provider(
    name="cloudconvert",
    documentation="https://cloudconvert.com/docs/api-reference/jobs",
    completion=Completion.WEBHOOK,
    api_url="https://api.cloudconvert.com",
    api_key="cloudconvert-api-key",
    scheme=SCHEMES["cloudconvert"],
    signing_secret="cloudconvert-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "conversion": Operation(
            input=ConversionInput,
            result=Conversion,
            start=start,
            read_start=read_answer,
            # https://cloudconvert.com/docs/api-reference/jobs: deletes the job with its tasks and their files
            cancel=about_job("DELETE", "/v2/jobs/{id}", bearer),
            poll=about_job("GET", "/v2/jobs/{id}", bearer),
            read_poll=read_answer,
            find=about_job("GET", "/v2/jobs?filter[tag]={job_id}&include=tasks", bearer),
            read_find=read_found,
        )
    },
    default_operation="conversion",
    read=read,
    refusal=partial(refusal_in, path="message"),
    # https://cloudconvert.com/docs/api-reference/webhooks#error-handling: three times, "waiting some time in
    # between"; how long it waits for an answer is not said
)
