"""CloudConvert's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start
from services.providers.cloudconvert import PROVIDER, ConversionInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["conversion"]
JOB = "6559c281-ed85-4728-80db-414561c631e9"
TASKS = {
    "import-my-file": {"operation": "import/url", "url": "https://files.example.com/81.docx"},
    "convert-my-file": {"operation": "convert", "input": "import-my-file", "output_format": "pdf"},
    "export-my-file": {"operation": "export/url", "input": ["convert-my-file"]},
}
RESULT = {
    "id": JOB,
    "files": [
        {
            "filename": "file.pdf",
            "size": 4221,
            "url": "https://storage.cloudconvert.com/tasks/36af6f54-1c01-45cc-bcc3-97dd23d2f93d/file.pdf"
            "?AWSAccessKeyId=cloudconvert-production&Expires=1795521609&Signature=81",
        }
    ],
}
UNSAID = Failure(code="conversion_failed", message="the provider gave no reason")
FAILED = Failure(code="DOWNLOAD_FAILED", message="Download of the file failed with status code 404")


def started(tasks: object) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=ConversionInput.model_validate({"tasks": tasks}),
            api_url="https://api.cloudconvert.com",
            api_key="secret",
            callback_url="https://hooks.example.com/",
        )
    )


def delivered(body: bytes) -> Delivery:
    when = datetime(2026, 11, 23, tzinfo=UTC)
    return Delivery(method="POST", url="https://x.example/", headers={}, body=body, received_at=when)


def changed(name: str, *, event: str | None = None, **changes: object) -> bytes:
    """A sample event with another name, or with other members of its job."""
    document = json.loads(sample("cloudconvert", name))
    document["job"] |= changes
    return json.dumps(document | ({"event": event} if event else {})).encode()


def test_a_job_carries_our_id_as_its_tag() -> None:
    request = started(TASKS)
    assert (request.method, request.url) == ("POST", "https://api.cloudconvert.com/v2/jobs")
    assert request.headers == {"authorization": "Bearer secret", "content-type": "application/json"}
    assert json.loads(request.body) == {"tasks": TASKS, "tag": "job_1"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"tasks": {}},
        {"tasks": [{"operation": "convert"}]},
        {"tasks": {"import": {"url": "https://x.example"}}},
        {"tasks": {"import": {"operation": "import/../url"}}},
        {"tasks": {"import": {"operation": "import/url\n"}}},
        {"tasks": {"a b": {"operation": "convert"}}},
        {"tasks": {str(n): {"operation": "convert"} for n in range(51)}},
        {"tasks": TASKS, "tag": "job_2"},
        {"tasks": TASKS, "webhook_url": "https://evil.example"},
    ],
    ids=["none", "empty", "list", "no-operation", "climb", "line-end", "name", "many", "tag", "webhook"],
)
def test_an_input_that_cloudconvert_would_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ConversionInput.model_validate(given)


def test_a_start_says_its_id() -> None:
    found = OPERATION.read_start(HttpAnswer(status=201, body=sample("cloudconvert", "start")))
    assert (found.external_id, found.status, found.result) == (JOB, "running", None)


def test_a_job_is_polled_at_its_address_and_cancelled_by_deleting_it() -> None:
    assert OPERATION.poll is not None
    assert OPERATION.cancel is not None
    job = Ask(job_id="job_1", external_id="a/..", api_url="https://api.cloudconvert.com", api_key="secret")
    address, headers = "https://api.cloudconvert.com/v2/jobs/a%2F..", {"authorization": "Bearer secret"}
    assert OPERATION.poll(job) == HttpRequest(method="GET", url=address, headers=headers)
    assert OPERATION.cancel(job) == HttpRequest(method="DELETE", url=address, headers=headers)


def test_a_start_whose_answer_was_lost_is_looked_for_by_our_id() -> None:
    assert OPERATION.find is not None
    assert OPERATION.read_find is not None
    asked = OPERATION.find(
        Ask(job_id="job_1", external_id="", api_url="https://api.cloudconvert.com", api_key="secret")
    )
    assert (asked.method, asked.headers) == ("GET", {"authorization": "Bearer secret"})
    assert asked.url == ("https://api.cloudconvert.com/v2/jobs?filter[tag]=job_1&include=tasks")
    found = OPERATION.read_find(HttpAnswer(status=200, body=sample("cloudconvert", "find.succeeded")))
    assert (found.job_id, found.external_id) == ("job_01JD8Z3W5V", JOB)
    assert (found.status, found.result) == (Status.SUCCEEDED, RESULT)
    with pytest.raises(NotUnderstood):
        OPERATION.read_find(HttpAnswer(status=200, body=sample("cloudconvert", "find.none")))


@pytest.mark.parametrize(
    ("name", "status", "result", "failure"),
    [
        ("running", Status.RUNNING, None, None),
        ("succeeded", Status.SUCCEEDED, RESULT, None),
        ("failed", Status.FAILED, None, FAILED),
    ],
)
def test_a_poll_says_how_a_job_stands(
    name: str, status: Status, result: object, failure: Failure | None
) -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("cloudconvert", f"poll.{name}")))
    assert (found.external_id, found.status, found.result, found.failure) == (JOB, status, result, failure)


@pytest.mark.parametrize("word", ["waiting", "processing", "melted", None, 7], ids=repr)
def test_a_word_that_is_no_end_ends_nothing(word: object) -> None:
    body = json.dumps({"data": {"id": JOB, "status": word}}).encode()
    found = OPERATION.read_start(HttpAnswer(status=201, body=body))
    assert (found.external_id, found.status) == (JOB, "running")


@pytest.mark.parametrize(
    ("name", "event", "status", "result", "failure"),
    [
        ("created", "job.created", Status.RUNNING, None, None),
        ("succeeded", "job.finished", Status.SUCCEEDED, RESULT, None),
        ("failed", "job.failed", Status.FAILED, None, FAILED),
    ],
)
def test_an_event_says_how_a_job_stands(
    name: str, event: str, status: Status, result: object, failure: Failure | None
) -> None:
    (callback,) = PROVIDER.read(delivered(sample("cloudconvert", f"callback.{name}")))
    assert (callback.event_type, callback.status) == (event, status)
    assert (callback.result, callback.failure) == (result, failure)
    assert (callback.operation, callback.job_id) == ("conversion", "job_01JD8Z3W5V")
    assert (callback.external_id, callback.event_id) == (JOB, f"{event}-{JOB}")


def test_an_event_tells_when_the_job_ended_or_was_made() -> None:
    (ended,) = PROVIDER.read(delivered(sample("cloudconvert", "callback.succeeded")))
    (made,) = PROVIDER.read(delivered(sample("cloudconvert", "callback.created")))
    assert ended.occurred_at == datetime(2026, 11, 23, 12, 0, 9, tzinfo=UTC)
    assert made.occurred_at == datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def test_an_event_that_nobody_listed_is_unknown() -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.succeeded", event="job.melted")))
    assert (callback.status, callback.result) == ("unknown", None)


@pytest.mark.parametrize("tag", [None, 7, "", "order 81", "j" * 65], ids=repr)
def test_a_tag_that_is_no_id_of_ours_is_left_out(tag: object) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.succeeded", tag=tag)))
    assert (callback.job_id, callback.external_id) == (None, JOB)


@pytest.mark.parametrize(
    ("tasks", "failure"),
    [
        (None, UNSAID),
        ([{"status": "finished", "message": "Done"}, 7], UNSAID),
        (
            [{"status": "error", "code": "INPUT_TASK_FAILED", "message": "Input task has failed"}],
            Failure(code="INPUT_TASK_FAILED", message="Input task has failed"),
        ),
    ],
    ids=["none", "no-error", "only-after-another"],
)
def test_a_job_that_says_not_why_has_failed_all_the_same(tasks: object, failure: Failure) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.failed", tasks=tasks)))
    assert (callback.status, callback.failure) == ("failed", failure)


@pytest.mark.parametrize("tasks", [None, [7], [{"operation": "export/url", "result": None}]], ids=repr)
def test_a_job_that_exported_nothing_to_an_address_has_succeeded_all_the_same(tasks: object) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.succeeded", tasks=tasks)))
    assert (callback.status, callback.result) == ("succeeded", {"id": JOB, "files": []})


@pytest.mark.parametrize(
    "body",
    [
        changed("callback.succeeded", event="task.finished"),
        changed("callback.succeeded", id=None),
        b'{"event":"job.finished","job":[]}',
        b'{"job":{"id":"x"}}',
        changed(
            "callback.succeeded", tasks=[{"operation": "export/url", "result": {"files": [{"filename": 7}]}}]
        ),
    ],
    ids=["task", "no-id", "no-job", "no-event", "file"],
)
def test_an_event_that_is_about_no_job_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            422,
            b'{"message":"The given data was invalid.","code":"INVALID_DATA",'
            b'"errors":{"tasks":["The tasks field is required."]}}',
            "The given data was invalid.",
        ),
        (
            402,
            b'{"message":"You have no credits.","code":"CREDITS_EXCEEDED"}',
            "You have no credits.",
        ),
        (401, b'{"message":"Unauthenticated."}', "the provider answered 401"),
        (400, b"<html>", "the provider answered 400"),
    ],
    ids=["data", "credits", "key", "html"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code="provider_refused", message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (None, None)
    assert not OPERATION.idempotent
