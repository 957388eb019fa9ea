"""Signatures by a private key that only the sender has: Ed25519, and ECDSA on P-256 with SHA-256.

The public key is the operator's to set, as the sender shows it, or is fetched as a JSON Web Key Set. Each
scheme takes keys of one kind only, so that no delivery can choose its algorithm.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key

from services.errors import NotUnderstood, NotVerified, OperatorError, Reason
from services.jsons import parse_object
from services.models import Delivery, HttpRequest, JsonObject
from services.signatures.parts import (
    Encoding,
    KeyForm,
    Unit,
    check_age,
    header,
    not_signed,
    read_digest,
    read_key,
    read_time,
    write_digest,
    write_time,
)
from services.signatures.scheme import Declared, KeySource

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey
PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey
WRONG_KIND = "the private key is of another kind than this sender's"
MAX_KEYS = 32  # of a key set: each one is tried
# A header that is signed along without a length must have one reading only.
_SIGNED_HEADER = re.compile(r"[!-~]{1,256}")


class KeyKind(StrEnum):
    """An Ed25519 key, written as its 32 bytes; or one on P-256, written as DER SubjectPublicKeyInfo."""

    ED25519 = "ed25519"
    P256 = "p256"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeys(Declared):
    """How one family of senders signs with a private key.

    `template` is the signed content, with `%(body)b`, `%(body_sha256)b`, `%(timestamp)b` and the names of
    `signed_headers` in it. With a `key_source` there is no secret to set. `past` and `future` are the ages
    that are still accepted, edges included.
    """

    signature_header: str
    timestamp_header: str
    template: bytes
    encoding: Encoding
    kind: KeyKind
    key_form: KeyForm = KeyForm.BASE64
    signed_headers: tuple[str, ...] = ()
    id_header: str | None = None
    past: timedelta = timedelta(minutes=5)
    future: timedelta = timedelta(minutes=5)

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], now: datetime, keys: Sequence[bytes] = ()
    ) -> None:
        usable = [] if self.key_source else self._usable(secrets)
        text = header(delivery, self.signature_header)
        if not text:
            raise NotVerified(Reason.NO_SIGNATURE)
        signature = read_digest(text, self.encoding)
        if signature is None:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        timestamp = header(delivery, self.timestamp_header)
        sent_at = read_time(timestamp, Unit.SECONDS)
        content = self._content(delivery, timestamp)
        if self.key_source:
            candidates = [key for jwk in read_key_set(keys) if (key := key_of(jwk, self.kind))]
            if not candidates:
                raise NotVerified(Reason.UNKNOWN_KEY)
            if not any(is_signed_by(key, signature, content) for key in candidates):
                raise NotVerified(Reason.WRONG_SIGNATURE)
        elif not any(is_signed_by(key, signature, content) for _, key in usable):
            raise not_signed([raw for raw, _ in usable], secrets)
        check_age(sent_at, now, past=self.past, future=self.future)

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Add the signature's headers; `secret` is a private key in PEM.

        Raises OperatorError for a key of another kind, NotVerified if the delivery lacks a header that is
        signed along.
        """
        timestamp = write_time(now, Unit.SECONDS)
        content = self._content(delivery, timestamp)
        key = read_private_key(secret)
        if self.kind is KeyKind.ED25519 and isinstance(key, Ed25519PrivateKey):
            signature = key.sign(content)
        elif self.kind is KeyKind.P256 and isinstance(key, EllipticCurvePrivateKey):
            signature = key.sign(content, ECDSA(hashes.SHA256()))
        else:
            raise OperatorError(WRONG_KIND)
        written = write_digest(signature, self.encoding)
        own = {self.timestamp_header: timestamp, self.signature_header: written}
        return replace(delivery, headers={**delivery.headers, **own})

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its signed id, or by its body where there is none."""
        if self.id_header:
            return delivery.headers[self.id_header]
        return Declared.event_id(self, delivery)

    @property
    def headers(self) -> tuple[str, ...]:
        return (self.signature_header, self.timestamp_header, *self.signed_headers)

    def _usable(self, secrets: Sequence[str]) -> list[tuple[bytes, PublicKey]]:
        raw = (read_key(secret, self.key_form) for secret in secrets)
        usable = [(one, key) for one in raw if one and (key := _load(one, self.kind))]
        if not usable:
            raise OperatorError("no public key can be used: set one, as the provider shows it")
        return usable

    def _content(self, delivery: Delivery, timestamp: str) -> bytes:
        values = {
            b"body": delivery.body,
            b"body_sha256": hashlib.sha256(delivery.body).hexdigest().encode(),
            b"timestamp": timestamp.encode(),
        }
        for name in self.signed_headers:
            value = delivery.headers.get(name)
            if not value:
                raise NotVerified(Reason.NO_SIGNATURE)
            if not _SIGNED_HEADER.fullmatch(value):
                raise NotVerified(Reason.MALFORMED_SIGNATURE)
            values[name.encode()] = value.encode()
        return self.template % values


def key_set_at(url: str) -> KeySource:
    """Say that a sender's keys lie in one JSON Web Key Set at a fixed address."""
    return KeySource(
        request=lambda _, __: HttpRequest(method="GET", url=url), address=re.compile(re.escape(url))
    )


def is_signed_by(key: PublicKey, signature: bytes, content: bytes) -> bool:
    """Tell whether a key's owner signed this content."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, content)
        else:
            key.verify(signature, content, ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def read_key_set(documents: Sequence[bytes]) -> Iterator[JsonObject]:
    """Read the JSON Web Keys of documents; what is none is passed over.

    A document is a key set, https://www.rfc-editor.org/rfc/rfc7517#section-5, one key, or holds one as `key`.
    """
    for document in documents:
        try:
            found = parse_object(document)
        except NotUnderstood:
            continue
        listed = found.get("keys", [found.get("key", found)])
        if isinstance(listed, list):
            yield from (jwk for jwk in listed[:MAX_KEYS] if isinstance(jwk, dict))


def key_of(jwk: JsonObject, kind: KeyKind) -> PublicKey | None:
    """Read a JSON Web Key of this kind; None for any other.

    https://www.rfc-editor.org/rfc/rfc8037#section-2, https://www.rfc-editor.org/rfc/rfc7518#section-6.2
    """
    x, y = _coordinate(jwk.get("x")), _coordinate(jwk.get("y"))
    try:
        if kind is KeyKind.ED25519 and (jwk.get("kty"), jwk.get("crv")) == ("OKP", "Ed25519") and x:
            return Ed25519PublicKey.from_public_bytes(x)
        if kind is KeyKind.P256 and (jwk.get("kty"), jwk.get("crv")) == ("EC", "P-256") and x and y:
            numbers = int.from_bytes(x), int.from_bytes(y)
            return EllipticCurvePublicNumbers(*numbers, SECP256R1()).public_key()
    except ValueError:
        pass  # not a point of the curve
    return None


def read_private_key(secret: str) -> PrivateKey:
    """Read a private key in PEM (PKCS #8), on P-256 if on any curve; raises OperatorError for others."""
    try:
        key = load_pem_private_key(secret.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise OperatorError("the private key cannot be used: give one in PEM, without a password") from None
    other_curve = isinstance(key, EllipticCurvePrivateKey) and not isinstance(key.curve, SECP256R1)
    if not isinstance(key, PrivateKey) or other_curve:
        raise OperatorError(WRONG_KIND)
    return key


def _load(raw: bytes, kind: KeyKind) -> PublicKey | None:
    try:
        if kind is KeyKind.ED25519:
            return Ed25519PublicKey.from_public_bytes(raw)
        key = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) else None


def _coordinate(text: object) -> bytes | None:
    return read_digest(text, Encoding.BASE64_URL) if isinstance(text, str) else None
