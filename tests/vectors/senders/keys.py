"""Senders that sign with a private key; the keys are made of fixed numbers, and sign nothing else."""

import base64
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding as KeyEncoding
from cryptography.hazmat.primitives.serialization import PublicFormat

from tests.vectors.drafts import Draft, Judge, Request, Sender, written
from tests.vectors.judges import Library
from tests.vectors.senders.libraries import NO_AGE_LIMIT, header, in_header
from tests.vectors.senders.macs import SPELT, Content, encoded

ED25519 = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (7, 8, 9)]
ED25519_PUBLIC = [key.public_key().public_bytes_raw() for key in ED25519]
P256 = [derive_private_key(number << 200, SECP256R1()) for number in (1_000_003, 1_000_033, 1_000_037)]
P256_PUBLIC = [
    base64.b64encode(
        key.public_key().public_bytes(KeyEncoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    for key in P256
]
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def sign_ed25519(place: int, content: bytes) -> bytes:
    return ED25519[place].sign(content)


def sign_p256(place: int, content: bytes) -> bytes:
    return P256[place].sign(content, ECDSA(hashes.SHA256(), deterministic_signing=True))


def key_sender(
    scheme: str,
    judge: Judge,
    *,
    secrets: tuple[str, str, str],
    make: Callable[[int, bytes], bytes],
    header: str,
    timestamp_header: str,
    content: Content,
    encoding: Any,
    **rest: Any,
) -> Sender:
    """Describe a sender; `make` signs with the key at a place."""

    def sign(draft: Draft) -> Request:
        ts = draft.timestamp or written(draft.at, "s")
        unsigned = draft.request.set(timestamp_header, ts)
        return unsigned.set(header, encoded(make(draft.signers[0], content(unsigned, ts)), encoding))

    return Sender(
        scheme=scheme,
        judge=judge,
        secrets=secrets,
        sign=sign,
        signature_header=header,
        timestamp_header=timestamp_header,
        encoding=encoding,
        past=300_000,
        future=300_000,
        digest_in_verdicts="malformed_signature",
        **rest,
    )


def discord(request: Request, secret: str) -> Any:
    verify = import_module("discord_interactions").verify_key
    signature, timestamp = header(request, SIGNATURE), header(request, "X-Signature-Timestamp")
    return verify(request.body, signature, timestamp, secret)


SIGNATURE = "X-Signature-Ed25519"


def telnyx(request: Request, secret: str) -> Any:
    verify = import_module("telnyx.lib.webhook_verification").verify_webhook_signature
    return verify(request.body, request.joined, secret)


def sendgrid(request: Request, secret: str) -> Any:
    return (
        import_module("sendgrid.helpers.eventwebhook")
        .EventWebhook(secret)
        .verify_signature(request.text, header(request, SENDGRID), header(request, SENDGRID_TIMESTAMP))
    )


SENDGRID = "X-Twilio-Email-Event-Webhook-Signature"
SENDGRID_TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"


def moved_into_body(name: str) -> Draft:
    """Move the timestamp's last digit to where the body begins: the bytes that are signed stay the same."""

    def change(request: Request) -> Request:
        ts = request.header(name)
        return replace(request.set(name, ts[:-1]), body=ts[-1:].encode() + request.body)

    return Draft(name="a_digit_moved_from_the_timestamp_to_the_body", verdict="too_old", change=change)


def _other_s(text: str) -> str:
    """Write the other signature that belongs to the same content: anybody can."""
    r, s = decode_dss_signature(base64.b64decode(text))
    return base64.b64encode(encode_dss_signature(r, P256_ORDER - s)).decode()


def _raw(text: str) -> str:
    r, s = decode_dss_signature(base64.b64decode(text))
    return base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()


LAX_BASE64 = {
    "an_extended_digest": "the library's base64 reader stops at the first =",
    "the_signature_header_twice": "the library's base64 reader stops at the first =",
}

KEYS: list[Sender] = [
    key_sender(
        "discord",
        Library(package="discord-interactions", check=discord),
        secrets=(ED25519_PUBLIC[0].hex(), ED25519_PUBLIC[1].hex(), ED25519_PUBLIC[2].hex()),
        make=sign_ed25519,
        header=SIGNATURE,
        timestamp_header="X-Signature-Timestamp",
        content=lambda request, ts: ts.encode() + request.body,
        encoding="hex",
        not_utf_8=True,
        verdicts={"a_truncated_digest": "wrong_signature", "an_extended_digest": "wrong_signature"},
        stricter={
            **NO_AGE_LIMIT,
            "a_digit_moved_from_the_timestamp_to_the_body": "no age is asked, and nothing divides the two",
        },
        more=(moved_into_body("X-Signature-Timestamp"),),
    ),
    key_sender(
        "telnyx",
        Library(package="telnyx", check=telnyx),
        secrets=(
            base64.b64encode(ED25519_PUBLIC[0]).decode(),
            base64.b64encode(ED25519_PUBLIC[1]).decode(),
            base64.b64encode(ED25519_PUBLIC[2]).decode(),
        ),
        make=sign_ed25519,
        header="Telnyx-Signature-Ed25519",
        timestamp_header="Telnyx-Timestamp",
        content=lambda request, ts: f"{ts}|".encode() + request.body,
        encoding="base64",
        verdicts={"a_truncated_digest": "wrong_signature"},
        stricter=LAX_BASE64,
        wider=SPELT["base64"],
    ),
    key_sender(
        "sendgrid",
        Library(package="sendgrid", check=sendgrid),
        secrets=(P256_PUBLIC[0], P256_PUBLIC[1], P256_PUBLIC[2]),
        make=sign_p256,
        header=SENDGRID,
        timestamp_header=SENDGRID_TIMESTAMP,
        content=lambda request, ts: ts.encode() + request.body,
        encoding="base64",
        body=b'[{"sg_event_id":"evt_1","event":"delivered"}]\r\n',
        verdicts={"a_truncated_digest": "wrong_signature"},
        stricter={
            **NO_AGE_LIMIT,
            **LAX_BASE64,
            "a_digit_moved_from_the_timestamp_to_the_body": "no age is asked, and nothing divides the two",
        },
        wider=SPELT["base64"],
        more=(
            moved_into_body(SENDGRID_TIMESTAMP),
            Draft(
                name="the_other_s_of_the_same_signature",
                verdict="verified",
                change=in_header(SENDGRID, _other_s),
            ),
            Draft(name="a_signature_as_r_and_s", verdict="wrong_signature", change=in_header(SENDGRID, _raw)),
        ),
    ),
]
