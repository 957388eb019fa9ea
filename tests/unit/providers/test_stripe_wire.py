"""Stripe's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start
from services.providers.stripe import PROVIDER
from tests.vectors.cases import sample

PAYMENT, REPORT = PROVIDER.operations["payment"], PROVIDER.operations["report"]
PAY = {"amount": 2000, "currency": "eur", "payment_method": "pm_card_visa"}


def started(operation: str, given: dict[str, Any]) -> HttpRequest:
    declared = PROVIDER.operations[operation]
    return declared.start(
        Start(
            job_id="job_1",
            input=declared.input.model_validate(given),
            api_url="https://api.stripe.com",
            api_key="sk_test_1",
            callback_url="https://hooks.example.com/",
        )
    )


def delivered(body: bytes) -> Delivery:
    return Delivery(
        method="POST",
        url="https://x.example/",
        headers={},
        body=body,
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def changed(name: str, **changes: object) -> bytes:
    """A sample event with other values; names with a dot stand in the event's object."""
    event = json.loads(sample("stripe", name))
    for place, value in changes.items():
        (event["data"]["object"] if place.startswith("o_") else event)[place.removeprefix("o_")] = value
    return json.dumps(event).encode()


def test_a_payment_is_confirmed_at_once_and_carries_our_id() -> None:
    request = started("payment", PAY | {"customer": "cus_1", "description": "Größe 42 & mehr"})
    assert (request.method, request.url) == ("POST", "https://api.stripe.com/v1/payment_intents")
    assert request.headers == {
        "authorization": "Bearer sk_test_1",
        "content-type": "application/x-www-form-urlencoded",
        "idempotency-key": "job_1",
        "stripe-version": "2026-10-28.endive",
    }
    assert dict(parse_qsl(request.body.decode(), strict_parsing=True)) == {
        "amount": "2000",
        "currency": "eur",
        "payment_method": "pm_card_visa",
        "customer": "cus_1",
        "description": "Größe 42 & mehr",
        "metadata[hookbus_job_id]": "job_1",
        "confirm": "true",
        "off_session": "true",
        "automatic_payment_methods[enabled]": "true",
        "automatic_payment_methods[allow_redirects]": "never",
    }


def test_a_report_is_asked_for_with_its_parameters() -> None:
    request = started(
        "report",
        {
            "report_type": "balance.summary.1",
            "parameters": {"interval_start": 1675000000, "interval_end": 1680000000, "columns": ["a", "b"]},
        },
    )
    assert request.url == "https://api.stripe.com/v1/reporting/report_runs"
    assert request.headers["idempotency-key"] == "job_1"
    assert dict(parse_qsl(request.body.decode(), strict_parsing=True)) == {
        "report_type": "balance.summary.1",
        "parameters[interval_start]": "1675000000",
        "parameters[interval_end]": "1680000000",
        "parameters[columns][0]": "a",
        "parameters[columns][1]": "b",
    }


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("payment", {"currency": "eur", "payment_method": "pm_1"}),
        ("payment", PAY | {"amount": 0}),
        ("payment", PAY | {"amount": 100_000_000}),
        ("payment", PAY | {"amount": "2000"}),
        ("payment", PAY | {"amount": 20.5}),
        ("payment", PAY | {"amount": True}),
        ("payment", PAY | {"currency": "EUR"}),
        ("payment", PAY | {"payment_method": "4242424242424242"}),
        ("payment", PAY | {"customer": "cus_1&amount=1"}),
        ("payment", PAY | {"metadata": {"hookbus_job_id": "job_2"}}),
        ("payment", PAY | {"description": ""}),
        ("payment", PAY | {"description": "d" * 1001}),
        ("payment", PAY | {"statement_descriptor_suffix": ""}),
        ("payment", PAY | {"statement_descriptor_suffix": "s" * 23}),
        ("report", {}),
        ("report", {"report_type": "a.b", "parameters": {"columns": ["c"] * 201}}),
        ("report", {"report_type": "Balance"}),
        ("report", {"report_type": "a.b", "parameters": {"interval_start": 2, "interval_end": 1}}),
        ("report", {"report_type": "a.b", "parameters": {"interval_start": -1}}),
        ("report", {"report_type": "a.b", "parameters": {"expand": "x"}}),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:60],
)
def test_an_input_that_stripe_would_not_take_is_refused(operation: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PROVIDER.operations[operation].input.model_validate(given)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("payment_intent.processing", Status.RUNNING),
        ("payment_intent.requires_action", Status.RUNNING),
        ("payment_intent.succeeded", Status.SUCCEEDED),
        ("payment_intent.payment_failed", Status.FAILED),
        ("payment_intent.canceled", Status.CANCELED),
    ],
)
def test_a_payment_event_says_how_the_payment_stands(name: str, status: Status) -> None:
    (callback,) = PROVIDER.read(delivered(sample("stripe", name.replace("payment_intent", "callback"))))
    assert (callback.status, callback.event_type, callback.operation) == (status, name, "payment")
    assert (callback.job_id, callback.external_id) == ("job_01JD8Z3W5V", "pi_3MtwBwLkdIwHu7ix28a3tqPa")
    assert callback.occurred_at == datetime(2023, 4, 6, 17, 1, 47, tzinfo=UTC)


@pytest.mark.parametrize("word", ["created", "amount_capturable_updated", "partially_funded"])
def test_a_payment_on_its_way_is_running(word: str) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.processing", type=f"payment_intent.{word}")))
    assert callback.status == "running"


def test_a_payment_gives_its_declared_fields_and_never_its_client_secret() -> None:
    (callback,) = PROVIDER.read(delivered(sample("stripe", "callback.succeeded")))
    assert callback.event_id == "evt_3MtwBwLkdIwHu7ix0aSucceed"
    assert callback.result == {
        "id": "pi_3MtwBwLkdIwHu7ix28a3tqPa",
        "amount": 2000,
        "currency": "eur",
        "status": "succeeded",
        "amount_received": 2000,
        "latest_charge": "ch_3MtwBwLkdIwHu7ix0FvB3wCe",
        "payment_method": "pm_1MtwBvLkdIwHu7ixQfh5bMn1",
        "customer": "cus_NffrFeUfNV2Hib",
        "created": 1680800504,
    }


def test_a_failed_payment_ends_the_job_with_the_reason_of_the_decline() -> None:
    (callback,) = PROVIDER.read(delivered(sample("stripe", "callback.payment_failed")))
    assert callback.status.settled
    assert callback.failure == Failure(
        code="card_declined",
        message="Your card has insufficient funds. (decline code: insufficient_funds)",
    )


def test_a_decline_without_a_sentence_is_not_given_one() -> None:
    error = {"code": "card_declined", "decline_code": "fraudulent", "message": None}
    body = changed("callback.payment_failed", o_last_payment_error=error)
    (callback,) = PROVIDER.read(delivered(body))
    assert callback.failure == Failure(code="card_declined", message="the provider gave no reason")


def test_a_canceled_payment_says_why() -> None:
    (callback,) = PROVIDER.read(delivered(sample("stripe", "callback.canceled")))
    assert callback.failure == Failure(code="requested_by_customer", message="the payment was canceled")


def test_a_report_is_found_by_its_own_id() -> None:
    (callback,) = PROVIDER.read(delivered(sample("stripe", "callback.report_succeeded")))
    assert (callback.operation, callback.job_id) == ("report", None)
    assert callback.external_id == "frr_1MtwRsLkdIwHu7ixuXfKmXpS"
    assert callback.result == {
        "id": "frr_1MtwRsLkdIwHu7ixuXfKmXpS",
        "report_type": "balance.summary.1",
        "succeeded_at": 1680800521,
        "result": {
            "id": "file_1MtwRuLkdIwHu7ixkD5nWzXb",
            "url": "https://files.stripe.com/v1/files/file_1MtwRuLkdIwHu7ixkD5nWzXb/contents",
            "filename": "frr_1MtwRsLkdIwHu7ixuXfKmXpS.csv",
            "size": 53075,
            "type": "csv",
            "expires_at": 1712336520,
        },
    }


def test_a_failed_report_says_why() -> None:
    (callback,) = PROVIDER.read(delivered(sample("stripe", "callback.report_failed")))
    assert callback.failure == Failure(code="report_failed", message="The report could not be generated.")


@pytest.mark.parametrize("kind", ["payment_intent", "reporting.report_run"])
def test_a_word_that_nobody_listed_is_unknown(kind: str) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.processing", type=f"{kind}.melted")))
    assert callback.status == "unknown"


@pytest.mark.parametrize("job_id", [None, 7, "", "../x", "j" * 65, ["job_1"]], ids=repr)
def test_a_job_id_that_is_none_of_ours_is_left_out(job_id: object) -> None:
    body = changed("callback.succeeded", o_metadata={"hookbus_job_id": job_id})
    (callback,) = PROVIDER.read(delivered(body))
    assert (callback.job_id, callback.external_id) == (None, "pi_3MtwBwLkdIwHu7ix28a3tqPa")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        changed("callback.succeeded", object="v2.core.event"),
        changed("callback.succeeded", type="customer.created"),
        changed("callback.succeeded", type="payment_intent"),
        changed("callback.succeeded", type=None),
        changed("callback.succeeded", id=None),
        changed("callback.succeeded", data=[]),
        changed("callback.succeeded", data={"object": "pi_1"}),
        changed("callback.succeeded", o_id=7),
        changed("callback.succeeded", o_amount="much"),
        changed("callback.succeeded", o_latest_charge={"id": "ch_1"}),
        changed("callback.report_succeeded", o_result="file_1"),
    ],
    ids=[
        "list", "empty", "thin", "other-type", "no-word", "no-type", "no-id", "no-data", "no-object",
        "number-id", "amount", "expanded", "unexpanded",
    ],
)  # fmt: skip
def test_an_event_that_we_do_not_know_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    "created", [10**13, 10**30, -(10**30), 1e300, "1680800507", True, None, {}], ids=repr
)
def test_an_odd_time_is_left_out(created: object) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.succeeded", created=created)))
    assert callback.occurred_at is None


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("processing", Status.RUNNING),
        ("requires_action", Status.RUNNING),
        ("requires_confirmation", Status.RUNNING),
        ("requires_capture", Status.RUNNING),
        ("brand_new", Status.RUNNING),
        ("succeeded", Status.SUCCEEDED),
        ("canceled", Status.CANCELED),
        ("requires_payment_method", Status.RUNNING),
    ],
)
def test_a_start_answer_may_be_the_end_already(word: str, status: Status) -> None:
    intent = json.loads(sample("stripe", "callback.succeeded"))["data"]["object"] | {"status": word}
    found = PAYMENT.read_start(HttpAnswer(status=200, body=json.dumps(intent).encode()))
    assert (found.external_id, found.status) == ("pi_3MtwBwLkdIwHu7ix28a3tqPa", status)
    assert (found.result is not None) == (status == "succeeded")


def test_a_payment_that_was_tried_at_once_and_declined_has_failed() -> None:
    intent = {
        "id": "pi_1",
        "status": "requires_payment_method",
        "last_payment_error": {"code": "card_declined", "message": "Your card was declined."},
    }
    found = PAYMENT.read_start(HttpAnswer(status=200, body=json.dumps(intent).encode()))
    assert found.failure == Failure(code="card_declined", message="Your card was declined.")
    assert found.status is Status.FAILED


def test_a_payment_without_a_method_is_left_to_be_confirmed_in_a_browser() -> None:
    request = started("payment", {"amount": 2000, "currency": "eur"})
    sent = dict(parse_qsl(request.body.decode()))
    assert "confirm" not in sent
    assert "off_session" not in sent
    assert sent["metadata[hookbus_job_id]"] == "job_1"


def test_a_report_run_starts_pending() -> None:
    found = REPORT.read_start(HttpAnswer(status=200, body=b'{"id":"frr_1","status":"pending"}'))
    assert (found.external_id, found.status) == ("frr_1", "running")


@pytest.mark.parametrize("operation", [PAYMENT, REPORT], ids=["payment", "report"])
@pytest.mark.parametrize("body", [b"", b"{}", b'{"status":"succeeded"}', b"\xff"])
def test_a_start_answer_without_an_id_is_not_understood(operation: Any, body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        operation.read_start(HttpAnswer(status=200, body=body))


@pytest.mark.parametrize(
    ("operation", "place"),
    [(PAYMENT, "payment_intents"), (REPORT, "reporting/report_runs")],
    ids=["payment", "report"],
)
def test_a_payment_and_a_report_are_polled_where_they_lie(operation: Any, place: str) -> None:
    request = operation.poll(
        Ask(job_id="job_1", external_id="x_1/y", api_url="https://api.stripe.com", api_key="sk")
    )
    assert (request.method, request.url, request.body) == (
        "GET",
        f"https://api.stripe.com/v1/{place}/x_1%2Fy",
        b"",
    )
    assert request.headers == {"authorization": "Bearer sk", "stripe-version": "2026-10-28.endive"}


def test_a_polled_payment_says_how_it_stands() -> None:
    assert PAYMENT.read_poll is not None
    found = PAYMENT.read_poll(HttpAnswer(status=200, body=sample("stripe", "poll.running")))
    assert (found.external_id, found.status) == ("pi_3MtwBwLkdIwHu7ix28a3tqPa", "running")
    found = PAYMENT.read_poll(HttpAnswer(status=200, body=sample("stripe", "poll.succeeded")))
    assert found.status is Status.SUCCEEDED
    assert found.result is not None
    assert found.result["amount_received"] == 2000


def test_a_polled_report_says_where_it_lies() -> None:
    assert REPORT.read_poll is not None
    found = REPORT.read_poll(HttpAnswer(status=200, body=sample("stripe", "poll.report_succeeded")))
    assert (found.external_id, found.status) == ("frr_1MtwRsLkdIwHu7ixuXfKmXpS", "succeeded")
    assert found.result is not None
    assert found.result["report_type"] == "balance.summary.1"


def test_a_payment_is_canceled_once() -> None:
    assert PAYMENT.cancel is not None
    request = PAYMENT.cancel(
        Ask(job_id="job_1", external_id="pi_1/x", api_url="https://api.stripe.com", api_key="sk")
    )
    assert request.url == "https://api.stripe.com/v1/payment_intents/pi_1%2Fx/cancel"
    assert request.body == b"cancellation_reason=requested_by_customer"
    assert request.headers["idempotency-key"] == "job_1-cancel"
    assert REPORT.cancel is None


@pytest.mark.parametrize(
    ("status", "error", "code", "message"),
    [
        (
            402,
            {"type": "card_error", "code": "card_declined", "decline_code": "do_not_honor", "message": "No."},
            "card_declined",
            "No. (decline code: do_not_honor)",
        ),
        (
            400,
            {"type": "invalid_request_error", "message": "Missing: amount."},
            "invalid_request_error",
            "Missing: amount.",
        ),
        (
            401,
            {"type": "invalid_request_error", "message": "Invalid API Key: sk_****1"},
            "provider_refused",
            "the provider answered 401",
        ),
        (400, "no", "provider_refused", "the provider answered 400"),
        (400, {"message": 7}, "provider_refused", "the provider answered 400"),
        (400, {"message": "m" * 2000}, "provider_refused", "m" * 1000),
        (400, {"code": "c\x00" + "d" * 300, "message": "no"}, "c" + "d" * 254, "no"),
    ],
    ids=["declined", "invalid", "key", "text", "number", "long", "odd-code"],
)
def test_a_refusal_is_told_in_their_words(status: int, error: object, code: str, message: str) -> None:
    answer = HttpAnswer(status=status, body=json.dumps({"error": error}).encode())
    assert PROVIDER.refusal(answer) == Failure(code=code, message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert PROVIDER.repeats_for == timedelta(days=3)
    assert not PROVIDER.ordered
    assert PAYMENT.idempotent
    assert REPORT.idempotent
    assert PAYMENT.idempotent_for == REPORT.idempotent_for == timedelta(hours=23)
