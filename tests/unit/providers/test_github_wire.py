"""GitHub's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start
from services.providers.github import PROVIDER, RunInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["run"]
RUN = "octo-org/octo-repo/actions/runs/18412675309"
HEADERS = {
    "authorization": "Bearer ghp_1",
    "accept": "application/vnd.github+json",
    "x-github-api-version": "2022-11-28",
}
ASK = Ask(job_id="job_1", external_id=RUN, api_url="https://api.github.com", api_key="ghp_1")
ASKED = {"owner": "octo-org", "repo": "Octo-Repo", "workflow": "report.yml", "ref": "main"}
RESULT = {
    "id": 18412675309,
    "name": "Nightly report",
    "conclusion": "success",
    "html_url": "https://github.com/octo-org/Octo-Repo/actions/runs/18412675309",
    "run_number": 81,
    "run_attempt": 1,
    "head_branch": "main",
    "head_sha": "acb5820ced9479c074f688cc328bf03f341a511d",
    "run_started_at": "2026-11-23T12:03:02Z",
    "updated_at": "2026-11-23T12:04:31Z",
}


def started(given: dict[str, Any]) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=RunInput.model_validate(given),
            api_url="https://api.github.com",
            api_key="ghp_1",
            callback_url="https://hooks.example.com/",
        )
    )


def delivered(body: bytes, event: str = "workflow_run") -> Delivery:
    return Delivery(
        method="POST",
        url="https://x.example/",
        headers={"x-github-event": event, "x-github-delivery": "unsigned"},
        body=body,
        received_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


def changed(**changes: object) -> bytes:
    """A sample event with other values in its run."""
    event = json.loads(sample("github", "callback.succeeded"))
    event["workflow_run"] |= changes
    return json.dumps(event).encode()


def test_a_workflow_is_dispatched_and_asked_which_run_that_makes() -> None:
    request = started(ASKED | {"inputs": {"day": "monday"}})
    assert request.method == "POST"
    assert request.url == (
        "https://api.github.com/repos/octo-org/Octo-Repo/actions/workflows/report.yml/dispatches"
    )
    assert request.headers == HEADERS | {"content-type": "application/json"}
    assert json.loads(request.body) == {
        "ref": "main",
        "inputs": {"day": "monday"},
        "return_run_details": True,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "../.."},
        {"owner": ""},
        {"repo": ".."},
        {"repo": "a/b"},
        {"workflow": "../x.yml"},
        {"workflow": "report"},
        {"workflow": 159038},
        {"ref": ""},
        {"inputs": {"day": 1}},
        {"inputs": {"": "a"}},
        {"inputs": {f"i{n}": "" for n in range(26)}},
        {"return_run_details": False},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_an_input_that_github_would_not_take_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RunInput.model_validate(ASKED | change)


def test_a_start_says_which_run_it_is() -> None:
    found = OPERATION.read_start(HttpAnswer(status=200, body=sample("github", "start")))
    assert (found.external_id, found.status) == (RUN, "running")


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "https://api.github.com/repos/octo-org/Octo-Repo",
        "https://api.github.com/repos/o/r/actions/runs/x",
        "https://api.github.com/repos/o/r?x/actions/runs/1",
    ],
)
def test_an_answer_that_names_no_run_is_not_understood(url: object) -> None:
    with pytest.raises(NotUnderstood):
        OPERATION.read_start(HttpAnswer(status=200, body=json.dumps({"run_url": url}).encode()))


def test_a_run_is_polled_and_cancelled_at_its_own_address() -> None:
    assert OPERATION.poll is not None
    assert OPERATION.cancel is not None
    address = "https://api.github.com/repos/octo-org/octo-repo/actions/runs/18412675309"
    assert OPERATION.poll(ASK) == HttpRequest(method="GET", url=address, headers=HEADERS)
    assert OPERATION.cancel(ASK) == HttpRequest(method="POST", url=f"{address}/cancel", headers=HEADERS)


def test_a_run_that_succeeded_gives_its_declared_fields() -> None:
    (callback,) = PROVIDER.read(delivered(sample("github", "callback.succeeded")))
    assert (callback.event_type, callback.status) == ("workflow_run.completed", "succeeded")
    assert (callback.operation, callback.external_id, callback.job_id) == ("run", RUN, None)
    assert callback.occurred_at == datetime(2026, 11, 23, 12, 4, 31, tzinfo=UTC)
    assert callback.result == RESULT


@pytest.mark.parametrize(
    ("name", "status", "failure"),
    [
        ("succeeded", Status.SUCCEEDED, None),
        ("running", Status.RUNNING, None),
        ("failed", Status.FAILED, Failure(code="failure", message="the run ended as failure")),
        ("canceled", Status.CANCELED, Failure(code="cancelled", message="the run ended as cancelled")),
    ],
)
def test_a_poll_and_a_callback_say_the_same_of_a_run(
    name: str, status: Status, failure: Failure | None
) -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("github", f"poll.{name}")))
    (callback,) = PROVIDER.read(delivered(sample("github", f"callback.{name}")))
    assert (found.external_id, found.status, found.failure) == (RUN, status, failure)
    assert (callback.external_id, callback.status, callback.failure) == (RUN, status, failure)
    assert found.result == callback.result


@pytest.mark.parametrize(
    ("conclusion", "status"),
    [
        ("neutral", Status.SUCCEEDED),
        ("skipped", Status.SUCCEEDED),
        ("timed_out", Status.FAILED),
        ("startup_failure", Status.FAILED),
        ("stale", Status.FAILED),
        ("action_required", Status.UNKNOWN),
        ("melted", Status.UNKNOWN),
        (None, Status.UNKNOWN),
    ],
)
def test_each_conclusion_is_told_in_our_words(conclusion: object, status: Status) -> None:
    (callback,) = PROVIDER.read(delivered(changed(conclusion=conclusion)))
    assert (callback.status, callback.failure is not None) == (status, status is Status.FAILED)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("requested", Status.RUNNING),
        ("queued", Status.RUNNING),
        ("pending", Status.RUNNING),
        ("waiting", Status.RUNNING),
        ("dreaming", Status.UNKNOWN),
    ],
)
def test_a_conclusion_counts_only_once_the_run_is_completed(word: str, status: Status) -> None:
    (callback,) = PROVIDER.read(delivered(changed(status=word)))
    assert (callback.status, callback.result) == (status, None)


def test_a_callback_is_named_by_its_body_and_read_whatever_its_unsigned_headers_say() -> None:
    body = sample("github", "callback.succeeded")
    (one,) = PROVIDER.read(delivered(body))
    assert one.event_id == "afcb9b8b431a4141d4b94aaea38f18bb8a45fa6687ac79fc3679892c525267f2"
    assert PROVIDER.read(delivered(body, "push")) == (one,)


@pytest.mark.parametrize(
    "body",
    [
        b'{"zen":"Keep it logically awesome.","hook_id":1}',
        b'{"action":"completed","workflow_run":[]}',
        changed(event="push"),
        changed(url="https://api.github.com/repos/octo-org/Octo-Repo"),
        changed(status=None),
        changed(id="x"),
    ],
    ids=["ping", "no-run", "pushed", "no-address", "no-status", "id"],
)
def test_what_is_about_no_dispatched_run_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


def test_a_refusal_is_told_in_their_words() -> None:
    body = (
        b'{"message":"No ref found for: mian","documentation_url":"https://docs.github.com/","status":"422"}'
    )
    told = PROVIDER.refusal(HttpAnswer(status=422, body=body))
    assert told == Failure(code="provider_refused", message="No ref found for: mian")


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=10), timedelta(0))
    assert not OPERATION.idempotent
