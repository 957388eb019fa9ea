"""Twilio's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood, OperatorError
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, Start
from services.providers.twilio import PROVIDER
from tests.vectors.cases import HERE, sample

MESSAGE, CALL = PROVIDER.operations["message"], PROVIDER.operations["call"]
KEY = "AC01:secret"
BASIC = "Basic QUMwMTpzZWNyZXQ="
HOOK = "https://hooks.example.com/api/webhooks/twilio/token"
SMS = {"to": "+15558675310", "from": "+15017122661", "body": "Größe 42 & mehr"}
RING = {"to": "+15558675310", "from": "+15017122661", "twiml": "<Response><Say>Hi</Say></Response>"}
SID = "SM1342fe1b2c904d1ab04f0fc7a58abca9"
CALL_SID = "CAbe982f58915a2def4cf7aaa1f1766236"


def started(operation: str, given: dict[str, Any], api_key: str = KEY) -> HttpRequest:
    declared = PROVIDER.operations[operation]
    return declared.start(
        Start(
            job_id="job_1",
            input=declared.input.model_validate(given),
            api_url="https://api.twilio.com",
            api_key=api_key,
            callback_url=HOOK,
        )
    )


def asked(external_id: str = SID, api_key: str = KEY) -> Ask:
    return Ask(job_id="job_1", external_id=external_id, api_url="https://api.twilio.com", api_key=api_key)


def form(name: str) -> bytes:
    return (HERE / "twilio" / f"callback.{name}.form").read_bytes()


def delivered(body: bytes) -> Delivery:
    return Delivery(
        method="POST", url=HOOK, headers={}, body=body, received_at=datetime(2026, 11, 23, tzinfo=UTC)
    )


def test_a_message_is_sent_with_its_own_status_callback() -> None:
    request = started("message", SMS)
    assert (request.method, request.url) == (
        "POST",
        "https://api.twilio.com/2010-04-01/Accounts/AC01/Messages.json",
    )
    assert request.headers == {
        "authorization": BASIC,
        "content-type": "application/x-www-form-urlencoded",
    }
    assert parse_qsl(request.body.decode(), strict_parsing=True) == [
        ("To", "+15558675310"),
        ("From", "+15017122661"),
        ("Body", "Größe 42 & mehr"),
        ("StatusCallback", HOOK),
    ]


def test_a_template_and_media_are_sent_from_a_service() -> None:
    service, content = "MG" + "0" * 32, "HX" + "a" * 32
    request = started(
        "message",
        {
            "to": "whatsapp:+15558675310",
            "messaging_service_sid": service,
            "media_url": ["https://a.example/1.png", "https://a.example/2.png"],
            "content_sid": content,
            "content_variables": {"1": "Erika"},
        },
    )
    assert parse_qsl(request.body.decode(), strict_parsing=True) == [
        ("To", "whatsapp:+15558675310"),
        ("MessagingServiceSid", service),
        ("MediaUrl", "https://a.example/1.png"),
        ("MediaUrl", "https://a.example/2.png"),
        ("ContentSid", content),
        ("ContentVariables", '{"1": "Erika"}'),
        ("StatusCallback", HOOK),
    ]


def test_a_call_is_made_with_its_own_status_callback() -> None:
    request = started(
        "call", RING | {"timeout": 30, "record": True, "send_digits": "W1234#", "machine_detection": "Enable"}
    )
    assert request.url == "https://api.twilio.com/2010-04-01/Accounts/AC01/Calls.json"
    assert parse_qsl(request.body.decode(), strict_parsing=True) == [
        ("To", "+15558675310"),
        ("From", "+15017122661"),
        ("Twiml", "<Response><Say>Hi</Say></Response>"),
        ("Timeout", "30"),
        ("SendDigits", "W1234#"),
        ("MachineDetection", "Enable"),
        ("Record", "true"),
        ("StatusCallback", HOOK),
    ]


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("message", {"to": "+1", "from": "+15017122661", "body": "a"}),
        ("message", SMS | {"to": "5558675310"}),
        ("message", SMS | {"to": "+15558675310\n"}),
        ("message", {"to": "+15558675310", "body": "a"}),
        ("message", {"to": "+15558675310", "from": "+15017122661"}),
        ("message", SMS | {"body": ""}),
        ("message", SMS | {"body": "b" * 1601}),
        ("message", SMS | {"from": ""}),
        ("message", SMS | {"from_": "+15017122661"}),
        ("message", SMS | {"media_url": []}),
        ("message", SMS | {"media_url": ["https://a.example"] * 11}),
        ("message", SMS | {"media_url": ["file:///etc/passwd"]}),
        ("message", SMS | {"messaging_service_sid": "MG1"}),
        ("message", SMS | {"content_sid": "HX1"}),
        ("message", SMS | {"content_variables": {"1": 1}}),
        ("message", SMS | {"status_callback": "https://evil.example"}),
        ("call", {"to": "+15558675310", "twiml": "<Response/>"}),
        ("call", {"to": "+15558675310", "from": "+15017122661"}),
        ("call", RING | {"url": "https://a.example/twiml"}),
        ("call", RING | {"twiml": "t" * 4001}),
        ("call", RING | {"timeout": 0}),
        ("call", RING | {"timeout": 601}),
        ("call", RING | {"timeout": "30"}),
        ("call", RING | {"send_digits": "1;2"}),
        ("call", RING | {"machine_detection": "Maybe"}),
        ("call", RING | {"record": "true"}),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[-60:],
)
def test_an_input_that_twilio_would_not_take_is_refused(operation: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PROVIDER.operations[operation].input.model_validate(given)


@pytest.mark.parametrize("api_key", ["", "AC01", "AC01:", "SK01:secret", ":secret"])
def test_a_key_without_the_account_is_the_operators_to_mend(api_key: str) -> None:
    assert MESSAGE.poll is not None
    with pytest.raises(OperatorError, match="ACCOUNT_SID:AUTH_TOKEN"):
        started("message", SMS, api_key)
    with pytest.raises(OperatorError, match="ACCOUNT_SID:AUTH_TOKEN"):
        MESSAGE.poll(asked(api_key=api_key))


def test_an_answer_to_a_start_says_its_id_and_goes_on() -> None:
    found = MESSAGE.read_start(HttpAnswer(status=201, body=sample("twilio", "start")))
    assert (found.external_id, found.status, found.result) == (SID, "running", None)
    found = CALL.read_start(HttpAnswer(status=201, body=sample("twilio", "start.call")))
    assert (found.external_id, found.status, found.result) == (CALL_SID, "running", None)


def test_an_answer_with_a_word_that_nobody_listed_goes_on() -> None:
    found = MESSAGE.read_start(HttpAnswer(status=201, body=b'{"sid":"SM1","status":"melted"}'))
    assert found.status is Status.RUNNING


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"sid":7}', b'{"status":"queued"}'])
def test_an_answer_without_an_id_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        MESSAGE.read_start(HttpAnswer(status=201, body=body))


def test_a_message_and_a_call_are_polled_where_they_lie() -> None:
    assert MESSAGE.poll is not None
    assert CALL.poll is not None
    request = MESSAGE.poll(asked("S/../x?"))
    assert (request.method, request.url, request.headers, request.body) == (
        "GET",
        "https://api.twilio.com/2010-04-01/Accounts/AC01/Messages/S%2F..%2Fx%3F.json",
        {"authorization": BASIC},
        b"",
    )
    assert CALL.poll(asked(CALL_SID)).url == (
        f"https://api.twilio.com/2010-04-01/Accounts/AC01/Calls/{CALL_SID}.json"
    )


def polled(operation: str, name: str) -> Any:
    read_poll = PROVIDER.operations[operation].read_poll
    assert read_poll is not None
    return read_poll(HttpAnswer(status=200, body=sample("twilio", f"poll.{name}")))


def test_a_polled_message_says_how_it_stands() -> None:
    assert polled("message", "running").status is Status.RUNNING
    found = polled("message", "succeeded")
    assert (found.status, found.external_id) == (Status.SUCCEEDED, SID)
    assert found.result == {
        "sid": SID,
        "status": "delivered",
        "to": "+15558675310",
        "from": "+15017122661",
    }
    found = polled("message", "failed")
    assert found.failure == Failure(code="30007", message="Carrier violation")
    assert found.status is Status.FAILED


def test_a_polled_call_says_how_it_went() -> None:
    found = polled("call", "call_succeeded")
    assert found.status is Status.SUCCEEDED
    assert found.result == {
        "sid": CALL_SID,
        "status": "completed",
        "to": "+15558675310",
        "from": "+15017122661",
        "duration": 49,
        "answered_by": None,
    }
    found = polled("call", "call_failed")
    assert found.failure == Failure(code="no-answer", message="the call ended as no-answer")


def test_a_message_is_canceled_while_it_waits_and_a_call_is_hung_up() -> None:
    assert MESSAGE.cancel is not None
    assert CALL.cancel is not None
    request = MESSAGE.cancel(asked())
    assert (request.method, request.url, request.body) == (
        "POST",
        f"https://api.twilio.com/2010-04-01/Accounts/AC01/Messages/{SID}.json",
        b"Status=canceled",
    )
    assert request.headers["authorization"] == BASIC
    request = CALL.cancel(asked(CALL_SID))
    assert request.url == f"https://api.twilio.com/2010-04-01/Accounts/AC01/Calls/{CALL_SID}.json"
    assert request.body == b"Status=completed"


@pytest.mark.parametrize(
    ("name", "event_type", "status", "failure"),
    [
        ("sent", "message.sent", Status.RUNNING, None),
        ("succeeded", "message.delivered", Status.SUCCEEDED, None),
        ("read", "message.read", Status.SUCCEEDED, None),
        (
            "failed",
            "message.undelivered",
            Status.FAILED,
            Failure(code="30003", message="the message ended as undelivered"),
        ),
        (
            "canceled",
            "message.canceled",
            Status.CANCELED,
            Failure(code="canceled", message="the message ended as canceled"),
        ),
    ],
)
def test_a_status_callback_of_a_message_is_told_in_our_words(
    name: str, event_type: str, status: Status, failure: Failure | None
) -> None:
    (callback,) = PROVIDER.read(delivered(form(name)))
    assert (callback.event_type, callback.status, callback.failure) == (event_type, status, failure)
    assert (callback.operation, callback.external_id, callback.job_id) == ("message", SID, None)
    assert (callback.result is not None) == (status is Status.SUCCEEDED)


def test_a_message_that_arrived_gives_its_declared_fields() -> None:
    (callback,) = PROVIDER.read(delivered(form("succeeded")))
    assert callback.result == {
        "sid": SID,
        "status": "delivered",
        "to": "+15558675310",
        "from": "+15017122661",
    }


def test_a_status_callback_of_a_call_says_how_it_went() -> None:
    (callback,) = PROVIDER.read(delivered(form("call_succeeded")))
    assert (callback.event_type, callback.operation) == ("call.completed", "call")
    assert callback.external_id == CALL_SID
    assert callback.result == {
        "sid": CALL_SID,
        "status": "completed",
        "to": "+15558675310",
        "from": "+15017122661",
        "duration": 49,
        "answered_by": "human",
    }
    (callback,) = PROVIDER.read(delivered(form("call_failed")))
    assert callback.status is Status.FAILED
    assert callback.failure == Failure(code="busy", message="the call ended as busy")


def test_what_a_callback_leaves_empty_is_left_out() -> None:
    body = b"CallSid=CA1&CallStatus=completed&CallDuration=&From=&To=%2B15558675310"
    (callback,) = PROVIDER.read(delivered(body))
    assert callback.result == {"sid": "CA1", "status": "completed", "to": "+15558675310"}


@pytest.mark.parametrize("word", ["accepted", "scheduled", "queued", "sending", "sent"])
def test_a_message_on_its_way_is_running(word: str) -> None:
    (callback,) = PROVIDER.read(delivered(f"MessageSid=SM1&MessageStatus={word}".encode()))
    assert callback.status is Status.RUNNING


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("queued", Status.RUNNING),
        ("initiated", Status.RUNNING),
        ("ringing", Status.RUNNING),
        ("in-progress", Status.RUNNING),
        ("no-answer", Status.FAILED),
        ("failed", Status.FAILED),
        ("canceled", Status.CANCELED),
        ("melted", Status.UNKNOWN),
        ("delivered", Status.UNKNOWN),
    ],
)
def test_each_word_of_a_call_is_told_in_our_words(word: str, status: Status) -> None:
    (callback,) = PROVIDER.read(delivered(f"CallSid=CA1&CallStatus={word}".encode()))
    assert callback.status is status


@pytest.mark.parametrize("word", ["melted", "received", "in-progress"])
def test_a_word_that_nobody_listed_is_unknown(word: str) -> None:
    (callback,) = PROVIDER.read(delivered(f"MessageSid=SM1&MessageStatus={word}".encode()))
    assert (callback.status, callback.event_type) == ("unknown", f"message.{word}")


def test_equal_callbacks_are_the_same_news_and_others_are_not() -> None:
    (first,) = PROVIDER.read(delivered(b"MessageSid=SM1&MessageStatus=sent"))
    (again,) = PROVIDER.read(delivered(b"MessageStatus=sent&MessageSid=SM1"))
    (other,) = PROVIDER.read(delivered(b"MessageSid=SM1&MessageStatus=delivered"))
    assert first.event_id == again.event_id
    assert first.event_id != other.event_id


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"MessageSid=SM1",
        b"MessageStatus=sent",
        b"MessageSid=&MessageStatus=sent",
        b"MessageSid=SM1&MessageStatus=sent&MessageStatus=delivered",
        b"MessageSid=SM%00&MessageStatus=sent",
        b"MessageSid=SM%FF&MessageStatus=sent",
        b"CallSid=CA1&CallStatus=completed&CallDuration=long",
        b"MessageSid=SM1&MessageStatus=sent" + b"&a=b" * 1000,
    ],
    ids=[
        "empty", "json", "no-status", "no-id", "empty-id", "twice", "nul", "no-utf-8", "duration", "fields",
    ],
)  # fmt: skip
def test_a_form_that_we_do_not_know_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


def test_a_new_field_that_stands_twice_is_no_hindrance() -> None:
    (callback,) = PROVIDER.read(delivered(b"MessageSid=SM1&MessageStatus=sent&New=1&New=2"))
    assert callback.status is Status.RUNNING


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            400,
            b'{"code":21211,"message":"The \'To\' number is not valid.","status":400}',
            "The 'To' number is not valid.",
        ),
        (401, b'{"code":20003,"message":"Authenticate AC01"}', "the provider answered 401"),
        (400, b"<html>", "the provider answered 400"),
        (400, b'{"message":[1]}', "the provider answered 400"),
    ],
    ids=["sentence", "key", "html", "list"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code="provider_refused", message=message)


@pytest.mark.parametrize("code", [True, 0, {}, []], ids=repr)
def test_an_odd_error_code_is_left_out(code: object) -> None:
    body = json.dumps({"sid": "SM1", "status": "failed", "error_code": code}).encode()
    found = MESSAGE.read_start(HttpAnswer(status=200, body=body))
    assert found.failure == Failure(code="failed", message="the message ended as failed")


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.answer.content_type == "text/xml"
    assert (PROVIDER.answer.status, PROVIDER.answer.body) == (200, b"<Response/>")
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=15), timedelta(seconds=15))
    assert not MESSAGE.idempotent
    assert not CALL.idempotent
