"""An AMQP message as bytes: split at its sections, put together again, its body never touched.

What the sender encoded as properties, application properties, body and footer is delivered byte for byte.
Only the header and the message annotations are written anew, because they are the broker's to write, and the
properties of a message that came without an id.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias
from uuid import uuid4

from proton import Array, Data, DataException, Described, symbol, timestamp, ubyte, uint, ulong

from .errors import MalformedError

# What AMQP's types decode to: numbers, texts, lists, maps, and proton's own classes for the rest.
Value: TypeAlias = Any

# Section descriptors: https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html#section-message-format
HEADER: Final = 0x70
DELIVERY_ANNOTATIONS: Final = 0x71
MESSAGE_ANNOTATIONS: Final = 0x72
PROPERTIES: Final = 0x73
APPLICATION_PROPERTIES: Final = 0x74
DATA: Final = 0x75
FOOTER: Final = 0x78
_VALUE: Final = 0x77
_BODY: Final = range(DATA, FOOTER)
_SYMBOLIC: Final = {
    b"amqp:header:list": HEADER,
    b"amqp:delivery-annotations:map": DELIVERY_ANNOTATIONS,
    b"amqp:message-annotations:map": MESSAGE_ANNOTATIONS,
    b"amqp:properties:list": PROPERTIES,
    b"amqp:application-properties:map": APPLICATION_PROPERTIES,
    b"amqp:data:binary": DATA,
    b"amqp:amqp-sequence:list": 0x76,
    b"amqp:amqp-value:*": _VALUE,
    b"amqp:footer:map": FOOTER,
}
_TRANSFER: Final = 0x14

# Several messages in one transfer: each data section holds one encoded message.
BATCH_FORMAT: Final = 0x80013700

SCHEDULED_ENQUEUE_TIME: Final = symbol("x-opt-scheduled-enqueue-time")
# The broker's own annotations: a sender that repeats them from a received message does not set them.
_BROKERS_OWN: Final = frozenset(
    {
        "x-opt-deadletter-source",
        "x-opt-enqueue-sequence-number",
        "x-opt-enqueued-time",
        "x-opt-lock-token",
        "x-opt-locked-until",
        "x-opt-message-state",
        "x-opt-sequence-number",
    }
)

# The width of a value's size field, or of the value itself, by the first half of its constructor byte:
# https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-types-v1.0-os.html#section-encodings
_FIXED: Final = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_COUNTED: Final = {0xA: 1, 0xB: 4, 0xC: 1, 0xD: 4, 0xE: 1, 0xF: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """The properties of a message that the broker looks at."""

    message_id: str | None = None
    to: str | None = None
    subject: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    content_type: str | None = None
    session_id: str | None = None
    reply_to_session_id: str | None = None


# Where each of them stands in its section, and how many fields that has:
# https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html#type-properties
_PLACES: Final = {
    "message_id": 0,
    "to": 2,
    "subject": 3,
    "reply_to": 4,
    "correlation_id": 5,
    "content_type": 6,
    "session_id": 10,
    "reply_to_session_id": 12,
}
_PROPERTIES: Final = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a sender sent. `ttl` is in milliseconds; the bytes are encoded sections."""

    durable: bool
    priority: int | None
    ttl: int | None
    annotations: Mapping[Value, Value]
    properties: Properties
    application_properties: Mapping[str, Value]
    properties_bytes: bytes
    application_bytes: bytes
    body_bytes: bytes

    @property
    def scheduled_for(self) -> int | None:
        """The time before which nobody receives it, in milliseconds since 1970."""
        value = self.annotations.get(SCHEDULED_ENQUEUE_TIME)
        return int(value) if isinstance(value, timestamp) else None

    def with_application_properties(self, added: Mapping[str, Value]) -> "Content":
        """Return a copy in which `added` replaces or joins the application properties."""
        return self.with_only_application_properties({**self.application_properties, **added})

    def with_only_application_properties(self, properties: Mapping[str, Value]) -> "Content":
        """Return a copy that has these application properties and no others."""
        encoded = _encode(APPLICATION_PROPERTIES, dict(properties)) if properties else b""
        return replace(self, application_properties=properties, application_bytes=encoded)

    def with_property(self, name: str, value: str | None) -> "Content":
        """Return a copy in which a field of Properties is `value`; None takes it away.

        A content type is a symbol, which is ASCII: one that is not is taken away too.
        """
        fields = _fields(self.properties_bytes or None, _PROPERTIES)
        if name == "content_type" and value is not None:
            value = symbol(value) if value.isascii() else None
        fields[_PLACES[name]] = value
        return replace(
            self,
            properties=replace(self.properties, **{name: value}),
            properties_bytes=_encode(PROPERTIES, fields),
        )

    def encode(
        self,
        *,
        ttl: int | None = None,
        delivery_count: int = 0,
        annotations: Mapping[Value, Value] | None = None,
    ) -> bytes:
        """Encode it with this header and with `annotations` beside the sender's own."""
        header = [
            self.durable,
            None if self.priority is None else ubyte(self.priority),
            None if ttl is None else uint(min(ttl, 0xFFFFFFFF)),
            None,
            uint(delivery_count),
        ]
        merged = {**self.annotations, **(annotations or {})}
        return b"".join(
            (
                _encode(HEADER, header),
                _encode(MESSAGE_ANNOTATIONS, merged) if merged else b"",
                self.properties_bytes,
                self.application_bytes,
                self.body_bytes,
            )
        )


def decode(encoded: bytes) -> Content:
    """Split an encoded message at its sections; raise MalformedError if it is none."""
    pieces: dict[int, bytes] = {}
    body: list[bytes] = []
    last = HEADER
    for code, start, end in _sections(encoded):
        if code < last or (code == last and code in pieces):
            raise MalformedError("message sections are repeated or out of order")
        last = code
        if code in _BODY:
            body.append(encoded[start:end])
        else:
            pieces[code] = encoded[start:end]
    header = _fields(pieces.get(HEADER), 5)
    properties = _fields(pieces.get(PROPERTIES), _PROPERTIES)
    annotations = _map(pieces.get(MESSAGE_ANNOTATIONS))
    application = _map(pieces.get(APPLICATION_PROPERTIES))
    if not all(isinstance(key, str) for key in application):
        raise MalformedError("an application property's name is not a string")
    return Content(
        durable=header[0] is not False,
        priority=_integer(header[1], 0xFF),
        ttl=_integer(header[2], 0xFFFFFFFF),
        annotations={key: value for key, value in annotations.items() if key not in _BROKERS_OWN},
        properties=Properties(**{name: _text(properties[place]) for name, place in _PLACES.items()}),
        application_properties=application,
        properties_bytes=pieces.get(PROPERTIES, b""),
        application_bytes=pieces.get(APPLICATION_PROPERTIES, b""),
        body_bytes=b"".join(body) + pieces.get(FOOTER, b""),
    )


def decode_batch(encoded: bytes) -> list[Content]:
    """Take the messages out of a batch transfer; raise MalformedError if any of them is none."""
    batch = []
    for code, start, end in _sections(encoded):
        if code == DATA:
            value = _value(encoded[start:end])
            if not isinstance(value, bytes):
                raise MalformedError("a data section of a batch is not binary")
            batch.append(decode(value))
        elif code in _BODY:
            raise MalformedError("a batch holds something other than data sections")
    if not batch:
        raise MalformedError("a batch holds no message")
    return batch


def identified(content: Content) -> Content:
    """Return a copy with an id of its own, where the sender gave none.

    https://github.com/Azure/azure-service-bus-java/issues/69
    """
    if content.properties.message_id is not None:
        return content
    return content.with_property("message_id", uuid4().hex)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A message that asks for an answer; `id` is what the answer refers to."""

    id: Value
    reply_to: str | None
    properties: Mapping[str, Value]
    body: Value


def decode_request(encoded: bytes) -> Request:
    """Read a message that asks for an answer; raise MalformedError if it is none."""
    content = decode(encoded)
    fields = _fields(content.properties_bytes or None, _PROPERTIES)
    code = next((code for code, _, _ in _sections(content.body_bytes)), None)
    return Request(
        id=fields[0] if fields[0] is not None else fields[5],
        reply_to=content.properties.reply_to,
        properties=content.application_properties,
        body=_value(content.body_bytes) if code == _VALUE else None,
    )


def owned(value: Value) -> Value:
    """Copy the binary in a decoded value: proton shows its own memory, and frees it."""
    match value:
        case memoryview():
            return bytes(value)
        case dict():
            return {owned(key): owned(item) for key, item in value.items()}
        case list():
            return [owned(item) for item in value]
        case Array():
            return Array(value.descriptor, value.type, *(owned(item) for item in value.elements))
        case Described():
            return Described(owned(value.descriptor), owned(value.value))
    return value


def message_format(frame: bytes) -> int | None:
    """Read the message format off a transfer frame; None in any other frame, and where it is not said.

    The AMQP engine below does not hand it on. https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html#type-transfer
    """
    try:
        at = frame[4] * 4
        code, at = _descriptor(frame, at)
        if code != _TRANSFER:
            return None
        constructor = frame[at]
        if constructor not in (0xC0, 0xD0):
            return None
        width = _COUNTED[constructor >> 4]
        count = int.from_bytes(frame[at + 1 + width : at + 1 + 2 * width])
        if count < 4:
            return None
        at += 1 + 2 * width
        for _ in range(3):
            at = _skip(frame, at)
        length = {0x43: 0, 0x52: 1, 0x70: 4}.get(frame[at])
    except (IndexError, MalformedError):
        return None  # the engine will say what is wrong with it
    return None if length is None else int.from_bytes(frame[at + 1 : at + 1 + length])


def _sections(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each section's descriptor, its start and its end."""
    at = 0
    while at < len(encoded):
        start = at
        try:
            code, at = _descriptor(encoded, at)
            at = _skip(encoded, at)
        except IndexError:
            raise MalformedError("the message ends inside a section") from None
        if at > len(encoded):
            raise MalformedError("the message ends inside a section")
        if not HEADER <= code <= FOOTER:
            raise MalformedError("a section is none that a message can have")
        yield code, start, at


def _descriptor(encoded: bytes, at: int) -> tuple[int, int]:
    if encoded[at] != 0x00:
        raise MalformedError("a described value was expected")
    end = _skip(encoded, at + 1)
    match encoded[at + 1]:
        case 0x53 | 0x80:
            return int.from_bytes(encoded[at + 2 : end]), end
        case 0xA3:
            return _SYMBOLIC.get(encoded[at + 3 : end], -1), end
        case _:
            raise MalformedError("a descriptor is neither a number nor a symbol")


def _skip(encoded: bytes, at: int) -> int:
    """Return where the value that starts here ends."""
    constructor = encoded[at] >> 4
    if (width := _FIXED.get(constructor)) is not None:
        return at + 1 + width
    if (width := _COUNTED.get(constructor)) is not None:
        return at + 1 + width + int.from_bytes(encoded[at + 1 : at + 1 + width])
    if encoded[at] == 0x00 and encoded[at + 1] != 0x00:
        at = _skip(encoded, at + 1)
        if encoded[at] != 0x00:
            return _skip(encoded, at)
    raise MalformedError("a value's type is none that AMQP has")


def _value(section: bytes) -> Value:
    data = Data()
    try:
        data.decode(section)
        data.rewind()
        data.next()
        described = owned(data.get_object())
    except (DataException, ValueError, TypeError, OverflowError, RecursionError) as error:
        # TypeError: a key that Python cannot hash; OverflowError: a character that Unicode does not have
        raise MalformedError("a section cannot be decoded") from error
    if not isinstance(described, Described):
        raise MalformedError("a section cannot be decoded")
    return described.value


def _fields(section: bytes | None, count: int) -> list[Value]:
    values = [] if section is None else _value(section)
    if not isinstance(values, list) or len(values) > count:
        raise MalformedError("a section that must be a list is none, or is too long")
    return values + [None] * (count - len(values))


def _map(section: bytes | None) -> dict[Value, Value]:
    values = {} if section is None else _value(section)
    if not isinstance(values, dict):
        raise MalformedError("a section that must be a map is none")
    return values


def _integer(value: Value, most: int) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise MalformedError("a field of the header is out of range")
    return int(value)


def _text(value: Value) -> str | None:
    """Give an id of any of its four types as text, so that ids can be compared."""
    if value is None or isinstance(value, str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _encode(code: int, value: Value) -> bytes:
    data = Data()
    data.put_object(Described(ulong(code), value))
    return data.encode()
