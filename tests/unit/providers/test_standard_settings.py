"""A provider from settings alone: what it sends, what it reads, and what it says of wrong settings."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.errors import NotUnderstood, OperatorError
from services.models import Delivery, Failure, HttpAnswer, HttpRequest
from services.providers import standard
from services.providers.base import Ask, Provider, Start
from tests.vectors.cases import sample

URL = "https://api.acme.example/jobs"


def acme(**options: str) -> Provider:
    return standard.provider("acme", {"start_url": URL, **options})


def started(provider: Provider, given: dict[str, Any]) -> HttpRequest:
    operation = provider.operations["job"]
    return operation.start(
        Start(
            job_id="job_1",
            input=operation.input.model_validate(given),
            api_url=provider.api_url,
            api_key="key",
            callback_url="https://hooks/t",
        )
    )


def read(provider: Provider, body: bytes) -> Any:
    (callback,) = provider.read(
        Delivery(
            method="POST",
            url="https://hooks/t",
            headers={"webhook-id": "msg_1"},
            body=body,
            received_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )
    return callback


def test_a_start_url_is_enough() -> None:
    provider = acme()
    request = started(provider, {"text": "hi", "deep": {"a": [1]}})
    assert (request.method, request.url) == ("POST", URL)
    assert request.headers == {"content-type": "application/json", "authorization": "Bearer key"}
    assert json.loads(request.body) == {
        "text": "hi",
        "deep": {"a": [1]},
        "callback_url": "https://hooks/t",
    }
    assert (provider.name, provider.api_key, provider.signing_secret) == (
        "acme",
        "acme-api-key",
        "acme-signing-secret",
    )
    operation = provider.operations[provider.default_operation]
    assert (operation.cancel, operation.idempotent) == (None, False)
    assert operation.deadline == timedelta(hours=24)


def test_every_place_in_the_start_can_be_set() -> None:
    provider = acme(
        auth="header:X-Api-Key",
        input_field="job.input",
        callback_url_field="job.hooks.done",
        job_id_field="job.reference",
        idempotency_header="Idempotency-Key",
        deadline_seconds="600",
    )
    request = started(provider, {"text": "hi"})
    assert json.loads(request.body) == {
        "job": {"input": {"text": "hi"}, "hooks": {"done": "https://hooks/t"}, "reference": "job_1"}
    }
    assert request.headers == {
        "content-type": "application/json",
        "x-api-key": "key",
        "idempotency-key": "job_1",
    }
    assert provider.operations["job"].idempotent
    assert provider.operations["job"].deadline == timedelta(minutes=10)


def test_no_key_is_sent_or_asked_for_where_none_is_needed() -> None:
    provider = acme(auth="none")
    assert provider.api_key is None
    assert started(provider, {}).headers == {"content-type": "application/json"}


def test_names_of_secrets_have_no_underscores_because_the_vault_takes_none() -> None:
    provider = standard.provider("my_api", {"start_url": URL})
    assert (provider.api_key, provider.signing_secret) == ("my-api-api-key", "my-api-signing-secret")


@pytest.mark.parametrize("field", ["callback_url", "hooks.done"])
def test_an_input_cannot_redirect_the_callback(field: str) -> None:
    given = {"callback_url": "https://evil.example", "hooks": "https://evil.example"}
    body = json.loads(started(acme(callback_url_field=field), given).body)
    assert (body["callback_url"] if field == "callback_url" else body["hooks"]["done"]) == "https://hooks/t"


def test_an_event_in_its_envelope_is_read_without_settings() -> None:
    callback = read(acme(), sample("standard", "job.completed"))
    assert (callback.event_id, callback.event_type, callback.status) == (
        "msg_1",
        "job.completed",
        "succeeded",
    )
    assert (callback.operation, callback.external_id, callback.job_id) == ("job", "ajob_81", None)
    assert callback.occurred_at == datetime(2026, 11, 3, 20, 26, 10, 344522, tzinfo=UTC)
    assert callback.result == {"url": "https://files.example.com/81.pdf", "pages": 3, "internal_note": "x"}


@pytest.mark.parametrize("job_id", [None, 7, "", "../x", "j" * 65, ["job_1"]], ids=repr)
def test_a_job_id_that_is_none_of_ours_is_left_out(job_id: object) -> None:
    body = json.dumps({"status": "done", "reference": job_id}).encode()
    assert read(acme(job_id_field="reference"), body).job_id is None


def test_only_declared_result_fields_leave() -> None:
    provider = acme(result_fields="url, pages,missing", job_id_field="reference")
    callback = read(provider, sample("standard", "job.completed"))
    assert callback.result == {"url": "https://files.example.com/81.pdf", "pages": 3}
    assert callback.job_id == "job_01JD8Z3W5V"
    assert "internal_note" not in json.dumps(provider.operations["job"].result.model_json_schema())


def test_a_flat_body_is_read_as_the_settings_say() -> None:
    callback = read(acme(), sample("standard", "flat.failed"))
    assert (callback.event_type, callback.status, callback.external_id) == ("ERRORED", "unknown", "81")
    callback = read(acme(statuses="ERRORED=failed"), sample("standard", "flat.failed"))
    assert callback.status == "failed"
    assert callback.failure == Failure(code="too_large", message="The file has more than 100 pages.")


def test_every_place_in_the_callback_can_be_set() -> None:
    provider = acme(
        id_field="job.key",
        status_field="job.state",
        result_field="job.out",
        error_field="job.why",
        event_type_field="event.name",
        job_id_field="job.reference",
    )
    job = {"key": "a1", "state": "done", "out": {"n": 1}, "reference": "job_1"}
    callback = read(provider, json.dumps({"event": {"name": "finished"}, "job": job}).encode())
    assert (callback.event_type, callback.status, callback.result) == ("finished", "succeeded", {"n": 1})
    assert (callback.external_id, callback.job_id) == ("a1", "job_1")
    callback = read(provider, b'{"job":{"state":"failed","why":"no ink"}}')
    assert callback.failure == Failure(code="provider_failed", message="no ink")


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("queued", "running"),
        ("PROCESSING", "running"),
        ("in_progress", "running"),
        ("done", "succeeded"),
        ("Completed", "succeeded"),
        ("error", "failed"),
        ("expired", "failed"),
        ("cancelled", "canceled"),
        ("melted", "unknown"),
    ],
)
def test_obvious_words_need_no_setting(word: str, status: str) -> None:
    assert read(acme(), json.dumps({"status": word}).encode()).status == status


def test_a_setting_is_stronger_than_the_obvious() -> None:
    assert read(acme(statuses="done=failed,x=running"), b'{"status":"done"}').status == "failed"


def test_an_event_type_can_stand_for_the_status() -> None:
    callback = read(acme(statuses="job.finished=succeeded"), b'{"type":"job.finished"}')
    assert (callback.event_type, callback.status) == ("job.finished", "succeeded")


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b'{"status":"done","result":"https://f"}', {"result": "https://f"}),
        (b'{"status":"done","result":[1]}', {"result": [1]}),
        (b'{"status":"done","result":null}', None),
        (b'{"status":"done"}', None),
    ],
    ids=["text", "list", "null", "none"],
)
def test_a_result_that_is_no_object_is_put_into_one(body: bytes, result: object) -> None:
    assert read(acme(), body).result == result


def test_an_error_may_be_a_sentence() -> None:
    callback = read(acme(), b'{"status":"failed","error":"too many pages"}')
    assert callback.failure == Failure(code="provider_failed", message="too many pages")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"status":null}',
        b'{"status":7}',
        b'{"status":"done","id":true}',
        b'{"status":"d","id":""}',
    ],
    ids=["list", "empty", "null", "number", "true-id", "empty-id"],
)
def test_a_body_without_status_or_with_an_odd_id_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        read(acme(), body)


@pytest.mark.parametrize(
    ("field", "body", "external_id", "status"),
    [
        ("id", b'{"id":"a1","status":"queued"}', "a1", "running"),
        ("data.id", b'{"id":"a1"}', "a1", "running"),
        ("id", b'{"data":{"id":"a1"}}', "a1", "running"),
        ("id", b"{}", None, "running"),
        ("id", b'{"id":7,"status":"done"}', "7", "succeeded"),
    ],
    ids=["plain", "envelope-setting", "envelope", "none", "done"],
)
def test_a_start_answer_is_read_with_the_same_settings(
    field: str, body: bytes, external_id: str | None, status: str
) -> None:
    found = acme(id_field=field).operations["job"].read_start(HttpAnswer(status=202, body=body))
    assert (found.external_id, found.status) == (external_id, status)


def test_cancelling_uses_the_address_with_the_id_in_it() -> None:
    cancel = acme(cancel_url="https://api.acme.example/jobs/{id}/cancel").operations["job"].cancel
    assert cancel is not None
    request = cancel(Ask(job_id="job_1", external_id="a/1", api_url=URL, api_key="key"))
    assert request == HttpRequest(
        method="POST",
        url="https://api.acme.example/jobs/a%2F1/cancel",
        headers={"authorization": "Bearer key"},
    )


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (422, b'{"error":"no text"}', Failure(code="provider_refused", message="no text")),
        (422, b'{"error":{"code":"e1","message":"no text"}}', Failure(code="e1", message="no text")),
        (403, b'{"error":"key k1"}', Failure(code="provider_refused", message="the provider answered 403")),
        (422, b'{"oops":1}', Failure(code="provider_refused", message="the provider answered 422")),
    ],
    ids=["text", "object", "key", "other"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, failure: Failure) -> None:
    assert acme().refusal(HttpAnswer(status=status, body=body)) == failure


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("start_url", "ftp://x", "absolute http or https address"),
        ("start_url", "/jobs", "absolute http or https address"),
        ("start_url", "https:///jobs", "absolute http or https address"),
        ("start_url", "https://user:pw@x", "without a user name"),
        ("start_url", "https://x/#a", "without a fragment"),
        ("start_url", "https://x:99999", "Port out of range"),
        ("start_url", "https://x/a b", "absolute http or https address"),
        ("auth", "basic", "give bearer, none, or header:"),
        ("auth", "header:", "give bearer, none, or header:"),
        ("id_field", "", "joined by full stops"),
        ("id_field", "data..id", "joined by full stops"),
        ("statuses", "done", "pairs such as"),
        ("statuses", "=failed", "pairs such as"),
        ("statuses", "done=finished", "pairs such as"),
        ("statuses", "done=expired", "pairs such as"),
        ("statuses", "done=failed,done=succeeded", "pairs such as"),
        ("result_fields", "a,,b", "different field names"),
        ("result_fields", "a,a", "different field names"),
        ("idempotency_header", "a b", "a header's name"),
        ("cancel_url", "https://x/cancel", "with {id}"),
        ("cancel_url", "x/{id}", "absolute http or https address"),
        ("deadline_seconds", "0", "greater than or equal to 1"),
        ("deadline_seconds", "604801", "less than or equal to 604800"),
        ("deadline_seconds", "soon", "valid integer"),
        ("statusfield", "x", "there is no such option"),
    ],
)
def test_a_wrong_setting_is_named(option: str, value: str, part: str) -> None:
    with pytest.raises(OperatorError) as raised:
        acme(**{option: value})
    assert str(raised.value).startswith(f"PROVIDER_ACME__{option.upper()}: ")
    assert part in str(raised.value)
    assert "\n" not in str(raised.value)


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(OperatorError) as raised:
        standard.provider("acme", {"auth": "basic", "cancel": "x"})
    named = [line.partition(":")[0] for line in str(raised.value).splitlines()]
    assert named == ["PROVIDER_ACME__START_URL", "PROVIDER_ACME__AUTH", "PROVIDER_ACME__CANCEL"]
