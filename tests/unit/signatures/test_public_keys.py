"""Schemes with private keys, certificates and tokens: what holds for each of them, then Ed25519 and ECDSA."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from services.errors import NotVerified, OperatorError, Reason
from services.models import Delivery
from services.signatures.catalogue import JWTS, PUBLIC_KEYS
from tests.unit.signatures.key_documents import (
    TOPIC,
    WEBHOOK_ID,
    ed25519,
    jwk,
    key_set,
    p256,
    parties,
    pem,
    public_base64,
    public_hex,
    rsa_key,
)

SCHEMES = {**PUBLIC_KEYS, **JWTS}
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
# What was signed so many seconds ago or ahead still holds, and a second later no more.
EDGES = {
    **dict.fromkeys(["discord", "telnyx", "fal", "sendgrid", "plaid", "vonage"], (300, 300)),
    "aws_sns": (3900, 300),
    "qstash": (299, 0),
    "livekit": (359, 60),
    "paypal": (259_200, 300),
    "messagebird": (304, 5),
}
SECRETS = SCHEMES.keys() - {"fal", "plaid"}
IN_HEADERS = sorted(SCHEMES.keys() - {"aws_sns"})
each_scheme = pytest.mark.parametrize("name", SCHEMES)


@cache  # an RSA key is slow to read
def signed(name: str, *, at: datetime = NOW, body: bytes = BODY, party: int = 0) -> Delivery:
    return SCHEMES[name].sign(replace(UNSIGNED, body=body), parties(name)[party].private, at)


def verify(name: str, delivery: Delivery, *, now: datetime = NOW) -> None:
    party = parties(name)[0]
    SCHEMES[name].verify(delivery, party.secrets, now, party.keys)


def reason_of(name: str, delivery: Delivery, *, now: datetime = NOW) -> Reason:
    with pytest.raises(NotVerified) as refused:
        verify(name, delivery, now=now)
    return refused.value.reason


def with_header(delivery: Delivery, name: str, value: str | None) -> Delivery:
    headers = {k: v for k, v in delivery.headers.items() if k != name}
    return replace(delivery, headers=headers if value is None else {**headers, name: value})


def headers_of(name: str) -> Sequence[str]:
    own = getattr(SCHEMES[name], "signed_headers", ())
    return [one for one in signed(name).headers if one not in UNSIGNED.headers or one in own]


EACH_HEADER = [(name, header) for name in IN_HEADERS for header in headers_of(name)]


def test_the_schemes_are_these_eleven() -> None:
    assert EDGES.keys() == SCHEMES.keys()
    assert len(SCHEMES) == 11


@each_scheme
def test_what_it_signs_it_verifies(name: str) -> None:
    verify(name, signed(name))


@each_scheme
def test_what_somebody_else_signs_is_refused(name: str) -> None:
    reason = reason_of(name, signed(name, party=1))
    assert reason == ("unknown_key" if name == "plaid" else "wrong_signature")


@each_scheme
def test_either_of_two_keys_verifies(name: str) -> None:
    both = parties(name)
    secrets = [secret for party in both for secret in party.secrets]
    keys = [key for party in both for key in party.keys]
    for number in (0, 1):
        delivery = signed(name, party=number)
        SCHEMES[name].verify(delivery, secrets, NOW, keys)
        SCHEMES[name].verify(delivery, secrets[::-1], NOW, keys[::-1])


@pytest.mark.parametrize("name", IN_HEADERS)
@pytest.mark.parametrize("place", range(len(BODY)))
def test_a_change_anywhere_in_the_body_is_refused(name: str, place: int) -> None:
    changed = bytearray(BODY)
    changed[place] ^= 1
    reason = reason_of(name, replace(signed(name), body=bytes(changed)))
    assert reason in {"wrong_signature", "wrong_body"}


@pytest.mark.parametrize("name", IN_HEADERS)
@pytest.mark.parametrize(
    "body",
    [b"", BODY[:-1], BODY[1:], BODY + b" ", b" " + BODY, BODY + b"\x00", b"\xef\xbb\xbf" + BODY, BODY * 2],
    ids=["gone", "end-cut", "start-cut", "blank-after", "blank-before", "nul-after", "bom-before", "twice"],
)
def test_a_body_cut_or_grown_is_refused(name: str, body: bytes) -> None:
    assert reason_of(name, replace(signed(name), body=body)) in {"wrong_signature", "wrong_body"}


@pytest.mark.parametrize("name", IN_HEADERS)
@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"\xff\xfe", BODY * 40_000], ids=["empty", "nul", "no-utf-8", "megabyte"]
)
def test_any_bytes_verify_if_they_were_signed(name: str, body: bytes) -> None:
    verify(name, signed(name, body=body))


@pytest.mark.parametrize(("name", "past", "future"), [(name, *edges) for name, edges in EDGES.items()])
def test_what_is_just_inside_the_tolerance_holds_and_a_second_more_does_not(
    name: str, past: int, future: int
) -> None:
    def seconds(count: int) -> datetime:
        return NOW + timedelta(seconds=count)

    verify(name, signed(name), now=seconds(past))
    assert reason_of(name, signed(name), now=seconds(past + 1)) == "too_old"
    assert reason_of(name, signed(name), now=seconds(300_000_000)) in {"too_old", "untrusted_key"}
    verify(name, signed(name), now=seconds(-future))
    assert reason_of(name, signed(name), now=seconds(-future - 1)) == "too_new"


@pytest.mark.parametrize("name", sorted(EDGES.keys() - {"qstash", "livekit", "messagebird"}))
def test_half_a_second_past_the_tolerance_is_outside(name: str) -> None:
    late = NOW + timedelta(seconds=EDGES[name][0] + 0.5)
    assert reason_of(name, signed(name), now=late) == "too_old"


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize(
    "bad", [[], [""], [" "], ["\ud800"], ["", " "]], ids=["none", "empty", "blank", "surrogate", "two-empty"]
)
def test_without_a_usable_secret_the_operator_must_act(name: str, bad: list[str]) -> None:
    keys = parties(name)[0].keys
    for delivery in (signed(name), UNSIGNED):
        with pytest.raises(OperatorError):
            SCHEMES[name].verify(delivery, bad, NOW, keys)


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize("change", ["{}\n", " {}"], ids=["line-end-after", "blank-before"])
def test_a_secret_with_blanks_around_it_is_the_operators(name: str, change: str) -> None:
    party = parties(name)[0]
    with pytest.raises(OperatorError):
        SCHEMES[name].verify(signed(name), [change.format(party.secrets[0])], NOW, party.keys)


@pytest.mark.parametrize("name", sorted(SECRETS - {"aws_sns"}))
def test_a_spoilt_secret_beside_a_good_one_loses_nothing_and_lets_nothing_in(name: str) -> None:
    party = parties(name)[0]
    SCHEMES[name].verify(signed(name), ["", *party.secrets], NOW, party.keys)
    with pytest.raises(OperatorError):
        SCHEMES[name].verify(signed(name, party=1), ["", *party.secrets], NOW, party.keys)


@each_scheme
@pytest.mark.parametrize(
    "private", ["", " ", "-----BEGIN \n", "\ud800"], ids=["empty", "blank", "cut", "half"]
)
def test_it_does_not_sign_with_what_is_no_key(name: str, private: str) -> None:
    with pytest.raises(OperatorError):
        SCHEMES[name].sign(UNSIGNED, private, NOW)


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


@pytest.mark.parametrize(("name", "header"), EACH_HEADER)
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_a_header_missing_or_empty_is_refused(name: str, header: str, value: str | None) -> None:
    expected = {
        "paypal-auth-algo": "wrong_algorithm",
        "paypal-cert-url": "untrusted_key",
        "paypal-transmission-time": "no_timestamp",
    }
    reason = "no_timestamp" if header.endswith("timestamp") else expected.get(header, "no_signature")
    assert reason_of(name, with_header(signed(name), header, value)) == reason


@pytest.mark.parametrize(("name", "header"), EACH_HEADER)
@pytest.mark.parametrize("joint", [",", ", "], ids=["comma", "comma-blank"])
def test_a_header_that_came_twice_is_refused(name: str, header: str, joint: str) -> None:
    delivery = signed(name)
    value = delivery.headers[header]
    reason_of(name, with_header(delivery, header, f"{value}{joint}{value}"))


GARBAGE = {
    "words": "garbage",
    "blanks": "   ",
    "nul": "\x00",
    "line-end": "a\nb",
    "surrogate": "\ud800",
    "surrogates-in-a-token": "\ud800.\ud800.\ud800",
    "beyond-ascii": "ä.ö.ü",
    "other-digits": "١٢٣",
    "400-digits": "9" * 400,
    "negative": "-1",
    "not-a-number": "nan",
    "megabyte": "A" * 1_000_000,
    "bars": "|" * 100,
    "dots": "..",
    "empty-token": "e30.e30.",
    "deep-token": "W1tb" * 2000 + ".e30.",
    "null-token": "bnVsbA.bnVsbA.AAAA",
    "bearer": "Bearer ",
    "http": "http://api.paypal.com/v1/notifications/certs/CERT-1",
    "object": "{}",
}


@pytest.mark.parametrize(("name", "header"), EACH_HEADER)
@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_in_a_header_is_refused_and_nothing_else(name: str, header: str, value: str) -> None:
    reason_of(name, with_header(signed(name), header, value))


@pytest.mark.parametrize(("name", "header"), [pair for pair in EACH_HEADER if pair[1] != "paypal-cert-url"])
def test_every_character_of_a_header_counts(name: str, header: str) -> None:
    delivery = signed(name)
    value = delivery.headers[header]
    start = len("Bearer ") if value.startswith("Bearer ") else 0
    for place in range(start, len(value)):
        new = "1" if value[place] != "1" else "2"
        reason_of(name, with_header(delivery, header, value[:place] + new + value[place + 1 :]))


@pytest.mark.parametrize("name", IN_HEADERS)
@pytest.mark.parametrize("change", ["{}0", "{}00", "{}AAAA", "{}==", "{}\x00", "{}\xa0"], ids=repr)
def test_an_extended_signature_is_refused(name: str, change: str) -> None:
    delivery = signed(name)
    header = next(
        one for one in reversed(headers_of(name)) if "sig" in one or "verif" in one or "auth" in one
    )
    reason_of(name, with_header(delivery, header, change.format(delivery.headers[header])))


@pytest.mark.parametrize("name", ["fal", "plaid", "aws_sns", "paypal"])
@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"{}",
        b'{"keys":null}',
        b'{"keys":[null,1,"x",{}]}',
        b'{"key":7}',
        b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":7},{"kty":"OKP","crv":"Ed25519","x":"\\ud800"}]}',
        b"[" * 100_000,
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----",
    ],
    ids=lambda document: repr(document[:40]),
)
def test_a_document_without_a_key_verifies_nothing_and_raises_nothing_else(
    name: str, document: bytes
) -> None:
    party = parties(name)[0]
    with pytest.raises(NotVerified) as refused:
        SCHEMES[name].verify(signed(name), party.secrets, NOW, [document])
    assert refused.value.reason == "unknown_key"
    SCHEMES[name].verify(signed(name), party.secrets, NOW, [document, *party.keys])


@pytest.mark.parametrize("name", ["fal", "plaid", "aws_sns", "paypal"])
def test_without_documents_the_key_is_unknown(name: str) -> None:
    with pytest.raises(NotVerified) as refused:
        SCHEMES[name].verify(signed(name), parties(name)[0].secrets, NOW)
    assert refused.value.reason == "unknown_key"


@pytest.mark.parametrize("name", ["fal", "plaid", "aws_sns", "paypal"])
def test_keys_are_asked_for_where_the_pattern_allows_it(name: str) -> None:
    source = SCHEMES[name].key_source
    assert source is not None
    request = source.request(signed(name), "id:secret")
    assert source.address.fullmatch(request.url)
    assert request.url.startswith("https://")


@each_scheme
def test_what_binds_nothing_says_so(name: str) -> None:
    assert SCHEMES[name].binds_nothing == (name in {"fal", "paypal", "plaid"})


@each_scheme
def test_equal_deliveries_have_equal_names_and_others_have_not(name: str) -> None:
    scheme = SCHEMES[name]
    once, other = signed(name), signed(name, body=b'{"id":"evt_2"}')
    assert scheme.event_id(once) == scheme.event_id(signed(name)) != ""
    if name != "fal":
        assert scheme.event_id(once) != scheme.event_id(other)


@each_scheme
@given(data=st.data())
def test_whatever_comes_it_is_not_verified_and_nothing_else(name: str, data: st.DataObject) -> None:
    hostile = st.one_of(
        st.text(st.characters(codec=None), max_size=80),
        st.from_regex(r"\A[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,90}\Z"),
        st.from_regex(r"\A[0-9a-fA-F]{128}\Z"),
        st.from_regex(r"\A[A-Za-z0-9+/]{86}==\Z"),
        st.from_regex(r"\A[0-9]{1,30}\Z"),
    )
    headers = {header: data.draw(hostile) for header in headers_of(name)}
    body = data.draw(st.one_of(st.binary(max_size=80), st.just(signed(name).body)))
    keys = data.draw(st.lists(st.binary(max_size=80), max_size=2))
    delivery = replace(UNSIGNED, headers=headers, body=body)
    with pytest.raises(NotVerified):
        SCHEMES[name].verify(delivery, parties(name)[0].secrets, NOW, keys)


@pytest.mark.parametrize("name", sorted(SECRETS))
@given(
    secret=st.one_of(
        st.text(st.characters(codec=None), max_size=80),
        st.from_regex(r"\A[A-Za-z0-9+/]{0,130}={0,2}\Z"),
        st.binary(max_size=70).map(bytes.hex),
    )
)
def test_whatever_is_set_the_operator_must_act_or_nothing_is_verified(name: str, secret: str) -> None:
    with pytest.raises((NotVerified, OperatorError)):
        SCHEMES[name].verify(signed(name), [secret], NOW, parties(name)[0].keys)


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
        "private-p256",
        "private-ed25519",
    ],
)
def test_a_key_that_is_not_the_senders_kind_is_the_operators(name: str, secret: str) -> None:
    with pytest.raises(OperatorError):
        SCHEMES[name].verify(vector(name, VECTORS[name][1]), [secret], NOW)


def test_no_key_shows_in_an_error() -> None:
    with pytest.raises(OperatorError) as raised:
        SCHEMES["discord"].verify(UNSIGNED, ["hunter2"], NOW)
    assert "hunter2" not in str(raised.value)


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
    assert reason_of("fal", with_header(signed("fal"), header, value)) == "malformed_signature"


def test_a_delivery_of_fal_is_named_by_its_request() -> None:
    assert SCHEMES["fal"].event_id(signed("fal")) == "req_1"


def test_a_delivery_without_what_is_signed_along_is_not_signed() -> None:
    with pytest.raises(NotVerified):
        SCHEMES["fal"].sign(replace(UNSIGNED, headers={}), pem(ed25519()), NOW)


def test_a_key_of_a_set_beyond_the_thirty_second_is_not_tried() -> None:
    others = [ed25519(number) for number in range(1, 33)]
    SCHEMES["fal"].verify(signed("fal"), [], NOW, [key_set(*others[:31], ed25519())])
    with pytest.raises(NotVerified):
        SCHEMES["fal"].verify(signed("fal"), [], NOW, [key_set(*others, ed25519())])


@pytest.mark.parametrize(
    "change",
    [{"crv": "X25519"}, {"kty": "EC"}, {"x": "AAAA"}, {"x": None}],
    ids=["x25519", "ec", "short", "none"],
)
def test_a_key_of_a_set_that_is_no_ed25519_key_is_passed_over(change: dict[str, object]) -> None:
    document = json.dumps({"keys": [{**jwk(ed25519()), **change}]}).encode()
    with pytest.raises(NotVerified) as refused:
        SCHEMES["fal"].verify(signed("fal"), [], NOW, [document])
    assert refused.value.reason == "unknown_key"


def test_the_keys_of_fal_lie_at_one_address() -> None:
    source = SCHEMES["fal"].key_source
    assert source is not None
    assert source.request(UNSIGNED, "").url == "https://rest.fal.ai/.well-known/jwks.json"
    assert not source.address.fullmatch("https://rest-fal.ai/.well-known/jwks.json")
    assert not source.address.fullmatch("https://restxfal.ai/.well-known/jwks.json")


def test_the_public_halves_are_those_of_the_vectors() -> None:
    assert public_hex(ed25519()) == ED25519_HEX
    assert public_base64(ed25519()) == ED25519_BASE64
