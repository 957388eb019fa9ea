"""SendGrid's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import CallbackAddress, Start
from services.providers.sendgrid import PROVIDER
from tests.vectors.cases import sample

MAIL = PROVIDER.operations["mail"]
LETTER = {
    "to": {"email": "erika@example.com", "name": "Erika Größe"},
    "from": {"email": "shop@example.org"},
    "subject": "Ihre Bestellung",
    "text": "Sie ist da.",
    "html": "<p>Sie ist da.</p>",
}
MESSAGE_ID = "Zx8fMbVnQy2cS1dP0r4tLw"


def started(given: dict[str, Any]) -> HttpRequest:
    return MAIL.start(
        Start(
            job_id="job_1",
            input=MAIL.input.model_validate(given),
            api_url="https://api.sendgrid.com",
            api_key="SG.secret",
            callback_url="https://hooks.example.com/",
        )
    )


def delivered(body: bytes) -> Delivery:
    return Delivery(
        method="POST",
        url="https://x.example/",
        headers={},
        body=body,
        received_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


def event(**changes: object) -> bytes:
    """A delivery of one event with other members; None takes one away."""
    [found] = json.loads(sample("sendgrid", "callback.succeeded"))
    changed = {name: value for name, value in {**found, **changes}.items() if value is not None}
    return json.dumps([changed]).encode()


def test_a_mail_is_sent_to_one_recipient_and_carries_our_id() -> None:
    request = started(LETTER)
    assert (request.method, request.url) == ("POST", "https://api.sendgrid.com/v3/mail/send")
    assert request.headers == {"authorization": "Bearer SG.secret", "content-type": "application/json"}
    assert json.loads(request.body) == {
        "personalizations": [
            {
                "to": [{"email": "erika@example.com", "name": "Erika Größe"}],
                "custom_args": {"hookbus_job_id": "job_1"},
            }
        ],
        "from": {"email": "shop@example.org"},
        "subject": "Ihre Bestellung",
        "content": [
            {"type": "text/plain", "value": "Sie ist da."},
            {"type": "text/html", "value": "<p>Sie ist da.</p>"},
        ],
    }


def test_a_mail_in_html_alone_has_no_text() -> None:
    request = started(LETTER | {"text": None})
    assert json.loads(request.body)["content"] == [{"type": "text/html", "value": "<p>Sie ist da.</p>"}]


def test_a_template_is_filled_in_for_the_recipient() -> None:
    request = started(
        {
            "to": {"email": "erika@example.com"},
            "from": {"email": "shop@example.org", "name": "Shop"},
            "reply_to": {"email": "help@example.org"},
            "template_id": "d-1a2b",
            "dynamic_template_data": {"items": [{"size": 42}]},
        }
    )
    assert json.loads(request.body) == {
        "personalizations": [
            {
                "to": [{"email": "erika@example.com"}],
                "custom_args": {"hookbus_job_id": "job_1"},
                "dynamic_template_data": {"items": [{"size": 42}]},
            }
        ],
        "from": {"email": "shop@example.org", "name": "Shop"},
        "reply_to": {"email": "help@example.org"},
        "template_id": "d-1a2b",
    }


@pytest.mark.parametrize(
    "given",
    [
        {},
        LETTER | {"to": [{"email": "a@example.com"}, {"email": "b@example.com"}]},
        LETTER | {"to": {"email": "erika"}},
        LETTER | {"to": {"email": "a@b.example\n"}},
        LETTER | {"to": {"email": "<a@b.example>"}},
        LETTER | {"to": {"email": "a@b.example", "name": ""}},
        LETTER | {"subject": None},
        LETTER | {"subject": ""},
        LETTER | {"text": None, "html": None},
        LETTER | {"text": ""},
        LETTER | {"template_id": "d/1"},
        LETTER | {"custom_args": {"hookbus_job_id": "job_2"}},
        LETTER | {"from_": {"email": "a@b.example"}},
    ],
    ids=[
        "nothing", "several", "no-address", "line-end", "brackets", "empty-name", "no-subject",
        "empty-subject", "no-content", "empty-text", "template", "own-arguments", "our-name",
    ],
)  # fmt: skip
def test_an_input_that_sendgrid_would_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MAIL.input.model_validate(given)


def test_an_accepted_mail_is_named_by_a_header() -> None:
    found = MAIL.read_start(HttpAnswer(status=202, headers={"x-message-id": MESSAGE_ID}))
    assert (found.external_id, found.status) == (MESSAGE_ID, "running")


@pytest.mark.parametrize("headers", [{}, {"x-message-id": ""}, {"x-message-id": "a\x00"}], ids=repr)
def test_an_answer_without_a_name_is_not_understood(headers: dict[str, str]) -> None:
    with pytest.raises(NotUnderstood):
        MAIL.read_start(HttpAnswer(status=202, headers=headers, body=b'{"id":"x"}'))


def test_a_delivered_mail_has_succeeded() -> None:
    (callback,) = PROVIDER.read(delivered(sample("sendgrid", "callback.succeeded")))
    assert callback.event_id == "ZGVsaXZlcmVkLTAtMzE0MTU5MjY03"
    assert (callback.event_type, callback.status) == ("delivered", Status.SUCCEEDED)
    assert (callback.operation, callback.job_id, callback.external_id) == ("mail", "job_01JD8Z3W5V", None)
    assert callback.occurred_at == datetime(2026, 11, 23, 12, 0, 3, tzinfo=UTC)
    assert callback.result == {
        "email": "erika@example.com",
        "response": "250 2.0.0 OK 1795435203 gsmtp",
        "timestamp": 1795435203,
        "sg_message_id": "Zx8fMbVnQy2cS1dP0r4tLw.recvd-6f8d9c7b5-x2k4q-1-6922F7C0-1A.0",
    }


def test_a_batch_is_one_callback_for_each_event_in_its_order() -> None:
    callbacks = PROVIDER.read(delivered(sample("sendgrid", "callback.batch")))
    assert [(one.event_type, one.status.value) for one in callbacks] == [
        ("processed", "running"),
        ("deferred", "running"),
        ("delivered", "succeeded"),
        ("open", "running"),
    ]
    assert len({one.event_id for one in callbacks}) == 4
    assert {one.job_id for one in callbacks} == {"job_01JD8Z3W5V"}


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("bounced", "bounce", "550 5.1.1 The email account that you tried to reach does not exist."),
        ("blocked", "blocked", "554 5.7.1 Service unavailable: client host is blocked"),
        ("dropped", "dropped", "Bounced Address"),
    ],
)
def test_a_mail_that_cannot_arrive_has_failed(name: str, code: str, message: str) -> None:
    (callback,) = PROVIDER.read(delivered(sample("sendgrid", f"callback.{name}")))
    assert (callback.status, callback.result) == (Status.FAILED, None)
    assert callback.failure == Failure(code=code, message=message)


@pytest.mark.parametrize(
    "word", ["click", "spamreport", "unsubscribe", "group_unsubscribe", "group_resubscribe"]
)
def test_what_a_recipient_does_settles_nothing(word: str) -> None:
    (callback,) = PROVIDER.read(delivered(event(event=word)))
    assert callback.status is Status.RUNNING


def test_a_word_that_nobody_listed_is_unknown() -> None:
    (callback,) = PROVIDER.read(delivered(event(event="melted")))
    assert (callback.event_type, callback.status) == ("melted", Status.UNKNOWN)


@pytest.mark.parametrize(
    ("job_id", "message_id", "external_id"),
    [
        (None, f"{MESSAGE_ID}.recvd-1.0", MESSAGE_ID),
        ("../x", f"{MESSAGE_ID}.recvd-1.0", MESSAGE_ID),
        (None, MESSAGE_ID, MESSAGE_ID),
        (None, ".recvd-1", None),
        (None, 7, None),
        (None, None, None),
    ],
)
def test_a_mail_that_does_not_carry_our_id_is_looked_for_by_its_own(
    job_id: str | None, message_id: object, external_id: str | None
) -> None:
    (callback,) = PROVIDER.read(
        delivered(event(event="processed", hookbus_job_id=job_id, sg_message_id=message_id))
    )
    assert (callback.job_id, callback.external_id) == (None, external_id)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"[{}]",
        b"[7]",
        b"7",
        b'[{"event":"delivered"}]',
        event(event=None),
        event(event=7),
        event(sg_event_id=None),
        event(sg_event_id=""),
        event(timestamp="yesterday"),
        b'[],"events":[]',
        b"[" * 100_000,
    ],
    ids=[
        "empty", "none", "object", "empty-event", "number", "no-list", "no-id", "no-word", "odd-word",
        "id-gone", "id-empty", "odd-result", "beyond-the-list", "deep",
    ],
)  # fmt: skip
def test_a_delivery_that_we_do_not_know_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    ("odd", "event_id"),
    [
        ("7", "7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451"),
        (
            '{"event":"delivered","hookbus_job_id":"job_2"}',
            "83e04a24ef93e4e2fbcf02b9df29c5258dff35d3237dfc6536e3cff5ba2328e7",
        ),
    ],
    ids=["number", "no id"],
)
def test_an_odd_event_does_not_take_the_others_of_its_batch_along(odd: str, event_id: str) -> None:
    body = b"[%b,%b]" % (odd.encode(), event()[1:-1])
    unknown, callback = PROVIDER.read(delivered(body))
    assert (unknown.event_id, unknown.status, unknown.job_id) == (event_id, Status.UNKNOWN, None)
    assert (callback.status, callback.job_id) == (Status.SUCCEEDED, "job_01JD8Z3W5V")


def test_a_time_may_have_a_fraction() -> None:
    (callback,) = PROVIDER.read(delivered(event(timestamp=1795435203.25)))
    assert callback.result is not None
    assert callback.result["timestamp"] == 1795435203.25


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            400,
            b'{"errors":[{"message":"The from address is not verified.","field":"from","help":null}]}',
            "The from address is not verified.",
        ),
        (401, b'{"errors":[{"message":"SG.secret is invalid"}]}', "the provider answered 401"),
        (400, b'{"errors":[]}', "the provider answered 400"),
        (400, b'{"errors":{"0":{"message":7}}}', "the provider answered 400"),
    ],
    ids=["sentence", "key", "none", "odd"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code="provider_refused", message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert (PROVIDER.repeats_for, MAIL.deadline) == (timedelta(hours=24), timedelta(days=4))
    assert not MAIL.idempotent
