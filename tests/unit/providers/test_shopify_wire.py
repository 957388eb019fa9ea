"""Shopify's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import ValidationError

from services.attempt import read_answer
from services.errors import NotSent, NotUnderstood, OperatorError
from services.lifecycle import PutOff
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start, Started
from services.providers.shopify import PROVIDER, BulkQueryInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["bulk_query"]
SHOP = "https://acme.myshopify.com"
BULK = "gid://shopify/BulkOperation/147595010"
ASK = Ask(job_id="job_1", external_id=BULK, api_url=SHOP, api_key="token")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FIELDS = "id status errorCode createdAt completedAt objectCount rootObjectCount fileSize url partialDataUrl"


def started(**given: Any) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=BulkQueryInput.model_validate(given),
            api_url=SHOP,
            api_key="token",
            callback_url="https://hooks.example.com/",
        )
    )


def delivered(body: bytes) -> Delivery:
    return Delivery(method="POST", url="https://x.example/", headers={}, body=body, received_at=NOW)


def changed(**changes: object) -> bytes:
    return json.dumps(json.loads(sample("shopify", "callback.succeeded")) | changes).encode()


def polled(body: bytes) -> Started:
    assert OPERATION.read_poll is not None
    return OPERATION.read_poll(HttpAnswer(status=200, body=body))


def test_an_access_token_is_given_for_the_apps_credentials() -> None:
    assert PROVIDER.access is not None
    request = PROVIDER.access.request(SHOP, "client:sec:ret", NOW)
    assert (request.method, request.url) == ("POST", f"{SHOP}/admin/oauth/access_token")
    assert request.headers == {"content-type": "application/x-www-form-urlencoded"}
    assert parse_qsl(request.body.decode()) == [
        ("grant_type", "client_credentials"),
        ("client_id", "client"),
        ("client_secret", "sec:ret"),
    ]
    answer = HttpAnswer(
        status=200, body=b'{"access_token":"f85632530bf277ec9ac6f649fc327f17","expires_in":86399}'
    )
    token = PROVIDER.access.read(answer)
    assert (token.text, token.lifetime) == ("f85632530bf277ec9ac6f649fc327f17", timedelta(seconds=86399))


@pytest.mark.parametrize("key", ["shpat_81", "client:", ":secret", ""])
def test_a_key_that_is_no_pair_is_the_operators_to_mend(key: str) -> None:
    assert PROVIDER.access is not None
    with pytest.raises(OperatorError, match="shopify-api-key cannot be used: set it as CLIENT_ID:CLIENT_SEC"):
        PROVIDER.access.request(SHOP, key, NOW)


def test_a_bulk_query_is_asked_of_the_shop() -> None:
    request = started(query="{ products { edges { node { id } } } }", group_objects=True)
    assert (request.method, request.url) == ("POST", f"{SHOP}/admin/api/2026-10/graphql.json")
    assert request.headers == {"x-shopify-access-token": "token", "content-type": "application/json"}
    body = json.loads(request.body)
    assert body["variables"] == {"query": "{ products { edges { node { id } } } }", "groupObjects": True}
    assert " ".join(body["query"].split()) == (
        "mutation($query: String!, $groupObjects: Boolean!) {"
        " bulkOperationRunQuery(query: $query, groupObjects: $groupObjects) {"
        f" bulkOperation {{ {FIELDS} }} userErrors {{ code field message }} }} }}"
    )


def test_objects_are_not_grouped_unless_asked_for() -> None:
    assert json.loads(started(query="{ x }").body)["variables"]["groupObjects"] is False


@pytest.mark.parametrize(
    "given",
    [{}, {"query": ""}, {"query": 7}, {"query": "x" * 20_001}, {"query": "x", "mutation": "y"}],
    ids=["none", "empty", "number", "long", "mutation"],
)
def test_an_input_that_shopify_would_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BulkQueryInput.model_validate(given)


def test_a_start_says_its_id() -> None:
    found = OPERATION.read_start(HttpAnswer(status=200, body=sample("shopify", "start")))
    assert found == Started(external_id=BULK)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            sample("shopify", "start.refused"),
            "OPERATION_IN_PROGRESS",
            f"A bulk query operation for this app and shop is already in progress: {BULK}.",
        ),
        (
            b'{"errors":[{"message":"Access denied","extensions":{"code":"ACCESS_DENIED"}}]}',
            "ACCESS_DENIED",
            "Access denied",
        ),
        (b'{"errors":[{"message":"syntax error"}]}', "provider_refused", "syntax error"),
    ],
    ids=["user-error", "error", "no-code"],
)
def test_a_start_that_is_refused_with_200_has_failed(body: bytes, code: str, message: str) -> None:
    found = OPERATION.read_start(HttpAnswer(status=200, body=body))
    assert found == Started(status=Status.FAILED, failure=Failure(code=code, message=message))


# https://shopify.dev/docs/api/admin-graphql#status-and-error-codes
def test_a_start_that_was_throttled_is_put_off() -> None:
    throttled = HttpAnswer(status=200, body=sample("shopify", "start.throttled"))
    with pytest.raises(NotSent):
        OPERATION.read_start(throttled)
    assert isinstance(read_answer(PROVIDER, OPERATION, throttled, NOW), PutOff)


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":null}',
        b'{"errors":"x"}',
        b'{"errors":[7]}',
        b'{"data":{"bulkOperationRunQuery":null}}',
        b'{"errors":[{"message":"Internal","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}',
    ],
)
def test_a_start_that_says_neither_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        OPERATION.read_start(HttpAnswer(status=200, body=body))


def test_a_bulk_query_is_asked_after_and_cancelled_by_its_id() -> None:
    assert OPERATION.poll is not None
    assert OPERATION.cancel is not None
    poll, cancel = OPERATION.poll(ASK), OPERATION.cancel(ASK)
    assert (poll.method, poll.url) == ("POST", f"{SHOP}/admin/api/2026-10/graphql.json")
    assert poll.headers == {"x-shopify-access-token": "token", "content-type": "application/json"}
    assert json.loads(poll.body) == {
        "query": f"query($id: ID!) {{ node(id: $id) {{ ... on BulkOperation {{ {FIELDS} }} }} }}",
        "variables": {"id": BULK},
    }
    assert (cancel.method, cancel.url, cancel.headers) == (poll.method, poll.url, poll.headers)
    assert json.loads(cancel.body) == {
        "query": "mutation($id: ID!) { bulkOperationCancel(id: $id)"
        " { bulkOperation { status } userErrors { message } } }",
        "variables": {"id": BULK},
    }


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("running", Started(external_id=BULK)),
        (
            "succeeded",
            Started(
                external_id=BULK,
                status=Status.SUCCEEDED,
                result={
                    "id": BULK,
                    "url": "https://storage.googleapis.com/shopify-tiers-assets-prod-us-east1/"
                    "bulk-operation-outputs/81?Expires=1796126984&Signature=81",
                    "objectCount": "57",
                    "rootObjectCount": "19",
                    "fileSize": "358",
                    "createdAt": "2026-11-23T12:00:00Z",
                    "completedAt": "2026-11-23T12:09:44Z",
                },
            ),
        ),
        (
            "failed",
            Started(
                external_id=BULK,
                status=Status.FAILED,
                failure=Failure(code="ACCESS_DENIED", message="the bulk operation ended as failed"),
            ),
        ),
        (
            "canceled",
            Started(
                external_id=BULK,
                status=Status.CANCELED,
                failure=Failure(code="canceled", message="the bulk operation ended as canceled"),
            ),
        ),
    ],
)
def test_a_poll_says_how_a_bulk_query_stands(name: str, told: Started) -> None:
    assert polled(sample("shopify", f"poll.{name}")) == told


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("CREATED", Status.RUNNING),
        ("CANCELING", Status.RUNNING),
        ("MELTED", Status.RUNNING),
        ("EXPIRED", Status.FAILED),
    ],
)
def test_each_word_ends_a_bulk_query_or_does_not(word: str, status: Status) -> None:
    body = json.dumps({"data": {"node": {"id": BULK, "status": word}}}).encode()
    assert polled(body).status is status


@pytest.mark.parametrize(
    "body",
    [
        sample("shopify", "start.throttled"),
        b'{"data":{"node":null}}',
        b'{"data":{"node":{}}}',
        b'{"data":{"node":{"id":"x","status":"COMPLETED","url":7}}}',
    ],
    ids=["throttled", "gone", "another-kind", "odd-result"],
)
def test_a_poll_that_tells_nothing_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        polled(body)


@pytest.mark.parametrize("name", ["succeeded", "failed", "canceled"])
def test_a_webhook_says_only_that_a_bulk_query_has_ended(name: str) -> None:
    word = {"succeeded": "completed"}.get(name, name)
    (callback,) = PROVIDER.read(delivered(sample("shopify", f"callback.{name}")))
    assert (callback.event_id, callback.event_type) == (f"{BULK}-{word}", "bulk_operations/finish")
    assert callback.thin
    assert (callback.status, callback.operation) == ("running", "bulk_query")
    assert (callback.job_id, callback.external_id) == (None, BULK)
    assert (callback.result, callback.failure) == (None, None)


def test_a_webhook_tells_its_time() -> None:
    (callback,) = PROVIDER.read(delivered(sample("shopify", "callback.succeeded")))
    assert callback.occurred_at == datetime(2026, 11, 23, 12, 9, 44, tzinfo=UTC)


@pytest.mark.parametrize(
    "body",
    [
        changed(type="mutation"),
        changed(admin_graphql_api_id="gid://shopify/Product/788032119674292922"),
        changed(admin_graphql_api_id=None),
        changed(status=None),
        b'{"id":788032119674292922,"title":"Example T-Shirt"}',
    ],
    ids=["mutation", "product", "no-id", "no-status", "rest"],
)
def test_a_webhook_about_something_else_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b'{"errors":"Not Found"}', "Not Found"),
        (423, b'{"errors":"This shop is unavailable"}', "This shop is unavailable"),
        (401, b'{"errors":"[API] Invalid API key or access token"}', "the provider answered 401"),
        (400, b'{"errors":{"query":"Required"}}', "the provider answered 400"),
    ],
    ids=["shop", "locked", "key", "odd"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code="provider_refused", message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert (PROVIDER.api_url, PROVIDER.api_url_example) == ("", "https://acme.myshopify.com")
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=5), timedelta(hours=4))
    assert (OPERATION.deadline, OPERATION.start_budget) == (timedelta(days=10), timedelta(seconds=10))
    assert not OPERATION.idempotent
