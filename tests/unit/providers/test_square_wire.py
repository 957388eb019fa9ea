"""Square's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start
from services.providers.square import PROVIDER
from tests.vectors.cases import sample

PAYMENT = PROVIDER.operations["payment"]
PAY = {"source_id": "cnon:card-nonce-ok", "amount": 1000, "currency": "USD"}
HEADERS = {"authorization": "Bearer EAAA", "square-version": "2026-09-16"}
PAYMENT_ID = "hYy9pRFVxpDsO1FB05SunFWUe9JZY"
RESULT = {
    "id": PAYMENT_ID,
    "status": "COMPLETED",
    "amount_money": {"amount": 1000, "currency": "USD"},
    "total_money": {"amount": 1000, "currency": "USD"},
    "source_type": "CARD",
    "location_id": "L88917AVBK2S5",
    "order_id": "pRsjRTgFWATl7so6DxdKBJa7ssbZY",
    "customer_id": "W92WH6P11H4Z77CTET0RNTGFW8",
    "receipt_number": "hYy9",
    "receipt_url": "https://squareup.com/receipt/preview/hYy9pRFVxpDsO1FB05SunFWUe9JZY",
    "created_at": "2026-11-23T12:00:00.086Z",
    "updated_at": "2026-11-23T12:00:01.504Z",
}


def started(given: dict[str, Any]) -> HttpRequest:
    return PAYMENT.start(
        Start(
            job_id="job_1",
            input=PAYMENT.input.model_validate(given),
            api_url="https://connect.squareup.com",
            api_key="EAAA",
            callback_url="https://hooks.example.com/",
        )
    )


def asked(external_id: str) -> Ask:
    return Ask(
        job_id="job_1", external_id=external_id, api_url="https://connect.squareup.com", api_key="EAAA"
    )


def delivered(body: bytes) -> Delivery:
    return Delivery(
        method="POST",
        url="https://x.example/",
        headers={},
        body=body,
        received_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


def changed(*, payment: dict[str, object] | None = None, **changes: object) -> bytes:
    """A payment's event with other members, or with other members of the payment."""
    event = json.loads(sample("square", "callback.succeeded"))
    event["data"]["object"]["payment"] |= payment or {}
    return json.dumps(event | changes).encode()


def test_a_payment_carries_our_id_as_its_key_and_its_reference() -> None:
    request = started(
        PAY
        | {
            "location_id": "L88917AVBK2S5",
            "customer_id": "W92",
            "verification_token": "verf:1",
            "buyer_email_address": "erika@example.com",
            "note": "Größe 42",
        }
    )
    assert (request.method, request.url) == ("POST", "https://connect.squareup.com/v2/payments")
    assert request.headers == HEADERS | {"content-type": "application/json"}
    assert json.loads(request.body) == {
        "source_id": "cnon:card-nonce-ok",
        "amount_money": {"amount": 1000, "currency": "USD"},
        "idempotency_key": "job_1",
        "reference_id": "job_1",
        "location_id": "L88917AVBK2S5",
        "customer_id": "W92",
        "verification_token": "verf:1",
        "buyer_email_address": "erika@example.com",
        "note": "Größe 42",
    }


@pytest.mark.parametrize(
    "given",
    [
        {"amount": 1000, "currency": "USD"},
        PAY | {"source_id": ""},
        PAY | {"source_id": "a b"},
        PAY | {"source_id": "s" * 1025},
        PAY | {"amount": 0},
        PAY | {"amount": 10_000_000_000},
        PAY | {"amount": "1000"},
        PAY | {"amount": 10.5},
        PAY | {"amount": True},
        PAY | {"currency": "usd"},
        PAY | {"location_id": "../L"},
        PAY | {"customer_id": ""},
        PAY | {"buyer_email_address": "erika"},
        PAY | {"note": "n" * 501},
        PAY | {"reference_id": "job_2"},
        PAY | {"autocomplete": False},
    ],
    ids=lambda value: json.dumps(value)[-60:],
)
def test_an_input_that_square_would_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PAYMENT.input.model_validate(given)


@pytest.mark.parametrize("word", ["PENDING", "APPROVED", "MELTED", None])
def test_a_payment_that_goes_on_says_its_id(word: str | None) -> None:
    body = json.dumps({"payment": {"id": PAYMENT_ID, "status": word}}).encode()
    found = PAYMENT.read_start(HttpAnswer(status=200, body=body))
    assert (found.external_id, found.status, found.result) == (PAYMENT_ID, "running", None)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"payment":7}', b'{"payment":{"id":7}}'])
def test_an_answer_without_a_payment_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PAYMENT.read_start(HttpAnswer(status=200, body=body))


def test_a_payment_is_polled_where_it_lies() -> None:
    assert PAYMENT.poll is not None
    request = PAYMENT.poll(asked("p/../x?"))
    assert (request.method, request.url, request.headers, request.body) == (
        "GET",
        "https://connect.squareup.com/v2/payments/p%2F..%2Fx%3F",
        HEADERS,
        b"",
    )


@pytest.mark.parametrize(
    ("name", "status", "result", "failure"),
    [
        ("running", Status.RUNNING, None, None),
        ("succeeded", Status.SUCCEEDED, RESULT, None),
        (
            "failed",
            Status.FAILED,
            None,
            Failure(code="INSUFFICIENT_FUNDS", message="Authorization error: 'INSUFFICIENT_FUNDS'"),
        ),
    ],
)
def test_a_polled_payment_says_how_it_stands(
    name: str, status: Status, result: dict[str, Any] | None, failure: Failure | None
) -> None:
    assert PAYMENT.read_poll is not None
    found = PAYMENT.read_poll(HttpAnswer(status=200, body=sample("square", f"poll.{name}")))
    assert (found.external_id, found.status) == (PAYMENT_ID, status)
    assert (found.result, found.failure) == (result, failure)


def test_a_payment_is_canceled_by_its_id() -> None:
    assert PAYMENT.cancel is not None
    request = PAYMENT.cancel(asked("p/x"))
    assert (request.method, request.url, request.body) == (
        "POST",
        "https://connect.squareup.com/v2/payments/p%2Fx/cancel",
        b"{}",
    )
    assert request.headers == HEADERS | {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("name", "event_type", "status", "code"),
    [
        ("created", "payment.created", Status.RUNNING, None),
        ("succeeded", "payment.updated", Status.SUCCEEDED, None),
        ("failed", "payment.updated", Status.FAILED, "INSUFFICIENT_FUNDS"),
        ("canceled", "payment.updated", Status.CANCELED, "canceled"),
    ],
)
def test_an_event_says_how_the_payment_stands(
    name: str, event_type: str, status: Status, code: str | None
) -> None:
    (callback,) = PROVIDER.read(delivered(sample("square", f"callback.{name}")))
    assert (callback.event_type, callback.status, callback.operation) == (event_type, status, "payment")
    assert (callback.job_id, callback.external_id) == ("job_01JD8Z3W5V", PAYMENT_ID)
    assert (callback.failure.code if callback.failure else None) == code


def test_a_payment_gives_its_declared_fields_and_nothing_of_its_card() -> None:
    (callback,) = PROVIDER.read(delivered(sample("square", "callback.succeeded")))
    assert callback.event_id == "6a8f5f28-54a1-4eb0-a98a-3111513fd4fc"
    assert callback.occurred_at == datetime(2026, 11, 23, 12, 0, 2, 308000, tzinfo=UTC)
    assert callback.result == RESULT


def test_a_word_that_nobody_listed_is_unknown() -> None:
    (callback,) = PROVIDER.read(delivered(changed(payment={"status": "MELTED"})))
    assert callback.status is Status.UNKNOWN


@pytest.mark.parametrize("reference", [None, 7, "", "order #7", "j" * 65], ids=repr)
def test_a_reference_that_is_none_of_ours_is_left_out(reference: object) -> None:
    (callback,) = PROVIDER.read(delivered(changed(payment={"reference_id": reference})))
    assert (callback.job_id, callback.external_id) == (None, PAYMENT_ID)


@pytest.mark.parametrize("errors", [None, [], {}, [7], "no"], ids=repr)
def test_a_failure_without_a_reason_has_none_made_up(errors: object) -> None:
    payment: dict[str, object] = {"status": "FAILED", "card_details": {"errors": errors}}
    (callback,) = PROVIDER.read(delivered(changed(payment=payment)))
    assert callback.failure == Failure(code="payment_failed", message="the provider gave no reason")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        changed(type="refund.updated"),
        changed(type=None),
        changed(event_id=None),
        changed(data={}),
        changed(data={"object": {"payment": []}}),
        changed(payment={"id": None}),
        changed(payment={"amount_money": "much"}),
    ],
    ids=["empty", "object", "other-type", "no-type", "no-id", "no-data", "list", "no-payment-id", "money"],
)
def test_an_event_that_we_do_not_know_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (
            400,
            b'{"errors":[{"category":"PAYMENT_METHOD_ERROR","code":"CVV_FAILURE","detail":"Wrong CVV."}]}',
            "CVV_FAILURE",
            "Wrong CVV.",
        ),
        (
            401,
            b'{"errors":[{"code":"UNAUTHORIZED","detail":"EAAA is revoked"}]}',
            "provider_refused",
            "the provider answered 401",
        ),
        (400, b'{"errors":[]}', "provider_refused", "the provider answered 400"),
        (400, b'{"errors":[7]}', "provider_refused", "the provider gave no reason"),
    ],
    ids=["declined", "key", "none", "odd"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, code: str, message: str) -> None:
    assert PROVIDER.refusal(HttpAnswer(status=status, body=body)) == Failure(code=code, message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=10), timedelta(hours=24))
    assert PAYMENT.idempotent
    assert PAYMENT.deadline == timedelta(days=8)
