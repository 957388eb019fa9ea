"""Senders that sign with a private key; the keys are made of fixed numbers, and sign nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding as KeyEncoding
from cryptography.hazmat.primitives.serialization import PublicFormat

from tests.vectors.drafts import Draft, Judge, Question, Request, Sender, written
from tests.vectors.judges import Documentation, Library, NodeLibrary
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
    headers: Mapping[str, str] | None = None,
    **rest: Any,
) -> Sender:
    """Describe a sender; `make` signs with the key at a place, and `headers` go along with each request."""

    def sign(draft: Draft) -> Request:
        ts = draft.timestamp or written(draft.at, "s")
        unsigned = draft.request.set(timestamp_header, ts)
        for name, text in (headers or {}).items():
            unsigned = unsigned if unsigned.has(name) else unsigned.set(name, text)
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


# fal: the keys are in a set at a fixed address

FAL = {
    "id": "X-Fal-Webhook-Request-Id",
    "user": "X-Fal-Webhook-User-Id",
    "time": "X-Fal-Webhook-Timestamp",
    "signature": "X-Fal-Webhook-Signature",
}


def key_set(*keys: bytes, **other: Any) -> bytes:
    """Write a JSON Web Key Set of Ed25519 keys."""
    listed = [
        {"kty": "OKP", "crv": "Ed25519", "x": encoded(key, "base64url"), "kid": f"key_{number}", **other}
        for number, key in enumerate(keys)
    ]
    return json.dumps({"keys": listed}).encode()


def fal_content(request: Request, ts: str) -> bytes:
    digest = hashlib.sha256(request.body).hexdigest()
    return f"{request.header(FAL['id'])}\n{request.header(FAL['user'])}\n{ts}\n{digest}".encode()


def fal_check(question: Question, _: str) -> bool:
    """Verify with libsodium, as the documented sample does."""
    request, nacl = question.request, import_module("nacl.signing")
    names = [name for name, _ in request.headers]
    if any(names.count(name) != 1 for name in FAL.values()):
        return False
    ts = request.header(FAL["time"])
    if not re.fullmatch("[0-9]{1,16}", ts) or abs(question.now - int(ts)) > 300:
        return False
    try:
        signature = bytes.fromhex(request.header(FAL["signature"]))
        listed = [one for document in question.keys for one in json.loads(document)["keys"]]
    except (ValueError, KeyError, TypeError):
        return False
    for one in listed:
        try:
            key = nacl.VerifyKey(base64.urlsafe_b64decode(one["x"] + "=="))
            key.verify(fal_content(request, ts), signature)
        except (ValueError, KeyError, import_module("nacl.exceptions").CryptoError):
            continue
        return True
    return False


def fal_drafts() -> tuple[Draft, ...]:
    def other(which: str, value: str) -> Draft:
        return Draft(
            name=f"another_{which}",
            verdict="wrong_signature",
            change=lambda request: request.set(FAL[which], value),
        )

    def without(which: str) -> Draft:
        return Draft(
            name=f"no_{which}", verdict="no_signature", change=lambda request: request.without(FAL[which])
        )

    def moved(request: Request) -> Request:
        """Move the line end between two headers: what is signed stays the same."""
        name = request.header(FAL["id"])
        return request.set(FAL["id"], name[:8]).set(FAL["user"], f"{name[8:]}\n{request.header(FAL['user'])}")

    ours, another = ED25519_PUBLIC[0], ED25519_PUBLIC[2]
    return (
        other("id", "024ca5b1-45d3-4afd-883e-ad3abe2a1c4e"),
        other("user", "usr_2"),
        without("id"),
        without("user"),
        Draft(name="a_line_end_moved_between_the_headers", verdict="malformed_signature", change=moved),
        Draft(
            name="the_id_twice",
            verdict="wrong_signature",
            change=lambda request: request.add(FAL["id"], request.header(FAL["id"])),
        ),
        Draft(name="no_keys", verdict="unknown_key", keys=()),
        Draft(name="an_empty_key_set", verdict="unknown_key", keys=(key_set(),)),
        Draft(name="a_document_that_is_no_key_set", verdict="unknown_key", keys=(b"<html></html>",)),
        Draft(name="another_key", verdict="wrong_signature", keys=(key_set(another),)),
        Draft(name="ours_behind_another_key", verdict="verified", keys=(key_set(another, ours),)),
        Draft(
            name="a_key_of_another_kind",
            verdict="unknown_key",
            keys=(key_set(b"\1" * 31),),
        ),
    )


KEYS: list[Sender] = [
    key_sender(
        "fal",
        Documentation(
            address="https://docs.fal.ai/model-apis/model-endpoints/webhooks#verifying-your-webhook",
            check=fal_check,
        ),
        secrets=("", "", ""),
        keys=(key_set(ED25519_PUBLIC[0]),),
        make=sign_ed25519,
        header=FAL["signature"],
        headers={FAL["id"]: "024ca5b1-45d3-4afd-883e-ad3abe2a1c4d", FAL["user"]: "usr_1"},
        timestamp_header=FAL["time"],
        content=fal_content,
        encoding="hex",
        not_utf_8=True,
        not_asked=frozenset(
            {"signed_with_the_newer_of_two", "signed_with_the_older_of_two", "signed_with_a_retired_secret"}
        ),
        verdicts={"a_truncated_digest": "wrong_signature", "an_extended_digest": "wrong_signature"},
        more=fal_drafts(),
    ),
    key_sender(
        "discord",
        Library(package="discord-interactions", check=discord),
        second=NodeLibrary(package="discord-interactions", scheme="discord"),
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
        second=NodeLibrary(package="telnyx", scheme="telnyx"),
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
    replace(
        key_sender(
            "sendgrid",
            Library(package="sendgrid", check=sendgrid),
            second=NodeLibrary(package="@sendgrid/eventwebhook", scheme="sendgrid"),
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
                "a_digest_beyond_ascii": "the library for Node passes over what is not base64",
                "a_digit_moved_from_the_timestamp_to_the_body": "no age is asked, nothing divides the two",
            },
            wider=SPELT["base64"],
            more=(
                moved_into_body(SENDGRID_TIMESTAMP),
                Draft(
                    name="the_other_s_of_the_same_signature",
                    verdict="verified",
                    change=in_header(SENDGRID, _other_s),
                ),
                Draft(
                    name="a_signature_as_r_and_s", verdict="wrong_signature", change=in_header(SENDGRID, _raw)
                ),
            ),
        ),
        past=86_700_000,
    ),
]
