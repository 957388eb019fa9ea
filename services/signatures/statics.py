"""Secrets that are sent along as they are.

They prove who sends, and cover nothing: neither body nor time. Whoever has seen one request can send any
other, so that our token must be in the address too, and a delivery is named by its body.
"""

import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.errors import NotUnderstood, NotVerified, OperatorError, Reason
from services.jsons import parse_object
from services.models import Delivery, JsonObject
from services.signatures.keyed import with_body, with_headers
from services.signatures.parts import (
    Encoding,
    KeyForm,
    header,
    not_signed,
    same_digest,
    usable_keys,
    write_digest,
)
from services.signatures.scheme import Declared


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderToken(Declared):
    """A secret in a header of its own."""

    signature_header: str
    binds_nothing: bool = True

    def verify(
        self,
        delivery: Delivery,
        secrets: Sequence[str],
        now: datetime,  # noqa: ARG002 - a token has no age
        keys: Sequence[bytes] = (),  # noqa: ARG002 - for schemes whose keys are fetched
    ) -> None:
        usable = usable_keys(secrets, KeyForm.TEXT)
        token = header(delivery, self.signature_header)
        if not token:
            raise NotVerified(Reason.NO_SIGNATURE)
        if not _is_one_of(usable, token):
            raise not_signed(usable, secrets)

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:  # noqa: ARG002 - a token has no age
        """Add the header."""
        usable_keys([secret], KeyForm.TEXT)
        return with_headers(delivery, {self.signature_header: secret})

    @property
    def headers(self) -> tuple[str, ...]:
        return (self.signature_header,)


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicToken(Declared):
    """User and password, https://www.rfc-editor.org/rfc/rfc7617; the secret is `USER:PASSWORD`."""

    binds_nothing: bool = True

    def verify(
        self,
        delivery: Delivery,
        secrets: Sequence[str],
        now: datetime,  # noqa: ARG002 - a token has no age
        keys: Sequence[bytes] = (),  # noqa: ARG002 - for schemes whose keys are fetched
    ) -> None:
        usable = _credentials(secrets)
        value = header(delivery, "authorization")
        if not value:
            raise NotVerified(Reason.NO_SIGNATURE)
        kind, _, token = value.partition(" ")
        if kind.lower() != "basic":
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        if not any(same_digest(one, (token.strip(" "),), Encoding.BASE64) for one in usable):
            raise not_signed(usable, secrets)

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:  # noqa: ARG002 - a token has no age
        """Add the header."""
        (credentials,) = _credentials([secret])
        token = write_digest(credentials, Encoding.BASE64)
        return with_headers(delivery, {"authorization": f"Basic {token}"})

    @property
    def headers(self) -> tuple[str, ...]:
        return ("authorization",)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyToken(Declared):
    """A secret in a member of each object of a list in the body."""

    list_member: str
    member: str
    binds_nothing: bool = True

    def verify(
        self,
        delivery: Delivery,
        secrets: Sequence[str],
        now: datetime,  # noqa: ARG002 - a token has no age
        keys: Sequence[bytes] = (),  # noqa: ARG002 - for schemes whose keys are fetched
    ) -> None:
        usable = usable_keys(secrets, KeyForm.TEXT)
        for one in self._listed(_object(delivery)):
            token = one.get(self.member)
            if not token:
                raise NotVerified(Reason.NO_SIGNATURE)
            if not isinstance(token, str):
                raise NotVerified(Reason.MALFORMED_SIGNATURE)
            if not _is_one_of(usable, token):
                raise not_signed(usable, secrets)

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:  # noqa: ARG002 - a token has no age
        """Put the secret into each object; raises NotVerified if the body has no such list."""
        usable_keys([secret], KeyForm.TEXT)
        document = _object(delivery)
        for one in self._listed(document):
            one[self.member] = secret
        return with_body(delivery, json.dumps(document).encode(), "application/json")

    def _listed(self, document: JsonObject) -> list[JsonObject]:
        listed = document.get(self.list_member)
        if not isinstance(listed, list) or not listed:
            raise NotVerified(Reason.NO_SIGNATURE)
        found = [one for one in listed if isinstance(one, dict)]
        if len(found) != len(listed):
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        return found


def _is_one_of(keys: Sequence[bytes], token: str) -> bool:
    return any(hmac.compare_digest(key, token.encode(errors="surrogatepass")) for key in keys)


def _credentials(secrets: Sequence[str]) -> list[bytes]:
    usable = [key for key in usable_keys(secrets, KeyForm.TEXT) if all(key.partition(b":")[::2])]
    if not usable:
        raise OperatorError("no credentials can be used: set them as USER:PASSWORD")
    return usable


def _object(delivery: Delivery) -> JsonObject:
    try:
        return parse_object(delivery.body)
    except NotUnderstood:
        raise NotVerified(Reason.MALFORMED_SIGNATURE) from None
