"""What is particular to private keys: Ed25519 and ECDSA, their notation, key sets; keys of another kind."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from services.errors import NotVerified, OperatorError
from services.models import Delivery
from services.signatures.catalogue import SCHEMES
from services.signatures.public_keys import KeyKind, key_of, read_private_key
from tests.unit.signatures.key_documents import (
    TOPIC,
    WEBHOOK_ID,
    ed25519,
    jwk,
    key_set,
    p256,
    pem,
    public_base64,
    public_hex,
    rsa_key,
)
from tests.unit.signatures.samples import with_header

NOW = datetime.fromtimestamp(1_700_000_000, UTC)
BODY = '{"id":"evt_1","text":"Zürich"}'.encode()
UNSIGNED = Delivery(
    method="POST",
    url="https://hooks.example.com/api/webhooks/acme?x=1",
    headers={
        "content-type": "application/json",
        "x-fal-webhook-request-id": "req_1",
        "x-fal-webhook-user-id": "user_1",
    },
    body=BODY,
    received_at=NOW,
)


def signed_by_fal() -> Delivery:
    return SCHEMES["fal"].sign(UNSIGNED, pem(ed25519()), NOW)


@pytest.mark.parametrize(
    ("names", "private"),
    [
        (["sendgrid", "plaid"], pem(ed25519())),
        (["sendgrid", "plaid"], pem(ec.derive_private_key(7, ec.SECP384R1()))),
        (["discord", "telnyx", "fal"], pem(p256())),
        (["discord", "telnyx", "fal", "sendgrid", "plaid"], pem(rsa_key())),
        (["aws_sns"], f"{TOPIC}\n{pem(p256())}"),
        (["paypal"], f"{WEBHOOK_ID}\n{pem(ed25519())}"),
    ],
    ids=["ed25519", "p384", "p256", "rsa", "p256-for-sns", "ed25519-for-paypal"],
)
def test_it_does_not_sign_with_a_key_of_another_kind(names: list[str], private: str) -> None:
    for name in names:
        with pytest.raises(OperatorError, match="of another kind"):
            SCHEMES[name].sign(UNSIGNED, private, NOW)


# Made with PyNaCl 1.6.2 and cryptography 50.0.2; accepted by discord-interactions (PyPI 0.4.0, npm 4.4.0),
# telnyx (PyPI 4.189.0, npm 7.24.0), sendgrid 6.12.5 (PyPI) and @sendgrid/eventwebhook 8.0.0 (npm).
ED25519_HEX = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
ED25519_BASE64 = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
ED25519_SET = (
    b'{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},'
    b'{"kty":"OKP","crv":"Ed25519","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]}'
)
P256_BASE64 = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAhfmF/C2RDkoJ4+WmZ5pojpPLBUr321s32bluAKC1O0ZSn3ry5dxLS3aPKhaqHZaVvRf"
    "x1hZllLyiXxlMG5XlA=="
)
DISCORD = (
    "7d5892504d9ef237fa1a65b897a8dd17ae6db6c7497b7283d2435b75ecc0c85e"
    "ca02a971210e79aa9ea48044df7c8b3e9a4615a6fef5b8901ae2cb1f14b7e801"
)
TELNYX = "Dpo+tpmkoKt5BFbfOVDb5KL0FpNRqocvIG1J2eP/zb4NDNHDze3ecjlYYVRb1y3U35lzaMKjpq1pzE4XenaLAg=="
FAL = (
    "712e115da92b8d9553c186e6072bc55a9d92fc903d59a554e0d97788f340619c"
    "6dd150263a148e083ad564e932fda516a81e16ea3c51f12637360714e4cd460d"
)
SENDGRID = "MEMCHwLUewdaVloX33one3GfMmmJLZuACi9Oecv7mJ8cAHgCIEiX/1mjddazRl75MPvQgQvNXS0gOUI3N8Xvs2UJbLiP"
RSA_BASE64 = base64.b64encode(
    rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
VECTORS = {
    "discord": ("x-signature-ed25519", DISCORD, "x-signature-timestamp", ED25519_HEX),
    "telnyx": ("telnyx-signature-ed25519", TELNYX, "telnyx-timestamp", ED25519_BASE64),
    "fal": ("x-fal-webhook-signature", FAL, "x-fal-webhook-timestamp", ""),
    "sendgrid": (
        "x-twilio-email-event-webhook-signature",
        SENDGRID,
        "x-twilio-email-event-webhook-timestamp",
        P256_BASE64,
    ),
}


def vector(name: str, signature: str) -> Delivery:
    header, _, timestamp, _ = VECTORS[name]
    return replace(UNSIGNED, headers={**UNSIGNED.headers, header: signature, timestamp: "1700000000"})


def verify_vector(name: str, signature: str) -> None:
    SCHEMES[name].verify(vector(name, signature), [VECTORS[name][3]], NOW, [ED25519_SET])


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_is_verified(name: str) -> None:
    verify_vector(name, VECTORS[name][1])


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("discord", DISCORD.upper()),
        ("fal", FAL.upper()),
        ("telnyx", TELNYX.rstrip("=")),
        ("telnyx", TELNYX.replace("+", "-").replace("/", "_")),
        ("sendgrid", SENDGRID.replace("/", "_")),
    ],
    ids=["discord-upper", "fal-upper", "unpadded", "url-safe", "sendgrid-url-safe"],
)
def test_an_authentic_signature_is_accepted_however_it_is_written(name: str, signature: str) -> None:
    verify_vector(name, signature)


@pytest.mark.parametrize(
    ("name", "signature", "reason"),
    [
        ("discord", DISCORD[:-2], "wrong_signature"),
        ("discord", DISCORD[:-1], "malformed_signature"),
        ("discord", TELNYX, "malformed_signature"),
        ("telnyx", TELNYX[:-3] + "h==", "malformed_signature"),
        ("telnyx", TELNYX + "====", "malformed_signature"),
        ("telnyx", "A" * 86 + "==", "wrong_signature"),
        ("sendgrid", SENDGRID + "==", "malformed_signature"),
        ("sendgrid", "MAYCAQACAQA=", "wrong_signature"),
        ("sendgrid", "MAYCAQECAQE=", "wrong_signature"),
        ("sendgrid", SENDGRID[:-4], "wrong_signature"),
        ("sendgrid", SENDGRID + "AAAA", "wrong_signature"),
    ],
    ids=[
        "a-byte-short",
        "half-a-byte-short",
        "in-base64",
        "bits-beyond-the-end",
        "padded-twice",
        "zeros",
        "padded",
        "r-and-s-0",
        "r-and-s-1",
        "der-cut",
        "der-grown",
    ],
)
def test_a_signature_that_is_another_is_refused(name: str, signature: str, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        verify_vector(name, signature)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("discord", ED25519_HEX[:-2]),
        ("discord", ED25519_HEX + "00"),
        ("discord", ED25519_BASE64),
        ("telnyx", ED25519_HEX),
        ("telnyx", P256_BASE64),
        ("sendgrid", ED25519_BASE64),
        ("sendgrid", P256_BASE64[:-8]),
        ("sendgrid", public_base64(ec.derive_private_key(7, ec.SECP384R1()))),
        ("sendgrid", RSA_BASE64),
        ("sendgrid", pem(p256())),
        ("discord", pem(ed25519())),
    ],
    ids=[
        "short",
        "long",
        "base64-for-hex",
        "hex-for-base64",
        "p256-for-ed25519",
        "ed25519-for-p256",
        "cut",
        "p384",
        "rsa",
        "private-p256",
        "private-ed25519",
    ],
)
def test_a_key_that_is_not_the_senders_kind_is_the_operators(name: str, secret: str) -> None:
    with pytest.raises(OperatorError):
        SCHEMES[name].verify(vector(name, VECTORS[name][1]), [secret], NOW)


@pytest.mark.parametrize("timestamp", ["1700000000.0", "+1700000000", "1,700000000", "1e9"])
def test_a_timestamp_is_digits(timestamp: str) -> None:
    delivery = with_header(vector("discord", DISCORD), "x-signature-timestamp", timestamp)
    with pytest.raises(NotVerified) as refused:
        SCHEMES["discord"].verify(delivery, [ED25519_HEX], NOW)
    assert refused.value.reason == "malformed_timestamp"


@pytest.mark.parametrize("name", ["discord", "sendgrid"])
def test_a_digit_cannot_move_from_the_timestamp_into_the_body(name: str) -> None:
    header = VECTORS[name][2]
    delivery = replace(with_header(vector(name, VECTORS[name][1]), header, "170000000"), body=b"0" + BODY)
    with pytest.raises(NotVerified) as refused:
        SCHEMES[name].verify(delivery, [VECTORS[name][3]], NOW)
    assert refused.value.reason == "too_old"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-fal-webhook-request-id", "req_1\nuser_1"),
        ("x-fal-webhook-user-id", "user 1"),
        ("x-fal-webhook-user-id", "ü"),
        ("x-fal-webhook-user-id", "u" * 257),
    ],
    ids=["line-end", "blank", "beyond-ascii", "long"],
)
def test_a_signed_header_with_two_readings_is_refused(header: str, value: str) -> None:
    with pytest.raises(NotVerified) as refused:
        SCHEMES["fal"].verify(with_header(signed_by_fal(), header, value), [], NOW, [key_set(ed25519())])
    assert refused.value.reason == "malformed_signature"


def test_a_delivery_of_fal_is_named_by_its_request() -> None:
    assert SCHEMES["fal"].event_id(signed_by_fal()) == "req_1"


def test_a_delivery_without_what_is_signed_along_is_not_signed() -> None:
    with pytest.raises(NotVerified):
        SCHEMES["fal"].sign(replace(UNSIGNED, headers={}), pem(ed25519()), NOW)


def test_a_key_of_a_set_beyond_the_thirty_second_is_not_tried() -> None:
    others = [ed25519(number) for number in range(1, 33)]
    SCHEMES["fal"].verify(signed_by_fal(), [], NOW, [key_set(*others[:31], ed25519())])
    with pytest.raises(NotVerified):
        SCHEMES["fal"].verify(signed_by_fal(), [], NOW, [key_set(*others, ed25519())])


@pytest.mark.parametrize(
    "change",
    [{"crv": "X25519"}, {"kty": "EC"}, {"x": "AAAA"}, {"x": None}],
    ids=["x25519", "ec", "short", "none"],
)
def test_a_key_of_a_set_that_is_no_ed25519_key_is_passed_over(change: dict[str, object]) -> None:
    document = json.dumps({"keys": [{**jwk(ed25519()), **change}]}).encode()
    with pytest.raises(NotVerified) as refused:
        SCHEMES["fal"].verify(signed_by_fal(), [], NOW, [document])
    assert refused.value.reason == "unknown_key"


def test_a_document_may_be_one_key() -> None:
    SCHEMES["fal"].verify(signed_by_fal(), [], NOW, [json.dumps(jwk(ed25519())).encode()])


@pytest.mark.parametrize(
    ("key", "kind"), [(p256(), KeyKind.ED25519), (ed25519(), KeyKind.P256)], ids=["p256", "ed25519"]
)
def test_a_key_of_one_kind_is_none_of_the_other(
    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, kind: KeyKind
) -> None:
    document = json.loads(json.dumps(jwk(key)))
    assert key_of(document, kind) is None


def test_a_private_key_that_signs_nothing_is_of_another_kind() -> None:
    agreeing = X25519PrivateKey.from_private_bytes(bytes(range(32)))
    text = agreeing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(OperatorError, match="of another kind"):
        read_private_key(text)


def test_the_keys_of_fal_lie_at_one_address() -> None:
    source = SCHEMES["fal"].key_source
    assert source is not None
    request = source.request(UNSIGNED, "")
    assert (request.method, request.url) == ("GET", "https://rest.fal.ai/.well-known/jwks.json")
    assert not source.address.fullmatch("https://rest-fal.ai/.well-known/jwks.json")
    assert not source.address.fullmatch("https://restxfal.ai/.well-known/jwks.json")


def test_the_public_halves_are_those_of_the_vectors() -> None:
    assert public_hex(ed25519()) == ED25519_HEX
    assert public_base64(ed25519()) == ED25519_BASE64
