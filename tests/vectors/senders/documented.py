"""Senders with a digest in a header and without a library: judged by their documentation, with openssl."""

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.vectors.drafts import Draft, Question, Request, Sender, Unit
from tests.vectors.judges import Documentation, NodeLibrary, openssl_mac
from tests.vectors.senders.libraries import (
    NO_AGE_LIMIT,
    SECRETS,
    TIMESTAMP_AS_NUMBER,
    dotted,
    in_header,
)
from tests.vectors.senders.macs import Content, Key, body_only, encoded, mac_sender, text_key

PREFIXES = ("sha1", "sha256", "sha512")


def documented(
    scheme: str,
    address: str,
    *,
    header: str,
    secrets: tuple[str, str, str] = SECRETS,
    content: Content = body_only,
    each: str = "{digest}",
    value: str = "{all}",
    joint: str = "",
    encoding: Any = "hex",
    digest: str = "sha256",
    key: Key = text_key,
    timestamp_header: str | None = None,
    timestamp_pair: str | None = None,
    unit: Unit = "s",
    more_headers: tuple[str, ...] = (),
    documented_age: int | None = None,
    more: tuple[Draft, ...] = (),
    **rest: Any,
) -> Sender:
    """Describe a sender; `documented_age` is how old, in ms, its documentation lets a request be."""
    wanted = re.compile(re.escape(each).replace(r"\{digest\}", r"([0-9A-Za-z+/=_-]+)"))

    def check(question: Question, secret: str) -> bool:
        request = question.request
        names = [name for name, _ in request.headers if name in (header, *more_headers)]
        values = [text for name, text in request.headers if name in names]
        if not values or len(set(names)) < len(names):
            return False
        ts = _timestamp(request, values[0])
        if timestamp_header or timestamp_pair:
            moment = _moment(ts, unit)
            if moment is None:
                return False
            if documented_age is not None and abs(question.now * 1000 - moment) > documented_age:
                return False
        digests = [
            item.group(1) for value in values for part in _parts(value) if (item := wanted.fullmatch(part))
        ]
        mac = openssl_mac(key(secret), content(request, ts), digest)
        return encoded(mac, encoding) in digests

    def _timestamp(request: Request, text: str) -> str:
        if timestamp_header:
            return request.header(timestamp_header)
        if timestamp_pair:
            found = re.search(re.escape(timestamp_pair).replace(r"\{ts\}", "([^,;]*)"), text)
            return found.group(1) if found else ""
        return ""

    def _parts(text: str) -> list[str]:
        return text.split(",") if timestamp_pair else [text]

    if any(each.startswith(f"{prefix}=") for prefix in PREFIXES):
        more = (*other_prefixes(header), *more)
    return mac_sender(
        scheme,
        Documentation(address=address, check=check),
        secrets=secrets,
        header=header,
        content=content,
        each=each,
        value=value,
        joint=joint,
        encoding=encoding,
        digest=digest,
        key=key,
        timestamp_header=timestamp_header,
        timestamp_pair=timestamp_pair,
        unit=unit,
        more=more,
        not_utf_8=True,
        **rest,
    )


def _moment(text: str, unit: Unit) -> int | None:
    if unit == "rfc3339":
        try:
            return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp() * 1000)
        except ValueError:
            return None
    if not re.fullmatch("[0-9]{1,16}", text):
        return None
    return int(text) * (1 if unit == "ms" else 1000)


def other_prefixes(header: str) -> tuple[Draft, ...]:
    without = in_header(header, lambda value: value.partition("=")[2])
    return (
        Draft(name="no_prefix", verdict="malformed_signature", change=without),
        Draft(
            name="an_unknown_prefix",
            verdict="malformed_signature",
            change=in_header(header, lambda value: "md5=" + value.partition("=")[2]),
        ),
        Draft(
            name="an_upper_case_prefix",
            verdict="malformed_signature",
            change=in_header(
                header, lambda value: value.partition("=")[0].upper() + "=" + value.partition("=")[2]
            ),
        ),
    )


def renamed(old: str, new: str) -> Any:
    """Move a header's value to another name."""

    def change(request: Request) -> Request:
        return request.without(old).set(new, request.header(old))

    return change


# As DocuSign shows its keys: base64, and used as the text that it is.
DOCUSIGN_KEYS = (
    "eWGuhbLGRzJ2YMVDVRbQbqTHr1ZyQ5NC0PNgzVXWmXk=",
    "gTn3BJaY3k2ZdaE5pXc4gLm0QxXyE8rkyX5D0Ff7l7Y=",
    "w9Pz2m4ZrVYxPq0nbtB0mLJ2L2dS0uXhYj5tQ1oE6cM=",
)

DOCUMENTED: list[Sender] = [
    documented(
        "meta",
        "https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads",
        header="X-Hub-Signature-256",
        each="sha256={digest}",
    ),
    documented(
        "intercom",
        "https://developers.intercom.com/docs/webhooks/webhook-notifications",
        header="X-Hub-Signature",
        each="sha1={digest}",
        digest="sha1",
    ),
    documented(
        "docusign",
        "https://developers.docusign.com/platform/webhooks/connect/hmac",
        header="X-DocuSign-Signature-1",
        secrets=DOCUSIGN_KEYS,
        encoding="base64",
        more_headers=tuple(f"X-DocuSign-Signature-{number}" for number in range(2, 101)),
        more=(
            *(
                Draft(
                    name=f"only_the_header_of_key_{number}",
                    verdict="verified" if number <= 100 else "no_signature",
                    change=renamed("X-DocuSign-Signature-1", f"X-DocuSign-Signature-{number}"),
                )
                for number in (2, 10, 100, 101)
            ),
            Draft(
                name="another_keys_header_before_ours",
                verdict="verified",
                change=lambda request: renamed("X-DocuSign-Signature-1", "X-DocuSign-Signature-2")(
                    request
                ).set("X-DocuSign-Signature-1", encoded(bytes(32), "base64")),
            ),
            Draft(
                name="signed_with_the_decoded_key",
                verdict="wrong_signature",
                change=lambda request: request.set(
                    "X-DocuSign-Signature-1",
                    encoded(
                        openssl_mac(base64.b64decode(DOCUSIGN_KEYS[0]), request.body, "sha256"), "base64"
                    ),
                ),
            ),
        ),
    ),
    documented(
        "zendesk",
        "https://developer.zendesk.com/documentation/webhooks/verifying/",
        header="X-Zendesk-Webhook-Signature",
        timestamp_header="X-Zendesk-Webhook-Signature-Timestamp",
        content=lambda request, ts: ts.encode() + request.body,
        encoding="base64",
        unit="rfc3339",
        past=300_000,
        future=300_000,
        stricter=dict.fromkeys(NO_AGE_LIMIT, "no age is documented"),
    ),
    documented(
        "typeform",
        "https://www.typeform.com/developers/webhooks/secure-your-webhooks/",
        header="Typeform-Signature",
        each="sha256={digest}",
        encoding="base64",
    ),
    documented(
        "calendly",
        "https://developer.calendly.com/api-docs/overview/webhooks/webhook-signatures",
        header="Calendly-Webhook-Signature",
        content=dotted,
        each="v1={digest}",
        value="t={ts},{all}",
        timestamp_pair="t={ts}",
        joint=",",
        past=180_000,
        future=180_000,
        documented_age=180_000,
        verdicts={"the_signature_header_twice": "malformed_timestamp"},
    ),
    documented(
        "dropbox",
        "https://www.dropbox.com/developers/reference/webhooks#notifications",
        header="X-Dropbox-Signature",
    ),
    documented(
        "lemonsqueezy",
        "https://docs.lemonsqueezy.com/help/webhooks/signing-requests",
        header="X-Signature",
    ),
    documented(
        "vercel",
        "https://vercel.com/docs/webhooks/webhooks-api#securing-webhooks",
        header="x-vercel-signature",
        digest="sha1",
    ),
    documented(
        "asana",
        "https://developers.asana.com/docs/webhooks-guide#security",
        header="X-Hook-Signature",
    ),
    documented(
        "trello",
        "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/#webhook-signatures",
        header="X-Trello-Webhook",
        content=lambda request, _: request.body + request.url.encode(),
        encoding="base64",
        digest="sha1",
        url_signed=True,
    ),
    documented(
        "sentry",
        "https://docs.sentry.io/organization/integrations/integration-platform/webhooks/",
        header="Sentry-Hook-Signature",
    ),
    documented(
        "nylas",
        "https://developer.nylas.com/docs/v3/notifications/",
        header="X-Nylas-Signature",
    ),
    documented(
        "xero",
        "https://developer.xero.com/documentation/guides/webhooks/configuring-your-server",
        header="x-xero-signature",
        encoding="base64",
    ),
    documented(
        "x_twitter",
        "https://docs.x.com/x-api/webhooks/quickstart",
        header="x-twitter-webhooks-signature",
        each="sha256={digest}",
        encoding="base64",
    ),
    documented(
        "bitbucket",
        "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/#Secure-webhooks",
        header="X-Hub-Signature",
        each="sha256={digest}",
    ),
]

ZOOM_BODIES = {
    "a_compact_body": b'{"event":"meeting.started","event_ts":1,"payload":{"object":{"uuid":"x==","n":1.5}}}',
    "a_pretty_printed_body": b'{\n  "event": "meeting.started",\n  "payload": {"account_id": "AAAB"}\n}\n',
    "a_number_with_a_fraction_of_zero": b'{"event":"meeting.started","n":1.0}',
    "a_body_with_line_ends_and_a_trailing_blank": b'{\r\n\t"event": "meeting.started"\r\n} ',
    "a_body_with_text_beyond_ascii": '{"event":"meeting.started","topic":"Zürich, 東京 😀"}'.encode(),
    "an_escape": b'{"event":"meeting.started","topic":"Z\\u00fcrich"}',
    "an_empty_object": b"{}",
    "an_empty_body": b"",
}
ANEW = "the library writes the JSON anew before it signs it; documented is the body as it is"
DOCUMENTED.append(
    documented(
        "zoom",
        "https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events",
        header="x-zm-signature",
        second=NodeLibrary(package="@zoom/rivet", scheme="zoom"),
        timestamp_header="x-zm-request-timestamp",
        content=lambda request, ts: f"v0:{ts}:".encode() + request.body,
        each="v0={digest}",
        past=300_000,
        future=300_000,
        more=(
            Draft(
                name="version_v1",
                verdict="malformed_signature",
                change=in_header("x-zm-signature", lambda value: value.replace("v0=", "v1=")),
            ),
            Draft(
                name="no_version",
                verdict="malformed_signature",
                change=in_header("x-zm-signature", lambda value: value.replace("v0=", "")),
            ),
        ),
        stricter={
            **dict.fromkeys(NO_AGE_LIMIT, "no age is documented"),
            **dict.fromkeys(("a_blank_after_the_body", "a_line_end_after_the_body"), ANEW),
            "a_timestamp_with_a_sign": TIMESTAMP_AS_NUMBER,
            "a_timestamp_with_a_fraction": TIMESTAMP_AS_NUMBER,
        },
        bodies=ZOOM_BODIES,
        body=ZOOM_BODIES["a_compact_body"],
        wider={
            **dict.fromkeys(
                (
                    "a_pretty_printed_body",
                    "a_number_with_a_fraction_of_zero",
                    "a_body_with_line_ends_and_a_trailing_blank",
                    "an_escape",
                    "a_body_that_is_not_utf_8",
                ),
                ANEW,
            ),
            "an_empty_object": "the library asks for an event",
            "an_empty_body": "the library asks for an event",
        },
    )
)


def persona() -> Sender:
    """Describe Persona: while a secret is replaced, two sets stand beside each other, divided by a blank."""
    name = "Persona-Signature"

    def check(question: Question, secret: str) -> bool:
        values = [text for known, text in question.request.headers if known == name]
        if len(values) != 1:
            return False
        for one in values[0].split(" "):
            found = re.fullmatch("t=([0-9]{1,16}),v1=([0-9a-f]+)", one)
            if found:
                content = f"{found.group(1)}.".encode() + question.request.body
                if openssl_mac(secret.encode(), content, "sha256").hex() == found.group(2):
                    return True
        return False

    def added(request: Request) -> Request:
        first = request.header(name)
        ts = first.partition(",")[0].removeprefix("t=")
        content = f"{ts}.".encode() + request.body
        digest = openssl_mac(SECRETS[2].encode(), content, "sha256").hex()
        return request.set(name, f"{first} t={ts},v1={digest}")

    def turned(request: Request) -> Request:
        return replace(
            added(request),
            headers=tuple(
                (known, " ".join(reversed(text.split(" "))) if known == name else text)
                for known, text in added(request).headers
            ),
        )

    return mac_sender(
        "persona",
        Documentation(address="https://docs.withpersona.com/webhooks-best-practices", check=check),
        secrets=SECRETS,
        header=name,
        content=dotted,
        each="v1={digest}",
        value="t={ts},{all}",
        timestamp_pair="t={ts},",
        past=300_000,
        future=300_000,
        verdicts={"the_signature_header_twice": "malformed_timestamp"},
        stricter=dict.fromkeys((*NO_AGE_LIMIT, "two_sets_of_an_old_time"), "no age is documented"),
        more=(
            Draft(name="another_secrets_set_behind", verdict="verified", change=added),
            Draft(name="another_secrets_set_before", verdict="verified", change=turned),
            Draft(
                name="two_sets_of_an_old_time",
                verdict="too_old",
                at=-301_000,
                secrets=(0, 2),
                change=added,
            ),
        ),
    )


DOCUMENTED.append(persona())
