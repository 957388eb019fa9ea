"""Stripe: payments, found again by metadata, and reports, found again by their own id.

A payment with a payment method is confirmed at once, while nobody is there to act; one without waits for
somebody to confirm it in a browser, who gets what that needs from Stripe by the job's external id. The
first `payment_intent.payment_failed` ends the job, although the intent goes back to
requires_payment_method and somebody could still pay it: such a success is a late result.
"""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from services.errors import NotUnderstood
from services.jsons import at, parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import (
    Ask,
    CallbackAddress,
    Completion,
    Input,
    Operation,
    Provider,
    Start,
    Started,
)
from services.providers.failures import plain_refusal, refusal_body, told
from services.providers.reading import JOB_ID, job_id_at, object_at, status_in, text_at, time_from_unix
from services.providers.requests import about_job, bearer, form_request, segment
from services.signatures.catalogue import STRIPE

# https://docs.stripe.com/api/versioning: answers to our requests have this version's shape
API_VERSION = "2026-10-28.endive"

# https://docs.stripe.com/api/idempotent_requests: "at least 24 hours", less one for what is under way
KEY_KEPT = timedelta(hours=23)
# https://docs.stripe.com/api/events/types
EVENTS = {
    "payment_intent.created": Status.RUNNING,
    "payment_intent.processing": Status.RUNNING,
    "payment_intent.requires_action": Status.RUNNING,
    "payment_intent.amount_capturable_updated": Status.RUNNING,
    "payment_intent.partially_funded": Status.RUNNING,
    "payment_intent.succeeded": Status.SUCCEEDED,
    "payment_intent.payment_failed": Status.FAILED,
    "payment_intent.canceled": Status.CANCELED,
    "reporting.report_run.succeeded": Status.SUCCEEDED,
    "reporting.report_run.failed": Status.FAILED,
}
# https://docs.stripe.com/payments/paymentintents/lifecycle
INTENTS = {"succeeded": Status.SUCCEEDED, "canceled": Status.CANCELED}
# https://docs.stripe.com/api/reporting/report_run/object#reporting_report_run_object-status
RUNS = {"succeeded": Status.SUCCEEDED, "failed": Status.FAILED}

Id = Annotated[str, Field(pattern=r"^[a-z]{2,10}_[A-Za-z0-9_]{1,240}$")]
Currency = Annotated[str, Field(pattern=r"^[a-z]{3}$")]
UnixTime = Annotated[int, Field(ge=0, le=253402300799)]


# https://docs.stripe.com/api/payment_intents/create
class PaymentInput(Input):
    """How much to take, and from which payment method; `amount` is in the currency's smallest unit."""

    amount: int = Field(ge=1, le=99_999_999)
    currency: Currency
    payment_method: Id | None = None
    customer: Id | None = None
    description: str | None = Field(None, min_length=1, max_length=1000)
    statement_descriptor_suffix: str | None = Field(None, min_length=1, max_length=22)


class Payment(BaseModel):
    """The payment intent, without what would let others act on it."""

    id: str
    amount: int
    currency: str
    status: str
    amount_received: int | None = None
    latest_charge: str | None = None
    payment_method: str | None = None
    customer: str | None = None
    created: int | None = None


# https://docs.stripe.com/api/reporting/report_run/create
class ReportParameters(Input):
    """What each report type takes: https://docs.stripe.com/reporting/statements/api#report-types"""

    columns: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\[\]-]{1,100}$")]] | None = Field(
        None, max_length=200
    )
    connected_account: Id | None = None
    currency: Currency | None = None
    interval_start: UnixTime | None = None
    interval_end: UnixTime | None = None
    payout: Id | None = None
    reporting_category: str | None = Field(None, pattern=r"^[a-z_]{1,64}$")
    timezone: str | None = Field(None, pattern=r"^[A-Za-z0-9_+/-]{1,64}$")

    @model_validator(mode="after")
    def _runs_forward(self) -> Self:
        if self.interval_start and self.interval_end and self.interval_start >= self.interval_end:
            raise ValueError("interval_end must come after interval_start")
        return self


class ReportInput(Input):
    """Which report to run, such as `balance.summary.1`."""

    report_type: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$", max_length=100)
    parameters: ReportParameters = ReportParameters()


class ReportFile(BaseModel):
    """Where the report lies; fetching it needs the API key."""

    id: str
    url: str | None = None
    filename: str | None = None
    size: int | None = None
    type: str | None = None
    expires_at: int | None = None


class Report(BaseModel):
    """A report run that has ended."""

    id: str
    report_type: str
    result: ReportFile | None = None
    succeeded_at: int | None = None


def start_payment(job: Start) -> HttpRequest:
    fields = job.input.model_dump(exclude_none=True)
    fields[f"metadata[{JOB_ID}]"] = job.job_id
    if "payment_method" in fields:
        fields |= {"confirm": "true", "off_session": "true"}
    # Without this, a method that redirects could be chosen, and a return_url would be asked for:
    # https://docs.stripe.com/api/payment_intents/create#create_payment_intent-automatic_payment_methods
    fields |= {"automatic_payment_methods[enabled]": "true"}
    fields |= {"automatic_payment_methods[allow_redirects]": "never"}
    return _post(f"{job.api_url}/v1/payment_intents", fields, job.api_key, key=job.job_id)


# https://docs.stripe.com/api/payment_intents/cancel
def cancel_payment(job: Ask) -> HttpRequest:
    url = f"{job.api_url}/v1/payment_intents/{segment(job.external_id)}/cancel"
    fields = {"cancellation_reason": "requested_by_customer"}
    return _post(url, fields, job.api_key, key=f"{job.job_id}-cancel")


def start_report(job: Start) -> HttpRequest:
    asked = job.input.model_dump(exclude_none=True)
    fields = {"report_type": asked["report_type"]}
    for name, value in asked["parameters"].items():
        if isinstance(value, list):
            fields |= {f"parameters[{name}][{index}]": item for index, item in enumerate(value)}
        else:
            fields[f"parameters[{name}]"] = value
    return _post(f"{job.api_url}/v1/reporting/report_runs", fields, job.api_key, key=job.job_id)


# https://docs.stripe.com/api/authentication and https://docs.stripe.com/api/idempotent_requests
def _post(url: str, fields: dict[str, str], api_key: str, *, key: str) -> HttpRequest:
    return form_request(url, fields, {**_headers(api_key), "idempotency-key": key})


def _headers(api_key: str) -> dict[str, str]:
    return {**bearer(api_key), "stripe-version": API_VERSION}


def read_payment(answer: HttpAnswer) -> Started:
    intent = parse_object(answer.body)
    status = status_in(INTENTS, intent.get("status"))
    if intent.get("status") == "requires_payment_method" and intent.get("last_payment_error"):
        status = Status.FAILED  # without the error it has not been tried yet
    return _standing(intent, status, "payment").as_answer()


def read_report(answer: HttpAnswer) -> Started:
    run = parse_object(answer.body)
    return _standing(run, status_in(RUNS, run.get("status")), "report").as_answer()


# https://docs.stripe.com/api/events/object
def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    if event.get("object") != "event":
        raise NotUnderstood("this is not a Stripe event with its object in it")
    event_type, thing = text_at(event, "type"), object_at(event, "data.object")
    family = event_type.rpartition(".")[0]
    operation = {"payment_intent": "payment", "reporting.report_run": "report"}.get(family)
    if operation is None:
        raise NotUnderstood("events of this type are not about jobs")
    callback = _standing(thing, status_in(EVENTS, event_type), operation).as_callback(
        event_id=text_at(event, "id"),
        event_type=event_type,
        operation=operation,
        job_id=job_id_at(thing, f"metadata.{JOB_ID}"),
        occurred_at=time_from_unix(event.get("created")),
    )
    return (callback,)


def _standing(thing: JsonObject, status: Status, operation: str) -> Started:
    found = Started(external_id=text_at(thing, "id"), status=status)
    if status is Status.SUCCEEDED:
        return found.with_result(Payment if operation == "payment" else Report, thing)
    if status is Status.FAILED and operation == "report":
        return found.with_failure(told(None, thing.get("error"), otherwise="report_failed"))
    if status is Status.FAILED:
        return found.with_failure(_told_error(thing.get("last_payment_error"), otherwise="payment_failed"))
    if status is Status.CANCELED:
        reason = thing.get("cancellation_reason")
        return found.with_failure(told(reason, "the payment was canceled", otherwise="canceled"))
    return found


# https://docs.stripe.com/api/errors
def refusal(answer: HttpAnswer) -> Failure:
    body = refusal_body(answer)
    if body is None or not isinstance(at(body, "error.message"), str):
        return plain_refusal(answer)
    return _told_error(body["error"], otherwise="provider_refused")


# https://docs.stripe.com/declines/codes
def _told_error(error: JsonValue, *, otherwise: str) -> Failure:
    message, decline = at(error, "message"), at(error, "decline_code")
    if isinstance(message, str) and isinstance(decline, str):
        message = f"{message} (decline code: {decline})"
    return told(at(error, "code") or at(error, "type"), message, otherwise=otherwise)


PROVIDER = Provider(
    name="stripe",
    documentation="https://docs.stripe.com/api",
    completion=Completion.WEBHOOK,
    api_url="https://api.stripe.com",
    api_key="stripe-api-key",
    scheme=STRIPE,
    signing_secret="stripe-signing-secret",  # noqa: S106 - the secret's name
    callback_address=CallbackAddress.ACCOUNT,
    operations={
        "payment": Operation(
            input=PaymentInput,
            result=Payment,
            start=start_payment,
            read_start=read_payment,
            cancel=cancel_payment,
            # https://docs.stripe.com/api/payment_intents/retrieve
            poll=about_job("GET", "/v1/payment_intents/{id}", _headers),
            read_poll=read_payment,
            idempotent=True,
            idempotent_for=KEY_KEPT,
        ),
        "report": Operation(
            input=ReportInput,
            result=Report,
            start=start_report,
            read_start=read_report,
            # https://docs.stripe.com/api/reporting/report_run/retrieve
            poll=about_job("GET", "/v1/reporting/report_runs/{id}", _headers),
            read_poll=read_report,
            idempotent=True,
            idempotent_for=KEY_KEPT,
        ),
    },
    default_operation="payment",
    read=read,
    refusal=refusal,
    # https://docs.stripe.com/webhooks#automatic-retries; how long it waits for an answer is not said
    repeats_for=timedelta(days=3),
)
