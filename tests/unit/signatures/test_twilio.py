"""Twilio: address and sorted fields, a body bound by its hash, ports, and a shared key's algorithm.

Signatures are made with `RequestValidator("12345").compute_signature` of twilio 9.13.0 (PyPI), and the first
two of the fields with `getExpectedTwilioSignature` of twilio 6.2.0 (npm), too.
"""

from dataclasses import replace

import pytest

from services.errors import NotVerified
from services.models import Delivery
from services.signatures.catalogue import KEYED
from tests.unit.signatures.samples import (
    NOW,
    SAMPLES,
    TWILIO_FORM,
    TWILIO_JSON_URL,
    TWILIO_URL,
    request,
    with_header,
)

FORM, JSON, SHARED = KEYED["twilio_form"], KEYED["twilio_json"], KEYED["twilio_sharedkey"]
SETTINGS = "x-twilio-webhooks-signature-settings"


def posted(body: bytes, signature: str, url: str = TWILIO_URL) -> Delivery:
    return request(body, {"x-twilio-signature": signature}, url)


@pytest.mark.parametrize(
    ("body", "signature", "url"),
    [
        (TWILIO_FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", TWILIO_URL),
        (
            b"To=Z%C3%BCrich+%26+co&MediaUrl=b&MediaUrl=a&MediaUrl=b",
            "4HnCmiZG4S5h3OUOSUcSQCwg3jM=",
            TWILIO_URL,
        ),
        (b"Body=&a=1", "P12HBqbqcyCfeXfJmzLdR3vGg4w=", "https://mycompany.com/myapp.php"),
        (b"", "gdyXi6bpb3a/tMpOFfLt1Uao1wE=", "http://mycompany.com/a?x=1"),
    ],
    ids=["plain", "a-field-thrice", "an-empty-field", "no-fields"],
)
def test_sorted_distinct_fields_are_signed(body: bytes, signature: str, url: str) -> None:
    FORM.verify(posted(body, signature, url), ["12345"], NOW)


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        ("https://mycompany.com:443/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com:8443/myapp.php?foo=1&bar=2", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://mycompany.com/myapp.php?foo=1&bar=2", "kvajT1Ptam85bY51eRf/AJRuM3w="),
        ("https://mycompany.com:443/myapp.php?foo=1&bar=2", "kvajT1Ptam85bY51eRf/AJRuM3w="),
    ],
    ids=["without-443", "without-8443", "with-443", "as-it-came"],
)
def test_a_port_may_be_signed_or_not(url: str, signature: str) -> None:
    FORM.verify(posted(TWILIO_FORM, signature, url), ["12345"], NOW)


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        ("https://mycompany.com:8443/a", "/zqUePgvTRkddIMlB4R3uoTw2tE="),
        ("https://user:pass@mycompany.com/a", "VyqTtfQOZhQNQ/xCfZBC4TKbn+0="),
        ("http://mycompany.com:80/a?x=1", "gdyXi6bpb3a/tMpOFfLt1Uao1wE="),
    ],
    ids=["8443", "user-and-password", "80"],
)
def test_a_port_is_told_from_what_else_has_a_colon(url: str, signature: str) -> None:
    FORM.verify(posted(b"", signature, url), ["12345"], NOW)


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        ("https://[::1]:8443/a", "f2+bUtHku/xHkCyww1Wz1gf8Xj4="),  # https://[::1]/a
        ("https://[::1]/a", "HtS0AQVeLBSDgeaI+h+NSrvUk1E="),  # https://[::1]:443/a
        ("HTTPS://x.example/a?b=:1/", "d/bOvczA7v7P1TWem0wTuCycHyY="),  # HTTPS://x.example:443/a?b=:1/
        ("http://x.example/a", "kuk6KexKxBWGfaYHTFsK+DEmQP4="),  # http://x.example:80/a
        ("https://u:p@x.example:1/a", "nFxYUj1qFFdPfWdrsDZUPFXYAko="),  # https://u:p@x.example/a
        ("https://u:p@x.example/a", "ohGIcqR8UWpcE0uROhXb4xup2Gc="),  # https://u:p@x.example:443/a
    ],
    ids=["ipv6-with", "ipv6-without", "colon-in-query", "http", "user-and-port", "user-without"],
)
def test_only_the_port_goes_or_comes(url: str, signature: str) -> None:
    FORM.verify(posted(b"", signature, url), ["12345"], NOW)


@pytest.mark.parametrize(
    ("body", "url"),
    [
        (b"", TWILIO_URL),
        (TWILIO_FORM + b"&More=1", TWILIO_URL),
        (TWILIO_FORM.replace(b"Digits", b"digits"), TWILIO_URL),
        (TWILIO_FORM.replace(b"%2B", b"+"), TWILIO_URL),
        (TWILIO_FORM.replace(b"&", b";"), TWILIO_URL),
        (TWILIO_FORM, TWILIO_URL + "&more=1"),
        (TWILIO_FORM, TWILIO_URL.replace("https", "http")),
        (TWILIO_FORM, TWILIO_URL.replace("mycompany", "yourcompany")),
        (TWILIO_FORM, TWILIO_URL.replace("foo=1&bar=2", "bar=2&foo=1")),
    ],
    ids=["gone", "a-field-more", "case", "blank", "semicolons", "query", "scheme", "host", "query-order"],
)
def test_what_was_not_signed_is_refused(body: bytes, url: str) -> None:
    with pytest.raises(NotVerified) as refused:
        FORM.verify(posted(body, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", url), ["12345"], NOW)
    assert refused.value.reason == "wrong_signature"


def test_the_order_of_fields_does_not_count_and_names_the_same_event() -> None:
    sample = SAMPLES["twilio_form"].delivery
    shuffled = replace(sample, body=b"&".join(reversed(TWILIO_FORM.split(b"&"))))
    FORM.verify(shuffled, ["12345"], NOW)
    assert FORM.event_id(shuffled) == FORM.event_id(sample)
    for port in (":443", ":8443"):
        there = replace(sample, url=TWILIO_URL.replace(".com", f".com{port}"))
        assert FORM.event_id(there) == FORM.event_id(sample)


@pytest.mark.parametrize("signature", ["RSOYDt4T1cUTdK1PDd93/VVr8B8", "RSOYDt4T1cUTdK1PDd93_VVr8B8="])
def test_padding_and_alphabet_of_a_digest_do_not_count(signature: str) -> None:
    FORM.verify(posted(TWILIO_FORM, signature), ["12345"], NOW)


def test_too_many_fields_are_refused() -> None:
    body = b"&".join(b"a%d=1" % number for number in range(1001))
    with pytest.raises(NotVerified) as refused:
        FORM.verify(posted(body, "x"), ["12345"], NOW)
    assert refused.value.reason == "wrong_body"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"property": "value", "boolean": true} '])
@pytest.mark.parametrize("scheme", [FORM, JSON], ids=["form", "json"])
def test_a_hash_in_the_address_binds_any_body(scheme: object, body: bytes) -> None:
    assert scheme in (FORM, JSON)
    delivery = replace(SAMPLES["twilio_json"].delivery, body=body)
    for one in (FORM, JSON):
        with pytest.raises(NotVerified) as refused:
            one.verify(delivery, ["12345"], NOW)
        assert refused.value.reason == "wrong_body"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (TWILIO_URL, "no_signature"),
        (TWILIO_JSON_URL + "&bodySHA256=0a1ff7", "malformed_signature"),
        (TWILIO_JSON_URL.replace("bodySHA256", "bodysha256"), "no_signature"),
        (TWILIO_JSON_URL.replace("&bodySHA256", "?bodySHA256"), "no_signature"),
        (TWILIO_JSON_URL.replace("0a1ff", "1a1ff"), "wrong_signature"),
        ("https://x.example/?" + "&a" * 1001, "malformed_signature"),
    ],
    ids=["none", "two", "case", "inside-another-value", "changed", "too-many"],
)
def test_a_body_that_the_address_does_not_bind_is_refused(url: str, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        JSON.verify(replace(SAMPLES["twilio_json"].delivery, url=url), ["12345"], NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize("url", [TWILIO_URL, TWILIO_JSON_URL, "https://mycompany.com/a"])
def test_signing_json_puts_its_hash_into_the_address(url: str) -> None:
    signed = JSON.sign(replace(SAMPLES["twilio_json"].delivery, url=url), "12345", NOW)
    assert (
        signed.url.count("bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620") == 1
    )
    JSON.verify(signed, ["12345"], NOW)


def test_signing_gives_what_the_official_library_gives() -> None:
    form = FORM.sign(posted(TWILIO_FORM, ""), "12345", NOW)
    assert form.headers["x-twilio-signature"] == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    shared = SHARED.sign(posted(TWILIO_FORM, ""), "12345", NOW)
    assert shared.headers["x-twilio-signature"] == "033hgUJA9M/hXIZsYjwkerEP/DBm35nEri5FhCYjA5s="
    assert shared.headers[SETTINGS].endswith(",algorithm=HMAC_SHA256")


@pytest.mark.parametrize(
    "settings",
    ["algorithm=HMAC_SHA256", "key=k, algorithm=HMAC_SHA256", "algorithm=hmac_sha256,key=k"],
    ids=["no-key", "a-blank", "lower-case"],
)
def test_a_shared_key_is_used_with_its_algorithm(settings: str) -> None:
    SHARED.verify(with_header(SAMPLES["twilio_sharedkey"].delivery, SETTINGS, settings), ["12345"], NOW)


@pytest.mark.parametrize(
    "settings",
    [
        None,
        "key=k",
        "key=k,algorithm=",
        "key=k,algorithm=HMAC_SHA1",
        "algorithm=HMAC_SHA256,algorithm=HMAC_SHA1",
        "algorithm=HMAC_SHA256,algorithm=HMAC_SHA1=",
    ],
    ids=["missing", "none", "empty", "sha1", "two", "two-with-an-equals-sign"],
)
def test_a_shared_key_is_used_with_no_other_algorithm(settings: str | None) -> None:
    with pytest.raises(NotVerified) as refused:
        SHARED.verify(with_header(SAMPLES["twilio_sharedkey"].delivery, SETTINGS, settings), ["12345"], NOW)
    assert refused.value.reason == "wrong_algorithm"


def test_a_shared_key_signs_a_body_by_its_hash_too() -> None:
    delivery = replace(
        SAMPLES["twilio_json"].delivery,
        headers={
            "x-twilio-signature": "+UOCWf84gdgo/5Hpg4m5/EgKnJA2/TbOw5sPNVr3bPk=",
            SETTINGS: "key=k,algorithm=HMAC_SHA256",
        },
    )
    SHARED.verify(delivery, ["12345"], NOW)
    with pytest.raises(NotVerified):
        SHARED.verify(replace(delivery, body=b"{}"), ["12345"], NOW)


def test_the_two_algorithms_do_not_stand_for_each_other() -> None:
    shared = with_header(
        SAMPLES["twilio_sharedkey"].delivery, "x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    )
    with pytest.raises(NotVerified):
        SHARED.verify(shared, ["12345"], NOW)
    with pytest.raises(NotVerified):
        FORM.verify(SAMPLES["twilio_sharedkey"].delivery, ["12345"], NOW)
