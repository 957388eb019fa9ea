"""Transloadit's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood, OperatorError
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start, Started
from services.providers.transloadit import PROVIDER, AssemblyInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["assembly"]
API = "https://api2.transloadit.com"
HOOK = "https://hooks.example.com/api/webhooks/transloadit/token"
ASSEMBLY = "7828446e5acd4aa996dce3455ec914e9"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STEPS = {
    "imported": {"robot": "/http/import", "url": "https://files.example.com/face.jpg"},
    "resized": {"robot": "/image/resize", "use": "imported", "width": 100, "result": True},
}
RESULT = {
    "assembly_id": ASSEMBLY,
    "results": {
        "resized": [
            {
                "id": "81d5e8b0a1c311f0b8d5",
                "name": "face.jpg",
                "size": 5322,
                "mime": "image/jpeg",
                "original_id": "80d5e8b0a1c311f0b8d5",
                "ssl_url": "https://tmp-us-east-1.transloadit.net/81/face.jpg",
                "meta": {"width": 100, "height": 100},
            }
        ]
    },
}
FAILED = Failure(code="HTTP_IMPORT_NOT_FOUND", message="The file to import was not found.")
CANCELED = Failure(code="ASSEMBLY_CANCELED", message="The Assembly was canceled.")


def started(**given: Any) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=AssemblyInput.model_validate(given),
            api_url=API,
            api_key="token",
            callback_url=HOOK,
        )
    )


def parameters(request: HttpRequest) -> Any:
    """What stands in the form's one field."""
    boundary = request.headers["content-type"].removeprefix("multipart/form-data; boundary=").encode()
    assert boundary
    before, _, rest = request.body.partition(b"\r\n\r\n")
    text, _, after = rest.partition(b"\r\n")
    assert before == b'--%b\r\ncontent-disposition: form-data; name="params"' % boundary
    assert after == b"--%b--\r\n" % boundary
    return json.loads(text)


def delivered(body: bytes, content_type: str | None = "multipart/form-data; boundary=sample") -> Delivery:
    headers = {} if content_type is None else {"content-type": content_type}
    return Delivery(method="POST", url=HOOK, headers=headers, body=body, received_at=NOW)


def notified(name: str) -> bytes:
    return sample("transloadit", f"callback.{name}", "multipart")


def form(text: str) -> bytes:
    head = b'--sample\r\nContent-Disposition: form-data; name="transloadit"\r\n\r\n'
    return head + text.encode() + b"\r\n--sample--\r\n"


def changed(**changes: object) -> bytes:
    return form(json.dumps(json.loads(sample("transloadit", "poll.succeeded")) | changes))


def polled(body: bytes) -> Started:
    assert OPERATION.read_poll is not None
    return OPERATION.read_poll(HttpAnswer(status=200, body=body))


def test_an_access_token_is_given_for_key_and_secret() -> None:
    assert PROVIDER.access is not None
    assert PROVIDER.access.request(API, "key:secret", NOW) == HttpRequest(
        method="POST",
        url="https://api2.transloadit.com/token",
        headers={
            "authorization": "Basic a2V5OnNlY3JldA==",
            "content-type": "application/x-www-form-urlencoded",
        },
        body=b"grant_type=client_credentials&scope=assemblies%3Awrite",
    )
    answer = HttpAnswer(
        status=200, body=b'{"access_token":"opaque-token","token_type":"Bearer","expires_in":21600}'
    )
    token = PROVIDER.access.read(answer)
    assert (token.text, token.lifetime) == ("opaque-token", timedelta(hours=6))


@pytest.mark.parametrize("key", ["key", "key:", ":secret", ""])
def test_a_key_that_is_no_pair_is_the_operators_to_mend(key: str) -> None:
    assert PROVIDER.access is not None
    with pytest.raises(
        OperatorError, match="transloadit-api-key cannot be used: set it as AUTH_KEY:AUTH_SEC"
    ):
        PROVIDER.access.request(API, key, NOW)


def test_an_assembly_is_started_with_its_own_address_and_carries_our_id() -> None:
    request = started(steps=STEPS, fields={"lang": "en", "crop": True})
    assert (request.method, request.url) == ("POST", "https://api2.transloadit.com/assemblies")
    assert request.headers["authorization"] == "Bearer token"
    assert parameters(request) == {
        "steps": STEPS,
        "fields": {"lang": "en", "crop": True, "hookbus_job_id": "job_1"},
        "notify_url": HOOK,
    }


def test_an_assembly_is_started_by_a_template() -> None:
    request = started(template_id="4ce4fb3d9d1842b6ba5d6f3ccee4b066")
    assert parameters(request) == {
        "template_id": "4ce4fb3d9d1842b6ba5d6f3ccee4b066",
        "fields": {"hookbus_job_id": "job_1"},
        "notify_url": HOOK,
    }


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"steps": {}},
        {"steps": [{"robot": "/image/resize"}]},
        {"steps": {"a b": {}}},
        {"steps": {"resized": "x"}},
        {"template_id": "x\n"},
        {"template_id": "x", "fields": {"a": {"b": 1}}},
        {"steps": STEPS, "notify_url": "https://evil.example"},
        {"steps": STEPS, "auth": {"key": "x"}},
    ],
    ids=["none", "empty", "list", "name", "no-step", "template", "fields", "notify-url", "auth"],
)
def test_an_input_that_transloadit_would_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AssemblyInput.model_validate(given)


def test_a_start_says_its_id() -> None:
    found = OPERATION.read_start(HttpAnswer(status=200, body=sample("transloadit", "start")))
    assert found == Started(external_id=ASSEMBLY)


def test_an_assembly_is_polled_at_its_address_and_cancelled_by_deleting_it() -> None:
    assert OPERATION.poll is not None
    assert OPERATION.cancel is not None
    job = Ask(job_id="job_1", external_id="a/..", api_url=API, api_key="token")
    address, headers = f"{API}/assemblies/a%2F..", {"authorization": "Bearer token"}
    assert OPERATION.poll(job) == HttpRequest(method="GET", url=address, headers=headers)
    assert OPERATION.cancel(job) == HttpRequest(method="DELETE", url=address, headers=headers)


@pytest.mark.parametrize(
    ("name", "status", "result", "failure"),
    [
        ("running", Status.RUNNING, None, None),
        ("not_told", Status.RUNNING, None, None),
        ("succeeded", Status.SUCCEEDED, RESULT, None),
        ("failed", Status.FAILED, None, FAILED),
        ("canceled", Status.CANCELED, None, CANCELED),
    ],
)
def test_a_poll_says_how_an_assembly_stands(
    name: str, status: Status, result: object, failure: Failure | None
) -> None:
    found = polled(sample("transloadit", f"poll.{name}"))
    assert (found.external_id, found.status) == (ASSEMBLY, status)
    assert (found.result, found.failure) == (result, failure)


def test_an_error_that_is_about_no_assembly_is_not_understood() -> None:
    with pytest.raises(NotUnderstood):
        polled(b'{"error":"SERVER_500","message":"Something broke."}')


@pytest.mark.parametrize(
    ("name", "word", "status", "result", "failure"),
    [
        ("executing", "ASSEMBLY_EXECUTING", Status.RUNNING, None, None),
        ("succeeded", "ASSEMBLY_COMPLETED", Status.SUCCEEDED, RESULT, None),
        ("failed", "HTTP_IMPORT_NOT_FOUND", Status.FAILED, None, FAILED),
        ("canceled", "ASSEMBLY_CANCELED", Status.CANCELED, None, CANCELED),
    ],
)
def test_a_notification_says_how_an_assembly_stands(
    name: str, word: str, status: Status, result: object, failure: Failure | None
) -> None:
    (callback,) = PROVIDER.read(delivered(notified(name)))
    assert (callback.event_id, callback.event_type) == (f"{ASSEMBLY}-{word}", f"assembly.{word}")
    assert (callback.status, callback.operation) == (status, "assembly")
    assert (callback.job_id, callback.external_id) == ("job_01JD8Z3W5V", ASSEMBLY)
    assert (callback.result, callback.failure) == (result, failure)


def test_a_notification_is_read_from_an_urlencoded_form_too() -> None:
    body = b"transloadit=%7B%22ok%22%3A%22ASSEMBLY_COMPLETED%22%2C%22assembly_id%22%3A%2281%22%7D"
    (callback,) = PROVIDER.read(delivered(body, "application/x-www-form-urlencoded"))
    assert (callback.status, callback.external_id) == ("succeeded", "81")
    assert (callback.result, callback.job_id) == ({"assembly_id": "81"}, None)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("ASSEMBLY_UPLOADING", Status.RUNNING),
        ("ASSEMBLY_REPLAYING", Status.RUNNING),
        ("REQUEST_ABORTED", Status.CANCELED),
        ("ASSEMBLY_MELTED", Status.UNKNOWN),
    ],
)
def test_each_word_ends_an_assembly_or_does_not(word: str, status: Status) -> None:
    (callback,) = PROVIDER.read(delivered(changed(ok=word)))
    assert callback.status is status


@pytest.mark.parametrize("error", ["RATE_LIMIT_REACHED", "ASSEMBLY_STATUS_FETCHING_RATE_LIMIT_REACHED"])
def test_an_error_of_the_question_ends_nothing(error: str) -> None:
    (callback,) = PROVIDER.read(delivered(changed(error=error)))
    assert callback.status is Status.UNKNOWN


def test_an_error_counts_more_than_what_went_well_before() -> None:
    (callback,) = PROVIDER.read(delivered(changed(error="ASSEMBLY_CRASHED", message=None, reason="hot")))
    assert callback.status is Status.FAILED
    assert callback.failure == Failure(code="ASSEMBLY_CRASHED", message="hot")


def test_files_of_several_originals_are_told() -> None:
    (callback,) = PROVIDER.read(
        delivered(changed(results={"zipped": [{"name": "a.zip", "original_id": ["1", None]}]}))
    )
    assert callback.result == {
        "assembly_id": ASSEMBLY,
        "results": {"zipped": [{"name": "a.zip", "original_id": ["1", None]}]},
    }


@pytest.mark.parametrize(
    "delivery",
    [
        delivered(notified("succeeded"), "application/json"),
        delivered(notified("succeeded"), "multipart/form-data; boundary=other"),
        delivered(notified("succeeded"), None),
        delivered(notified("succeeded")[:-20]),
        delivered(form("[]")),
        delivered(form("{")),
        delivered(form(json.dumps({"ok": "ASSEMBLY_COMPLETED"}))),
        delivered(form(json.dumps({"assembly_id": "81"}))),
        delivered(changed(error=[7])),
        delivered(changed(results={"resized": [{"name": 7}]})),
    ],
    ids=[
        "json", "boundary", "no-type", "cut", "list", "no-json", "no-id", "no-word", "odd-error", "file",
    ],
)  # fmt: skip
def test_a_body_without_an_assembly_is_not_understood(delivery: Delivery) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivery)


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (
            400,
            b'{"error":"ASSEMBLY_INVALID_STEPS","message":"The steps are not valid.","reason":"x"}',
            "ASSEMBLY_INVALID_STEPS",
            "The steps are not valid.",
        ),
        (404, b'{"error":"TEMPLATE_NOT_FOUND"}', "TEMPLATE_NOT_FOUND", "the provider gave no reason"),
        (
            401,
            b'{"error":"BEARER_TOKEN_INVALID","message":"token"}',
            "provider_refused",
            "the provider answered 401",
        ),
        (400, b'{"error":7}', "provider_refused", "the provider answered 400"),
    ],
    ids=["message", "no-message", "key", "odd"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, code: str, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code=code, message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.PER_JOB
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (None, timedelta(minutes=1))
    assert OPERATION.start_budget == timedelta(seconds=10)
    assert not OPERATION.idempotent
