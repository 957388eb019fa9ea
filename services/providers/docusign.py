"""Docusign: envelopes of documents to sign, each with its own Connect address.

The API key is INTEGRATION_KEY:USER_ID:PRIVATE_KEY, the private RSA key in PEM: requests are made in the name
of a user, who has to consent once. The API address ends with the account. HMAC has to be switched on for the
account, and its key is the signing secret. The signed documents are fetched with an access token.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Self
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import BaseModel, Field, model_validator

from services.errors import NotUnderstood, OperatorError
from services.jsons import at, parse_object
from services.models import Callback, Delivery, Failure, HttpAnswer, HttpRequest, JsonObject, Status
from services.providers.base import Access, Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import plain_refusal, refusal_body, told
from services.providers.reading import (
    JOB_ID,
    job_id_at,
    object_at,
    read_access_token,
    status_in,
    text_at,
    time_from_text,
)
from services.providers.requests import about_job, bearer, form_request, json_request
from services.signatures.catalogue import SCHEMES
from services.signatures.parts import Encoding, write_digest
from services.signatures.public_keys import read_private_key

# https://github.com/docusign/eSign-OpenAPI-Specification: `status` of an envelope
STATUSES = {
    "created": Status.RUNNING,
    "sent": Status.RUNNING,
    "delivered": Status.RUNNING,
    "signed": Status.RUNNING,
    "completed": Status.SUCCEEDED,
    "declined": Status.FAILED,
    "voided": Status.CANCELED,  # by somebody, or past its own end
}
# https://developers.docusign.com/platform/webhooks/connect/event-triggers
EVENTS = {
    "envelope-sent": "sent",
    "envelope-delivered": "delivered",
    "envelope-completed": "completed",
    "envelope-declined": "declined",
    "envelope-voided": "voided",
}
ENDS = ("envelope-completed", "envelope-declined", "envelope-voided")
VOIDED: JsonObject = {"status": "voided", "voidedReason": "The sender has canceled it."}
_API_KEY = re.compile(r"([0-9A-Fa-f-]{36}):([0-9A-Fa-f-]{36}):(.+)", re.ASCII | re.DOTALL)

Id = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")]
Text = Annotated[str, Field(min_length=1, max_length=100)]


class DocumentInput(Input):
    """A document's name with its ending, and its bytes in base64."""

    name: str = Field(pattern=r"\.[A-Za-z0-9]{1,5}$", max_length=200)
    base64: str = Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=500_000)


class SignerInput(Input):
    """Who signs: as a role of the template, or at a text of the documents (else where they like)."""

    name: Text
    email: str = Field(pattern=r"^[!-?A-~]+@[!-?A-~]+$", max_length=100)
    role: Text | None = None
    sign_at: Text | None = None


# https://developers.docusign.com/docs/esign-rest-api/reference/envelopes/envelopes/create/
class EnvelopeInput(Input):
    """What to sign, and who: documents are signed by one after the other, a template as it says itself."""

    email_subject: Text
    template_id: Id | None = None
    documents: list[DocumentInput] | None = Field(None, min_length=1, max_length=50)
    signers: list[SignerInput] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _says_what_and_who(self) -> Self:
        if (self.template_id is None) == (self.documents is None):
            raise ValueError("give either template_id or documents")
        if any((one.role is None) == (self.documents is None) for one in self.signers):
            raise ValueError("give each signer's role with template_id, and none with documents")
        if self.template_id and any(one.sign_at for one in self.signers):
            raise ValueError("give sign_at with documents only")
        return self


class Envelope(BaseModel):
    """An envelope that all have signed."""

    envelope_id: str = Field(alias="envelopeId")
    status: str
    email_subject: str | None = Field(None, alias="emailSubject")
    sent_date_time: str | None = Field(None, alias="sentDateTime")
    completed_date_time: str | None = Field(None, alias="completedDateTime")
    documents_combined_uri: str | None = Field(None, alias="documentsCombinedUri")
    certificate_uri: str | None = Field(None, alias="certificateUri")


# https://developers.docusign.com/platform/auth/jwt/
def ask_access(api_url: str, api_key: str, now: datetime) -> HttpRequest:
    parts = _API_KEY.fullmatch(api_key)
    if not parts:
        raise OperatorError(
            "secret docusign-api-key cannot be used: set it as INTEGRATION_KEY:USER_ID:PRIVATE_KEY"
        )
    key = read_private_key(parts[3])
    if not isinstance(key, RSAPrivateKey):
        raise OperatorError("secret docusign-api-key cannot be used: its private key is not an RSA key")
    origin, audience = _authority(api_url)
    issued = int(now.timestamp())
    claims: JsonObject = {
        "iss": parts[1],
        "sub": parts[2],
        "aud": audience,
        "iat": issued,
        "exp": issued + 3600,
        "scope": "signature impersonation",
    }
    head: JsonObject = {"alg": "RS256", "typ": "JWT"}
    content = f"{_base64url(json.dumps(head).encode())}.{_base64url(json.dumps(claims).encode())}"
    signature = key.sign(content.encode(), PKCS1v15(), SHA256())
    fields = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": f"{content}.{_base64url(signature)}",
    }
    return form_request(f"{origin}/oauth/token", fields, {})


def _authority(api_url: str) -> tuple[str, str]:
    """Return who gives access tokens for an API address; one that is not Docusign's gives its own."""
    parts = urlsplit(api_url)
    host = parts.hostname or ""
    if not host.endswith(".docusign.net"):
        return f"{parts.scheme}://{parts.netloc}", host
    audience = "account-d.docusign.com" if host == "demo.docusign.net" else "account.docusign.com"
    return f"https://{audience}", audience


def _base64url(data: bytes) -> str:
    return write_digest(data, Encoding.BASE64_URL)


def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump()
    signers = asked["signers"]
    body: JsonObject = {
        "status": "sent",
        "emailSubject": asked["email_subject"],
        "transactionId": job.job_id,
        "customFields": {"textCustomFields": [{"name": JOB_ID, "value": job.job_id, "show": "false"}]},
        "eventNotification": _notification(job.callback_url),
    }
    if asked["template_id"]:
        body["templateId"] = asked["template_id"]
        body["templateRoles"] = [
            {"roleName": one["role"], "name": one["name"], "email": one["email"]} for one in signers
        ]
    else:
        body["documents"] = [_document(one, str(n)) for n, one in enumerate(asked["documents"], 1)]
        body["recipients"] = {"signers": [_signer(one, str(n)) for n, one in enumerate(signers, 1)]}
    return json_request("POST", f"{job.api_url}/envelopes", body, bearer(job.api_key))


# https://www.docusign.com/blog/developers/event-notifications-using-json-sim-and-hmac
def _notification(callback_url: str) -> JsonObject:
    return {
        "url": callback_url,
        "requireAcknowledgment": "true",
        "loggingEnabled": "true",
        "includeHMAC": "true",
        "deliveryMode": "SIM",
        "events": list(ENDS),
        "eventData": {
            "version": "restv2.1",
            "format": "json",
            "includeData": ["custom_fields", "recipients"],
        },
    }


def _document(given: Mapping[str, str], number: str) -> JsonObject:
    name = given["name"]
    ending = name.rpartition(".")[2]
    return {
        "documentId": number,
        "name": name,
        "fileExtension": ending,
        "documentBase64": given["base64"],
    }


def _signer(given: Mapping[str, str], number: str) -> JsonObject:
    signer: JsonObject = {
        "recipientId": number,
        "routingOrder": number,
        "name": given["name"],
        "email": given["email"],
    }
    if given["sign_at"]:
        signer["tabs"] = {"signHereTabs": [{"anchorString": given["sign_at"]}]}
    return signer


def read_answer(answer: HttpAnswer) -> Started:
    return _standing(parse_object(answer.body)).as_answer()


def read_found(answer: HttpAnswer) -> Started:
    envelope = object_at(parse_object(answer.body), "envelopes.0")
    return replace(_standing(envelope).as_answer(), job_id=_job_id(envelope))


# https://developers.docusign.com/platform/webhooks/connect/json-sim-event-model
def read(delivery: Delivery) -> tuple[Callback, ...]:
    event = parse_object(delivery.body)
    event_type, external_id = text_at(event, "event"), text_at(event, "data.envelopeId")
    if not event_type.startswith("envelope-"):
        raise NotUnderstood("events of this type are not about jobs")
    word = EVENTS.get(event_type)
    summary = object_at(event, "data").get("envelopeSummary")
    told_of = summary if isinstance(summary, dict) else {}
    found = _standing({**told_of, "envelopeId": external_id, "status": word})
    callback = found.as_callback(
        event_id=f"{external_id}-{event_type}",
        event_type=event_type,
        operation="envelope",
        job_id=_job_id(told_of),
        occurred_at=time_from_text(event.get("generatedDateTime")),
    )
    return (callback,)


def _job_id(envelope: JsonObject) -> str | None:
    fields = at(envelope, "customFields.textCustomFields")
    listed = fields if isinstance(fields, list) else []
    ours = next((one for one in listed if at(one, "name") == JOB_ID), None)
    return job_id_at({"field": ours}, "field.value")


def _standing(envelope: JsonObject) -> Started:
    status = status_in(STATUSES, envelope.get("status"))
    found = Started(external_id=text_at(envelope, "envelopeId"), status=status)
    if status is Status.SUCCEEDED:
        return found.with_result(Envelope, envelope)
    if status is Status.FAILED:
        signers = at(envelope, "recipients.signers")
        listed = signers if isinstance(signers, list) else []
        who = next((one for one in listed if at(one, "declinedReason")), None)
        reason = at(who, "declinedReason") or "a signer declined"
        return found.with_failure(told("declined", reason, otherwise="declined"))
    if status is Status.CANCELED:
        reason = envelope.get("voidedReason") or "the envelope was voided"
        return found.with_failure(told("voided", reason, otherwise="canceled"))
    return found


# https://developers.docusign.com/docs/esign-rest-api/esign101/error-codes/
def refusal(answer: HttpAnswer) -> Failure:
    body = refusal_body(answer)
    if body is None or not isinstance(body.get("message"), str):
        return plain_refusal(answer)
    return told(body.get("errorCode"), body["message"], otherwise="provider_refused")


PROVIDER = Provider(
    name="docusign",
    documentation="https://developers.docusign.com/docs/esign-rest-api/reference/envelopes/envelopes/create/",
    completion=Completion.WEBHOOK,
    api_url="",
    api_url_example="https://na3.docusign.net/restapi/v2.1/accounts/ACCOUNT_ID",
    api_key="docusign-api-key",
    access=Access(request=ask_access, read=read_access_token),
    scheme=SCHEMES["docusign"],
    signing_secret="docusign-signing-secret",  # noqa: S106 - the secret's name
    operations={
        "envelope": Operation(
            input=EnvelopeInput,
            result=Envelope,
            start=start,
            read_start=read_answer,
            # https://developers.docusign.com/docs/esign-rest-api/reference/envelopes/envelopes/update/
            cancel=about_job("PUT", "/envelopes/{id}", bearer, VOIDED),
            poll=about_job("GET", "/envelopes/{id}?include=recipients", bearer),
            read_poll=read_answer,
            # https://developers.docusign.com/docs/esign-rest-api/reference/envelopes/envelopes/liststatuschanges/
            find=about_job(
                "GET", "/envelopes?transaction_ids={job_id}&include=custom_fields,recipients", bearer
            ),
            read_find=read_found,
            # "no more than one status request per envelope per 15 minutes":
            # https://www.docusign.com/blog/developers/the-trenches-troubleshooting-docusign-connect
            poll_after=timedelta(hours=1),
            poll_every=timedelta(days=1),
            poll_at_least=timedelta(minutes=15),
            start_budget=timedelta(seconds=10),  # an access token is asked for first
            deadline=timedelta(days=30),
        )
    },
    default_operation="envelope",
    read=read,
    refusal=refusal,
    # https://developers.docusign.com/platform/webhooks/connect: it repeats what is not acknowledged, and
    # neither how long nor how long it waits is said
)
