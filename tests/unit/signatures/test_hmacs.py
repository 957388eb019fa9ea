"""What is particular to the two HMAC schemes of the catalogue: notation, key forms, several signatures."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from services.errors import NotVerified, OperatorError
from services.models import Delivery
from services.signatures.catalogue import STANDARD_WEBHOOKS, STRIPE

NOW = datetime.fromtimestamp(1_700_000_000, UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# Made with the official libraries; see tests/vectors.
HEX = "1e58533e9136e20e64d0cc6a7d309ac7aeb8c42d5cfa02e63055723957723ba6"
BODY = b'{"id":"evt_1","object":"event"}'


def delivery(**headers: str) -> Delivery:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Delivery(method="POST", url="https://x.example/", headers=named, body=BODY, received_at=NOW)


def standard(signature: str, message_id: str = "msg_1", timestamp: str = "1700000000") -> Delivery:
    return delivery(webhook_id=message_id, webhook_timestamp=timestamp, webhook_signature=signature)


def signature(message_id: str = "msg_1") -> str:
    signed = STANDARD_WEBHOOKS.sign(delivery(webhook_id=message_id), SECRET, NOW)
    return signed.headers["webhook-signature"]


@pytest.mark.parametrize(
    "header",
    [
        f"t=1700000000,v1={HEX}",
        f"v1={HEX},t=1700000000",
        f"t=1700000000, v1={HEX}",
        f"t=1700000000,v1={HEX.upper()}",
        f"t=1700000000,v1={'0' * 64},v1={HEX}",
        f"t=1700000000,v1={HEX},v0={'0' * 64}",
        f"t=1700000000,v1={HEX},",
    ],
    ids=["plain", "other-order", "a-blank", "upper-case", "after-a-wrong-one", "v0-beside", "a-comma-more"],
)
def test_an_authentic_digest_is_accepted_however_it_is_written(header: str) -> None:
    STRIPE.verify(delivery(stripe_signature=header), [SECRET], NOW)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (f"t=1700000000,t=1700000000,v1={HEX}", "malformed_timestamp"),
        (f"t=1700000000 ,v1={HEX} x", "wrong_signature"),
        (f"t=01700000000,v1={HEX}", "wrong_signature"),
        (f"t=1700000000.0,v1={HEX}", "malformed_timestamp"),
        (f"t=17000000000000000,v1={HEX}", "malformed_timestamp"),
        (f"t=,v1={HEX}", "no_timestamp"),
        (f"v1={HEX}", "no_timestamp"),
        ("t=1700000000", "malformed_signature"),
        (HEX, "malformed_signature"),
        (f"t=1700000000,v1={'0=,' * 2800}v1={HEX}", "malformed_signature"),
    ],
    ids=[
        "t-twice",
        "a-word-more",
        "t-zero",
        "t-fraction",
        "t-long",
        "t-empty",
        "t-none",
        "v1-none",
        "bare",
        "long",
    ],
)
def test_what_has_two_readings_or_none_is_refused(header: str, reason: str) -> None:
    with pytest.raises(NotVerified) as refused:
        STRIPE.verify(delivery(stripe_signature=header), [SECRET], NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.removesuffix("="),
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: f"v1,{'A' * 43}=  {text}",
        lambda text: f"v1a,{'A' * 88} {text}",
        lambda text: f"{text} {text}",
    ],
    ids=["plain", "unpadded", "url-safe", "after-a-wrong-one", "v1a-beside", "twice"],
)
def test_a_list_of_signatures_holds_if_one_is_authentic(change: Callable[[str], str]) -> None:
    STANDARD_WEBHOOKS.verify(standard(change(signature())), [SECRET], NOW)


@pytest.mark.parametrize(
    "message_id",
    ["msg.1", "msg 1", "msg\x001", "müll", "msg\ud800", "m" * 257],
    ids=["full-stop", "blank", "nul", "beyond-ascii", "surrogate", "long"],
)
def test_an_id_with_two_readings_is_refused(message_id: str) -> None:
    with pytest.raises(NotVerified) as refused:
        STANDARD_WEBHOOKS.verify(standard(signature(), message_id), [SECRET], NOW)
    assert refused.value.reason == "malformed_signature"


def test_a_delivery_without_an_id_is_not_signed() -> None:
    with pytest.raises(NotVerified):
        STANDARD_WEBHOOKS.sign(delivery(), SECRET, NOW)


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_",
        "whsec_====",
        "not base64!",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw€",
        "A",
        "whsec_ab\ncd",
        "ab-_",
    ],
    ids=["prefix-only", "padding-only", "no-base64", "beyond-ascii", "one-letter", "line-end", "url-safe"],
)
def test_a_secret_that_is_no_base64_is_the_operators(secret: str) -> None:
    with pytest.raises(OperatorError):
        STANDARD_WEBHOOKS.verify(standard(signature()), [secret], NOW)


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")], ids=["prefix", "bare"])
def test_the_prefix_of_a_base64_secret_may_be_missing(secret: str) -> None:
    STANDARD_WEBHOOKS.verify(standard(signature()), [secret], NOW)


def test_the_key_of_stripe_is_the_whole_text() -> None:
    with pytest.raises(NotVerified):
        STRIPE.verify(
            delivery(stripe_signature=f"t=1700000000,v1={HEX}"), [SECRET.removeprefix("whsec_")], NOW
        )


def test_no_secret_shows_in_an_error() -> None:
    with pytest.raises(OperatorError) as raised:
        STANDARD_WEBHOOKS.verify(standard(signature()), ["hunter2!"], NOW)
    assert "hunter2" not in str(raised.value)
