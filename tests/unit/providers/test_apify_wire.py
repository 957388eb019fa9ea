"""Apify's wire format, as its documentation shows it."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.apify import PROVIDER, RunInput
from services.providers.base import Ask, CallbackAddress, Start
from services.receive import needs_token
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["run"]
RUN = "HG7ML7M8z78YcAPEB"
HOOK = "https://hooks.example.com/api/webhooks/apify/token"
ASK = Ask(job_id="job_1", external_id="a/..", api_url="https://api.apify.com", api_key="apify_key")
SUCCEEDED = {
    "id": RUN,
    "actId": "HDSasDasz78YcAPEB",
    "statusMessage": "Finished! Total 12 requests: 12 succeeded, 0 failed.",
    "startedAt": "2026-11-23T12:00:00.202Z",
    "finishedAt": "2026-11-23T12:04:08.674Z",
    "exitCode": 0,
    "defaultDatasetId": "wmKPijuyDnPZAPRMk",
    "defaultKeyValueStoreId": "eJNzqsbPiopwJcgGQ",
    "datasetItemsUrl": "https://api.apify.com/v2/datasets/wmKPijuyDnPZAPRMk/items",
    "usageTotalUsd": 0.2654,
}


def started(given: dict[str, Any]) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=RunInput.model_validate(given),
            api_url="https://api.apify.com",
            api_key="apify_key",
            callback_url=HOOK,
        )
    )


def delivered(body: bytes) -> Delivery:
    return Delivery(
        method="POST", url=HOOK, headers={}, body=body, received_at=datetime(2026, 11, 23, tzinfo=UTC)
    )


def test_a_run_is_started_with_a_webhook_of_its_own_for_the_ways_it_can_end() -> None:
    request = started(
        {"actor": "apify~web-scraper", "input": {"startUrls": [{"url": "https://a.example"}]}, "maxItems": 50}
    )
    assert request.method == "POST"
    assert request.headers == {"authorization": "Bearer apify_key", "content-type": "application/json"}
    assert json.loads(request.body) == {"startUrls": [{"url": "https://a.example"}]}
    address = urlsplit(request.url)
    assert f"{address.scheme}://{address.netloc}{address.path}" == (
        "https://api.apify.com/v2/actors/apify~web-scraper/runs"
    )
    query = parse_qs(address.query)
    assert sorted(query) == ["maxItems", "webhooks"]
    assert query["maxItems"] == ["50"]
    assert json.loads(base64.b64decode(query["webhooks"][0])) == [
        {
            "eventTypes": [
                "ACTOR.RUN.SUCCEEDED",
                "ACTOR.RUN.FAILED",
                "ACTOR.RUN.ABORTED",
                "ACTOR.RUN.TIMED_OUT",
            ],
            "requestUrl": HOOK,
        }
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "../datasets"},
        {"actor": "apify/web-scraper"},
        {"actor": "a~b?token=x"},
        {"actor": "a~b~c"},
        {"actor": "a\n"},
        {"actor": ".."},
        {"input": []},
        {"webhooks": "W10="},
        {"build": "a b"},
        {"memory": 127},
        {"timeout": -1},
        {"timeout": "60"},
        {"maxItems": 0},
        {"max_items": 1},
        {"maxTotalChargeUsd": 0},
    ],
    ids=str,
)
def test_an_input_that_apify_would_not_take_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RunInput.model_validate({"actor": "apify~web-scraper"} | change)


def test_a_start_says_its_id_and_that_it_goes_on() -> None:
    found = OPERATION.read_start(HttpAnswer(status=201, body=sample("apify", "start")))
    assert (found.external_id, found.status, found.result) == (RUN, "running", None)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id":"a"}', b'{"data":{}}', b'{"data":{"id":7}}'])
def test_a_start_answer_without_an_id_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        OPERATION.read_start(HttpAnswer(status=201, body=body))


def test_a_run_is_polled_and_aborted_at_its_own_address() -> None:
    assert OPERATION.poll is not None
    assert OPERATION.cancel is not None
    headers = {"authorization": "Bearer apify_key"}
    place = "https://api.apify.com/v2/actor-runs/a%2F.."
    assert OPERATION.poll(ASK) == HttpRequest(method="GET", url=place, headers=headers)
    assert OPERATION.cancel(ASK) == HttpRequest(method="POST", url=f"{place}/abort", headers=headers)


def test_a_poll_tells_the_declared_fields_and_where_the_items_lie() -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("apify", "poll.succeeded")))
    assert (found.external_id, found.status, found.result) == (RUN, "succeeded", SUCCEEDED)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("READY", Status.RUNNING),
        ("RUNNING", Status.RUNNING),
        ("TIMING-OUT", Status.RUNNING),
        ("ABORTING", Status.RUNNING),
        ("SUCCEEDED", Status.SUCCEEDED),
        ("FAILED", Status.FAILED),
        ("TIMED-OUT", Status.FAILED),
        ("ABORTED", Status.CANCELED),
        ("RESTING", Status.UNKNOWN),
        (None, Status.UNKNOWN),
    ],
)
def test_each_status_is_told_in_our_words(word: str | None, status: Status) -> None:
    assert OPERATION.read_poll is not None
    body = json.dumps({"data": {"id": RUN, "status": word}}).encode()
    assert OPERATION.read_poll(HttpAnswer(status=200, body=body)).status is status


def test_a_callback_tells_the_same_as_a_poll() -> None:
    (callback,) = PROVIDER.read(delivered(sample("apify", "callback.succeeded")))
    assert (callback.event_type, callback.status) == ("ACTOR.RUN.SUCCEEDED", "succeeded")
    assert (callback.operation, callback.external_id, callback.job_id) == ("run", RUN, None)
    assert callback.occurred_at == datetime(2026, 11, 23, 12, 4, 8, 701000, tzinfo=UTC)
    assert (callback.result, callback.failure) == (SUCCEEDED, None)


@pytest.mark.parametrize(
    ("name", "status", "code", "message"),
    [
        ("failed", Status.FAILED, "failed", "Actor finished with exit code 1"),
        ("timed_out", Status.FAILED, "timed_out", "the run ended as TIMED-OUT"),
        ("canceled", Status.CANCELED, "aborted", "Actor was aborted by user"),
    ],
)
def test_every_other_end_says_why(name: str, status: Status, code: str, message: str) -> None:
    (callback,) = PROVIDER.read(delivered(sample("apify", f"callback.{name}")))
    assert (callback.status, callback.result) == (status, None)
    assert callback.failure == Failure(code=code, message=message)


def test_a_run_without_a_dataset_succeeds_all_the_same() -> None:
    body = b'{"eventType":"ACTOR.RUN.SUCCEEDED","resource":{"id":"a","status":"SUCCEEDED"}}'
    (callback,) = PROVIDER.read(delivered(body))
    assert callback.result == {"id": "a", "datasetItemsUrl": None}


def test_the_address_of_the_items_lies_at_apify_whatever_the_dataset_is_called() -> None:
    run = b'{"id":"a","status":"SUCCEEDED","defaultDatasetId":"../users/me?x"}'
    (callback,) = PROVIDER.read(delivered(b'{"eventType":"ACTOR.RUN.SUCCEEDED","resource":' + run + b"}"))
    assert callback.result is not None
    address = "https://api.apify.com/v2/datasets/..%2Fusers%2Fme%3Fx/items"
    assert callback.result["datasetItemsUrl"] == address


def test_a_callback_is_named_by_its_body() -> None:
    (callback,) = PROVIDER.read(delivered(b'{"eventType":"TEST","resource":{"id":"a"}}'))
    assert callback.event_id == "2932eb4c44b7e41f35fc429f19003b4a9286bef79ae93cd007fc0e33995c48ec"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"eventType":"TEST","resource":null}',
        b'{"resource":{"id":"a"}}',
        b'{"eventType":"TEST","resource":{}}',
    ],
    ids=["empty", "no-run", "no-type", "no-id"],
)
def test_what_is_about_no_run_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            404,
            b'{"error":{"type":"record-not-found","message":"Actor was not found"}}',
            "Actor was not found",
        ),
        (401, b'{"error":{"message":"Bad apify_key"}}', "the provider answered 401"),
        (400, b'{"error":"x"}', "the provider answered 400"),
    ],
    ids=["message", "key", "text"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code="provider_refused", message=message)


def test_our_token_is_what_a_callback_is_checked_for() -> None:
    assert needs_token(PROVIDER)
    assert PROVIDER.callback_address is CallbackAddress.PER_JOB


def test_the_profile_says_what_the_documentation_says() -> None:
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=30), timedelta(hours=32))
    assert not PROVIDER.ordered
    assert not OPERATION.idempotent
