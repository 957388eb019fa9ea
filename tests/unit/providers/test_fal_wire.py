"""fal's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start, Started
from services.providers.fal import PROVIDER, RequestInput
from services.receive import needs_token
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["request"]
HOOK = "https://hooks.example.com/api/webhooks/fal/a.b"
REQUEST = "80e732af-660e-45cd-bd63-580e4f2a94cc"
ADDRESS = f"https://queue.fal.run/fal-ai/flux/requests/{REQUEST}"
KEY = {"authorization": "Key id:secret"}


def started(**given: Any) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=RequestInput.model_validate(given),
            api_url="https://queue.fal.run",
            api_key="id:secret",
            callback_url=HOOK,
        )
    )


def asked(external_id: str) -> Ask:
    return Ask(job_id="job_1", external_id=external_id, api_url="https://queue.fal.run", api_key="id:secret")


def delivered(body: bytes) -> Delivery:
    when = datetime(2026, 11, 23, tzinfo=UTC)
    return Delivery(method="POST", url=HOOK, headers={}, body=body, received_at=when)


def changed(name: str, **changes: object) -> bytes:
    return json.dumps(json.loads(sample("fal", name)) | changes).encode()


def polled(body: bytes) -> Started:
    assert OPERATION.read_poll is not None
    return OPERATION.read_poll(HttpAnswer(status=200, body=body))


def test_a_request_goes_to_its_model_with_its_own_webhook() -> None:
    request = started(model="fal-ai/flux/dev", input={"prompt": "a cat", "seed": 7})
    assert request == HttpRequest(
        method="POST",
        url="https://queue.fal.run/fal-ai/flux/dev"
        "?fal_webhook=https%3A%2F%2Fhooks.example.com%2Fapi%2Fwebhooks%2Ffal%2Fa.b",
        headers={"authorization": "Key id:secret", "content-type": "application/json"},
        body=b'{"prompt": "a cat", "seed": 7}',
    )


@pytest.mark.parametrize(
    "given",
    [
        {"input": {}},
        {"model": "fal-ai/flux"},
        {"model": "flux", "input": {}},
        {"model": "fal-ai/../users/current", "input": {}},
        {"model": "fal-ai/flux?fal_webhook=https://evil.example", "input": {}},
        {"model": "fal-ai/flux/", "input": {}},
        {"model": "fal-ai/flux\n", "input": {}},
        {"model": "a/b/c/d/e/f/g", "input": {}},
        {"model": "fal-ai/flux", "input": []},
        {"model": "fal-ai/flux", "input": {}, "webhook_url": "https://evil.example"},
    ],
    ids=[
        "no-model", "no-input", "no-owner", "climb", "query", "slash", "line-end", "deep", "list", "webhook",
    ],
)  # fmt: skip
def test_an_input_that_fal_would_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RequestInput.model_validate(given)


def test_a_request_is_known_by_its_model_and_its_id() -> None:
    found = OPERATION.read_start(HttpAnswer(status=200, body=sample("fal", "start")))
    assert found == Started(external_id=f"fal-ai/flux/requests/{REQUEST}")


def test_a_request_of_a_workflow_is_known_too() -> None:
    body = changed("start", response_url="http://127.0.0.1:9000/workflows/acme/sdxl-x.1/requests/81")
    found = OPERATION.read_start(HttpAnswer(status=200, body=body))
    assert found.external_id == "workflows/acme/sdxl-x.1/requests/81"


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://queue.fal.run/fal-ai/flux",
        "https://queue.fal.run/requests/81",
        "https://queue.fal.run/flux/requests/81",
        "https://queue.fal.run/fal-ai/../requests/81",
        "https://queue.fal.run/fal-ai/flux/requests/81/status",
        "https://queue.fal.run/fal-ai/flux/requests/8%2F1",
        "https://[queue.fal.run/fal-ai/flux/requests/81",
        "https://queue.fal.run/fal-ai/flux/requests/" + "8" * 65,
    ],
    ids=["none", "model", "no-model", "no-owner", "climb", "status", "escape", "bracket", "long"],
)
def test_a_start_without_the_address_of_a_request_is_not_understood(url: str | None) -> None:
    with pytest.raises(NotUnderstood):
        OPERATION.read_start(HttpAnswer(status=200, body=changed("start", response_url=url)))


def test_a_request_is_polled_and_cancelled_beside_its_address() -> None:
    assert OPERATION.poll is not None
    assert OPERATION.cancel is not None
    job = asked(f"fal-ai/flux/requests/{REQUEST}")
    assert OPERATION.poll(job) == HttpRequest(method="GET", url=f"{ADDRESS}/status", headers=KEY)
    assert OPERATION.cancel(job) == HttpRequest(method="PUT", url=f"{ADDRESS}/cancel", headers=KEY)
    climbing = OPERATION.poll(asked("fal-ai/../x?y")).url
    assert climbing == "https://queue.fal.run/fal-ai/%2E%2E/x%3Fy/status"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("queued", Started()),
        ("running", Started()),
        ("succeeded", Started(status=Status.SUCCEEDED, result={"response_url": ADDRESS})),
        (
            "failed",
            Started(
                status=Status.FAILED,
                failure=Failure(code="request_timeout", message="Request timed out"),
            ),
        ),
    ],
)
def test_a_poll_says_how_a_request_stands(name: str, told: Started) -> None:
    assert polled(sample("fal", f"poll.{name}")) == told


def test_a_status_that_nobody_listed_ends_nothing() -> None:
    assert polled(b'{"status":"MELTED","error":"hot"}') == Started()


@pytest.mark.parametrize("body", [b"{}", b'{"status":7}', b'{"detail":"Request not found"}'])
def test_a_poll_without_a_status_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        polled(body)


def test_a_callback_brings_the_payload() -> None:
    (callback,) = PROVIDER.read(delivered(sample("fal", "callback.succeeded")))
    assert (callback.event_id, callback.event_type) == (f"{REQUEST}-OK", "request.ok")
    assert (callback.status, callback.operation, callback.failure) == ("succeeded", "request", None)
    assert (callback.job_id, callback.external_id) == (None, None)
    assert callback.result == {
        "payload": {
            "images": [
                {
                    "url": "https://v3.fal.media/files/panda/81.png",
                    "content_type": "image/png",
                    "file_name": "81.png",
                    "file_size": 1824075,
                    "width": 1024,
                    "height": 1024,
                }
            ],
            "seed": 196619188014358660,
        }
    }


def test_a_payload_that_could_not_be_sent_along_is_told_of() -> None:
    (callback,) = PROVIDER.read(delivered(sample("fal", "callback.without_payload")))
    assert callback.status == "succeeded"
    assert callback.result == {
        "payload": None,
        "payload_error": "Response payload is not JSON serializable. Either return a JSON serializable "
        "object or use the queue endpoint to retrieve the response.",
    }


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            sample("fal", "callback.failed"),
            "request_failed",
            "Invalid status code: 422: body.prompt: field required",
        ),
        (
            sample("fal", "callback.timed_out"),
            "request_timeout",
            "Invalid status code: 504: Request timed out",
        ),
        (changed("callback.failed", payload=None), "request_failed", "Invalid status code: 422"),
        (
            changed("callback.failed", payload=[], error=7),
            "request_failed",
            "the provider gave no reason",
        ),
        (
            changed("callback.failed", payload={"detail": [{"loc": "x", "msg": "a"}, 7, {"msg": "b"}]}),
            "request_failed",
            "Invalid status code: 422: a; b",
        ),
    ],
    ids=["detail", "infrastructure", "no-payload", "no-error", "odd-detail"],
)
def test_a_failed_request_says_why(body: bytes, code: str, message: str) -> None:
    (callback,) = PROVIDER.read(delivered(body))
    assert (callback.status, callback.event_type) == ("failed", "request.error")
    assert callback.failure == Failure(code=code, message=message)
    assert callback.result is None


def test_a_word_that_nobody_listed_is_unknown() -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.succeeded", status="MELTED")))
    assert (callback.status, callback.event_type, callback.result) == ("unknown", "request.melted", None)


@pytest.mark.parametrize("change", [{"request_id": None}, {"status": None}, {"payload_error": 7}], ids=str)
def test_a_callback_that_says_not_what_of_is_not_understood(change: dict[str, object]) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(changed("callback.succeeded", **change)))


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (
            422,
            b'{"detail":[{"loc":["body","image_url"],"msg":"field required","type":"missing"}]}',
            "provider_refused",
            "body.image_url: field required",
        ),
        (404, b'{"detail":"Application \\"x\\" not found"}', "provider_refused", 'Application "x" not found'),
        (
            400,
            b'{"detail":"The request is bad","error_type":"bad_request"}',
            "bad_request",
            "The request is bad",
        ),
        (401, b'{"detail":"Invalid key id"}', "provider_refused", "the provider answered 401"),
        (400, b'{"detail":[7,{"msg":8}]}', "provider_refused", "the provider answered 400"),
    ],
    ids=["parts", "sentence", "code", "key", "odd"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, code: str, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code=code, message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert needs_token(PROVIDER)
    assert PROVIDER.callback_address is CallbackAddress.PER_JOB
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=15), timedelta(hours=2))
    assert not OPERATION.idempotent
