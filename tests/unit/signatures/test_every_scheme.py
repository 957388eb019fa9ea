"""The security suite: each scheme of the catalogue is in it, and none can stay out.

Whatever comes, a scheme verifies it, or says NotVerified with a reason of the list, or OperatorError where
the operator's secret is to blame: any other exception fails the test that meets it.
"""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from services.errors import NotVerified, OperatorError, Reason
from services.models import Delivery
from services.signatures.catalogue import SCHEMES
from services.signatures.jwts import Jwt
from tests.unit.signatures.key_documents import (
    PrivateKey,
    base64url,
    ed25519,
    jwk,
    p256,
    parties,
    pem,
    rsa_key,
)
from tests.unit.signatures.material import MATERIAL, NOW, SENT_ALONG, Open, Takes
from tests.unit.signatures.samples import multipart, with_header

each_scheme = pytest.mark.parametrize("name", SCHEMES)
KEYED = [name for name in SCHEMES if parties(name)[0].secrets]
FETCHED = [name for name, scheme in SCHEMES.items() if scheme.key_source]
TOKENS = [name for name, scheme in SCHEMES.items() if isinstance(scheme, Jwt)]
SECOND = timedelta(seconds=1)


@cache  # an RSA key is slow to read
def signed(name: str, event: str = "evt1", *, party: int = 0, at: datetime = NOW) -> Delivery:
    return SCHEMES[name].sign(MATERIAL[name].unsigned(event), parties(name)[party].private, at)


def verify(name: str, delivery: Delivery, *secrets: str, now: datetime = NOW) -> None:
    party = parties(name)[0]
    SCHEMES[name].verify(delivery, secrets or party.secrets, now, party.keys)


def verdict(name: str, delivery: Delivery, *secrets: str, now: datetime = NOW) -> Reason | None:
    """Return the reason for which a delivery is refused; None if it is verified."""
    try:
        verify(name, delivery, *secrets, now=now)
    except NotVerified as refused:
        return Reason(refused.reason)
    return None


def parts(delivery: Delivery) -> dict[str, str]:
    """Take a delivery apart; each byte of its body is one character."""
    body = delivery.body.decode("latin-1")
    return {"method": delivery.method, "url": delivery.url, "body": body, **delivery.headers}


def with_part(delivery: Delivery, where: str, value: str) -> Delivery:
    match where:
        case "method":
            return replace(delivery, method=value)
        case "url":
            return replace(delivery, url=value)
        case "body":
            return replace(delivery, body=value.encode("latin-1"))
        case _:
            return with_header(delivery, where, value)


def open_all_over(name: str, where: str) -> bool:
    return any(one.where == where and one.region == Open.region for one in MATERIAL[name].opens)


def covered_headers(name: str) -> Sequence[str]:
    return [header for header in signed(name).headers if not open_all_over(name, header)]


def digest_of(name: str, delivery: Delivery) -> tuple[str, re.Match[str]]:
    """Find where a signature's text stands."""
    material = MATERIAL[name]
    where = material.where or str(getattr(SCHEMES[name], "signature_header", ""))
    found = re.search(material.digest, parts(delivery)[where])
    assert found
    return where, found


def with_digest(name: str, delivery: Delivery, text: str) -> Delivery:
    where, found = digest_of(name, delivery)
    value = found.string[: found.start(1)] + text + found.string[found.end(1) :]
    if where != "body":
        return with_part(delivery, where, value)
    return replace(delivery, body=value.encode("latin-1", "replace"))


def is_token(name: str) -> bool:
    """Tell whether the secret itself is sent, which fits everything."""
    return MATERIAL[name].binds_nothing == SENT_ALONG.why


def same_news(name: str, delivery: Delivery) -> bool:
    """Tell whether a verified delivery is what was signed in another spelling, or the scheme owns up."""
    scheme = SCHEMES[name]
    return scheme.binds_nothing or scheme.event_id(delivery) == scheme.event_id(signed(name))


def test_a_name_that_no_scheme_has_says_where_the_names_are() -> None:
    with pytest.raises(KeyError) as raised:
        SCHEMES["nobody"]
    assert raised.value.args == (
        "no scheme is called 'nobody': docs/providers.md lists them, "
        "docs/adding-a-provider.md says how to add one",
    )
    assert SCHEMES.get("nobody") is None
    assert "nobody" not in SCHEMES


def test_every_scheme_has_material() -> None:
    assert MATERIAL.keys() == SCHEMES.keys()


@each_scheme
def test_what_binds_nothing_says_why(name: str) -> None:
    assert SCHEMES[name].binds_nothing == bool(MATERIAL[name].binds_nothing)
    assert all(one.why for one in MATERIAL[name].opens)


# What is signed, and what is not


@each_scheme
def test_what_it_signs_it_verifies(name: str) -> None:
    verify(name, signed(name))
    verify(name, replace(signed(name), received_at=NOW + timedelta(days=1)))


def changes_that_verify(name: str) -> Iterator[tuple[str, int]]:
    """Change each character of a delivery in turn; yield those that nobody minds."""
    delivery = signed(name)
    for where, value in parts(delivery).items():
        for place, old in enumerate(value):
            new = chr(ord(old) ^ 1) if where == "body" else "1" if old != "1" else "2"
            changed = with_part(delivery, where, value[:place] + new + value[place + 1 :])
            if verdict(name, changed) is None:
                assert where != "body" or same_news(name, changed), (where, place)
                yield where, place


@each_scheme
def test_every_character_counts_but_where_the_table_says_that_it_is_open(name: str) -> None:
    values = parts(signed(name))
    regions = [
        (
            one,
            {place for found in re.finditer(one.region, values[one.where]) for place in range(*found.span())},
        )
        for one in MATERIAL[name].opens
    ]
    closed, opened = [], set()
    for where, place in changes_that_verify(name):
        within = [one for one, places in regions if one.where == where and place in places]
        opened.update(within)
        if not within:
            closed.append((where, place, values[where][:place][-20:]))
    assert closed == []
    assert opened == set(MATERIAL[name].opens), "what is called open is open"


def swollen(body: bytes) -> dict[str, bytes]:
    return {
        "gone": b"",
        "end-cut": body[:-1],
        "start-cut": body[1:],
        "half": body[: len(body) // 2],
        "blank-after": body + b" ",
        "blank-before": b" " + body,
        "line-end-after": body + b"\r\n",
        "nul-after": body + b"\x00",
        "bom-before": b"\xef\xbb\xbf" + body,
        "utf-16": body.decode("latin-1").encode("utf-16"),
        "twice": body * 2,
    }


@each_scheme
@pytest.mark.parametrize("change", swollen(b""))
def test_a_body_cut_or_grown_is_refused_or_the_same_news(name: str, change: str) -> None:
    delivery = replace(signed(name), body=swollen(signed(name).body)[change])
    reason = verdict(name, delivery)
    if reason is None:
        assert MATERIAL[name].takes in {Takes.OBJECT, Takes.FORM} or open_all_over(name, "body")
        assert same_news(name, delivery)
    elif MATERIAL[name].takes is Takes.BYTES:
        assert reason in {"wrong_signature", "wrong_body"}


@each_scheme
def test_a_signature_made_for_one_delivery_does_not_fit_another(name: str) -> None:
    stolen = digest_of(name, signed(name))[1].group(1)
    moved = with_digest(name, signed(name, "evt2"), stolen)
    if is_token(name):
        assert verdict(name, moved) is None
    else:
        assert verdict(name, moved) in {"wrong_signature", "wrong_body"}


@each_scheme
def test_names_of_equal_deliveries_are_equal_and_of_others_are_not(name: str) -> None:
    once = SCHEMES[name].event_id(signed(name))
    assert once
    assert SCHEMES[name].event_id(replace(signed(name), received_at=NOW + timedelta(days=1))) == once
    assert SCHEMES[name].event_id(signed(name, "evt2")) != once


# Whose secret


@each_scheme
def test_what_somebody_else_signs_is_refused(name: str) -> None:
    assert verdict(name, signed(name, party=1)) in {"wrong_signature", "unknown_key"}


@each_scheme
def test_either_of_two_secrets_verifies(name: str) -> None:
    both = parties(name)
    secrets = [secret for party in both for secret in party.secrets]
    keys = [key for party in both for key in party.keys]
    for number in (0, 1):
        SCHEMES[name].verify(signed(name, party=number), secrets, NOW, keys)
        SCHEMES[name].verify(signed(name, party=number), secrets[::-1], NOW, keys[::-1])


UNUSABLE = {
    "none": [],
    "empty": [""],
    "blank": [" "],
    "blank-before": [" {}"],
    "line-end-after": ["{}\n"],
    "surrogate": ["\ud800"],
    "two-of-them": ["", "{} "],
}


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.parametrize("forms", UNUSABLE.values(), ids=UNUSABLE)
def test_without_a_usable_secret_the_operator_must_act(name: str, forms: list[str]) -> None:
    party = parties(name)[0]
    secrets = [form.format(party.secrets[0]) for form in forms]
    for delivery in (signed(name), MATERIAL[name].unsigned(), replace(signed(name), headers={}, body=b"")):
        with pytest.raises(OperatorError):
            SCHEMES[name].verify(delivery, secrets, NOW, party.keys)


@each_scheme
def test_it_does_not_sign_with_what_is_no_secret(name: str) -> None:
    private = parties(name)[0].private
    spoilt = private[:-40] if "PRIVATE KEY" in private else f"{private}\n"
    for secret in ("", " ", "\ud800", spoilt):
        with pytest.raises(OperatorError):
            SCHEMES[name].sign(MATERIAL[name].unsigned(), secret, NOW)


@pytest.mark.parametrize("name", KEYED)
def test_a_spoilt_secret_beside_a_good_one_loses_nothing_and_lets_nothing_in(name: str) -> None:
    good = parties(name)[0].secrets[0]
    for secrets in (("", good), (good, ""), (good, " " + good)):
        verify(name, signed(name), *secrets)
        with pytest.raises(OperatorError):
            verify(name, signed(name, party=1), *secrets)
    assert verdict(name, replace(signed(name), headers={}, body=b""), "", good)


ODD_SECRETS = {
    "letter": "a",
    "nul": "\x00",
    "beyond-ascii": "Schlüssel-🔑",
    "colon": ":",
    "bar": "a|b",
    "prefix": "whsec_",
    "padding": "====",
    "400-digits": "9" * 400,
    "megabyte": "A" * 1_000_000,
    "zero-key": "0" * 64,
    "zero-point": "A" * 43 + "=",
    "der": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE" + "A" * 88,
    "pem": "-----BEGIN PUBLIC KEY-----",
    "surrogate-inside": "a\ud800b",
}


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.parametrize("secret", ODD_SECRETS.values(), ids=ODD_SECRETS)
def test_whatever_the_operator_sets_nothing_is_verified_by_it(name: str, secret: str) -> None:
    with pytest.raises((NotVerified, OperatorError)) as refused:
        verify(name, signed(name), secret)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("name", KEYED)
def test_no_error_shows_a_secret(name: str) -> None:
    for secret in ("hunter2 ", "hunter2"):
        with pytest.raises((NotVerified, OperatorError)) as refused:
            verify(name, signed(name), secret)
        assert "hunter2" not in str(refused.value)


# When


TIMED = [name for name, material in MATERIAL.items() if material.within]


@pytest.mark.parametrize("name", TIMED)
def test_what_is_rightly_signed_holds_to_the_edges_of_its_time_and_a_second_more_is_too_much(
    name: str,
) -> None:
    past, future = (count * SECOND for count in MATERIAL[name].within or ())
    assert verdict(name, signed(name), now=NOW + past) is None
    assert verdict(name, signed(name), now=NOW + past + SECOND) == "too_old"
    assert verdict(name, signed(name), now=NOW + timedelta(days=365)) == "too_old"
    assert verdict(name, signed(name), now=NOW - future) is None
    assert verdict(name, signed(name), now=NOW - future - SECOND) == "too_new"
    assert verdict(name, signed(name), now=NOW - timedelta(days=365)) == "too_new"


@pytest.mark.parametrize("name", TIMED)
def test_the_age_of_what_was_never_signed_is_not_told(name: str) -> None:
    for delivery in (with_digest(name, signed(name), "A" * 64), signed(name, party=1)):
        assert verdict(name, delivery, now=NOW + timedelta(days=365)) not in {"too_old", "too_new", None}


@pytest.mark.parametrize("name", [name for name in SCHEMES if name not in TIMED])
def test_a_scheme_without_a_time_signs_none(name: str) -> None:
    assert signed(name) == signed(name, at=NOW - timedelta(days=1))
    assert verdict(name, signed(name), now=NOW + timedelta(days=3650)) is None


# What stands in headers


MISSING = {
    "content-type": {"no_signature", "malformed_signature", "wrong_signature"},  # of a form, or signed
    "paypal-auth-algo": {"wrong_algorithm"},
    "paypal-cert-url": {"untrusted_key"},
    "x-twilio-webhooks-signature-settings": {"wrong_algorithm"},
}


@each_scheme
@pytest.mark.parametrize("value", [None, "", " \t"], ids=["missing", "empty", "blank"])
def test_a_header_missing_or_empty_is_refused(name: str, value: str | None) -> None:
    for header in covered_headers(name):
        expected = {"no_timestamp"} if header.endswith(("timestamp", "-time")) else {"no_signature"}
        if header.startswith("x-fal-webhook-") and value == " \t":
            expected = {"malformed_signature", *expected}  # is signed with its blanks
        reason = verdict(name, with_header(signed(name), header, value))
        assert reason in MISSING.get(header, expected), header


@each_scheme
@pytest.mark.parametrize("joint", [",", ", "], ids=["comma", "comma-blank"])
def test_a_header_that_came_twice_is_refused(name: str, joint: str) -> None:
    for header in covered_headers(name):
        value = signed(name).headers[header]
        if header != "content-type":  # of a form: the boundary with all that follows it
            assert verdict(name, with_header(signed(name), header, f"{value}{joint}{value}")), header


@each_scheme
def test_a_header_of_more_than_8_kib_is_refused(name: str) -> None:
    for header in covered_headers(name):
        long = " " * 8192 + signed(name).headers[header]
        assert verdict(name, with_header(signed(name), header, long)) == "malformed_signature", header


@each_scheme
def test_a_delivery_without_headers_and_body_is_refused(name: str) -> None:
    assert verdict(name, replace(signed(name), headers={}, body=b""))


GARBAGE = {
    "words": "garbage",
    "comma": ",",
    "equals": "=",
    "nul": "\x00",
    "line-end": "a\nb: c\r\n",
    "controls": "\x01\x07\x1b\x7f\x85",
    "surrogate": "\ud800",
    "surrogates-in-pairs": "t=1,v1=\ud800,s=\udfff",
    "surrogate-in-version": "v1,\ud800",
    "surrogates-in-token": "\ud800.\ud800.\ud800",
    "beyond-ascii": "v1,ä ö=ü",
    "beyond-utf-16": "🔑",
    "other-digits": "١٢٣",
    "other-digits-in-pairs": "t=١٢٣&s=٤٥٦",
    "400-digits": "9" * 400,
    "400-digits-in-pairs": "t=" + "9" * 400 + ",v1=00",
    "19-digits": "9" * 19,
    "negative": "-1",
    "fraction": "1e9",
    "not-a-number": "nan",
    "year-10000": "10000-01-01T00:00:00Z",
    "year-1": "0001-01-01T00:00:00+23:59",
    "zone": "2026-11-23T12:00:00+99:99",
    "megabyte": "v1,A " * 200_000,
    "megabyte-of-pairs": "v1=0," * 200_000,
    "8000-pairs": "t=1&" * 1990,
    "version-only": "v1,",
    "pair-only": "v1=",
    "object": "{}",
    "bars": "|" * 100,
    "dots": "..",
    "empty-token": "e30.e30.",
    "deep-token": "W1tb" * 2000 + ".e30.",
    "null-token": "bnVsbA.bnVsbA.AAAA",
    "bearer": "Bearer ",
    "basic": "Basic",
    "elsewhere": "http://api.paypal.com/v1/notifications/certs/CERT-1",
    "no-boundary": "multipart/form-data",
    "empty-boundary": "multipart/form-data; boundary=",
    "long-boundary": "multipart/form-data; boundary=" + "b" * 300,
    "surrogate-boundary": "multipart/form-data; boundary=\ud800",
    "other-charset": "multipart/form-data; boundary*=utf-99''%ff%fe",
    "semicolons": "multipart/form-data;" + ';"' * 4000,
}


@each_scheme
@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.timeout(10)
def test_garbage_in_a_header_is_refused_and_nothing_else(name: str, value: str) -> None:
    for header in signed(name).headers:
        reason = verdict(name, with_header(signed(name), header, value))
        assert reason or open_all_over(name, header), header
        assert reason in {None, "malformed_signature"} or not open_all_over(name, header), header


ADDRESSES = {
    "empty": "",
    "surrogate": "\ud800",
    "surrogate-in-query": "https://x/?\ud800",
    "surrogate-for-its-question-mark": "https://hooks.example.com/api/webhooks/acme\ud800from=them",
    "fields": "https://x/?" + "&a" * 500_000,
    "megabyte": "a" * 1_000_000,
    "users": "https://" + "@" * 500_000,
    "bracket": "https://[::1",
    "port": "https://x:99999999/",
    "signs": "://?",
    "escapes": "https://x/" + "%2" * 50_000,
    "http": "http://hooks.example.com/api/webhooks/acme?from=them",
    "other-path": "https://hooks.example.com/api/webhooks/acme/?from=them",
    "no-query": "https://hooks.example.com/api/webhooks/acme",
    "more-query": "https://hooks.example.com/api/webhooks/acme?from=them&",
    "fragment": "https://hooks.example.com/api/webhooks/acme?from=them#",
    "beyond-ascii": "https://hooks.example.com/api/webhooks/acme?from=thém",
}


@each_scheme
@pytest.mark.parametrize("url", ADDRESSES.values(), ids=ADDRESSES)
@pytest.mark.timeout(10)
def test_another_address_is_refused_where_it_is_signed(name: str, url: str) -> None:
    reason = verdict(name, replace(signed(name), url=url))
    if name == "contentful" and url.startswith("http://"):
        assert reason is None
    else:
        assert (reason is None) == open_all_over(name, "url")


@each_scheme
@pytest.mark.parametrize("method", ["PUT", "post", "", "\ud800", "POST\n"], ids=ascii)
def test_another_method_is_refused_where_it_is_signed(name: str, method: str) -> None:
    reason = verdict(name, replace(signed(name), method=method))
    assert (reason is None) == open_all_over(name, "method")


# What a digest looks like


@each_scheme
@pytest.mark.parametrize("cut", [1, 2, 8, 20], ids=lambda cut: f"{cut}-less")
def test_a_truncated_digest_is_refused(name: str, cut: int) -> None:
    text = digest_of(name, signed(name))[1].group(1).rstrip("=")
    for shorter in (text[:-cut], text[cut:], text[:cut]):
        reason = verdict(name, with_digest(name, signed(name), shorter))
        assert reason in {"wrong_signature", "malformed_signature"}
    assert verdict(name, with_digest(name, signed(name), ""))


@each_scheme
@pytest.mark.parametrize("more", ["0", "00", "AAAA", "==", "\x00", "\xa0", "\ud800"], ids=ascii)
def test_an_extended_digest_is_refused(name: str, more: str) -> None:
    text = digest_of(name, signed(name))[1].group(1)
    for longer in (text + more, more + text):
        reason = verdict(name, with_digest(name, signed(name), longer))
        assert reason in {"wrong_signature", "malformed_signature", "no_signature", "wrong_algorithm"}


@each_scheme
def test_letter_case_counts_unless_a_digest_is_hex(name: str) -> None:
    text = digest_of(name, signed(name))[1].group(1)
    is_hex = re.fullmatch("[0-9a-f]+", text) is not None and not MATERIAL[name].binds_nothing.startswith(
        "the"
    )
    for place in [place for place, letter in enumerate(text) if letter.isalpha()][:40]:
        swapped = text[:place] + text[place].swapcase() + text[place + 1 :]
        assert (verdict(name, with_digest(name, signed(name), swapped)) is None) == is_hex


VERSION = re.compile(r"\b(v[01]|h1|sha1|sha256|sha384|hmac-sha256-hex)(?=[=,:])")
VERSIONED = [name for name in MATERIAL if VERSION.search(digest_of(name, signed(name))[1].string)]


@pytest.mark.parametrize("name", VERSIONED)
@pytest.mark.parametrize("version", ["v9", "v1a", "sha512", "md5", "none", "", "\ud800"], ids=ascii)
def test_another_version_is_refused(name: str, version: str) -> None:
    where, found = digest_of(name, signed(name))
    for other in (version, VERSION.findall(found.string)[0].upper()):
        value = VERSION.sub(other, found.string).encode("latin-1", "replace").decode("latin-1")
        assert verdict(name, with_part(signed(name), where, value)) in {
            "malformed_signature",
            "wrong_algorithm",
        }


# What is looked into


HOSTILE = {
    "empty": b"",
    "nul": b"\x00",
    "no-utf-8": b"\xff\xfe\xfd",
    "bom": b'\xef\xbb\xbf{"id":"evt1"}',
    "utf-16": '{"id":"evt1"}'.encode("utf-16"),
    "half-a-character": b'{"id":"\\ud800"}',
    "nested": b'{"value":' + b"[" * 100_000,
    "nested-objects": b'{"event":' * 100_000,
    "nested-65": b'{"id":' + b"[" * 64 + b"]" * 64 + b"}",
    "400-digits": b'{"timestamp":' + b"9" * 400 + b"}",
    "5000-digits": b'{"timestamp":' + b"9" * 5000 + b"}",
    "name-twice": b'{"signature":{},"signature":{}}',
    "infinite": b'{"a":1e999}',
    "not-a-number": b'{"a":NaN}',
    "list": b"[]",
    "text": b'"signature"',
    "null": b"null",
    "odd-members": b'{"signature":7,"value":[7],"event":[],"notificationItems":[7],"Signature":{},"Type":[]}',
    "megabyte": b'{"id":"' + b"x" * 1_000_000 + b'"}',
    "megabyte-of-fields": b"&" * 1_000_000,
    "megabyte-of-escapes": b"%00" * 300_000,
    "boundaries": b"--XYZ\r\n" * 100_000,
    "broken-boundaries": b"--XYZ\r\n\r\n" + b"\r\n--XYZ-" * 100_000,
    "parts": b'--XYZ\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 15_000,
    "part-headers": b"--XYZ\r\n" + b"a: b\r\n" * 150_000,
    "odd-part": b"--XYZ\r\nContent-Disposition: form-data; name*=x''%ff; name=\"\xff\r\n\r\n1\r\n--XYZ--\r\n",
}


@each_scheme
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.timeout(10)
def test_a_hostile_body_is_refused_and_nothing_else(name: str, body: bytes) -> None:
    in_a_field = multipart(("json", body.decode("latin-1")), ("transloadit", body.decode("latin-1")))
    for hostile in (body, in_a_field):
        for headers in ({}, {"content-type": "multipart/form-data; boundary=XYZ"}):
            delivery = replace(signed(name), body=hostile, headers={**signed(name).headers, **headers})
            reason = verdict(name, delivery)
            assert (reason is None) == open_all_over(name, "body")


@each_scheme
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.timeout(10)
def test_a_hostile_body_that_was_rightly_signed_is_verified_or_refused_and_nothing_else(
    name: str, body: bytes
) -> None:
    private, takes = parties(name)[0].private, MATERIAL[name].takes
    delivery = replace(MATERIAL[name].unsigned(), body=body)
    try:
        delivery = SCHEMES[name].sign(delivery, private, NOW)
    except NotVerified:
        assert takes in {Takes.OBJECT, Takes.FORM}
        return
    reason = verdict(name, delivery)
    if takes in {Takes.BYTES, Takes.TEXT}:
        assert (reason is None) == (takes is Takes.BYTES or body.decode("utf-8", "replace").encode() == body)
    assert reason or SCHEMES[name].event_id(delivery)


ODD_VALUES = {
    "deep": b"[" * 64 + b"]" * 64,
    "very-deep": b"[" * 100_000 + b"]" * 100_000,
    "not-a-number": b"NaN",
    "infinite": b"-1e999",
    "5000-digits": b"9" * 5000,
    "name-twice-inside": b'{"a":1,"a":2}',
    "name-twice": b'1,"odd":2',
    "no-utf-8": b'"\xff"',
    "control": b'"\x00"',
}
OBJECTS = [name for name, material in MATERIAL.items() if material.takes is Takes.OBJECT]


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("value", ODD_VALUES.values(), ids=ODD_VALUES)
def test_json_with_two_readings_or_none_is_refused_also_where_members_are_open(
    name: str, value: bytes
) -> None:
    body = signed(name).body
    assert verdict(name, replace(signed(name), body=b'{"odd":' + value + b"," + body[1:]))
    if "body" in {one.where for one in MATERIAL[name].opens}:
        verify(name, replace(signed(name), body=b'{"odd":1,' + body[1:]))


# Keys that are fetched


DOCUMENTS = [
    b"",
    b"\xff\xfe",
    b"null",
    b"{}",
    b'{"keys":null}',
    b'{"keys":[null,1,"x",{}]}',
    b'{"key":7}',
    b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":7},{"kty":"OKP","crv":"Ed25519","x":"\\ud800"}]}',
    b'{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":7}]}',
    b"[" * 100_000,
    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    b"-----BEGIN CERTIFICATE-----",
]


@pytest.mark.parametrize("name", FETCHED)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: repr(document[:40]))
def test_a_document_without_a_key_verifies_nothing_and_raises_nothing_else(
    name: str, document: bytes
) -> None:
    party = parties(name)[0]
    for documents in ([document], []):
        with pytest.raises(NotVerified) as refused:
            SCHEMES[name].verify(signed(name), party.secrets, NOW, documents)
        assert refused.value.reason == "unknown_key"
    SCHEMES[name].verify(signed(name), party.secrets, NOW, [document, *party.keys])


@pytest.mark.parametrize("name", FETCHED)
def test_keys_are_asked_for_where_the_pattern_allows_it(name: str) -> None:
    source = SCHEMES[name].key_source
    assert source is not None
    request = source.request(signed(name), "id:secret")
    assert request.url.startswith("https://")
    assert source.address.fullmatch(request.url)
    for url in (request.url + "\n", request.url + "x?", "http" + request.url[5:], "https://evil.example/"):
        assert not source.address.fullmatch(url)


# Tokens that would choose their own algorithm or key


def token_of(name: str) -> tuple[dict[str, object], dict[str, object], str]:
    """Return head, claims and signature of a right token."""
    head, claims, signature = digest_of(name, signed(name))[1].group(1).split(".")
    return *(json.loads(base64.urlsafe_b64decode(one + "==")) for one in (head, claims)), signature


def forged(name: str, head: dict[str, object], key: str | bytes, algorithm: str) -> Reason | None:
    """Sign the right claims by another algorithm or key, and say what is said of it."""
    _, claims, _ = token_of(name)
    made = jwt.encode(claims, key, algorithm, headers=head)
    return verdict(name, with_digest(name, signed(name), made))


def written(head: dict[str, object], claims: dict[str, object], signature: str) -> str:
    return ".".join([*(base64url(json.dumps(one).encode()) for one in (head, claims)), signature])


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "hs256", None, 7, ["HS256"], {}])
def test_a_token_cannot_say_that_it_needs_no_signature(name: str, algorithm: object) -> None:
    head, claims, signature = token_of(name)
    for kept in ("", signature):
        token = written({**head, "alg": algorithm}, claims, kept)
        assert verdict(name, with_digest(name, signed(name), token)) == "wrong_algorithm"
    del head["alg"]
    assert (
        verdict(name, with_digest(name, signed(name), written(head, claims, signature))) == "wrong_algorithm"
    )


PUBLIC = p256().public_key()
PUBLIC_TEXTS = {
    "pem": PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "der": PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "point": PUBLIC.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
    "document": json.dumps(jwk(p256())).encode(),
    "empty": b"",
    "zero": bytes(32),
    "file": b"/dev/null",
}


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("key", PUBLIC_TEXTS.values(), ids=PUBLIC_TEXTS)
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_what_everybody_knows_is_no_shared_secret(name: str, key: bytes, algorithm: str) -> None:
    head, claims, _ = token_of(name)
    content = written({**head, "alg": algorithm}, claims, "")[:-1]
    signature = base64url(jwt.get_algorithm_by_name(algorithm).sign(content.encode(), key))
    reason = verdict(name, with_digest(name, signed(name), f"{content}.{signature}"))
    assert reason in {"wrong_algorithm", "wrong_signature"}


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_token_cannot_bring_its_own_key(name: str, algorithm: str) -> None:
    keys: dict[str, PrivateKey] = {
        "RS256": rsa_key(1),
        "PS256": rsa_key(1),
        "ES256": p256(1),
        "EdDSA": ed25519(1),
    }
    own = {
        "jwk": jwk(p256(1)),
        "jku": "https://evil.example/",
        "x5u": "https://evil.example/",
        "x5c": ["AA=="],
    }
    right = token_of(name)[0].get("kid", "k")
    for kid in (right, jwk(p256(1))["kid"], "../../dev/null", "' UNION SELECT 'AA'; --", "k" * 129, ""):
        reason = forged(name, {**own, "kid": kid}, pem(keys[algorithm]), algorithm)
        assert reason in {"wrong_algorithm", "wrong_signature", "unknown_key"}


# And anything else


@each_scheme
@given(data=st.data())
@settings(max_examples=20)
def test_whatever_comes_it_is_not_verified_and_nothing_else(name: str, data: st.DataObject) -> None:
    hostile = st.one_of(
        st.text(st.characters(codec=None), max_size=80),
        st.text("v10t=, .\x00é\u0661\ud800+/-_", max_size=80),
        st.from_regex(r"\A(t=[0-9]{1,20}[,&])?(v1|s)[=,][0-9a-f]{0,64}\Z"),
        st.from_regex(r"\A[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,90}\Z"),
        st.from_regex(r"\A[0-9]{1,30}\Z"),
        st.sampled_from([*signed(name).headers.values(), "multipart/form-data; boundary=b"]),
    )
    bodies = st.one_of(
        st.binary(max_size=80),
        st.from_regex(rb"\A--b\r\n[a-zA-Z:;= \r\n\"-]{0,60}\r\n--b--\Z"),
        st.from_regex(rb"\A(signature|transloadit|json|bt_signature|bt_payload)=[a-z|%0-9]{0,20}\Z"),
        st.sampled_from([MATERIAL[name].body, *swollen(signed(name).body).values()]),
    )
    headers = {header: data.draw(hostile) for header in signed(name).headers}
    url = data.draw(st.one_of(st.just(signed(name).url), st.text(st.characters(codec=None), max_size=40)))
    delivery = replace(signed(name), headers=headers, body=data.draw(bodies), url=url)
    if verdict(name, delivery) is None:
        assert same_news(name, delivery)


# What is missing is named


@each_scheme
def test_the_headers_that_a_signed_delivery_has_are_those_that_signing_adds_or_covers(name: str) -> None:
    there = signed(name)
    assert list(SCHEMES[name].lacks(there)) == []
    lacking = set(SCHEMES[name].lacks(replace(there, headers={})))
    assert lacking == there.headers.keys() - {"content-type", "content-length"}


@each_scheme
def test_a_delivery_that_lacks_one_of_these_headers_is_not_verified(name: str) -> None:
    for header in SCHEMES[name].lacks(replace(signed(name), headers={})):
        for nothing in (None, ""):
            without = with_header(signed(name), header, nothing)
            assert list(SCHEMES[name].lacks(without)) == [header]
            assert verdict(name, without) is not None
