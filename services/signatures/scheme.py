"""The contract of a signature scheme: a delivery, secrets and a time in; nothing or NotVerified out."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.models import Delivery, HttpRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySource:
    """Where a sender's public keys lie.

    `request` takes a delivery and the provider's API key, and builds the request for the keys that could
    have signed it; it raises NotVerified for a delivery that names no key, or one that is not the sender's.
    `address` matches all that may be asked for, and is checked again before anything is sent: a delivery
    that is not verified yet must not choose where we call.
    """

    request: Callable[[Delivery, str], HttpRequest]
    address: re.Pattern[str]


class Scheme(Protocol):
    """How one family of senders signs.

    `key_source` is None where the operator sets the key as a secret. `binds_nothing` says that a right
    signature alone proves too little (it leaves most of the event open, or every customer of the sender has
    one): the callback's address must then hold our token.
    """

    @property
    def key_source(self) -> KeySource | None: ...

    @property
    def binds_nothing(self) -> bool: ...

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], now: datetime, keys: Sequence[bytes] = ()
    ) -> None:
        """Return if a secret or key signed this delivery within the tolerance; else raise NotVerified.

        `keys` are the documents that `key_source` led to. Whatever the bytes and headers are, NotVerified is
        all that a sender can cause. An empty secret, one that the scheme cannot decode, or none at all is the
        operator's: OperatorError, and never a way in.
        """

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Return the delivery as its sender would send it: it verifies.

        `secret` is the shared one, or a private key in PEM (PKCS #8) where the sender signs with one.
        """

    def event_id(self, delivery: Delivery) -> str:
        """Name a verified delivery by bytes that its signature covers: equal names are the same news."""

    def lacks(self, delivery: Delivery) -> Sequence[str]:
        """Name the headers that every signed delivery has, and this one has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What is the same for every declared scheme unless it says otherwise."""

    key_source: KeySource | None = None
    binds_nothing: bool = False

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its body."""
        return hashlib.sha256(delivery.body).hexdigest()

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers of every signed delivery; none where the signature lies in the body."""
        return ()

    def lacks(self, delivery: Delivery) -> Sequence[str]:
        """Name the headers that every signed delivery has, and this one has not."""
        return [name for name in self.headers if not delivery.headers.get(name)]
