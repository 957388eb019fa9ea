"""Senders whose signature is a digest in a header, made here with hashlib."""

import base64
import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tests.vectors.drafts import Draft, Encoding, Judge, Request, Sender, Unit, written

Content = Callable[[Request, str], bytes]
Key = Callable[[str], bytes]


def text_key(secret: str) -> bytes:
    return secret.encode()


def marked_key(secret: str) -> bytes:
    """Read `whsec_` and base64."""
    return base64.b64decode(secret.removeprefix("whsec_"))


def nfkd_key(secret: str) -> bytes:
    return unicodedata.normalize("NFKD", secret).encode()


def encoded(digest: bytes, encoding: Encoding) -> str:
    match encoding:
        case "hex":
            return digest.hex()
        case "base64":
            return base64.b64encode(digest).decode()
        case "base64url":
            return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def body_only(request: Request, _: str) -> bytes:
    return request.body


SPELLING = "it compares texts; the digest is the same"
SPELT: Mapping[Encoding, Mapping[str, str]] = {
    "hex": {"an_upper_case_digest": SPELLING},
    "base64": {"an_unpadded_digest": SPELLING, "a_digest_in_the_other_alphabet": SPELLING},
    "base64url": {"a_digest_in_the_other_alphabet": SPELLING},
}


def mac_sender(
    scheme: str,
    judge: Judge,
    *,
    secrets: tuple[str, str, str],
    header: str,
    content: Content = body_only,
    each: str = "{digest}",
    value: str = "{all}",
    joint: str = "",
    encoding: Encoding = "hex",
    digest: str = "sha256",
    key: Key = text_key,
    plain_hash: bool = False,
    headers: Mapping[str, str] | None = None,
    prepare: Callable[[Request], Request] = lambda request: request,
    timestamp_header: str | None = None,
    unit: Unit = "s",
    wider: Mapping[str, str] | None = None,
    **rest: Any,
) -> Sender:
    """Describe a sender; `each` writes a digest, `value` the header with `{all}` of them and a `{ts}`.

    `headers` go along with each request, and `prepare` changes it, before it is signed.
    """

    def mac(secret: str | bytes, message: bytes, name: str) -> bytes:
        shared = secret if isinstance(secret, bytes) else key(secret)
        if plain_hash:
            return hashlib.new(name, shared + message).digest()
        return hmac.new(shared, message, name).digest()

    def sign(draft: Draft) -> Request:
        ts = draft.timestamp or written(draft.at, unit)
        unsigned = draft.request
        for name, text in (headers or {}).items():
            unsigned = unsigned if unsigned.has(name) else unsigned.set(name, text)
        if timestamp_header:
            unsigned = unsigned.set(timestamp_header, ts)
        unsigned = prepare(unsigned)
        message = content(unsigned, ts)
        own: list[str | bytes] = [secrets[place] for place in draft.signers]
        keys = own if draft.key is None else [draft.key]
        digests = [mac(one, message, draft.digest or digest) for one in keys]
        texts = [each.format(digest=encoded(one, encoding)) for one in digests]
        return unsigned.set(header, value.format(ts=ts, all=joint.join(texts)))

    sender = Sender(
        scheme=scheme,
        judge=judge,
        secrets=secrets,
        sign=sign,
        signature_header=header,
        timestamp_header=timestamp_header,
        encoding=encoding,
        unit=unit,
        several=bool(joint),
        wider={**SPELT[encoding], **(wider or {})},
        **rest,
    )
    plain = Draft(name="", verdict="wrong_signature", request=Request(body=sender.body))
    other = "sha512" if digest == "sha256" else "sha256"
    more = [
        replace(plain, name="signed_with_the_empty_secret", key=b""),
        replace(plain, name=f"a_digest_by_{other}", digest=other),
    ]
    return replace(sender, more=(*more, *sender.more))
