"""Square: payments, found again by their reference."""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from services.errors import NotUnderstood
from services.jsons import at, parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import CallbackAddress, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import plain_refusal, refusal_body, told
from services.providers.reading import job_id_at, object_at, status_in, text_at, time_from_text
from services.providers.requests import about_job, bearer, json_request
from services.signatures.catalogue import SCHEMES

# https://developer.squareup.com/docs/build-basics/versioning-overview: answers have this version's shape
API_VERSION = "2026-09-16"
EVENTS = frozenset({"payment.created", "payment.updated"})

# https://developer.squareup.com/reference/square/objects/Payment#definition__property-status
STATUSES = {
    "PENDING": Status.RUNNING,
    "APPROVED": Status.RUNNING,
    "COMPLETED": Status.SUCCEEDED,
    "CANCELED": Status.CANCELED,
    "FAILED": Status.FAILED,
}

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:-]{1,191}$")]


# https://developer.squareup.com/reference/square/payments-api/create-payment
class PaymentInput(Input):
    """How much to take, in the currency's smallest unit, and from which card, account or wallet."""

    source_id: str = Field(pattern=r"^[!-~]{1,1024}$")
    amount: int = Field(ge=1, le=9_999_999_999)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    location_id: Id | None = None
    customer_id: Id | None = None
    verification_token: str | None = Field(None, pattern=r"^[!-~]{1,1024}$")
    buyer_email_address: str | None = Field(None, pattern=r"^[^@\s]+@[^@\s]+$", max_length=255)
    note: str | None = Field(None, min_length=1, max_length=500)


class Money(BaseModel):
    """An amount in the currency's smallest unit."""

    amount: int | None = None
    currency: str | None = None


class Payment(BaseModel):
    """The payment, without what tells about its card."""

    id: str
    status: str
    amount_money: Money | None = None
    total_money: Money | None = None
    source_type: str | None = None
    location_id: str | None = None
    order_id: str | None = None
    customer_id: str | None = None
    receipt_number: str | None = None
    receipt_url: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump(exclude_none=True)
    money: JsonObject = {"amount": asked.pop("amount"), "currency": asked.pop("currency")}
    # https://developer.squareup.com/docs/build-basics/common-api-patterns/idempotency
    body: JsonObject = {
        **asked,
        "amount_money": money,
        "idempotency_key": job.job_id,
        "reference_id": job.job_id,
    }
    return json_request("POST", f"{job.api_url}/v2/payments", body, _headers(job.api_key))


def _headers(api_key: str) -> dict[str, str]:
    return {**bearer(api_key), "square-version": API_VERSION}


def read_answer(answer: HttpAnswer) -> Started:
    return _standing(object_at(parse_object(answer.body), "payment")).as_answer()


# https://developer.squareup.com/reference/square/webhooks/payment.updated
def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    event_type = text_at(event, "type")
    if event_type not in EVENTS:
        raise NotUnderstood("events of this type are not about jobs")
    payment = object_at(event, "data.object.payment")
    callback = _standing(payment).as_callback(
        event_id=text_at(event, "event_id"),
        event_type=event_type,
        operation="payment",
        job_id=job_id_at(payment, "reference_id"),
        occurred_at=time_from_text(event.get("created_at")),
    )
    return (callback,)


def _standing(payment: JsonObject) -> Started:
    found = Started(external_id=text_at(payment, "id"), status=status_in(STATUSES, payment.get("status")))
    if found.status is Status.SUCCEEDED:
        return found.with_result(Payment, payment)
    if found.status is Status.FAILED:
        error = at(payment, "card_details.errors.0")
        return found.with_failure(_told_error(error, otherwise="payment_failed"))
    if found.status is Status.CANCELED:
        return found.with_failure(told(None, "the payment was canceled", otherwise="canceled"))
    return found


# https://developer.squareup.com/docs/build-basics/general-considerations/handling-errors
def refusal(answer: HttpAnswer) -> Failure:
    error = at(refusal_body(answer), "errors.0")
    return plain_refusal(answer) if error is None else _told_error(error, otherwise="provider_refused")


def _told_error(error: JsonValue, *, otherwise: str) -> Failure:
    return told(at(error, "code"), at(error, "detail"), otherwise=otherwise)


PROVIDER = Provider(
    name="square",
    documentation="https://developer.squareup.com/reference/square",
    completion=Completion.WEBHOOK,
    api_url="https://connect.squareup.com",
    api_key="square-api-key",
    scheme=SCHEMES["square"],
    signing_secret="square-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "payment": Operation(
            input=PaymentInput,
            result=Payment,
            start=start,
            read_start=read_answer,
            # https://developer.squareup.com/reference/square/payments-api/get-payment
            poll=about_job("GET", "/v2/payments/{id}", _headers),
            read_poll=read_answer,
            # https://developer.squareup.com/reference/square/payments-api/cancel-payment: while only approved
            cancel=about_job("POST", "/v2/payments/{id}/cancel", _headers, {}),
            idempotent=True,
            # https://developer.squareup.com/docs/payments-api/take-payments/ach-payments: 3 to 5 working days
            deadline=timedelta(days=8),
        )
    },
    default_operation="payment",
    read=read,
    refusal=refusal,
    # https://developer.squareup.com/docs/webhooks/troubleshooting
    patience=timedelta(seconds=10),
    repeats_for=timedelta(hours=24),
)
