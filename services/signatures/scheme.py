"""The contract of a signature scheme: bytes, headers, secrets and a time in; nothing or NotVerified out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from services.models import Delivery


class Scheme(Protocol):
    """How one family of senders signs."""

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:
        """Return if any of the secrets signed this delivery within the tolerance; else raise NotVerified.

        Whatever the bytes and headers are, NotVerified is all that a sender can cause. An empty secret, one
        that the scheme cannot decode, or none at all is the operator's: OperatorError, and never a way in.
        """

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Mapping[str, str]:
        """Return the headers (names in lower case) with which this delivery would verify."""
