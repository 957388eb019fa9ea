"""Plaid: asset reports, each with its own webhook, which says only that a report can be fetched.

The API key is CLIENT_ID:SECRET; the sandbox is another API address. What fetches a report is its token, so
this is the job's external id, and not the report's id that webhooks name: of use to nobody without the key.
"""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, Field, FiniteFloat, JsonValue

from services.errors import NotUnderstood, OperatorError
from services.jsons import at, parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import Ask, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import plain_refusal, refusal_body, told
from services.providers.reading import object_at, status_in, text_at
from services.providers.requests import json_request
from services.signatures.catalogue import SCHEMES

API_VERSION = "2020-09-14"  # https://plaid.com/docs/api/versioning/

# https://plaid.com/docs/api/products/assets/#webhooks
EVENTS = {"PRODUCT_READY": Status.RUNNING, "ERROR": Status.FAILED}
_ACCESS_TOKEN = re.compile(r"\baccess-[a-z]+-[0-9A-Za-z-]+")

AccessToken = Annotated[str, Field(pattern=r"^access-[a-z]+-[0-9A-Za-z-]{1,100}$")]


# https://plaid.com/docs/api/products/assets/#asset_reportcreate
class AssetReportInput(Input):
    """Whose accounts to report on, by the access tokens of their Items, and for how many days back."""

    access_tokens: list[AccessToken] = Field(min_length=1, max_length=99)
    days_requested: int = Field(ge=0, le=731)


class Balances(BaseModel):
    """What an account holds, or owes if it is a credit or a loan."""

    available: FiniteFloat | None = None
    current: FiniteFloat | None = None
    limit: FiniteFloat | None = None
    iso_currency_code: str | None = None
    unofficial_currency_code: str | None = None


class HistoricalBalance(BaseModel):
    """What an account held on a day."""

    date: str
    current: FiniteFloat | None = None
    iso_currency_code: str | None = None


class Transaction(BaseModel):
    """Money that left an account, or came in if `amount` is negative."""

    transaction_id: str
    date: str | None = None
    amount: FiniteFloat | None = None
    iso_currency_code: str | None = None
    original_description: str | None = None
    pending: bool | None = None


class Account(BaseModel):
    """An account, without what tells about its owners."""

    account_id: str
    name: str | None = None
    official_name: str | None = None
    mask: str | None = None
    type: str | None = None
    subtype: str | None = None
    days_available: FiniteFloat | None = None
    balances: Balances | None = None
    historical_balances: list[HistoricalBalance] | None = None
    transactions: list[Transaction] | None = None


class Item(BaseModel):
    """A user's accounts with one institution."""

    item_id: str
    institution_id: str | None = None
    institution_name: str | None = None
    date_last_updated: str | None = None
    accounts: list[Account]


class AssetReport(BaseModel):
    """An asset report."""

    asset_report_id: str
    date_generated: str | None = None
    days_requested: FiniteFloat | None = None
    items: list[Item]


def start(job: Start) -> HttpRequest:
    body = job.input.model_dump()
    body["options"] = {"client_report_id": job.job_id, "webhook": job.callback_url}
    return _post(job, "asset_report/create", body)


def read_start(answer: HttpAnswer) -> Started:
    return Started(external_id=text_at(parse_object(answer.body), "asset_report_token"))


# https://plaid.com/docs/api/products/assets/#asset_reportget: until it is ready, a 400
def poll(job: Ask) -> HttpRequest:
    return _post(job, "asset_report/get", {"asset_report_token": job.external_id})


def read_poll(answer: HttpAnswer) -> Started:
    report = object_at(parse_object(answer.body), "report")
    return Started(status=Status.SUCCEEDED).with_result(AssetReport, report)


# https://plaid.com/docs/api/#api-host
def _post(job: Start | Ask, place: str, body: JsonObject) -> HttpRequest:
    client_id, _, secret = job.api_key.partition(":")
    if not client_id or not secret:
        raise OperatorError("secret plaid-api-key cannot be used: set it as CLIENT_ID:SECRET")
    headers = {"plaid-client-id": client_id, "plaid-secret": secret, "plaid-version": API_VERSION}
    return json_request("POST", f"{job.api_url}/{place}", body, headers)


def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    if event.get("webhook_type") != "ASSETS":
        raise NotUnderstood("webhooks of this type are not about jobs")
    code = text_at(event, "webhook_code")
    status = status_in(EVENTS, code)
    failed = status is Status.FAILED
    callback = Callback(
        event_id=f"{text_at(event, 'asset_report_id')}.{code}",
        event_type=f"ASSETS.{code}",
        status=status,
        operation="asset_report",
        failure=_told_error(event.get("error"), otherwise="asset_report_failed") if failed else None,
        thin=code == "PRODUCT_READY",
    )
    return (callback,)


# https://plaid.com/docs/errors/
def refusal(answer: HttpAnswer) -> Failure:
    body = refusal_body(answer)
    if body is None or not isinstance(body.get("error_message"), str):
        return plain_refusal(answer)
    return _told_error(body, otherwise="provider_refused")


def _told_error(error: JsonValue, *, otherwise: str) -> Failure:
    """Say what Plaid says, but not the access tokens that it repeats."""
    message = at(error, "error_message")
    if isinstance(message, str):
        message = _ACCESS_TOKEN.sub("(an access token)", message)
    return told(at(error, "error_code"), message, otherwise=otherwise)


PROVIDER = Provider(
    name="plaid",
    documentation="https://plaid.com/docs/api/products/assets/",
    completion=Completion.WEBHOOK,
    api_url="https://production.plaid.com",
    api_key="plaid-api-key",
    scheme=SCHEMES["plaid"],
    operations={
        "asset_report": Operation(
            input=AssetReportInput,
            result=AssetReport,
            start=start,
            read_start=read_start,
            poll=poll,
            read_poll=read_poll,
            start_budget=timedelta(seconds=10),  # an answer that is lost cannot be had again
        )
    },
    default_operation="asset_report",
    read=read,
    refusal=refusal,
    # https://plaid.com/docs/api/webhooks/#webhook-retries
    patience=timedelta(seconds=10),
    repeats_for=timedelta(hours=24),
)
