"""Signatures in form fields: how forms are read, and what is particular to their three senders."""

import logging
from dataclasses import replace

import pytest

from services.errors import NotVerified, OperatorError
from services.models import Delivery
from services.signatures.catalogue import KEYED
from services.signatures.forms import read_fields
from tests.unit.signatures.samples import (
    BRAINTREE,
    DROPBOX_SIGN,
    FORM,
    NOW,
    SAMPLES,
    TRANSLOADIT,
    TRANSLOADIT_SIGNATURE,
    multipart,
    request,
    with_header,
)

MULTIPART = "multipart/form-data; boundary=XYZ"
DROPBOX, BRAIN, TRANS = KEYED["dropbox_sign"], KEYED["braintree"], KEYED["transloadit"]
DROPBOX_KEY = SAMPLES["dropbox_sign"].secret


def form(body: bytes, content_type: str = MULTIPART) -> Delivery:
    return request(body, {"content-type": content_type})


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"a=1&b=%C3%A9+%2B", FORM),
        (b"a=1&b=%C3%A9+%2B", FORM + "; charset=utf-8"),
        (multipart(("a", "1"), ("b", "é +")), MULTIPART),
        (multipart(("a", "1"), ("b", "é +")), 'Multipart/Form-Data; charset=utf-8; boundary="XYZ"'),
        (multipart(("a", "1"), ("b", "é +"), boundary="a b'c"), 'multipart/form-data; boundary="a b\'c"'),
        (b"\r\n" + multipart(("a", "1"), ("b", "é +")), MULTIPART),
        (multipart(("a", "1"), ("b", "é +")) + b"epilogue", MULTIPART),
        (
            b'--XYZ\r\ncontent-DISPOSITION: form-data; filename="f"; name=a\r\nContent-Type: text/plain\r\n'
            b'\r\n1\r\n--XYZ\r\nContent-Disposition:form-data; name="b"\r\n\r\n\xc3\xa9 +\r\n--XYZ--',
            MULTIPART,
        ),
    ],
    ids=["urlencoded", "charset", "multipart", "quoted", "odd-boundary", "line-end", "epilogue", "headers"],
)
def test_fields_are_read_as_their_bytes(body: bytes, content_type: str) -> None:
    assert read_fields(form(body, content_type)) == [(b"a", b"1"), (b"b", b"\xc3\xa9 +")]


def test_what_looks_like_a_boundary_is_content() -> None:
    body = multipart(("a", "\r\n--XY\r\n-XYZ--\r\n--"))
    assert read_fields(form(body)) == [(b"a", b"\r\n--XY\r\n-XYZ--\r\n--")]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (multipart(("a", "1")), "multipart/form-data"),
        (multipart(("a", "1"), boundary=""), "multipart/form-data"),
        (multipart(("a", "1")), "multipart/form-data; boundary=ABC"),
        (multipart(("a", "1"))[:-4], MULTIPART),
        (b"", MULTIPART),
        (b"--XYZ\r\n\r\n1\r\n--XYZ--", MULTIPART),
        (b'--XYZ\r\nContent-Disposition: form-data; filename="a"\r\n\r\n1\r\n--XYZ--', MULTIPART),
        (b"--XYZ\r\n" + b'Content-Disposition: form-data; name="a"\r\n' * 2 + b"\r\n1\r\n--XYZ--", MULTIPART),
        (b'--XYZ\nContent-Disposition: form-data; name="a"\n\n1\n--XYZ--', MULTIPART),
        (multipart(*[("a", "1")] * 1001), MULTIPART),
        (b"&".join([b"a=1"] * 1001), FORM),
    ],
    ids=[
        "no-boundary",
        "empty-boundary",
        "other-boundary",
        "cut-short",
        "empty",
        "no-header",
        "no-name",
        "two-names",
        "line-feeds-alone",
        "too-many-parts",
        "too-many-fields",
    ],
)
def test_a_broken_form_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(NotVerified) as refused:
        read_fields(form(body, content_type))
    assert refused.value.reason == "malformed_signature"


def test_a_thousand_fields_are_read() -> None:
    assert len(read_fields(form(multipart(*[("a", "1")] * 1000)))) == 1000
    assert len(read_fields(form(b"&".join([b"a=1"] * 1000), FORM))) == 1000


def test_a_broken_form_is_not_told_of(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(NotVerified):
        read_fields(form(b"--XYZ\r\nsecret header\r\n\r\n"))
    assert caplog.records == []
    assert capsys.readouterr().err == ""


def dropbox(*parts: tuple[str, str]) -> Delivery:
    return form(multipart(*parts))


@pytest.mark.parametrize(
    "delivery",
    [
        dropbox(("other", "x"), ("json", DROPBOX_SIGN)),
        dropbox(("json", DROPBOX_SIGN.replace('"1348177752"', "1348177752"))),
        dropbox(("json", DROPBOX_SIGN.replace("08d45a6b", "08D45A6B"))),
        form(b"json=" + DROPBOX_SIGN.replace("+", "%2B").encode(), FORM),
        dropbox(("json", DROPBOX_SIGN.replace("Zürich", "Forged"))),
    ],
    ids=["a-field-before", "time-as-number", "upper-case", "urlencoded", "all-else-is-open"],
)
def test_dropbox_sign_signs_time_and_type_alone(delivery: Delivery) -> None:
    DROPBOX.verify(delivery, [DROPBOX_KEY], NOW)


@pytest.mark.parametrize(
    ("delivery", "reason"),
    [
        (dropbox(("json", DROPBOX_SIGN.replace("1348177752", "1348177753"))), "wrong_signature"),
        (dropbox(("json", DROPBOX_SIGN.replace("request_sent", "request_done"))), "wrong_signature"),
        (dropbox(("json", DROPBOX_SIGN.replace("08d45a6b", "18d45a6b"))), "wrong_signature"),
        (dropbox(("json", DROPBOX_SIGN.replace("event_hash", "hash"))), "no_signature"),
        (
            dropbox(("json", DROPBOX_SIGN.replace('"event_hash":"', '"event_hash":1,"a":"'))),
            "malformed_signature",
        ),
        (dropbox(("json", DROPBOX_SIGN.replace("event_time", "time"))), "malformed_timestamp"),
        (dropbox(("json", DROPBOX_SIGN.replace("1348177752", "1348177752.0"))), "malformed_timestamp"),
        (dropbox(("json", DROPBOX_SIGN.replace("event_type", "type"))), "malformed_signature"),
        (dropbox(("json", DROPBOX_SIGN), ("json", DROPBOX_SIGN)), "malformed_signature"),
        (dropbox(("json", "[]")), "malformed_signature"),
        (dropbox(("json", "{}")), "no_signature"),
        (dropbox(("json", '{"event":[]}')), "no_signature"),
        (dropbox(("json", "")), "no_signature"),
        (dropbox(("JSON", DROPBOX_SIGN)), "no_signature"),
        (request(DROPBOX_SIGN.encode(), {"content-type": "application/json"}), "no_signature"),
    ],
    ids=[
        "other-time",
        "other-type",
        "other-hash",
        "no-hash",
        "hash-no-text",
        "no-time",
        "time-fraction",
        "no-type",
        "field-twice",
        "list",
        "no-event",
        "event-list",
        "empty",
        "other-field",
        "bare-json",
    ],
)
def test_dropbox_sign_refuses_what_has_no_right_hash(delivery: Delivery, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        DROPBOX.verify(delivery, [DROPBOX_KEY], NOW)
    assert refused.value.reason == reason


def test_digits_cannot_be_moved_from_the_time_to_the_type() -> None:
    moved = DROPBOX_SIGN.replace("1348177752", "134817775").replace("signature_req", "2signature_req")
    with pytest.raises(NotVerified) as refused:
        DROPBOX.verify(dropbox(("json", moved)), [DROPBOX_KEY], NOW)
    assert refused.value.reason == "malformed_signature"


def test_two_events_of_one_second_have_two_names_and_one_event_sent_twice_has_one() -> None:
    one, other = DROPBOX_SIGN, DROPBOX_SIGN.replace("Zürich", "Bern")
    again = form(multipart(("json", one), boundary="ABC"), "multipart/form-data; boundary=ABC")
    DROPBOX.verify(dropbox(("json", other)), [DROPBOX_KEY], NOW)
    assert DROPBOX.event_id(dropbox(("json", one))) != DROPBOX.event_id(dropbox(("json", other)))
    assert DROPBOX.event_id(dropbox(("json", one))) == DROPBOX.event_id(again)


def test_an_event_as_json_becomes_a_form_when_it_is_signed() -> None:
    event = '{"event":{"event_type":"signature_request_sent","event_time":"1348177752"},"a":"é"}'.encode()
    signed = DROPBOX.sign(request(event, {"content-type": "application/json"}), DROPBOX_KEY, NOW)
    assert signed.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b"08d45a6b7677492b78be030cef18cfeaece8fe67e163cc8e526ee638ad483756" in signed.body
    DROPBOX.verify(signed, [DROPBOX_KEY], NOW)


def test_an_event_without_a_time_gets_one_when_it_is_signed() -> None:
    signed = DROPBOX.sign(request(b'{"event":{"event_type":"Callback_Test2"}}'), DROPBOX_KEY, NOW)
    assert b'"event_time": "1700000000"' in signed.body
    DROPBOX.verify(signed, [DROPBOX_KEY], NOW)


PAIR = "integration_public_key|719c4ec02108f3b85284a2dc1457be52e1b779b0"


def braintree(signature: str) -> Delivery:
    pairs = signature.replace("|", "%7C").replace("&", "%26").encode()
    return form(b"bt_signature=" + pairs + b"&" + BRAINTREE.partition(b"&")[2], FORM)


@pytest.mark.parametrize(
    "secret", ["integration_private_key", "integration_public_key|integration_private_key"]
)
@pytest.mark.parametrize(
    "signature",
    [
        PAIR,
        f"other_key|{'0' * 40}&{PAIR}",
        f"{PAIR}&other_key|{'0' * 40}",
        f"x&{PAIR}",
        PAIR.upper().replace("INTEGRATION_PUBLIC_KEY", "integration_public_key"),
    ],
    ids=["one", "second", "first", "no-pair-before", "upper-case"],
)
def test_braintree_signs_for_several_keys(signature: str, secret: str) -> None:
    BRAIN.verify(braintree(signature), [secret], NOW)


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        ("719c4ec02108f3b85284a2dc1457be52e1b779b0", "malformed_signature"),
        ("integration_public_key|719c4ec02108f3b85284a2dc1457be52e1b779b1", "wrong_signature"),
        ("integration_public_key|", "wrong_signature"),
        ("|", "wrong_signature"),
        ("", "no_signature"),
        (PAIR + "|x", "wrong_signature"),
        ("x|" + PAIR, "wrong_signature"),
        ("integration_public_key|\u0661", "wrong_signature"),
    ],
    ids=[
        "no-key",
        "changed",
        "empty-digest",
        "empty-pair",
        "empty",
        "a-part-more",
        "a-part-before",
        "other-digits",
    ],
)
def test_braintree_refuses_other_signatures(signature: str, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        BRAIN.verify(braintree(signature), ["integration_private_key"], NOW)
    assert refused.value.reason == reason


def test_a_named_public_key_must_be_the_one_that_signed() -> None:
    with pytest.raises(NotVerified) as refused:
        BRAIN.verify(braintree(PAIR), ["other_public_key|integration_private_key"], NOW)
    assert refused.value.reason == "wrong_signature"


@pytest.mark.parametrize("secret", ["|", "a|", "|b", "a|b|c"])
def test_a_braintree_secret_is_one_key_or_two(secret: str) -> None:
    with pytest.raises(OperatorError, match="private key"):
        BRAIN.verify(braintree(PAIR), [secret], NOW)
    with pytest.raises(OperatorError, match="private key"):
        BRAIN.sign(request(b"PG5vdGlmaWNhdGlvbj4="), secret, NOW)


def test_a_lost_line_end_does_not_count_and_names_the_same_event() -> None:
    sample = SAMPLES["braintree"].delivery
    lost = replace(sample, body=sample.body.removesuffix(b"%0A"))
    BRAIN.verify(lost, ["integration_private_key"], NOW)
    assert BRAIN.event_id(lost) == BRAIN.event_id(sample)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BRAINTREE + b"%0A", "wrong_signature"),
        (BRAINTREE + b"A", "wrong_signature"),
        (BRAINTREE + b"%20", "malformed_signature"),
        (BRAINTREE + b"%0D", "malformed_signature"),
        (BRAINTREE + b"%FF", "malformed_signature"),
        (BRAINTREE + b"&bt_payload=x", "malformed_signature"),
        (BRAINTREE + b"&bt_signature=x", "malformed_signature"),
        (BRAINTREE.partition(b"&")[0], "no_signature"),
        (BRAINTREE.partition(b"&")[2], "no_signature"),
    ],
    ids=[
        "line-end",
        "letter",
        "blank",
        "return",
        "byte",
        "payload-twice",
        "signature-twice",
        "alone",
        "unsigned",
    ],
)
def test_braintree_refuses_other_payloads(body: bytes, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        BRAIN.verify(form(body, FORM), ["integration_private_key"], NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("secret", "key"),
    [("integration_private_key", "public_key"), ("my_key|integration_private_key", "my_key")],
    ids=["private", "both"],
)
def test_a_notification_in_base64_becomes_a_form_when_it_is_signed(secret: str, key: str) -> None:
    signed = BRAIN.sign(request(b"PG5vdGlmaWNhdGlvbj4=\n"), secret, NOW)
    digest = "8ce6d4f5ee5815fe892664b3271815fddf6709f4"  # Crypto.sha1_hmac_hash of braintree 4.48.0
    assert signed.body == f"bt_signature={key}%7C{digest}&bt_payload=PG5vdGlmaWNhdGlvbj4%3D%0A".encode()
    assert signed.headers["content-type"] == FORM
    with pytest.raises(NotVerified):
        BRAIN.sign(request(b"<notification>"), secret, NOW)


def transloadit(signature: str, payload: str = TRANSLOADIT) -> Delivery:
    return form(multipart(("transloadit", payload), ("signature", signature)))


@pytest.mark.parametrize(
    "delivery",
    [
        form(multipart(("signature", TRANSLOADIT_SIGNATURE), ("transloadit", TRANSLOADIT))),
        transloadit("sha384:" + TRANSLOADIT_SIGNATURE[7:].upper()),
        form(f"transloadit={TRANSLOADIT}&signature={TRANSLOADIT_SIGNATURE}".encode(), FORM),
    ],
    ids=["other-order", "upper-case", "urlencoded"],
)
def test_transloadit_signs_one_field(delivery: Delivery) -> None:
    TRANS.verify(delivery, ["transloadit-secret"], NOW)


@pytest.mark.parametrize(
    ("delivery", "reason"),
    [
        (transloadit(TRANSLOADIT_SIGNATURE, TRANSLOADIT + " "), "wrong_signature"),
        (transloadit(TRANSLOADIT_SIGNATURE[:-1]), "wrong_signature"),
        (transloadit("sha384:"), "wrong_signature"),
        (transloadit(TRANSLOADIT_SIGNATURE[7:]), "wrong_algorithm"),
        (transloadit("sha1:5b0ae0a5ba9c1d5a4d3ee0d9be9f0e1df7d8d6c8"), "wrong_algorithm"),
        (transloadit("SHA384:" + TRANSLOADIT_SIGNATURE[7:]), "wrong_algorithm"),
        (transloadit("sha384:" + TRANSLOADIT_SIGNATURE), "wrong_algorithm"),
        (transloadit(""), "no_signature"),
        (form(multipart(("transloadit", TRANSLOADIT))), "no_signature"),
        (form(multipart(("signature", TRANSLOADIT_SIGNATURE))), "no_signature"),
        (
            form(
                multipart(
                    ("transloadit", "{}"), ("transloadit", TRANSLOADIT), ("signature", TRANSLOADIT_SIGNATURE)
                )
            ),
            "malformed_signature",
        ),
    ],
    ids=[
        "grown",
        "cut",
        "none",
        "bare",
        "sha1",
        "case",
        "named-twice",
        "empty",
        "unsigned",
        "alone",
        "field-twice",
    ],
)
def test_transloadit_refuses_what_is_not_signed_with_sha384(delivery: Delivery, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        TRANS.verify(delivery, ["transloadit-secret"], NOW)
    assert refused.value.reason == reason


def test_a_status_becomes_a_form_when_it_is_signed() -> None:
    signed = TRANS.sign(request(TRANSLOADIT.encode()), "transloadit-secret", NOW)
    assert read_fields(signed) == [
        (b"transloadit", TRANSLOADIT.encode()),
        (b"signature", TRANSLOADIT_SIGNATURE.encode()),
    ]


def test_a_form_is_recognised_by_its_content_type_alone() -> None:
    bare = with_header(SAMPLES["braintree"].delivery, "content-type", None)
    BRAIN.verify(bare, ["integration_private_key"], NOW)
    assert BRAIN.event_id(bare) == BRAIN.event_id(SAMPLES["braintree"].delivery)
