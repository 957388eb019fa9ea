"""HMAC signatures: one declared type, whose values in the catalogue are the schemes of many senders.

The signature is checked before the age, so that TOO_OLD and TOO_NEW are said only of what was truly signed,
and before a body is parsed for its timestamp.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from services.errors import NotUnderstood, NotVerified, OperatorError, Reason
from services.jsons import parse_object
from services.models import Delivery, JsonObject
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

MAX_SETS = 4  # each costs a hash of the body
# A message id with a full stop in it could be split from its timestamp in two places:
# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme
_ID = re.compile(r"[!-\-/-~]{1,256}")
_BLANKS_BETWEEN_SETS = re.compile(r"(?<!,) +")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What signature headers say before it is believed: digests, and the timestamp beside them."""

    digests: tuple[str, ...]
    timestamp: str = ""


class Form(Protocol):
    """How a signature header's value is written."""

    def read(self, values: Sequence[str]) -> Sequence[Claim]:
        """Take values apart; items of other versions are passed over."""

    def write(self, timestamp: str, digest: str) -> str:
        """Put a value together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """`5257a8…` or `sha256=5257a8…`: nothing but the signature, behind a prefix if there is one."""

    prefix: str = ""

    def read(self, values: Sequence[str]) -> Sequence[Claim]:
        digests = (value.removeprefix(self.prefix) for value in values if value.startswith(self.prefix))
        return (Claim(digests=tuple(digests)),)

    def write(self, timestamp: str, digest: str) -> str:  # noqa: ARG002 - the timestamp stands elsewhere
        return self.prefix + digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """`t=1700000000,v1=5257a8…,v1=…`: the timestamp, and signatures under the version's name.

    `separator` is what is written between pairs; blanks around it do not count when it is read. With `sets`,
    blanks divide several such values, each with its own timestamp.
    """

    timestamp: str
    version: str
    separator: str = ","
    sets: bool = False

    def read(self, values: Sequence[str]) -> Sequence[Claim]:
        if self.sets:
            values = [one for value in values for one in _BLANKS_BETWEEN_SETS.split(value)][:MAX_SETS]
        return [self._read(value) for value in values]

    def write(self, timestamp: str, digest: str) -> str:
        return f"{self.timestamp}={timestamp}{self.separator}{self.version}={digest}"

    def _read(self, value: str) -> Claim:
        pairs = [item.strip(" ").partition("=") for item in value.split(self.separator.strip(" "))]
        if any("," in text for _, _, text in pairs):  # the header came twice, and was joined
            return Claim(digests=())
        named = {
            wanted: [text for name, _, text in pairs if name == wanted]
            for wanted in (self.version, self.timestamp)
        }
        # Two timestamps are two readings; joined, they are malformed.
        return Claim(digests=tuple(named[self.version]), timestamp=",".join(named[self.timestamp]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """`v1,K5oZfz… v1a,hnO3f9…`: signatures divided by blanks, each behind its version."""

    version: str

    def read(self, values: Sequence[str]) -> Sequence[Claim]:
        items = [item.partition(",") for value in values for item in value.split(" ")]
        if any("," in text for _, _, text in items):  # the header came twice, and was joined
            return (Claim(digests=()),)
        return (Claim(digests=tuple(text for version, _, text in items if version == self.version)),)

    def write(self, timestamp: str, digest: str) -> str:  # noqa: ARG002 - the timestamp has its own header
        return f"{self.version},{digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hmac(Declared):
    """How one family of senders signs with a shared secret.

    `template` is the signed content, with `%(body)b`, `%(timestamp)b`, `%(id)b`, `%(method)b` and `%(url)b`
    in it. A timestamp that it asks for stands in `timestamp_header`, else in the signature header; one that
    only the body holds is named by `timestamp_member`. `past` and `future` are the ages that are still
    accepted, edges included; `whole_seconds` says that they count between whole seconds.

    `more_signature_headers` hold further signatures, `header_aliases` are other names for headers that are
    missing, and `further_headers` must be there with these values (any, where the value is empty).
    `other_key_form` is a second reading of the secret that senders sign with, too. `unescaped_in_url` are
    characters whose percent escapes are undone in the signed URL. `keyless`: the digest is the plain hash of
    the secret followed by the content.
    """

    signature_header: str
    form: Form = Bare()
    template: bytes = b"%(body)b"
    encoding: Encoding = Encoding.HEX
    key_form: KeyForm = KeyForm.TEXT
    other_key_form: KeyForm | None = None
    more_signature_headers: tuple[str, ...] = ()
    header_aliases: Mapping[str, str] = field(default_factory=dict)
    further_headers: Mapping[str, str] = field(default_factory=dict)
    timestamp_header: str | None = None
    timestamp_member: str | None = None
    unit: Unit = Unit.SECONDS
    id_header: str | None = None
    unescaped_in_url: str = ""
    digest: str = "sha256"
    keyless: bool = False
    past: timedelta = timedelta(minutes=5)
    future: timedelta = timedelta(minutes=5)
    whole_seconds: bool = False

    def verify(
        self,
        delivery: Delivery,
        secrets: Sequence[str],
        now: datetime,
        keys: Sequence[bytes] = (),  # noqa: ARG002 - for schemes whose keys are fetched
    ) -> None:
        usable = usable_keys(secrets, self.key_form)
        other = [read_key(secret, self.other_key_form) for secret in secrets if self.other_key_form]
        self._check_further_headers(delivery)
        refused: list[NotVerified] = []
        for claim in self._claims(delivery):
            try:
                self._check(delivery, claim, [*usable, *filter(None, other)], now)
            except NotVerified as error:
                refused.append(error)
            else:
                return
        if any(error.reason is Reason.WRONG_SIGNATURE for error in refused):
            raise not_signed(usable, secrets)
        raise refused[0]

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Add the signature's headers, and the timestamp to a JSON body if it stands there.

        Raises OperatorError for a secret that cannot be used, NotVerified if the delivery lacks the id header
        that is signed along, a header that only its sender can know, or a body that takes a timestamp.
        """
        key = read_key(secret, self.key_form)
        if not key:
            raise OperatorError("the signing secret cannot be used: set it as the provider shows it")
        timestamp = write_time(now, self.unit)
        headers = {**delivery.headers, **{name: text for name, text in self.further_headers.items() if text}}
        if self.timestamp_header:
            headers[self.timestamp_header] = timestamp
        body = delivery.body
        if self.timestamp_member:
            body = json.dumps({**_object(body), self.timestamp_member: int(timestamp)}).encode()
        delivery = replace(delivery, headers=headers, body=body)
        self._check_further_headers(delivery)
        digest = self._digest(key, self._contents(delivery, timestamp)[0])
        written = self.form.write(timestamp, write_digest(digest, self.encoding))
        return replace(delivery, headers={**headers, self.signature_header: written})

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its signed id, or by its body where there is none."""
        if self.id_header:
            return self._header(delivery, self.id_header)
        return Declared.event_id(self, delivery)

    @property
    def headers(self) -> tuple[str, ...]:
        names = (self.signature_header, self.timestamp_header, self.id_header, *self.further_headers)
        return tuple(filter(None, names))

    def lacks(self, delivery: Delivery) -> Sequence[str]:
        """Name the headers that every signed delivery has, under none of their names here."""
        there = {name for name, value in delivery.headers.items() if value}
        if there.intersection(self.more_signature_headers):
            there.add(self.signature_header)
        return [name for name in self.headers if not there & {name, self.header_aliases.get(name)}]

    def _header(self, delivery: Delivery, name: str) -> str:
        return header(delivery, name) or header(delivery, self.header_aliases.get(name, ""))

    def _check_further_headers(self, delivery: Delivery) -> None:
        for name, wanted in self.further_headers.items():
            found = header(delivery, name)
            if not found:
                raise NotVerified(Reason.NO_SIGNATURE)
            if wanted and found != wanted:
                raise NotVerified(Reason.WRONG_ALGORITHM)

    def _claims(self, delivery: Delivery) -> Sequence[Claim]:
        names = (self.signature_header, *self.more_signature_headers)
        values = [value for name in names if (value := self._header(delivery, name))]
        if not values:
            raise NotVerified(Reason.NO_SIGNATURE)
        return self.form.read(values)

    def _check(self, delivery: Delivery, claim: Claim, keys: Sequence[bytes], now: datetime) -> None:
        if not claim.digests:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        timestamp, sent_at = claim.timestamp, None
        if self.timestamp_header:
            timestamp = self._header(delivery, self.timestamp_header)
        if b"%(timestamp)b" in self.template:
            sent_at = read_time(timestamp, self.unit)
        if self.keyless and not _is_text(delivery.body):
            raise NotVerified(Reason.WRONG_BODY)
        digests = [
            self._digest(key, content) for content in self._contents(delivery, timestamp) for key in keys
        ]
        if not any(same_digest(digest, claim.digests, self.encoding) for digest in digests):
            raise NotVerified(Reason.WRONG_SIGNATURE)
        if self.timestamp_member:
            sent_at = read_time(_member(delivery.body, self.timestamp_member), self.unit)
        if sent_at:
            if self.whole_seconds:
                sent_at, now = (moment.replace(microsecond=0) for moment in (sent_at, now))
            check_age(sent_at, now, past=self.past, future=self.future)

    def _contents(self, delivery: Delivery, timestamp: str) -> list[bytes]:
        """Return what may have been signed: the documented content first."""
        values = {
            b"body": delivery.body,
            b"timestamp": timestamp.encode(),
            b"method": delivery.method.encode(errors="surrogatepass"),
        }
        if self.id_header:
            values[b"id"] = self._id(delivery, self.id_header)
        urls = dict.fromkeys((_unescaped(delivery.url, self.unescaped_in_url), delivery.url))
        return [self.template % {**values, b"url": url.encode(errors="surrogatepass")} for url in urls]

    def _id(self, delivery: Delivery, name: str) -> bytes:
        message_id = self._header(delivery, name)
        if not message_id:
            raise NotVerified(Reason.NO_SIGNATURE)
        if not _ID.fullmatch(message_id):
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        return message_id.encode()

    def _digest(self, key: bytes, content: bytes) -> bytes:
        if self.keyless:
            return hashlib.new(self.digest, key + content).digest()
        return hmac.digest(key, content, self.digest)


def _object(body: bytes) -> JsonObject:
    try:
        return parse_object(body)
    except NotUnderstood:
        raise NotVerified(Reason.NO_TIMESTAMP) from None


def _member(body: bytes, name: str) -> str:
    value = _object(body).get(name)
    return "" if value is None else json.dumps(value)


def _is_text(body: bytes) -> bool:
    """Tell whether a body is UTF-8.

    Who knows a plain hash can go on hashing and so sign a longer body, but what comes between the two is
    never UTF-8: the byte 0x80 stands where a character starts.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unescaped(url: str, characters: str) -> str:
    for character in characters:
        url = re.sub(f"%{ord(character):02X}", character, url, flags=re.IGNORECASE)
    return url
