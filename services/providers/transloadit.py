"""Transloadit: assemblies, which import, process and export files, each with its own notification address.

Whoever knows an assembly's id can see its status and stop it. The API key is AUTH_KEY:AUTH_SECRET; the
signing secret is the auth secret.
"""

import json
from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from services.errors import NotUnderstood, NotVerified, OperatorError
from services.jsons import parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import Access, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import plain_refusal, refusal_body, told
from services.providers.reading import JOB_ID, job_id_at, read_access_token, status_in, text_at
from services.providers.requests import about_job, basic, bearer, form_request, multipart_request
from services.signatures.catalogue import SCHEMES
from services.signatures.forms import only, read_fields

# What stands at `ok`: https://transloadit.com/docs/api/assembly-status-response/
STATUSES = {
    "ASSEMBLY_UPLOADING": Status.RUNNING,
    "ASSEMBLY_EXECUTING": Status.RUNNING,
    "ASSEMBLY_REPLAYING": Status.RUNNING,
    "ASSEMBLY_COMPLETED": Status.SUCCEEDED,
    "ASSEMBLY_CANCELED": Status.CANCELED,
    "REQUEST_ABORTED": Status.CANCELED,
}
# At `error` stands why an assembly failed, or why its status is not told now:
# https://transloadit.com/docs/api/assemblies-assembly-id-get/
NOT_TOLD = ("ASSEMBLY_STATUS_FETCHING_RATE_LIMIT_REACHED", "RATE_LIMIT_REACHED")

Step = dict[str, JsonValue]
Name = Annotated[str, Field(pattern=r"^:?[A-Za-z0-9_-]{1,64}$")]


# https://transloadit.com/docs/api/assemblies-post/
class AssemblyInput(Input):
    """What to do, as steps or by a template, and the values of its variables."""

    steps: dict[Name, Step] | None = Field(None, max_length=50)
    template_id: str | None = Field(None, pattern=r"^[A-Za-z0-9_./-]{1,100}$")
    fields: dict[Name, str | int | bool] = Field({}, max_length=100)

    @model_validator(mode="after")
    def _says_what_to_do(self) -> Self:
        if not (self.steps or self.template_id):
            raise ValueError("give steps or template_id")
        return self


class File(BaseModel):
    """A file that a step put out."""

    id: str | None = None
    name: str | None = None
    mime: str | None = None
    size: int | None = None
    original_id: str | list[str | None] | None = None
    ssl_url: str | None = None
    meta: dict[str, JsonValue] | None = None


class Assembly(BaseModel):
    """The files of each step that are results."""

    assembly_id: str
    results: dict[str, list[File]] | None = None


# https://transloadit.com/docs/api/token-post/
def ask_access(api_url: str, api_key: str, _: datetime) -> HttpRequest:
    if not all(api_key.partition(":")):
        raise OperatorError("secret transloadit-api-key cannot be used: set it as AUTH_KEY:AUTH_SECRET")
    fields = {"grant_type": "client_credentials", "scope": "assemblies:write"}
    return form_request(f"{api_url}/token", fields, basic(api_key))


# https://transloadit.com/docs/api/assemblies-post/
def start(job: Start) -> HttpRequest:
    params = job.input.model_dump(exclude_none=True)
    params["fields"][JOB_ID] = job.job_id
    params["notify_url"] = job.callback_url
    return multipart_request(f"{job.api_url}/assemblies", {"params": json.dumps(params)}, bearer(job.api_key))


def read_answer(answer: HttpAnswer) -> Started:
    return _standing(parse_object(answer.body)).as_answer()


# https://transloadit.com/docs/topics/assembly-notifications/
def read(delivery: Delivery) -> tuple[Callback, ...]:
    try:
        assembly = parse_object(only(read_fields(delivery), b"transloadit"))
    except NotVerified:
        raise NotUnderstood("the body is not a form with an assembly in it") from None
    word = text_at(assembly, "error" if assembly.get("error") else "ok")
    found = _standing(assembly)
    callback = found.as_callback(
        event_id=f"{found.external_id}-{word}",
        event_type=f"assembly.{word}",
        operation="assembly",
        job_id=job_id_at(assembly, f"fields.{JOB_ID}"),
    )
    return (callback,)


def _status(assembly: JsonObject) -> Status:
    error = assembly.get("error")
    if error:
        return Status.UNKNOWN if error in NOT_TOLD else Status.FAILED
    return status_in(STATUSES, assembly.get("ok"))


def _standing(assembly: JsonObject) -> Started:
    found = Started(external_id=text_at(assembly, "assembly_id"), status=_status(assembly))
    if found.status is Status.SUCCEEDED:
        return found.with_result(Assembly, assembly)
    if found.status is Status.FAILED:
        return found.with_failure(_told_error(assembly, otherwise="assembly_failed"))
    if found.status is Status.CANCELED:
        return found.with_failure(told(assembly.get("ok"), assembly.get("message"), otherwise="canceled"))
    return found


# https://transloadit.com/docs/api/response-codes/
def refusal(answer: HttpAnswer) -> Failure:
    body = refusal_body(answer)
    if body is None or not isinstance(body.get("error"), str):
        return plain_refusal(answer)
    return _told_error(body, otherwise="provider_refused")


def _told_error(said: JsonObject, *, otherwise: str) -> Failure:
    return told(said.get("error"), said.get("message") or said.get("reason"), otherwise=otherwise)


PROVIDER = Provider(
    name="transloadit",
    documentation="https://transloadit.com/docs/api/assemblies-post/",
    completion=Completion.WEBHOOK,
    api_url="https://api2.transloadit.com",
    api_key="transloadit-api-key",
    access=Access(request=ask_access, read=read_access_token),
    scheme=SCHEMES["transloadit"],
    signing_secret="transloadit-signing-secret",  # noqa: S106 - the secret's name
    operations={
        "assembly": Operation(
            input=AssemblyInput,
            result=Assembly,
            start=start,
            read_start=read_answer,
            # https://transloadit.com/docs/api/assemblies-assembly-id-delete/
            cancel=about_job("DELETE", "/assemblies/{id}", bearer),
            poll=about_job("GET", "/assemblies/{id}", bearer),
            read_poll=read_answer,
            start_budget=timedelta(seconds=10),  # an access token is asked for first
        )
    },
    default_operation="assembly",
    read=read,
    refusal=refusal,
    # https://transloadit.com/docs/topics/assembly-notifications/; how long it waits is not said
    repeats_for=timedelta(minutes=1),
)
