"""Each provider's jobs through the real host and bus in the vendor's wire format, from start to outcome."""

import asyncio
import base64
import hashlib
import json
import re
import secrets
import ssl
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa_key
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from dev.consume import events
from dev.process import ROOT
from dev.stack import MODULES, Ports, Stack, running
from services.adapters.environment import variable
from services.bootstrap import build
from services.models import Delivery
from services.providers import BUILT_IN, built_in, providers
from services.providers.base import CallbackAddress, Completion, Provider
from services.settings import provider_names, provider_options
from tests.stack import host
from tests.stack.vendor import Asked, Begun, End, Exchange, FakeVendor, Sample, message_id
from tests.vectors.cases import HERE as VECTORS

PATIENCE = 30.0
"""Seconds within which an outcome has to come."""
QUIET = 1.5
"""Seconds to listen on after the last outcome, for one that should not come."""

FAL_KEY, PLAID_KEY, SENDGRID_KEY = (
    Ed25519PrivateKey.generate(),
    new_ec_key(SECP256R1()),
    new_ec_key(SECP256R1()),
)
PAYPAL_KEY, DOCUSIGN_KEY = new_rsa_key(65537, 2048), new_rsa_key(65537, 2048)
WEBHOOK_SECRET = "whsec_bWFkZS11cC1mb3ItdGhlLXJvdW5kLXRyaXA="
DOCUSIGN_USER = "5c2b8b1e-1111-4c0d-9a55-0d3c9f6b7e21:7f110c42-3245-41cf-8555-37087c729ed2"
DOCUSIGN_ACCOUNT = "2f6f8c1a-5b1e-4c0d-9a55-0d3c9f6b7e21"
TWILIO_ACCOUNT = "AC00000000000000000000000000000001"
TWILIO_PLACE = f"POST /2010-04-01/Accounts/{TWILIO_ACCOUNT}"
CHANNELS = [
    {
        "alternatives": [
            {
                "transcript": "Yeah, we will.",
                "confidence": 0.9987,
                "words": [
                    {
                        "word": word,
                        "start": start,
                        "end": end,
                        "confidence": 0.99,
                        "punctuated_word": punctuated,
                        "speaker": 0,
                    }
                    for word, start, end, punctuated in (
                        ("yeah", 0.08, 0.32, "Yeah,"),
                        ("we", 0.4, 0.56, "we"),
                        ("will", 0.56, 0.8, "will."),
                    )
                ],
            }
        ],
        "detected_language": "en",
    }
]
TEMPERATURE = {"time": ["2026-11-23T00:00", "2026-11-23T01:00"], "temperature_2m": [3.4, None]}


def pem(key: PrivateKeyTypes) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def basic(text: str) -> tuple[str, str]:
    return "authorization", f"Basic {base64.b64encode(text.encode()).decode()}"


def bearer(text: str) -> tuple[str, str]:
    return "authorization", f"Bearer {text}"


def polled_at(pattern: str) -> Callable[[Asked], str | None]:
    def external_id(asked: Asked) -> str | None:
        found = re.fullmatch(pattern, asked.place)
        return found[1] if found else None

    return external_id


def public_ec(key: EllipticCurvePublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    x, y = (
        base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y)
    )
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def fal_keys(_: Asked) -> Any:
    raw = FAL_KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}


def plaid_key(asked: Asked) -> Any:
    jwk = public_ec(PLAID_KEY.public_key())
    written = json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()
    name = base64.urlsafe_b64encode(hashlib.sha256(written).digest()).rstrip(b"=").decode()
    if asked.json != {"client_id": "plaid-client", "secret": "plaid-secret", "key_id": name}:
        return None
    more = {"alg": "ES256", "use": "sig", "kid": name, "created_at": 1560466143, "expired_at": None}
    return {"key": {**jwk, **more}, "request_id": "RZ6Omi1bzzwDaLo"}


def paypal_certificate() -> tuple[str, bytes]:
    """The place that PayPal's deliveries name, and the certificate that lies there."""
    key = PAYPAL_KEY.public_key()
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "messageverificationcerts.paypal.com")])
    day = timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - day)
        .not_valid_after(datetime.now(UTC) + day)
        .sign(PAYPAL_KEY, SHA256())
    )
    written = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(written).hexdigest()
    name = f"CERT-{digest[:8]}-{digest[8:16]}-{digest[16:24]}"
    return f"api.paypal.com/v1/notifications/certs/{name}", certificate.public_bytes(Encoding.PEM)


def shows_docusign_key(asked: Asked) -> bool:
    claims = jwt.decode(
        asked.form["assertion"], DOCUSIGN_KEY.public_key(), algorithms=["RS256"], audience=host.HERE
    )
    return (
        asked.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        and f"{claims['iss']}:{claims['sub']}" == DOCUSIGN_USER
    )


SAMPLES = (
    Sample(
        provider="apify",
        operation="run",
        input={"actor": "acme~crawler", "input": {"depth": 2}},
        place="POST /v2/actors/acme~crawler/runs",
        status=201,
        ids=("HG7ML7M8z78YcAPEB",),
        settings={"API_KEY": "apify_api_1"},
        credential=bearer("apify_api_1"),
        address=lambda asked: json.loads(base64.b64decode(asked.query["webhooks"]))[0]["requestUrl"],
        proof="address",
        succeeded=End(
            callback="callback.succeeded.json",
            result={
                "id": "HG7ML7M8z78YcAPEB",
                "exitCode": 0,
                "datasetItemsUrl": "https://api.apify.com/v2/datasets/wmKPijuyDnPZAPRMk/items",
            },
        ),
        failed=End(callback="callback.failed.json", failure=("failed", "Actor finished with exit code 1")),
        canceled=End(callback="callback.canceled.json", failure=("aborted", "Actor was aborted by user")),
    ),
    Sample(
        provider="assemblyai",
        operation="transcript",
        input={"audio_url": "https://files.example.com/call-81.mp3"},
        place="POST /v2/transcript",
        ids=("9ea68fd3-f953-42c1-9742-976c447fb463",),
        settings={"API_KEY": "assemblyai-1", "SIGNING_SECRET": "assemblyai-secret"},
        credential=("authorization", "assemblyai-1"),
        address=lambda asked: asked.json["webhook_url"],
        polled=polled_at("GET /v2/transcript/(.+)"),
        signs_with="assemblyai-secret",
        proof="x-my-webhook-secret",
        succeeded=End(
            callback="callback.succeeded.json",
            poll="poll.succeeded.json",
            result={"text": "Grüße aus Köln.", "audio_duration": 2.0},
        ),
        failed=End(
            callback="callback.failed.json",
            poll="poll.failed.json",
            failure=(
                "transcript_failed",
                "Download error, unable to download https://files.example.com/call-81.mp3. "
                "Make sure the file exists and is accessible.",
            ),
        ),
    ),
    Sample(
        provider="cloudconvert",
        operation="conversion",
        input={"tasks": {"import-my-file": {"operation": "import/url", "url": "https://x.example/1.docx"}}},
        place="POST /v2/jobs",
        status=201,
        ids=("6559c281-ed85-4728-80db-414561c631e9",),
        settings={"API_KEY": "cloudconvert-1", "SIGNING_SECRET": "cloudconvert-secret"},
        credential=bearer("cloudconvert-1"),
        job=lambda asked: asked.json["tag"],
        signs_with="cloudconvert-secret",
        succeeded=End(
            callback="callback.succeeded.json",
            result={
                "id": "6559c281-ed85-4728-80db-414561c631e9",
                "files": [
                    {
                        "filename": "file.pdf",
                        "size": 4221,
                        "url": "https://storage.cloudconvert.com/tasks/36af6f54-1c01-45cc-bcc3-97dd23d2f93d"
                        "/file.pdf?AWSAccessKeyId=cloudconvert-production&Expires=1795521609&Signature=81",
                    }
                ],
            },
        ),
        failed=End(
            callback="callback.failed.json",
            failure=("DOWNLOAD_FAILED", "Download of the file failed with status code 404"),
        ),
    ),
    Sample(
        provider="deepgram",
        operation="transcript",
        input={"url": "https://files.example.com/call-81.wav"},
        place="POST /v1/listen",
        ids=("a847f427-4ad5-4d67-9b95-db801e58251c",),
        settings={"API_KEY": "deepgram-1"},
        credential=("authorization", "Token deepgram-1"),
        address=lambda asked: asked.query["callback"],
        proof="address",
        succeeded=End(callback="callback.succeeded.json", result={"channels": CHANNELS}),
        failed=End(
            callback="callback.failed.json",
            failure=("Bad Request", "Bad Request: failed to process audio: corrupt or unsupported data"),
        ),
    ),
    Sample(
        provider="docusign",
        operation="envelope",
        input={
            "email_subject": "Please sign the contract",
            "documents": [{"name": "contract.pdf", "base64": "JVBERi0xLjc="}],
            "signers": [{"name": "Ada Example", "email": "ada@example.com"}],
        },
        place=f"POST /restapi/v2.1/accounts/{DOCUSIGN_ACCOUNT}/envelopes",
        status=201,
        ids=("44efc9e6-915e-4b1d-9b54-801410d6922d",),
        settings={
            "API_URL": f"/restapi/v2.1/accounts/{DOCUSIGN_ACCOUNT}",
            "API_KEY": f"{DOCUSIGN_USER}:{pem(DOCUSIGN_KEY)}",
            "SIGNING_SECRET": "docusign-secret",
        },
        credential=bearer("docusign-token"),
        exchange=Exchange(
            place="POST /oauth/token", shows_key=shows_docusign_key, token="docusign-token", at_origin=True
        ),
        address=lambda asked: asked.json["eventNotification"]["url"],
        job=lambda asked: asked.json["customFields"]["textCustomFields"][0]["value"],
        signs_with="docusign-secret",
        succeeded=End(
            callback="callback.succeeded.json",
            result={
                "envelopeId": "44efc9e6-915e-4b1d-9b54-801410d6922d",
                "status": "completed",
                "documentsCombinedUri": "/envelopes/44efc9e6-915e-4b1d-9b54-801410d6922d/documents/combined",
            },
        ),
        failed=End(callback="callback.failed.json", failure=("declined", "Clause 7 is wrong.")),
        canceled=End(callback="callback.canceled.json", failure=("voided", "Envelope has expired.")),
    ),
    Sample(
        provider="elevenlabs",
        operation="transcript",
        input={"source_url": "https://files.example.com/call-81.mp3", "model_id": "scribe_v2"},
        place="POST /v1/speech-to-text",
        status=202,
        ids=("Kx81tRaNsCrIpTiOn0042",),
        settings={"API_KEY": "elevenlabs-1", "SIGNING_SECRET": "elevenlabs-secret"},
        credential=("xi-api-key", "elevenlabs-1"),
        job=lambda asked: json.loads(asked.form["webhook_metadata"])["hookbus_job_id"],
        signs_with="elevenlabs-secret",
        refuses=lambda asked: asked.form["model_id"] == "scribe_v0",
        succeeded=End(
            callback="callback.succeeded.json",
            result={"text": "Grüße aus Köln.", "transcription_id": "Kx81tRaNsCrIpTiOn0042"},
        ),
        # It tells of no failure but that of a start:
        # https://elevenlabs.io/docs/eleven-api/resources/errors
        failed=End(
            input={"source_url": "https://files.example.com/call-81.mp3", "model_id": "scribe_v0"},
            refusal="refusal.json",
            failure=("provider_refused", "There is no model 'scribe_v0'."),
        ),
    ),
    Sample(
        provider="fal",
        operation="request",
        input={"model": "fal-ai/flux/dev", "input": {"prompt": "an otter"}},
        place="POST /fal-ai/flux/dev",
        ids=("80e732af-660e-45cd-bd63-580e4f2a94cc",),
        external_id="fal-ai/flux/requests/80e732af-660e-45cd-bd63-580e4f2a94cc",
        settings={"API_KEY": "fal-id:fal-secret"},
        credential=("authorization", "Key fal-id:fal-secret"),
        address=lambda asked: asked.query["fal_webhook"],
        headers=lambda: {
            "x-fal-webhook-request-id": secrets.token_hex(16),
            "x-fal-webhook-user-id": "github|81",
        },
        signs_with=pem(FAL_KEY),
        succeeded=End(
            callback="callback.succeeded.json",
            result={
                "payload": {
                    "images": [
                        {
                            "url": "https://v3.fal.media/files/panda/81.png",
                            "content_type": "image/png",
                            "file_name": "81.png",
                            "file_size": 1824075,
                            "width": 1024,
                            "height": 1024,
                        }
                    ],
                    "seed": 196619188014358660,
                }
            },
        ),
        failed=End(
            callback="callback.failed.json",
            failure=("request_failed", "Invalid status code: 422: body.prompt: field required"),
        ),
    ),
    Sample(
        provider="github",
        operation="run",
        input={"owner": "octo-org", "repo": "Octo-Repo", "workflow": "report.yml", "ref": "main"},
        place="POST /repos/octo-org/Octo-Repo/actions/workflows/report.yml/dispatches",
        ids=("18412675309",),
        external_id="octo-org/octo-repo/actions/runs/18412675309",
        settings={"API_KEY": "ghp_1", "SIGNING_SECRET": "github-secret"},
        credential=bearer("ghp_1"),
        signs_with="github-secret",
        succeeded=End(
            callback="callback.succeeded.json",
            result={"id": 18412675309, "conclusion": "success", "run_number": 81},
        ),
        failed=End(callback="callback.failed.json", failure=("failure", "the run ended as failure")),
        canceled=End(callback="callback.canceled.json", failure=("cancelled", "the run ended as cancelled")),
    ),
    Sample(
        provider="mux",
        operation="asset",
        input={"url": "https://files.example.com/81.mp4", "playback_policies": ["public"]},
        place="POST /video/v1/assets",
        status=201,
        ids=("0201p02fGKPE7MrbC269XRD7LpcHhrmbu0002Ax81",),
        settings={"API_KEY": "mux-id:mux-secret", "SIGNING_SECRET": "mux-signs"},
        credential=basic("mux-id:mux-secret"),
        job=lambda asked: asked.json["passthrough"],
        signs_with="mux-signs",
        succeeded=End(
            callback="callback.succeeded.json",
            result={"id": "0201p02fGKPE7MrbC269XRD7LpcHhrmbu0002Ax81", "duration": 23.857167},
        ),
        failed=End(
            callback="callback.failed.json",
            failure=("invalid_input", "The file could not be processed.; It has no video or audio track."),
        ),
        canceled=End(callback="callback.canceled.json", failure=("canceled", "the asset was deleted")),
    ),
    Sample(
        provider="onfido",
        operation="workflow_run",
        input={
            "workflow_id": "76b9fd1e-2a5c-4a8a-8a11-3f5b8d1a7a10",
            "applicant_id": "e35fa3a1-ffb9-4442-b12d-5f0adb7d37b3",
            "tags": ["beta"],
        },
        place="POST /v3.6/workflow_runs",
        status=201,
        ids=("3f2a8e10-5c64-4d0b-9a55-0d3c9f6b7e21",),
        settings={"API_KEY": "api_sandbox.1", "SIGNING_SECRET": "onfido-secret"},
        credential=("authorization", "Token token=api_sandbox.1"),
        our_job="hookbus_job_id:job_1",
        job=lambda asked: asked.json["tags"][1],
        polled=polled_at("GET /v3.6/workflow_runs/(.+)"),
        signs_with="onfido-secret",
        succeeded=End(
            callback="callback.succeeded.json",
            poll="poll.succeeded.json",
            result={"status": "approved", "output": {"age_over_18": True, "document": {"result": "clear"}}},
        ),
        failed=End(
            callback="callback.failed.json",
            poll="poll.failed.json",
            failure=("applicant_not_found", "The applicant was deleted"),
        ),
        canceled=End(
            callback="callback.canceled.json",
            poll="poll.abandoned.json",
            failure=("abandoned", "the applicant did not go on with it"),
        ),
    ),
    Sample(
        provider="openai",
        operation="response",
        input={"model": "gpt-5.5", "input": "Otters?"},
        place="POST /v1/responses",
        ids=("resp_68f0c0a2b7e88190a1d5c3b2e4f6071808a9bc",),
        settings={"API_KEY": "sk-1", "SIGNING_SECRET": WEBHOOK_SECRET},
        credential=bearer("sk-1"),
        job=lambda asked: asked.json["metadata"]["hookbus_job_id"],
        polled=polled_at("GET /v1/responses/(.+)"),
        headers=message_id,
        signs_with=WEBHOOK_SECRET,
        succeeded=End(
            callback="callback.succeeded.json",
            poll="poll.succeeded.json",
            result={
                "id": "resp_68f0c0a2b7e88190a1d5c3b2e4f6071808a9bc",
                "model": "gpt-5.5-2026-04-23",
                "completed_at": 1795420867.0,
            },
        ),
        failed=End(
            callback="callback.failed.json",
            poll="poll.failed.json",
            failure=("rate_limit_exceeded", "You exceeded your current quota."),
        ),
        canceled=End(
            callback="callback.canceled.json",
            poll="poll.canceled.json",
            failure=("canceled", "the response was cancelled"),
        ),
    ),
    Sample(
        provider="paypal",
        operation="payout",
        input={"items": [{"receiver": "erika@example.com", "amount": {"currency": "USD", "value": "9.87"}}]},
        place="POST /v1/payments/payouts",
        status=201,
        ids=("B76ZYZAL3F2NL",),
        settings={"API_KEY": "paypal-id:paypal-secret", "SIGNING_SECRET": "8PT597110X687430LKGECATA"},
        credential=bearer("paypal-token"),
        exchange=Exchange(
            place="POST /v1/oauth2/token",
            shows_key=lambda asked: (
                asked.headers["authorization"] == basic("paypal-id:paypal-secret")[1]
                and asked.form == {"grant_type": "client_credentials"}
            ),
            token="paypal-token",
        ),
        job=lambda asked: asked.json["sender_batch_header"]["sender_batch_id"],
        polled=polled_at("GET /v1/payments/payouts/(.+)"),
        signs_with=f"8PT597110X687430LKGECATA\n{pem(PAYPAL_KEY)}",
        succeeded=End(
            callback="callback.succeeded.json",
            poll="poll.succeeded.json",
            result={
                "batch_header": {
                    "payout_batch_id": "B76ZYZAL3F2NL",
                    "batch_status": "SUCCESS",
                    "time_created": "2026-11-23T12:00:00Z",
                    "time_completed": "2026-11-23T12:00:26Z",
                    "amount": {"currency": "USD", "value": "119.74"},
                    "fees": {"currency": "USD", "value": "0.50"},
                }
            },
        ),
        failed=End(
            callback="callback.denied.json",
            poll="poll.failed.json",
            failure=("INSUFFICIENT_FUNDS", "Sender does not have sufficient funds."),
        ),
    ),
    Sample(
        provider="plaid",
        operation="asset_report",
        input={
            "access_tokens": ["access-sandbox-de3ce8ef-33f8-452c-a685-8671031fc0f6"],
            "days_requested": 60,
        },
        place="POST /asset_report/create",
        ids=("assets-sandbox-6f12f5bb-22dd-4855-b918-f47ec439198a", "47dfc92b-bba3-4583-809e-ce871b321f05"),
        settings={"API_KEY": "plaid-client:plaid-secret"},
        credential=("plaid-secret", "plaid-secret"),
        address=lambda asked: asked.json["options"]["webhook"],
        polled=lambda asked: asked.json.get("asset_report_token"),
        signs_with=pem(PLAID_KEY),
        succeeded=End(
            callback="callback.succeeded.json",
            poll="poll.succeeded.json",
            result={"asset_report_id": "47dfc92b-bba3-4583-809e-ce871b321f05", "days_requested": 2.0},
        ),
        failed=End(
            callback="callback.failed.json",
            failure=(
                "PRODUCT_NOT_ENABLED",
                "the 'assets' product is not enabled for the following access tokens: (an access token). "
                "please ensure that 'assets' is included in the 'product' array when initializing Link and "
                "create the Item(s) again.",
            ),
        ),
    ),
    Sample(
        provider="replicate",
        operation="prediction",
        input={"model": "replicate/hello-world", "input": {"text": "Alice"}},
        place="POST /v1/models/replicate/hello-world/predictions",
        status=201,
        ids=("ufawqhfynnddngldkgtslldrkq",),
        settings={"API_KEY": "r8_1", "SIGNING_SECRET": WEBHOOK_SECRET},
        credential=bearer("r8_1"),
        address=lambda asked: asked.json["webhook"],
        headers=message_id,
        signs_with=WEBHOOK_SECRET,
        succeeded=End(
            callback="callback.succeeded.json",
            result={"output": ["https://replicate.delivery/pbxt/8x/out-0.png"]},
        ),
        failed=End(
            callback="callback.failed.json",
            failure=("prediction_failed", "CUDA out of memory. Tried to allocate 20.00 GiB"),
        ),
        canceled=End(callback="callback.canceled.json", failure=("canceled", "the prediction was canceled")),
    ),
    Sample(
        provider="sendgrid",
        operation="mail",
        input={
            "to": {"email": "erika@example.com"},
            "from": {"email": "shop@example.org"},
            "subject": "Ihre Bestellung",
            "text": "Sie ist da.",
        },
        place="POST /v3/mail/send",
        answer="start.head",
        status=202,
        ids=("Zx8fMbVnQy2cS1dP0r4tLw",),
        settings={
            "API_KEY": "SG.1",
            "SIGNING_SECRET": base64.b64encode(
                SENDGRID_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            ).decode(),
        },
        credential=bearer("SG.1"),
        job=lambda asked: asked.json["personalizations"][0]["custom_args"]["hookbus_job_id"],
        signs_with=pem(SENDGRID_KEY),
        succeeded=End(
            callback="callback.succeeded.json", result={"response": "250 2.0.0 OK 1795435203 gsmtp"}
        ),
        failed=End(
            callback="callback.bounced.json",
            failure=("bounce", "550 5.1.1 The email account that you tried to reach does not exist."),
        ),
    ),
    Sample(
        provider="shopify",
        operation="bulk_query",
        input={"query": "{ products { edges { node { id } } } }"},
        place="POST /admin/api/2026-10/graphql.json",
        ids=("gid://shopify/BulkOperation/147595010",),
        settings={"API_KEY": "shopify-id:shopify-secret", "SIGNING_SECRET": "shopify-secret"},
        credential=("x-shopify-access-token", "shopify-token"),
        exchange=Exchange(
            place="POST /admin/oauth/access_token",
            shows_key=lambda asked: (
                asked.form
                == {
                    "grant_type": "client_credentials",
                    "client_id": "shopify-id",
                    "client_secret": "shopify-secret",
                }
            ),
            token="shopify-token",
        ),
        polled=lambda asked: asked.json["variables"].get("id"),
        signs_with="shopify-secret",
        succeeded=End(
            callback="callback.succeeded.json",
            poll="poll.succeeded.json",
            result={"id": "gid://shopify/BulkOperation/147595010", "objectCount": "57"},
        ),
        failed=End(
            callback="callback.failed.json",
            poll="poll.failed.json",
            failure=("ACCESS_DENIED", "the bulk operation ended as failed"),
        ),
        canceled=End(
            callback="callback.canceled.json",
            poll="poll.canceled.json",
            failure=("canceled", "the bulk operation ended as canceled"),
        ),
    ),
    Sample(
        provider="square",
        operation="payment",
        input={"source_id": "bnon:bank-nonce-ok", "amount": 1000, "currency": "USD"},
        place="POST /v2/payments",
        ids=("hYy9pRFVxpDsO1FB05SunFWUe9JZY",),
        settings={"API_KEY": "EAAA1", "SIGNING_SECRET": "square-secret"},
        credential=bearer("EAAA1"),
        job=lambda asked: asked.json["reference_id"],
        signs_with="square-secret",
        succeeded=End(
            callback="callback.succeeded.json",
            result={
                "id": "hYy9pRFVxpDsO1FB05SunFWUe9JZY",
                "status": "COMPLETED",
                "amount_money": {"amount": 1000, "currency": "USD"},
            },
        ),
        failed=End(
            callback="callback.failed.json",
            failure=("INSUFFICIENT_FUNDS", "Authorization error: 'INSUFFICIENT_FUNDS'"),
        ),
        canceled=End(callback="callback.canceled.json", failure=("canceled", "the payment was canceled")),
    ),
    Sample(
        provider="standard",
        operation="job",
        input={"url": "https://files.example.com/81.docx"},
        place="POST /jobs",
        status=202,
        ids=("ajob_81",),
        settings={
            "START_URL": "/jobs",
            "JOB_ID_FIELD": "reference",
            "RESULT_FIELDS": "url,pages",
            "API_KEY": "standard-1",
            "SIGNING_SECRET": WEBHOOK_SECRET,
        },
        credential=bearer("standard-1"),
        address=lambda asked: asked.json["callback_url"],
        job=lambda asked: asked.json["reference"],
        headers=message_id,
        signs_with=WEBHOOK_SECRET,
        succeeded=End(
            callback="callback.succeeded.json", result={"url": "https://files.example.com/81.pdf", "pages": 3}
        ),
        failed=End(
            callback="callback.failed.json", failure=("too_large", "The file has more than 100 pages.")
        ),
        canceled=End(
            callback="callback.canceled.json", failure=("provider_canceled", "the provider gave no reason")
        ),
    ),
    Sample(
        provider="stripe",
        operation="payment",
        input={"amount": 2000, "currency": "eur", "payment_method": "pm_1MtwBvLkdIwHu7ixQfh5bMn1"},
        place="POST /v1/payment_intents",
        ids=("pi_3MtwBwLkdIwHu7ix28a3tqPa",),
        settings={"API_KEY": "sk_test_1", "SIGNING_SECRET": "whsec_1"},
        credential=bearer("sk_test_1"),
        job=lambda asked: asked.form["metadata[hookbus_job_id]"],
        signs_with="whsec_1",
        succeeded=End(
            callback="callback.succeeded.json",
            result={"id": "pi_3MtwBwLkdIwHu7ix28a3tqPa", "amount_received": 2000, "currency": "eur"},
        ),
        failed=End(
            callback="callback.payment_failed.json",
            failure=(
                "card_declined",
                "Your card has insufficient funds. (decline code: insufficient_funds)",
            ),
        ),
        canceled=End(
            callback="callback.canceled.json", failure=("requested_by_customer", "the payment was canceled")
        ),
    ),
    Sample(
        provider="stripe",
        operation="report",
        input={
            "report_type": "balance.summary.1",
            "parameters": {"interval_start": 1675000000, "interval_end": 1680000000},
        },
        place="POST /v1/reporting/report_runs",
        answer="start.report.json",
        ids=("frr_1MtwRsLkdIwHu7ixuXfKmXpS",),
        settings={"API_KEY": "sk_test_1", "SIGNING_SECRET": "whsec_1"},
        credential=bearer("sk_test_1"),
        signs_with="whsec_1",
        succeeded=End(
            callback="callback.report_succeeded.json",
            result={
                "id": "frr_1MtwRsLkdIwHu7ixuXfKmXpS",
                "report_type": "balance.summary.1",
                "result": {
                    "id": "file_1MtwRuLkdIwHu7ixkD5nWzXb",
                    "url": "https://files.stripe.com/v1/files/file_1MtwRuLkdIwHu7ixkD5nWzXb/contents",
                    "filename": "frr_1MtwRsLkdIwHu7ixuXfKmXpS.csv",
                    "size": 53075,
                    "type": "csv",
                    "expires_at": 1712336520,
                },
                "succeeded_at": 1680800521,
            },
        ),
        failed=End(
            callback="callback.report_failed.json",
            failure=("report_failed", "The report could not be generated."),
        ),
    ),
    Sample(
        provider="transloadit",
        operation="assembly",
        input={"steps": {"resized": {"robot": "/image/resize", "use": ":original", "width": 100}}},
        place="POST /assemblies",
        ids=("7828446e5acd4aa996dce3455ec914e9",),
        settings={"API_KEY": "transloadit-key:transloadit-secret", "SIGNING_SECRET": "transloadit-secret"},
        credential=bearer("transloadit-token"),
        exchange=Exchange(
            place="POST /token",
            shows_key=lambda asked: (
                asked.headers["authorization"] == basic("transloadit-key:transloadit-secret")[1]
                and asked.form == {"grant_type": "client_credentials", "scope": "assemblies:write"}
            ),
            token="transloadit-token",
        ),
        address=lambda asked: json.loads(asked.form["params"])["notify_url"],
        job=lambda asked: json.loads(asked.form["params"])["fields"]["hookbus_job_id"],
        signs_with="transloadit-secret",
        succeeded=End(
            callback="callback.succeeded.multipart",
            result={
                "assembly_id": "7828446e5acd4aa996dce3455ec914e9",
                "results": {
                    "resized": [
                        {
                            "id": "81d5e8b0a1c311f0b8d5",
                            "name": "face.jpg",
                            "size": 5322,
                            "mime": "image/jpeg",
                            "original_id": "80d5e8b0a1c311f0b8d5",
                            "ssl_url": "https://tmp-us-east-1.transloadit.net/81/face.jpg",
                            "meta": {"width": 100, "height": 100},
                        }
                    ]
                },
            },
        ),
        failed=End(
            callback="callback.failed.multipart",
            failure=("HTTP_IMPORT_NOT_FOUND", "The file to import was not found."),
        ),
        canceled=End(
            callback="callback.canceled.multipart",
            failure=("ASSEMBLY_CANCELED", "The Assembly was canceled."),
        ),
    ),
    Sample(
        provider="twilio",
        operation="message",
        input={"to": "+15558675310", "from": "+15017122661", "body": "Größe 42"},
        place=f"{TWILIO_PLACE}/Messages.json",
        status=201,
        ids=("SM1342fe1b2c904d1ab04f0fc7a58abca9",),
        settings={"API_KEY": f"{TWILIO_ACCOUNT}:twilio-token", "SIGNING_SECRET": "twilio-token"},
        credential=basic(f"{TWILIO_ACCOUNT}:twilio-token"),
        address=lambda asked: asked.form["StatusCallback"],
        signs_with="twilio-token",
        thanks=b"<Response/>",
        succeeded=End(
            callback="callback.succeeded.form",
            result={
                "sid": "SM1342fe1b2c904d1ab04f0fc7a58abca9",
                "status": "delivered",
                "to": "+15558675310",
                "from": "+15017122661",
            },
        ),
        failed=End(callback="callback.failed.form", failure=("30003", "the message ended as undelivered")),
        canceled=End(
            callback="callback.canceled.form", failure=("canceled", "the message ended as canceled")
        ),
    ),
    Sample(
        provider="twilio",
        operation="call",
        input={"to": "+15558675310", "from": "+15017122661", "twiml": "<Response><Say>Hi</Say></Response>"},
        place=f"{TWILIO_PLACE}/Calls.json",
        answer="start.call.json",
        status=201,
        ids=("CAbe982f58915a2def4cf7aaa1f1766236",),
        settings={"API_KEY": f"{TWILIO_ACCOUNT}:twilio-token", "SIGNING_SECRET": "twilio-token"},
        credential=basic(f"{TWILIO_ACCOUNT}:twilio-token"),
        address=lambda asked: asked.form["StatusCallback"],
        signs_with="twilio-token",
        thanks=b"<Response/>",
        succeeded=End(
            callback="callback.call_succeeded.form",
            result={"sid": "CAbe982f58915a2def4cf7aaa1f1766236", "status": "completed", "duration": 49},
        ),
        failed=End(callback="callback.call_failed.form", failure=("busy", "the call ended as busy")),
        canceled=End(
            callback="callback.call_canceled.form", failure=("canceled", "the call ended as canceled")
        ),
    ),
    Sample(
        provider="weather",
        operation="forecast",
        input={"latitude": 52.52, "longitude": 13.41},
        place="GET /v1/forecast",
        refuses=lambda asked: asked.query["hourly"] == "temperature_2mi",
        succeeded=End(result={"timezone": "GMT", "hourly": TEMPERATURE}),
        # https://open-meteo.com/en/docs#errors
        failed=End(
            input={"latitude": 52.52, "longitude": 13.41, "hourly": ["temperature_2mi"]},
            refusal="refusal.json",
            failure=(
                "provider_refused",
                "Cannot initialize WeatherVariable from invalid String value temperature_2mi for key hourly",
            ),
        ),
    ),
)
ENDS = {
    f"{sample.name}-{word}": (sample, end)
    for sample in SAMPLES
    for word, end in (
        ("succeeded", sample.succeeded),
        ("failed", sample.failed),
        ("canceled", sample.canceled),
    )
    if end
}


@dataclass(kw_only=True)
class Trip:
    """What was seen of one job."""

    begun: Begun
    started: httpx.Response
    forged: int | None = None
    after_forgery: str | None = None
    taken: list[httpx.Response] = field(default_factory=list)
    job: dict[str, Any] = field(default_factory=dict)
    outcomes: list[tuple[str | None, Any]] = field(default_factory=list)


@dataclass(kw_only=True)
class Traveller:
    """Takes jobs through the stack, and listens to the topic."""

    stack: Stack
    vendor: FakeVendor
    http: httpx.AsyncClient
    providers: Mapping[str, Provider]
    accounts: Mapping[str, str]
    outcomes: dict[str, list[tuple[str | None, Any]]] = field(default_factory=lambda: defaultdict(list))

    async def listen(self) -> None:
        async with aclosing(events(self.stack.connection, "outcomes")) as found:
            async for message, event in found:
                self.outcomes[str(event.subject)].append((message.message_id, event))

    async def go(self, sample: Sample, end: End) -> Trip:
        asked = {"operation": sample.operation, "input": end.input or sample.input}
        jobs = f"{self.stack.functions_url}/api/jobs"
        started = await self.http.post(f"{jobs}/{sample.provider}", json=asked)
        assert started.status_code == (422 if end.refusal else 202), started.text
        answer = started.json()
        job_id = answer["job_id" if end.refusal else "id"]
        trip = Trip(begun=self.vendor.begun[sample.name, answer.get("external_id")], started=started)
        trip.begun.end = end
        if end.callback:
            delivery = trip.begun.delivery(self.providers[sample.provider], self.accounts[sample.provider])
            trip.forged = (await self._send(trip.begun.forged(delivery))).status_code
            trip.after_forgery = (await self.http.get(f"{jobs}/{job_id}")).json()["status"]
            trip.taken.append(await self._send(delivery))
            assert trip.taken[0].status_code == 200, trip.taken[0].text
            await self._outcome(job_id)
            trip.taken.append(await self._send(delivery))
        await self._outcome(job_id)
        trip.job = (await self.http.get(f"{jobs}/{job_id}")).json()
        trip.outcomes = self.outcomes[job_id]
        return trip

    async def _send(self, delivery: Delivery) -> httpx.Response:
        return await self.http.post(delivery.url, content=delivery.body, headers=dict(delivery.headers))

    async def _outcome(self, job_id: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while job_id not in self.outcomes:
                await asyncio.sleep(0.1)


@dataclass(kw_only=True)
class Trips:
    """What came of all jobs: a trip, or what went wrong on it."""

    done: Mapping[str, Trip | BaseException]
    not_understood: Sequence[str]

    def of(self, name: str) -> Trip:
        found = self.done[name]
        if isinstance(found, BaseException):
            raise found
        return found


async def travel(directory: Path) -> Trips:
    authority = trustme.CA()
    (directory / "authority.pem").write_bytes(authority.cert_pem.bytes())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*host.NAMES).configure_cert(tls)
    place, certificate = paypal_certificate()
    vendor = FakeVendor(
        samples=SAMPLES,
        keys={
            "rest.fal.ai/.well-known/jwks.json": fal_keys,
            "production.plaid.com/webhook_verification_key/get": plaid_key,
            place: lambda _: certificate,
        },
    )
    async with vendor.serving(tls) as (port, tls_port):
        settings = directory / "settings.json"
        more = {host.PORT: str(tls_port), host.AUTHORITY: str(directory / "authority.pem")}
        settings.write_text(json.dumps({"Values": {**settings_for(port), **more}}))
        parts = ("servicebus", "functions")
        with running(directory, Ports.free(), settings, parts) as stack:
            return await go_all(stack, vendor)


def settings_for(port: int) -> dict[str, str]:
    example = json.loads((ROOT / "local.settings.json.example").read_text("utf-8"))["Values"]
    values = {name: text for name, text in example.items() if not name.startswith("PROVIDER")}
    values["PROVIDERS"] = ",".join(dict.fromkeys(sample.provider for sample in SAMPLES))
    for sample in SAMPLES:
        given = dict(sample.settings)
        for secret in ("API_KEY", "SIGNING_SECRET"):
            if secret in given:
                values[variable(f"{sample.provider}-{secret}")] = given.pop(secret)
        url = "START_URL" if "START_URL" in given else "API_URL"
        given[url] = f"http://{host.HERE}:{port}/{sample.provider}{given.get(url, '')}"
        values |= {f"PROVIDER_{sample.provider.upper()}__{name}": text for name, text in given.items()}
    return values


async def go_all(stack: Stack, vendor: FakeVendor) -> Trips:
    declared = providers(provider_names(stack.settings), provider_options(stack.settings))
    hookbus = build(stack.settings)
    accounts = {
        name: await hookbus.address(name) if one.callback_address is CallbackAddress.ACCOUNT else ""
        for name, one in declared.items()
        if one.completion is Completion.WEBHOOK
    }
    async with httpx.AsyncClient(timeout=30) as http:
        traveller = Traveller(stack=stack, vendor=vendor, http=http, providers=declared, accounts=accounts)
        listening = asyncio.create_task(traveller.listen())
        found = await asyncio.gather(
            *(traveller.go(sample, end) for sample, end in ENDS.values()), return_exceptions=True
        )
        await asyncio.sleep(QUIET)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    done = dict(zip(ENDS, found, strict=True))
    return Trips(done=done, not_understood=vendor.not_understood)


@pytest.fixture(scope="module")
def trips(tmp_path_factory: pytest.TempPathFactory) -> Trips:
    """All jobs, taken through one stack at the same time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(MODULES, "functions", "tests.stack.host")
        return asyncio.run(travel(tmp_path_factory.mktemp("every_provider")))


each_end = pytest.mark.parametrize("name", ENDS)
each_callback = pytest.mark.parametrize("name", [name for name, (_, end) in ENDS.items() if end.callback])


def test_every_operation_of_every_provider_makes_the_trip() -> None:
    declared = {f"{name}.{operation}" for name in BUILT_IN for operation in built_in(name).operations}
    made = {sample.name for sample in SAMPLES}
    assert made == {*declared, "standard.job"}, (
        f"add a row to SAMPLES for each of {sorted(declared - made)}, as in docs/adding-a-provider.md, step 4"
    )


def test_every_end_that_a_vendor_has_a_callback_for_makes_the_trip() -> None:
    words = ("succeeded", "failed", "canceled")
    told = {path.relative_to(VECTORS) for word in words for path in VECTORS.glob(f"*/callback.*{word}.*")}
    made = {Path(sample.provider) / end.callback for sample, end in ENDS.values() if end.callback}
    assert told <= made, (
        f"add to their rows in SAMPLES an end for each of {sorted(map(str, told - made))}, "
        "as in docs/adding-a-provider.md, step 4"
    )


@each_end
def test_a_job_is_accepted_or_refused_and_its_one_outcome_says_how_it_ended(trips: Trips, name: str) -> None:
    trip, (sample, end) = trips.of(name), ENDS[name]
    word, answer, job_id = name.rpartition("-")[2], trip.started.json(), trip.job["id"]
    if end.refusal and end.failure:
        assert (answer["job_id"], answer["detail"]) == (job_id, end.failure[1])
    else:
        assert (answer["id"], answer["status"]) == (job_id, "running" if end.callback or end.poll else word)
    [(message_id, event)] = trip.outcomes
    assert message_id == f"outcome-{job_id}"
    assert event.type == f"job.{word}"
    told = {one: event.data[one] for one in ("job_id", "provider", "operation", "status", "external_id")}
    assert told == {
        "job_id": job_id,
        "provider": sample.provider,
        "operation": sample.operation,
        "status": word,
        "external_id": trip.begun.external_id,
    }
    if end.failure:
        assert event.data["failure"] == dict(zip(("code", "message"), end.failure, strict=True))
        assert event.data["result"] is None
    else:
        wanted = trip.begun.renamed(end.result)
        assert {one: event.data["result"].get(one) for one in wanted} == wanted
        assert event.data["failure"] is None


@each_end
def test_the_job_s_row_says_the_same_as_its_outcome(trips: Trips, name: str) -> None:
    trip = trips.of(name)
    [(_, event)] = trip.outcomes
    shown = {"status": "status", "external_id": "external_id", "result": "result", "failure": "error"}
    assert {one: event.data[one] for one in shown} == {one: trip.job[there] for one, there in shown.items()}


@each_callback
def test_a_callback_is_thanked_for_as_its_vendor_wants_it_each_time_that_it_comes(
    trips: Trips, name: str
) -> None:
    trip = trips.of(name)
    assert [(one.status_code, one.content) for one in trip.taken] == [(200, ENDS[name][0].thanks)] * 2


@each_callback
def test_a_forged_callback_is_refused_and_moves_nothing(trips: Trips, name: str) -> None:
    trip = trips.of(name)
    assert (trip.forged, trip.after_forgery) == (401, "running")


def test_the_vendors_understood_all_that_they_were_asked(trips: Trips) -> None:
    assert trips.not_understood == []
