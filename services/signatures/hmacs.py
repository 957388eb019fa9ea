"""HMAC signatures: one declared type, whose values in the catalogue are the schemes of many senders.

The signature is checked before the age, so that TOO_OLD and TOO_NEW are said only of what was truly signed.
Digests are compared as text in one spelling and in constant time; headers that enter the signed content
must have one reading only. Repeated headers arrive joined by a comma (the Functions host does so), and so
read as one value that is malformed or was never signed.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from services.errors import NotVerified, OperatorError, Reason
from services.models import Delivery

MAX_HEADER_LENGTH = 8192
_TIMESTAMP = re.compile(r"[0-9]{1,16}", re.ASCII)
# A message id with a full stop in it could be split from its timestamp in two places:
# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme
_ID = re.compile(r"[!-\-/-~]{1,256}", re.ASCII)


class Encoding(StrEnum):
    """How a digest is written."""

    HEX = "hex"
    BASE64 = "base64"


class KeyForm(StrEnum):
    """How a secret is written: as the key's own text, or as base64 that may start with `whsec_`."""

    TEXT = "text"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a signature header's value says, before anything of it is believed."""

    digests: tuple[str, ...]
    timestamps: tuple[str, ...] = ()


class Form(Protocol):
    """How a signature header's value is written."""

    def read(self, value: str) -> Claim:
        """Take a value apart; items of other versions are passed over."""

    def write(self, timestamp: str, digest: str) -> str:
        """Put a value together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """`t=1700000000,v1=5257a8…,v1=…`: the timestamp, and signatures under the version's name."""

    timestamp: str
    version: str

    def read(self, value: str) -> Claim:
        pairs = [item.strip(" ").partition("=") for item in value.split(",")]
        return Claim(
            digests=tuple(text for name, _, text in pairs if name == self.version),
            timestamps=tuple(text for name, _, text in pairs if name == self.timestamp),
        )

    def write(self, timestamp: str, digest: str) -> str:
        return f"{self.timestamp}={timestamp},{self.version}={digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """`v1,K5oZfz… v1a,hnO3f9…`: signatures divided by blanks, each behind its version."""

    version: str

    def read(self, value: str) -> Claim:
        items = [item.partition(",") for item in value.split(" ")]
        if any("," in text for _, _, text in items):  # the header came twice, and was joined
            return Claim(digests=())
        return Claim(digests=tuple(text for version, _, text in items if version == self.version))

    def write(self, timestamp: str, digest: str) -> str:  # noqa: ARG002 - the timestamp has its own header
        return f"{self.version},{digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hmac:
    """How one family of senders signs with a shared secret.

    `template` is the signed content, with `%(body)b`, `%(timestamp)b` and `%(id)b` in it; timestamps are
    seconds since 1970. Without `timestamp_header` the timestamp stands in the signature header. `past` and
    `future` are the ages that are still accepted, edges included.
    """

    signature_header: str
    form: Form
    template: bytes
    encoding: Encoding
    key_form: KeyForm
    timestamp_header: str | None = None
    id_header: str | None = None
    digest: str = "sha256"
    past: timedelta = timedelta(minutes=5)
    future: timedelta = timedelta(minutes=5)

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:
        """Return if one of the secrets signed this delivery within the tolerance; else raise NotVerified.

        Raises OperatorError if no secret can be used at all, and also if some cannot and the others do not
        fit: a secret spoilt in the vault must neither lose what another one verifies, nor make what it
        might have verified look forged.
        """
        keys = [self._key(secret) for secret in secrets]
        usable = [key for key in keys if key]
        if not usable:
            raise OperatorError("no signing secret can be used: set one, as the provider shows it")
        claim = self._claim(delivery)
        timestamp = self._timestamp(delivery, claim)
        content = self._content(delivery, timestamp)
        if not any(self._signed(key, content, claim) for key in usable):
            if len(usable) < len(keys):
                raise OperatorError("a signing secret cannot be used: set it as the provider shows it")
            raise NotVerified(Reason.WRONG_SIGNATURE)
        age = now.timestamp() - int(timestamp)
        if age > self.past.total_seconds():
            raise NotVerified(Reason.TOO_OLD)
        if -age > self.future.total_seconds():
            raise NotVerified(Reason.TOO_NEW)

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> dict[str, str]:
        """Return the headers with which this delivery would verify.

        Raises OperatorError for a secret that cannot be used, NotVerified if the delivery lacks the id header
        that is signed along.
        """
        key = self._key(secret)
        if not key:
            raise OperatorError("the signing secret cannot be used: set it as the provider shows it")
        timestamp = str(int(now.timestamp()))
        digest = self._write(key, self._content(delivery, timestamp))
        headers = {self.signature_header: self.form.write(timestamp, digest)}
        if self.timestamp_header:
            headers[self.timestamp_header] = timestamp
        if self.id_header:
            headers[self.id_header] = delivery.headers[self.id_header]
        return headers

    def _claim(self, delivery: Delivery) -> Claim:
        value = delivery.headers.get(self.signature_header)
        if not value:
            raise NotVerified(Reason.NO_SIGNATURE)
        if len(value) > MAX_HEADER_LENGTH:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        claim = self.form.read(value)
        if not claim.digests:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        return claim

    def _timestamp(self, delivery: Delivery, claim: Claim) -> str:
        found = claim.timestamps
        if self.timestamp_header:
            found = (delivery.headers.get(self.timestamp_header, ""),)
        if not any(found):
            raise NotVerified(Reason.NO_TIMESTAMP)
        if len(found) != 1 or not _TIMESTAMP.fullmatch(found[0]):
            raise NotVerified(Reason.MALFORMED_TIMESTAMP)
        return found[0]

    def _content(self, delivery: Delivery, timestamp: str) -> bytes:
        values = {b"body": delivery.body, b"timestamp": timestamp.encode()}
        if self.id_header:
            message_id = delivery.headers.get(self.id_header)
            if not message_id:
                raise NotVerified(Reason.NO_SIGNATURE)
            if not _ID.fullmatch(message_id):
                raise NotVerified(Reason.MALFORMED_SIGNATURE)
            values[b"id"] = message_id.encode()
        return self.template % values

    def _signed(self, key: bytes, content: bytes, claim: Claim) -> bool:
        expected = self._spelling(self._write(key, content))
        return any(hmac.compare_digest(expected, self._spelling(text)) for text in claim.digests)

    def _write(self, key: bytes, content: bytes) -> str:
        digest = hmac.digest(key, content, self.digest)
        return digest.hex() if self.encoding is Encoding.HEX else base64.b64encode(digest).decode()

    def _spelling(self, text: str) -> bytes:
        """Bring a digest's text to the one spelling that is compared: case, padding, url-safe base64."""
        if self.encoding is Encoding.HEX:
            text = text.lower()
        else:
            text = text.removesuffix("=").translate(_PLAIN_BASE64)
        return text.encode(errors="replace")

    def _key(self, secret: str) -> bytes | None:
        """Read a secret; nothing if it is empty, has blanks around it, or is not written in its form."""
        if secret != secret.strip():
            return None
        try:
            if self.key_form is KeyForm.TEXT:
                return secret.encode()
            text = secret.removeprefix("whsec_").rstrip("=")
            return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
        except ValueError:
            return None


_PLAIN_BASE64 = str.maketrans("-_", "+/")
