"""What is particular to single HMAC schemes: where things stand, notation, key forms, several signatures.

The digests were made with `openssl dgst -mac HMAC -macopt hexkey:…`, for HubSpot's v1 and v2 without `-mac`.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.errors import NotVerified, OperatorError
from services.models import Delivery
from services.signatures.catalogue import HMACS, STANDARD_WEBHOOKS, STRIPE
from services.signatures.hmacs import Bare, Claim, Form, Pairs, Versions

NOW = datetime.fromtimestamp(1_700_000_000, UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRETS = {"adyen_platform": "31f290f6bf0629afe4bb98e31c41e8f6"}
URL = "https://hooks.example.com/api/webhooks/acme?from=them"
BODY = b'{"id":"evt_1","object":"event"}'
BODIES = {
    "linear": b'{"id": "evt_1", "object": "event", "webhookTimestamp": 1700000000000}',
    "pusher": b'{"id": "evt_1", "object": "event", "time_ms": 1700000000000}',
}
STANDARD = "v1,PK2pTbGdO9pqLZglKL/a98TCXtuzIo+9EgRDI/U+HGY="
HEX = "1e58533e9136e20e64d0cc6a7d309ac7aeb8c42d5cfa02e63055723957723ba6"  # timestamp.body
EARLIER = "c796575a3f1d370ee2e00a1836858a9a4a62c08c292e927c52d1b0f2031375f2"  # the same, 1,000 s before
LATER = "4f15517d56501bbdf24abe038f5617bece1c1eec9173004911339e179c19471c"  # the same, 100 s after
VERSION_0 = "14314de44623ee0bf557ee23e64e9e5521541fc6b630adfa7911dacb4355064a"
BODY_HEX = "a010ea797316c6e60eb3f952e6e9aa4fb93380debb376a22222f6c7838eb9726"
BODY_BASE64 = "oBDqeXMWxuYOs/lS5umqT7kzgN67N2oiIi9seDjrlyY="
OTHERS_BASE64 = "P0et4/a4zIhg49Ft1tPIPbT4NeK82G0ws8rvCoebZrQ="  # by the secret "other-key"
BY_STANDARD = {"webhook-id": "msg_1", "webhook-timestamp": "1700000000", "webhook-signature": STANDARD}
BY_SVIX = {"svix-id": "msg_1", "svix-timestamp": "1700000000", "svix-signature": STANDARD}
SIGNED: dict[str, dict[str, str]] = {
    "standardwebhooks": BY_STANDARD,
    "openai": BY_STANDARD,
    "replicate": BY_STANDARD,
    "lithic": BY_STANDARD,
    "anthropic": BY_STANDARD,
    "gitlab_signed": BY_STANDARD,
    "svix": BY_SVIX,
    "resend": BY_SVIX,
    "clerk": BY_SVIX,
    "polar": {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": "v1,P4Cw4UN00OEiXr8JMlPvjQVCwmaoqj+J9kOIhajPMO4=",
    },
    "stripe": {"stripe-signature": f"t=1700000000,v1={HEX}"},
    "mux": {"mux-signature": f"t=1700000000,v1={HEX}"},
    "calendly": {"calendly-webhook-signature": f"t=1700000000,v1={HEX}"},
    "persona": {"persona-signature": f"t=1700000000,v1={HEX}"},
    "elevenlabs": {"elevenlabs-signature": f"t=1700000000,v0={HEX}"},
    "workos": {
        "workos-signature": "t=1700000000000, "
        "v1=1d50374aecbcf9c412db013813d6829faff7666e440ff77526558268f80b72d8"
    },
    "sanity": {"sanity-webhook-signature": "t=1700000000000,v1=HVA3Suy8-cQS2wE4E9aCn6_3Zm5ED_d1JlWCaPgLctg"},
    "paddle": {
        "paddle-signature": "ts=1700000000;"
        "h1=d647ceddff795ab2db7412b4f65a8b6d451675035f5c0d189a201ba9cea023a9"
    },
    "retell": {
        "x-retell-signature": "v=1700000000000,"
        "d=a8ef679f7a5e9f67c8a3e5e4d5d4917f92d82fea9f5ec9f8ced26fcc354f3f97"
    },
    "slack": {"x-slack-request-timestamp": "1700000000", "x-slack-signature": f"v0={VERSION_0}"},
    "zoom": {"x-zm-request-timestamp": "1700000000", "x-zm-signature": f"v0={VERSION_0}"},
    "webflow": {
        "x-webflow-timestamp": "1700000000000",
        "x-webflow-signature": "d5b00b6b4c178f5524059f4df92ef2cb0a4a6e53187bf40ed1c18113955944f1",
    },
    "hubspot_v1": {"x-hubspot-signature": "9b48d8ff3861438a11ffb8c2f1d040898a13b709fa6012aeafb354e1ef1f4051"},
    "hubspot_v2": {"x-hubspot-signature": "64dcec58dc01e410b56e852befbaaf8e6c493fda9e5040911e5d41e9277f0d9b"},
    "hubspot_v3": {
        "x-hubspot-request-timestamp": "1700000000000",
        "x-hubspot-signature-v3": "2qW5tiPGc2nw1Hq1zILdXIG1FGhPdbC4B6B4zfRNab4=",
    },
    "box": {
        "box-signature-version": "1",
        "box-signature-algorithm": "HmacSHA256",
        "box-delivery-timestamp": "2023-11-14T22:13:20Z",
        "box-signature-primary": "UHMUC9QjdGS1nqY3kIGQdQdKgrCPL2XCb7yDuickotA=",
    },
    "zendesk": {
        "x-zendesk-webhook-signature-timestamp": "2023-11-14T22:13:20Z",
        "x-zendesk-webhook-signature": "OvlVHS2FLNCa3e/vLy54cx0Jm+1E53ubIAYDPX5VwIc=",
    },
    "square": {"x-square-hmacsha256-signature": "naJitsDoCyuiXny86XYq3omLHg3EZtrqP1kBBJZbhjI="},
    "trello": {"x-trello-webhook": "wTcfdwwF0blzt4Jt0MrNw2735qs="},
    "github": {"x-hub-signature-256": f"sha256={BODY_HEX}"},
    "meta": {"x-hub-signature-256": f"sha256={BODY_HEX}"},
    "bitbucket": {"x-hub-signature": f"sha256={BODY_HEX}"},
    "notion": {"x-notion-signature": f"sha256={BODY_HEX}"},
    "easypost": {"x-hmac-signature": f"hmac-sha256-hex={BODY_HEX}"},
    "cloudconvert": {"cloudconvert-signature": BODY_HEX},
    "gocardless": {"webhook-signature": BODY_HEX},
    "onfido": {"x-sha2-signature": BODY_HEX},
    "razorpay": {"x-razorpay-signature": BODY_HEX},
    "coinbase_commerce": {"x-cc-webhook-signature": BODY_HEX},
    "dropbox": {"x-dropbox-signature": BODY_HEX},
    "lemonsqueezy": {"x-signature": BODY_HEX},
    "asana": {"x-hook-signature": BODY_HEX},
    "sentry": {"sentry-hook-signature": BODY_HEX},
    "nylas": {"x-nylas-signature": BODY_HEX},
    "typeform": {"typeform-signature": f"sha256={BODY_BASE64}"},
    "x_twitter": {"x-twitter-webhooks-signature": f"sha256={BODY_BASE64}"},
    "shopify": {"x-shopify-hmac-sha256": BODY_BASE64},
    "line": {"x-line-signature": BODY_BASE64},
    "docusign": {"x-docusign-signature-1": BODY_BASE64},
    "xero": {"x-xero-signature": BODY_BASE64},
    "adyen_platform": {"hmacsignature": "jpOCgU94heICwE9OlElp88TudJSStkSIzLNbp56IHCI="},
    "intercom": {"x-hub-signature": "sha1=c60f8003c550410cbec426f21d39ed0da5cbee62"},
    "vercel": {"x-vercel-signature": "c60f8003c550410cbec426f21d39ed0da5cbee62"},
    "linear": {"linear-signature": "87f8d58310845924227ae7c42d3f19abf995cd3a8c8c4d6cbe086db95f76ebd8"},
    "pusher": {
        "x-pusher-key": "278d425bdf160c739803",
        "x-pusher-signature": "e9f9fdabaf4301e60aa62bde21757545cd9473ceb74f010d6fe64bb019318959",
    },
}


def carrying(headers: dict[str, str], body: bytes = BODY) -> Delivery:
    return Delivery(method="POST", url=URL, headers=headers, body=body, received_at=NOW)


def delivery(body: bytes = BODY, **headers: str) -> Delivery:
    return carrying({name.replace("_", "-"): value for name, value in headers.items()}, body)


def sent(name: str, **changed: str) -> Delivery:
    """Return what the sender signed, with some headers changed."""
    headers = {**SIGNED[name], **{name.replace("_", "-"): value for name, value in changed.items()}}
    return carrying(headers, BODIES.get(name, BODY))


def signature_header(name: str) -> str:
    return HMACS[name].signature_header


def verify(name: str, delivery: Delivery, now: datetime = NOW) -> None:
    HMACS[name].verify(delivery, [SECRETS.get(name, SECRET)], now)


def reason_of(name: str, delivery: Delivery, now: datetime = NOW) -> str:
    with pytest.raises(NotVerified) as refused:
        verify(name, delivery, now)
    return refused.value.reason


def test_each_scheme_is_in_the_table() -> None:
    assert SIGNED.keys() == HMACS.keys()


PAIRS, VERSIONS = Pairs(timestamp="t", version="v1"), Versions(version="v1")


@pytest.mark.parametrize(
    ("form", "value", "claim"),
    [
        (Bare(prefix="v0="), "v0=aX", Claim(digests=("aX",), timestamp="")),
        (Bare(prefix="v0="), "v1=aX", Claim(digests=(), timestamp="")),
        (PAIRS, "t=1,v1=aX,v1=Xb", Claim(digests=("aX", "Xb"), timestamp="1")),
        (PAIRS, "Xt=1,t=2,t=3,v1=a", Claim(digests=("a",), timestamp="2,3")),
        (replace(PAIRS, separator=";"), "t=1;v1=a,t=1;v1=a", Claim(digests=(), timestamp="")),
        (VERSIONS, "v1,aX v1a,b v1,Xc", Claim(digests=("aX", "Xc"), timestamp="")),
        (VERSIONS, "v1,a,v1,a", Claim(digests=(), timestamp="")),
    ],
)
def test_a_header_is_taken_apart_to_its_last_letter(form: Form, value: str, claim: Claim) -> None:
    assert list(form.read([value])) == [claim]


@pytest.mark.parametrize("name", SIGNED)
def test_what_openssl_signed_verifies(name: str) -> None:
    verify(name, sent(name))


@pytest.mark.parametrize("name", SIGNED)
def test_it_signs_as_openssl_does(name: str) -> None:
    known = {"webhook-id", "svix-id", "x-pusher-key"}
    headers = {header: value for header, value in SIGNED[name].items() if header in known}
    signed = HMACS[name].sign(carrying(headers), SECRETS.get(name, SECRET), NOW)
    assert signed == sent(name)


@pytest.mark.parametrize("name", SIGNED)
def test_equal_names_are_the_same_news(name: str) -> None:
    bodies = {
        "linear": "b0dbe5c5fe90e7fe2c7978de807dc68fa0df01dcbe2fa22d0970244c39e9ea26",
        "pusher": "9c1e6776300a67bb9369cf6668a2ec786de62781aa93ee53f784f8ad0e2a99d2",
    }
    named = "msg_1" if SIGNED[name].keys() & {"webhook-id", "svix-id"} else ""
    body = "199394ad7a6b3da2e2a64a3f573fad3934535c928c37e24988dd612d3f915208"
    assert HMACS[name].event_id(sent(name)) == (named or bodies.get(name, body))


@pytest.mark.parametrize(
    "header",
    [
        f"t=1700000000,v1={HEX}",
        f"v1={HEX},t=1700000000",
        f"t=1700000000, v1={HEX}",
        f" t=1700000000 ,  v1={HEX}\t",
        f"t=1700000000,v1={HEX.upper()}",
        f"t=1700000000,v1={'0' * 64},v1={HEX}",
        f"t=1700000000,v1={HEX},v0={'0' * 64}",
        f"t=1700000000,v1={HEX},",
    ],
    ids=[
        "plain",
        "other-order",
        "a-blank",
        "blanks",
        "upper-case",
        "after-a-wrong-one",
        "v0-beside",
        "a-comma-more",
    ],
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
        (f"t=1_700_000_000,v1={HEX}", "malformed_timestamp"),
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
        "t-underscores",
        "t-empty",
        "t-none",
        "v1-none",
        "bare",
        "long",
    ],
)
def test_what_has_two_readings_or_none_is_refused(header: str, reason: str) -> None:
    assert reason_of("stripe", delivery(stripe_signature=header)) == reason


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("github", lambda text: "sha256=" + text.removeprefix("sha256=").upper()),
        ("github", lambda text: f" {text}\t"),
        ("shopify", lambda text: text.removesuffix("=")),
        ("shopify", lambda text: text.replace("+", "-").replace("/", "_")),
        ("typeform", lambda text: text.removesuffix("=").replace("/", "_")),
        ("sanity", lambda text: f"{text}="),
        ("sanity", lambda text: text.replace("-", "+").replace("_", "/")),
        ("workos", lambda text: text.replace(", ", ",")),
        ("workos", lambda text: ", ".join(reversed(text.split(", ")))),
        ("retell", lambda text: text.replace(",", ", ")),
        ("paddle", lambda text: text.replace(";", "; ")),
        ("paddle", lambda text: ";".join(reversed(text.split(";")))),
        ("paddle", lambda text: text.replace(";", f";h1={'0' * 64};")),
    ],
)
def test_other_notations_of_an_authentic_digest_are_accepted(name: str, change: Callable[[str], str]) -> None:
    header = signature_header(name)
    verify(name, sent(name, **{header: change(SIGNED[name][header])}))


PADDLE = SIGNED["paddle"]["paddle-signature"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("github", BODY_HEX, "malformed_signature"),
        ("github", f"sha1={BODY_HEX}", "malformed_signature"),
        ("github", f"sha256= {BODY_HEX}", "wrong_signature"),
        ("github", f"sha256={BODY_BASE64}", "wrong_signature"),
        ("github", "sha256=", "wrong_signature"),
        ("cloudconvert", f"sha256={BODY_HEX}", "wrong_signature"),
        ("shopify", BODY_HEX, "wrong_signature"),
        ("shopify", f"{BODY_BASE64}=", "wrong_signature"),
        ("shopify", BODY_BASE64.replace("/", "/\n"), "wrong_signature"),
        ("sanity", SIGNED["sanity"]["sanity-webhook-signature"] + "==", "wrong_signature"),
        ("paddle", PADDLE.replace(";", ","), "malformed_signature"),
        ("paddle", f"{PADDLE},{PADDLE}", "malformed_signature"),
        ("stripe", f"t=1700000000;v1={HEX}", "malformed_signature"),
        ("stripe", f"t=1700000000 v1={HEX}", "malformed_signature"),
    ],
)
def test_another_form_is_refused(name: str, value: str, reason: str) -> None:
    assert reason_of(name, sent(name, **{signature_header(name): value})) == reason


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
    verify("standardwebhooks", sent("standardwebhooks", webhook_signature=change(STANDARD)))


@pytest.mark.parametrize(
    "message_id",
    ["msg.1", "msg 1", "msg\x001", "müll", "msg\ud800", "m" * 257],
    ids=["full-stop", "blank", "nul", "beyond-ascii", "surrogate", "long"],
)
def test_an_id_with_two_readings_is_refused(message_id: str) -> None:
    assert reason_of("svix", sent("svix", svix_id=message_id)) == "malformed_signature"


def test_svix_may_be_white_labelled() -> None:
    verify("svix", sent("standardwebhooks"))
    assert HMACS["svix"].event_id(sent("standardwebhooks")) == "msg_1"
    assert reason_of("standardwebhooks", sent("svix")) == "no_signature"


ANOTHER = "0" * 64


@pytest.mark.parametrize(
    "header",
    [
        f"t=1700000000,v1={ANOTHER} t=1700000000,v1={HEX}",
        f"t=1700000000,v1={HEX}   t=1700000000,v1={ANOTHER}",
        f"t=1700000000, v1={HEX} t=1700000000, v1={ANOTHER}",
        f"t=1699999000,v1={EARLIER} t=1700000100,v1={LATER}",
        f"t=soon,v1={ANOTHER} t=1700000100,v1={LATER}",
    ],
    ids=["second", "first", "blanks-after-commas", "one-too-old", "one-malformed"],
)
def test_one_authentic_set_of_persona_is_enough(header: str) -> None:
    verify("persona", sent("persona", persona_signature=header))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (f"t=1700000000,v1={ANOTHER} t=1700000000,v1={ANOTHER}", "wrong_signature"),
        (f"t=1700000000,v1={LATER} t=1700000100,v1={HEX}", "wrong_signature"),
        (f"t=soon,v1={ANOTHER} t=1700000000,v1={ANOTHER}", "wrong_signature"),
        (f"t=1699999000,v1={EARLIER} t=1699999000,v1={EARLIER}", "too_old"),
        (f"t=1700000000 v1={HEX}", "malformed_signature"),
        (f"t=1700000000,v1={HEX},t=1700000000,v1={HEX}", "malformed_timestamp"),
        (f"t=1700000000,v1={ANOTHER} " * 4 + f"t=1700000000,v1={HEX}", "wrong_signature"),
    ],
    ids=["both-wrong", "crossed", "malformed-and-wrong", "both-old", "split", "joined", "the-fifth"],
)
def test_no_authentic_set_of_persona_is_refused(header: str, reason: str) -> None:
    assert reason_of("persona", sent("persona", persona_signature=header)) == reason


@pytest.mark.parametrize("number", [2, 9, 10, 100])
def test_docusign_signs_with_each_of_its_keys(number: int) -> None:
    headers = {"x-docusign-signature-1": OTHERS_BASE64, f"x-docusign-signature-{number}": BODY_BASE64}
    verify("docusign", carrying(headers))
    verify("docusign", carrying({f"x-docusign-signature-{number}": BODY_BASE64}))


@pytest.mark.parametrize("number", ["101", "0", "01", "n"])
def test_docusign_has_at_most_a_hundred_keys(number: str) -> None:
    assert reason_of("docusign", carrying({f"x-docusign-signature-{number}": BODY_BASE64})) == "no_signature"


def test_a_spoilt_secret_loses_none_of_several_signatures() -> None:
    headers = {"x-docusign-signature-1": OTHERS_BASE64, "x-docusign-signature-2": BODY_BASE64}
    HMACS["docusign"].verify(carrying(headers), ["", SECRET], NOW)
    with pytest.raises(OperatorError):
        HMACS["docusign"].verify(delivery(x_docusign_signature_1=OTHERS_BASE64), ["", SECRET], NOW)


def test_box_signs_with_two_keys() -> None:
    both = sent("box", box_signature_secondary="B5rRh4YLsB+bkQfZ8HUQSpmryUn4w29IuCVaN+awdYA=")
    for secret in (SECRET, "other-key"):
        HMACS["box"].verify(both, [secret], NOW)
    swapped = {
        **both.headers,
        "box-signature-primary": both.headers["box-signature-secondary"],
        "box-signature-secondary": both.headers["box-signature-primary"],
    }
    verify("box", replace(both, headers=swapped))
    verify("box", sent("box", box_signature_secondary="garbage"))


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("box-signature-version", "2", "wrong_algorithm"),
        ("box-signature-version", "1,1", "wrong_algorithm"),
        ("box-signature-version", "", "no_signature"),
        ("box-signature-algorithm", "HmacSHA1", "wrong_algorithm"),
        ("box-signature-algorithm", "", "no_signature"),
    ],
)
def test_the_version_and_algorithm_of_box_are_pinned(header: str, value: str, reason: str) -> None:
    assert reason_of("box", sent("box", **{header: value})) == reason


def test_pusher_names_its_key() -> None:
    assert reason_of("pusher", sent("pusher", x_pusher_key="")) == "no_signature"
    with pytest.raises(NotVerified):
        HMACS["pusher"].sign(delivery(), SECRET, NOW)


def stamped(member: str, value: str) -> bytes:
    return f'{{"id":"evt_1","{member}":{value}}}'.encode()


STAMPED = {"linear": "webhookTimestamp", "pusher": "time_ms"}


def signed_with_body(name: str, body: bytes) -> Delivery:
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return replace(sent(name, **{signature_header(name): digest}), body=body)


@pytest.mark.parametrize("name", STAMPED)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1600000000000", "too_old"),
        ("1800000000000", "too_new"),
        ("1700000000", "too_old"),
        ("null", "no_timestamp"),
        ('"1700000000000"', "malformed_timestamp"),
        ("1700000000000.0", "malformed_timestamp"),
        ("1.7e12", "malformed_timestamp"),
        ("-1700000000000", "malformed_timestamp"),
        ("true", "malformed_timestamp"),
        ("[1700000000000]", "malformed_timestamp"),
        ("9" * 400, "malformed_timestamp"),
        ("9" * 5000, "no_timestamp"),
        ("NaN", "no_timestamp"),
        ("1e999", "no_timestamp"),
    ],
)
def test_a_signed_body_says_when_it_was_sent(name: str, value: str, reason: str) -> None:
    assert reason_of(name, signed_with_body(name, stamped(STAMPED[name], value))) == reason


@pytest.mark.parametrize("name", STAMPED)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1700000000000]",
        b"\xff",
        b"[" * 100_000,
        b'{"webhookTimestamp":1700000000000,"webhookTimestamp":1700000000000,"time_ms":1700000000000,'
        b'"time_ms":1700000000000}',
        b'{"data":{"webhookTimestamp":1700000000000,"time_ms":1700000000000}}',
    ],
    ids=["empty", "no-member", "list", "no-utf-8", "deep", "twice", "deeper"],
)
def test_a_signed_body_without_a_time_is_refused(name: str, body: bytes) -> None:
    assert reason_of(name, signed_with_body(name, body)) == "no_timestamp"


@pytest.mark.parametrize("name", STAMPED)
def test_a_body_that_is_not_signed_is_not_parsed(name: str) -> None:
    assert reason_of(name, replace(sent(name), body=b"[" * 100_000)) == "wrong_signature"


def test_a_timestamp_needs_a_json_object_to_be_written_into() -> None:
    with pytest.raises(NotVerified):
        HMACS["linear"].sign(delivery(b"[]"), SECRET, NOW)


def test_milliseconds_are_counted() -> None:
    verify("hubspot_v3", sent("hubspot_v3"), NOW + timedelta(minutes=5))
    assert (
        reason_of("hubspot_v3", sent("hubspot_v3"), NOW + timedelta(minutes=5, milliseconds=1)) == "too_old"
    )
    shorter = sent("hubspot_v3", x_hubspot_request_timestamp="1700000000")
    assert reason_of("hubspot_v3", shorter) == "wrong_signature"


def test_box_counts_whole_seconds() -> None:
    verify("box", sent("box"), NOW + timedelta(seconds=600.999))
    assert reason_of("box", sent("box"), NOW + timedelta(seconds=601)) == "too_old"
    assert reason_of("box", sent("box"), NOW - timedelta(seconds=0.001)) == "too_new"
    late_in_its_second = sent(
        "box",
        box_delivery_timestamp="2023-11-14T22:13:20.999Z",
        box_signature_primary="FADaZVaqHJRBLlbC7ehPGcTM6TAbAlkKCNztEuVeik8=",
    )
    verify("box", late_in_its_second, NOW + timedelta(seconds=0.001))
    assert reason_of("box", late_in_its_second, NOW + timedelta(seconds=601)) == "too_old"


def test_a_time_may_have_a_zone_and_a_fraction() -> None:
    zoned = sent(
        "zendesk",
        x_zendesk_webhook_signature_timestamp="2023-11-14T23:13:20.250+01:00",
        x_zendesk_webhook_signature="7EoTf62X5JEFUUl3A/UfnkYVXYlZnV91sw+Z1HSoJZk=",
    )
    verify("zendesk", zoned, NOW + timedelta(seconds=300.25))
    assert reason_of("zendesk", zoned, NOW + timedelta(seconds=300.5)) == "too_old"


@pytest.mark.parametrize(
    "text",
    ["2023-11-14T22:13:20", "2023-11-14 22:13:20Z", "2023-11-14", "1700000000", "2023-11-14T22:13:60Z"],
    ids=["no-zone", "a-blank", "a-day", "digits", "leap-second"],
)
@pytest.mark.parametrize("name", ["box", "zendesk"])
def test_a_time_that_is_not_rfc_3339_is_malformed(name: str, text: str) -> None:
    header = HMACS[name].timestamp_header or ""
    assert reason_of(name, sent(name, **{header: text})) == "malformed_timestamp"


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        ("/a%3Ab%2Fc?d=%40%21%24%27%28%29%2A%2C%3B%2F%3Fx", "9MdyR+tktBvjpgeUGBTznIJJP/aZ7VuUSAgia99hVW4="),
        ("/a%3ab%2fc?d=%40%21%24%27%28%29%2a%2c%3b%2f%3fx", "9MdyR+tktBvjpgeUGBTznIJJP/aZ7VuUSAgia99hVW4="),
        ("/a:b/c?d=@!$'()*,;/?x", "9MdyR+tktBvjpgeUGBTznIJJP/aZ7VuUSAgia99hVW4="),
        ("/a%3Ab%2Fc?d=%40%21%24%27%28%29%2A%2C%3B%2F%3Fx", "pSBA0xzgf1BAbST2K8Slk3fBB0yUx4WFNf8y5ZCjTEQ="),
        ("/?q=a%20b%26c%3Dd%253A", "IOqVrBF9sTeMcGGQDNhJTxK4KZttNnTAOulx+1rOcbE="),
    ],
    ids=["unescaped", "lower-case", "never-escaped", "as-it-came", "others-and-doubly-escaped"],
)
def test_hubspot_undoes_some_escapes_in_the_address_that_it_signs(url: str, signature: str) -> None:
    there = sent("hubspot_v3", x_hubspot_signature_v3=signature)
    verify("hubspot_v3", replace(there, url=f"https://hooks.example.com{url}"))


@pytest.mark.parametrize("name", ["square", "trello", "hubspot_v2", "hubspot_v3"])
def test_no_other_escape_is_undone(name: str) -> None:
    signed = HMACS[name].sign(replace(delivery(), url="https://hooks.example.com/X"), SECRET, NOW)
    assert reason_of(name, replace(signed, url="https://hooks.example.com/%58")) == "wrong_signature"


def test_hubspot_signs_the_address_without_those_escapes() -> None:
    there = replace(
        delivery(), url="https://hooks.example.com/a%3Ab%2Fc?d=%40%21%24%27%28%29%2A%2C%3B%2F%3Fx"
    )
    signed = HMACS["hubspot_v3"].sign(there, SECRET, NOW)
    assert signed.headers["x-hubspot-signature-v3"] == "9MdyR+tktBvjpgeUGBTznIJJP/aZ7VuUSAgia99hVW4="


def test_a_plain_hash_that_was_gone_on_with_is_refused() -> None:
    glue = b"\x80" + bytes(54) + b"\x02("  # SHA-256's padding after SECRET and BODY, and their length in bits
    longer = delivery(
        BODY + glue + b'{"id":"evt_2"}',
        x_hubspot_signature="690ae17a5c7ace5094a28d0dbed20c1c6245284f5bef38908b5f17e8b22a9f1f",
    )
    assert reason_of("hubspot_v1", longer) == "wrong_body"


@pytest.mark.parametrize("name", ["hubspot_v1", "hubspot_v2"])
@pytest.mark.parametrize("body", [b"", b"\x00", "Zürich".encode()], ids=["empty", "nul", "beyond-ascii"])
def test_a_plain_hash_of_any_text_verifies(name: str, body: bytes) -> None:
    verify(name, HMACS[name].sign(delivery(body), SECRET, NOW))


@pytest.mark.parametrize("name", ["standardwebhooks", "svix", "pusher"])
def test_what_only_the_sender_knows_is_not_made_up(name: str) -> None:
    with pytest.raises(NotVerified):
        HMACS[name].sign(delivery(), SECRET, NOW)


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
        STANDARD_WEBHOOKS.verify(sent("standardwebhooks"), [secret], NOW)


@pytest.mark.parametrize("secret", ["abc", "0g", "0x31f2", "31 f2", "31f290f6bf0629af\n"])
def test_a_secret_that_is_no_hex_is_the_operators(secret: str) -> None:
    with pytest.raises(OperatorError):
        HMACS["adyen_platform"].verify(sent("adyen_platform"), [secret], NOW)


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")], ids=["prefix", "bare"])
def test_the_prefix_of_a_base64_secret_may_be_missing(secret: str) -> None:
    STANDARD_WEBHOOKS.verify(sent("standardwebhooks"), [secret], NOW)


def test_without_the_prefix_a_secret_of_openai_is_text() -> None:
    bare = SECRET.removeprefix("whsec_")
    by_text = sent("openai", webhook_signature="v1,uaYiCj3og6lvTbe7NSJu68tDoP2ziKZ8e3lDjy66PeQ=")
    HMACS["openai"].verify(by_text, [bare], NOW)
    with pytest.raises(NotVerified):
        HMACS["openai"].verify(sent("openai"), [bare], NOW)
    assert reason_of("openai", by_text) == "wrong_signature"
    with pytest.raises(OperatorError):
        HMACS["openai"].verify(sent("openai"), ["whsec_not base64!"], NOW)


def test_polar_signs_with_either_reading_of_its_secret() -> None:
    verify("polar", sent("polar"))
    verify("polar", sent("polar", webhook_signature=STANDARD))
    assert reason_of("standardwebhooks", sent("polar")) == "wrong_signature"
    HMACS["polar"].verify(sent("polar"), ["not base64!", SECRET], NOW)


def test_the_secret_of_easypost_is_decomposed() -> None:
    by_parts = "hmac-sha256-hex=988789c7e8d681105b025d884a1bf0dcdf60f6ded21e70092843da38841c7550"
    HMACS["easypost"].verify(delivery(x_hmac_signature=by_parts), ["ﬁancé"], NOW)
    as_it_is = "hmac-sha256-hex=164007bfb5caeda31aa1847d0868df92abc0f5818d88bbd85647863d277a1a4c"
    with pytest.raises(NotVerified):
        HMACS["easypost"].verify(delivery(x_hmac_signature=as_it_is), ["ﬁancé"], NOW)


def test_the_key_of_stripe_is_the_whole_text() -> None:
    with pytest.raises(NotVerified):
        STRIPE.verify(sent("stripe"), [SECRET.removeprefix("whsec_")], NOW)
