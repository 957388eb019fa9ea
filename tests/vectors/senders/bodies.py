"""Senders whose signature lies in the body or in a form, or is made of the address and a form's fields."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

from tests.vectors.drafts import NOT_UTF_8, URL, Draft, Judge, Request, Sender, T, written
from tests.vectors.judges import Library, NodeLibrary
from tests.vectors.senders.libraries import HEX_KEYS, INTEGER, NO_AGE_LIMIT, SECRETS, header, lower
from tests.vectors.senders.macs import SPELLING, mac_sender

FORM = (("Content-Type", "application/x-www-form-urlencoded"),)
Document = dict[str, Any]


def hmac_hex(key: bytes, content: bytes, digest: str = "sha256") -> str:
    return hmac.new(key, content, digest).hexdigest()


# Twilio


class Fields(dict[str, list[str]]):
    """A form as frameworks hand it on."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


def fields_of(request: Request) -> Fields:
    return Fields(parse_qs(request.text, keep_blank_values=True))


def twilio(request: Request, secret: str) -> Any:
    module = import_module("twilio.request_validator")
    algorithm = module.get_signature_algorithm(header(request, "X-Twilio-Webhooks-Signature-Settings"))
    signature = header(request, "X-Twilio-Signature")
    is_form = "urlencoded" in request.header("Content-Type")
    params = fields_of(request) if is_form else request.text
    return module.RequestValidator(secret).validate(request.url, params, signature, algorithm)


def twilio_content(request: Request, _: str) -> bytes:
    pairs = sorted(set(parse_qsl(request.text, keep_blank_values=True)))
    return (request.url + "".join(name + value for name, value in pairs)).encode()


TWILIO_BODIES = {
    "a_form": b"CallSid=CA1234567890ABCDE&Caller=%2B12349013030&Digits=1234&To=%2B18005551212",
    "a_form_out_of_order": b"To=%2B18005551212&From=%2B12349013030&CallSid=CA1234567890ABCDE&Digits=1234",
    "an_empty_value": b"CallSid=CA1&Body=&From=%2B4912345",
    "a_value_with_blanks": b"Body=Hello+there%20%0D%0Ayou&CallSid=CA1",
    "a_form_with_text_beyond_ascii": b"Body=Z%C3%BCrich%2C+%E6%9D%B1%E4%BA%AC+%F0%9F%98%80&CallSid=CA1",
    "a_field_twice": b"MediaUrl=https%3A%2F%2Fa.example&MediaUrl=https%3A%2F%2Fb.example&CallSid=CA1",
    "a_field_twice_with_one_value": b"MediaUrl=a&MediaUrl=a&CallSid=CA1",
    "capital_letters_before_small_ones": b"body=a&Body=b&CallSid=CA1",
    "an_empty_body": b"",
}


def with_port(url: str, port: int) -> str:
    return url.replace("hooks.example.com", f"hooks.example.com:{port}")


def twilio_drafts() -> tuple[Draft, ...]:
    form = Request(headers=FORM, body=TWILIO_BODIES["a_form"])
    return (
        Draft(
            name="signed_with_the_port_that_the_address_lacks",
            verdict="verified",
            request=replace(form, url=with_port(URL, 443)),
            change=lambda request: replace(request, url=URL),
        ),
        Draft(
            name="signed_without_the_port_that_the_address_has",
            verdict="verified",
            request=form,
            change=lambda request: replace(request, url=with_port(URL, 8443)),
        ),
        Draft(
            name="signed_with_another_port",
            verdict="wrong_signature",
            request=replace(form, url=with_port(URL, 8443)),
            change=lambda request: replace(request, url=with_port(URL, 9443)),
        ),
        Draft(
            name="fields_in_another_order",
            verdict="verified",
            request=form,
            change=lambda request: replace(request, body=b"&".join(reversed(request.body.split(b"&")))),
        ),
        Draft(
            name="a_field_more",
            verdict="wrong_signature",
            request=form,
            change=lambda request: replace(request, body=request.body + b"&Added=1"),
        ),
        Draft(
            name="a_field_less",
            verdict="wrong_signature",
            request=form,
            change=lambda request: replace(request, body=request.body.rpartition(b"&")[0]),
        ),
        Draft(
            name="escapes_in_lower_case",
            verdict="verified",
            request=form,
            change=lambda request: replace(request, body=request.body.replace(b"%2B", b"%2b")),
        ),
    )


def as_form(request: Request) -> Request:
    return request.set("Content-Type", "application/x-www-form-urlencoded")


def hashed(request: Request) -> Request:
    """Add the body's hash to the address, as Twilio does with JSON."""
    digest = hashlib.sha256(request.body).hexdigest()
    return replace(request, url=f"{request.url}&bodySHA256={digest}")


WRONG_BODY = dict.fromkeys(
    ("one_byte_of_the_body_changed", "a_blank_after_the_body", "a_line_end_after_the_body", "the_body_gone"),
    "wrong_body",
)


def _settings(text: str) -> Callable[[Request], Request]:
    return lambda request: request.set("X-Twilio-Webhooks-Signature-Settings", text)


TWILIO: list[Sender] = [
    mac_sender(
        "twilio_form",
        Library(package="twilio", check=twilio),
        second=NodeLibrary(package="twilio", scheme="twilio_form"),
        secrets=SECRETS,
        header="X-Twilio-Signature",
        prepare=as_form,
        content=twilio_content,
        encoding="base64",
        digest="sha1",
        bodies=TWILIO_BODIES,
        body=TWILIO_BODIES["a_form"],
        url_signed=True,
        more=twilio_drafts(),
    ),
    mac_sender(
        "twilio_json",
        Library(package="twilio", check=twilio),
        second=NodeLibrary(package="twilio", scheme="twilio_json"),
        secrets=SECRETS,
        header="X-Twilio-Signature",
        content=lambda request, _: request.url.encode(),
        prepare=hashed,
        encoding="base64",
        digest="sha1",
        verdicts=WRONG_BODY,
        more=(
            Draft(
                name="another_host",
                verdict="wrong_signature",
                change=lambda request: replace(
                    request, url=request.url.replace("example.com", "example.org")
                ),
            ),
            Draft(
                name="the_hash_of_another_body_in_the_address",
                verdict="wrong_signature",
                change=lambda request: replace(
                    request,
                    url=re.sub(
                        "bodySHA256=.*", "bodySHA256=" + hashlib.sha256(b"{}").hexdigest(), request.url
                    ),
                    body=b"{}",
                ),
            ),
            Draft(
                name="the_hash_gone_from_the_address",
                verdict="no_signature",
                change=lambda request: replace(request, url=request.url.partition("&bodySHA256")[0]),
            ),
            Draft(
                name="the_hash_twice_in_the_address",
                verdict="malformed_signature",
                change=lambda request: replace(request, url=hashed(request).url),
            ),
            Draft(
                name="signed_with_the_port_that_the_address_lacks",
                verdict="verified",
                request=Request(url=with_port(URL, 443)),
                change=lambda request: replace(request, url=request.url.replace(":443", "")),
            ),
        ),
    ),
    mac_sender(
        "twilio_sharedkey",
        Library(package="twilio", check=twilio),
        secrets=SECRETS,
        header="X-Twilio-Signature",
        headers={"X-Twilio-Webhooks-Signature-Settings": "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"},
        prepare=as_form,
        content=twilio_content,
        encoding="base64",
        bodies=TWILIO_BODIES,
        body=TWILIO_BODIES["a_form"],
        url_signed=True,
        more=(
            *twilio_drafts(),
            *(
                Draft(
                    name=name,
                    verdict="wrong_algorithm",
                    digest=digest,
                    request=Request(headers=FORM, body=TWILIO_BODIES["a_form"]),
                    change=_settings(text),
                )
                for name, digest, text in (
                    ("another_algorithm", "sha1", "key=webhooks_sharedkey_1,algorithm=HMAC_SHA1"),
                    ("no_algorithm", "sha1", "key=webhooks_sharedkey_1"),
                    ("an_unknown_algorithm", "sha256", "key=webhooks_sharedkey_1,algorithm=HMAC_MD5"),
                    ("no_settings", "sha1", ""),
                    (
                        "two_algorithms",
                        "sha1",
                        "key=webhooks_sharedkey_1,algorithm=HMAC_SHA1,algorithm=HMAC_SHA256",
                    ),
                )
            ),
        ),
        stricter=dict.fromkeys(
            ("another_algorithm", "no_algorithm", "no_settings", "two_algorithms"),
            "a header must not choose a weaker digest for a shared key",
        ),
    ),
]


# Signatures inside the body


def in_json(change: Callable[[Document], Any]) -> Callable[[Request], Request]:
    """Change the body's JSON in place."""

    def changed(request: Request) -> Request:
        document = json.loads(request.body)
        change(document)
        return replace(request, body=json.dumps(document, ensure_ascii=False).encode())

    return changed


def json_draft(name: str, verdict: str, change: Callable[[Document], Any]) -> Draft:
    return Draft(name=name, verdict=verdict, change=in_json(change))


# The table's changes of a body would take the signature out of it.
NOT_IN_BODIES = frozenset(
    {"one_byte_of_the_body_changed", "a_blank_after_the_body", "a_line_end_after_the_body", "the_body_gone"}
)


def body_sender(
    scheme: str,
    judge: Judge,
    *,
    secrets: tuple[str, str, str],
    embed: Callable[[bytes, str, str], Request],
    bodies: Mapping[str, bytes],
    more: tuple[Draft, ...],
    unread: str = "malformed_signature",
    **rest: Any,
) -> Sender:
    """Describe a sender; `embed` takes a document, a secret and a timestamp, and makes the request.

    `unread` is said of a body in which nothing can be found.
    """
    body = next(iter(bodies.values()))

    def sign(draft: Draft) -> Request:
        secret = secrets[draft.signers[0]]
        document = draft.request.body if draft.request.body in bodies.values() else body
        return embed(document, secret, draft.timestamp or written(draft.at, "s"))

    always = (
        Draft(name="an_empty_body", verdict=unread, change=lambda r: replace(r, body=b"")),
        Draft(name="a_body_that_is_not_utf_8", verdict=unread, change=lambda r: replace(r, body=NOT_UTF_8)),
    )
    return Sender(
        scheme=scheme,
        judge=judge,
        secrets=secrets,
        sign=sign,
        bodies=bodies,
        body=body,
        not_asked=NOT_IN_BODIES,
        more=(*always, *more),
        **rest,
    )


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


# Mailgun

MAILGUN_TOKEN = "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0"
MAILGUN_EVENT = {"event-data": {"id": "evt_1", "event": "delivered", "recipient": "a@example.com"}}
MAILGUN_BODIES = {
    "a_compact_body": compact(MAILGUN_EVENT),
    "a_body_with_text_beyond_ascii": compact({"event-data": {"id": "evt_1", "subject": "Zürich 😀"}}),
    "a_body_without_an_event": b"{}",
}


def mailgun_embed(document: bytes, secret: str, ts: str) -> Request:
    signature = hmac_hex(secret.encode(), f"{ts}{MAILGUN_TOKEN}".encode())
    claim = {"timestamp": ts, "token": MAILGUN_TOKEN, "signature": signature}
    return Request(body=compact({"signature": claim, **json.loads(document)}))


def mailgun(request: Request, secret: str) -> Any:
    claim = json.loads(request.body)["signature"]
    verify = import_module("mailgun.security").SecurityGuard.verify_webhook
    return verify(secret, claim["token"], claim["timestamp"], claim["signature"])


def mailgun_drafts() -> tuple[Draft, ...]:
    def claim(name: str, change: Callable[[Any], Any]) -> Callable[[Document], Any]:
        return lambda document: document["signature"].update({name: change(document["signature"][name])})

    def dropped(name: str) -> Callable[[Document], Any]:
        return lambda document: document["signature"].pop(name)

    return (
        json_draft(
            "another_event_with_the_same_signature", "verified", lambda d: d["event-data"].update(id="evt_2")
        ),
        json_draft("another_token", "wrong_signature", claim("token", lambda text: "b" + text[1:])),
        json_draft(
            "a_later_timestamp", "wrong_signature", claim("timestamp", lambda text: str(int(text) + 1))
        ),
        json_draft("a_timestamp_as_a_number", "verified", claim("timestamp", int)),
        json_draft("a_timestamp_in_words", "malformed_timestamp", claim("timestamp", lambda _: "now")),
        json_draft(
            "a_timestamp_as_a_fraction", "malformed_timestamp", claim("timestamp", lambda t: int(t) + 0.5)
        ),
        json_draft("no_timestamp", "no_timestamp", dropped("timestamp")),
        json_draft("no_token", "no_signature", dropped("token")),
        json_draft("no_digest", "no_signature", dropped("signature")),
        json_draft("no_signature", "no_signature", lambda document: document.pop("signature")),
        json_draft("the_signature_in_a_list", "no_signature", lambda d: d.update(signature=[d["signature"]])),
        json_draft("a_digest_as_a_number", "no_signature", claim("signature", lambda _: 1)),
        json_draft("a_truncated_digest", "wrong_signature", claim("signature", lambda text: text[:-2])),
        json_draft("an_extended_digest", "wrong_signature", claim("signature", lambda text: text + "00")),
        json_draft("an_upper_case_digest", "verified", claim("signature", str.upper)),
        json_draft("a_digit_moved_from_the_timestamp_to_the_token", "too_old", _mailgun_moved),
        Draft(
            name="a_body_that_is_cut_off",
            verdict="malformed_signature",
            change=lambda request: replace(request, body=request.body[:-1]),
        ),
    )


def _mailgun_moved(document: Document) -> None:
    claim = document["signature"]
    claim["token"] = claim["timestamp"][-1:] + claim["token"]
    claim["timestamp"] = claim["timestamp"][:-1]


# Adyen, payments

ADYEN_ITEM = {
    "pspReference": "7914073381342284",
    "originalReference": "",
    "merchantAccountCode": "TestMerchant",
    "merchantReference": "TestPayment-1407325143704",
    "amount": {"value": 1130, "currency": "EUR"},
    "eventCode": "AUTHORISATION",
    "success": "true",
    "eventDate": "2023-11-14T23:13:20+01:00",
    "reason": "",
}


def adyen_document(*items: Document) -> bytes:
    listed = [{"NotificationRequestItem": item} for item in items]
    return compact({"live": "false", "notificationItems": listed})


ADYEN_BODIES = {
    "an_authorisation": adyen_document(ADYEN_ITEM),
    "a_capture": adyen_document(
        {**ADYEN_ITEM, "eventCode": "CAPTURE", "originalReference": "8835511210681145"}
    ),
    "no_original_reference": adyen_document(
        {k: v for k, v in ADYEN_ITEM.items() if k != "originalReference"}
    ),
    "a_reference_with_colons": adyen_document({**ADYEN_ITEM, "merchantReference": "a:b:c"}),
    "a_reference_with_a_backslash": adyen_document({**ADYEN_ITEM, "merchantReference": "a\\b"}),
    "text_beyond_ascii": adyen_document({**ADYEN_ITEM, "merchantReference": "Zürich 😀"}),
    "a_pretty_printed_body": json.dumps(json.loads(adyen_document(ADYEN_ITEM)), indent=2).encode(),
}
ADYEN_SIGNED = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")


def adyen_signature(item: Document, secret: str) -> str:
    amount = item["amount"]
    around = [str(item.get(name, "")) for name in ADYEN_SIGNED]
    content = ":".join(
        [*around, str(amount["value"]), amount["currency"], item["eventCode"], item["success"]]
    ).encode()
    return base64.b64encode(hmac.new(bytes.fromhex(secret), content, "sha256").digest()).decode()


def adyen_embed(document: bytes, secret: str, _: str) -> Request:
    read = json.loads(document)
    for one in read["notificationItems"]:
        item = one["NotificationRequestItem"]
        item["additionalData"] = {"hmacSignature": adyen_signature(item, secret), "cardSummary": "7777"}
    indent = 2 if b"\n" in document else None
    return Request(body=json.dumps(read, ensure_ascii=False, indent=indent).encode())


def adyen(request: Request, secret: str) -> Any:
    return import_module("Adyen.util").is_valid_hmac_notification(json.loads(request.body), secret)


def adyen_drafts() -> tuple[Draft, ...]:
    def item(change: Callable[[Document], Any]) -> Callable[[Document], Any]:
        return lambda document: change(document["notificationItems"][0]["NotificationRequestItem"])

    def signature(change: Callable[[str], Any]) -> Callable[[Document], Any]:
        return item(
            lambda held: held["additionalData"].update(
                hmacSignature=change(held["additionalData"]["hmacSignature"])
            )
        )

    def beside(document: Document) -> None:
        held = document["notificationItems"][0]["NotificationRequestItem"]
        forged = {**held, "pspReference": "1111111111111111"}
        document["notificationItems"].append({"NotificationRequestItem": forged})

    def twice(document: Document) -> None:
        document["notificationItems"] *= 2

    return (
        *(
            json_draft(f"another_{name}", "wrong_signature", item(_put(name, other)))
            for name, other in (
                ("pspReference", "7914073381342285"),
                ("originalReference", "7914073381342285"),
                ("merchantAccountCode", "OtherMerchant"),
                ("merchantReference", "TestPayment-2"),
                ("eventCode", "CANCELLATION"),
                ("success", "false"),
            )
        ),
        json_draft("another_amount", "wrong_signature", item(lambda held: held["amount"].update(value=1131))),
        json_draft(
            "another_currency", "wrong_signature", item(lambda held: held["amount"].update(currency="USD"))
        ),
        json_draft("another_reason_which_nothing_signs", "verified", item(_put("reason", "Refused"))),
        json_draft("a_forged_item_behind_the_signed_one", "wrong_signature", beside),
        json_draft("the_same_item_twice", "verified", twice),
        json_draft("no_items", "no_signature", lambda document: document.update(notificationItems=[])),
        json_draft("no_signature", "no_signature", item(lambda held: held.pop("additionalData"))),
        json_draft("an_empty_signature", "no_signature", signature(lambda _: "")),
        json_draft("a_signature_as_a_number", "malformed_signature", signature(lambda _: 1)),
        json_draft("a_truncated_digest", "wrong_signature", signature(lambda text: text[:-4])),
        json_draft("an_extended_digest", "wrong_signature", signature(lambda text: text + "AAAA")),
        json_draft("an_unpadded_digest", "verified", signature(lambda text: text.rstrip("="))),
        Draft(
            name="a_colon_moved_between_fields",
            verdict="malformed_signature",
            request=Request(body=ADYEN_BODIES["a_reference_with_colons"]),
            change=in_json(item(_moved_colon)),
        ),
    )


def _put(name: str, value: Any) -> Callable[[Document], Any]:
    return lambda document: document.update({name: value})


def _moved_colon(held: Document) -> None:
    """Shift a field's border so that the joined text stays the same."""
    first, _, rest = held["merchantReference"].partition(":")
    held["merchantAccountCode"] = f"{held['merchantAccountCode']}:{first}"
    held["merchantReference"] = rest


# Dropbox Sign

BOUNDARY = "----------------------------9cf8f5f2a1c64b27"
DROPBOX_EVENT = {
    "event": {
        "event_time": "1700000000",
        "event_type": "signature_request_all_signed",
        "event_metadata": {"related_signature_id": None, "reported_for_account_id": "acc_1"},
    },
    "signature_request": {"signature_request_id": "fa5c8a0b0f492d768749333ad6fcc214c111e967"},
}
DROPBOX_BODIES = {
    "all_signed": compact(DROPBOX_EVENT),
    "a_test": compact(
        {"event": {"event_time": "1700000000", "event_type": "callback_test", "event_metadata": {}}}
    ),
    "text_beyond_ascii": compact({**DROPBOX_EVENT, "title": "Zürich 😀"}),
    "an_old_event": compact({"event": {"event_time": "1348177752", "event_type": "signature_request_sent"}}),
}


def multipart(fields: list[tuple[str, bytes]]) -> Request:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
        for name, value in fields
    ]
    body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
    return Request(headers=(("Content-Type", f"multipart/form-data; boundary={BOUNDARY}"),), body=body)


def dropbox_embed(document: bytes, secret: str, _: str) -> Request:
    read = json.loads(document)
    event = read["event"]
    content = f"{event['event_time']}{event['event_type']}".encode()
    event["event_hash"] = hmac_hex(secret.encode(), content)
    return multipart([("json", compact(read))])


def field_of(request: Request, name: str) -> bytes:
    """Read a multipart form as its senders write it."""
    boundary = request.header("Content-Type").partition("boundary=")[2].strip('"').encode()
    for part in request.body.split(b"--" + boundary):
        head, _, value = part.partition(b"\r\n\r\n")
        if f'name="{name}"'.encode() in head:
            return value.removesuffix(b"\r\n")
    raise ValueError("no such field")


def dropbox_sign(request: Request, secret: str) -> Any:
    event = SimpleNamespace(**json.loads(field_of(request, "json"))["event"])
    helper = import_module("dropbox_sign").EventCallbackHelper
    return helper.is_valid(secret, SimpleNamespace(event=event))


def in_field(change: Callable[[Document], Any]) -> Callable[[Request], Request]:
    def changed(request: Request) -> Request:
        document = json.loads(field_of(request, "json"))
        change(document)
        return multipart([("json", compact(document))])

    return changed


def dropbox_drafts() -> tuple[Draft, ...]:
    def event(change: Callable[[Document], Any]) -> Callable[[Request], Request]:
        return in_field(lambda document: change(document["event"]))

    def hashed_as(change: Callable[[str], Any]) -> Callable[[Request], Request]:
        return event(lambda held: held.update(event_hash=change(held["event_hash"])))

    def moved(held: Document) -> None:
        held["event_type"] = held["event_time"][-1:] + held["event_type"]
        held["event_time"] = held["event_time"][:-1]

    def quoted(request: Request) -> Request:
        boundary = f'multipart/form-data; boundary="{BOUNDARY}"'
        return replace(request, headers=(("Content-Type", boundary),))

    def twice(request: Request) -> Request:
        value = field_of(request, "json")
        return multipart([("json", value), ("json", value)])

    def with_more(request: Request) -> Request:
        return multipart([("other", b"1"), ("json", field_of(request, "json"))])

    return (
        Draft(
            name="another_type", verdict="wrong_signature", change=event(_put("event_type", "callback_test"))
        ),
        Draft(name="another_time", verdict="wrong_signature", change=event(_put("event_time", "1700000001"))),
        Draft(name="a_time_as_a_number", verdict="verified", change=event(_put("event_time", 1700000000))),
        Draft(name="a_time_in_words", verdict="malformed_timestamp", change=event(_put("event_time", "now"))),
        Draft(
            name="a_digit_moved_from_the_time_to_the_type", verdict="malformed_signature", change=event(moved)
        ),
        Draft(name="no_hash", verdict="no_signature", change=event(lambda held: held.pop("event_hash"))),
        Draft(name="an_empty_hash", verdict="no_signature", change=hashed_as(lambda _: "")),
        Draft(name="a_hash_as_a_number", verdict="malformed_signature", change=hashed_as(lambda _: 1)),
        Draft(name="a_truncated_digest", verdict="wrong_signature", change=hashed_as(lambda text: text[:-2])),
        Draft(
            name="an_extended_digest", verdict="wrong_signature", change=hashed_as(lambda text: text + "00")
        ),
        Draft(name="an_upper_case_digest", verdict="verified", change=hashed_as(str.upper)),
        Draft(
            name="another_request_which_nothing_signs",
            verdict="verified",
            change=in_field(
                lambda document: document.update(signature_request={"signature_request_id": "1"})
            ),
        ),
        Draft(
            name="no_event", verdict="no_signature", change=in_field(lambda document: document.pop("event"))
        ),
        Draft(name="a_quoted_boundary", verdict="verified", change=quoted),
        Draft(name="another_field_before_it", verdict="verified", change=with_more),
        Draft(name="the_field_twice", verdict="malformed_signature", change=twice),
        Draft(
            name="a_form_that_is_cut_off",
            verdict="malformed_signature",
            change=lambda request: replace(request, body=request.body[:-20]),
        ),
    )


# Braintree

BRAINTREE_KEYS = (
    "9kqx2v7n4m8c5z3w|4a9f1c7e2b8d6035a9f1c7e2b8d60354",
    "2v7n4m8c5z3w9kqx|7e2b8d60354a9f1c7e2b8d6035a9f1c7",
    "n4m8c5z3w9kqx2v7|8d60354a9f1c7e2b8d6035a9f1c7e2b8",
)
BRAINTREE_XML = """<notification>
  <kind>subscription_went_past_due</kind>
  <timestamp type="datetime">2023-11-14T22:13:20Z</timestamp>
  <subject><subscription><id>sub_1</id></subscription></subject>
</notification>
"""


def in_lines(text: str) -> bytes:
    return base64.encodebytes(text.encode())


BRAINTREE_BODIES = {
    "in_lines": in_lines(BRAINTREE_XML),
    "in_one_line": base64.b64encode(BRAINTREE_XML.encode()),
    "text_beyond_ascii": in_lines(BRAINTREE_XML.replace("sub_1", "Zürich 😀")),
}


def braintree_signature(secret: str, payload: bytes) -> str:
    public, _, private = secret.partition("|")
    key = hashlib.sha1(private.encode()).digest()  # noqa: S324 - what Braintree signs with
    return f"{public}|{hmac_hex(key, payload, 'sha1')}"


def braintree_form(signature: str, payload: bytes) -> Request:
    body = urlencode({"bt_signature": signature, "bt_payload": payload}).encode()
    return Request(headers=FORM, body=body)


def braintree_embed(document: bytes, secret: str, _: str) -> Request:
    return braintree_form(braintree_signature(secret, document), document)


def braintree(request: Request, secret: str) -> Any:
    module = import_module("braintree")
    public, _, private = secret.partition("|")
    gateway = module.BraintreeGateway(
        module.Configuration(module.Environment.Sandbox, "merchant", public, private)
    )
    form = fields_of(request)
    return gateway.webhook_notification.parse(form["bt_signature"][0], form["bt_payload"][0])


def braintree_drafts() -> tuple[Draft, ...]:
    def form(
        signature: Callable[[str], str] = lambda text: text,
        payload: Callable[[bytes], bytes] = lambda held: held,
    ) -> Callable[[Request], Request]:
        def changed(request: Request) -> Request:
            held = fields_of(request)
            given = held["bt_signature"][0], held["bt_payload"][0].encode()
            return braintree_form(signature(given[0]), payload(given[1]))

        return changed

    def field_gone(name: str) -> Callable[[Request], Request]:
        def changed(request: Request) -> Request:
            kept = [pair for pair in parse_qsl(request.text) if pair[0] != name]
            return replace(request, body=urlencode(kept).encode())

        return changed

    def twice(request: Request) -> Request:
        return replace(request, body=request.body + b"&" + urlencode({"bt_payload": "AAAA"}).encode())

    other = braintree_signature(BRAINTREE_KEYS[2], BRAINTREE_BODIES["in_lines"])
    return (
        Draft(
            name="another_keys_pair_before", verdict="verified", change=form(lambda text: f"{other}&{text}")
        ),
        Draft(
            name="another_keys_pair_behind", verdict="verified", change=form(lambda text: f"{text}&{other}")
        ),
        Draft(
            name="our_public_key_beside_anothers_digest",
            verdict="wrong_signature",
            change=form(lambda text: f"{text.partition('|')[0]}|{other.partition('|')[2]}"),
        ),
        Draft(
            name="our_digest_beside_anothers_public_key",
            verdict="wrong_signature",
            change=form(lambda text: f"{other.partition('|')[0]}|{text.partition('|')[2]}"),
        ),
        Draft(
            name="no_public_key",
            verdict="malformed_signature",
            change=form(lambda text: text.partition("|")[2]),
        ),
        Draft(name="an_empty_signature", verdict="no_signature", change=form(lambda _: "")),
        Draft(name="no_signature", verdict="no_signature", change=field_gone("bt_signature")),
        Draft(name="no_payload", verdict="no_signature", change=field_gone("bt_payload")),
        Draft(name="the_payload_twice", verdict="malformed_signature", change=twice),
        Draft(
            name="another_payload",
            verdict="wrong_signature",
            change=form(payload=lambda held: b"PE" + held[2:][::-1]),
        ),
        Draft(
            name="the_last_line_end_lost",
            verdict="verified",
            change=form(payload=lambda held: held.rstrip(b"\n")),
        ),
        Draft(
            name="a_line_end_more", verdict="wrong_signature", change=form(payload=lambda held: held + b"\n")
        ),
        Draft(
            name="a_payload_that_is_not_base64",
            verdict="malformed_signature",
            change=form(payload=lambda _: b"<notification/>"),
        ),
        Draft(name="a_truncated_digest", verdict="wrong_signature", change=form(lambda text: text[:-2])),
        Draft(name="an_extended_digest", verdict="wrong_signature", change=form(lambda text: text + "00")),
        Draft(
            name="an_upper_case_digest",
            verdict="verified",
            change=form(lambda text: text.partition("|")[0] + "|" + text.partition("|")[2].upper()),
        ),
    )


# Pusher: the time stands in the signed body

PUSHER_KEY = "278d425bdf160c739803"


def pusher_at(ms: int) -> bytes:
    return compact({"time_ms": ms, "events": [{"name": "channel_occupied", "channel": "presence-1"}]})


def pusher(request: Request, secret: str) -> Any:
    client = import_module("pusher").Pusher(app_id="1", key=PUSHER_KEY, secret=secret)
    return client.validate_webhook(
        header(request, "X-Pusher-Key"), header(request, "X-Pusher-Signature"), request.text
    )


NOW = T * 1000


def timed_bodies(at: Callable[[int], bytes], member: str, tolerance: int) -> Mapping[str, bytes]:
    """Return bodies to accept whose time stands in one of their members, in ms."""
    name = member.encode()
    return {
        "a_compact_body": at(NOW),
        "a_pretty_printed_body": json.dumps(json.loads(at(NOW)), indent=2).encode(),
        "a_body_with_line_ends_and_a_trailing_blank": b'{\r\n\t"%b": %d\r\n} ' % (name, NOW),
        "a_body_with_text_beyond_ascii": compact({member: NOW, "data": [{"name": "Zürich 😀"}]}),
        "signed_as_long_ago_as_may_be": at(NOW - tolerance),
        "signed_as_far_ahead_as_may_be": at(NOW + tolerance),
    }


def timed_drafts(at: Callable[[int], bytes], member: str, tolerance: int) -> tuple[Draft, ...]:
    """Return those to refuse."""
    name = member.encode()
    return tuple(
        Draft(name=case, verdict=verdict, request=Request(body=body))
        for case, verdict, body in (
            ("signed_too_long_ago", "too_old", at(NOW - tolerance - 1000)),
            ("signed_a_millisecond_too_long_ago", "too_old", at(NOW - tolerance - 1)),
            ("signed_too_far_ahead", "too_new", at(NOW + tolerance + 1000)),
            ("signed_a_millisecond_too_far_ahead", "too_new", at(NOW + tolerance + 1)),
            ("no_time", "no_timestamp", b"{}"),
            ("an_empty_body", "no_timestamp", b""),
            ("a_time_as_text", "malformed_timestamp", compact({member: str(NOW)})),
            ("a_time_with_a_fraction", "malformed_timestamp", b'{"%b":%d.0}' % (name, NOW)),
            ("a_time_that_is_true", "malformed_timestamp", b'{"%b":true}' % name),
            ("a_time_that_is_not_a_number", "no_timestamp", b'{"%b":NaN}' % name),
            ("a_time_in_a_list", "no_timestamp", b'[{"%b":%d}]' % (name, NOW)),
        )
    )


PUSHER_BODIES = timed_bodies(pusher_at, "time_ms", 300_000)


def pusher_drafts() -> tuple[Draft, ...]:
    return (
        *timed_drafts(pusher_at, "time_ms", 300_000),
        Draft(
            name="no_key_header",
            verdict="no_signature",
            change=lambda request: request.without("X-Pusher-Key"),
        ),
    )


# Linear: the same, and a header tells it without being signed


def linear_at(ms: int) -> bytes:
    return compact({"action": "create", "type": "Issue", "data": {"id": "evt_1"}, "webhookTimestamp": ms})


LINEAR_BODIES = timed_bodies(linear_at, "webhookTimestamp", 60_000)


# Transloadit: one field of a form is signed, and another holds the signature

TRANSLOADIT_BODIES = {
    "a_finished_assembly": compact({"ok": "ASSEMBLY_COMPLETED", "assembly_id": "a1b2c3", "results": {}}),
    "a_body_with_text_beyond_ascii": compact({"ok": "ASSEMBLY_COMPLETED", "name": "Zürich, 東京 😀"}),
    "a_pretty_printed_status": b'{\n  "ok": "ASSEMBLY_COMPLETED",\n  "assembly_id": "a1b2c3"\n}',
    "escapes_of_json": b'{"ok":"ASSEMBLY_COMPLETED","url":"https:\\/\\/example.com\\/Z\\u00fcrich"}',
}


def transloadit_form(*fields: tuple[str, str]) -> Request:
    boundary = "----------------------------878783456543"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{t}\r\n' for n, t in fields]
    body = "".join([*parts, f"--{boundary}--\r\n"]).encode()
    return Request(headers=(("Content-Type", f"multipart/form-data; boundary={boundary}"),), body=body)


def transloadit_signature(secret: str, status: bytes, digest: str = "sha384") -> str:
    return f"{digest}:{hmac_hex(secret.encode(), status, digest)}"


def transloadit_embed(document: bytes, secret: str, _: str) -> Request:
    signature = transloadit_signature(secret, document)
    return transloadit_form(("transloadit", document.decode()), ("signature", signature))


def transloadit_drafts() -> tuple[Draft, ...]:
    status = TRANSLOADIT_BODIES["a_finished_assembly"]
    text, signature = status.decode(), transloadit_signature(SECRETS[0], status)
    signed = ("transloadit", text), ("signature", signature)

    def form(name: str, verdict: str, *fields: tuple[str, str]) -> Draft:
        return Draft(name=name, verdict=verdict, change=lambda _: transloadit_form(*fields))

    def with_signature(name: str, verdict: str, value: str) -> Draft:
        return form(name, verdict, ("transloadit", text), ("signature", value))

    def urlencoded(request: Request) -> Request:
        return replace(request, headers=FORM, body=urlencode(signed).encode())

    return (
        Draft(name="an_urlencoded_form", verdict="verified", change=urlencoded),
        form("the_signature_first", "verified", *reversed(signed)),
        form("another_field_beside", "verified", ("note", "1"), *signed),
        form("no_signature", "no_signature", signed[0]),
        form("no_status", "no_signature", signed[1]),
        form("the_signature_twice", "malformed_signature", *signed, signed[1]),
        form("the_status_twice", "malformed_signature", *signed, ("transloadit", "{}")),
        form("another_status", "wrong_signature", ("transloadit", text.replace("a1", "a2")), signed[1]),
        form("a_blank_after_the_status", "wrong_signature", ("transloadit", f"{text} "), signed[1]),
        form("an_empty_status", "no_signature", ("transloadit", ""), signed[1]),
        with_signature("an_empty_signature", "no_signature", ""),
        with_signature("a_truncated_digest", "wrong_signature", signature[:-2]),
        with_signature("an_extended_digest", "wrong_signature", f"{signature}00"),
        with_signature("an_upper_case_digest", "verified", f"sha384:{signature[7:].upper()}"),
        with_signature("an_upper_case_prefix", "wrong_algorithm", f"SHA384:{signature[7:]}"),
        with_signature("an_unknown_prefix", "wrong_algorithm", f"md5:{signature[7:]}"),
        with_signature("no_digest", "wrong_signature", "sha384:"),
        *(
            with_signature(
                f"a_digest_by_{digest}", "wrong_algorithm", transloadit_signature(SECRETS[0], status, digest)
            )
            for digest in ("sha1", "sha256", "sha512")
        ),
        with_signature(
            "a_digest_without_a_name",
            "wrong_algorithm",
            transloadit_signature(SECRETS[0], status, "sha1").partition(":")[2],
        ),
        with_signature("signed_with_the_empty_secret", "wrong_signature", transloadit_signature("", status)),
        Draft(
            name="a_form_that_is_cut_off",
            verdict="malformed_signature",
            change=lambda request: replace(request, body=request.body[:-20]),
        ),
    )


# Inngest: the JSON is brought to its canonical form

INNGEST_KEYS = (
    "signkey-prod-7f3a9c1e5b2d8046a9c1e5b2d80467f3a9c1e5b2d80467f3a9c1e5b2d80467f3",
    "signkey-prod-b2d8046a9c1e5b2d80467f3a9c1e5b2d80467f3a9c1e5b2d80467f37f3a9c1e5",
    "signkey-prod-5b2d80467f3a9c1e5b2d80467f37f3a9c1e5b2d8046a9c1e5b2d80467f3a9c1e",
)
# Each is followed by its canonical form, https://www.rfc-editor.org/rfc/rfc8785.
INNGEST_FORMS = {
    "a_compact_body": (b'{"ctx":{"run_id":"1"},"event":{}}', b'{"ctx":{"run_id":"1"},"event":{}}'),
    "a_pretty_printed_body": (
        b'{\n  "b": [1, 2],\n  "a": {"d": null, "c": true}\n}\n',
        b'{"a":{"c":true,"d":null},"b":[1,2]}',
    ),
    "an_empty_object": (b"{}", b"{}"),
    "text_beyond_ascii": ('{"z":"Z\\u00fcrich","a":"😀"}'.encode(), '{"a":"😀","z":"Zürich"}'.encode()),
    "numbers": (b'{"n":[1.0,1e3,0.000001,1e-7,-0,1E21]}', b'{"n":[1,1000,0.000001,1e-7,0,1e+21]}'),
    "escapes": (b'{"s":"\\u000f\\u000a\\/\\u0041"}', b'{"s":"\\u000f\\n/A"}'),
    "names_beyond_ascii": (
        '{"\ufb33":1,"😀":2,"é":3}'.encode(),
        '{"é":3,"😀":2,"\ufb33":1}'.encode(),
    ),
    "an_empty_body": (b"", b""),
}


def inngest(request: Request, secret: str) -> Any:
    module = import_module("inngest._internal.net")
    answer = module.validate_request_sig(
        body=request.body,
        headers=lower(request),
        mode=import_module("inngest._internal.server_lib").ServerKind.CLOUD,
        signing_key=secret,
        signing_key_fallback=None,
    )
    return not isinstance(answer, Exception)


def inngest_content(request: Request, ts: str) -> bytes:
    known = dict(INNGEST_FORMS.values())
    return known.get(request.body, request.body) + ts.encode()


def inngest_key(secret: str) -> bytes:
    return secret.removeprefix("signkey-prod-").encode()


def inngest_drafts() -> tuple[Draft, ...]:
    body = b'{"ctx":{"run_id":"1"},"event":{}}'
    plain = Request(body=body)
    name = "X-Inngest-Signature"
    return (
        Draft(
            name="blanks_between_the_members",
            verdict="verified",
            request=plain,
            change=lambda request: replace(request, body=b'{ "event" : {}, "ctx": {"run_id": "1"} }'),
        ),
        Draft(
            name="another_order_of_the_header",
            verdict="verified",
            request=plain,
            change=lambda r: r.set(name, "&".join(reversed(r.header(name).split("&")))),
        ),
        Draft(
            name="no_digest",
            verdict="malformed_signature",
            request=plain,
            change=lambda request: request.set(name, request.header(name).partition("&")[0]),
        ),
        Draft(
            name="two_digests",
            verdict="malformed_signature",
            request=plain,
            change=lambda request: request.set(name, f"{request.header(name)}&s={'0' * 64}"),
        ),
        Draft(
            name="a_body_that_is_cut_off",
            verdict="wrong_body",
            request=plain,
            change=lambda request: replace(request, body=request.body[:-1]),
        ),
        Draft(
            name="signed_with_the_prefix_in_the_key",
            verdict="wrong_signature",
            request=plain,
            key=f"signkey-prod-{INNGEST_KEYS[0]}",
        ),
    )


IN_BODIES: list[Sender] = [
    body_sender(
        "mailgun",
        Library(package="mailgun", check=mailgun),
        secrets=SECRETS,
        embed=mailgun_embed,
        bodies=MAILGUN_BODIES,
        more=mailgun_drafts(),
        wider={"an_upper_case_digest": SPELLING},
        past=900_000,
        future=300_000,
        stricter={
            "signed_too_far_ahead": "the library lets the future be as far as the past; clocks differ less"
        },
    ),
    body_sender(
        "adyen_payments",
        Library(package="Adyen", check=adyen, none_refuses=True),
        secrets=HEX_KEYS,
        embed=adyen_embed,
        bodies=ADYEN_BODIES,
        more=adyen_drafts(),
        stricter={
            "a_forged_item_behind_the_signed_one": "the library looks at the first item only",
            "a_colon_moved_between_fields": "the library joins the fields without escapes",
        },
        wider={"an_unpadded_digest": SPELLING},
    ),
    body_sender(
        "dropbox_sign",
        Library(package="dropbox-sign", check=dropbox_sign),
        secrets=SECRETS,
        embed=dropbox_embed,
        bodies=DROPBOX_BODIES,
        more=dropbox_drafts(),
        stricter={
            "a_digit_moved_from_the_time_to_the_type": "nothing divides what the library joins",
            "the_field_twice": "which of two is read is left to the caller",
        },
        wider={"an_upper_case_digest": SPELLING},
    ),
    body_sender(
        "braintree",
        Library(package="braintree", check=braintree),
        secrets=BRAINTREE_KEYS,
        embed=braintree_embed,
        bodies=BRAINTREE_BODIES,
        unread="no_signature",
        more=braintree_drafts(),
        stricter={"the_payload_twice": "which of two is read is left to the caller"},
        wider={"an_upper_case_digest": SPELLING},
    ),
    mac_sender(
        "pusher",
        Library(package="pusher", check=pusher, none_refuses=True),
        secrets=SECRETS,
        header="X-Pusher-Signature",
        headers={"X-Pusher-Key": PUSHER_KEY},
        bodies=PUSHER_BODIES,
        body=PUSHER_BODIES["a_compact_body"],
        more=pusher_drafts(),
        stricter={
            "a_time_that_is_not_a_number": "the library reads NaN, which no JSON has",
            "a_time_with_a_fraction": "documented is a whole number",
        },
    ),
    mac_sender(
        "linear",
        NodeLibrary(package="@linear/sdk", scheme="linear"),
        secrets=SECRETS,
        header="Linear-Signature",
        bodies=LINEAR_BODIES,
        body=LINEAR_BODIES["a_compact_body"],
        more=(
            *timed_drafts(linear_at, "webhookTimestamp", 60_000),
            Draft(
                name="a_header_says_that_an_old_one_is_new",
                verdict="too_old",
                request=Request(body=linear_at(NOW - 3_600_000)),
                change=lambda request: request.set("Linear-Timestamp", str(NOW)),
            ),
        ),
        stricter={"a_time_with_a_fraction": "documented is a whole number"},
    ),
    body_sender(
        "transloadit",
        NodeLibrary(package="@transloadit/utils", scheme="transloadit"),
        secrets=SECRETS,
        embed=transloadit_embed,
        bodies=TRANSLOADIT_BODIES,
        more=transloadit_drafts(),
        stricter={
            "an_upper_case_prefix": "documented is sha384 in small letters",
            "the_signature_twice": "which of two is read is left to the caller",
            "the_status_twice": "which of two is read is left to the caller",
            **dict.fromkeys(
                ("a_digest_by_sha1", "a_digest_by_sha256", "a_digest_by_sha512", "a_digest_without_a_name"),
                "a request must not choose its own digest; documented is sha384",
            ),
        },
        wider={"an_upper_case_digest": SPELLING},
    ),
    mac_sender(
        "inngest",
        Library(package="inngest", check=inngest),
        secrets=INNGEST_KEYS,
        header="X-Inngest-Signature",
        content=inngest_content,
        each="{digest}",
        value="t={ts}&s={all}",
        timestamp_pair="t={ts}&",
        key=inngest_key,
        bodies={name: body for name, (body, _) in INNGEST_FORMS.items()},
        body=INNGEST_FORMS["a_compact_body"][0],
        past=300_000,
        future=300_000,
        more=inngest_drafts(),
        verdicts={
            "a_blank_after_the_body": "verified",
            "a_line_end_after_the_body": "verified",
            "the_signature_header_twice": "malformed_signature",
        },
        stricter={
            **NO_AGE_LIMIT,
            **INTEGER,
            "two_digests": "the library takes the first of two",
        },
    ),
]
