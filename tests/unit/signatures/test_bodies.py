"""Signatures inside JSON: Mailgun's timestamp and token, and the eight fields of each Adyen item."""

import json
from dataclasses import replace
from typing import Any

import pytest

from services.errors import NotVerified, OperatorError
from services.models import Delivery
from services.signatures.catalogue import KEYED
from tests.unit.signatures.samples import ADYEN, MAILGUN, NOW, SAMPLES, request

MAIL, PAY = KEYED["mailgun"], KEYED["adyen_payments"]
MAIL_KEY, PAY_KEY = SAMPLES["mailgun"].secret, SAMPLES["adyen_payments"].secret
OLD_KEY = "00782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
DIGEST = b"bbae38b90b188e8ae408fa55c78fd0a60ed10c03b4812e310ca9f1be258371f5"
MAIL_BODY = MAILGUN % DIGEST


@pytest.mark.parametrize(
    "body",
    [
        MAIL_BODY.replace(b'"1700000000"', b"1700000000"),
        MAILGUN % DIGEST.upper(),
        MAILGUN % (b'0","parent-signature":"' + DIGEST),
        MAILGUN % (DIGEST + b'","parent-signature":"0'),
        b" " + MAIL_BODY.replace(b"delivered", b"forged"),
    ],
    ids=["timestamp-as-number", "upper-case", "parent-account", "own-account", "the-event-is-open"],
)
def test_mailgun_signs_timestamp_and_token(body: bytes) -> None:
    MAIL.verify(request(body), [MAIL_KEY], NOW)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (MAIL_BODY.replace(b"a8ce0edb", b"b8ce0edb"), "wrong_signature"),
        (MAIL_BODY.replace(b'"1700000000"', b'"1700000001"'), "wrong_signature"),
        (MAIL_BODY.replace(b'"1700000000"', b'"01700000000"'), "wrong_signature"),
        (MAIL_BODY.replace(b'"1700000000"', b'"1700000000.0"'), "malformed_timestamp"),
        (MAIL_BODY.replace(b'"1700000000"', b"true"), "malformed_timestamp"),
        (MAIL_BODY.replace(b'"1700000000"', b"1700000000.0"), "malformed_timestamp"),
        (MAIL_BODY.replace(b'"1700000000"', b"[]"), "malformed_timestamp"),
        (MAIL_BODY.replace(b'"1700000000"', b"null"), "no_timestamp"),
        (MAIL_BODY.replace(b'"1700000000"', b'""'), "no_timestamp"),
        (MAIL_BODY.replace(b'"token"', b'"coin"'), "no_signature"),
        (MAIL_BODY.replace(b'"token":"', b'"token":1,"coin":"'), "no_signature"),
        (MAIL_BODY.replace(b'"token":"', b'"token":"","coin":"'), "no_signature"),
        (MAILGUN.replace(b'"%s"', b"1"), "no_signature"),
        (MAILGUN % b"", "no_signature"),
        (b'{"signature":"' + DIGEST + b'"}', "no_signature"),
        (b"{}", "no_signature"),
        (b"[]", "malformed_signature"),
        (b"", "malformed_signature"),
        (MAIL_BODY.replace(b"{", b'{"signature":{},', 1), "malformed_signature"),
    ],
    ids=[
        "token",
        "timestamp",
        "a-zero",
        "fraction",
        "true",
        "float",
        "list",
        "null",
        "empty-timestamp",
        "no-token",
        "token-number",
        "empty-token",
        "number",
        "empty",
        "text",
        "none",
        "no-object",
        "no-body",
        "twice",
    ],
)
def test_mailgun_refuses_what_is_not_signed(body: bytes, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        MAIL.verify(request(body), [MAIL_KEY], NOW)
    assert refused.value.reason == reason


def test_a_mailgun_signature_is_good_for_one_event() -> None:
    forged = request(MAIL_BODY.replace(b"delivered", b"failed"))
    moved = request(MAIL_BODY.replace(b'"1700000000"', b'"170000000"').replace(b"a8ce0edb", b"0a8ce0edb"))
    MAIL.verify(forged, [MAIL_KEY], NOW)
    with pytest.raises(NotVerified) as refused:
        MAIL.verify(moved, [MAIL_KEY], NOW)
    assert refused.value.reason == "too_old"
    assert MAIL.event_id(forged) == MAIL.event_id(moved) == MAIL.event_id(request(MAIL_BODY))


def test_signing_for_mailgun_keeps_the_event() -> None:
    signed = MAIL.sign(request(b'{"event-data":{"id":"1"}}'), MAIL_KEY, NOW)
    document = json.loads(signed.body)
    assert signed.headers["content-type"] == "application/json"
    assert document["event-data"] == {"id": "1"}
    assert document["signature"]["timestamp"] == "1700000000"
    assert len(document["signature"]["token"]) == 50
    with pytest.raises(NotVerified):
        MAIL.sign(request(b"[]"), MAIL_KEY, NOW)


def adyen(*changes: dict[str, Any]) -> Delivery:
    """Return a webhook with one item for each dict of changed members; a None takes a member away."""
    document = json.loads(ADYEN)
    (envelope,) = document["notificationItems"]
    items = [envelope["NotificationRequestItem"] | change for change in changes]
    items = [{name: value for name, value in item.items() if value is not None} for item in items]
    document["notificationItems"] = [{"NotificationRequestItem": item} for item in items]
    return request(json.dumps(document).encode())


@pytest.mark.parametrize(
    "delivery",
    [
        adyen({}, {}),
        adyen({"originalReference": ""}),
        adyen({"success": True}),
        adyen(
            {
                "success": False,
                "additionalData": {"hmacSignature": "YrZbRrl8QM84UhV+yoHFXqoA2lrfLDJ6Grw0ypYASWE="},
            }
        ),
        adyen({"amount": {"value": "1130", "currency": "EUR"}}),
        adyen({"reason": "forged", "eventDate": "forged"}),
        adyen({"additionalData": {"hmacSignature": "coqCmt_IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU-iCWo0", "a": "b"}}),
    ],
    ids=[
        "two-items",
        "empty-field",
        "success-as-boolean",
        "failure-as-boolean",
        "amount-as-text",
        "all-else-is-open",
        "url-safe",
    ],
)
def test_adyen_signs_eight_fields(delivery: Delivery) -> None:
    PAY.verify(delivery, [PAY_KEY], NOW)


# Made with generate_notification_sig of Adyen 16.0.0 (PyPI).
WITH_COLONS = {
    "merchantReference": "order:5:Zürich",
    "originalReference": "8835513921644842",
    "additionalData": {"hmacSignature": "bSvJ1xduJWqD1oXI+P8r0gxOxRr7Pw3Lc8Yo/+ro2hs="},
}


def test_a_merchants_reference_may_have_colons() -> None:
    PAY.verify(adyen(WITH_COLONS), [PAY_KEY], NOW)


@pytest.mark.parametrize(
    "moved",
    [
        {
            "originalReference": "8835513921644842:TestMerchant",
            "merchantAccountCode": "order",
            "merchantReference": "5:Zürich",
        },
        {"merchantAccountCode": "TestMerchant:order", "merchantReference": "5:Zürich"},
        {"merchantReference": "order:5", "amount": {"value": "Zürich:1130", "currency": "EUR"}},
        {
            "merchantReference": "order",
            "amount": {"value": 5, "currency": "Zürich"},
            "eventCode": "1130",
            "success": "EUR:AUTHORISATION:true",
        },
    ],
    ids=["original", "account", "value", "success"],
)
def test_what_stands_beside_a_colon_cannot_be_moved_to_another_field(moved: dict[str, Any]) -> None:
    with pytest.raises(NotVerified) as refused:
        PAY.verify(adyen(WITH_COLONS | moved), [PAY_KEY], NOW)
    assert refused.value.reason == "malformed_signature"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pspReference": "7914073381342285"}, "wrong_signature"),
        ({"originalReference": "x"}, "wrong_signature"),
        ({"merchantAccountCode": "Other"}, "wrong_signature"),
        ({"merchantReference": "x"}, "wrong_signature"),
        ({"amount": {"value": 1131, "currency": "EUR"}}, "wrong_signature"),
        ({"amount": {"value": 1130, "currency": "USD"}}, "wrong_signature"),
        ({"eventCode": "REFUND"}, "wrong_signature"),
        ({"success": "false"}, "wrong_signature"),
        ({"success": False}, "wrong_signature"),
        ({"pspReference": ["7914073381342284"]}, "malformed_signature"),
        ({"amount": {"value": 1130.0, "currency": "EUR"}}, "malformed_signature"),
        ({"amount": None}, "malformed_signature"),
        ({"amount": [1130]}, "malformed_signature"),
        (
            {"additionalData": {"hmacSignature": "doqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="}},
            "wrong_signature",
        ),
        ({"additionalData": {"hmacSignature": ""}}, "no_signature"),
        ({"additionalData": {"hmacSignature": 1}}, "malformed_signature"),
        ({"additionalData": {}}, "no_signature"),
        ({"additionalData": []}, "no_signature"),
        ({"additionalData": None}, "no_signature"),
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [(), ({},)], ids=["alone", "behind-a-right-one"])
def test_adyen_refuses_any_item_that_is_not_signed(
    change: dict[str, Any], reason: str, before: tuple[dict[str, Any], ...]
) -> None:
    with pytest.raises(NotVerified) as refused:
        PAY.verify(adyen(*before, change), [PAY_KEY], NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{}", "no_signature"),
        (b'{"notificationItems":[]}', "no_signature"),
        (b'{"notificationItems":{"a":1}}', "no_signature"),
        (b'{"notificationItems":[{}]}', "malformed_signature"),
        (b'{"notificationItems":[[]]}', "malformed_signature"),
        (
            ADYEN.replace(b'"1130"', b'"1130","1130"').replace(b'"live"', b'"live":1,"live"'),
            "malformed_signature",
        ),
    ],
    ids=["none", "empty", "object", "no-item", "list", "name-twice"],
)
def test_adyen_refuses_what_has_no_items(body: bytes, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        PAY.verify(request(body), [PAY_KEY], NOW)
    assert refused.value.reason == reason


def test_two_items_may_be_signed_with_two_keys() -> None:
    old = json.loads(PAY.sign(adyen({}), OLD_KEY, NOW).body)
    both = json.loads(ADYEN)
    both["notificationItems"] += old["notificationItems"]
    delivery = request(json.dumps(both).encode())
    PAY.verify(delivery, [PAY_KEY, OLD_KEY], NOW)
    with pytest.raises(NotVerified):
        PAY.verify(delivery, [PAY_KEY], NOW)


@pytest.mark.parametrize("secret", ["not hex", PAY_KEY[:-1], "0x" + PAY_KEY], ids=["text", "odd", "prefix"])
def test_an_adyen_key_that_is_no_hex_is_the_operators(secret: str) -> None:
    with pytest.raises(OperatorError):
        PAY.verify(adyen({}), [secret], NOW)


def test_an_event_with_another_reason_is_news() -> None:
    assert PAY.event_id(adyen({"reason": "a"})) != PAY.event_id(adyen({"reason": "b"}))


def test_signing_for_adyen_signs_each_item() -> None:
    unsigned = adyen({"additionalData": None}, {"additionalData": {"a": "b"}})
    signed = PAY.sign(unsigned, PAY_KEY, NOW)
    assert signed.body.count(b"coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=") == 2
    assert signed.headers["content-type"] == "application/json"
    for broken in (replace(unsigned, body=b"{}"), adyen({"additionalData": []})):
        with pytest.raises(NotVerified):
            PAY.sign(broken, PAY_KEY, NOW)
