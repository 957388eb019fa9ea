"""Onfido's wire format, as its official specification and library have it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start
from services.providers.onfido import PROVIDER, WorkflowRunInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["workflow_run"]
RUN = "3f2a8e10-5c64-4d0b-9a55-0d3c9f6b7e21"
GIVEN = {
    "workflow_id": "76b9fd1e-2a5c-4a8a-8a11-3f5b8d1a7a10",
    "applicant_id": "e35fa3a1-ffb9-4442-b12d-5f0adb7d37b3",
}
HEADERS = {"authorization": "Token token=api_sandbox.1"}


def started(given: dict[str, Any]) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=WorkflowRunInput.model_validate(given),
            api_url="https://api.eu.onfido.com",
            api_key="api_sandbox.1",
            callback_url="https://hooks.example.com/api/webhooks/onfido",
        )
    )


def delivered(body: bytes) -> Delivery:
    return Delivery(
        method="POST",
        url="https://hooks.example.com/api/webhooks/onfido",
        headers={},
        body=body,
        received_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


def polled(body: bytes) -> Any:
    assert OPERATION.read_poll is not None
    return OPERATION.read_poll(HttpAnswer(status=200, body=body))


def test_a_start_takes_the_job_along_as_a_tag() -> None:
    request = started(GIVEN | {"custom_data": {"age": 18}, "tags": ["beta"]})
    assert (request.method, request.url) == ("POST", "https://api.eu.onfido.com/v3.6/workflow_runs")
    assert request.headers == {**HEADERS, "content-type": "application/json"}
    assert json.loads(request.body) == {
        "workflow_id": "76b9fd1e-2a5c-4a8a-8a11-3f5b8d1a7a10",
        "applicant_id": "e35fa3a1-ffb9-4442-b12d-5f0adb7d37b3",
        "custom_data": {"age": 18},
        "tags": ["beta", "hookbus_job_id:job_1"],
    }


def test_no_start_leaves_a_tag_to_the_next() -> None:
    for _ in range(2):
        assert json.loads(started(GIVEN).body)["tags"] == ["hookbus_job_id:job_1"]


@pytest.mark.parametrize(
    "change",
    [
        {"workflow_id": "76b9fd1e"},
        {"workflow_id": None},
        {"applicant_id": "../applicants"},
        {"custom_data": []},
        {"tags": ["x"] * 30},
        {"tags": [""]},
        {"tags": ["x" * 129]},
        {"customer_user_id": "x" * 257},
        {"status": "approved"},
    ],
    ids=lambda change: str(change)[:40],
)
def test_an_input_that_onfido_would_not_take_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WorkflowRunInput.model_validate(GIVEN | change)


def test_a_start_says_its_id_and_that_it_goes_on() -> None:
    found = OPERATION.read_start(HttpAnswer(status=201, body=sample("onfido", "start")))
    assert (found.external_id, found.status, found.result) == (RUN, "running", None)


def test_a_start_that_ended_already_says_how() -> None:
    found = OPERATION.read_start(HttpAnswer(status=201, body=sample("onfido", "poll.declined")))
    assert found.status == "succeeded"
    assert found.result is not None
    assert (found.result["status"], found.result["reasons"]) == ("declined", ["under age"])


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id":""}', b'{"id":7}'])
def test_a_start_answer_without_an_id_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        OPERATION.read_start(HttpAnswer(status=201, body=body))


def test_a_run_is_polled_at_its_own_address() -> None:
    assert OPERATION.poll is not None
    ask = Ask(
        job_id="job_1", external_id="a/..", api_url="https://api.eu.onfido.com", api_key="api_sandbox.1"
    )
    url = "https://api.eu.onfido.com/v3.6/workflow_runs/a%2F.."
    assert OPERATION.poll(ask) == HttpRequest(method="GET", url=url, headers=HEADERS)


def test_a_run_tells_its_declared_fields_and_never_what_its_applicant_is_let_in_with() -> None:
    found = polled(sample("onfido", "poll.succeeded"))
    assert (found.external_id, found.status, found.failure) == (RUN, "succeeded", None)
    assert found.result == {
        "id": RUN,
        "status": "approved",
        "applicant_id": "e35fa3a1-ffb9-4442-b12d-5f0adb7d37b3",
        "workflow_id": "76b9fd1e-2a5c-4a8a-8a11-3f5b8d1a7a10",
        "workflow_version_id": 11,
        "output": {"age_over_18": True, "document": {"result": "clear"}},
        "reasons": ["all checks clear"],
        "dashboard_url": f"https://dashboard.onfido.com/results/{RUN}",
    }


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("processing", Status.RUNNING),
        ("awaiting_input", Status.RUNNING),
        ("awaiting_client_input", Status.RUNNING),
        ("approved", Status.SUCCEEDED),
        ("declined", Status.SUCCEEDED),
        ("review", Status.SUCCEEDED),
        ("abandoned", Status.CANCELED),
        ("error", Status.FAILED),
        ("resting", Status.UNKNOWN),
        (None, Status.UNKNOWN),
    ],
)
def test_each_status_is_told_in_our_words(word: str | None, status: Status) -> None:
    assert polled(json.dumps({"id": RUN, "status": word}).encode()).status is status


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("failed", "applicant_not_found", "The applicant was deleted"),
        ("abandoned", "abandoned", "the applicant did not go on with it"),
    ],
)
def test_a_run_without_a_decision_says_why(name: str, code: str, message: str) -> None:
    found = polled(sample("onfido", f"poll.{name}"))
    assert (found.failure, found.result) == (Failure(code=code, message=message), None)


@pytest.mark.parametrize(("name", "job_id"), [("succeeded", "job_1"), ("succeeded_short", None)])
def test_a_callback_says_only_which_run_is_done(name: str, job_id: str | None) -> None:
    (callback,) = PROVIDER.read(delivered(sample("onfido", f"callback.{name}")))
    assert (callback.thin, callback.status, callback.result) == (True, "running", None)
    assert (callback.event_type, callback.operation) == ("workflow_run.completed", "workflow_run")
    assert (callback.external_id, callback.job_id) == (RUN, job_id)
    assert callback.occurred_at == datetime(2026, 11, 23, 12, 9, 44, tzinfo=UTC)


@pytest.mark.parametrize(
    "tags",
    [
        "hookbus_job_id:job_1",
        ["job_1"],
        ["hookbus_job_id:"],
        ["hookbus_job_id:a b"],
        ["hookbus_job_id:job_1", "hookbus_job_id:job_2"],
        [7, None],
    ],
    ids=str,
)
def test_a_tag_that_is_none_of_ours_names_no_job(tags: object) -> None:
    event = {"action": "workflow_run.completed", "object": {"id": RUN}, "resource": {"tags": tags}}
    (callback,) = PROVIDER.read(delivered(json.dumps({"payload": event}).encode()))
    assert callback.job_id is None


def test_a_callback_is_named_by_its_body() -> None:
    body = b'{"payload":{"action":"workflow_run.completed","object":{"id":"a"}}}'
    (callback,) = PROVIDER.read(delivered(body))
    assert callback.event_id == "6d51ba13220cf87dc5e0c3ee0ad5991a148223b4f177145d171c1293da2ad497"


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {"action": "workflow_run.completed"},
        {"action": "workflow_run.completed", "object": {"id": 7}},
        {"object": {"id": RUN}},
        {"action": "workflow_task.completed", "object": {"id": "document_check_75329"}},
        {"action": "check.completed", "object": {"id": RUN}},
    ],
    ids=["nothing", "no-object", "no-id", "no-action", "task", "check"],
)
def test_what_is_about_no_run_is_not_understood(payload: object) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(json.dumps({"payload": payload}).encode()))


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            422,
            b'{"error":{"type":"validation_error","message":"There was a validation error","fields":{}}}',
            "There was a validation error",
        ),
        (401, b'{"error":{"message":"Bad api_sandbox.1"}}', "the provider answered 401"),
    ],
    ids=["message", "key"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code="provider_refused", message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert (PROVIDER.api_url, PROVIDER.api_url_example) == ("", "https://api.eu.onfido.com")
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=10), None)
    assert (OPERATION.deadline, OPERATION.idempotent) == (timedelta(days=7), False)
    assert OPERATION.cancel is None
