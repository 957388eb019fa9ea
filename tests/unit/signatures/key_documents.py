"""Private keys, and what senders publish of them: key sets, certificates. Two parties for each scheme."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
TOPIC = "arn:aws:sns:us-west-2:123456789012:MyTopic"
WEBHOOK_ID = "1JE4291016473214C"
NAMES = {"aws_sns": (TOPIC, f"{TOPIC}2"), "paypal": (WEBHOOK_ID, f"{WEBHOOK_ID}2")}
# Each can be read as a text, as base64 and as hex.
SHARED = (
    "31f290f6bf0629afe4bb98e31c41e8f6b1c9b0a4cf0d6e7a5ab3f4cd81f09a2e",
    "0b61554081218ac6b21c284254831e6f9b1249862ca616e8d9d1b2c7a4e0f356",
)


@dataclass(frozen=True, kw_only=True)
class Party:
    """Somebody who signs: `private` is what `sign` takes, `secrets` and `keys` what `verify` takes."""

    private: str
    secrets: tuple[str, ...] = ()
    keys: tuple[bytes, ...] = ()


@cache
def ed25519(number: int = 0) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(number, number + 32)))


@cache
def p256(number: int = 0) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int("1" * 40) + number, ec.SECP256R1())


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def pem(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_hex(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def public_base64(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    if isinstance(key, Ed25519PrivateKey):
        return base64.b64encode(key.public_key().public_bytes_raw()).decode()
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def jwk(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> dict[str, object]:
    """Write a key as a JSON Web Key, named by its thumbprint."""
    if isinstance(key, Ed25519PrivateKey):
        bare = {"crv": "Ed25519", "kty": "OKP", "x": base64url(key.public_key().public_bytes_raw())}
    else:
        numbers = key.public_key().public_numbers()
        x, y = (base64url(one.to_bytes(32)) for one in (numbers.x, numbers.y))
        bare = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    text = json.dumps(bare, separators=(",", ":"), sort_keys=True)
    return {**bare, "kid": base64url(hashlib.sha256(text.encode()).digest())}


def key_set(*keys: Ed25519PrivateKey) -> bytes:
    return json.dumps({"keys": [jwk(key) for key in keys]}).encode()


def plaid_answer(key: ec.EllipticCurvePrivateKey, **changes: object) -> bytes:
    """Write what Plaid answers when it is asked for a key."""
    whole = {
        **jwk(key),
        "alg": "ES256",
        "use": "sig",
        "created_at": 1560466150,
        "expired_at": None,
        **changes,
    }
    return json.dumps({"key": whole, "request_id": "RZ6Omi1bzzwDaLo"}).encode()


def certificate(
    key: PrivateKey,
    *,
    since: datetime = datetime(2023, 1, 1, tzinfo=UTC),
    until: datetime = datetime(2033, 1, 1, tzinfo=UTC),
) -> bytes:
    """Write a certificate in PEM that a key has signed for itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, since, until)
    digest = None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.PEM)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def parties(scheme: str) -> tuple[Party, Party]:
    """Return two parties that sign by a scheme."""
    return _party(scheme, 0), _party(scheme, 1)


def _party(scheme: str, number: int) -> Party:
    ed, ec_key = ed25519(number), p256(number)
    made: Mapping[str, Party] = {
        "discord": Party(private=pem(ed), secrets=(public_hex(ed),)),
        "telnyx": Party(private=pem(ed), secrets=(public_base64(ed),)),
        "fal": Party(private=pem(ed), keys=(key_set(ed),)),
        "sendgrid": Party(private=pem(ec_key), secrets=(public_base64(ec_key),)),
        "plaid": Party(private=pem(ec_key), keys=(plaid_answer(ec_key),)),
        "livekit": Party(
            private=f"APIabc12{number}:{SHARED[number]}", secrets=(f"APIabc12{number}:{SHARED[number]}",)
        ),
        "deepgram_basic": Party(private=f"hooks:{SHARED[number]}", secrets=(f"hooks:{SHARED[number]}",)),
    }
    if scheme in made:
        return made[scheme]
    if scheme in NAMES:
        name, key = NAMES[scheme][number], rsa_key(number)
        return Party(private=f"{name}\n{pem(key)}", secrets=(name,), keys=(certificate(key),))
    return Party(private=SHARED[number], secrets=(SHARED[number],))
