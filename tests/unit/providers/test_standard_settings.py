"""A provider from settings alone: what it sends, what it reads, and what it says of wrong settings."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest

from services.api import Request
from services.errors import NotUnderstood, OperatorError
from services.handshakes import HANDSHAKES
from services.models import Delivery, Failure, HttpAnswer, HttpRequest
from services.providers import providers, standard
from services.providers.base import Ask, Provider, Start
from services.receive import needs_token
from services.settings import provider_names, provider_options
from services.signatures.catalogue import SCHEMES
from services.signatures.forms import read_fields
from tests.unit.conftest import World, answer, said
from tests.vectors.cases import sample

URL = "https://api.acme.example/jobs"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


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


def read(provider: Provider, body: bytes, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    (callback,) = provider.read(
        Delivery(
            method="POST",
            url="https://hooks/t",
            headers={"webhook-id": "msg_1", **named},
            body=body,
            received_at=NOW,
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


def test_user_and_password_are_sent_as_basic_credentials() -> None:
    # printf 'key' | base64
    assert started(acme(auth="basic"), {}).headers["authorization"] == "Basic a2V5"


def test_an_address_that_is_set_up_once_does_not_go_along_with_the_start() -> None:
    provider = acme(callback_address="account")
    assert provider.callback_address == "account"
    assert json.loads(started(provider, {"text": "hi"}).body) == {"text": "hi"}


def test_what_belongs_to_a_scheme_comes_with_it() -> None:
    provider = acme(scheme="slack")
    assert provider.scheme is SCHEMES["slack"]
    assert provider.handshake is HANDSHAKES["slack"]
    assert (provider.answer.status, provider.answer.body) == (200, b"")
    assert acme().scheme is SCHEMES["standardwebhooks"]
    assert acme(scheme="dropbox_sign").answer.body == b"Hello API Event Received"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_can_be_named(scheme: str) -> None:
    assert acme(scheme=scheme).scheme is SCHEMES[scheme]


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        ("github", "acme-signing-secret"),
        ("discord", "acme-signing-secret"),
        ("aws_sns", "acme-signing-secret"),
        ("paypal", "acme-signing-secret"),
        ("fal", None),
        ("plaid", None),
        ("none", None),
        ("eventgrid", None),
    ],
)
def test_a_secret_is_asked_for_where_the_scheme_needs_one(scheme: str, secret: str | None) -> None:
    assert acme(scheme=scheme).signing_secret == secret


@pytest.mark.parametrize(("scheme", "handshake"), [("none", None), ("eventgrid", HANDSHAKES["eventgrid"])])
def test_an_api_that_does_not_sign_has_our_token_alone(scheme: str, handshake: object) -> None:
    provider = acme(scheme=scheme)
    assert provider.scheme is None
    assert needs_token(provider)
    assert provider.handshake is handshake


@pytest.mark.parametrize("field", ["callback_url", "hooks.done"])
def test_an_input_cannot_redirect_the_callback(field: str) -> None:
    given = {"callback_url": "https://evil.example", "hooks": "https://evil.example"}
    body = json.loads(started(acme(callback_url_field=field), given).body)
    assert (body["callback_url"] if field == "callback_url" else body["hooks"]["done"]) == "https://hooks/t"


def test_an_event_in_its_envelope_is_read_without_settings() -> None:
    callback = read(acme(), sample("standard", "callback.succeeded"))
    assert (callback.event_id, callback.event_type, callback.status) == (
        "msg_1",
        "job.completed",
        "succeeded",
    )
    assert (callback.operation, callback.external_id, callback.job_id) == ("job", "ajob_81", None)
    assert callback.occurred_at == datetime(2026, 11, 3, 20, 26, 10, 344522, tzinfo=UTC)
    assert callback.result == {"url": "https://files.example.com/81.pdf", "pages": 3, "internal_note": "x"}


BODY = b'{"status":"done","event":{"id":"e1"}}'


@pytest.mark.parametrize(
    ("options", "event_id"),
    [
        ({}, "msg_1"),
        ({"event_id_field": "event.id"}, "e1"),
        # printf '{"status":"done","event":{"id":"e1"}}' | sha256sum
        ({"scheme": "xero"}, "200a53323a9ccd8ce5028511c602ac417dcb116cd631415ad9d7199c3ff4a6a2"),
        ({"scheme": "none"}, "200a53323a9ccd8ce5028511c602ac417dcb116cd631415ad9d7199c3ff4a6a2"),
        ({"scheme": "gitlab_token"}, "200a53323a9ccd8ce5028511c602ac417dcb116cd631415ad9d7199c3ff4a6a2"),
        ({"scheme": "xero", "event_id_field": "event.id"}, "e1"),
    ],
    ids=["header", "field", "body", "unsigned", "token", "field in a signed body"],
)
def test_an_event_is_named_by_what_is_signed(options: dict[str, str], event_id: str) -> None:
    assert read(acme(**options), BODY).event_id == event_id


@pytest.mark.parametrize("scheme", ["none", "eventgrid", "gitlab_token", "mailgun", "paypal"])
def test_an_event_is_not_named_by_a_field_that_nobody_signs(scheme: str) -> None:
    with pytest.raises(OperatorError, match=r"^PROVIDER_ACME__EVENT_ID_FIELD: leave it out"):
        acme(scheme=scheme, event_id_field="event.id")


def test_an_event_without_a_usable_id_is_not_understood() -> None:
    with pytest.raises(NotUnderstood):
        read(acme(event_id_field="event.name"), BODY)
    with pytest.raises(NotUnderstood):
        read(acme(), BODY, webhook_id="")


FORM = b"status=done&id=a%201&note=Z%C3%BCrich+%26+more"
MULTIPART = (
    b'--b\r\ncontent-disposition: form-data; name="status"\r\n\r\ndone\r\n'
    b'--b\r\ncontent-disposition: form-data; name="id"\r\n\r\na 1\r\n--b--\r\n'
)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (FORM, "application/x-www-form-urlencoded"),
        (FORM, "Application/X-WWW-Form-URLencoded; charset=UTF-8"),
        (MULTIPART, "multipart/form-data; boundary=b"),
    ],
    ids=["urlencoded", "with charset", "multipart"],
)
def test_a_form_is_read_as_a_flat_object(body: bytes, content_type: str) -> None:
    callback = read(acme(), body, content_type=content_type)
    assert (callback.status, callback.external_id) == ("succeeded", "a 1")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (FORM, "application/json"),
        (FORM, ""),
        (MULTIPART, "application/x-www-form-urlencoded"),
        (b"\r\n" + MULTIPART, "multipart/form-data; boundary=b"),
        (MULTIPART, "multipart/form-data"),
        (MULTIPART[:-8], "multipart/form-data; boundary=b"),
        (b"status=done&status=failed", "application/x-www-form-urlencoded"),
        (b"status=done&id=%ff", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=b"] * 1001), "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
    ],
    ids=[
        "json type",
        "no type",
        "other type",
        "preamble",
        "no boundary",
        "cut",
        "twice",
        "no UTF-8",
        "too many",
        "bytes",
    ],
)
def test_a_form_that_cannot_be_read_in_one_way_is_not_understood(body: bytes, content_type: str) -> None:
    with pytest.raises(NotUnderstood):
        read(acme(), body, content_type=content_type)


def test_a_content_type_changes_nothing_that_json_says() -> None:
    body = b'{"status":"done","id":"a&status=failed&b="}'
    callback = read(acme(), body, content_type="application/x-www-form-urlencoded")
    assert (callback.status, callback.external_id) == ("succeeded", "a&status=failed&b=")


def test_a_payload_can_be_json_text_in_a_field() -> None:
    inner = quote_plus('{"state":"done","id":"a1"}')
    body = f"status=failed&payload={inner}".encode()
    provider = acme(payload_field="payload", status_field="state")
    callback = read(provider, body, content_type="application/x-www-form-urlencoded")
    assert (callback.status, callback.external_id) == ("succeeded", "a1")
    callback = read(acme(payload_field="event.body"), b'{"event":{"body":"{\\"status\\":\\"done\\"}"}}')
    assert callback.status == "succeeded"


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"payload":5}', b'{"payload":{"status":"done"}}', b'{"payload":"[]"}', b'{"payload":""}'],
)
def test_a_payload_that_is_no_json_text_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        read(acme(payload_field="payload"), body)


@pytest.mark.parametrize(
    ("scheme", "field"),
    [
        ("aws_sns", "Message"),
        ("dropbox_sign", "json"),
        ("transloadit", "transloadit"),
        ("braintree", "bt_payload"),
    ],
)
def test_where_one_field_is_signed_no_other_is_read(scheme: str, field: str) -> None:
    body = b'{"status":"done","MessageId":"m1"}' if scheme == "aws_sns" else b"status=done"
    with pytest.raises(NotUnderstood, match=f"no JSON text at {field}"):
        read(acme(scheme=scheme), body)
    with pytest.raises(OperatorError, match=rf"^PROVIDER_ACME__PAYLOAD_FIELD: leave it out.* {field} alone"):
        acme(scheme=scheme, payload_field="other")
    assert acme(scheme=scheme, payload_field=field)


def test_what_could_be_json_and_a_signed_form_is_read_as_the_form() -> None:
    scheme, provider = SCHEMES["transloadit"], acme(scheme="transloadit")
    bare = Delivery(
        method="POST", url="https://hooks/t", headers={}, body=b'{"status":"failed"}', received_at=NOW
    )
    [(_, signed), (_, signature)] = read_fields(scheme.sign(bare, "secret", NOW))
    form = urlencode({"transloadit": signed, "signature": signature}).encode()
    forged = b'{"transloadit":"{\\"status\\":\\"done\\"}","a":"&' + form + b'&b="}'
    delivery = replace(bare, body=forged, headers={"content-type": "application/x-www-form-urlencoded"})
    scheme.verify(delivery, ["secret"], NOW)
    assert json.loads(json.loads(forged)["transloadit"]) == {"status": "done"}
    (callback,) = provider.read(delivery)
    assert callback.status == "failed"


@pytest.mark.parametrize("scheme", ["twilio_form", "twilio_sharedkey"])
def test_a_form_that_is_signed_as_urlencoded_is_read_so_whatever_its_content_type(scheme: str) -> None:
    for content_type in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=b", ""):
        callback = read(acme(scheme=scheme), b"status=done&id=a1", content_type=content_type)
        assert (callback.status, callback.external_id) == ("succeeded", "a1")
    with pytest.raises(NotUnderstood):
        read(acme(scheme=scheme), b'{"status":"done"}', content_type="application/json")


def test_what_stands_beside_a_signed_field_counts_for_nothing() -> None:
    body = b'{"status":"failed","Message":"{\\"status\\":\\"done\\"}","MessageId":"m1","Signature":"x"}'
    assert read(acme(scheme="aws_sns"), body).status == "succeeded"


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        ("github", "it's-a-secret"),
        ("slack", "8f742231b10e8888abcd99yyyzzz85a5"),
        ("svix", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("gitlab_token", "glpat-made-up"),
    ],
)
async def test_five_settings_are_enough_for_an_api_that_nobody_listed(
    world: World, scheme: str, secret: str
) -> None:
    values = {
        "PROVIDERS": "unlisted",
        "PROVIDER_UNLISTED__SCHEME": scheme,
        "PROVIDER_UNLISTED__START_URL": "https://api.unlisted.example/v1/work",
        "PROVIDER_UNLISTED__AUTH": "header:X-Api-Key",
        "PROVIDER_UNLISTED__ID_FIELD": "work.key",
        "PROVIDER_UNLISTED__STATUS_FIELD": "work.state",
    }
    found = providers(provider_names(values), provider_options(values))
    world.receive.providers["unlisted"] = found["unlisted"]  # type: ignore[index] # a dict
    world.vault.versions |= {
        "unlisted-api-key": ("key-1",),
        "unlisted-signing-secret": (secret,),
    }
    world.answers = [answer({"work": {"key": "w_1", "state": "queued"}}, 202)]
    job = said(await world.start({"input": {"text": "hello"}}, provider="unlisted"))
    sent = world.sender.requests[-1]
    assert (sent.url, sent.headers["x-api-key"]) == ("https://api.unlisted.example/v1/work", "key-1")

    address = json.loads(sent.body)["callback_url"]
    body = b'{"work":{"key":"w_1","state":"done"},"result":{"pages":3}}'
    bare = Delivery(
        method="POST",
        url=address,
        headers={"content-length": str(len(body)), "svix-id": "msg_1"},
        body=body,
        received_at=world.clock.now(),
    )
    for forged in (True, False):
        used = f"{secret[:-4]}AAAA" if forged else secret
        signed = SCHEMES[scheme].sign(bare, used, world.clock.now())
        response = await world.api.receive_webhook(
            Request(method="POST", url=address, headers=signed.headers, body=signed.body),
            "unlisted",
            address.rpartition("/")[2],
        )
        assert response.status == (401 if forged else 200)
    await world.forward()
    [(subject, outcome)] = world.outcomes()
    assert (subject, outcome["job_id"], outcome["result"]) == ("job.succeeded", job["id"], {"pages": 3})


@pytest.mark.parametrize("job_id", [None, 7, "", "../x", "j" * 65, ["job_1"]], ids=repr)
def test_a_job_id_that_is_none_of_ours_is_left_out(job_id: object) -> None:
    body = json.dumps({"status": "done", "reference": job_id}).encode()
    assert read(acme(job_id_field="reference"), body).job_id is None


def test_only_declared_result_fields_leave() -> None:
    provider = acme(result_fields="url, pages,missing", job_id_field="reference")
    callback = read(provider, sample("standard", "callback.succeeded"))
    assert callback.result == {"url": "https://files.example.com/81.pdf", "pages": 3}
    assert callback.job_id == "job_01JD8Z3W5V"
    assert "internal_note" not in json.dumps(provider.operations["job"].result.model_json_schema())


def test_a_flat_body_is_read_as_the_settings_say() -> None:
    callback = read(acme(), sample("standard", "callback.flat"))
    assert (callback.event_type, callback.status, callback.external_id) == ("ERRORED", "unknown", "81")
    callback = read(acme(statuses="ERRORED=failed"), sample("standard", "callback.flat"))
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
        ("auth", "digest", "give bearer, basic, none, or header:"),
        ("auth", "header:", "give bearer, basic, none, or header:"),
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
        ("callback_address", "both", "'per_job' or 'account'"),
        ("scheme", "githup", "there is no such scheme; near to it: github"),
        ("scheme", "standard-webhooks", "near to it: standardwebhooks"),
        ("scheme", "GitHub", "near to it: github"),
        ("scheme", "????", "near to it: a name in docs/providers.md"),
        ("payload_field", "a..b", "joined by full stops"),
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
        standard.provider("acme", {"auth": "digest", "cancel": "x"})
    named = [line.partition(":")[0] for line in str(raised.value).splitlines()]
    assert named == ["PROVIDER_ACME__START_URL", "PROVIDER_ACME__AUTH", "PROVIDER_ACME__CANCEL"]
