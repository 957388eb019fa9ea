"""Twilio's signature: over the address, and over the body in one of two ways.

A form's fields are written behind the address, sorted; any other body is bound by its hash in the address.
Names and values of fields run together without a separator, and behind the address, so that whoever has one
signed request can shift the borders between them, but neither change, add nor drop a letter.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.errors import NotVerified, Reason
from services.models import Delivery
from services.signatures.forms import read_urlencoded
from services.signatures.keyed import Found, Keyed, with_headers
from services.signatures.parts import Encoding, header, same_digest

_BODY_HASH = b"bodySHA256"
_IN_URL = re.compile(r"(?<=[?&]bodySHA256=)[^&]*")
_SETTING = "HMAC_SHA256"
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>(?:[^/?#]*@)?)(?P<host>\[[^\]/?#]*\]|[^:/?#]*)"
    r"(?P<port>(?::[^/?#]*)?)(?P<rest>.*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Twilio(Keyed):
    """How Twilio signs.

    `hashed`: only a body that is bound by its hash in the address is taken. `settings_header` names the
    algorithm of a shared key, which is HMAC-SHA256 alone.
    """

    signature_header: str = "x-twilio-signature"
    encoding: Encoding = Encoding.BASE64
    digest: str = "sha1"
    hashed: bool = False
    settings_header: str | None = None

    def find(self, delivery: Delivery) -> Sequence[Found]:
        signature = header(delivery, self.signature_header)
        if not signature:
            raise NotVerified(Reason.NO_SIGNATURE)
        if self.settings_header:
            _check_settings(header(delivery, self.settings_header))
        return [Found(contents=self._contents(delivery), digests=(signature,))]

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], now: datetime, keys: Sequence[bytes] = ()
    ) -> None:
        Keyed.verify(self, delivery, secrets, now, keys)
        digest = hashlib.sha256(delivery.body).digest()
        if any(not same_digest(digest, (text,), Encoding.HEX) for text in _body_hashes(delivery.url)):
            raise NotVerified(Reason.WRONG_BODY)

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:  # noqa: ARG002 - no time is signed
        """Add the signature's headers, and the body's hash to the address if the scheme asks for it."""
        if self.hashed:
            delivery = replace(delivery, url=_with_hash(delivery.url, delivery.body))
        if self.settings_header:
            settings = f"key=webhooks_sharedkey_1,algorithm={_SETTING}"
            delivery = with_headers(delivery, {self.settings_header: settings})
        signature = self.write(secret, self._contents(delivery)[0])
        return with_headers(delivery, {self.signature_header: signature})

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by what is signed: its address without port, and its sorted fields."""
        return hashlib.sha256(self._contents(delivery)[0]).hexdigest()

    @property
    def headers(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.signature_header, self.settings_header)))

    def _contents(self, delivery: Delivery) -> tuple[bytes, ...]:
        hashes = _body_hashes(delivery.url)
        if len(hashes) > 1:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        if self.hashed and not hashes:
            raise NotVerified(Reason.NO_SIGNATURE)
        fields = b"" if hashes else _sorted_fields(delivery.body)
        urls = _with_and_without_port(delivery.url)
        return tuple(url.encode(errors="surrogatepass") + fields for url in urls)


def _with_and_without_port(url: str) -> tuple[str, ...]:
    """Write an address without its port, and with it or the usual one: senders sign either.

    https://github.com/twilio/twilio-node/blob/main/src/webhooks/webhooks.ts
    """
    found = _URL.fullmatch(url)
    if not found:
        return (url,)
    scheme, user, host, port, rest = found.group("scheme", "user", "host", "port", "rest")
    usual = ":443" if scheme.lower() == "https://" else ":80"
    return f"{scheme}{user}{host}{rest}", f"{scheme}{user}{host}{port or usual}{rest}"


def _sorted_fields(body: bytes) -> bytes:
    """Write each field once, names and values sorted by their bytes."""
    try:
        return b"".join(name + value for name, value in sorted(set(read_urlencoded(body))))
    except ValueError:
        raise NotVerified(Reason.WRONG_BODY) from None


def _body_hashes(url: str) -> list[str]:
    query = url.partition("?")[2].encode(errors="surrogatepass")
    try:
        return [value.decode("latin-1") for name, value in read_urlencoded(query) if name == _BODY_HASH]
    except ValueError:
        raise NotVerified(Reason.MALFORMED_SIGNATURE) from None


def _with_hash(url: str, body: bytes) -> str:
    digest = hashlib.sha256(body).hexdigest()
    if _IN_URL.search(url):
        return _IN_URL.sub(digest, url)
    return f"{url}{'&' if '?' in url else '?'}bodySHA256={digest}"


def _check_settings(text: str) -> None:
    pairs = [pair.partition("=") for pair in text.split(",")]
    algorithms = [value.strip().upper() for name, _, value in pairs if name.strip() == "algorithm"]
    if algorithms != [_SETTING]:
        raise NotVerified(Reason.WRONG_ALGORITHM)
