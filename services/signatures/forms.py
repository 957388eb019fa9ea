"""Signatures in a form's fields: urlencoded, or multipart/form-data.

A field counts only if it is there once, and a form with more than MAX_FIELDS of them is none.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, urlencode

from python_multipart.multipart import MultipartParser, parse_options_header

from services.errors import NotUnderstood, NotVerified, OperatorError, Reason
from services.jsons import parse_object
from services.models import Delivery, JsonObject
from services.signatures.keyed import Found, Keyed, with_body
from services.signatures.parts import header, same_digest

MAX_FIELDS = 1000
_MULTIPART = b"multipart/form-data"
_URLENCODED = "application/x-www-form-urlencoded"
_EVENT_TIME = re.compile(r"[0-9]{1,16}")
_EVENT_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# https://github.com/braintree/braintree_python/blob/master/braintree/webhook_notification_gateway.py
_PAYLOAD = re.compile(rb"[A-Za-z0-9+=/\n]+")
_BRAINTREE_KEY = re.compile(rb"([^|]+\|)?[^|]+")


def read_fields(delivery: Delivery) -> list[tuple[bytes, bytes]]:
    """Read a form's fields in their order, names and values as bytes; raises NotVerified if it is none."""
    kind, boundary = _kind_of(delivery)
    try:
        if kind == _MULTIPART:
            return _read_multipart(delivery.body, boundary)
        return read_urlencoded(delivery.body)
    except ValueError:
        raise NotVerified(Reason.MALFORMED_SIGNATURE) from None


def read_urlencoded(text: bytes) -> list[tuple[bytes, bytes]]:
    """Read an urlencoded form or query, https://url.spec.whatwg.org/#urlencoded-parsing.

    Raises ValueError if it has more than MAX_FIELDS fields.
    """
    # One byte is one character on the way, so that no encoding can fail or make two spellings equal.
    pairs = parse_qsl(
        text.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=MAX_FIELDS
    )
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


def only(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return a field's value; raises NotVerified if it is missing, empty, or there more than once."""
    values = [value for found, value in fields if found == name]
    if len(values) > 1:
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    if not any(values):
        raise NotVerified(Reason.NO_SIGNATURE)
    return values[0]


def with_form(delivery: Delivery, **fields: bytes) -> Delivery:
    """Return the delivery with an urlencoded form as its body."""
    return with_body(delivery, urlencode(fields).encode(), _URLENCODED)


def with_multipart(delivery: Delivery, **fields: bytes) -> Delivery:
    """Return the delivery with a multipart form as its body, https://www.rfc-editor.org/rfc/rfc7578."""
    boundary = hashlib.sha256(b"\0".join(fields.values())).hexdigest()
    lines = [
        b'--%b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (boundary.encode(), name.encode(), value)
        for name, value in fields.items()
    ]
    body = b"".join([*lines, b"--%b--\r\n" % boundary.encode()])
    return with_body(delivery, body, f"multipart/form-data; boundary={boundary}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DropboxSign(Keyed):
    """How Dropbox Sign signs: the event's time and type alone.

    All else in the event is open, and any two events of one type in one second have the same hash. The time
    is the event's and not the delivery's, which may be repeated for days, so that it has no age.
    """

    binds_nothing: bool = True

    def find(self, delivery: Delivery) -> Sequence[Found]:
        event = _event_of(only(read_fields(delivery), b"json"))
        digest = event.get("event_hash")
        if not digest:
            raise NotVerified(Reason.NO_SIGNATURE)
        if not isinstance(digest, str):
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        return [Found(contents=(_signed_of(event),), digests=(digest,))]

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Put the hash, and a time if there is none, into the event, and the event into the form's field.

        The delivery's body is the event as JSON, or the form that it comes in.
        """
        document = _document(delivery, b"json")
        event = _event_of(document)
        event.setdefault("event_time", str(int(now.timestamp())))
        event["event_hash"] = self.write(secret, _signed_of(event))
        return with_multipart(delivery, json=json.dumps({**parse_object(document), "event": event}).encode())

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its whole event.

        The signed bytes would name two events of one second alike, and one of them would be lost. The body as
        a whole would not do: its boundary is another one each time.
        """
        return hashlib.sha256(only(read_fields(delivery), b"json")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Braintree(Keyed):
    """How Braintree signs: a pair of public key and signature for each of the merchant's API keys.

    The secret is the private key, or `PUBLIC_KEY|PRIVATE_KEY`: then only the signature beside this public key
    counts.
    """

    digest: str = "sha1"

    def keys_of(self, secrets: Sequence[str]) -> list[bytes]:
        usable = [key for key in Keyed.keys_of(self, secrets) if _BRAINTREE_KEY.fullmatch(key)]
        if not usable:
            raise OperatorError("no private key can be used: set it as Braintree shows it")
        return usable

    def mac(self, key: bytes, content: bytes) -> bytes:
        private = key.rpartition(b"|")[2]
        return Keyed.mac(self, hashlib.sha1(private, usedforsecurity=False).digest(), content)

    def fits(self, key: bytes, found: Found) -> bool:
        """Tell whether a key made the signature that stands beside its public key."""
        public, named, _ = key.partition(b"|")
        pairs = [pair.partition("|") for pair in found.digests]
        digests = [text for name, _, text in pairs if not named or name.encode() == public]
        return any(same_digest(self.mac(key, content), digests, self.encoding) for content in found.contents)

    def find(self, delivery: Delivery) -> Sequence[Found]:
        fields = read_fields(delivery)
        pairs = only(fields, b"bt_signature").decode("ascii", "replace").split("&")
        payload = only(fields, b"bt_payload")
        if not _PAYLOAD.fullmatch(payload) or not any("|" in pair for pair in pairs):
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        # The line end may have been lost on the way: the official library takes both.
        return [Found(contents=(payload, payload + b"\n"), digests=tuple(pairs))]

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:  # noqa: ARG002 - no time is signed
        """Put the body, which is the notification in base64, into a form beside its signature.

        Raises NotVerified if the body is not base64. The delivery may be such a form already.
        """
        payload = _document(delivery, b"bt_payload")
        if not _PAYLOAD.fullmatch(payload):
            raise NotVerified(Reason.WRONG_BODY)
        public = secret.partition("|")[0] if "|" in secret else "public_key"
        signature = f"{public}|{self.write(secret, payload)}"
        return with_form(delivery, bt_signature=signature.encode(), bt_payload=payload)

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its signed payload; the line end at its end may have been lost."""
        payload = only(read_fields(delivery), b"bt_payload").removesuffix(b"\n")
        return hashlib.sha256(payload).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transloadit(Keyed):
    """How Transloadit signs: the text of one field; another names the digest, SHA-384 alone here."""

    digest: str = "sha384"

    def find(self, delivery: Delivery) -> Sequence[Found]:
        fields = read_fields(delivery)
        algorithm, _, text = only(fields, b"signature").decode("ascii", "replace").rpartition(":")
        if algorithm != self.digest:
            raise NotVerified(Reason.WRONG_ALGORITHM)
        return [Found(contents=(only(fields, b"transloadit"),), digests=(text,))]

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:  # noqa: ARG002 - no time is signed
        """Put the body, which is the assembly's status, into a form beside its signature.

        The delivery may be such a form already.
        """
        status = _document(delivery, b"transloadit")
        signature = f"{self.digest}:{self.write(secret, status)}"
        return with_multipart(delivery, transloadit=status, signature=signature.encode())

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its signed field."""
        return hashlib.sha256(only(read_fields(delivery), b"transloadit")).hexdigest()


@dataclass(slots=True)
class _Parts:
    """Gathers what the multipart parser calls out."""

    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    headers: list[tuple[bytearray, bytearray]] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def begin(self) -> None:
        self.headers, self.content = [], bytearray()

    def header_begin(self) -> None:
        self.headers.append((bytearray(), bytearray()))

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.headers[-1][0].extend(data[start:end])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.headers[-1][1].extend(data[start:end])

    def data(self, data: bytes, start: int, end: int) -> None:
        self.content.extend(data[start:end])

    def part_end(self) -> None:
        dispositions = [
            parse_options_header(bytes(value))
            for name, value in self.headers
            if name.lower() == b"content-disposition"
        ]
        if len(dispositions) != 1 or b"name" not in dispositions[0][1] or len(self.fields) == MAX_FIELDS:
            raise ValueError("a part has one name, and there are not too many")
        self.fields.append((dispositions[0][1][b"name"], bytes(self.content)))

    def end(self) -> None:
        self.ended = True


def _read_multipart(body: bytes, boundary: bytes | None) -> list[tuple[bytes, bytes]]:
    if not boundary:
        raise ValueError("the form names no boundary")
    parts = _Parts()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": parts.begin,
            "on_header_begin": parts.header_begin,
            "on_header_field": parts.header_field,
            "on_header_value": parts.header_value,
            "on_part_data": parts.data,
            "on_part_end": parts.part_end,
            "on_end": parts.end,
        },
    )
    # Its warnings would tell of each hostile body.
    parser.logger = logging.Logger("unheard", logging.CRITICAL)  # noqa: LOG001 - no other logger is silenced
    parser.write(body)
    if not parts.ended:
        raise ValueError("the form is cut short")
    return parts.fields


def _document(delivery: Delivery, name: bytes) -> bytes:
    """Return what is to be signed: a form's field, or the whole body."""
    is_form = _kind_of(delivery)[0] in (_MULTIPART, _URLENCODED.encode())
    return only(read_fields(delivery), name) if is_form else delivery.body


def _kind_of(delivery: Delivery) -> tuple[bytes, bytes | None]:
    text = header(delivery, "content-type").encode("latin-1", "replace").decode("latin-1")
    kind, options = parse_options_header(text)
    return kind, options.get(b"boundary")


def _event_of(document: bytes) -> JsonObject:
    try:
        event = parse_object(document).get("event")
    except NotUnderstood:
        raise NotVerified(Reason.MALFORMED_SIGNATURE) from None
    if not isinstance(event, dict):
        raise NotVerified(Reason.NO_SIGNATURE)
    return event


def _signed_of(event: JsonObject) -> bytes:
    moment, kind = event.get("event_time"), event.get("event_type")
    if type(moment) is int:
        moment = str(moment)
    # The two stand beside each other: only digits before a letter can be parted in one way.
    if not isinstance(moment, str) or not _EVENT_TIME.fullmatch(moment):
        raise NotVerified(Reason.MALFORMED_TIMESTAMP)
    if not isinstance(kind, str) or not _EVENT_TYPE.fullmatch(kind):
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    return (moment + kind).encode()
