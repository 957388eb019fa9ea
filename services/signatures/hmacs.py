"""HMAC signatures: one declared type, whose values in the catalogue are the schemes of many senders.

The signature is checked before the age, so that TOO_OLD and TOO_NEW are said only of what was truly signed.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from services.errors import NotVerified, OperatorError, Reason
from services.models import Delivery
from services.signatures.parts import (
    Encoding,
    KeyForm,
    Unit,
    check_age,
    header,
    not_signed,
    read_key,
    read_time,
    same_digest,
    usable_keys,
    write_digest,
    write_time,
)
from services.signatures.scheme import Declared

# A message id with a full stop in it could be split from its timestamp in two places:
# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme
_ID = re.compile(r"[!-\-/-~]{1,256}", re.ASCII)


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
class Hmac(Declared):
    """How one family of senders signs with a shared secret.

    `template` is the signed content, with `%(body)b`, `%(timestamp)b` and `%(id)b` in it. Without
    `timestamp_header` the timestamp stands in the signature header. `past` and `future` are the ages that
    are still accepted, edges included.
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

    def verify(
        self,
        delivery: Delivery,
        secrets: Sequence[str],
        now: datetime,
        keys: Sequence[bytes] = (),  # noqa: ARG002 - for schemes whose keys are fetched
    ) -> None:
        usable = usable_keys(secrets, self.key_form)
        claim = self._claim(delivery)
        timestamp = self._timestamp(delivery, claim)
        sent_at = read_time(timestamp, Unit.SECONDS)
        content = self._content(delivery, timestamp)
        if not any(self._signed(key, content, claim) for key in usable):
            raise not_signed(usable, secrets)
        check_age(sent_at, now, past=self.past, future=self.future)

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Add the signature's headers.

        Raises OperatorError for a secret that cannot be used, NotVerified if the delivery lacks the id header
        that is signed along.
        """
        key = read_key(secret, self.key_form)
        if not key:
            raise OperatorError("the signing secret cannot be used: set it as the provider shows it")
        timestamp = write_time(now, Unit.SECONDS)
        digest = hmac.digest(key, self._content(delivery, timestamp), self.digest)
        written = self.form.write(timestamp, write_digest(digest, self.encoding))
        headers = {**delivery.headers, self.signature_header: written}
        if self.timestamp_header:
            headers[self.timestamp_header] = timestamp
        return replace(delivery, headers=headers)

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its signed id, or by its body where there is none."""
        if self.id_header:
            return delivery.headers[self.id_header]
        return Declared.event_id(self, delivery)

    def _claim(self, delivery: Delivery) -> Claim:
        value = header(delivery, self.signature_header)
        if not value:
            raise NotVerified(Reason.NO_SIGNATURE)
        claim = self.form.read(value)
        if not claim.digests:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        return claim

    def _timestamp(self, delivery: Delivery, claim: Claim) -> str:
        found = claim.timestamps
        if self.timestamp_header:
            found = (header(delivery, self.timestamp_header),)
        if not any(found):
            raise NotVerified(Reason.NO_TIMESTAMP)
        if len(found) != 1:
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
        return same_digest(hmac.digest(key, content, self.digest), claim.digests, self.encoding)
