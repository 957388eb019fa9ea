"""Plaid's wire format, as its documentation shows it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import NotUnderstood, OperatorError
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start
from services.providers.plaid import PROVIDER
from services.receive import needs_token
from tests.vectors.cases import sample

REPORT = PROVIDER.operations["asset_report"]
HOOK = "https://hooks.example.com/api/webhooks/plaid/token"
TOKEN = "assets-sandbox-6f12f5bb-22dd-4855-b918-f47ec439198a"
ASKED = {"access_tokens": ["access-sandbox-de3ce8ef-33f8-452c-a685-8671031fc0f6"], "days_requested": 60}
HEADERS = {
    "plaid-client-id": "client",
    "plaid-secret": "hidden:1",
    "plaid-version": "2020-09-14",
    "content-type": "application/json",
}


def started(given: dict[str, Any], api_key: str = "client:hidden:1") -> HttpRequest:
    return REPORT.start(
        Start(
            job_id="job_1",
            input=REPORT.input.model_validate(given),
            api_url="https://production.plaid.com",
            api_key=api_key,
            callback_url=HOOK,
        )
    )


def delivered(body: bytes) -> Delivery:
    return Delivery(
        method="POST", url=HOOK, headers={}, body=body, received_at=datetime(2026, 11, 23, tzinfo=UTC)
    )


def changed(name: str, **changes: object) -> bytes:
    return json.dumps(json.loads(sample("plaid", name)) | changes).encode()


def test_a_report_is_asked_for_with_its_own_webhook() -> None:
    request = started(ASKED)
    assert (request.method, request.url) == ("POST", "https://production.plaid.com/asset_report/create")
    assert request.headers == HEADERS
    assert json.loads(request.body) == {
        "access_tokens": ["access-sandbox-de3ce8ef-33f8-452c-a685-8671031fc0f6"],
        "days_requested": 60,
        "options": {"client_report_id": "job_1", "webhook": HOOK},
    }


@pytest.mark.parametrize(
    "given",
    [
        {"days_requested": 60},
        ASKED | {"access_tokens": []},
        ASKED | {"access_tokens": ["access-sandbox-1"] * 100},
        ASKED | {"access_tokens": ["public-sandbox-1"]},
        ASKED | {"access_tokens": ["access-sandbox-1\n"]},
        ASKED | {"days_requested": -1},
        ASKED | {"days_requested": 732},
        ASKED | {"days_requested": "60"},
        ASKED | {"options": {"webhook": "https://evil.example"}},
    ],
    ids=["no-items", "none", "many", "public", "line-end", "negative", "long", "text", "own-webhook"],
)
def test_an_input_that_plaid_would_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        REPORT.input.model_validate(given)


@pytest.mark.parametrize("api_key", ["", "client", "client:", ":hidden"])
def test_a_key_without_both_parts_is_the_operators_to_mend(api_key: str) -> None:
    with pytest.raises(OperatorError, match="CLIENT_ID:SECRET"):
        started(ASKED, api_key)


def test_a_report_is_known_by_the_token_that_fetches_it() -> None:
    found = REPORT.read_start(HttpAnswer(status=200, body=sample("plaid", "start")))
    assert (found.external_id, found.status) == (TOKEN, "running")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"asset_report_id":"x"}'])
def test_an_answer_without_a_token_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        REPORT.read_start(HttpAnswer(status=200, body=body))


def test_a_report_is_fetched_by_its_token() -> None:
    assert REPORT.poll is not None
    request = REPORT.poll(
        Ask(
            job_id="job_1",
            external_id=TOKEN,
            api_url="https://sandbox.plaid.com",
            api_key="client:hidden:1",
        )
    )
    assert (request.method, request.url) == ("POST", "https://sandbox.plaid.com/asset_report/get")
    assert request.headers == HEADERS
    assert json.loads(request.body) == {"asset_report_token": TOKEN}


def test_a_fetched_report_gives_its_declared_fields_and_nothing_of_the_owners() -> None:
    assert REPORT.read_poll is not None
    found = REPORT.read_poll(HttpAnswer(status=200, body=sample("plaid", "poll.succeeded")))
    assert found.status is Status.SUCCEEDED
    assert found.result == {
        "asset_report_id": "47dfc92b-bba3-4583-809e-ce871b321f05",
        "date_generated": "2026-11-23T12:00:40Z",
        "days_requested": 2,
        "items": [
            {
                "item_id": "eVBnVMp7zdTJLkRNr33Rs6zr7KNJqBFL9DrE6",
                "institution_id": "ins_3",
                "institution_name": "Chase",
                "date_last_updated": "2026-11-23T11:59:00Z",
                "accounts": [
                    {
                        "account_id": "1qKRXQjk8xUWDJojNwPXTj8gEmR48piqRNye8",
                        "name": "Plaid Money Market",
                        "official_name": "Plaid Platinum Standard 1.85% Interest Money Market",
                        "mask": "4444",
                        "type": "depository",
                        "subtype": "money market",
                        "days_available": 2,
                        "balances": {
                            "available": 43200,
                            "current": 43200.5,
                            "limit": None,
                            "iso_currency_code": "USD",
                            "unofficial_currency_code": None,
                        },
                        "historical_balances": [
                            {"date": "2026-11-22", "current": 49050, "iso_currency_code": "USD"}
                        ],
                        "transactions": [
                            {
                                "transaction_id": "gGQgjoeyqBF89PND6K14Sow1wddZBmtLomJ78",
                                "date": "2026-11-22",
                                "amount": 5850,
                                "iso_currency_code": "USD",
                                "original_description": "ACH Electronic CreditGUSTO PAY 123456",
                                "pending": False,
                            }
                        ],
                    }
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"report":{}}', b'{"report":{"asset_report_id":"x","items":{}}}', b'{"error_code":"X"}'],
)
def test_an_answer_without_a_report_is_not_understood(body: bytes) -> None:
    assert REPORT.read_poll is not None
    with pytest.raises(NotUnderstood):
        REPORT.read_poll(HttpAnswer(status=200, body=body))


def test_a_report_that_is_ready_is_to_be_fetched() -> None:
    (callback,) = PROVIDER.read(delivered(sample("plaid", "callback.succeeded")))
    assert (callback.thin, callback.status) == (True, Status.RUNNING)
    assert (callback.result, callback.failure) == (None, None)
    assert callback.event_id == "47dfc92b-bba3-4583-809e-ce871b321f05.PRODUCT_READY"
    assert (callback.event_type, callback.operation) == ("ASSETS.PRODUCT_READY", "asset_report")
    assert (callback.job_id, callback.external_id) == (None, None), "the address says which job's it is"


def test_a_report_that_failed_says_why_without_the_access_tokens() -> None:
    (callback,) = PROVIDER.read(delivered(sample("plaid", "callback.failed")))
    assert (callback.thin, callback.status) == (False, Status.FAILED)
    assert callback.failure == Failure(
        code="PRODUCT_NOT_ENABLED",
        message="the 'assets' product is not enabled for the following access tokens: (an access token). "
        "please ensure that 'assets' is included in the 'product' array when initializing Link and create "
        "the Item(s) again.",
    )


def test_a_word_that_nobody_listed_is_unknown() -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.succeeded", webhook_code="MELTED")))
    assert (callback.status, callback.thin, callback.event_type) == ("unknown", False, "ASSETS.MELTED")


@pytest.mark.parametrize("error", [None, 7, "no", {}, {"error_code": [7]}], ids=repr)
def test_a_failure_without_a_reason_has_none_made_up(error: object) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.failed", error=error)))
    assert callback.failure == Failure(code="asset_report_failed", message="the provider gave no reason")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        changed("callback.succeeded", webhook_type="TRANSACTIONS"),
        changed("callback.succeeded", webhook_code=None),
        changed("callback.succeeded", asset_report_id=7),
    ],
    ids=["list", "empty", "other-type", "no-word", "no-id"],
)
def test_a_webhook_that_we_do_not_know_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (
            400,
            b'{"error_code":"INVALID_FIELD","error_message":"days_requested must be a number"}',
            "INVALID_FIELD",
            "days_requested must be a number",
        ),
        (
            400,
            b'{"error_code":"INVALID_ACCESS_TOKEN","error_message":"no such access-production-1f-2"}',
            "INVALID_ACCESS_TOKEN",
            "no such (an access token)",
        ),
        (400, b'{"error_message":7}', "provider_refused", "the provider answered 400"),
        (401, b'{"error_message":"hidden"}', "provider_refused", "the provider answered 401"),
    ],
    ids=["field", "access-token", "odd", "key"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, code: str, message: str) -> None:
    assert PROVIDER.refusal(HttpAnswer(status=status, body=body)) == Failure(code=code, message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (timedelta(seconds=10), timedelta(hours=24))
    assert (PROVIDER.callback_address, PROVIDER.signing_secret) == (CallbackAddress.PER_JOB, None)
    assert needs_token(PROVIDER)
    assert not REPORT.idempotent
