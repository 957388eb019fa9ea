"""PayPal's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.attempt import read_answer
from services.errors import NotUnderstood, OperatorError
from services.lifecycle import Answered, Refused
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start
from services.providers.paypal import PROVIDER
from services.receive import needs_token
from tests.vectors.cases import sample

PAYOUT = PROVIDER.operations["payout"]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BATCH = "B76ZYZAL3F2NL"
ONE = {"receiver": "erika@example.com", "amount": {"currency": "USD", "value": "9.87"}}


def started(given: dict[str, Any]) -> HttpRequest:
    return PAYOUT.start(
        Start(
            job_id="job_1",
            input=PAYOUT.input.model_validate(given),
            api_url="https://api-m.paypal.com",
            api_key="A21.token",
            callback_url="https://hooks.example.com/",
        )
    )


def delivered(body: bytes, transmission: str | None = "t-1") -> Delivery:
    headers = {} if transmission is None else {"paypal-transmission-id": transmission}
    return Delivery(method="POST", url="https://x.example/", headers=headers, body=body, received_at=NOW)


def changed(*, header: dict[str, object] | None = None, **changes: object) -> bytes:
    """A batch's event with other members, or with other members of the batch's header."""
    event = json.loads(sample("paypal", "callback.succeeded"))
    event["resource"]["batch_header"] |= header or {}
    return json.dumps(event | changes).encode()


def polled(name: str) -> Any:
    assert PAYOUT.read_poll is not None
    return PAYOUT.read_poll(HttpAnswer(status=200, body=sample("paypal", f"poll.{name}")))


def test_a_batch_carries_our_id_as_its_own() -> None:
    request = started(
        {
            "items": [
                ONE | {"note": "Danke!", "sender_item_id": "item_1"},
                ONE | {"receiver": "G83JXTJ5EHCQ2", "recipient_type": "PAYPAL_ID"},
            ],
            "email_subject": "Ihre Prämie",
            "email_message": "Danke für Ihre Hilfe.",
        }
    )
    assert (request.method, request.url) == ("POST", "https://api-m.paypal.com/v1/payments/payouts")
    assert request.headers == {
        "authorization": "Bearer A21.token",
        "paypal-request-id": "job_1",
        "content-type": "application/json",
    }
    assert json.loads(request.body) == {
        "sender_batch_header": {
            "sender_batch_id": "job_1",
            "email_subject": "Ihre Prämie",
            "email_message": "Danke für Ihre Hilfe.",
        },
        "items": [
            {
                "recipient_type": "EMAIL",
                "receiver": "erika@example.com",
                "amount": {"currency": "USD", "value": "9.87"},
                "note": "Danke!",
                "sender_item_id": "item_1",
            },
            {
                "recipient_type": "PAYPAL_ID",
                "receiver": "G83JXTJ5EHCQ2",
                "amount": {"currency": "USD", "value": "9.87"},
            },
        ],
    }


@pytest.mark.parametrize(
    "given",
    [
        {"items": []},
        {"items": [ONE] * 1001},
        {"items": [{"receiver": "erika@example.com"}]},
        {"items": [ONE | {"receiver": ""}]},
        {"items": [ONE | {"receiver": "r" * 128}]},
        {"items": [ONE | {"amount": {"currency": "usd", "value": "1"}}]},
        {"items": [ONE | {"amount": {"currency": "USD", "value": 1}}]},
        {"items": [ONE | {"amount": {"currency": "USD", "value": "-1"}}]},
        {"items": [ONE | {"amount": {"currency": "USD", "value": "1.2345"}}]},
        {"items": [ONE | {"recipient_type": "IBAN"}]},
        {"items": [ONE | {"sender_item_id": "s" * 64}]},
        {"items": [ONE | {"note": "n" * 1001}]},
        {"items": [ONE], "email_subject": "s" * 256},
        {"items": [ONE], "sender_batch_id": "job_2"},
    ],
    ids=[
        "none", "many", "no-amount", "no-receiver", "long-receiver", "currency", "number", "negative",
        "digits", "type", "long-id", "long-note", "long-subject", "own-id",
    ],
)  # fmt: skip
def test_an_input_that_paypal_would_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PAYOUT.input.model_validate(given)


def test_an_access_token_is_asked_for_with_the_key() -> None:
    assert PROVIDER.access is not None
    request = PROVIDER.access.request("https://api-m.paypal.com", "client:hidden", NOW)
    assert (request.method, request.url) == ("POST", "https://api-m.paypal.com/v1/oauth2/token")
    assert request.headers == {
        "authorization": "Basic Y2xpZW50OmhpZGRlbg==",
        "content-type": "application/x-www-form-urlencoded",
    }
    assert request.body == b"grant_type=client_credentials"


@pytest.mark.parametrize("api_key", ["", "client", "client:", ":hidden"])
def test_a_key_without_both_parts_is_the_operators_to_mend(api_key: str) -> None:
    assert PROVIDER.access is not None
    with pytest.raises(OperatorError, match="CLIENT_ID:SECRET"):
        PROVIDER.access.request("https://api-m.paypal.com", api_key, NOW)


def test_an_access_token_is_read_with_its_lifetime() -> None:
    assert PROVIDER.access is not None
    body = b'{"scope":"s","access_token":"A21AAF.x-y_z","token_type":"Bearer","expires_in":31668}'
    found = PROVIDER.access.read(HttpAnswer(status=200, body=body))
    assert (found.text, found.lifetime) == ("A21AAF.x-y_z", timedelta(seconds=31668))


def test_an_answer_to_a_start_says_the_batchs_id() -> None:
    found = PAYOUT.read_start(HttpAnswer(status=201, body=sample("paypal", "start")))
    assert (found.external_id, found.status) == (BATCH, "running")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"batch_header":{}}', b'{"batch_header":[]}'])
def test_an_answer_without_an_id_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PAYOUT.read_start(HttpAnswer(status=201, body=body))


# The answer to a batch whose id was used before.
HAD = {
    "name": "USER_BUSINESS_ERROR",
    "message": "User business error.",
    "debug_id": "f701090abdcb2",
    "details": [
        {
            "field": "SENDER_BATCH_ID",
            "location": "body",
            "issue": "Batch with given sender_batch_id already exists",
            "link": [
                {"href": f"https://api-m.paypal.com/v1/payments/payouts/{BATCH}", "rel": "self"},
            ],
        }
    ],
    "links": [],
}


def test_a_batch_that_paypal_has_already_is_the_one_that_was_started() -> None:
    told = read_answer(PROVIDER, PAYOUT, HttpAnswer(status=400, body=json.dumps(HAD).encode()), NOW)
    assert isinstance(told, Answered)
    assert (told.started.external_id, told.started.status) == (BATCH, "running")


@pytest.mark.parametrize("link", [None, [], [{"href": 7}], [{"href": "https://x.example/a\x00"}]], ids=repr)
def test_a_batch_that_paypal_has_is_known_without_a_link_too(link: object) -> None:
    body = json.dumps(HAD | {"details": [{"field": "SENDER_BATCH_ID", "link": link}]}).encode()
    told = read_answer(PROVIDER, PAYOUT, HttpAnswer(status=400, body=body), NOW)
    assert isinstance(told, Answered)
    assert told.started.external_id is None


@pytest.mark.parametrize(
    "changes", [{"name": "VALIDATION_ERROR"}, {"details": []}, {"details": [{"field": "items[0]"}]}], ids=repr
)
def test_any_other_refusal_ends_the_job(changes: dict[str, object]) -> None:
    body = json.dumps(HAD | changes).encode()
    assert isinstance(read_answer(PROVIDER, PAYOUT, HttpAnswer(status=400, body=body), NOW), Refused)


def test_a_batch_is_polled_with_all_its_payouts() -> None:
    assert PAYOUT.poll is not None
    request = PAYOUT.poll(
        Ask(job_id="job_1", external_id="B/x?", api_url="https://api-m.paypal.com", api_key="A21.token")
    )
    assert (request.method, request.url, request.headers) == (
        "GET",
        "https://api-m.paypal.com/v1/payments/payouts/B%2Fx%3F?page_size=1000",
        {"authorization": "Bearer A21.token"},
    )
    assert PAYOUT.cancel is None


def test_a_batch_that_was_processed_says_how_each_payout_stands() -> None:
    assert polled("running").status is Status.RUNNING
    found = polled("succeeded")
    assert (found.external_id, found.status) == (BATCH, Status.SUCCEEDED)
    item = {
        "payout_item_id": "8AELMXH8UB2P8",
        "transaction_id": "4S141967GH156380H",
        "transaction_status": "SUCCESS",
        "time_processed": "2026-11-23T12:00:25Z",
        "payout_item_fee": {"currency": "USD", "value": "0.25"},
        "payout_item": {
            "receiver": "erika@example.com",
            "recipient_type": "EMAIL",
            "amount": {"currency": "USD", "value": "9.87"},
            "sender_item_id": "item_8",
        },
    }
    unclaimed = {
        "payout_item_id": "MV3LBLB7MBDWS",
        "transaction_status": "UNCLAIMED",
        "payout_item": {
            "receiver": "max@example.com",
            "recipient_type": "EMAIL",
            "amount": {"currency": "USD", "value": "109.87"},
            "sender_item_id": "item_S",
        },
        "errors": {"name": "RECEIVER_UNREGISTERED", "message": "Receiver is unregistered"},
    }
    assert found.result == {
        "batch_header": {
            "payout_batch_id": BATCH,
            "batch_status": "SUCCESS",
            "time_created": "2026-11-23T12:00:00Z",
            "time_completed": "2026-11-23T12:00:26Z",
            "amount": {"currency": "USD", "value": "119.74"},
            "fees": {"currency": "USD", "value": "0.50"},
        },
        "items": [item, item | unclaimed],
    }


@pytest.mark.parametrize(
    ("sender", "job_id"),
    [({"sender_batch_id": "job_2"}, "job_2"), ({"sender_batch_id": 7}, ""), ({}, ""), (None, "")],
    ids=["another", "number", "none", "no header"],
)
def test_a_batch_says_whose_it_is(sender: object, job_id: str) -> None:
    assert polled("succeeded").job_id == "job_01JD8Z3W5V"
    header = {"payout_batch_id": BATCH, "batch_status": "SUCCESS", "sender_batch_header": sender}
    assert PAYOUT.read_poll is not None
    answer = HttpAnswer(status=200, body=json.dumps({"batch_header": header}).encode())
    assert PAYOUT.read_poll(answer).job_id == job_id


def test_a_denied_batch_says_why() -> None:
    found = polled("failed")
    assert found.status is Status.FAILED
    assert found.failure == Failure(
        code="INSUFFICIENT_FUNDS", message="Sender does not have sufficient funds."
    )


@pytest.mark.parametrize(
    ("word", "status", "failure"),
    [
        ("PENDING", Status.RUNNING, None),
        ("PROCESSING", Status.RUNNING, None),
        ("MELTED", Status.RUNNING, None),
        ("DENIED", Status.FAILED, Failure(code="denied", message="the batch was denied")),
        ("CANCELED", Status.CANCELED, Failure(code="canceled", message="the batch was canceled")),
    ],
)
def test_each_status_is_told_in_our_words(word: str, status: Status, failure: Failure | None) -> None:
    body = json.dumps({"batch_header": {"payout_batch_id": BATCH, "batch_status": word}}).encode()
    found = PAYOUT.read_start(HttpAnswer(status=200, body=body))
    assert (found.status, found.failure) == (status, failure)


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("processing", "PAYMENT.PAYOUTSBATCH.PROCESSING"),
        ("succeeded", "PAYMENT.PAYOUTSBATCH.SUCCESS"),
        ("denied", "PAYMENT.PAYOUTSBATCH.DENIED"),
    ],
)
def test_how_a_batch_stands_is_asked_of_paypal_and_never_believed(name: str, event_type: str) -> None:
    (callback,) = PROVIDER.read(delivered(sample("paypal", f"callback.{name}")))
    assert (callback.event_type, callback.thin, callback.status) == (event_type, True, Status.RUNNING)
    assert (callback.operation, callback.job_id) == ("payout", "job_01JD8Z3W5V")
    assert (callback.external_id, callback.event_id) == (BATCH, "t-1")
    assert callback.occurred_at == datetime(2026, 11, 23, 12, 0, 27, 853000, tzinfo=UTC)


def test_a_word_that_nobody_listed_is_unknown() -> None:
    (callback,) = PROVIDER.read(delivered(changed(event_type="PAYMENT.PAYOUTSBATCH.MELTED")))
    assert (callback.status, callback.thin) == (Status.UNKNOWN, False)


@pytest.mark.parametrize("batch_id", [None, 7, "", "batch no. 7", "j" * 65], ids=repr)
def test_a_batch_id_that_is_none_of_ours_is_left_out(batch_id: object) -> None:
    body = changed(header={"sender_batch_header": {"sender_batch_id": batch_id}})
    (callback,) = PROVIDER.read(delivered(body))
    assert (callback.job_id, callback.external_id) == (None, BATCH)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        changed(event_type="PAYMENT.PAYOUTS-ITEM.SUCCEEDED"),
        changed(event_type=None),
        changed(resource={}),
        changed(header={"payout_batch_id": 7}),
    ],
    ids=["list", "empty", "item", "no-type", "no-batch", "no-id"],
)
def test_an_event_that_we_do_not_know_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize("transmission", [None, "", "t\x00"], ids=repr)
def test_a_delivery_without_a_usable_id_is_not_understood(transmission: str | None) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(sample("paypal", "callback.succeeded"), transmission))


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (
            400,
            b'{"name":"VALIDATION_ERROR","message":"Invalid request - see details",'
            b'"details":[{"field":"items[1].receiver","issue":"Receiver is invalid"}]}',
            "VALIDATION_ERROR",
            "Invalid request - see details (Receiver is invalid)",
        ),
        (
            422,
            b'{"name":"INSUFFICIENT_FUNDS","message":"Sender does not have sufficient funds."}',
            "INSUFFICIENT_FUNDS",
            "Sender does not have sufficient funds.",
        ),
        (400, b'{"message":7}', "provider_refused", "the provider answered 400"),
        (401, b'{"message":"A21.token"}', "provider_refused", "the provider answered 401"),
    ],
    ids=["details", "funds", "odd", "key"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, code: str, message: str) -> None:
    assert PROVIDER.refusal(HttpAnswer(status=status, body=body)) == Failure(code=code, message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.ACCOUNT
    assert PROVIDER.repeats_for == timedelta(days=3)
    assert needs_token(PROVIDER)
    assert PAYOUT.idempotent
    assert PAYOUT.idempotent_for == timedelta(days=29)
