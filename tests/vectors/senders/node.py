"""Senders judged by their own libraries on npm; judge.mjs asks those."""

from dataclasses import replace
from urllib.parse import quote

from tests.vectors.drafts import Draft, Request, Sender, T
from tests.vectors.judges import NodeLibrary
from tests.vectors.senders.documented import other_prefixes, renamed
from tests.vectors.senders.libraries import (
    AFTER_COMMAS,
    EMPTY,
    MARKED,
    NO_AGE,
    NO_AGE_LIMIT,
    NO_FUTURE,
    NO_FUTURE_LIMIT,
    READS,
    SECRETS,
    SVIX,
    TIMESTAMP_AS_NUMBER,
    dotted,
    standard,
    stripe_like,
)
from tests.vectors.senders.macs import mac_sender

NO_FUTURE_LIMIT_MS = {**NO_FUTURE_LIMIT, "signed_a_millisecond_too_far_ahead": NO_FUTURE}
NO_AGE_LIMIT_MS = {**NO_AGE_LIMIT, **NO_FUTURE_LIMIT_MS, "signed_a_millisecond_too_long_ago": NO_AGE}
PARSED = {
    "a_timestamp_with_a_sign": TIMESTAMP_AS_NUMBER,
    "a_timestamp_with_a_fraction": TIMESTAMP_AS_NUMBER,
}

SHOPIFY = {
    "X-Shopify-Topic": "orders/create",
    "X-Shopify-Shop-Domain": "acme.myshopify.com",
    "X-Shopify-API-Version": "2026-10",
    "X-Shopify-Webhook-Id": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
}


def as_events(request: Request) -> Request:
    """Name the headers as Shopify's Events do, https://shopify.dev/docs/apps/build/events/verify-deliveries."""
    for name in ("X-Shopify-Hmac-Sha256", *SHOPIFY):
        request = request.without(name).set(name.removeprefix("X-"), request.header(name))
    return request


# Contentful: method, path and query, the listed headers, and the body

CONTENTFUL_SECRETS = (
    "5f2c8a1e9b7d40360d9e4b7a61c8f352c41b7e90a25d83f6aB3xY7kQ9mV2nZ4w",
    "0d9e4b7a61c8f3525f2c8a1e9b7d4036c41b7e90a25d83f6aB3xY7kQ9mV2nZ4w",
    "c41b7e90a25d83f60d9e4b7a61c8f3525f2c8a1e9b7d4036aB3xY7kQ9mV2nZ4w",
)
LISTED = "x-contentful-signed-headers"
CONTENTFUL = "content-type,x-contentful-signed-headers,x-contentful-timestamp,x-contentful-topic"


def contentful_content(request: Request, _: str) -> bytes:
    origin = "/".join(request.url.split("/", 3)[:3])
    path, _, query = request.url.removeprefix(origin).partition("?")
    if query:
        path += "?" + quote(query, safe="-_.!~*'()")
    names = request.header(LISTED).split(",")
    headers = ";".join(f"{name}:{request.header(name)}" for name in names)
    return (
        "\n".join((request.method, quote(path, safe=";,/?:@&=+$-_.!~*'()#"), headers, "")).encode()
        + request.body
    )


def contentful_drafts() -> tuple[Draft, ...]:
    def listed(name: str, verdict: str, value: str) -> Draft:
        return Draft(name=name, verdict=verdict, change=lambda request: request.set(LISTED, value))

    def told_by_another(request: Request) -> Request:
        """Let an unbound header tell an old time as the signed one, and name a new time beside it."""
        old = request.header("X-Contentful-Timestamp")
        told = f"application/json;{LISTED}:{CONTENTFUL};x-contentful-timestamp:{old}"
        request = request.set("Content-Type", told).set(LISTED, "content-type,x-contentful-topic")
        return request.set("X-Contentful-Timestamp", str(T * 1000))

    def header_changed(request: Request) -> Request:
        return request.set("X-Contentful-Topic", "ContentManagement.Entry.delete")

    escapes = "https://hooks.example.com/a%20b/(c)?x=1&y=a%20b&z=%C3%BC"
    return (
        Draft(name="an_address_with_escapes", verdict="verified", request=Request(url=escapes)),
        Draft(
            name="another_header_tells_the_old_time",
            verdict="wrong_signature",
            at=-3_600_000,
            change=told_by_another,
        ),
        Draft(name="a_signed_header_changed", verdict="wrong_signature", change=header_changed),
        Draft(
            name="a_signed_header_gone",
            verdict="malformed_signature",
            change=lambda request: request.without("X-Contentful-Topic"),
        ),
        Draft(
            name="an_unsigned_header_beside",
            verdict="verified",
            change=lambda request: request.set("X-More", "1"),
        ),
        Draft(
            name="no_list_of_headers", verdict="no_signature", change=lambda request: request.without(LISTED)
        ),
        listed("another_order_of_the_list", "verified", ",".join(reversed(CONTENTFUL.split(",")))),
        listed("its_own_headers_not_listed", "verified", "content-type,x-contentful-topic"),
        listed("a_header_less_in_the_list", "wrong_signature", CONTENTFUL.removeprefix("content-type,")),
        listed("a_header_more_in_the_list", "malformed_signature", f"{CONTENTFUL},x-more"),
        listed("a_header_twice_in_the_list", "malformed_signature", f"{CONTENTFUL},content-type"),
    )


NODE: list[Sender] = [
    mac_sender(
        "github",
        NodeLibrary(package="@octokit/webhooks-methods", scheme="github"),
        secrets=SECRETS,
        header="X-Hub-Signature-256",
        each="sha256={digest}",
        more=(
            *other_prefixes("X-Hub-Signature-256"),
            Draft(
                name="only_the_older_header",
                verdict="no_signature",
                change=renamed("X-Hub-Signature-256", "X-Hub-Signature"),
            ),
        ),
        wider=EMPTY,
    ),
    mac_sender(
        "clerk",
        NodeLibrary(package="@clerk/backend", scheme="clerk"),
        secrets=MARKED,
        wider=READS,
        **standard(
            SVIX,
            stricter={
                **PARSED,
                "the_timestamp_header_twice": TIMESTAMP_AS_NUMBER,
                "the_signature_header_twice": "the library takes what lies between two commas",
            },
        ),
    ),
    mac_sender(
        "mux",
        NodeLibrary(package="@mux/mux-node", scheme="mux"),
        secrets=SECRETS,
        header="Mux-Signature",
        content=dotted,
        each="v1={digest}",
        value="t={ts},{all}",
        joint=",",
        timestamp_pair="t={ts},",
        past=300_000,
        future=300_000,
        verdicts={"the_signature_header_twice": "malformed_timestamp"},
        more=stripe_like("Mux-Signature"),
        wider=AFTER_COMMAS,
        stricter={
            **NO_FUTURE_LIMIT,
            **PARSED,
            "the_signature_header_twice": "the library takes one of two timestamps",
        },
    ),
    mac_sender(
        "shopify",
        NodeLibrary(package="@shopify/shopify-api", scheme="shopify"),
        secrets=SECRETS,
        header="X-Shopify-Hmac-Sha256",
        headers=SHOPIFY,
        encoding="base64",
        more=(
            Draft(
                name="no_topic",
                verdict="verified",
                change=lambda request: request.without("X-Shopify-Topic"),
            ),
            Draft(name="the_headers_of_events", verdict="verified", change=as_events),
        ),
        wider={**EMPTY, "no_topic": "the library asks for headers that nothing signs"},
    ),
    mac_sender(
        "coinbase_commerce",
        NodeLibrary(package="coinbase-commerce-node", scheme="coinbase_commerce"),
        secrets=SECRETS,
        header="X-CC-Webhook-Signature",
    ),
    replace(
        mac_sender(
            "notion",
            NodeLibrary(package="@notionhq/client", scheme="notion"),
            secrets=SECRETS,
            header="X-Notion-Signature",
            each="sha256={digest}",
            not_utf_8=True,
            more=other_prefixes("X-Notion-Signature"),
        ),
        wider={},
    ),
    mac_sender(
        "sanity",
        NodeLibrary(package="@sanity/webhook", scheme="sanity"),
        secrets=SECRETS,
        header="sanity-webhook-signature",
        content=dotted,
        each="v1={digest}",
        value="t={ts},{all}",
        timestamp_pair="t={ts},",
        encoding="base64url",
        unit="ms",
        past=300_000,
        future=300_000,
        verdicts={"the_signature_header_twice": "malformed_timestamp"},
        more=stripe_like("sanity-webhook-signature"),
        wider={
            **EMPTY,
            **AFTER_COMMAS,
            "an_unknown_version_beside": "the library takes one signature; others may follow",
            "the_pairs_in_another_order": "the library takes one order; the pairs are the same",
        },
        stricter=NO_AGE_LIMIT_MS,
    ),
    mac_sender(
        "webflow",
        NodeLibrary(package="webflow-api", scheme="webflow"),
        secrets=SECRETS,
        header="x-webflow-signature",
        timestamp_header="x-webflow-timestamp",
        content=lambda request, ts: f"{ts}:".encode() + request.body,
        unit="ms",
        past=300_000,
        future=300_000,
        stricter=NO_AGE_LIMIT_MS,
    ),
    mac_sender(
        "contentful",
        NodeLibrary(package="@contentful/node-apps-toolkit", scheme="contentful"),
        secrets=CONTENTFUL_SECRETS,
        header="X-Contentful-Signature",
        headers={"X-Contentful-Topic": "ContentManagement.Entry.publish", LISTED: CONTENTFUL},
        timestamp_header="X-Contentful-Timestamp",
        content=contentful_content,
        unit="ms",
        past=29_999,
        future=300_000,
        url_signed=True,
        method_signed=True,
        more=contentful_drafts(),
        verdicts={"another_host": "verified"},
        stricter={
            **NO_FUTURE_LIMIT_MS,
            **PARSED,
            "the_timestamp_header_twice": TIMESTAMP_AS_NUMBER,
            "a_header_more_in_the_list": "the library makes the list anew; it was never signed like that",
            "a_header_twice_in_the_list": "the library makes the list anew; it was never signed like that",
        },
    ),
]
