"""Stripe's payment intents and report runs, told of at one address for the account. https://docs.stripe.com/api

Payment methods are Stripe's own test ones, https://docs.stripe.com/testing: cards settle at once, bank
accounts are `processing` first. A knob's outcome makes a card behave like a bank account.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from dev.provider.engine import Document, Engine, Job, News, Refusal, Vendor
from dev.provider.knobs import Knobs
from services.signatures.catalogue import STRIPE

API_VERSION = "2025-03-31.basil"
INTENT_PARAMETERS = {
    *("amount", "automatic_payment_methods", "capture_method", "confirm", "confirmation_method", "currency"),
    *("customer", "description", "metadata", "off_session", "payment_method", "payment_method_types"),
    *("receipt_email", "return_url", "setup_future_usage", "statement_descriptor"),
    *("statement_descriptor_suffix", "transfer_group"),
}
CANCELABLE = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How a test payment method goes: the status at once, how it ends, and why if it is refused."""

    at_once: str
    ends: str
    decline: str = "generic_decline"


PAID = Method(at_once="succeeded", ends="succeeded")
DECLINED = Method(at_once="requires_payment_method", ends="failed")
NO_FUNDS = Method(at_once="requires_payment_method", ends="failed", decline="insufficient_funds")
METHODS = {
    "pm_card_visa": PAID,
    "pm_card_mastercard": PAID,
    "pm_card_amex": PAID,
    "pm_card_chargeDeclined": DECLINED,
    "pm_card_visa_chargeDeclined": DECLINED,
    "pm_card_chargeDeclinedInsufficientFunds": NO_FUNDS,
    "pm_card_visa_chargeDeclinedInsufficientFunds": NO_FUNDS,
    "pm_usBankAccount_success": Method(at_once="processing", ends="succeeded"),
    "pm_usBankAccount_insufficientFunds": Method(
        at_once="processing", ends="failed", decline="insufficient_funds"
    ),
}
INTENT_EVENTS = {
    "succeeded": "payment_intent.succeeded",
    "failed": "payment_intent.payment_failed",
    "canceled": "payment_intent.canceled",
}


def error(status: int, message: str = "", **more: object) -> Document:
    """Word an error. https://docs.stripe.com/api/errors, https://docs.stripe.com/rate-limits"""
    kind = "api_error" if status >= 500 else "invalid_request_error"
    told: Document = {"message": message or "An unknown error occurred", "type": kind}
    if status == 429 and not message:
        told |= {"code": "rate_limit", "message": "Request rate limit exceeded."}
    return {"error": told | more}


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """The answer to the first request with an idempotency key."""

    path: str
    parameters: Document
    status: int
    body: Document


class Stripe:
    """Payment intents and report runs of one account; `address` is its webhook endpoint."""

    def __init__(self, engine: Engine, *, api_key: str, secret: str, address: str | None) -> None:
        self.engine = engine
        self.address = address
        self.saved: dict[str, Saved] = {}
        self.vendor = Vendor(name="stripe", error=error, api_key=api_key, scheme=STRIPE, secret=secret)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/payment_intents", self.create_intent),
            web.get("/v1/payment_intents/{id}", self.get),
            web.post("/v1/payment_intents/{id}/cancel", self.cancel_intent),
            web.post("/v1/reporting/report_runs", self.create_run),
            web.get("/v1/reporting/report_runs/{id}", self.get),
        ]

    def reset(self) -> None:
        self.saved.clear()

    async def create_intent(self, request: web.Request) -> web.StreamResponse:
        return await self._start(request, _check_intent, self._make_intent)

    async def create_run(self, request: web.Request) -> web.StreamResponse:
        return await self._start(request, _check_run, self._make_run)

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response(self._find(request).document)

    async def cancel_intent(self, request: web.Request) -> web.Response:
        job = self._find(request)
        status = job.document["status"]
        if status not in CANCELABLE:
            message = f"You cannot cancel this PaymentIntent because it has a status of {status}."
            code = "payment_intent_unexpected_state"
            raise Refusal(400, error(400, message, code=code, payment_intent=job.document))
        job.settled = True
        reason = dict(parse_qsl(await request.text())).get("cancellation_reason")
        job.document = job.document | {"cancellation_reason": reason}
        key = request.headers.get("Idempotency-Key")
        self.engine.tell(self.vendor, job, self._end_intent(job, "canceled", "generic_decline", key))
        return web.json_response(job.document)

    async def _start(
        self,
        request: web.Request,
        check: Callable[[Document], None],
        make: Callable[[Document, Knobs, str | None], tuple[int, Document, Job]],
    ) -> web.StreamResponse:
        """Take a start, once for each idempotency key. https://docs.stripe.com/api/idempotent_requests

        Answers are kept, errors too, once the work has begun; what fails validation is not kept.
        """
        self._admit(request)
        if request.content_type != "application/x-www-form-urlencoded":
            message = (
                "Invalid request (check that your POST content type is application/x-www-form-urlencoded)."
            )
            raise Refusal(400, error(400, message))
        text = await request.text()
        parameters = _nest(parse_qsl(text, keep_blank_values=True))
        key = request.headers.get("Idempotency-Key")
        if key is not None and not 1 <= len(key) <= 255:
            raise Refusal(
                400, error(400, "Idempotency keys have 1 to 255 characters.", type="idempotency_error")
            )
        saved = self.saved.get(key) if key else None
        if saved and (saved.path, saved.parameters) != (request.path, parameters):
            message = "Keys for idempotent requests can only be used with the parameters of their first use."
            raise Refusal(400, error(400, message, type="idempotency_error"))
        check(parameters)

        def act(knobs: Knobs) -> tuple[web.Response, Job | None]:
            saved = self.saved.get(key) if key else None
            if saved:
                replayed = {"Idempotent-Replayed": "true"}
                return web.json_response(saved.body, status=saved.status, headers=replayed), None
            status, body, job = make(parameters, knobs, key)
            if key:
                self.saved[key] = Saved(path=request.path, parameters=parameters, status=status, body=body)
            return web.json_response(body, status=status), job

        return await self.engine.take(self.vendor, request, f"{text} {key}", act)

    def _make_intent(self, asked: Document, knobs: Knobs, key: str | None) -> tuple[int, Document, Job]:
        job = self.engine.make_job(self.vendor, knobs, self.address, lambda job: f"pi_3{job.letters(23)}")
        job.document = _intent(job, asked)
        if asked.get("confirm") != "true":
            return 200, job.document, job
        method = METHODS[asked["payment_method"]]
        outcome = knobs.callback.outcome
        at_once = "processing" if outcome else method.at_once
        ends = outcome or method.ends
        job.document["status"] = at_once
        if at_once == "succeeded":
            self._charge(job, key)
        if at_once == "requires_payment_method":
            job.document["last_payment_error"] = _decline(job, method.decline)
        first = job.document

        def begin() -> News | None:
            processing = at_once == "processing"
            return self._news(job, "payment_intent.processing", key, last=False) if processing else None

        self.engine.work(self.vendor, job, begin, lambda: self._end_intent(job, ends, method.decline, key))
        if at_once == "requires_payment_method":
            told = error(402, **job.document["last_payment_error"], payment_intent=job.document)
            return 402, told, job
        return 200, first, job

    def _end_intent(self, job: Job, outcome: str, decline: str, key: str | None) -> News:
        if outcome == "succeeded" and job.document["status"] != "succeeded":
            self._charge(job, key)
        if outcome == "failed":
            told = {"status": "requires_payment_method", "last_payment_error": _decline(job, decline)}
            job.document = job.document | told
        if outcome == "canceled":
            job.document = job.document | {"status": "canceled", "canceled_at": int(time.time())}
        return self._news(job, INTENT_EVENTS[outcome], key)

    def _charge(self, job: Job, key: str | None) -> None:
        amount = job.document["amount"]
        charge = {"status": "succeeded", "amount_received": amount, "latest_charge": f"ch_3{job.letters(23)}"}
        job.document = job.document | charge
        self.vendor.effects[key or job.id] += 1

    def _make_run(self, asked: Document, knobs: Knobs, key: str | None) -> tuple[int, Document, Job]:
        job = self.engine.make_job(self.vendor, knobs, self.address, lambda job: f"frr_1{job.letters(23)}")
        parameters = asked.get("parameters", {})
        job.document = {
            "id": job.id,
            "object": "reporting.report_run",
            "created": int(time.time()),
            "error": None,
            "livemode": False,
            "parameters": {name: _value(value) for name, value in parameters.items()},
            "report_type": asked["report_type"],
            "result": None,
            "status": "pending",
            "succeeded_at": None,
        }
        self.vendor.effects[key or job.id] += 1
        self.engine.work(self.vendor, job, lambda: None, lambda: self._end_run(job, key))
        return 200, job.document, job

    def _end_run(self, job: Job, key: str | None) -> News:
        now = int(time.time())
        if job.knobs.callback.outcome in {None, "succeeded"}:
            file = f"file_1{job.letters(23)}"
            result = {
                "id": file,
                "object": "file",
                "created": now,
                "expires_at": now + 365 * 86400,
                "filename": f"{job.id}.csv",
                "links": {
                    "object": "list",
                    "data": [],
                    "has_more": False,
                    "url": f"/v1/file_links?file={file}",
                },
                "purpose": "finance_report_run",
                "size": 53075,
                "title": f"FileUpload for {job.id}",
                "type": "csv",
                "url": f"https://files.stripe.com/v1/files/{file}/contents",
            }
            job.document = job.document | {"status": "succeeded", "succeeded_at": now, "result": result}
            return self._news(job, "reporting.report_run.succeeded", key)
        job.document = job.document | {"status": "failed", "error": "The report could not be generated."}
        return self._news(job, "reporting.report_run.failed", key)

    def _news(self, job: Job, kind: str, key: str | None, *, last: bool = True) -> News:
        name = f"evt_3{job.letters(23)}"
        event = {
            "id": name,
            "object": "event",
            "api_version": API_VERSION,
            "created": int(time.time()),
            "data": {"object": job.document},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": f"req_{job.letters(14)}", "idempotency_key": key},
            "type": kind,
        }
        return News(id=name, type=kind, document=event, last=last)

    def _admit(self, request: web.Request) -> None:
        if not self.vendor.admit(request):
            raise Refusal(401, error(401, "Invalid API Key provided."))

    def _find(self, request: web.Request) -> Job:
        self._admit(request)
        name = request.match_info["id"]
        job = self.vendor.jobs.get(name)
        if job is None or not request.path.startswith(f"/v1/{_folder(job)}/"):
            message = f"No such object: '{name}'"
            raise Refusal(404, error(404, message, code="resource_missing", param="id"))
        return job


def _folder(job: Job) -> str:
    return "payment_intents" if job.document["object"] == "payment_intent" else "reporting/report_runs"


def _nest(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Read `a[b]=1` and `a[]=1` as the objects that they stand for; a list is one named by numbers."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if not re.fullmatch(r"[^\[\]]+(\[[^\[\]]*\])*", name):
            raise Refusal(400, error(400, f"Invalid parameter name: {name}"))
        *outer, last = name.replace("]", "").split("[")
        box = found
        for step in outer:
            box = box.setdefault(step, {})
            if not isinstance(box, dict):
                raise Refusal(400, error(400, "Invalid object", param=step))
        box[last or str(len(box))] = value
    return found


def _value(parameter: Any) -> Any:  # noqa: ANN401 - a report's parameters are numbers, texts and lists
    if isinstance(parameter, dict):
        return list(parameter.values())
    return int(parameter) if parameter.isdigit() else parameter


def _require(asked: Document, *names: str) -> None:
    for name in names:
        if not asked.get(name):
            message = f"Missing required param: {name}."
            raise Refusal(400, error(400, message, code="parameter_missing", param=name))


def _only(asked: Document, known: set[str]) -> None:
    if unknown := sorted(set(asked) - known):
        message = f"Received unknown parameter: {unknown[0]}"
        raise Refusal(400, error(400, message, code="parameter_unknown", param=unknown[0]))


def _check_run(asked: Document) -> None:
    _only(asked, {"report_type", "parameters"})
    _require(asked, "report_type")


def _check_intent(asked: Document) -> None:
    _only(asked, INTENT_PARAMETERS)
    _require(asked, "amount", "currency")
    if not re.fullmatch(r"[0-9]{1,12}", asked["amount"], re.ASCII):
        message = f"Invalid integer: {asked['amount']}"
        raise Refusal(400, error(400, message, code="parameter_invalid_integer", param="amount"))
    if int(asked["amount"]) < 50:
        message = "The Checkout amount must be at least 50 cents."
        raise Refusal(400, error(400, message, code="amount_too_small", param="amount"))
    if not re.fullmatch(r"[a-z]{3}", asked["currency"]):
        raise Refusal(400, error(400, f"Invalid currency: {asked['currency']}.", param="currency"))
    _check_metadata(asked.get("metadata", {}))
    if asked.get("confirm") == "true":
        _check_confirmation(asked)


def _check_metadata(metadata: object) -> None:
    """Hold the limits of https://docs.stripe.com/api/metadata."""
    if not isinstance(metadata, dict) or len(metadata) > 50:
        raise Refusal(400, error(400, "Metadata can have up to 50 keys.", param="metadata"))
    for name, value in metadata.items():
        if len(name) > 40 or len(value) > 500:
            message = "Metadata keys have up to 40 characters and values up to 500."
            raise Refusal(400, error(400, message, param=f"metadata[{name[:40]}]"))


def _check_confirmation(asked: Document) -> None:
    method = asked.get("payment_method")
    if not method:
        message = "You cannot confirm this PaymentIntent because it's missing a payment method."
        raise Refusal(400, error(400, message, code="payment_intent_unexpected_state"))
    if method not in METHODS:
        message = f"No such PaymentMethod: '{method}'"
        raise Refusal(400, error(400, message, code="resource_missing", param="payment_method"))
    # https://docs.stripe.com/api/payment_intents/create#create_payment_intent-automatic_payment_methods
    automatic = asked.get("automatic_payment_methods", {})
    no_redirects = "payment_method_types" in asked or automatic.get("allow_redirects") == "never"
    if not no_redirects and "return_url" not in asked:
        message = (
            "This PaymentIntent may redirect your customer: provide a `return_url`, or set"
            " `automatic_payment_methods[allow_redirects]` to `never`."
        )
        raise Refusal(400, error(400, message))


def _intent(job: Job, asked: Document) -> Document:
    method = asked.get("payment_method")
    return {
        "id": job.id,
        "object": "payment_intent",
        "amount": int(asked["amount"]),
        "amount_capturable": 0,
        "amount_received": 0,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": asked.get("capture_method", "automatic_async"),
        "client_secret": f"{job.id}_secret_{job.letters(25)}",
        "confirmation_method": asked.get("confirmation_method", "automatic"),
        "created": int(time.time()),
        "currency": asked["currency"],
        "customer": asked.get("customer"),
        "description": asked.get("description"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": asked.get("metadata", {}),
        "next_action": None,
        "payment_method": method,
        "payment_method_types": list(asked.get("payment_method_types", {"0": "card"}).values()),
        "processing": None,
        "status": "requires_confirmation" if method else "requires_payment_method",
    }


def _decline(job: Job, reason: str) -> Document:
    """Say that a payment was declined. https://docs.stripe.com/declines/codes"""
    told = {
        "generic_decline": "Your card was declined.",
        "insufficient_funds": "Your card has insufficient funds.",
    }
    return {
        "charge": f"ch_3{job.letters(23)}",
        "code": "card_declined",
        "decline_code": reason,
        "doc_url": "https://docs.stripe.com/error-codes#card-declined",
        "message": told[reason],
        "type": "card_error",
    }
