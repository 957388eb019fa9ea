"""Senders with a digest in a header, judged by their own libraries on PyPI."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from pydantic import ValidationError

from tests.vectors.drafts import NOT_UTF_8, Change, Draft, Request, Sender
from tests.vectors.judges import Library, NodeLibrary
from tests.vectors.senders.extension import extended, padding
from tests.vectors.senders.macs import mac_sender, marked_key, nfkd_key

SECRETS = ("5f2c8a1e9b7d4036", "0d9e4b7a61c8f352", "c41b7e90a25d83f6")
MARKED = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "whsec_9kQ7c2rXhWvUeN1mZbYtA3sDfGjL5pQx",
)
HEX_KEYS = (
    "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
    "9D5A0E2FB71C4836A0E94D27C85B1F63E2D7094A6C8B35F10E9D42A7B8C6F135",
    "2B7E151628AED2A6ABF7158809CF4F3C762E7160F38B4DA56A784D9045190CFE",
)

NO_FUTURE = "the library has no limit on the future"
NO_AGE = "the library asks for no age"
TIMESTAMP_AS_NUMBER = "the library reads a number and signs that, not the text"

FULL_STOP = "what is signed could be divided in two ways; the specification has no full stop in ids"
UNMARKED = tuple(secret.removeprefix("whsec_") for secret in MARKED)

MESSAGE_ID = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"


def lower(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.joined.items()}


def header(request: Request, name: str) -> Any:
    """Return a header's value, None if it is missing: what frameworks hand to a library."""
    return request.header(name) if request.has(name) else None


def in_header(name: str, change: Callable[[str], str]) -> Change:
    return lambda request: request.set(name, change(request.header(name)))


def stripe(request: Request, secret: str) -> Any:
    verify = import_module("stripe").WebhookSignature.verify_header
    return verify(request.text, header(request, "Stripe-Signature"), secret, 300)


def dotted(request: Request, ts: str) -> bytes:
    return f"{ts}.".encode() + request.body


def stripe_like(prefix: str) -> tuple[Draft, ...]:
    """Return what is particular to `t=…,v1=…`."""
    return (
        Draft(name="only_an_unknown_version", verdict="malformed_signature", change=in_header(prefix, _v9)),
        Draft(name="an_unknown_version_beside", verdict="verified", change=in_header(prefix, _with_v9)),
        Draft(name="blanks_after_commas", verdict="verified", change=in_header(prefix, _spaced)),
        Draft(name="the_pairs_in_another_order", verdict="verified", change=in_header(prefix, _turned)),
    )


def _v9(value: str) -> str:
    return value.replace("v1=", "v9=")


def _with_v9(value: str) -> str:
    return value + ",v9=" + "0" * 64


def _spaced(value: str) -> str:
    return value.replace(",", ", ")


def _turned(value: str) -> str:
    return ",".join(reversed(value.split(",")))


def standard(names: Mapping[str, str], **rest: Any) -> dict[str, Any]:
    """Return the form of Standard Webhooks, under these header names."""
    signature, timestamp, message_id = names["signature"], names["timestamp"], names["id"]
    more = rest.pop("more", ())
    stricter = {"an_id_with_a_full_stop": FULL_STOP, **rest.pop("stricter", {})}
    return {
        "header": signature,
        "timestamp_header": timestamp,
        "headers": {message_id: MESSAGE_ID},
        "content": lambda request, ts: f"{request.header(message_id)}.{ts}.".encode() + request.body,
        "each": "v1,{digest}",
        "joint": " ",
        "encoding": "base64",
        "key": marked_key,
        "past": 300_000,
        "future": 300_000,
        "stricter": stricter,
        "verdicts": {"the_signature_header_twice": "malformed_signature", **rest.pop("verdicts", {})},
        "more": (
            Draft(name="no_id_header", verdict="no_signature", change=lambda r: r.without(message_id)),
            Draft(name="another_id", verdict="wrong_signature", change=lambda r: r.set(message_id, "msg_2")),
            Draft(
                name="an_id_with_a_full_stop",
                verdict="malformed_signature",
                request=Request(headers=((message_id, "msg.1"),)),
            ),
            Draft(
                name="version_v1a",
                verdict="malformed_signature",
                change=in_header(signature, lambda value: value.replace("v1,", "v1a,")),
            ),
            Draft(
                name="version_v2_first",
                verdict="verified",
                change=in_header(signature, lambda value: f"v2,AAAA {value}"),
            ),
            Draft(
                name="two_blanks_between_two_signatures",
                verdict="verified",
                signers=(1, 0),
                change=in_header(signature, lambda value: value.replace(" ", "  ")),
            ),
            Draft(
                name="a_signature_without_version",
                verdict="malformed_signature",
                change=in_header(signature, lambda value: value.replace("v1,", "")),
            ),
            *more,
        ),
        **rest,
    }


WEBHOOK = {"signature": "webhook-signature", "timestamp": "webhook-timestamp", "id": "webhook-id"}
SVIX = {"signature": "svix-signature", "timestamp": "svix-timestamp", "id": "svix-id"}


def standardwebhooks(request: Request, secret: str) -> Any:
    webhook = import_module("standardwebhooks").Webhook(secret)
    return webhook.verify(request.body, lower(request), json_parse=False)


def svix(request: Request, secret: str) -> Any:
    return import_module("svix").Webhook(secret).verify(request.body, lower(request))


def openai(request: Request, secret: str) -> Any:
    client = import_module("openai").OpenAI(api_key="none")
    return client.webhooks.verify_signature(request.body, request.joined, secret=secret)


def replicate(request: Request, secret: str) -> Any:
    module = import_module("replicate.webhook")
    key = module.WebhookSigningSecret(key=secret)
    return module.Webhooks.validate(headers=request.joined, body=request.text, secret=key)


def resend(request: Request, secret: str) -> Any:
    named = {name: request.header(held) for name, held in SVIX.items()}
    options = {"payload": request.text, "headers": named, "webhook_secret": secret}
    return import_module("resend").Webhooks.verify(options)


def lithic(request: Request, secret: str) -> Any:
    client = import_module("lithic").Lithic(api_key="none")
    return client.webhooks.verify_signature(request.body, request.joined, secret=secret)


def polar(request: Request, secret: str) -> Any:
    module = import_module("polar.webhooks")
    try:
        module.validate_event(request.body, request.joined, secret, frozenset(), lambda data: data)
    except module.PolarWebhookVerificationError:
        return False
    except module.PolarWebhookError:  # after the signature: a type that it does not know
        return True
    return True


def anthropic(request: Request, secret: str) -> Any:
    client = import_module("anthropic").Anthropic(api_key="none")
    return client.beta.webhooks.unwrap(request.text, headers=lower(request), key=secret)


def slack(request: Request, secret: str) -> Any:
    verifier = import_module("slack_sdk.signature").SignatureVerifier(secret)
    return verifier.is_valid_request(request.body, request.joined)


def paddle(request: Request, secret: str) -> Any:
    module = import_module("paddle_billing.Notifications")
    held = SimpleNamespace(headers=request.joined, body=request.body)
    return module.Verifier().verify(held, module.Secret(secret))


def square(request: Request, secret: str) -> Any:
    return import_module("square.utils.webhooks_helper").verify_signature(
        request_body=request.text,
        signature_header=header(request, "x-square-hmacsha256-signature"),
        signature_key=secret,
        notification_url=request.url,
    )


def hubspot(version: str) -> Callable[[Request, str], Any]:
    suffix = "-v3" if version == "v3" else ""

    def check(request: Request, secret: str) -> Any:
        return import_module("hubspot.utils.signature").Signature.is_valid(
            signature=header(request, f"X-HubSpot-Signature{suffix}"),
            client_secret=secret,
            request_body=request.text,
            http_uri=request.url,
            http_method=request.method,
            signature_version=version,
            timestamp=header(request, "X-HubSpot-Request-Timestamp"),
        )

    return check


def cloudconvert(request: Request, secret: str) -> Any:
    signature = header(request, "CloudConvert-Signature")
    return import_module("cloudconvert").Webhook.verify(request.text, signature, secret)


def box_drafts() -> tuple[Draft, ...]:
    """Return what is particular to Box: a header for each of two keys, and named version and algorithm."""

    def moved(request: Request) -> Request:
        primary = request.header("BOX-SIGNATURE-PRIMARY")
        return request.without("BOX-SIGNATURE-PRIMARY").set("BOX-SIGNATURE-SECONDARY", primary)

    def beside(request: Request) -> Request:
        primary = request.header("BOX-SIGNATURE-PRIMARY")
        request = request.set("BOX-SIGNATURE-SECONDARY", primary)
        return request.set("BOX-SIGNATURE-PRIMARY", base64.b64encode(bytes(32)).decode())

    spoken = '{"id":"evt_1","name":"Zürich"}'.encode()
    return (
        Draft(name="only_the_secondary_signature", verdict="verified", change=moved),
        Draft(
            name="the_secondary_signature_fits",
            verdict="verified",
            signers=(1,),
            secrets=(0, 1),
            change=beside,
        ),
        Draft(
            name="another_signature_version",
            verdict="wrong_algorithm",
            change=lambda request: request.set("BOX-SIGNATURE-VERSION", "2"),
        ),
        Draft(
            name="another_signature_algorithm",
            verdict="wrong_algorithm",
            change=lambda request: request.set("BOX-SIGNATURE-ALGORITHM", "HmacSHA1"),
        ),
        Draft(
            name="no_signature_algorithm",
            verdict="no_signature",
            change=lambda request: request.without("BOX-SIGNATURE-ALGORITHM"),
        ),
        Draft(
            name="signed_over_the_escaped_body",
            verdict="wrong_signature",
            request=Request(body=b'{"id":"evt_1","name":"Z\\u00fcrich"}'),
            change=lambda request: replace(request, body=spoken),
        ),
        Draft(
            name="a_timestamp_of_another_zone",
            verdict="verified",
            timestamp="2023-11-14T14:13:20-08:00",
        ),
        Draft(name="within_the_same_second", verdict="verified", timestamp="2023-11-14T22:13:20.999Z"),
        Draft(name="in_the_second_before_the_last", verdict="too_old", timestamp="2023-11-14T22:03:19.999Z"),
        Draft(name="in_the_next_second", verdict="too_new", timestamp="2023-11-14T22:13:21.001Z"),
    )


def box(request: Request, secret: str) -> Any:
    manager = import_module("box_sdk_gen.managers.webhooks").WebhooksManager
    return manager.validate_message(request.text, lower(request), secret, secondary_key=secret)


def workos(request: Request, secret: str) -> Any:
    return import_module("workos.webhooks._verification").verify_header(
        event_body=request.body,
        event_signature=header(request, "WorkOS-Signature"),
        secret=secret,
    )


def unless_read(check: Callable[[Request, str], Any]) -> Callable[[Request, str], Any]:
    """Count as accepted what a library only fails to read once it has verified it."""

    def checked(request: Request, secret: str) -> Any:
        try:
            return check(request, secret)
        except (json.JSONDecodeError, UnicodeDecodeError, ValidationError, KeyError):
            return True

    return checked


def gocardless(request: Request, secret: str) -> Any:
    parse = import_module("gocardless_pro.webhooks").parse
    return parse(request.body, secret, header(request, "Webhook-Signature"))


def onfido(request: Request, secret: str) -> Any:
    verifier = import_module("onfido").WebhookEventVerifier(secret)
    return verifier.read_payload(request.text, header(request, "X-SHA2-Signature"))


def easypost(request: Request, secret: str) -> Any:
    return import_module("easypost.util").validate_webhook(request.body, request.joined, secret)


def razorpay(request: Request, secret: str) -> Any:
    utility = import_module("razorpay").Utility()
    return utility.verify_webhook_signature(request.text, header(request, "X-Razorpay-Signature"), secret)


def retell(request: Request, secret: str) -> Any:
    verify = import_module("retell.lib.webhook_auth").verify
    return verify(request.text, secret, header(request, "x-retell-signature"))


def line(request: Request, secret: str) -> Any:
    validator = import_module("linebot.v3.webhook").SignatureValidator(secret)
    return validator.validate(request.text, header(request, "x-line-signature"))


def elevenlabs(request: Request, secret: str) -> Any:
    client = import_module("elevenlabs").ElevenLabs(api_key="none")
    return client.webhooks.construct_event(request.text, header(request, "ElevenLabs-Signature"), secret)


def adyen_platform(request: Request, secret: str) -> Any:
    is_valid = import_module("Adyen.util").is_valid_hmac_payload
    return is_valid(header(request, "HmacSignature"), secret, request.body)


NO_FUTURE_LIMIT = {"signed_too_far_ahead": NO_FUTURE, "signed_a_year_ahead": NO_FUTURE}
NO_AGE_LIMIT = {"signed_too_long_ago": NO_AGE, "signed_a_year_ago": NO_AGE, **NO_FUTURE_LIMIT}
INTEGER = {
    "a_timestamp_with_a_sign": TIMESTAMP_AS_NUMBER,
    "a_timestamp_in_other_digits": TIMESTAMP_AS_NUMBER,
}
FLOAT = {**INTEGER, "a_timestamp_with_a_fraction": TIMESTAMP_AS_NUMBER}
LAX_BASE64 = {"an_extended_digest": "the library's base64 reader stops at the first ="}
EMPTY = {"an_empty_body": "the library takes an empty body for a missing one"}
READS = {"an_empty_body": "the library reads the body as JSON afterwards"}
ANY_VERSION = "the library does not look at the version"

# https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation
# undoes some percent escapes before the address is signed.
ESCAPED = "https://hooks.example.com/webhooks/acme?to=https%3A%2F%2Fexample.com%3Fq%3D1%26r%3D%2Czw%C3%B6lf"
UNESCAPED = "https://hooks.example.com/webhooks/acme?to=https://example.com?q%3D1%26r%3D,zw%C3%B6lf"


def hubspot_escapes() -> tuple[Draft, ...]:
    return (
        Draft(
            name="signed_with_the_colon_unescaped",
            verdict="verified",
            request=Request(url=UNESCAPED),
            change=lambda request: replace(request, url=ESCAPED),
        ),
    )


def hubspot_extended(signed_before: Callable[[Request], bytes], *bodies: bytes) -> tuple[Draft, ...]:
    """Return requests with more behind the body, signed by who does not have the secret.

    A plain hash over the secret and a text allows it; `signed_before` is what is signed before the body.
    """

    def change(request: Request) -> Request:
        name = "X-HubSpot-Signature"
        length = len(SECRETS[0]) + len(signed_before(request)) + len(request.body)
        more = b'[{"eventId":2}]'
        made = extended(bytes.fromhex(request.header(name)), length, more)
        body = request.body + padding(length) + more
        return replace(request.set(name, made.hex()), body=body)

    return tuple(
        Draft(
            name=f"a_body_of_{len(body)}_bytes_extended_without_the_secret",
            verdict="wrong_body",
            request=Request(body=body),
            change=change,
        )
        for body in bodies
    )


# The last fills a block with the secret of v1, so that all of the padding begins a new one.
EXTENDED = (
    b"",
    b'{"id":"evt_1"}',
    b'{"id":"Z\xc3\xbcrich \xf0\x9f\x98\x80"}',
    b'{"id":"' + b"0" * 39 + b'"}',
)

TWO_BLANKS = {"two_blanks_between_two_signatures": "the library stops at an empty item; it says nothing"}
AFTER_COMMAS = {"blanks_after_commas": "the library does not know the names with blanks; they are the same"}


def without_mark() -> tuple[Draft, ...]:
    return (Draft(name="a_secret_without_its_mark", verdict="verified", given=(UNMARKED[0],)),)


def svix_drafts() -> tuple[Draft, ...]:
    """Return what is particular to Svix: who sends by it may name the headers as the standard does."""

    def renamed(request: Request) -> Request:
        for old, new in zip(SVIX.values(), WEBHOOK.values(), strict=True):
            request = request.without(old).set(new, request.header(old))
        return request

    def other_beside(request: Request) -> Request:
        return request.set("webhook-signature", "v1,AAAA").set("webhook-id", "msg_2")

    return (
        Draft(name="the_names_of_the_standard", verdict="verified", change=renamed),
        Draft(name="the_other_names_beside", verdict="verified", change=other_beside),
    )


LIBRARIES: list[Sender] = [
    mac_sender(
        "stripe",
        Library(package="stripe", check=stripe),
        second=NodeLibrary(package="stripe", scheme="stripe"),
        secrets=MARKED,
        header="Stripe-Signature",
        content=dotted,
        each="v1={digest}",
        value="t={ts},{all}",
        joint=",",
        timestamp_pair="t={ts},",
        past=300_000,
        future=300_000,
        verdicts={"the_signature_header_twice": "malformed_timestamp"},
        more=stripe_like("Stripe-Signature"),
        wider={**AFTER_COMMAS, "an_empty_body": "the library for Node takes an empty body for a missing one"},
        stricter={
            **NO_FUTURE_LIMIT,
            **FLOAT,
            "the_signature_header_twice": "the library takes one of two timestamps",
        },
    ),
    mac_sender(
        "standardwebhooks",
        Library(package="standardwebhooks", check=standardwebhooks),
        secrets=MARKED,
        wider=TWO_BLANKS,
        **standard(WEBHOOK, stricter={**FLOAT, **LAX_BASE64}, more=without_mark()),
    ),
    mac_sender(
        "svix",
        Library(package="svix", check=svix),
        secrets=MARKED,
        wider=TWO_BLANKS,
        **standard(SVIX, stricter={**FLOAT, **LAX_BASE64}, more=(*without_mark(), *svix_drafts())),
    ),
    mac_sender(
        "openai",
        Library(package="openai", check=openai),
        second=NodeLibrary(package="openai", scheme="openai"),
        secrets=MARKED,
        **standard(
            WEBHOOK,
            stricter={
                "a_signature_without_version": ANY_VERSION,
                **dict.fromkeys(
                    ("the_signature_header_twice", "an_extended_digest", "a_digest_beyond_ascii"),
                    "the library for Node reads base64 as far as it is any",
                ),
            },
            more=(
                Draft(
                    name="a_secret_without_mark_is_its_own_text",
                    verdict="verified",
                    key=UNMARKED[0].encode(),
                    given=(UNMARKED[0],),
                ),
                Draft(
                    name="a_secret_without_mark_is_not_base64",
                    verdict="wrong_signature",
                    given=(UNMARKED[0],),
                ),
                Draft(
                    name="a_marked_secret_is_not_its_own_text",
                    verdict="wrong_signature",
                    key=MARKED[0].encode(),
                ),
            ),
        ),
    ),
    mac_sender(
        "replicate",
        Library(package="replicate", check=replicate),
        secrets=MARKED,
        wider=EMPTY,
        **standard(
            WEBHOOK,
            stricter={
                **NO_AGE_LIMIT,
                **LAX_BASE64,
                "version_v1a": ANY_VERSION,
                "the_signature_header_twice": "the library takes what lies between two commas",
            },
        ),
    ),
    mac_sender(
        "resend",
        Library(package="resend", check=resend),
        secrets=MARKED,
        wider=EMPTY,
        **standard(SVIX, stricter={"version_v1a": ANY_VERSION}),
    ),
    mac_sender(
        "lithic",
        Library(package="lithic", check=lithic),
        secrets=MARKED,
        wider={**READS, **TWO_BLANKS},
        **standard(WEBHOOK, stricter={**FLOAT, **LAX_BASE64}),
    ),
    mac_sender(
        "polar",
        Library(package="polar-sdk", check=polar),
        secrets=MARKED,
        **standard(
            WEBHOOK,
            stricter=FLOAT,
            more=(
                Draft(
                    name="a_secret_that_is_its_own_text",
                    verdict="verified",
                    key=b"polar_whs_5f2c8a1e9b7d4036",
                    given=("polar_whs_5f2c8a1e9b7d4036",),
                ),
                Draft(
                    name="a_marked_secret_as_its_own_text",
                    verdict="verified",
                    key=MARKED[0].encode(),
                ),
                Draft(
                    name="a_secret_of_base64_without_mark",
                    verdict="verified",
                    given=(UNMARKED[0],),
                ),
                Draft(
                    name="a_marked_secret_as_text_without_its_mark",
                    verdict="wrong_signature",
                    key=UNMARKED[0].encode(),
                ),
            ),
        ),
    ),
    mac_sender(
        "anthropic",
        Library(package="anthropic", check=anthropic),
        secrets=MARKED,
        wider={**READS, **TWO_BLANKS},
        **standard(WEBHOOK, stricter={**FLOAT, **LAX_BASE64}),
    ),
    mac_sender(
        "gitlab_signed",
        Library(package="standardwebhooks", check=standardwebhooks),
        secrets=MARKED,
        wider=TWO_BLANKS,
        **standard(WEBHOOK, stricter={**FLOAT, **LAX_BASE64}, more=without_mark()),
    ),
    mac_sender(
        "slack",
        Library(package="slack_sdk", check=slack),
        second=NodeLibrary(package="@slack/bolt", scheme="slack"),
        secrets=SECRETS,
        header="X-Slack-Signature",
        timestamp_header="X-Slack-Request-Timestamp",
        content=lambda request, ts: f"v0:{ts}:".encode() + request.body,
        each="v0={digest}",
        past=300_000,
        future=300_000,
        stricter=dict.fromkeys(NO_FUTURE_LIMIT, "the library for Node has no limit on the future"),
        more=(
            Draft(
                name="version_v1",
                verdict="malformed_signature",
                change=in_header("X-Slack-Signature", lambda value: value.replace("v0=", "v1=")),
            ),
            Draft(
                name="no_version",
                verdict="malformed_signature",
                change=in_header("X-Slack-Signature", lambda value: value.replace("v0=", "")),
            ),
        ),
    ),
    mac_sender(
        "paddle",
        Library(package="paddle-python-sdk", check=paddle),
        secrets=SECRETS,
        header="Paddle-Signature",
        content=lambda request, ts: f"{ts}:".encode() + request.body,
        each="h1={digest}",
        value="ts={ts};{all}",
        joint=";",
        timestamp_pair="ts={ts};",
        past=5_000,
        future=5_000,
        verdicts={"the_signature_header_twice": "malformed_signature"},
        stricter=INTEGER,
        more=(
            Draft(
                name="only_an_unknown_version",
                verdict="malformed_signature",
                change=in_header("Paddle-Signature", lambda value: value.replace("h1=", "h2=")),
            ),
        ),
    ),
    mac_sender(
        "square",
        Library(package="squareup", check=square),
        second=NodeLibrary(package="square", scheme="square"),
        secrets=SECRETS,
        header="x-square-hmacsha256-signature",
        content=lambda request, _: request.url.encode() + request.body,
        encoding="base64",
        url_signed=True,
        wider=EMPTY,
    ),
    mac_sender(
        "hubspot_v1",
        Library(package="hubspot-api-client", check=hubspot("v1")),
        second=NodeLibrary(package="@hubspot/api-client", scheme="hubspot_v1"),
        secrets=SECRETS,
        header="X-HubSpot-Signature",
        headers={"X-HubSpot-Signature-Version": "v1"},
        plain_hash=True,
        more=(
            *hubspot_extended(lambda _: b"", *EXTENDED),
            Draft(
                name="a_body_that_is_not_utf_8",
                verdict="wrong_body",
                request=Request(body=NOT_UTF_8),
            ),
        ),
    ),
    mac_sender(
        "hubspot_v2",
        Library(package="hubspot-api-client", check=hubspot("v2")),
        second=NodeLibrary(package="@hubspot/api-client", scheme="hubspot_v2"),
        secrets=SECRETS,
        header="X-HubSpot-Signature",
        headers={"X-HubSpot-Signature-Version": "v2"},
        content=lambda request, _: f"{request.method}{request.url}".encode() + request.body,
        plain_hash=True,
        more=(
            *hubspot_extended(lambda request: f"{request.method}{request.url}".encode(), *EXTENDED),
            Draft(
                name="a_body_that_is_not_utf_8",
                verdict="wrong_body",
                request=Request(body=NOT_UTF_8),
            ),
        ),
        url_signed=True,
        method_signed=True,
    ),
    mac_sender(
        "hubspot_v3",
        Library(package="hubspot-api-client", check=hubspot("v3")),
        second=NodeLibrary(package="@hubspot/api-client", scheme="hubspot_v3"),
        secrets=SECRETS,
        header="X-HubSpot-Signature-v3",
        timestamp_header="X-HubSpot-Request-Timestamp",
        content=lambda request, ts: f"{request.method}{request.url}".encode() + request.body + ts.encode(),
        encoding="base64",
        unit="ms",
        past=300_000,
        future=300_000,
        url_signed=True,
        method_signed=True,
        more=hubspot_escapes(),
        stricter={
            **NO_FUTURE_LIMIT,
            "signed_a_millisecond_too_far_ahead": NO_FUTURE,
        },
        wider={
            "signed_as_long_ago_as_may_be": "the library refuses at five minutes; documented is: older than",
            "signed_with_the_colon_unescaped": "the library leaves the unescaping to its caller",
        },
    ),
    mac_sender(
        "cloudconvert",
        Library(package="cloudconvert", check=cloudconvert),
        secrets=SECRETS,
        header="CloudConvert-Signature",
    ),
    mac_sender(
        "box",
        Library(package="box-sdk-gen", check=box),
        secrets=SECRETS,
        header="BOX-SIGNATURE-PRIMARY",
        headers={"BOX-SIGNATURE-VERSION": "1", "BOX-SIGNATURE-ALGORITHM": "HmacSHA256"},
        timestamp_header="BOX-DELIVERY-TIMESTAMP",
        content=lambda request, ts: request.body + ts.encode(),
        encoding="base64",
        unit="rfc3339",
        past=600_000,
        future=0,
        more=box_drafts(),
        stricter={"signed_over_the_escaped_body": "documented is the body as it is"},
    ),
    mac_sender(
        "workos",
        Library(package="workos", check=workos),
        secrets=SECRETS,
        header="WorkOS-Signature",
        content=dotted,
        each="v1={digest}",
        value="t={ts}, {all}",
        timestamp_pair="t={ts}, ",
        unit="ms",
        past=180_000,
        future=180_000,
        verdicts={"the_signature_header_twice": "malformed_timestamp"},
    ),
    mac_sender(
        "gocardless",
        Library(package="gocardless_pro", check=unless_read(gocardless)),
        secrets=SECRETS,
        header="Webhook-Signature",
        not_utf_8=True,
    ),
    mac_sender(
        "onfido",
        Library(package="onfido-python", check=unless_read(onfido)),
        secrets=SECRETS,
        header="X-SHA2-Signature",
    ),
    mac_sender(
        "easypost",
        Library(package="easypost", check=unless_read(easypost)),
        secrets=(
            "Schl\u00fcssel \u212b\ufb01 1",
            "Schl\u00fcssel \u212b\ufb01 2",
            "Schl\u00fcssel \u212b\ufb01 3",
        ),
        header="X-Hmac-Signature",
        each="hmac-sha256-hex={digest}",
        key=nfkd_key,
        not_utf_8=True,
        more=(
            Draft(
                name="no_prefix",
                verdict="malformed_signature",
                change=in_header("X-Hmac-Signature", lambda value: value.partition("=")[2]),
            ),
        ),
    ),
    mac_sender(
        "razorpay",
        Library(package="razorpay", check=razorpay),
        secrets=SECRETS,
        header="X-Razorpay-Signature",
    ),
    mac_sender(
        "retell",
        Library(package="retell-sdk", check=retell),
        secrets=SECRETS,
        header="x-retell-signature",
        content=lambda request, ts: request.body + ts.encode(),
        each="d={digest}",
        value="v={ts},{all}",
        timestamp_pair="v={ts},",
        unit="ms",
        past=300_000,
        future=300_000,
        verdicts={"the_signature_header_twice": "malformed_timestamp"},
        stricter={
            "a_timestamp_in_other_digits": TIMESTAMP_AS_NUMBER,
        },
    ),
    mac_sender(
        "line",
        Library(package="line-bot-sdk", check=line),
        secrets=SECRETS,
        header="x-line-signature",
        encoding="base64",
    ),
    mac_sender(
        "elevenlabs",
        Library(package="elevenlabs", check=unless_read(elevenlabs)),
        secrets=SECRETS,
        header="ElevenLabs-Signature",
        content=dotted,
        each="v0={digest}",
        value="t={ts},{all}",
        joint=",",
        timestamp_pair="t={ts},",
        past=1_800_000,
        future=300_000,
        verdicts={"the_signature_header_twice": "malformed_timestamp"},
        stricter={
            **NO_FUTURE_LIMIT,
            "the_signature_header_twice": "the library takes the last of each",
        },
    ),
    mac_sender(
        "adyen_platform",
        Library(package="Adyen", check=adyen_platform),
        secrets=HEX_KEYS,
        header="HmacSignature",
        encoding="base64",
        key=bytes.fromhex,
        not_utf_8=True,
    ),
]
