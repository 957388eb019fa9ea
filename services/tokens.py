"""The token in a callback address: a capability made by us and checked without a lookup.

    base64url( version | expiry | provider | job id | traceparent ) "." base64url( HMAC-SHA256 )

Whoever holds a job's address may speak for this job and no other, until the expiry. An account token has
neither job nor expiry: it says that the address was given to this provider, and is good as long as the key.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.errors import NotVerified, OperatorError, Reason
from services.models import is_id, is_name

KEY_NAME = "callback-token-key"
VERSION = "1"
MAX_LENGTH = 512
MIN_KEY_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a callback address says about whom it is for: a job, or a provider's account."""

    provider: str
    job_id: str | None = None
    expires_at: datetime | None = None
    traceparent: str | None = None

    def __post_init__(self) -> None:
        if not is_name(self.provider) or not (self.job_id is None or is_id(self.job_id)):
            raise ValueError("a token names a provider, and a job or none")
        if (self.job_id is None) != (self.expires_at is None):
            raise ValueError("a job's token expires, an account's does not")


def mint(token: Token, key: str) -> str:
    """Write a token as one path segment; raises OperatorError for a key under 32 characters."""
    expiry = str(int(token.expires_at.timestamp())) if token.expires_at else ""
    fields = (VERSION, expiry, token.provider, token.job_id or "", token.traceparent or "")
    text = "|".join(fields).encode()
    return f"{_encode(text)}.{_encode(_digest(text, key))}"


def read(text: str, keys: Sequence[str], *, provider: str, now: datetime) -> Token:
    """Read a token that one of these keys made for this provider; raises NotVerified for any other text."""
    try:
        payload, digest = (_decode(part) for part in text[: MAX_LENGTH + 1].split("."))
    except ValueError:
        raise NotVerified(Reason.WRONG_TOKEN) from None
    if len(text) > MAX_LENGTH or not any(hmac.compare_digest(_digest(payload, key), digest) for key in keys):
        raise NotVerified(Reason.WRONG_TOKEN)
    try:
        version, expiry, made_for, job_id, traceparent = payload.decode().split("|")
        token = Token(
            provider=made_for,
            job_id=job_id or None,
            expires_at=datetime.fromtimestamp(int(expiry), UTC) if expiry else None,
            traceparent=traceparent or None,
        )
    except ValueError:
        raise NotVerified(Reason.WRONG_TOKEN) from None
    if version != VERSION or made_for != provider:
        raise NotVerified(Reason.WRONG_TOKEN)
    if token.expires_at and now >= token.expires_at:
        raise NotVerified(Reason.EXPIRED_TOKEN)
    return token


def _digest(payload: bytes, key: str) -> bytes:
    if len(key) < MIN_KEY_LENGTH:
        raise OperatorError("secret callback-token-key is shorter than 32 characters: set a longer one")
    return hmac.digest(key.encode(), payload, hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(data) != text:  # one spelling only: no second address for the same capability
        raise binascii.Error
    return data
