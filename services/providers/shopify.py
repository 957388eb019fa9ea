"""Shopify: bulk queries of a shop, found again by their own id.

A webhook says that a bulk operation has ended; how, and where the result lies, is asked of Shopify. One that
is started while as many run as the shop allows is refused. The API key is CLIENT_ID:CLIENT_SECRET of an app
of the shop's own organization; the signing secret is the client secret.
"""

from datetime import datetime, timedelta
from functools import partial

from pydantic import BaseModel, Field

from services.errors import NotSent, NotUnderstood, OperatorError
from services.jsons import at, parse_object
from services.models import Callback, Delivery, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import (
    Access,
    Ask,
    CallbackAddress,
    Completion,
    Input,
    Operation,
    Provider,
    Start,
    Started,
)
from services.providers.failures import refusal_in, told
from services.providers.reading import object_at, read_access_token, status_in, text_at, time_from_text
from services.providers.requests import form_request, json_request
from services.signatures.catalogue import SCHEMES

# https://shopify.dev/docs/api/usage/versioning
API_VERSION = "2026-10"

# https://shopify.dev/docs/api/admin-graphql/latest/enums/BulkOperationStatus
STATUSES = {
    "CREATED": Status.RUNNING,
    "RUNNING": Status.RUNNING,
    "CANCELING": Status.RUNNING,
    "COMPLETED": Status.SUCCEEDED,
    "FAILED": Status.FAILED,
    "EXPIRED": Status.FAILED,  # it had ended, and what it found is no longer kept
    "CANCELED": Status.CANCELED,
}
FIELDS = "id status errorCode createdAt completedAt objectCount rootObjectCount fileSize url partialDataUrl"
# https://shopify.dev/docs/api/admin-graphql/latest/mutations/bulkOperationRunQuery
START = f"""mutation($query: String!, $groupObjects: Boolean!) {{
  bulkOperationRunQuery(query: $query, groupObjects: $groupObjects) {{
    bulkOperation {{ {FIELDS} }}
    userErrors {{ code field message }}
  }}
}}"""
# https://shopify.dev/docs/api/admin-graphql/latest/objects/BulkOperation
POLL = f"query($id: ID!) {{ node(id: $id) {{ ... on BulkOperation {{ {FIELDS} }} }} }}"
# https://shopify.dev/docs/api/admin-graphql/latest/mutations/bulkOperationCancel
CANCEL = (
    "mutation($id: ID!) { bulkOperationCancel(id: $id) { bulkOperation { status } userErrors { message } } }"
)


class BulkQueryInput(Input):
    """What to ask of the whole shop, in GraphQL; `group_objects` puts children behind their parents."""

    query: str = Field(min_length=1, max_length=20_000)
    group_objects: bool = False


class BulkResult(BaseModel):
    """What was found; `url` opens it to anybody, as lines of JSON, for seven days."""

    id: str
    url: str | None = None
    object_count: str | None = Field(None, alias="objectCount")
    root_object_count: str | None = Field(None, alias="rootObjectCount")
    file_size: str | None = Field(None, alias="fileSize")
    created_at: str | None = Field(None, alias="createdAt")
    completed_at: str | None = Field(None, alias="completedAt")


# https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/client-credentials-grant
def ask_access(api_url: str, api_key: str, _: datetime) -> HttpRequest:
    client_id, _colon, client_secret = api_key.partition(":")
    if not client_id or not client_secret:
        raise OperatorError("secret shopify-api-key cannot be used: set it as CLIENT_ID:CLIENT_SECRET")
    fields = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret,
    }
    return form_request(f"{api_url}/admin/oauth/access_token", fields, {})


def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump()
    return _ask(job, START, {"query": asked["query"], "groupObjects": asked["group_objects"]})


def poll(job: Ask) -> HttpRequest:
    return _ask(job, POLL, {"id": job.external_id})


def cancel(job: Ask) -> HttpRequest:
    return _ask(job, CANCEL, {"id": job.external_id})


# https://shopify.dev/docs/api/admin-graphql#authentication
def _ask(job: Start | Ask, query: str, variables: JsonObject) -> HttpRequest:
    url = f"{job.api_url}/admin/api/{API_VERSION}/graphql.json"
    body: JsonObject = {"query": query, "variables": variables}
    return json_request("POST", url, body, {"x-shopify-access-token": job.api_key})


# https://shopify.dev/docs/api/admin-graphql#status-and-error-codes: errors come with 200 too
def read_start(answer: HttpAnswer) -> Started:
    body = parse_object(answer.body)
    asked = at(body, "data.bulkOperationRunQuery")
    mistake, error = at(asked, "userErrors.0"), at(body, "errors.0")
    match at(error, "extensions.code"):
        case "THROTTLED":
            raise NotSent("the shop's limit of requests is reached")
        case "INTERNAL_SERVER_ERROR":
            raise NotUnderstood("an error at Shopify may hide that it acted")
    if at(mistake, "message") or at(error, "message"):
        code = at(mistake, "code") or at(error, "extensions.code")
        message = at(mistake, "message") or at(error, "message")
        failure = told(code, message, otherwise="provider_refused")
        return Started(status=Status.FAILED, failure=failure)
    return _standing(object_at(body, "data.bulkOperationRunQuery.bulkOperation"))


def read_poll(answer: HttpAnswer) -> Started:
    return _standing(object_at(parse_object(answer.body), "data.node"))


def _standing(thing: JsonObject) -> Started:
    word = text_at(thing, "status")
    found = Started(external_id=text_at(thing, "id"), status=status_in(STATUSES, word))
    if found.status is Status.SUCCEEDED:
        return found.with_result(BulkResult, thing)
    if found.status.settled:
        message = f"the bulk operation ended as {word.lower()}"
        return found.with_failure(told(thing.get("errorCode"), message, otherwise=word.lower()))
    return found.as_answer()


# https://shopify.dev/docs/api/webhooks?reference=toml
def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    external_id = text_at(event, "admin_graphql_api_id")
    if not external_id.startswith("gid://shopify/BulkOperation/") or event.get("type") != "query":
        raise NotUnderstood("this is not about a bulk query")
    callback = Callback(
        event_id=f"{external_id}-{text_at(event, 'status')}",  # the id in a header is not signed
        event_type="bulk_operations/finish",
        status=Status.RUNNING,
        operation="bulk_query",
        external_id=external_id,
        occurred_at=time_from_text(event.get("completed_at")),
        thin=True,
    )
    return (callback,)


PROVIDER = Provider(
    name="shopify",
    documentation="https://shopify.dev/docs/api/usage/bulk-operations/queries",
    completion=Completion.WEBHOOK,
    api_url="",
    api_url_example="https://acme.myshopify.com",
    api_key="shopify-api-key",
    access=Access(request=ask_access, read=read_access_token),
    scheme=SCHEMES["shopify"],
    signing_secret="shopify-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "bulk_query": Operation(
            input=BulkQueryInput,
            result=BulkResult,
            start=start,
            read_start=read_start,
            cancel=cancel,
            poll=poll,
            read_poll=read_poll,
            start_budget=timedelta(seconds=10),  # an access token is asked for first
            # https://shopify.dev/docs/api/usage/bulk-operations/queries#limitations
            deadline=timedelta(days=10),
        )
    },
    default_operation="bulk_query",
    read=read,
    refusal=partial(refusal_in, path="errors"),
    # https://shopify.dev/docs/apps/build/webhooks/subscribe/https
    patience=timedelta(seconds=5),
    repeats_for=timedelta(hours=4),
)
