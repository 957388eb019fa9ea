"""Any API that sends callbacks, described by settings alone.

PROVIDER_ACME__START_URL makes a provider `acme`, PROVIDER_ACME__SCHEME says how it signs; its handshake comes
with that. The other settings say where things stand in its JSON, as dotted paths. A path is looked for in the
body, and where it is not found, inside the `data` object that Standard Webhooks puts around an event.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel, ValidationError, create_model

from services.errors import NotUnderstood, NotVerified, OperatorError
from services.handshakes import HANDSHAKES
from services.jsons import at, parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status, is_id
from services.providers.base import (
    Ask,
    CallbackAddress,
    Completion,
    Operation,
    Provider,
    Start,
    Started,
    WebhookAnswer,
)
from services.providers.failures import plain_refusal, refusal_body, told
from services.providers.options import Options, problems_in
from services.providers.reading import status_in, text_at, time_from_text
from services.providers.requests import basic, bearer, json_request, segment
from services.signatures.catalogue import SCHEMES
from services.signatures.forms import read_fields, read_urlencoded
from services.signatures.scheme import Declared, Scheme

STATUSES = {
    **dict.fromkeys(("accepted", "queued", "pending", "starting", "started"), Status.RUNNING),
    **dict.fromkeys(("running", "processing", "in_progress"), Status.RUNNING),
    **dict.fromkeys(("succeeded", "success", "completed", "done"), Status.SUCCEEDED),
    **dict.fromkeys(("failed", "failure", "error", "expired"), Status.FAILED),
    **dict.fromkeys(("canceled", "cancelled", "aborted"), Status.CANCELED),
}
TWILIO = ("twilio_form", "twilio_sharedkey")
SIGNED_FORMS = ("braintree", "dropbox_sign", "transloadit", *TWILIO)
"""Schemes that sign a form's fields: JSON that could be read as the same form is signed by nobody."""
# https://developers.hellosign.com/docs/events/walkthrough#responding-to-events
ANSWERS = {"dropbox_sign": WebhookAnswer(body=b"Hello API Event Received")}
_NO_DELIVERY = Delivery(
    method="POST", url="", headers={}, body=b"", received_at=datetime(1970, 1, 1, tzinfo=UTC)
)


class AnyInput(RootModel[dict[str, JsonValue]]):
    """What the provider takes: any JSON object."""


class AnyResult(BaseModel):
    """What the provider gives: the whole object, because no RESULT_FIELDS are declared."""

    model_config = ConfigDict(extra="allow")


def provider(name: str, options: Mapping[str, str]) -> Provider:
    """Declare a provider from its settings; raises OperatorError with a line for each wrong one."""
    try:
        found = Options.model_validate(dict(options))
    except ValidationError as error:
        raise OperatorError("\n".join(problems_in(name, error, Options))) from None
    # https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates: no underscores
    secrets = name.replace("_", "-")
    result = _result_model(found.result_fields)
    scheme = SCHEMES.get(found.scheme)
    signs_standard = found.scheme == "standardwebhooks"
    operation = Operation(
        input=AnyInput,
        result=result,
        start=partial(_start, found),
        read_start=partial(_read_start, found, result),
        cancel=partial(_cancel, found) if found.cancel_url else None,
        idempotent=found.idempotency_header is not None,
        deadline=timedelta(seconds=found.deadline_seconds),
    )
    return Provider(
        name=name,
        documentation="https://www.standardwebhooks.com" if signs_standard else "",
        completion=Completion.WEBHOOK,
        api_url=found.start_url,
        api_key=None if found.auth == "none" else f"{secrets}-api-key",
        scheme=scheme,
        signing_secret=f"{secrets}-signing-secret" if scheme and _takes_a_secret(scheme) else None,
        callback_address=found.callback_address,
        handshake=HANDSHAKES.get(found.scheme),
        answer=ANSWERS.get(found.scheme, WebhookAnswer()),
        operations={"job": operation},
        default_operation="job",
        read=partial(_read, found, result, scheme or Declared()),
        refusal=partial(_refusal, found),
        rate_limit=found.rate_limit,
        senders=found.senders,
        # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#request-timeouts
        patience=timedelta(seconds=15) if signs_standard else None,
    )


def _takes_a_secret(scheme: Scheme) -> bool:
    try:
        scheme.verify(_NO_DELIVERY, (), _NO_DELIVERY.received_at)
    except NotVerified:
        return False
    except OperatorError:
        return True
    raise AssertionError("an empty delivery is signed by nobody")


def _result_model(names: tuple[str, ...]) -> type[BaseModel]:
    if not names:
        return AnyResult
    fields = {f"field_{i}": (JsonValue, Field(None, alias=name)) for i, name in enumerate(names)}
    return create_model("DeclaredResult", **cast("dict[str, Any]", fields))


def _start(options: Options, job: Start) -> HttpRequest:
    given: JsonObject = job.input.model_dump()
    body: JsonObject = {}
    if options.input_field:
        _put(body, options.input_field, given)
    else:
        body = given
    if options.callback_address is CallbackAddress.PER_JOB:
        # after the input, which must not redirect it
        _put(body, options.callback_url_field, job.callback_url)
    if options.job_id_field:
        _put(body, options.job_id_field, job.job_id)
    headers = _credentials(options, job.api_key)
    if options.idempotency_header:
        headers[options.idempotency_header] = job.job_id
    return json_request("POST", job.api_url, body, headers)


def _cancel(options: Options, job: Ask) -> HttpRequest:
    url = cast("str", options.cancel_url).replace("{id}", segment(job.external_id))
    return HttpRequest(method="POST", url=url, headers=_credentials(options, job.api_key))


def _credentials(options: Options, api_key: str) -> dict[str, str]:
    if options.auth == "bearer":
        return bearer(api_key)
    if options.auth == "basic":
        return basic(api_key)
    header = options.auth.removeprefix("header:").lower()
    return {} if options.auth == "none" else {header: api_key}


def _put(body: JsonObject, path: str, value: JsonValue) -> None:
    *parents, last = path.split(".")
    for name in parents:
        inner = body.get(name)
        if not isinstance(inner, dict):
            inner = body[name] = {}
        body = inner
    body[last] = value


def _find(payload: JsonObject, path: str) -> JsonValue:
    found = at(payload, path)
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure
    return at(payload, f"data.{path}") if found is None else found


def _external_id(options: Options, payload: JsonObject) -> str | None:
    found = _find(payload, options.id_field)
    if found is None:
        return None
    number = isinstance(found, int) and not isinstance(found, bool)
    return text_at({"id": str(found) if number else found}, "id")


def _status(options: Options, word: JsonValue) -> Status:
    listed = status_in(options.statuses, word)
    if listed is Status.UNKNOWN and isinstance(word, str):
        return status_in(STATUSES, word.lower())
    return listed


def _read_start(options: Options, result: type[BaseModel], answer: HttpAnswer) -> Started:
    payload = parse_object(answer.body)
    if not isinstance(payload.get("data"), dict):
        payload["data"] = dict(
            payload
        )  # an answer has no envelope: a path into `data` means the answer itself
    word = _find(payload, options.status_field)
    return _standing(options, result, payload, word).as_answer()


def _read(
    options: Options, result: type[BaseModel], scheme: Scheme | Declared, delivery: Delivery
) -> tuple[Callback, ...]:
    payload = _payload(options, delivery)
    event_type, word = (_find(payload, path) for path in (options.event_type_field, options.status_field))
    word = event_type if word is None else word
    job_id = _find(payload, options.job_id_field) if options.job_id_field else None
    callback = _standing(options, result, payload, word).as_callback(
        event_id=_event_id(options, scheme, delivery, payload),
        event_type=text_at({"type": word if event_type is None else event_type}, "type"),
        operation="job",
        job_id=job_id if isinstance(job_id, str) and is_id(job_id) else None,
        occurred_at=time_from_text(payload.get("timestamp")),
    )
    return (callback,)


def _payload(options: Options, delivery: Delivery) -> JsonObject:
    payload = _form(options, delivery) if options.scheme in SIGNED_FORMS else _object(options, delivery)
    if options.payload_field is None:
        return payload
    text = at(payload, options.payload_field)
    if not isinstance(text, str):
        raise NotUnderstood(f"there is no JSON text at {options.payload_field}")
    return parse_object(text.encode())


def _object(options: Options, delivery: Delivery) -> JsonObject:
    """Read JSON, or a form where it is none: a content type is seldom signed, and must change no reading."""
    try:
        return parse_object(delivery.body)
    except NotUnderstood:
        kind = delivery.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
            raise
        if delivery.body.startswith(b"--") != (kind == "multipart/form-data"):
            raise NotUnderstood("the body is not of its content type") from None
        return _form(options, delivery)


def _form(options: Options, delivery: Delivery) -> JsonObject:
    """Read a form as its scheme does, so that what is read is what is signed."""
    try:
        raw = read_urlencoded(delivery.body) if options.scheme in TWILIO else read_fields(delivery)
        fields = [(name.decode(), value.decode()) for name, value in raw]
    except (NotVerified, ValueError):
        raise NotUnderstood("the body is not a form in UTF-8") from None
    payload: JsonObject = dict(fields)
    if len(payload) != len(fields):
        raise NotUnderstood("a field of the form stands twice")
    return payload


def _event_id(options: Options, scheme: Scheme | Declared, delivery: Delivery, payload: JsonObject) -> str:
    if options.event_id_field:
        return text_at(payload, options.event_id_field)
    return text_at({"id": scheme.event_id(delivery)}, "id")


def _standing(options: Options, result: type[BaseModel], payload: JsonObject, word: JsonValue) -> Started:
    found = Started(external_id=_external_id(options, payload), status=_status(options, word))
    if found.status is Status.SUCCEEDED:
        value = _find(payload, options.result_field)
        if value is None:
            return found
        if not isinstance(value, dict):
            value = {options.result_field.rpartition(".")[2]: value}
        return found.with_result(result, value)
    if found.status.settled:
        return found.with_failure(_told_error(options, payload, otherwise=f"provider_{found.status}"))
    return found


def _told_error(options: Options, payload: JsonObject, *, otherwise: str) -> Failure:
    error = _find(payload, options.error_field)
    if isinstance(error, str):
        return told(None, error, otherwise=otherwise)
    return told(at(error, "code"), at(error, "message"), otherwise=otherwise)


def _refusal(options: Options, answer: HttpAnswer) -> Failure:
    body = refusal_body(answer)
    if body is None or not isinstance(_find(body, options.error_field), str | dict):
        return plain_refusal(answer)
    return _told_error(options, body, otherwise="provider_refused")
