"""Signatures over another spelling of the request: Inngest's canonical JSON, Contentful's canonical request.

Inngest's signatures are made with `net.sign_request` of inngest 0.5.19 (PyPI), Contentful's with
`signRequest` of @contentful/node-apps-toolkit 3.16.1 (npm).
"""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from services.errors import NotVerified, OperatorError
from services.models import Delivery
from services.signatures.catalogue import KEYED
from tests.unit.signatures.samples import (
    CONTENTFUL_HEADERS,
    INNGEST,
    NOW,
    SAMPLES,
    request,
    with_header,
)

INN, CONTENT = KEYED["inngest"], KEYED["contentful"]
KEY = SAMPLES["inngest"].secret
DIGEST = "a645501f8c3d94d5d36187b7b5f48b6304cfadb7c86c8216a52b94e30befa140"


def inngest(body: bytes, signature: str, timestamp: str = "1700000000") -> Delivery:
    return request(body, {"x-inngest-signature": f"t={timestamp}&s={signature}"})


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (
            b'{"ctx":{"run_id":"01H"}}',
            "7a725eb0e6080007e63b4558f1e63154b38e7bf42f342325f8cb3e58da602869",
        ),
        (
            b'\n{ "ctx" : {\t"run_id":"\\u0030\\u0031H" } }\r\n',
            "7a725eb0e6080007e63b4558f1e63154b38e7bf42f342325f8cb3e58da602869",
        ),
        (b"", "189656184e486419febc1f6fd73e1c45bc8595c99633a32ebe1ea40ac8adf630"),
        (
            '{"n":-0,"m":-0.0,"e":1E21,"f":1e-7,"t":"\\ud83d\\ude00","\ufb33":1,"\U0001f600":2}'.encode(),
            "65672090f2468f7a515c0b8d4c5ba104bb1ce6d8aefe7eb98a8c4710caa99742",
        ),
        (
            b'{"n":1152921504606846976}',
            "3e89ceb7fcbbea9a819a833ae1ebede1058a51db35ae47880375a1684a51a969",
        ),
        (
            b'{"n":1152921504606847000}',
            "3e89ceb7fcbbea9a819a833ae1ebede1058a51db35ae47880375a1684a51a969",
        ),
        (
            b'{"n":[1152921504606846976]}',
            "b0a0006cc8232ee63f68d3b85382fc7d4f06f8358511103c3f7959d4591f98dc",
        ),
        (json.dumps(json.loads(INNGEST), indent=2).encode(), DIGEST),
    ],
    ids=[
        "compact",
        "spaced",
        "empty",
        "numbers-and-order",
        "exact-integer",
        "rounded-integer",
        "integer-in-a-list",
        "indented",
    ],
)
def test_inngest_signs_canonical_json(body: bytes, signature: str) -> None:
    INN.verify(inngest(body, signature), [KEY], NOW)


@pytest.mark.parametrize(
    "header",
    [
        f"s={DIGEST}&t=1700000000",
        f"t=1700000000&s={DIGEST.upper()}",
        f"t=1700000000&s={DIGEST}&v=2",
    ],
    ids=["other-order", "upper-case", "more"],
)
def test_an_authentic_digest_is_accepted_however_it_is_written(header: str) -> None:
    INN.verify(request(INNGEST, {"x-inngest-signature": header}), [KEY], NOW)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (f"s={DIGEST}", "no_timestamp"),
        (f"t=&s={DIGEST}", "no_timestamp"),
        (f"t=1700000000.0&s={DIGEST}", "malformed_timestamp"),
        (f"t=01700000000&s={DIGEST}", "wrong_signature"),
        (f"t=1700000001&s={DIGEST}", "wrong_signature"),
        (f"t=1700000000&t=1700000000&s={DIGEST}", "malformed_timestamp"),
        (f"t=1700000000&s={DIGEST}&s={DIGEST}", "malformed_signature"),
        ("t=1700000000", "malformed_signature"),
        ("t=1700000000&s=", "wrong_signature"),
        (DIGEST, "malformed_signature"),
    ],
    ids=["no-t", "empty-t", "fraction", "zero", "other-t", "t-twice", "s-twice", "no-s", "empty-s", "bare"],
)
def test_what_has_two_readings_or_none_is_refused(header: str, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        INN.verify(request(INNGEST, {"x-inngest-signature": header}), [KEY], NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (INNGEST.replace(b"01H", b"01J"), "wrong_signature"),
        (INNGEST.replace(b'"attempt":0', b'"attempt":1'), "wrong_signature"),
        (INNGEST.replace(b'"attempt":0', b'"attempt":"0"'), "wrong_signature"),
        (INNGEST.replace(b'"attempt":0', b'"attempt":9007199254740993'), "wrong_body"),
        (INNGEST.replace(b'"attempt":0', b'"attempt":' + b"9" * 400), "wrong_body"),
        (INNGEST.replace(b'"attempt":0', b'"attempt":0,"attempt":0'), "wrong_body"),
        (INNGEST + b"x", "wrong_body"),
        (b"", "wrong_signature"),
        (b"[]", "wrong_body"),
    ],
    ids=["text", "number", "type", "rounded", "400-digits", "name-twice", "grown", "gone", "list"],
)
def test_inngest_refuses_other_bodies(body: bytes, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        INN.verify(inngest(body, DIGEST), [KEY], NOW)
    assert refused.value.reason == reason


def test_a_number_that_the_canonical_form_would_round_cannot_stand_for_another() -> None:
    # The official library takes both under one signature.
    signature = "1d10f2de4ed6885383acaa7c1e4f851dd745b37d56174cac46beccb4cafdcd60"
    INN.verify(inngest(b'{"n":9007199254740992}', signature), [KEY], NOW)
    with pytest.raises(NotVerified) as refused:
        INN.verify(inngest(b'{"n":9007199254740993}', signature), [KEY], NOW)
    assert refused.value.reason == "wrong_body"


@pytest.mark.parametrize("secret", ["signkey-prod-12345678", "signkey-branch_2-12345678", "12345678"])
def test_the_prefix_is_no_part_of_the_key(secret: str) -> None:
    INN.verify(SAMPLES["inngest"].delivery, [secret], NOW)


def test_a_prefix_is_ascii() -> None:
    with pytest.raises(NotVerified):
        INN.verify(SAMPLES["inngest"].delivery, ["signkey-prüf-12345678"], NOW)


def test_a_key_that_is_nothing_but_prefix_is_the_operators() -> None:
    with pytest.raises(OperatorError):
        INN.verify(SAMPLES["inngest"].delivery, ["signkey-prod-"], NOW)


def test_blanks_and_order_name_the_same_event() -> None:
    one, other = request(b'{"a":1,"b":2}'), request(b'{ "b": 2.0, "a": 1 }')
    assert INN.event_id(one) == INN.event_id(other) != INN.event_id(request(b'{"a":1,"b":3}'))


def test_signing_for_inngest_gives_what_the_official_library_gives() -> None:
    signed = INN.sign(request(INNGEST), KEY, NOW)
    assert signed.headers["x-inngest-signature"] == f"t=1700000000&s={DIGEST}"
    with pytest.raises(NotVerified):
        INN.sign(request(b"no JSON"), KEY, NOW)


SECRET = SAMPLES["contentful"].secret
CMS = SAMPLES["contentful"].delivery


def listed(value: str) -> Delivery:
    return with_header(CMS, "x-contentful-signed-headers", value)


@pytest.mark.parametrize(
    ("path", "signature"),
    [
        ("/api/webhooks/cms", "f9cee5b29922808aa6f758cb18380997f2769fc5fdcd5b191b80e587386715d9"),
        ("/a?x?y", "e5a732e4f5130a3962c05965391358603a96cd969777b04a947e2f8634521997"),
        ("/a?x/y", "eacd6b8eb08c0a8d64c7c8cf0a5d82ecf491b020f9b8ce36bb8be71b98a798dc"),
        ("/a%20b/é?", "62ba1acdec7226ac35264f3536a5bad1e9e7d4f483df94a162fd73f077ba36ef"),
    ],
    ids=["plain", "two-question-marks", "a-slash-in-the-query", "escapes"],
)
def test_a_path_is_signed_in_one_spelling(path: str, signature: str) -> None:
    headers = {
        "x-contentful-signature": signature,
        "x-contentful-signed-headers": "x-contentful-signed-headers,x-contentful-timestamp",
        "x-contentful-timestamp": "1700000000000",
    }
    CONTENT.verify(request(b"", headers, "https://x.example" + path), [SECRET], NOW)


@pytest.mark.parametrize(
    "delivery",
    [
        listed("x-contentful-topic,x-contentful-timestamp,content-type,x-contentful-signed-headers"),
        listed("Content-Type, X-Contentful-Signed-Headers, X-Contentful-Timestamp, X-Contentful-Topic"),
        listed("content-type,x-contentful-topic"),
        with_header(CMS, "x-more", "1"),
        with_header(CMS, "x-contentful-topic", " ContentManagement.Entry.publish\t"),
        with_header(CMS, "x-contentful-signature", CONTENTFUL_HEADERS["x-contentful-signature"].upper()),
        replace(CMS, url=CMS.url.replace("https://hooks.example.com", "http://[::1]:8080")),
        replace(CMS, url=CMS.url.replace("https://hooks.example.com", "HTTPS://Hooks.Example.com")),
    ],
    ids=[
        "other-order",
        "case-and-blanks",
        "own-not-listed",
        "unsigned-header",
        "blanks",
        "upper-case",
        "other-host",
        "host-in-capitals",
    ],
)
def test_what_is_not_signed_may_differ(delivery: Delivery) -> None:
    CONTENT.verify(delivery, [SECRET], NOW)


@pytest.mark.parametrize(
    ("delivery", "reason"),
    [
        (replace(CMS, method="PUT"), "wrong_signature"),
        (replace(CMS, url=CMS.url.replace("cms", "smc")), "wrong_signature"),
        (replace(CMS, url=CMS.url.replace("x=1", "x=2")), "wrong_signature"),
        (replace(CMS, url=CMS.url.partition("?")[0]), "wrong_signature"),
        (replace(CMS, url=CMS.url.replace("%20", "+")), "wrong_signature"),
        (replace(CMS, body=CMS.body + b" "), "wrong_signature"),
        (replace(CMS, body=b""), "wrong_signature"),
        (with_header(CMS, "x-contentful-topic", "ContentManagement.Entry.delete"), "wrong_signature"),
        (with_header(CMS, "x-contentful-topic", None), "malformed_signature"),
        (with_header(CMS, "x-contentful-timestamp", "1700000000001"), "wrong_signature"),
        (with_header(CMS, "x-contentful-timestamp", "01700000000000"), "wrong_signature"),
        (with_header(CMS, "x-contentful-timestamp", "1700000000000.0"), "malformed_timestamp"),
        (with_header(CMS, "x-contentful-timestamp", None), "no_timestamp"),
        (with_header(CMS, "x-contentful-signature", None), "no_signature"),
        (listed("content-type,x-contentful-signed-headers,x-contentful-timestamp"), "wrong_signature"),
        (with_header(CMS, "x-contentful-topic", "\ud800"), "wrong_signature"),
        (listed(CONTENTFUL_HEADERS["x-contentful-signed-headers"] + ",x-more"), "malformed_signature"),
        (listed(CONTENTFUL_HEADERS["x-contentful-signed-headers"] + ","), "malformed_signature"),
        (listed(CONTENTFUL_HEADERS["x-contentful-signed-headers"] + ",content-type"), "malformed_signature"),
        (listed("content-type\xa0,x-contentful-topic"), "malformed_signature"),
    ],
    ids=[
        "method",
        "path",
        "query",
        "query-gone",
        "query-spelling",
        "body-grown",
        "body-gone",
        "header",
        "header-gone",
        "timestamp",
        "timestamp-zero",
        "timestamp-fraction",
        "timestamp-gone",
        "signature-gone",
        "fewer-headers",
        "surrogate",
        "more-headers",
        "empty-name",
        "name-twice",
        "no-break-space",
    ],
)
def test_contentful_refuses_what_is_not_signed(delivery: Delivery, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        CONTENT.verify(delivery, [SECRET], NOW)
    assert refused.value.reason == reason


def test_a_lone_surrogate_in_an_address_is_no_question_mark() -> None:
    signed = CONTENT.sign(request(b"", {}, "https://x.example/a?x"), SECRET, NOW)
    with pytest.raises(NotVerified):
        CONTENT.verify(replace(signed, url="https://x.example/a\ud800x"), [SECRET], NOW)


def test_no_header_of_contentful_can_tell_a_signed_time_in_the_place_of_the_signed_one() -> None:
    signed = CONTENTFUL_HEADERS
    told = (
        f"{signed['content-type']};x-contentful-signed-headers:{signed['x-contentful-signed-headers']}"
        f";x-contentful-timestamp:{signed['x-contentful-timestamp']}"
    )
    forged = {
        **signed,
        "content-type": told,
        "x-contentful-signed-headers": "content-type,x-contentful-topic",
        "x-contentful-timestamp": "1700086400000",
    }
    with pytest.raises(NotVerified) as refused:
        CONTENT.verify(replace(CMS, headers=forged), [SECRET], NOW + timedelta(days=1))
    assert refused.value.reason == "wrong_signature"


@pytest.mark.parametrize("milliseconds", [29_999, -300_000])
def test_contentful_takes_just_under_thirty_seconds(milliseconds: int) -> None:
    CONTENT.verify(CMS, [SECRET], NOW + timedelta(milliseconds=milliseconds))


@pytest.mark.parametrize(("milliseconds", "reason"), [(30_000, "too_old"), (-300_001, "too_new")])
def test_contentful_takes_nothing_older_or_newer(milliseconds: int, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        CONTENT.verify(CMS, [SECRET], NOW + timedelta(milliseconds=milliseconds))
    assert refused.value.reason == reason


def test_signing_for_contentful_signs_all_headers() -> None:
    unsigned = request(
        CMS.body,
        {name: CONTENTFUL_HEADERS[name] for name in ("content-type", "x-contentful-topic")},
        CMS.url,
    )
    assert CONTENT.sign(unsigned, SECRET, NOW).headers == CONTENTFUL_HEADERS
