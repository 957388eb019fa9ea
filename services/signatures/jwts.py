"""Signatures that are JSON Web Tokens: signed themselves, and naming the body that they come with.

The algorithms are the scheme's and never the token's choice: `none`, and a public key used as a shared
secret, have no way in. A token is read as https://www.rfc-editor.org/rfc/rfc7515#section-5.2 says, its claims
only once it is known to be signed. The body is checked before the age, so that TOO_OLD and TOO_NEW are said
only of a whole request.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from pydantic import JsonValue

from services.errors import NotUnderstood, NotVerified, OperatorError, Reason
from services.jsons import parse_object
from services.models import Delivery, HttpRequest, JsonObject
from services.signatures.parts import (
    Encoding,
    KeyForm,
    check_age,
    header,
    not_signed,
    read_digest,
    read_key,
    same_digest,
    usable_keys,
    write_digest,
)
from services.signatures.public_keys import (
    WRONG_KIND,
    KeyKind,
    is_signed_by,
    key_of,
    read_key_set,
    read_private_key,
)
from services.signatures.scheme import Declared, KeySource

ES256 = "ES256"
_DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +")
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TIMES = ("iat", "nbf", "exp")
_LIFETIME = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token taken apart; of its claims nothing is read yet."""

    header: JsonObject = field(repr=False)
    content: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    claims: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jwt(Declared):
    """How one family of senders signs with a token.

    `body_claim` holds the body's SHA-256, `url_claim` the address, as it is or as SHA-256 in hex. A secret is
    the shared key, or `ISSUER:KEY` where `issuer_in_secret` says that each key has an issuer of its own; with
    a `key_source` there is none. `sent` are the claims that the sender adds, `required` those without which
    no token is taken. `past` and `future` bound the age of `iat`, `leeway` is granted to `exp` and `nbf`.
    """

    signature_header: str
    body_claim: str
    algorithms: tuple[str, ...]
    sent: tuple[str, ...]
    required: tuple[str, ...]
    bearer: bool = False
    encoding: Encoding = Encoding.HEX
    empty_body_unnamed: bool = False
    url_claim: str | None = None
    url_hashed: bool = False
    issuer: str | None = None
    issuer_in_secret: bool = False
    past: timedelta = timedelta.max
    future: timedelta = timedelta(minutes=5)
    leeway: timedelta = timedelta(0)

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], now: datetime, keys: Sequence[bytes] = ()
    ) -> None:
        usable = [] if self.key_source else self._usable(secrets)
        token = self._token(delivery)
        if token.header.get("alg") not in self.algorithms:
            raise NotVerified(Reason.WRONG_ALGORITHM)
        if self.key_source:
            issuer = self.issuer
            _check_key_set(token, keys)
        else:
            issuer = self._issuer_of(token, usable, secrets)
        claims = _object(token.claims)
        if issuer is not None and claims.get("iss") != issuer:
            raise NotVerified(Reason.UNTRUSTED_KEY)
        self._check_content(claims, delivery)
        self._check_times(claims, now)

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Add the token's header; a private key's id is its thumbprint.

        https://www.rfc-editor.org/rfc/rfc7638#section-3
        """
        claims = self._claims(delivery, now)
        if self.key_source:
            key = read_private_key(secret)
            if not isinstance(key, EllipticCurvePrivateKey):
                raise OperatorError(WRONG_KIND)
            content = _written({"alg": ES256, "kid": _thumbprint(key.public_key()), "typ": "JWT"}, claims)
            r, s = decode_dss_signature(key.sign(content, ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32) + s.to_bytes(32)
        else:
            ((shared, issuer),) = self._usable([secret])
            if issuer is not None:
                claims = {"iss": issuer, **claims}
            content = _written({"alg": self.algorithms[0], "typ": "JWT"}, claims)
            signature = hmac.digest(shared, content, _DIGESTS[self.algorithms[0]])
        text = f"{content.decode()}.{write_digest(signature, Encoding.BASE64_URL)}"
        value = f"Bearer {text}" if self.bearer else text
        return replace(delivery, headers={**delivery.headers, self.signature_header: value})

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its token's id, or by its body where the token has none."""
        name = _object(self._token(delivery).claims).get("jti")
        return name if isinstance(name, str) and name else Declared.event_id(self, delivery)

    @property
    def headers(self) -> tuple[str, ...]:
        return (self.signature_header,)

    def _usable(self, secrets: Sequence[str]) -> list[tuple[bytes, str | None]]:
        """Read the secrets as keys with their issuers; raises OperatorError if none can be used."""
        if not self.issuer_in_secret:
            return [(key, self.issuer) for key in usable_keys(secrets, KeyForm.TEXT)]
        pairs = (secret.partition(":") for secret in secrets)
        usable: list[tuple[bytes, str | None]] = [
            (key, issuer)
            for issuer, _, text in pairs
            if (key := read_key(text, KeyForm.TEXT)) and read_key(issuer, KeyForm.TEXT)
        ]
        if not usable:
            raise OperatorError("no signing secret can be used: set one as API_KEY:API_SECRET")
        return usable

    def _token(self, delivery: Delivery) -> Token:
        text = header(delivery, self.signature_header)
        if self.bearer:
            scheme = _BEARER.match(text)
            text = text[scheme.end() :] if scheme else ""
        return read_token(text)

    def _issuer_of(
        self, token: Token, usable: Sequence[tuple[bytes, str | None]], secrets: Sequence[str]
    ) -> str | None:
        digest = _DIGESTS[str(token.header["alg"])]
        for key, issuer in usable:
            if hmac.compare_digest(hmac.digest(key, token.content, digest), token.signature):
                return issuer
        raise not_signed([key for key, _ in usable], secrets)

    def _check_content(self, claims: JsonObject, delivery: Delivery) -> None:
        named = claims.get(self.body_claim)
        if named is not None or delivery.body or not self.empty_body_unnamed:
            _check_digest(named, delivery.body, self.encoding)
        if self.url_claim:
            named = claims.get(self.url_claim)
            if self.url_hashed:
                _check_digest(named, delivery.url.encode(errors="surrogatepass"), Encoding.HEX)
            elif named != delivery.url:
                raise NotVerified(Reason.WRONG_BODY)

    def _check_times(self, claims: JsonObject, now: datetime) -> None:
        for name in self.required:
            if name not in claims:
                raise NotVerified(Reason.NO_TIMESTAMP if name in _TIMES else Reason.MALFORMED_SIGNATURE)
        times = {name: _time(claims[name]) for name in _TIMES if name in claims}
        if "exp" in times and times["exp"] <= now - self.leeway:
            raise NotVerified(Reason.TOO_OLD, age=now - times["exp"])
        if "nbf" in times and times["nbf"] > now + self.leeway:
            raise NotVerified(Reason.TOO_NEW, age=now - times["nbf"])
        if "iat" in times:
            check_age(times["iat"], now, past=self.past, future=self.future)

    def _claims(self, delivery: Delivery, now: datetime) -> JsonObject:
        issued = int(now.timestamp())
        url = delivery.url.encode(errors="surrogatepass")
        all_claims: JsonObject = {
            "iat": issued,
            "nbf": issued,
            "exp": issued + int(_LIFETIME.total_seconds()),
            "jti": hashlib.sha256(b"%d %b %b" % (issued, url, delivery.body)).hexdigest()[:32],
        }
        claims = {name: all_claims[name] for name in self.sent}
        if delivery.body or not self.empty_body_unnamed:
            claims[self.body_claim] = write_digest(hashlib.sha256(delivery.body).digest(), self.encoding)
        if self.url_claim:
            claims[self.url_claim] = hashlib.sha256(url).hexdigest() if self.url_hashed else delivery.url
        return claims


def _plaid_key(delivery: Delivery, api_key: str) -> HttpRequest:
    """Ask for the key that a delivery's token names; the API key is `CLIENT_ID:SECRET`.

    A delivery says which of Plaid's two environments it comes from, and the other one's does not know our
    API key: a wrong word loses a forged delivery, and no other.
    """
    client_id, _, secret = api_key.partition(":")
    if not client_id or not secret:
        raise OperatorError("Plaid's API key cannot be used: set it as CLIENT_ID:SECRET")
    token = read_token(header(delivery, "plaid-verification"))
    if token.header.get("alg") != ES256:
        raise NotVerified(Reason.WRONG_ALGORITHM)
    asked = {"client_id": client_id, "secret": secret, "key_id": _key_id(token)}
    try:
        sandbox = parse_object(delivery.body).get("environment") == "sandbox"
    except NotUnderstood:
        sandbox = False
    host = "sandbox.plaid.com" if sandbox else "production.plaid.com"
    return HttpRequest(
        method="POST",
        url=f"https://{host}/webhook_verification_key/get",
        headers={"content-type": "application/json"},
        body=json.dumps(asked).encode(),
    )


# https://plaid.com/docs/api/webhooks/webhook-verification/#get-webhook-verification-key
PLAID_KEYS = KeySource(
    request=_plaid_key,
    address=re.compile(r"https://(production|sandbox)\.plaid\.com/webhook_verification_key/get"),
)


def read_token(text: str) -> Token:
    """Take a token apart; raises NotVerified for what is none."""
    if not text:
        raise NotVerified(Reason.NO_SIGNATURE)
    parts = _TOKEN.fullmatch(text)
    if not parts:
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    head, claims, signature = (read_digest(part, Encoding.BASE64_URL) for part in parts.groups())
    if head is None or claims is None or signature is None:
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    token = Token(
        header=_object(head), content=text.rpartition(".")[0].encode(), claims=claims, signature=signature
    )
    if "crit" in token.header:  # names what must be understood, and we understand none of it
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    return token


def _check_key_set(token: Token, keys: Sequence[bytes]) -> None:
    named = [jwk for jwk in read_key_set(keys) if jwk.get("kid") == _key_id(token)]
    if not named:
        raise NotVerified(Reason.UNKNOWN_KEY)
    # https://plaid.com/docs/api/webhooks/webhook-verification/#example-implementation
    valid = [jwk for jwk in named if jwk.get("expired_at") is None and jwk.get("alg", ES256) == ES256]
    usable = [key for jwk in valid if (key := key_of(jwk, KeyKind.P256))]
    if not usable:
        raise NotVerified(Reason.UNTRUSTED_KEY)
    # https://www.rfc-editor.org/rfc/rfc7518#section-3.4
    r, s = int.from_bytes(token.signature[:32]), int.from_bytes(token.signature[32:])
    signature = encode_dss_signature(r, s)
    if len(token.signature) != 64 or not any(is_signed_by(key, signature, token.content) for key in usable):
        raise NotVerified(Reason.WRONG_SIGNATURE)


def _key_id(token: Token) -> str:
    found = token.header.get("kid")
    if not isinstance(found, str) or not _KEY_ID.fullmatch(found):
        raise NotVerified(Reason.UNKNOWN_KEY)
    return found


def _check_digest(named: JsonValue, content: bytes, encoding: Encoding) -> None:
    digest = hashlib.sha256(content).digest()
    if not isinstance(named, str) or not same_digest(digest, [named], encoding):
        raise NotVerified(Reason.WRONG_BODY)


def _time(value: JsonValue) -> datetime:
    """Read a NumericDate, https://www.rfc-editor.org/rfc/rfc7519#section-2."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotVerified(Reason.MALFORMED_TIMESTAMP)
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise NotVerified(Reason.MALFORMED_TIMESTAMP) from None


def _object(document: bytes) -> JsonObject:
    try:
        return parse_object(document)
    except NotUnderstood:
        raise NotVerified(Reason.MALFORMED_SIGNATURE) from None


def _written(*documents: JsonObject) -> bytes:
    compact = (json.dumps(one, separators=(",", ":")).encode() for one in documents)
    return ".".join(write_digest(one, Encoding.BASE64_URL) for one in compact).encode()


def _thumbprint(key: EllipticCurvePublicKey) -> str:
    """Name a key, https://www.rfc-editor.org/rfc/rfc7638#section-3."""
    numbers = key.public_numbers()
    x, y = (write_digest(one.to_bytes(32), Encoding.BASE64_URL) for one in (numbers.x, numbers.y))
    document = json.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y}, separators=(",", ":"))
    return write_digest(hashlib.sha256(document.encode()).digest(), Encoding.BASE64_URL)
