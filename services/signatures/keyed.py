"""Shared-secret signatures that lie in the body or the address, or cover another spelling of them."""

import hmac
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.models import Delivery
from services.signatures.parts import (
    Encoding,
    KeyForm,
    check_age,
    not_signed,
    same_digest,
    usable_keys,
    write_digest,
)
from services.signatures.scheme import Declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a delivery claims, before anything of it is believed: one of `contents` gives one of `digests`."""

    contents: tuple[bytes, ...]
    digests: tuple[str, ...]
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed(Declared, ABC):
    """How one sender signs with a shared secret; a subclass says where the signature lies and what it covers.

    The signature is checked before the age, so that TOO_OLD and TOO_NEW are said only of what was truly
    signed. `past` and `future` are the ages that are still accepted, edges included.
    """

    encoding: Encoding = Encoding.HEX
    digest: str = "sha256"
    key_form: KeyForm = KeyForm.TEXT
    past: timedelta = timedelta(minutes=5)
    future: timedelta = timedelta(minutes=5)

    @abstractmethod
    def find(self, delivery: Delivery) -> Sequence[Found]:
        """Take a delivery apart: one Found for each part that must be signed; raises NotVerified."""

    def keys_of(self, secrets: Sequence[str]) -> list[bytes]:
        """Read the secrets; raises OperatorError if none can be used."""
        return usable_keys(secrets, self.key_form)

    def mac(self, key: bytes, content: bytes) -> bytes:
        """Sign some bytes."""
        return hmac.digest(key, content, self.digest)

    def fits(self, key: bytes, found: Found) -> bool:
        """Tell whether a key made one of the digests."""
        return any(
            same_digest(self.mac(key, content), found.digests, self.encoding) for content in found.contents
        )

    def verify(
        self,
        delivery: Delivery,
        secrets: Sequence[str],
        now: datetime,
        keys: Sequence[bytes] = (),  # noqa: ARG002 - for schemes whose keys are fetched
    ) -> None:
        usable = self.keys_of(secrets)
        parts = self.find(delivery)
        if not all(any(self.fits(key, found) for key in usable) for found in parts):
            raise not_signed(usable, secrets)
        for found in parts:
            if found.sent_at is not None:
                check_age(found.sent_at, now, past=self.past, future=self.future)

    def write(self, secret: str, content: bytes) -> str:
        """Sign some bytes as the sender writes it; raises OperatorError for a secret that cannot be used."""
        (key,) = self.keys_of([secret])
        return write_digest(self.mac(key, content), self.encoding)


def with_headers(delivery: Delivery, headers: Mapping[str, str]) -> Delivery:
    """Return the delivery with further headers."""
    return replace(delivery, headers={**delivery.headers, **headers})


def with_body(delivery: Delivery, body: bytes, content_type: str) -> Delivery:
    """Return the delivery with another body."""
    headers = {"content-type": content_type, "content-length": str(len(body))}
    return replace(with_headers(delivery, headers), body=body)
