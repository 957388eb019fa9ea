"""Signatures over a request that is first brought to one spelling: its JSON, or its address and headers."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

import rfc8785
from pydantic import JsonValue

from services.errors import NotUnderstood, NotVerified, Reason
from services.jsons import parse_object
from services.models import Delivery
from services.signatures.keyed import Found, Keyed, with_headers
from services.signatures.parts import Unit, header, read_time, write_time

# https://github.com/inngest/inngest/blob/main/docs/SDK_SPEC.md#413-requirements-when-receiving-requests
_KEY_PREFIX = re.compile(r"signkey-\w+-", re.ASCII)

_ORIGIN = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_ALWAYS_SIGNED = ("x-contentful-signed-headers", "x-contentful-timestamp")
# What JavaScript's encodeURI and encodeURIComponent leave as it is.
_URI_SAFE = ";,/?:@&=+$-_.!~*'()#"
_COMPONENT_SAFE = "-_.!~*'()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inngest(Keyed):
    """How Inngest signs: the body's JSON in canonical form (RFC 8785), and behind it the timestamp.

    The secret's prefix, up to the environment's name, is no part of the key.
    """

    signature_header: str = "x-inngest-signature"

    def keys_of(self, secrets: Sequence[str]) -> list[bytes]:
        return Keyed.keys_of(self, [_without_prefix(secret) for secret in secrets])

    def find(self, delivery: Delivery) -> Sequence[Found]:
        value = header(delivery, self.signature_header)
        if not value:
            raise NotVerified(Reason.NO_SIGNATURE)
        pairs = [item.partition("=") for item in value.split("&")]
        signatures = tuple(text for name, _, text in pairs if name == "s")
        timestamps = [text for name, _, text in pairs if name == "t"]
        if len(signatures) != 1:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        sent_at = read_time(",".join(timestamps), Unit.SECONDS)  # two are malformed
        content = _canonical(delivery.body) + timestamps[0].encode()
        return [Found(contents=(content,), digests=signatures, sent_at=sent_at)]

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Add the signature's header; raises NotVerified for a body that has no canonical form."""
        timestamp = write_time(now, Unit.SECONDS)
        signature = self.write(secret, _canonical(delivery.body) + timestamp.encode())
        signed = f"t={timestamp}&s={signature}"
        return with_headers(delivery, {self.signature_header: signed})

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its body's canonical form: blanks and order are not signed."""
        return hashlib.sha256(_canonical(delivery.body)).hexdigest()

    @property
    def headers(self) -> tuple[str, ...]:
        return (self.signature_header,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contentful(Keyed):
    """How Contentful signs: method, path and query, the headers that one of them lists, and the body."""

    # The official library takes a request as too old at 30 seconds, not after them.
    past: timedelta = timedelta(milliseconds=29_999)

    def find(self, delivery: Delivery) -> Sequence[Found]:
        signature = header(delivery, "x-contentful-signature")
        listed = header(delivery, "x-contentful-signed-headers")
        timestamp = header(delivery, "x-contentful-timestamp")
        if not signature or not listed:
            raise NotVerified(Reason.NO_SIGNATURE)
        sent_at = read_time(timestamp, Unit.MILLISECONDS)
        names = [name.strip(" \t").lower() for name in listed.split(",")]
        if len(set(names)) != len(names):  # the header came twice, and was joined
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        return [Found(contents=(_request(delivery, names),), digests=(signature,), sent_at=sent_at)]

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Add the signature's headers; all headers that are there are signed along."""
        names = sorted({*delivery.headers, *_ALWAYS_SIGNED} - {"x-contentful-signature"})
        signed = {
            "x-contentful-timestamp": write_time(now, Unit.MILLISECONDS),
            "x-contentful-signed-headers": ",".join(names),
        }
        delivery = with_headers(delivery, signed)
        signature = self.write(secret, _request(delivery, names))
        return with_headers(delivery, {"x-contentful-signature": signature})

    @property
    def headers(self) -> tuple[str, ...]:
        return ("x-contentful-signature", *_ALWAYS_SIGNED)


def _without_prefix(secret: str) -> str:
    found = _KEY_PREFIX.match(secret)
    return secret[found.end() :] if found else secret


def _canonical(body: bytes) -> bytes:
    """Write a JSON object in canonical form, an empty body as it is; raises NotVerified for others."""
    if not body:
        return body
    try:
        return rfc8785.dumps(_with_doubles(parse_object(body)))
    except (NotUnderstood, ValueError, OverflowError):
        raise NotVerified(Reason.WRONG_BODY) from None


def _with_doubles(value: JsonValue) -> JsonValue:
    """Bring integers to what the canonical form can hold; raises ValueError for one that it would round.

    Past 2^53 several integers have one canonical form, https://www.rfc-editor.org/rfc/rfc8785#section-3.1:
    one that is neither exact nor written in that form could be exchanged for another under one signature.
    """
    if isinstance(value, dict):
        return {name: _with_doubles(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_doubles(item) for item in value]
    if type(value) is int:
        double = float(value)
        if int(double) != value and rfc8785.dumps(double).decode() != str(value):
            raise ValueError("the number is not exact as a double")
        return double
    return value


def _request(delivery: Delivery, names: Sequence[str]) -> bytes:
    """Write a request as its signature sees it.

    https://github.com/contentful/node-apps-toolkit/blob/main/src/requests/sign-request.ts
    """
    # Their own two are always signed, listed or not: else another header could tell of them instead.
    names = sorted({*names, *_ALWAYS_SIGNED})
    if not all(name in delivery.headers for name in names):
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    values = {name: header(delivery, name) for name in names}
    values["x-contentful-signed-headers"] = ",".join(names)
    lines = (
        delivery.method,
        _path(delivery.url),
        ";".join(f"{name}:{values[name]}" for name in names),
    )
    return "\n".join(lines).encode(errors="surrogatepass") + b"\n" + delivery.body


def _path(url: str) -> str:
    """Write path and query as they are signed: the query is escaped twice, as one value."""
    path, _, query = _ORIGIN.sub("", url).partition("?")
    query = quote(query.partition("?")[0], safe=_COMPONENT_SAFE, errors="surrogatepass")
    return quote(f"{path}?{query}" if query else path, safe=_URI_SAFE, errors="surrogatepass")
