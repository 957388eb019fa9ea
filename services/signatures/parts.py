"""What all schemes share: how secrets, digests, timestamps and headers are read, and compared.

Digests are compared as text in one spelling and in constant time; headers that enter the signed content
must have one reading only. Repeated headers arrive joined by a comma (the Functions host does so), and so
read as one value that is malformed or was never signed.
"""

import base64
import binascii
import hmac
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from services.errors import NotVerified, OperatorError, Reason
from services.models import Delivery

MAX_HEADER_LENGTH = 8192
_DIGITS = re.compile(r"[0-9]{1,16}")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_PLAIN_BASE64 = str.maketrans("-_", "+/")


class Encoding(StrEnum):
    """How a digest is written."""

    HEX = "hex"
    BASE64 = "base64"
    BASE64_URL = "base64url"


class KeyForm(StrEnum):
    """How a secret is written: as the key's own text, as base64 that may start with `whsec_`, as hex, …

    MARKED_BASE64 is base64 if it starts with `whsec_`, and the key's own text if it does not.
    """

    TEXT = "text"
    BASE64 = "base64"
    MARKED_BASE64 = "marked"
    HEX = "hex"
    NFKD = "nfkd"


class Unit(StrEnum):
    """How a timestamp is written: seconds or milliseconds since 1970 in digits, or an RFC 3339 time."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    RFC_3339 = "rfc3339"


def read_key(secret: str, form: KeyForm) -> bytes | None:
    """Read a secret; nothing if it is empty, has blanks around it, or is not written in its form."""
    if secret != secret.strip():
        return None
    if form is KeyForm.MARKED_BASE64:
        form = KeyForm.BASE64 if secret.startswith("whsec_") else KeyForm.TEXT
    try:
        match form:
            case KeyForm.TEXT:
                key = secret.encode()
            case KeyForm.NFKD:
                key = unicodedata.normalize("NFKD", secret).encode()
            case KeyForm.HEX:
                key = binascii.a2b_hex(secret)
            case KeyForm.BASE64:
                text = secret.removeprefix("whsec_").rstrip("=")
                key = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        return None
    return key or None


def usable_keys(secrets: Sequence[str], form: KeyForm) -> list[bytes]:
    """Read the secrets; raises OperatorError if none can be used."""
    keys = [key for secret in secrets if (key := read_key(secret, form))]
    if not keys:
        raise OperatorError("no signing secret can be used: set one, as the provider shows it")
    return keys


def not_signed(keys: Sequence[bytes], secrets: Sequence[str]) -> Exception:
    """Say that no key fits: WRONG_SIGNATURE, or OperatorError if some secret could not be read.

    A secret spoilt in the vault must neither lose what another one verifies, nor make what it might have
    verified look forged.
    """
    if len(keys) < len(secrets):
        return OperatorError("a signing secret cannot be used: set it as the provider shows it")
    return NotVerified(Reason.WRONG_SIGNATURE)


def header(delivery: Delivery, name: str) -> str:
    """Return a header's value: "" if it is missing; raises NotVerified if it is over 8 KiB.

    Blanks around it are no part of it, https://www.rfc-editor.org/rfc/rfc9110#section-5.5.
    """
    value = delivery.headers.get(name, "")
    if len(value) > MAX_HEADER_LENGTH:
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    return value.strip(" \t")


def write_digest(digest: bytes, encoding: Encoding) -> str:
    """Write a digest as most senders do."""
    match encoding:
        case Encoding.HEX:
            return digest.hex()
        case Encoding.BASE64:
            return base64.b64encode(digest).decode()
        case Encoding.BASE64_URL:
            return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def same_digest(digest: bytes, texts: Iterable[str], encoding: Encoding) -> bool:
    """Compare a digest with texts that should be it, in constant time.

    Letter case of hex, padding and alphabet of base64 do not count.
    """
    expected = spelling(write_digest(digest, encoding), encoding)
    return any(hmac.compare_digest(expected, spelling(text, encoding)) for text in texts)


def spelling(text: str, encoding: Encoding) -> bytes:
    """Bring a digest's text to the one spelling that is compared: case, padding, url-safe base64."""
    if encoding is Encoding.HEX:
        text = text.lower()
    else:
        if len(text) % 4 == 0:
            text = text.removesuffix("=").removesuffix("=")
        text = text.translate(_PLAIN_BASE64)
    return text.encode(errors="replace")


def read_digest(text: str, encoding: Encoding) -> bytes | None:
    """Read bytes as `write_digest` writes them; None for what is not written as exactly those bytes are."""
    plain = spelling(text, encoding)
    try:
        if encoding is Encoding.HEX:
            found = binascii.a2b_hex(plain)
        else:
            found = binascii.a2b_base64(plain + b"=" * (-len(plain) % 4))
    except ValueError:
        return None
    return found if spelling(write_digest(found, encoding), encoding) == plain else None


def read_time(text: str, unit: Unit) -> datetime:
    """Read a timestamp; raises NotVerified if it is missing or not written as its unit says."""
    if not text:
        raise NotVerified(Reason.NO_TIMESTAMP)
    form = _RFC_3339 if unit is Unit.RFC_3339 else _DIGITS
    if not form.fullmatch(text):
        raise NotVerified(Reason.MALFORMED_TIMESTAMP)
    try:
        match unit:
            case Unit.SECONDS:
                return datetime.fromtimestamp(int(text), UTC)
            case Unit.MILLISECONDS:
                seconds, thousandths = divmod(int(text), 1000)
                return datetime.fromtimestamp(seconds, UTC) + timedelta(milliseconds=thousandths)
            case Unit.RFC_3339:
                return datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise NotVerified(Reason.MALFORMED_TIMESTAMP) from None


def write_time(moment: datetime, unit: Unit) -> str:
    """Write a timestamp as a sender would."""
    match unit:
        case Unit.SECONDS:
            return str(int(moment.timestamp()))
        case Unit.MILLISECONDS:
            return str(int(moment.timestamp() * 1000))
        case Unit.RFC_3339:
            return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_age(sent_at: datetime, now: datetime, *, past: timedelta, future: timedelta) -> None:
    """Raise NotVerified if a time is further in the past or the future than this; the edges are inside.

    Ask only of what is truly signed, so that TOO_OLD and TOO_NEW are said of nothing else.
    """
    age = now - sent_at
    if age > past:
        raise NotVerified(Reason.TOO_OLD, age=age)
    if -age > future:
        raise NotVerified(Reason.TOO_NEW, age=age)
