"""Docusign's wire format, as its documentation and its OpenAPI specification show it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from services.errors import NotUnderstood, OperatorError
from services.models import Delivery, Failure, HttpAnswer, HttpRequest, Status
from services.providers.base import Ask, CallbackAddress, Start, Started
from services.providers.docusign import PROVIDER, EnvelopeInput
from tests.vectors.cases import sample

OPERATION = PROVIDER.operations["envelope"]
ACCOUNT = "https://demo.docusign.net/restapi/v2.1/accounts/2f6f8c1a-5b1e-4c0d-9a55-0d3c9f6b7e21"
HOOK = "https://hooks.example.com/api/webhooks/docusign/token"
ENVELOPE = "44efc9e6-915e-4b1d-9b54-801410d6922d"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
INTEGRATION_KEY = "1c8a4f6e-0000-4000-8000-000000000081"
USER_ID = "7f110c42-3245-41cf-8555-37087c729ed2"
RSA_KEY = generate_rsa_key(65537, 2048)
ADA = {"name": "Ada Example", "email": "ada@example.com"}
BOB = {"name": "Bob Example", "email": "bob@example.com"}
CONTRACT = {"name": "contract.v2.pdf", "base64": "JVBERi0xLjc="}
TEMPLATE = "9a0c5e21-5b1e-4c0d-9a55-0d3c9f6b7e23"
BY_DOCUMENT: dict[str, Any] = {
    "email_subject": "Please sign the contract",
    "documents": [CONTRACT],
    "signers": [ADA],
}
BY_TEMPLATE: dict[str, Any] = {
    "email_subject": "Please sign the contract",
    "template_id": TEMPLATE,
    "signers": [ADA | {"role": "Buyer"}],
}
RESULT = {
    "envelopeId": ENVELOPE,
    "status": "completed",
    "emailSubject": "Please sign the contract",
    "sentDateTime": "2026-11-23T12:00:00.2030000Z",
    "completedDateTime": "2026-11-23T12:09:44.0000000Z",
    "documentsCombinedUri": f"/envelopes/{ENVELOPE}/documents/combined",
    "certificateUri": f"/envelopes/{ENVELOPE}/documents/certificate",
}
DECLINED = Failure(code="declined", message="Clause 7 is wrong.")
VOIDED = Failure(code="voided", message="Envelope has expired.")


def pem(key: RSAPrivateKey | EllipticCurvePrivateKey, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


API_KEY = f"{INTEGRATION_KEY}:{USER_ID}:{pem(RSA_KEY)}"


def access_request(api_url: str = ACCOUNT, api_key: str = API_KEY) -> HttpRequest:
    assert PROVIDER.access is not None
    return PROVIDER.access.request(api_url, api_key, NOW)


def started(given: dict[str, Any]) -> HttpRequest:
    return OPERATION.start(
        Start(
            job_id="job_1",
            input=EnvelopeInput.model_validate(given),
            api_url=ACCOUNT,
            api_key="token",
            callback_url=HOOK,
        )
    )


def delivered(body: bytes) -> Delivery:
    return Delivery(method="POST", url=HOOK, headers={}, body=body, received_at=NOW)


def changed(name: str, **changes: object) -> bytes:
    """A sample event with other members; names with `s_` stand in the envelope's summary."""
    event = json.loads(sample("docusign", name))
    for place, value in changes.items():
        inner = event["data"]["envelopeSummary"] if place.startswith("s_") else event
        inner[place.removeprefix("s_")] = value
    return json.dumps(event).encode()


def test_an_access_token_is_asked_for_in_the_name_of_a_user() -> None:
    request = access_request()
    assert (request.method, request.url) == ("POST", "https://account-d.docusign.com/oauth/token")
    assert request.headers == {"content-type": "application/x-www-form-urlencoded"}
    fields = parse_qs(request.body.decode(), strict_parsing=True)
    assert fields.keys() == {"grant_type", "assertion"}
    assert fields["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    (assertion,) = fields["assertion"]
    assert jwt.get_unverified_header(assertion) == {"alg": "RS256", "typ": "JWT"}
    claims = jwt.decode(
        assertion,
        RSA_KEY.public_key(),
        algorithms=["RS256"],
        audience="account-d.docusign.com",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims == {
        "iss": INTEGRATION_KEY,
        "sub": USER_ID,
        "aud": "account-d.docusign.com",
        "iat": 1795435200,
        "exp": 1795438800,
        "scope": "signature impersonation",
    }


@pytest.mark.parametrize(
    ("api_url", "origin", "audience"),
    [
        ("https://na3.docusign.net/x", "https://account.docusign.com", "account.docusign.com"),
        ("https://demo.docusign.net/x", "https://account-d.docusign.com", "account-d.docusign.com"),
        ("http://127.0.0.1:9000/x", "http://127.0.0.1:9000", "127.0.0.1"),
        ("https://demo.docusign.net.a.example/x", "https://demo.docusign.net.a.example",
         "demo.docusign.net.a.example"),
    ],
    ids=["production", "demo", "stand-in", "look-alike"],
)  # fmt: skip
def test_who_gives_the_token_follows_from_the_api_address(api_url: str, origin: str, audience: str) -> None:
    request = access_request(api_url)
    assert request.url == f"{origin}/oauth/token"
    (assertion,) = parse_qs(request.body.decode())["assertion"]
    claims = jwt.decode(assertion, options={"verify_signature": False})
    assert claims["aud"] == audience


def test_a_private_key_is_taken_as_docusign_shows_it() -> None:
    shown = pem(RSA_KEY, PrivateFormat.TraditionalOpenSSL)
    assert shown.startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert access_request(api_key=f"{INTEGRATION_KEY}:{USER_ID}:{shown}") == access_request()


@pytest.mark.parametrize(
    "key",
    [
        "",
        INTEGRATION_KEY,
        f"{INTEGRATION_KEY}:{USER_ID}:",
        f"{INTEGRATION_KEY}:{USER_ID}:secret",
        f"acme:{USER_ID}:{pem(RSA_KEY)}",
        pem(RSA_KEY),
        f"{INTEGRATION_KEY}:{USER_ID}:{pem(generate_private_key(SECP256R1()))}",
    ],
    ids=["empty", "one-part", "no-key", "no-pem", "no-id", "key-alone", "another-kind"],
)
def test_a_key_in_another_form_is_the_operators_to_mend(key: str) -> None:
    with pytest.raises(OperatorError) as raised:
        access_request(api_key=key)
    assert "PRIVATE KEY-----" not in str(raised.value)


def test_an_envelope_of_documents_is_sent_with_its_own_address() -> None:
    request = started(
        {
            "email_subject": "Please sign the contract",
            "documents": [CONTRACT],
            "signers": [ADA | {"sign_at": "/sn1/"}, BOB],
        }
    )
    assert (request.method, request.url) == ("POST", f"{ACCOUNT}/envelopes")
    assert request.headers == {"authorization": "Bearer token", "content-type": "application/json"}
    assert json.loads(request.body) == {
        "status": "sent",
        "emailSubject": "Please sign the contract",
        "transactionId": "job_1",
        "customFields": {"textCustomFields": [{"name": "hookbus_job_id", "value": "job_1", "show": "false"}]},
        "eventNotification": {
            "url": HOOK,
            "requireAcknowledgment": "true",
            "loggingEnabled": "true",
            "includeHMAC": "true",
            "deliveryMode": "SIM",
            "events": ["envelope-completed", "envelope-declined", "envelope-voided"],
            "eventData": {
                "version": "restv2.1",
                "format": "json",
                "includeData": ["custom_fields", "recipients"],
            },
        },
        "documents": [
            {
                "documentId": "1",
                "name": "contract.v2.pdf",
                "fileExtension": "pdf",
                "documentBase64": "JVBERi0xLjc=",
            }
        ],
        "recipients": {
            "signers": [
                {
                    "recipientId": "1",
                    "routingOrder": "1",
                    **ADA,
                    "tabs": {"signHereTabs": [{"anchorString": "/sn1/"}]},
                },
                {"recipientId": "2", "routingOrder": "2", **BOB},
            ]
        },
    }


def test_an_envelope_of_a_template_names_who_plays_its_roles() -> None:
    body = json.loads(started(BY_TEMPLATE).body)
    assert body["templateId"] == TEMPLATE
    assert body["templateRoles"] == [{"roleName": "Buyer", **ADA}]
    assert "documents" not in body
    assert "recipients" not in body


@pytest.mark.parametrize(
    "given",
    [
        BY_DOCUMENT | {"email_subject": None},
        BY_DOCUMENT | {"email_subject": "x" * 101},
        BY_DOCUMENT | {"documents": None},
        BY_DOCUMENT | {"documents": None, "signers": [ADA | {"role": "Buyer"}]},
        BY_DOCUMENT | {"documents": []},
        BY_DOCUMENT | {"template_id": TEMPLATE},
        BY_DOCUMENT | {"signers": []},
        BY_DOCUMENT | {"signers": [ADA | {"role": "Buyer"}]},
        BY_DOCUMENT | {"signers": [ADA | {"email": "ada"}]},
        BY_DOCUMENT | {"signers": [ADA | {"email": "a@b@c"}]},
        BY_DOCUMENT | {"documents": [CONTRACT | {"name": "contract"}]},
        BY_DOCUMENT | {"documents": [CONTRACT | {"base64": "%PDF"}]},
        BY_DOCUMENT | {"documents": [CONTRACT | {"remoteUrl": "https://x.example"}]},
        BY_DOCUMENT | {"signers": [ADA | {"clientUserId": "1"}]},
        BY_TEMPLATE | {"template_id": "9a0c5e21-x-0d3c9f6b7e23"},
        BY_TEMPLATE | {"signers": [ADA]},
        BY_TEMPLATE | {"signers": [ADA | {"role": "Buyer", "sign_at": "/sn1/"}]},
        BY_TEMPLATE | {"eventNotification": {"url": "https://evil.example"}},
    ],
    ids=[
        "no-subject", "long-subject", "nothing", "role-of-nothing", "no-documents", "both", "nobody", "role",
        "no-mail", "mails", "no-ending", "bytes", "remote", "embedded", "template", "no-role", "place",
        "notification",
    ],
)  # fmt: skip
def test_an_input_that_docusign_would_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EnvelopeInput.model_validate(given)


def test_a_start_says_its_id() -> None:
    found = OPERATION.read_start(HttpAnswer(status=201, body=sample("docusign", "start")))
    assert found == Started(external_id=ENVELOPE)


def test_an_envelope_is_polled_at_its_address_and_cancelled_by_voiding_it() -> None:
    assert OPERATION.poll is not None
    assert OPERATION.cancel is not None
    job = Ask(job_id="job_1", external_id="a/..", api_url=ACCOUNT, api_key="token")
    assert OPERATION.poll(job) == HttpRequest(
        method="GET",
        url=f"{ACCOUNT}/envelopes/a%2F..?include=recipients",
        headers={"authorization": "Bearer token"},
    )
    assert OPERATION.cancel(job) == HttpRequest(
        method="PUT",
        url=f"{ACCOUNT}/envelopes/a%2F..",
        headers={"authorization": "Bearer token", "content-type": "application/json"},
        body=b'{"status": "voided", "voidedReason": "The sender has canceled it."}',
    )


def test_a_start_whose_answer_was_lost_is_looked_for_by_our_id() -> None:
    assert OPERATION.find is not None
    assert OPERATION.read_find is not None
    asked = OPERATION.find(
        Ask(
            job_id="job_1",
            external_id="",
            api_url="https://na3.docusign.net/restapi/v2.1/accounts/a",
            api_key="secret",
        )
    )
    assert (asked.method, asked.headers) == ("GET", {"authorization": "Bearer secret"})
    assert asked.url == (
        "https://na3.docusign.net/restapi/v2.1/accounts/a/envelopes?transaction_ids=job_1&include=custom_fields,recipients"
    )
    found = OPERATION.read_find(HttpAnswer(status=200, body=sample("docusign", "find.succeeded")))
    assert (found.job_id, found.external_id) == ("job_01JD8Z3W5V", ENVELOPE)
    assert (found.status, found.result) == (Status.SUCCEEDED, RESULT)
    with pytest.raises(NotUnderstood):
        OPERATION.read_find(HttpAnswer(status=200, body=sample("docusign", "find.none")))


@pytest.mark.parametrize(
    ("name", "status", "result", "failure"),
    [
        ("running", Status.RUNNING, None, None),
        ("succeeded", Status.SUCCEEDED, RESULT, None),
        ("failed", Status.FAILED, None, DECLINED),
        ("canceled", Status.CANCELED, None, VOIDED),
    ],
)
def test_a_poll_says_how_an_envelope_stands(
    name: str, status: Status, result: object, failure: Failure | None
) -> None:
    assert OPERATION.read_poll is not None
    found = OPERATION.read_poll(HttpAnswer(status=200, body=sample("docusign", f"poll.{name}")))
    assert (found.external_id, found.status) == (ENVELOPE, status)
    assert (found.result, found.failure) == (result, failure)


@pytest.mark.parametrize("word", ["created", "sent", "delivered", "signed", "melted", None, 7], ids=repr)
def test_a_word_that_is_no_end_ends_nothing(word: object) -> None:
    body = json.dumps({"envelopeId": ENVELOPE, "status": word}).encode()
    assert OPERATION.read_start(HttpAnswer(status=201, body=body)) == Started(external_id=ENVELOPE)


@pytest.mark.parametrize(
    ("name", "event", "status", "result", "failure"),
    [
        ("delivered", "envelope-delivered", Status.RUNNING, None, None),
        ("succeeded", "envelope-completed", Status.SUCCEEDED, RESULT, None),
        ("failed", "envelope-declined", Status.FAILED, None, DECLINED),
        ("canceled", "envelope-voided", Status.CANCELED, None, VOIDED),
    ],
)
def test_an_event_says_how_an_envelope_stands(
    name: str, event: str, status: Status, result: object, failure: Failure | None
) -> None:
    (callback,) = PROVIDER.read(delivered(sample("docusign", f"callback.{name}")))
    assert (callback.event_id, callback.event_type) == (f"{ENVELOPE}-{event}", event)
    assert (callback.status, callback.operation) == (status, "envelope")
    assert (callback.job_id, callback.external_id) == ("job_01JD8Z3W5V", ENVELOPE)
    assert (callback.result, callback.failure) == (result, failure)
    assert callback.occurred_at == datetime(2026, 11, 23, 12, 9, 45, 123456, tzinfo=UTC)


@pytest.mark.parametrize("summary", [{}, {"envelopeSummary": [7]}, {"envelopeSummary": "x"}], ids=str)
def test_an_event_without_the_envelope_settles_all_the_same(summary: dict[str, object]) -> None:
    event = json.loads(sample("docusign", "callback.bare"))
    event["data"] |= summary
    (callback,) = PROVIDER.read(delivered(json.dumps(event).encode()))
    assert (callback.status, callback.job_id) == ("succeeded", None)
    assert callback.result == {"envelopeId": ENVELOPE, "status": "completed"}


def test_an_event_is_believed_and_not_how_the_envelope_stands_by_now() -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.delivered", s_status="completed")))
    assert (callback.status, callback.result) == ("running", None)


@pytest.mark.parametrize(
    ("event", "status"),
    [("envelope-sent", Status.RUNNING), ("envelope-corrected", Status.UNKNOWN)],
)
def test_other_news_of_an_envelope_settles_nothing(event: str, status: Status) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.succeeded", event=event)))
    assert (callback.status, callback.result) == (status, None)


@pytest.mark.parametrize(
    ("name", "change", "failure"),
    [
        ("failed", {"s_recipients": None}, Failure(code="declined", message="a signer declined")),
        (
            "failed",
            {"s_recipients": {"signers": [7, {}]}},
            Failure(code="declined", message="a signer declined"),
        ),
        ("canceled", {"s_voidedReason": None}, Failure(code="voided", message="the envelope was voided")),
    ],
    ids=["no-recipients", "odd-recipients", "no-reason"],
)
def test_an_end_without_a_reason_is_told_all_the_same(
    name: str, change: dict[str, object], failure: Failure
) -> None:
    (callback,) = PROVIDER.read(delivered(changed(f"callback.{name}", **change)))
    assert callback.failure == failure


@pytest.mark.parametrize(
    "fields",
    [
        None,
        {"textCustomFields": [7]},
        {"textCustomFields": [{"name": "other", "value": "job_1"}]},
        {"textCustomFields": [{"name": "hookbus_job_id", "value": "no id"}]},
    ],
    ids=["none", "odd", "another", "no-id"],
)
def test_a_field_that_is_no_id_of_ours_is_left_out(fields: object) -> None:
    (callback,) = PROVIDER.read(delivered(changed("callback.succeeded", s_customFields=fields)))
    assert (callback.job_id, callback.external_id) == (None, ENVELOPE)


@pytest.mark.parametrize(
    "body",
    [
        changed("callback.succeeded", event="recipient-completed"),
        changed("callback.succeeded", event=None),
        changed("callback.succeeded", data={}),
        changed("callback.succeeded", data=[]),
        changed("callback.succeeded", s_emailSubject=7),
    ],
    ids=["recipient", "no-event", "no-id", "no-data", "odd-result"],
)
def test_an_event_that_is_about_no_envelope_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        PROVIDER.read(delivered(body))


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (
            400,
            b'{"errorCode":"INVALID_EMAIL_ADDRESS_FOR_RECIPIENT","message":"The email address is invalid."}',
            "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT",
            "The email address is invalid.",
        ),
        (
            401,
            b'{"errorCode":"AUTHORIZATION_INVALID_TOKEN","message":"The access token is expired: token"}',
            "provider_refused",
            "the provider answered 401",
        ),
        (400, b'{"errorCode":"X"}', "provider_refused", "the provider answered 400"),
    ],
    ids=["message", "key", "no-message"],
)
def test_a_refusal_is_told_in_their_words(status: int, body: bytes, code: str, message: str) -> None:
    told = PROVIDER.refusal(HttpAnswer(status=status, body=body))
    assert told == Failure(code=code, message=message)


def test_the_profile_says_what_the_documentation_says() -> None:
    assert PROVIDER.callback_address is CallbackAddress.PER_JOB
    assert PROVIDER.api_url == ""
    assert PROVIDER.api_url_example == "https://na3.docusign.net/restapi/v2.1/accounts/ACCOUNT_ID"
    assert (PROVIDER.patience, PROVIDER.repeats_for) == (None, None)
    assert (OPERATION.poll_after, OPERATION.poll_every) == (timedelta(hours=1), timedelta(days=1))
    assert OPERATION.poll_at_least == timedelta(minutes=15)
    assert (OPERATION.deadline, OPERATION.start_budget) == (timedelta(days=30), timedelta(seconds=10))
    assert not OPERATION.idempotent
