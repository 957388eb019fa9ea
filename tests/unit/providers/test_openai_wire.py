"""OpenAI's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start
from services.providers.openai import PROVIDER, ResponseInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["response"]
RESPONSE = "resp_68f0c0a2b7e88190a1d5c3b2e4f6071808a9bc"
ASK = Ask(job_id="job_1", external_id="resp_1/..", api_url="https://api.openai.com", api_key="sk-1")
ASKED = {"model": "gpt-5.5", "input": "Otters?"}


def started(given: dict[str, Any]) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=ResponseInput.model_validate(given),
            api_url="https://api.openai.com",
            api_key="sk-1",
            callback_url="https://hooks.example.com/",
        )
    )


def delivered(body: bytes, message_id: str = "wh_1") -> Delivery:
    when = datetime(2026, 11, 23, tzinfo=UTC)
    headers = {"webhook-id": message_id}
    return Delivery(method="POST", url="https://x.example/", headers=headers, body=body, received_at=when)


def test_a_response_is_made_in_the_background_and_kept() -> None:
    request = started(ASKED | {"instructions": "Be brief.", "reasoning": {"effort": "low"}})
    assert (request.method, request.url) == ("POST", "https://api.openai.com/v1/responses")
    assert request.headers == {"authorization": "Bearer sk-1", "content-type": "application/json"}
    assert json.loads(request.body) == {
        "model": "gpt-5.5",
        "input": "Otters?",
        "instructions": "Be brief.",
        "reasoning": {"effort": "low"},
        "background": True,
        "store": True,
        "metadata": {"hookbus_job_id": "job_1"},
    }


@pytest.mark.parametrize(
    "change",
    [
        {"model": ""},
        {"model": "gpt 5"},
        {"input": ""},
        {"input": []},
        {"input": ["a"]},
        {"input": 7},
        {"background": False},
        {"store": False},
        {"metadata": {"hookbus_job_id": "job_2"}},
        {"max_output_tokens": 15},
        {"tools": [{}] * 129},
        {"previous_response_id": "resp_1/../.."},
    ],
    ids=str,
)
def test_an_input_that_openai_would_not_take_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ResponseInput.model_validate(ASKED | change)


def test_an_input_of_items_is_taken_as_it_is() -> None:
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Otters?"}]}]
    assert json.loads(started({"model": "gpt-5.5", "input": items}).body)["input"] == items


def test_a_start_says_its_id() -> None:
    found = OPERATION.read_start(HttpAnswer(status=200, body=sample("openai", "start")))
    assert (found.external_id, found.status, found.result) == (RESPONSE, "running", None)


def test_the_response_is_polled_and_cancelled_at_its_own_address() -> None:
    assert OPERATION.poll is not None
    assert OPERATION.cancel is not None
    address = "https://api.openai.com/v1/responses/resp_1%2F.."
    headers = {"authorization": "Bearer sk-1"}
    assert OPERATION.poll(ASK) == HttpRequest(method="GET", url=address, headers=headers)
    assert OPERATION.cancel(ASK) == HttpRequest(method="POST", url=f"{address}/cancel", headers=headers)


def test_a_completed_response_gives_its_declared_fields() -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("openai", "poll.succeeded")))
    assert (found.external_id, found.status, found.failure) == (RESPONSE, "succeeded", None)
    assert found.result == {
        "id": RESPONSE,
        "model": "gpt-5.5-2026-04-23",
        "created_at": 1795420800.0,
        "completed_at": 1795420867.0,
        "output": [
            {"id": "rs_68f0c0a9c1d48190b7", "type": "reasoning", "summary": []},
            {
                "id": "msg_68f0c0b1e2a88190c4",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [
                    {
                        "type": "output_text",
                        "annotations": [],
                        "logprobs": [],
                        "text": "Otters: Übermut im Orbit.",
                    }
                ],
            },
        ],
        "usage": {
            "input_tokens": 14,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 212,
            "output_tokens_details": {"reasoning_tokens": 192},
            "total_tokens": 226,
        },
    }


@pytest.mark.parametrize(
    ("name", "status", "failure"),
    [
        ("running", Status.RUNNING, None),
        (
            "failed",
            Status.FAILED,
            Failure(code="rate_limit_exceeded", message="You exceeded your current quota."),
        ),
        (
            "incomplete",
            Status.FAILED,
            Failure(code="max_output_tokens", message="the response is incomplete"),
        ),
        ("canceled", Status.CANCELED, Failure(code="canceled", message="the response was cancelled")),
    ],
)
def test_each_status_is_told_in_our_words(name: str, status: Status, failure: Failure | None) -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("openai", f"poll.{name}")))
    assert (found.status, found.failure, found.result) == (status, failure, None)


def test_a_status_that_nobody_listed_ends_nothing() -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=b'{"id":"resp_1","status":"dreaming"}'))
    assert not found.status.settled


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("succeeded", "response.completed"),
        ("failed", "response.failed"),
        ("incomplete", "response.incomplete"),
        ("canceled", "response.cancelled"),
    ],
)
def test_a_callback_says_only_which_response_has_ended(name: str, event_type: str) -> None:
    (callback,) = PROVIDER.read(delivered(sample("openai", f"callback.{name}")))
    assert (callback.thin, callback.status, callback.result) == (True, "running", None)
    assert (callback.event_id, callback.event_type) == ("wh_1", event_type)
    assert (callback.operation, callback.external_id, callback.job_id) == ("response", RESPONSE, None)
    assert callback.occurred_at == datetime(2026, 11, 23, 8, 1, 8, tzinfo=UTC)


def test_an_event_of_a_response_that_nobody_listed_is_unknown() -> None:
    (callback,) = PROVIDER.read(delivered(b'{"type":"response.paused","data":{"id":"resp_1"}}'))
    assert (callback.status, callback.thin, callback.occurred_at) == ("unknown", False, None)


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        (b"[]", "wh_1"),
        (b'{"type":"batch.completed","data":{"id":"batch_1"}}', "wh_1"),
        (b'{"type":"response.completed","data":{}}', "wh_1"),
        (b'{"data":{"id":"resp_1"}}', "wh_1"),
        (b'{"type":"response.completed","data":{"id":"resp_1"}}', ""),
    ],
    ids=["list", "batch", "no-id", "no-type", "no-webhook-id"],
)
def test_an_event_that_is_about_no_response_is_not_understood(body: bytes, message_id: str) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body, message_id))


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            400,
            b'{"error":{"message":"Unknown parameter: \'x\'.","type":"invalid_request_error"}}',
            "Unknown parameter: 'x'.",
        ),
        (401, b'{"error":{"message":"Incorrect API key: sk-1"}}', "the provider answered 401"),
        (404, b"<html>", "the provider answered 404"),
    ],
    ids=["sentence", "key", "html"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code="provider_refused", message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (None, timedelta(hours=72))
    assert OPERATION.poll_every is not None
    assert OPERATION.poll_every < timedelta(minutes=10), "a response may be kept no longer"
    assert not OPERATION.idempotent
    assert OPERATION.start_budget == timedelta(seconds=10), "no callback says which job it is about"
