"""The security suite: each HMAC scheme of the catalogue is in it, and none can stay out."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import NotVerified, OperatorError, Reason
from services.models import Delivery
from services.signatures.catalogue import HMACS as SCHEMES
from services.signatures.hmacs import Hmac

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
# Can be read as a text, as base64 and as hex.
SECRET = "31f290f6bf0629afe4bb98e31c41e8f6b1c9b0a4cf0d6e7a5ab3f4cd81f09a2e"
RETIRED = "0b61554081218ac6b21c284254831e6f9b1249862ca616e8d9d1b2c7a4e0f356"
BODY = b'{"id":"evt_1","amount":2000,"note":"' + b"x" * 200 + b'"}'
UNSIGNED = Delivery(
    method="POST",
    url="https://hooks.example.com/api/webhooks/acme?from=them",
    headers={"content-type": "application/json", "x-pusher-key": "278d425bdf160c739803"},
    body=BODY,
    received_at=NOW,
)
TOLERANCES = {
    "stripe": (300, 300),
    "standardwebhooks": (300, 300),
    "svix": (300, 300),
    "openai": (300, 300),
    "replicate": (300, 300),
    "resend": (300, 300),
    "clerk": (300, 300),
    "lithic": (300, 300),
    "polar": (300, 300),
    "anthropic": (300, 300),
    "gitlab_signed": (300, 300),
    "slack": (300, 300),
    "mux": (300, 300),
    "zoom": (300, 300),
    "hubspot_v3": (300, 300),
    "retell": (300, 300),
    "sanity": (300, 300),
    "webflow": (300, 300),
    "zendesk": (300, 300),
    "persona": (300, 300),
    "pusher": (300, 300),
    "paddle": (5, 5),
    "linear": (60, 60),
    "box": (600, 0),
    "workos": (180, 180),
    "elevenlabs": (1800, 300),
    "calendly": (180, 180),
}
each_scheme = pytest.mark.parametrize("name", SCHEMES)
each_tolerance = pytest.mark.parametrize(
    ("name", "past", "future"), [(name, *edges) for name, edges in TOLERANCES.items()], ids=TOLERANCES
)


def unsigned(scheme: Hmac) -> Delivery:
    own = {scheme.id_header: "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"} if scheme.id_header else {}
    return replace(UNSIGNED, headers={**UNSIGNED.headers, **own})


def signed(scheme: Hmac, *, secret: str = SECRET, at: datetime = NOW, body: bytes = BODY) -> Delivery:
    return scheme.sign(replace(unsigned(scheme), body=body), secret, at)


def with_header(delivery: Delivery, name: str, value: str | None) -> Delivery:
    headers = {k: v for k, v in delivery.headers.items() if k != name}
    return replace(delivery, headers=headers if value is None else {**headers, name: value})


def reason_of(scheme: Hmac, delivery: Delivery, *secrets: str, now: datetime = NOW) -> Reason:
    with pytest.raises(NotVerified) as refused:
        scheme.verify(delivery, secrets or (SECRET,), now)
    return refused.value.reason


def headers_of(scheme: Hmac) -> Mapping[str, str]:
    """Return what the signature covers or stands in, the signature first."""
    headers = signed(scheme).headers
    names = [name for name in headers if name not in UNSIGNED.headers]
    return {name: headers[name] for name in sorted(names, key=lambda name: name != scheme.signature_header)}


EACH_HEADER = [(name, header) for name, scheme in SCHEMES.items() for header in headers_of(scheme)]


@each_scheme
def test_what_it_signs_it_verifies(name: str) -> None:
    SCHEMES[name].verify(signed(SCHEMES[name]), [SECRET], NOW)


@each_scheme
@pytest.mark.parametrize("place", range(0, len(BODY), 7))
def test_a_change_anywhere_in_the_body_is_refused(name: str, place: int) -> None:
    delivery = signed(SCHEMES[name])
    changed = bytearray(delivery.body)
    changed[place] ^= 1
    assert reason_of(SCHEMES[name], replace(delivery, body=bytes(changed))) == "wrong_signature"


@each_scheme
@pytest.mark.parametrize(
    "body",
    [b"", BODY[:-1], BODY[1:], BODY + b" ", b" " + BODY, BODY + b"\x00", b"\xef\xbb\xbf" + BODY, BODY * 2],
    ids=["gone", "end-cut", "start-cut", "blank-after", "blank-before", "nul-after", "bom-before", "twice"],
)
def test_a_body_cut_or_grown_is_refused(name: str, body: bytes) -> None:
    delivery = replace(signed(SCHEMES[name]), body=body)
    assert reason_of(SCHEMES[name], delivery) == "wrong_signature"


@pytest.mark.parametrize("name", SCHEMES.keys() - {"linear", "pusher", "hubspot_v1", "hubspot_v2"})
@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"\xff\xfe", BODY * 5000], ids=["empty", "nul", "no-utf-8", "megabyte"]
)
def test_any_bytes_verify_if_they_were_signed(name: str, body: bytes) -> None:
    SCHEMES[name].verify(signed(SCHEMES[name], body=body), [SECRET], NOW)


@each_scheme
def test_a_wrong_secret_is_refused(name: str) -> None:
    assert reason_of(SCHEMES[name], signed(SCHEMES[name]), RETIRED) == "wrong_signature"


@each_scheme
def test_either_of_two_secrets_verifies(name: str) -> None:
    SCHEMES[name].verify(signed(SCHEMES[name], secret=RETIRED), [SECRET, RETIRED], NOW)
    SCHEMES[name].verify(signed(SCHEMES[name]), [RETIRED, SECRET], NOW)


@each_scheme
def test_a_retired_secret_is_refused_once_it_is_gone(name: str) -> None:
    assert reason_of(SCHEMES[name], signed(SCHEMES[name], secret=RETIRED)) == "wrong_signature"


UNUSABLE = [[], [""], [" "], [" " + SECRET], [SECRET + "\n"], ["\ud800"], ["", " "]]
UNUSABLE_IDS = ["none", "empty", "blank", "blank-before", "line-end-after", "surrogate", "two-empty"]


@each_scheme
@pytest.mark.parametrize("secrets", UNUSABLE, ids=UNUSABLE_IDS)
def test_without_a_usable_secret_the_operator_must_act(name: str, secrets: list[str]) -> None:
    with pytest.raises(OperatorError):
        SCHEMES[name].verify(signed(SCHEMES[name]), secrets, NOW)
    with pytest.raises(OperatorError):
        SCHEMES[name].verify(unsigned(SCHEMES[name]), secrets, NOW)


@each_scheme
@pytest.mark.parametrize("secret", ["", " ", SECRET + "\n"], ids=["empty", "blank", "line-end-after"])
def test_it_does_not_sign_with_a_secret_that_it_would_not_take(name: str, secret: str) -> None:
    with pytest.raises(OperatorError):
        SCHEMES[name].sign(unsigned(SCHEMES[name]), secret, NOW)


@each_scheme
def test_a_spoilt_secret_beside_a_good_one_loses_nothing_and_lets_nothing_in(name: str) -> None:
    SCHEMES[name].verify(signed(SCHEMES[name]), ["", SECRET], NOW)
    SCHEMES[name].verify(signed(SCHEMES[name]), [SECRET, ""], NOW)
    with pytest.raises(OperatorError):
        SCHEMES[name].verify(signed(SCHEMES[name], secret=RETIRED), ["", SECRET], NOW)
    assert reason_of(SCHEMES[name], unsigned(SCHEMES[name]), "", SECRET) == "no_signature"


@each_tolerance
def test_rightly_signed_but_too_old_or_too_new_is_refused(name: str, past: int, future: int) -> None:
    scheme = SCHEMES[name]
    for age, reason in ((past + 1, "too_old"), (315_360_000, "too_old"), (-future - 1, "too_new")):
        assert reason_of(scheme, signed(scheme, at=NOW - timedelta(seconds=age))) == reason


@each_tolerance
def test_the_edges_of_the_tolerance_are_inside(name: str, past: int, future: int) -> None:
    for age in (past, -future):
        SCHEMES[name].verify(signed(SCHEMES[name], at=NOW - timedelta(seconds=age)), [SECRET], NOW)


@each_tolerance
def test_half_a_second_past_the_tolerance_is_outside(name: str, past: int, future: int) -> None:
    late = NOW + timedelta(seconds=past + 0.5)
    assert reason_of(SCHEMES[name], signed(SCHEMES[name]), now=late) == "too_old"


@pytest.mark.parametrize("name", SCHEMES.keys() - TOLERANCES.keys())
def test_a_scheme_without_tolerance_signs_no_time(name: str) -> None:
    assert signed(SCHEMES[name]) == signed(SCHEMES[name], at=NOW - timedelta(days=1))


@pytest.mark.parametrize(("name", "header"), EACH_HEADER)
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_a_header_missing_or_empty_is_refused(name: str, header: str, value: str | None) -> None:
    scheme = SCHEMES[name]
    reason = reason_of(scheme, with_header(signed(scheme), header, value))
    assert reason == ("no_timestamp" if header.endswith("timestamp") else "no_signature")


@pytest.mark.parametrize(("name", "header"), EACH_HEADER)
@pytest.mark.parametrize("joint", [",", ", "], ids=["comma", "comma-blank"])
def test_a_header_that_came_twice_is_refused(name: str, header: str, joint: str) -> None:
    delivery = signed(SCHEMES[name])
    value = delivery.headers[header]
    reason_of(SCHEMES[name], with_header(delivery, header, f"{value}{joint}{value}"))


GARBAGE = {
    "words": "garbage",
    "comma": ",",
    "equals": "=",
    "blanks": "   ",
    "nul": "\x00",
    "surrogate": "\ud800",
    "surrogate-in-signature": "t=1,v1=\ud800",
    "surrogate-in-version": "v1,\ud800",
    "beyond-ascii": "v1,ä ö=ü",
    "other-digits": "t=١٢٣,v1=٤٥٦",
    "400-digits": "9" * 400,
    "400-digits-in-t": "t=" + "9" * 400 + ",v1=00",
    "negative": "-1",
    "fraction": "1e9",
    "not-a-number": "nan",
    "megabyte": "v1,A " * 200_000,
    "megabyte-of-pairs": "v1=0," * 200_000,
    "version-only": "v1,",
    "pair-only": "v1=",
    "object": "{}",
}


@pytest.mark.parametrize(("name", "header"), EACH_HEADER)
@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_in_a_header_is_refused_and_nothing_else(name: str, header: str, value: str) -> None:
    reason_of(SCHEMES[name], with_header(signed(SCHEMES[name]), header, value))


@pytest.mark.parametrize(("name", "header"), EACH_HEADER)
def test_every_character_of_a_header_counts(name: str, header: str) -> None:
    delivery = signed(SCHEMES[name])
    value = delivery.headers[header]
    for place, old in enumerate(value):
        new = "1" if old != "1" else "2"
        changed = with_header(delivery, header, value[:place] + new + value[place + 1 :])
        reason_of(SCHEMES[name], changed)


@each_scheme
@pytest.mark.parametrize("cut", [1, 2, 8, 20], ids=lambda cut: f"{cut}-less")
def test_a_truncated_digest_is_refused(name: str, cut: int) -> None:
    delivery = signed(SCHEMES[name])
    header = next(iter(headers_of(SCHEMES[name])))
    value = delivery.headers[header].rstrip("=")
    assert reason_of(SCHEMES[name], with_header(delivery, header, value[:-cut])) == "wrong_signature"


@each_scheme
@pytest.mark.parametrize("more", ["0", "00", "AAAA", "==", "\x00", "\xa0"], ids=repr)
def test_an_extended_digest_is_refused(name: str, more: str) -> None:
    delivery = signed(SCHEMES[name])
    header = next(iter(headers_of(SCHEMES[name])))
    reason = reason_of(SCHEMES[name], with_header(delivery, header, delivery.headers[header] + more))
    assert reason == "wrong_signature"


VERSIONED = [
    name for name in SCHEMES if re.search(r"\bv[01][=,]", "".join(headers_of(SCHEMES[name]).values()))
]


@pytest.mark.parametrize("name", VERSIONED)
@pytest.mark.parametrize("version", ["v9", "v1a", "v2", "V1", ""])
def test_another_version_is_refused(name: str, version: str) -> None:
    delivery = signed(SCHEMES[name])
    header = next(iter(headers_of(SCHEMES[name])))
    value = re.sub(r"\bv[01]([=,])", rf"{version}\1", delivery.headers[header])
    assert reason_of(SCHEMES[name], with_header(delivery, header, value)) == "malformed_signature"


@each_scheme
def test_a_signature_made_for_one_delivery_does_not_fit_another(name: str) -> None:
    scheme = SCHEMES[name]
    stolen = {header: signed(scheme, body=b"{}").headers[header] for header in headers_of(scheme)}
    assert (
        reason_of(scheme, replace(unsigned(scheme), headers={**unsigned(scheme).headers, **stolen}))
        == "wrong_signature"
    )


@each_scheme
@given(data=st.data())
def test_whatever_comes_it_is_not_verified_and_nothing_else(name: str, data: st.DataObject) -> None:
    scheme = SCHEMES[name]
    hostile = st.one_of(
        st.text(st.characters(codec=None), max_size=80),
        st.text("v10t=, .\x00é\u0661\ud800+/-_", max_size=80),
        st.from_regex(r"\At=[0-9]{1,20},v1=[0-9a-f]{0,64}\Z"),
        st.from_regex(r"\Av1,[A-Za-z0-9+/=_-]{0,44}( v1,[A-Za-z0-9+/=]{0,44})*\Z"),
        st.from_regex(r"\A[0-9]{1,30}\Z"),
    )
    headers = {header: data.draw(hostile) for header in headers_of(scheme)}
    delivery = replace(UNSIGNED, headers=headers, body=data.draw(st.binary(max_size=80)))
    reason_of(scheme, delivery)
