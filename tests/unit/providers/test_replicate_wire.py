"""Replicate's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, Status
from services.providers.base import Ask, Start
from services.providers.replicate import PROVIDER, PredictionInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["prediction"]
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
HOOK = "https://hooks.example.com/api/webhooks/replicate/token"


def started(**given: Any) -> Any:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=PredictionInput.model_validate(given),
            api_url="https://api.replicate.com",
            api_key="r8_secret",
            callback_url=HOOK,
        )
    )


def delivered(body: bytes, message_id: str | None = "msg_1") -> Delivery:
    headers = {} if message_id is None else {"webhook-id": message_id}
    return Delivery(
        method="POST", url=HOOK, headers=headers, body=body, received_at=datetime(2026, 11, 23, tzinfo=UTC)
    )


def test_a_version_is_started_with_its_own_webhook_for_the_end_only() -> None:
    request = started(version=VERSION, input={"text": "Alice"})
    assert request.method == "POST"
    assert request.url == "https://api.replicate.com/v1/predictions"
    assert request.headers == {"authorization": "Bearer r8_secret", "content-type": "application/json"}
    assert json.loads(request.body) == {
        "version": VERSION,
        "input": {"text": "Alice"},
        "webhook": HOOK,
        "webhook_events_filter": ["completed"],
    }


def test_an_official_model_is_started_at_its_own_address() -> None:
    request = started(model="black-forest-labs/flux-1.1-pro", input={"prompt": "a cat"})
    assert request.url == "https://api.replicate.com/v1/models/black-forest-labs/flux-1.1-pro/predictions"
    assert "version" not in json.loads(request.body)


@pytest.mark.parametrize(
    "given",
    [
        {"input": {}},
        {"version": VERSION, "model": "a/b", "input": {}},
        {"version": VERSION},
        {"version": "../account", "input": {}},
        {"version": VERSION + "\n", "input": {}},
        {"model": "../../v1/account", "input": {}},
        {"model": "a/..", "input": {}},
        {"model": "a/b?x=1", "input": {}},
        {"model": "a/b", "input": []},
        {"model": "a/b", "input": {}, "webhook": "https://evil.example"},
    ],
    ids=["none", "both", "no-input", "word", "line-end", "climb", "dots", "query", "list", "own-webhook"],
)
def test_an_input_that_replicate_would_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PredictionInput.model_validate(given)


@pytest.mark.parametrize("word", ["starting", "processing", "queued-somewhere"])
def test_a_start_that_goes_on_says_its_id(word: str) -> None:
    answer = HttpAnswer(status=201, body=json.dumps({"id": "ufa", "status": word}).encode())
    found = OPERATION.read_start(answer)
    assert (found.external_id, found.status) == ("ufa", "running")


def test_a_start_that_ended_already_says_how() -> None:
    found = OPERATION.read_start(HttpAnswer(status=201, body=sample("replicate", "callback.succeeded")))
    assert found.status == "succeeded"
    assert found.result is not None
    assert found.result["output"] == ["https://replicate.delivery/pbxt/8x/out-0.png"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"id":""}', b'{"id":7}'])
def test_a_start_answer_without_an_id_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        OPERATION.read_start(HttpAnswer(status=201, body=body))


def test_a_prediction_that_succeeded_gives_its_declared_fields() -> None:
    (callback,) = PROVIDER.read(delivered(sample("replicate", "callback.succeeded")))
    assert callback.event_id == "msg_1"
    assert callback.event_type == "prediction.succeeded"
    assert callback.status == "succeeded"
    assert callback.operation == "prediction"
    assert callback.external_id == "ufawqhfynnddngldkgtslldrkq"
    assert callback.job_id is None
    assert callback.occurred_at == datetime(2023, 9, 8, 16, 19, 36, 791859, tzinfo=UTC)
    assert callback.failure is None
    assert callback.result == {
        "output": ["https://replicate.delivery/pbxt/8x/out-0.png"],
        "metrics": {"predict_time": 2.012683, "total_time": 2.025865},
        "model": "replicate/hello-world",
        "version": VERSION,
        "started_at": "2023-09-08T16:19:34.779176Z",
        "completed_at": "2023-09-08T16:19:36.791859Z",
    }


@pytest.mark.parametrize(
    ("name", "status", "code", "message"),
    [
        ("processing", Status.RUNNING, None, None),
        ("failed", Status.FAILED, "prediction_failed", "CUDA out of memory. Tried to allocate 20.00 GiB"),
        ("canceled", Status.CANCELED, "canceled", "the prediction was canceled"),
        ("aborted", Status.CANCELED, "aborted", "the prediction was aborted"),
    ],
)
def test_each_status_is_told_in_our_words(
    name: str, status: Status, code: str | None, message: str | None
) -> None:
    (callback,) = PROVIDER.read(delivered(sample("replicate", f"callback.{name}")))
    failure = Failure(code=code, message=message) if code and message else None
    assert (callback.status, callback.failure, callback.result) == (status, failure, None)


def test_a_status_that_nobody_listed_is_unknown() -> None:
    (callback,) = PROVIDER.read(delivered(b'{"id":"ufa","status":"melted"}'))
    assert (callback.status, callback.event_type) == ("unknown", "prediction.melted")


@pytest.mark.parametrize(
    "when", ["yesterday", "2023-09-08T16:19:34", "0001-01-01T00:00:00+23:59", 5, {}, None], ids=repr
)
def test_an_odd_time_is_left_out(when: object) -> None:
    body = json.dumps({"id": "ufa", "status": "processing", "started_at": when}).encode()
    (callback,) = PROVIDER.read(delivered(body))
    assert callback.occurred_at is None


@pytest.mark.parametrize("message_id", [None, "", "m\x00", "m" * 256], ids=["none", "empty", "nul", "long"])
def test_a_delivery_without_a_usable_id_is_not_understood(message_id: str | None) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(sample("replicate", "callback.succeeded"), message_id))


def test_what_a_model_put_out_leaves_without_control_characters() -> None:
    (callback,) = PROVIDER.read(
        delivered(rb'{"id":"ufa","status":"succeeded","output":{"a\u0000":["b\u001b[0m\ud800c"]}}')
    )
    assert callback.result == {"output": {"a": ["b[0m?c"]}}


def test_cancelling_names_the_prediction_and_nothing_else_by_it() -> None:
    assert OPERATION.cancel is not None
    request = OPERATION.cancel(
        Ask(job_id="job_1", external_id="u/../x?", api_url="https://api.replicate.com", api_key="r8")
    )
    assert request.url == "https://api.replicate.com/v1/predictions/u%2F..%2Fx%3F/cancel"
    assert (request.method, request.headers) == ("POST", {"authorization": "Bearer r8"})


def test_a_prediction_is_polled_while_what_came_out_is_still_kept() -> None:
    assert OPERATION.poll is not None
    request = OPERATION.poll(
        Ask(job_id="job_1", external_id="u/../x?", api_url="https://api.replicate.com", api_key="r8")
    )
    assert (request.method, request.url, request.headers, request.body) == (
        "GET",
        "https://api.replicate.com/v1/predictions/u%2F..%2Fx%3F",
        {"authorization": "Bearer r8"},
        b"",
    )
    assert OPERATION.poll_every == timedelta(minutes=20)


def test_a_polled_prediction_is_read_like_an_answer_to_a_start() -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("replicate", "poll.running")))
    assert (found.external_id, found.status) == ("ufawqhfynnddngldkgtslldrkq", "running")
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("replicate", "poll.succeeded")))
    assert found.status == "succeeded"
    assert found.result is not None
    assert found.result["output"] == ["https://replicate.delivery/pbxt/8x/out-0.png"]
    failed = OPERATION.read_poll(HttpAnswer(status=200, body=sample("replicate", "callback.failed")))
    assert failed.failure == Failure(
        code="prediction_failed", message="CUDA out of memory. Tried to allocate 20.00 GiB"
    )


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (
            422,
            b'{"title":"Input validation failed","detail":"- input: prompt is required\\n","status":422}',
            "provider_refused",
            "- input: prompt is required",
        ),
        (402, b'{"detail":"x\\u0000y"}', "provider_refused", "xy"),
        (401, b'{"detail":"Bad token r8_12"}', "provider_refused", "the provider answered 401"),
        (400, b"<html>", "provider_refused", "the provider answered 400"),
        (400, b'{"detail":[1]}', "provider_refused", "the provider answered 400"),
    ],
    ids=["detail", "control-characters", "key", "html", "list"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, code: str, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code=code, message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=3), timedelta(minutes=1))
    assert not PROVIDER.ordered
    assert not OPERATION.idempotent
