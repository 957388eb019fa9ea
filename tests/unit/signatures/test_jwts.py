"""What is particular to signatures that are JSON Web Tokens."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from services.errors import NotVerified, OperatorError, Reason
from services.models import Delivery
from services.signatures.jwts import Jwt, read_token
from services.signatures.public_catalogue import JWTS
from tests.unit.signatures.key_documents import (
    base64url,
    jwk,
    p256,
    pem,
    plaid_answer,
)

NOW = datetime.fromtimestamp(1_700_000_000, UTC)
T = 1_700_000_000
BODY = '{"id":"evt_1","text":"Zürich"}'.encode()
HEX = "adad74de8330815626400cae9383d3a2e0544eb3a42d89ba8770cc3e4772724f"
BASE64 = "ra103oMwgVYmQAyuk4PTouBUTrOkLYm6h3DMPkdyck8="
BASE64_URL = "ra103oMwgVYmQAyuk4PTouBUTrOkLYm6h3DMPkdyck8"
URL = "https://hooks.example.com/api/webhooks/acme?x=1"
URL_HEX = "b37ee009788f746dc70848cd891e972ef50dbce3ffa815dd9e7d7ca8e9c103e9"
KEY = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"
SECRETS = {"vonage": KEY, "qstash": KEY, "livekit": f"APIabc123:{KEY}", "messagebird": KEY}
HEADERS = {
    "plaid": "plaid-verification",
    "vonage": "authorization",
    "qstash": "upstash-signature",
    "livekit": "authorization",
    "messagebird": "messagebird-signature-jwt",
}
CLAIMS: dict[str, dict[str, Any]] = {
    "plaid": {"iat": T, "request_body_sha256": HEX},
    "vonage": {"iat": T, "jti": "c5ba8f24", "iss": "Vonage", "payload_hash": HEX},
    "qstash": {
        "iss": "Upstash",
        "sub": URL,
        "exp": T + 300,
        "nbf": T,
        "iat": T,
        "jti": "jwt_1",
        "body": BASE64_URL,
    },
    "livekit": {"iss": "APIabc123", "nbf": T, "exp": T + 300, "sha256": BASE64},
    "messagebird": {
        "iss": "MessageBird",
        "nbf": T,
        "exp": T + 60,
        "jti": "0123",
        "url_hash": URL_HEX,
        "payload_hash": HEX,
    },
}
each_scheme = pytest.mark.parametrize("name", CLAIMS)
each_shared = pytest.mark.parametrize("name", SECRETS)


def delivery(name: str, token: str, body: bytes = BODY) -> Delivery:
    value = f"Bearer {token}" if name == "vonage" else token
    return Delivery(method="POST", url=URL, headers={HEADERS[name]: value}, body=body, received_at=NOW)


def token(
    name: str,
    changes: Mapping[str, Any] | None = None,
    *,
    algorithm: str = "HS256",
    head: dict[str, Any] | None = None,
) -> str:
    """Make a token with PyJWT: a claim that is changed to None is left out."""
    claims = {k: v for k, v in {**CLAIMS[name], **(changes or {})}.items() if v is not None}
    if name == "plaid":
        return jwt.encode(claims, p256(), "ES256", headers=head or {"kid": str(jwk(p256())["kid"])})
    return jwt.encode(claims, KEY, algorithm, headers=head)


def token_of(head: bytes, claims: bytes, key: bytes = KEY.encode()) -> str:
    """Make a token of any bytes, signed with HS256."""
    content = f"{base64url(head)}.{base64url(claims)}"
    return f"{content}.{base64url(hmac.digest(key, content.encode(), 'sha256'))}"


def verify(name: str, sent: Delivery, now: datetime = NOW) -> None:
    secrets = [SECRETS[name]] if name in SECRETS else []
    JWTS[name].verify(sent, secrets, now, [plaid_answer(p256())])


def reason_of(name: str, sent: Delivery, now: datetime = NOW) -> Reason:
    with pytest.raises(NotVerified) as refused:
        verify(name, sent, now)
    return refused.value.reason


# The first four were made with PyJWT 2.15.1, the last with AccessToken of livekit-api 1.2.2. Accepted by
# vonage-jwt 1.1.5, qstash 3.4.0, messagebird 2.2.0, livekit-api 1.2.2 (PyPI); @vonage/jwt 1.14.0,
# @upstash/qstash 2.12.0, messagebird 4.0.1, livekit-server-sdk 2.19.2 (npm). Plaid has no library for it.
PLAID = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6IjZjNTUxNmUxLTkyZGMtNDc5ZS1hOGZmLTVhNTE5OTJlMDAwMSIsInR5cCI6IkpXVCJ9"
    ".eyJpYXQiOjE3MDAwMDAwMDAsInJlcXVlc3RfYm9keV9zaGEyNTYiOiJhZGFkNzRkZTgzMzA4MTU2MjY0MDBjYWU5MzgzZDN"
    "hMmUwNTQ0ZWIzYTQyZDg5YmE4NzcwY2MzZTQ3NzI3MjRmIn0.1pphTlPwVp4fJSvNUbwLBuYFAYB5JxBl-T2ulyi36GckLax"
    "Oxp2PwMlS5An7dM2RxTfYec4mSoPWrHu_P4GtnQ"
)
VONAGE = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDAsImp0aSI6ImM1YmE4ZjI0LTFhMTQtNGMxMC1"
    "iZmRmLTNmYmU4Y2U1MTFiNSIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6ImFkYWQ3NGRlODMzMDgxNTYyNjQwMGN"
    "hZTkzODNkM2EyZTA1NDRlYjNhNDJkODliYTg3NzBjYzNlNDc3MjcyNGYiLCJhcGlfa2V5IjoiYTFiMmMzZCIsImFwcGxpY2F"
    "0aW9uX2lkIjoiYWFhYWFhYWEtYmJiYi1jY2NjLWRkZGQtMDEyMzQ1Njc4OWFiIn0.6cb4hPB-q21xn9MxTTVgo930EboQP2_"
    "Q4hxu7sR2C0Y"
)
QSTASH = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJVcHN0YXNoIiwic3ViIjoiaHR0cHM6Ly9ob29rcy5leGFtcGx"
    "lLmNvbS9hcGkvd2ViaG9va3MvYWNtZT94PTEiLCJleHAiOjE3MDAwMDAzMDAsIm5iZiI6MTcwMDAwMDAwMCwiaWF0IjoxNzA"
    "wMDAwMDAwLCJqdGkiOiJqd3RfNjdreFhENlVCQWs3RHFVNmh6dUhNRGRYRlhmUCIsImJvZHkiOiJyYTEwM29Nd2dWWW1RQXl"
    "1azRQVG91QlVUck9rTFltNmgzRE1Qa2R5Y2s4PSJ9.JrFk-6LYNbDetG9YtRvmOje7vLY6hZ6QakrOagi41aA"
)
MESSAGEBIRD = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTcwMDAwMDAwMCwiZXhwIjo"
    "xNzAwMDAwMDYwLCJqdGkiOiIwMTIzIiwidXJsX2hhc2giOiJiMzdlZTAwOTc4OGY3NDZkYzcwODQ4Y2Q4OTFlOTcyZWY1MGR"
    "iY2UzZmZhODE1ZGQ5ZTdkN2NhOGU5YzEwM2U5IiwicGF5bG9hZF9oYXNoIjoiYWRhZDc0ZGU4MzMwODE1NjI2NDAwY2FlOTM"
    "4M2QzYTJlMDU0NGViM2E0MmQ4OWJhODc3MGNjM2U0NzcyNzI0ZiJ9.NZimmhzCWMmURQA8ddXRLUynz6XlhkpWDunBHNajav"
    "s"
)
LIVEKIT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzaGEyNTYiOiJyYTEwM29Nd2dWWW1RQXl1azRQVG91QlVUck9rTFltNmg"
    "zRE1Qa2R5Y2s4PSIsInN1YiI6IiIsImlzcyI6IkFQSWFiYzEyMyIsIm5iZiI6MTcwMDAwMDAwMCwiZXhwIjoxNzAwMDAwMzA"
    "wfQ.HAqipsgWL-Zk4QbVHy8zRkZpY8mEOdkKosO0L7T4atc"
)
VECTORS = {
    "plaid": PLAID,
    "vonage": VONAGE,
    "qstash": QSTASH,
    "livekit": LIVEKIT,
    "messagebird": MESSAGEBIRD,
}
PLAID_ANSWER = (
    b'{"key":{"alg":"ES256","created_at":1560466150,"crv":"P-256","expired_at":null,'
    b'"kid":"6c5516e1-92dc-479e-a8ff-5a51992e0001","kty":"EC","use":"sig",'
    b'"x":"AhfmF_C2RDkoJ4-WmZ5pojpPLBUr321s32bluAKC1O0","y":"GUp968uXcS0t2jyoWqh2Wlb0X8dYWZZS8ol8ZTBuV5Q"},'
    b'"request_id":"RZ6Omi1bzzwDaLo"}'
)


@each_scheme
def test_a_vector_is_verified(name: str) -> None:
    secrets = [SECRETS[name]] if name in SECRETS else []
    JWTS[name].verify(delivery(name, VECTORS[name]), secrets, NOW, [PLAID_ANSWER])


@each_scheme
def test_a_token_of_pyjwt_is_verified(name: str) -> None:
    verify(name, delivery(name, token(name)))


SENT: dict[str, dict[str, Any]] = {
    "plaid": {"iat": T, "request_body_sha256": HEX},
    "vonage": {"iat": T, "payload_hash": HEX},
    "qstash": {"iss": "Upstash", "sub": URL, "iat": T, "nbf": T, "exp": T + 300, "body": BASE64_URL},
    "livekit": {"iss": "APIabc123", "nbf": T, "exp": T + 300, "sha256": BASE64},
    "messagebird": {
        "iss": "MessageBird",
        "nbf": T,
        "exp": T + 300,
        "url_hash": URL_HEX,
        "payload_hash": HEX,
    },
}


@each_scheme
def test_pyjwt_reads_what_we_sign(name: str) -> None:
    bare = Delivery(method="POST", url=URL, headers={}, body=BODY, received_at=NOW)
    signed = JWTS[name].sign(bare, SECRETS.get(name) or pem(p256()), NOW).headers[HEADERS[name]]
    text = signed.removeprefix("Bearer ")
    if name == "plaid":
        claims = jwt.decode(text, p256().public_key(), ["ES256"])
        head = {"alg": "ES256", "kid": jwk(p256())["kid"], "typ": "JWT"}
    else:
        claims = jwt.decode(text, KEY, ["HS256"], options={"verify_exp": False})
        head = {"alg": "HS256", "typ": "JWT"}
        assert text.startswith("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.")  # without blanks
    assert jwt.get_unverified_header(text) == head
    named = "b25483404780dd93829839b1ff6a8b8e"  # sha256sum of time, address and body
    assert claims.pop("jti", named) == named
    assert claims == SENT[name]


def test_an_address_with_half_a_character_is_signed_as_its_bytes() -> None:
    there = Delivery(method="POST", url=f"{URL}\ud800", headers={}, body=BODY, received_at=NOW)
    verify("messagebird", JWTS["messagebird"].sign(there, KEY, NOW))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_only_messagebird_may_sign_with_a_longer_digest(algorithm: str) -> None:
    verify("messagebird", delivery("messagebird", token("messagebird", algorithm=algorithm)))
    for name in ("vonage", "qstash", "livekit"):
        assert reason_of(name, delivery(name, token(name, algorithm=algorithm))) == "wrong_algorithm"


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_longer_digest_is_not_taken_for_a_shorter_one() -> None:
    _, claims, signature = token("messagebird", algorithm="HS512").split(".")
    head = base64url(b'{"alg":"HS256"}')
    renamed = f"{head}.{claims}.{signature}"
    assert reason_of("messagebird", delivery("messagebird", renamed)) == "wrong_signature"


@each_scheme
@pytest.mark.parametrize(
    "digest", [None, "", "0" * 64, 7, [HEX], {"x": HEX}, HEX[:-2], BASE64[:-4]], ids=repr
)
def test_a_token_for_another_body_is_refused_as_such(name: str, digest: object) -> None:
    claim = {"qstash": "body", "livekit": "sha256", "plaid": "request_body_sha256"}.get(name, "payload_hash")
    assert reason_of(name, delivery(name, token(name, {claim: digest}))) == "wrong_body"


@each_scheme
def test_a_body_that_does_not_fit_a_rightly_signed_token_is_refused_as_such(name: str) -> None:
    assert reason_of(name, delivery(name, token(name), b'{"id":"evt_2"}')) == "wrong_body"
    assert reason_of(name, delivery(name, token(name), b"")) == "wrong_body"


@pytest.mark.parametrize(
    ("name", "claim", "digest"),
    [
        ("plaid", "request_body_sha256", HEX.upper()),
        ("vonage", "payload_hash", HEX.upper()),
        ("messagebird", "payload_hash", HEX.upper()),
        ("messagebird", "url_hash", URL_HEX.upper()),
        ("qstash", "body", BASE64),
        ("qstash", "body", BASE64_URL),
        ("livekit", "sha256", BASE64_URL),
    ],
)
def test_a_digest_is_accepted_however_it_is_written(name: str, claim: str, digest: str) -> None:
    verify(name, delivery(name, token(name, {claim: digest})))


def test_messagebird_names_no_empty_body() -> None:
    verify("messagebird", delivery("messagebird", token("messagebird", {"payload_hash": None}), b""))
    empty = hashlib.sha256(b"").hexdigest()
    verify("messagebird", delivery("messagebird", token("messagebird", {"payload_hash": empty}), b""))
    bare = Delivery(method="POST", url=URL, headers={}, body=b"", received_at=NOW)
    signed = JWTS["messagebird"].sign(bare, KEY, NOW).headers["messagebird-signature-jwt"]
    assert "payload_hash" not in jwt.decode(signed, options={"verify_signature": False})


@pytest.mark.parametrize("name", ["vonage", "qstash", "livekit", "plaid"])
def test_others_name_an_empty_body_too(name: str) -> None:
    claim = {"qstash": "body", "livekit": "sha256", "plaid": "request_body_sha256"}.get(name, "payload_hash")
    assert reason_of(name, delivery(name, token(name, {claim: None}), b"")) == "wrong_body"


@pytest.mark.parametrize("name", ["qstash", "messagebird"])
@pytest.mark.parametrize(
    "url",
    [URL + "&y=2", URL.removesuffix("?x=1"), URL.replace("https", "http"), URL.upper(), "", "\ud800"],
    ids=["more", "no-query", "http", "upper", "empty", "surrogate"],
)
def test_a_token_for_another_address_is_refused(name: str, url: str) -> None:
    assert reason_of(name, replace(delivery(name, token(name)), url=url)) == "wrong_body"


@pytest.mark.parametrize(("name", "claim"), [("qstash", "sub"), ("messagebird", "url_hash")])
@pytest.mark.parametrize("value", [None, "", 7, [URL], "0" * 64], ids=repr)
def test_a_token_that_names_no_address_is_refused(name: str, claim: str, value: object) -> None:
    made = token_of(b'{"alg":"HS256"}', json.dumps({**CLAIMS[name], claim: value}).encode())
    assert reason_of(name, delivery(name, made)) == "wrong_body"


@pytest.mark.parametrize("name", ["qstash", "livekit", "messagebird"])
@pytest.mark.parametrize("issuer", [None, "", "upstash", "APIother", "Upstash "])
def test_another_issuer_is_refused(name: str, issuer: str | None) -> None:
    assert reason_of(name, delivery(name, token(name, {"iss": issuer}))) == "untrusted_key"


def test_each_key_of_livekit_has_its_own_issuer() -> None:
    sent = delivery("livekit", token("livekit"))
    secrets = ["APIother:another-secret", f"APIabc123:{KEY}"]
    JWTS["livekit"].verify(sent, secrets, NOW)
    with pytest.raises(NotVerified) as refused:
        JWTS["livekit"].verify(sent, [f"APIother:{KEY}", "APIabc123:another"], NOW)
    assert refused.value.reason == "untrusted_key"


def test_a_key_of_livekit_may_have_a_colon() -> None:
    key = f"{KEY}:{KEY}"
    sent = delivery("livekit", jwt.encode(CLAIMS["livekit"], key, "HS256"))
    JWTS["livekit"].verify(sent, [f"APIabc123:{key}"], NOW)


@pytest.mark.parametrize("secret", [KEY, ":" + KEY, "APIabc123:", "APIabc123: x", " :x", "APIabc123 :x", ":"])
def test_a_secret_of_livekit_has_both_parts(secret: str) -> None:
    with pytest.raises(OperatorError, match="API_KEY:API_SECRET"):
        JWTS["livekit"].verify(delivery("livekit", token("livekit")), [secret], NOW)


def test_a_secret_that_came_twice_is_no_spoilt_one() -> None:
    forged = delivery("qstash", token_of(b'{"alg":"HS256"}', b"{}", b"another"))
    with pytest.raises(NotVerified) as refused:
        JWTS["qstash"].verify(forged, [KEY, KEY], NOW)
    assert refused.value.reason == "wrong_signature"


def test_the_next_key_of_qstash_verifies() -> None:
    JWTS["qstash"].verify(delivery("qstash", token("qstash")), ["current", KEY], NOW)


@pytest.mark.parametrize(
    ("name", "claim", "reason"),
    [
        ("plaid", "iat", "no_timestamp"),
        ("vonage", "iat", "no_timestamp"),
        ("qstash", "exp", "no_timestamp"),
        ("qstash", "nbf", "no_timestamp"),
        ("livekit", "exp", "no_timestamp"),
        ("messagebird", "exp", "no_timestamp"),
        ("messagebird", "jti", "malformed_signature"),
    ],
)
def test_a_token_without_a_required_claim_is_refused(name: str, claim: str, reason: str) -> None:
    assert reason_of(name, delivery(name, token(name, {claim: None}))) == reason


@pytest.mark.parametrize(
    ("name", "claim"),
    [("qstash", "iat"), ("qstash", "jti"), ("livekit", "nbf"), ("messagebird", "nbf"), ("vonage", "jti")],
)
def test_a_claim_that_is_not_required_may_be_missing(name: str, claim: str) -> None:
    verify(name, delivery(name, token(name, {claim: None})))


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("plaid", {"iat": T - 300}, None),
        ("plaid", {"iat": T - 301}, "too_old"),
        ("plaid", {"iat": T + 300}, None),
        ("plaid", {"iat": T + 301}, "too_new"),
        ("vonage", {"iat": T - 300}, None),
        ("vonage", {"iat": T - 301}, "too_old"),
        ("vonage", {"iat": T + 300}, None),
        ("vonage", {"iat": T + 301}, "too_new"),
        ("vonage", {"exp": T + 1}, None),
        ("vonage", {"exp": T}, "too_old"),
        ("vonage", {"nbf": T + 1}, "too_new"),
        ("qstash", {"exp": T + 1}, None),
        ("qstash", {"exp": T}, "too_old"),
        ("qstash", {"nbf": T + 1}, "too_new"),
        ("qstash", {"iat": T - 3600}, None),
        ("qstash", {"iat": T + 301}, "too_new"),
        ("livekit", {"exp": T - 59}, None),
        ("livekit", {"exp": T - 60}, "too_old"),
        ("livekit", {"nbf": T + 60}, None),
        ("livekit", {"nbf": T + 61}, "too_new"),
        ("messagebird", {"exp": T - 4}, None),
        ("messagebird", {"exp": T - 5}, "too_old"),
        ("messagebird", {"nbf": T + 5}, None),
        ("messagebird", {"nbf": T + 6}, "too_new"),
        ("messagebird", {"iat": T + 301}, "too_new"),
        ("qstash", {"exp": T + 0.5}, None),
        ("qstash", {"exp": T - 0.5}, "too_old"),
        ("plaid", {"iat": T - 300.5}, "too_old"),
    ],
)
def test_the_times_of_a_token_hold_to_the_second(
    name: str, changes: dict[str, float], reason: str | None
) -> None:
    sent = delivery(name, token(name, changes))
    if reason is None:
        verify(name, sent)
    else:
        assert reason_of(name, sent) == reason


@each_shared
@pytest.mark.parametrize("claim", ["iat", "nbf", "exp"])
@pytest.mark.parametrize(
    "value",
    [
        b"true",
        b"false",
        b"null",
        b'"1700000000"',
        b"[1700000000]",
        b"{}",
        b"-1e300",
        b"1e300",
        b"-62135596801",
        b"253402300800",
        b"9" * 400,
    ],
    ids=lambda value: value[:20].decode(),
)
def test_a_time_that_is_none_is_refused_and_nothing_else(name: str, claim: str, value: bytes) -> None:
    claims = {k: v for k, v in CLAIMS[name].items() if k != claim}
    document = json.dumps(claims).encode()[:-1] + b',"' + claim.encode() + b'":' + value + b"}"
    sent = delivery(name, token_of(b'{"alg":"HS256"}', document))
    assert reason_of(name, sent) == "malformed_timestamp"


UNREADABLE = {
    "nothing": b"",
    "no-json": b"hello",
    "null": b"null",
    "a-list": b"[]",
    "a-word": b'"x"',
    "no-utf-8": b"\xff\xfe",
    "deep": b'{"a":' + b"[" * 1500 + b"]" * 1500 + b"}",
    "infinite": b'{"exp":Infinity}',
    "too-large": b'{"exp":1e999}',
    "5000-digits": b'{"exp":' + b"9" * 5000 + b"}",
    "twice": b'{"iat":1,"iat":2}',
}


@each_shared
@pytest.mark.parametrize("claims", UNREADABLE.values(), ids=UNREADABLE)
def test_claims_that_cannot_be_read_are_refused_and_nothing_else(name: str, claims: bytes) -> None:
    made = token_of(b'{"alg":"HS256"}', claims).replace("..", ".e30.")
    assert reason_of(name, delivery(name, made)) in {"malformed_signature", "wrong_signature"}


@each_scheme
@pytest.mark.parametrize(
    "head",
    [*UNREADABLE.values(), b'{"alg":"HS256","alg":"none"}', b'{"alg":"\\ud800"}'],
    ids=[*UNREADABLE, "alg-twice", "surrogate"],
)
def test_a_head_that_cannot_be_read_is_refused_and_nothing_else(name: str, head: bytes) -> None:
    made = token_of(head, json.dumps(CLAIMS[name]).encode())
    assert reason_of(name, delivery(name, made)) in {"malformed_signature", "wrong_algorithm"}


@each_scheme
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + ".",
        lambda text: text + "=",
        lambda text: "." + text,
        lambda text: text.rpartition(".")[0],
        lambda text: text.rpartition(".")[0] + ".",
        lambda text: text.replace(".", ",", 1),
        lambda text: text.replace(".", "..", 1),
        lambda text: text + "\n",
        lambda text: text[:5] + " " + text[5:],
        lambda text: text[:5] + "\u0661" + text[5:],
        lambda text: text + "." + text,
        lambda text: text + "A",
        lambda text: text[:-1],
        lambda text: "x" * 9000 + text,
    ],
    ids=[
        "dot-after",
        "padded",
        "dot-before",
        "two-parts",
        "no-signature",
        "comma",
        "two-dots",
        "line-end",
        "blank",
        "another-digit",
        "twice",
        "longer",
        "shorter",
        "long",
    ],
)
def test_a_token_written_otherwise_is_refused(name: str, change: Any) -> None:
    reason = reason_of(name, delivery(name, change(token(name))))
    assert reason in {"malformed_signature", "wrong_signature"}


@each_scheme
def test_bits_beyond_a_signatures_end_are_refused(name: str) -> None:
    text = token(name)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[alphabet.index(text[-1]) ^ 1]
    assert reason_of(name, delivery(name, text[:-1] + other)) == "malformed_signature"


@each_shared
@pytest.mark.parametrize("part", [0, 1], ids=["head", "claims"])
def test_bits_beyond_a_signed_parts_end_are_refused(name: str, part: int) -> None:
    parts = [base64url(b'{"alg":"HS256"}'), base64url(json.dumps(CLAIMS[name]).encode() + b" ")]
    parts = [text if len(text) % 4 else base64url(b" " + jwt.utils.base64url_decode(text)) for text in parts]
    assert parts[part][-1] in "AEIMQUYcgkosw048"
    parts[part] = parts[part][:-1] + chr(ord(parts[part][-1]) + 1)
    content = ".".join(parts)
    made = f"{content}.{base64url(hmac.digest(KEY.encode(), content.encode(), 'sha256'))}"
    assert reason_of(name, delivery(name, made)) == "malformed_signature"


@each_scheme
def test_a_head_that_must_be_understood_is_refused(name: str) -> None:
    head = {"crit": ["exp"], "kid": str(jwk(p256())["kid"])}
    assert reason_of(name, delivery(name, token(name, head=head))) == "malformed_signature"


@pytest.mark.parametrize("value", ["{}", "Basic {}", "Bearer{}", "Bearer", "Bearer ", "JWT {}", "Bearer\t{}"])
def test_vonage_signs_with_a_bearer_token(value: str) -> None:
    sent = replace(delivery("vonage", ""), headers={"authorization": value.format(VONAGE)})
    assert reason_of("vonage", sent) == "no_signature"


@pytest.mark.parametrize("value", ["bearer {}", "BEARER {}", "Bearer  {}", " Bearer {} "])
def test_the_word_bearer_may_be_written_otherwise(value: str) -> None:
    verify("vonage", replace(delivery("vonage", ""), headers={"authorization": value.format(VONAGE)}))


def test_a_token_shows_nothing_of_itself() -> None:
    assert repr(read_token(VONAGE)) == "Token()"


def test_an_issuer_is_asked_for_where_keys_are_fetched_too() -> None:
    plaid = JWTS["plaid"]
    assert isinstance(plaid, Jwt)
    scheme = replace(plaid, issuer="Plaid")
    scheme.verify(delivery("plaid", token("plaid", {"iss": "Plaid"})), [], NOW, [plaid_answer(p256())])
    with pytest.raises(NotVerified) as refused:
        scheme.verify(delivery("plaid", token("plaid")), [], NOW, [plaid_answer(p256())])
    assert refused.value.reason == "untrusted_key"


def test_a_shared_secret_may_look_like_a_key() -> None:
    text = pem(p256()).strip()
    bare = Delivery(method="POST", url=URL, headers={}, body=BODY, received_at=NOW)
    JWTS["qstash"].verify(JWTS["qstash"].sign(bare, text, NOW), [text], NOW)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expired_at": 1_699_999_999}, "untrusted_key"),
        ({"expired_at": 1_800_000_000}, "untrusted_key"),
        ({"expired_at": "soon"}, "untrusted_key"),
        ({"alg": "ES384"}, "untrusted_key"),
        ({"alg": None}, "untrusted_key"),
        ({"crv": "P-384"}, "untrusted_key"),
        ({"kty": "OKP"}, "untrusted_key"),
        ({"x": "AAAA"}, "untrusted_key"),
        ({"y": "AhfmF_C2RDkoJ4-WmZ5pojpPLBUr321s32bluAKC1O0"}, "untrusted_key"),
        ({"x": None}, "untrusted_key"),
        ({"y": None}, "untrusted_key"),
        ({"kid": "another"}, "unknown_key"),
        ({"kid": None}, "unknown_key"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_key_of_plaid_that_is_not_to_be_used_verifies_nothing(
    changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(NotVerified) as refused:
        JWTS["plaid"].verify(delivery("plaid", token("plaid")), [], NOW, [plaid_answer(p256(), **changes)])
    assert refused.value.reason == reason


def test_a_key_of_plaid_need_not_name_its_algorithm() -> None:
    bare = json.dumps({"key": jwk(p256())}).encode()
    JWTS["plaid"].verify(delivery("plaid", token("plaid")), [], NOW, [bare])


@pytest.mark.parametrize("kid", [None, 7, "", "a/b", "a\ud800", "k" * 129, ["x"], {"x": 1}], ids=repr)
def test_a_key_id_that_is_none_is_unknown(kid: object) -> None:
    head = json.dumps({"alg": "ES256", "kid": kid}).encode()
    sent = delivery("plaid", token_of(head, json.dumps(CLAIMS["plaid"]).encode()))
    assert reason_of("plaid", sent) == "unknown_key"
    with pytest.raises(NotVerified):
        asked(sent)


@pytest.mark.parametrize(
    "signature", [b"", b"\x00" * 64, b"\xff" * 64, b"\x01" * 63, b"\x01" * 65, b"\x01" * 640]
)
def test_a_signature_of_plaid_that_is_another_is_refused(signature: bytes) -> None:
    content = token("plaid").rpartition(".")[0]
    sent = delivery("plaid", f"{content}.{base64url(signature)}")
    assert reason_of("plaid", sent) == "wrong_signature"


def test_a_signature_of_plaid_with_more_behind_it_is_refused() -> None:
    content, _, signature = token("plaid").rpartition(".")
    raw = jwt.utils.base64url_decode(signature)
    zero_before_s = raw[:32] + b"\x00" + raw[32:]
    assert reason_of("plaid", delivery("plaid", f"{content}.{base64url(zero_before_s)}")) == "wrong_signature"


def asked(sent: Delivery, api_key: str = "client:se:cret") -> tuple[str, object]:
    source = JWTS["plaid"].key_source
    assert source is not None
    request = source.request(sent, api_key)
    assert source.address.fullmatch(request.url)
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
    return request.url, json.loads(request.body)


@pytest.mark.parametrize(
    ("body", "host"),
    [
        (b'{"environment":"sandbox"}', "sandbox"),
        (b'{"environment":"production"}', "production"),
        (b'{"environment":"evil.example"}', "production"),
        (b'{"environment":["sandbox"]}', "production"),
        (b"{}", "production"),
        (b"\xff", "production"),
    ],
    ids=["sandbox", "production", "another", "a-list", "none", "no-json"],
)
def test_plaid_is_asked_for_a_key_where_it_comes_from(body: bytes, host: str) -> None:
    url, document = asked(delivery("plaid", PLAID, body))
    assert url == f"https://{host}.plaid.com/webhook_verification_key/get"
    assert document == {
        "client_id": "client",
        "secret": "se:cret",
        "key_id": "6c5516e1-92dc-479e-a8ff-5a51992e0001",
    }


@pytest.mark.parametrize("api_key", ["", "client", "client:", ":secret"])
def test_an_api_key_of_plaid_has_both_parts(api_key: str) -> None:
    with pytest.raises(OperatorError, match="CLIENT_ID:SECRET"):
        asked(delivery("plaid", PLAID), api_key)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("", "no_signature"),
        ("garbage", "malformed_signature"),
        (token("vonage"), "wrong_algorithm"),
        (token("plaid", head={"kid": "a b"}), "unknown_key"),
    ],
    ids=["none", "garbage", "hs256", "bad-kid"],
)
def test_plaid_is_not_asked_for_a_token_that_cannot_be_its_own(made: str, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        asked(delivery("plaid", made))
    assert refused.value.reason == reason


@each_scheme
def test_a_delivery_is_named_by_its_tokens_id_or_by_its_body(name: str) -> None:
    ids = {"vonage": "c5ba8f24", "qstash": "jwt_1", "messagebird": "0123"}
    assert JWTS[name].event_id(delivery(name, token(name))) == ids.get(name, HEX)


@pytest.mark.parametrize("jti", [None, "", 7])
def test_a_token_without_an_id_leaves_the_name_to_the_body(jti: object) -> None:
    claims = {**CLAIMS["qstash"], "jti": jti}
    sent = delivery("qstash", token_of(b'{"alg":"HS256"}', json.dumps(claims).encode()))
    verify("qstash", sent)
    assert JWTS["qstash"].event_id(sent) == HEX


def test_a_leap_in_time_is_no_error() -> None:
    sent = delivery("livekit", token("livekit"))
    assert reason_of("livekit", sent, datetime.max.replace(tzinfo=UTC)) == "too_old"
    assert reason_of("livekit", sent, datetime(1970, 1, 1, tzinfo=UTC) + timedelta(1)) == "too_new"
