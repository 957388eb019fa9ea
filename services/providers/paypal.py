"""PayPal: payouts to many recipients in one batch, found again by the batch's id, which is ours.

A signature binds a webhook's body by no more than a checksum, and the body says nothing of the single
payouts: how a batch stands is asked of PayPal. A batch that was processed has succeeded, although some of
its payouts may not have: the result says how each one stands, and an unclaimed one stays open for 30 days.
The API key is CLIENT_ID:SECRET; the signing secret is the webhook's id.
"""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, Field

from services.errors import NotUnderstood, OperatorError
from services.jsons import at, parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import (
    Access,
    CallbackAddress,
    Completion,
    Input,
    Operation,
    Provider,
    Start,
    Started,
)
from services.providers.failures import plain_refusal, refusal_body, told
from services.providers.reading import (
    header_text,
    job_id_at,
    object_at,
    read_access_token,
    status_in,
    text_at,
    time_from_text,
)
from services.providers.requests import about_job, basic, bearer, form_request, json_request
from services.signatures.catalogue import SCHEMES

# https://developer.paypal.com/docs/api/payments.payouts-batch/v1/#payouts_get
STATUSES = {
    "PENDING": Status.RUNNING,
    "PROCESSING": Status.RUNNING,
    "SUCCESS": Status.SUCCEEDED,
    "DENIED": Status.FAILED,
    "CANCELED": Status.CANCELED,
}
# https://developer.paypal.com/docs/payouts/standard/reference/webhooks/
EVENTS = (
    "PAYMENT.PAYOUTSBATCH.PROCESSING",
    "PAYMENT.PAYOUTSBATCH.SUCCESS",
    "PAYMENT.PAYOUTSBATCH.DENIED",
)
_BATCH = re.compile(r"/v1/payments/payouts/([A-Za-z0-9-]{1,64})$")


class Amount(Input):
    """An amount of money; `value` is a decimal number as text."""

    currency: str = Field(pattern=r"^[A-Z]{3}$")
    value: str = Field(pattern=r"^[0-9]{1,10}(\.[0-9]{1,3})?$")


class ItemInput(Input):
    """One payout."""

    receiver: str = Field(min_length=1, max_length=127)
    amount: Amount
    recipient_type: Literal["EMAIL", "PHONE", "PAYPAL_ID", "USER_HANDLE"] = "EMAIL"
    recipient_wallet: Literal["PAYPAL", "VENMO"] | None = None
    note: str | None = Field(None, min_length=1, max_length=1000)
    sender_item_id: str | None = Field(None, min_length=1, max_length=63)


# https://developer.paypal.com/docs/api/payments.payouts-batch/v1/#payouts_post
class PayoutInput(Input):
    """Whom to pay how much, and what PayPal writes to all of them: no more than one page of its answers."""

    items: list[ItemInput] = Field(min_length=1, max_length=1000)
    email_subject: str | None = Field(None, min_length=1, max_length=255)
    email_message: str | None = Field(None, min_length=1, max_length=1000)


class Money(BaseModel):
    """An amount of money."""

    currency: str | None = None
    value: str | None = None


class BatchHeader(BaseModel):
    """The batch as a whole."""

    payout_batch_id: str
    batch_status: str
    time_created: str | None = None
    time_completed: str | None = None
    amount: Money | None = None
    fees: Money | None = None


class ItemError(BaseModel):
    """Why a payout did not arrive."""

    name: str | None = None
    message: str | None = None


class ItemDetail(BaseModel):
    """A payout as it was asked for."""

    receiver: str | None = None
    recipient_type: str | None = None
    amount: Money | None = None
    sender_item_id: str | None = None


class Item(BaseModel):
    """How one payout stands."""

    payout_item_id: str
    transaction_id: str | None = None
    transaction_status: str | None = None
    time_processed: str | None = None
    payout_item_fee: Money | None = None
    payout_item: ItemDetail | None = None
    errors: ItemError | None = None


class Payout(BaseModel):
    """A batch that was processed, and how each of its payouts stands."""

    batch_header: BatchHeader
    items: list[Item] | None = None


# https://developer.paypal.com/api/rest/authentication/
def ask_access(api_url: str, api_key: str, _: datetime) -> HttpRequest:
    if not all(api_key.partition(":")):
        raise OperatorError("secret paypal-api-key cannot be used: set it as CLIENT_ID:SECRET")
    return form_request(f"{api_url}/v1/oauth2/token", {"grant_type": "client_credentials"}, basic(api_key))


def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump(exclude_none=True)
    items = asked.pop("items")
    body: JsonObject = {"sender_batch_header": {"sender_batch_id": job.job_id, **asked}, "items": items}
    headers = {**bearer(job.api_key), "paypal-request-id": job.job_id}
    return json_request("POST", f"{job.api_url}/v1/payments/payouts", body, headers)


# PayPal refuses a batch with an id that it has, and links to the one that it has:
# https://developer.paypal.com/docs/api/payments.payouts-batch/v1/#payouts_post
def read_duplicate(answer: HttpAnswer) -> Started:
    body = parse_object(answer.body)
    field, link = at(body, "details.0.field"), at(body, "details.0.link.0.href")
    if body.get("name") != "USER_BUSINESS_ERROR" or field != "SENDER_BATCH_ID":
        raise NotUnderstood("the refusal is not that of a batch that is there already")
    found = _BATCH.search(link) if isinstance(link, str) else None
    return Started(external_id=found[1] if found else None)


def read_answer(answer: HttpAnswer) -> Started:
    batch = parse_object(answer.body)
    status = status_in(STATUSES, at(batch, "batch_header.batch_status"))
    found = Started(external_id=text_at(batch, "batch_header.payout_batch_id"), status=status)
    if status is Status.SUCCEEDED:
        return found.with_result(Payout, batch)
    if status.settled:
        error, word = at(batch, "items.0.errors"), "denied" if status is Status.FAILED else "canceled"
        message = at(error, "message") or f"the batch was {word}"
        return found.with_failure(told(at(error, "name"), message, otherwise=word))
    return found.as_answer()


# No signature binds the id that a callback names: the batch says itself whose it is.
def read_poll(answer: HttpAnswer) -> Started:
    sender = at(parse_object(answer.body), "batch_header.sender_batch_header.sender_batch_id")
    return replace(read_answer(answer), job_id=sender if isinstance(sender, str) else "")


def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    event_type = text_at(event, "event_type")
    if not event_type.startswith("PAYMENT.PAYOUTSBATCH."):
        raise NotUnderstood("events of this type are not about jobs")
    batch = object_at(event, "resource.batch_header")
    callback = Callback(
        event_id=header_text(delivery, "paypal-transmission-id"),
        event_type=event_type,
        status=Status.RUNNING if event_type in EVENTS else Status.UNKNOWN,
        operation="payout",
        job_id=job_id_at(batch, "sender_batch_header.sender_batch_id"),
        external_id=text_at(batch, "payout_batch_id"),
        occurred_at=time_from_text(event.get("create_time")),
        thin=event_type in EVENTS,
    )
    return (callback,)


# https://developer.paypal.com/api/rest/responses/#link-failed
def refusal(answer: HttpAnswer) -> Failure:
    body = refusal_body(answer)
    if body is None or not isinstance(body.get("message"), str):
        return plain_refusal(answer)
    issue = at(body, "details.0.issue")
    message = f"{body['message']} ({issue})" if isinstance(issue, str) else body["message"]
    return told(body.get("name"), message, otherwise="provider_refused")


PROVIDER = Provider(
    name="paypal",
    documentation="https://developer.paypal.com/docs/api/payments.payouts-batch/v1/",
    completion=Completion.WEBHOOK,
    api_url="https://api-m.paypal.com",
    api_key="paypal-api-key",
    access=Access(request=ask_access, read=read_access_token),
    scheme=SCHEMES["paypal"],
    signing_secret="paypal-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "payout": Operation(
            input=PayoutInput,
            result=Payout,
            start=start,
            read_start=read_answer,
            read_duplicate=read_duplicate,
            poll=about_job("GET", "/v1/payments/payouts/{id}?page_size=1000", bearer),
            read_poll=read_poll,
            idempotent=True,
            # "used in the last 30 days", less one for what is under way:
            # https://developer.paypal.com/docs/api/payments.payouts-batch/v1/#payouts_post
            idempotent_for=timedelta(days=29),
            start_budget=timedelta(seconds=10),  # an access token is asked for first
        )
    },
    default_operation="payout",
    read=read,
    refusal=refusal,
    # https://developer.paypal.com/api/rest/webhooks/; how long it waits for an answer is not said
    repeats_for=timedelta(days=3),
)
