"""What the security suite needs to know of each scheme: a delivery to sign, what is open by design, edges.

A scheme of the catalogue that has no line here fails the suite.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from services.models import Delivery
from tests.unit.signatures.samples import FORM, multipart

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
URL = "https://hooks.example.com/api/webhooks/acme?from=them"


class Takes(StrEnum):
    """What a scheme takes for a body: any bytes, any UTF-8, or what it can look into."""

    BYTES = "bytes"
    TEXT = "text"
    OBJECT = "object"
    FORM = "form"


@dataclass(frozen=True, kw_only=True)
class Open:
    """A region that a signature leaves open, and why; `where` is "method", "url", "body" or a header."""

    where: str
    why: str
    region: str = r"(?s:.+)"


@dataclass(frozen=True, kw_only=True)
class Material:
    """What one scheme is tried with.

    `body` holds `evt1` where the signature covers it. `within` are the seconds of age that are still taken,
    in the past and in the future; None is for a scheme that signs no time. The last group of `digest` is the
    signature's text in the part of the request that `where` names, by default the scheme's own header.
    `binds_nothing` says why a right signature is not enough.
    """

    body: bytes = '{"id":"evt1","text":"Zürich"}'.encode()
    headers: Mapping[str, str] = field(default_factory=dict)
    takes: Takes = Takes.BYTES
    within: tuple[int, int] | None = None
    where: str | None = None
    digest: str = r"([^=, ]+=*)\Z"
    opens: tuple[Open, ...] = ()
    binds_nothing: str = ""

    def unsigned(self, event: str = "evt1") -> Delivery:
        """What there is before it is signed; another event is another request in body and headers."""
        headers = {name: value.replace("evt1", event) for name, value in self.headers.items()}
        body = self.body.replace(b"evt1", event.encode())
        json_type = {"content-type": "application/json"}
        return Delivery(method="POST", url=URL, headers=json_type | headers, body=body, received_at=NOW)


METHOD = Open(where="method", why="is not signed; all but POST is refused before")
ADDRESS = Open(where="url", why="is not signed; which secret it is tells whom it was for")
KIND = Open(where="content-type", why="is not signed; what a body is read as is the provider's to say")
LENGTH = Open(where="content-length", why="is the server's to check")
AROUND = (METHOD, ADDRESS, KIND)
SENT_ALONG = Open(where="body", why="the secret is sent along, and signs nothing")
PARTS = Open(where="body", region="content-disposition: form-data", why="is how a form is written, not what")
AFTER_PARTS = Open(where="body", region=r"-\r\n\Z", why="is how a form ends")


def body(name: str, why: str) -> Open:
    """A member of a JSON body that is open, its name included."""
    return Open(where="body", region=rf'"{name}": "[^"]*"', why=why)


FIVE_MINUTES = Material(within=(300, 300), opens=AROUND)
THREE_MINUTES = Material(within=(180, 180), opens=AROUND)
NO_TIME = Material(opens=AROUND)
STANDARD = Material(within=(300, 300), headers={"webhook-id": "evt1"}, opens=AROUND)
SVIX = Material(within=(300, 300), headers={"svix-id": "evt1"}, opens=AROUND)
TWILIO = Material(
    body=b"Sid=evt1&Text=Z%C3%BCrich+1",
    headers={"content-type": FORM},
    takes=Takes.FORM,
    opens=(METHOD, KIND),
)
STATIC = Material(opens=(*AROUND, SENT_ALONG), binds_nothing=SENT_ALONG.why)
_SHARED_KEY = "one key signs for every customer of the sender"
_ADYEN_ITEM = {
    "additionalData": {"cardSummary": "1111"},
    "amount": {"value": 1130, "currency": "EUR"},
    "pspReference": "evt1",
    "eventCode": "AUTHORISATION",
    "eventDate": "2026-11-23T12:00:00+01:00",
    "merchantAccountCode": "TestMerchant",
    "merchantReference": "TestPayment",
    "success": "true",
}
_ADYEN = {
    "live": "false",
    "notificationItems": [
        {"NotificationRequestItem": _ADYEN_ITEM},
        {"NotificationRequestItem": {**_ADYEN_ITEM, "eventCode": "CAPTURE"}},
    ],
}
_DROPBOX_SIGN = (
    '{"event":{"event_time":"1348177752","event_type":"evt1"},"signature_request":{"title":"Zürich"}}'
)

MATERIAL: Mapping[str, Material] = {
    "stripe": FIVE_MINUTES,
    "standardwebhooks": STANDARD,
    "svix": SVIX,
    "openai": STANDARD,
    "replicate": STANDARD,
    "resend": SVIX,
    "clerk": SVIX,
    "lithic": STANDARD,
    "polar": STANDARD,
    "anthropic": STANDARD,
    "gitlab_signed": STANDARD,
    "github": NO_TIME,
    "slack": FIVE_MINUTES,
    "shopify": NO_TIME,
    "mux": FIVE_MINUTES,
    "paddle": Material(within=(5, 5), opens=AROUND),
    "square": Material(opens=(METHOD, KIND)),
    "zoom": FIVE_MINUTES,
    "hubspot_v1": Material(takes=Takes.TEXT, opens=AROUND),
    "hubspot_v2": Material(takes=Takes.TEXT, opens=(KIND,)),
    "hubspot_v3": Material(within=(300, 300), opens=(KIND,)),
    "linear": Material(takes=Takes.OBJECT, within=(60, 60), opens=AROUND),
    "cloudconvert": NO_TIME,
    "box": Material(within=(600, 0), opens=AROUND),
    "workos": THREE_MINUTES,
    "gocardless": NO_TIME,
    "onfido": NO_TIME,
    "easypost": NO_TIME,
    "razorpay": NO_TIME,
    "retell": FIVE_MINUTES,
    "line": NO_TIME,
    "elevenlabs": Material(within=(1800, 300), opens=AROUND),
    "sanity": FIVE_MINUTES,
    "webflow": FIVE_MINUTES,
    "coinbase_commerce": NO_TIME,
    "adyen_platform": NO_TIME,
    "meta": NO_TIME,
    "intercom": NO_TIME,
    "docusign": NO_TIME,
    "zendesk": FIVE_MINUTES,
    "typeform": NO_TIME,
    "calendly": THREE_MINUTES,
    "dropbox": NO_TIME,
    "persona": FIVE_MINUTES,
    "lemonsqueezy": NO_TIME,
    "vercel": NO_TIME,
    "notion": NO_TIME,
    "asana": NO_TIME,
    "trello": Material(opens=(METHOD, KIND)),
    "sentry": NO_TIME,
    "nylas": NO_TIME,
    "xero": NO_TIME,
    "x_twitter": NO_TIME,
    "bitbucket": NO_TIME,
    "pusher": Material(
        takes=Takes.OBJECT,
        headers={"x-pusher-key": "278d425bdf160c739803"},
        within=(300, 300),
        opens=(*AROUND, Open(where="x-pusher-key", why="names the secret, which is known without it")),
    ),
    "discord": FIVE_MINUTES,
    "telnyx": FIVE_MINUTES,
    "fal": Material(
        headers={"x-fal-webhook-request-id": "evt1", "x-fal-webhook-user-id": "user1"},
        within=(300, 300),
        opens=AROUND,
        binds_nothing=_SHARED_KEY,
    ),
    "sendgrid": Material(within=(86_700, 300), opens=AROUND),
    "aws_sns": Material(
        body=b'{"Type":"Notification","MessageId":"evt1","Message":"evt1","UnsubscribeURL":"https://x.example/"}',
        takes=Takes.OBJECT,
        within=(3900, 300),
        where="body",
        digest=r'"Signature": "([^"]+)"',
        opens=(
            *AROUND,
            body("UnsubscribeURL", "AWS does not sign it, and nobody here reads it"),
            Open(
                where="body",
                region=r"(?<=https://sns\.)[a-z0-9-]+|(?<=SimpleNotificationService-)[^.]+",
                why="the certificate's address is held to Amazon's own",
            ),
        ),
    ),
    "paypal": Material(
        within=(259_200, 300),
        where="paypal-transmission-sig",
        opens=(
            *AROUND,
            Open(where="paypal-cert-url", why="is held to PayPal's own addresses", region="CERT-.+"),
        ),
        binds_nothing="only a CRC-32 of the body is signed, and another body with the same is easily found",
    ),
    "plaid": Material(within=(300, 300), opens=AROUND, binds_nothing=_SHARED_KEY),
    "vonage": Material(within=(300, 300), opens=AROUND),
    "qstash": Material(within=(299, 0), opens=(METHOD, KIND)),
    "livekit": Material(within=(359, 60), opens=AROUND),
    "messagebird": Material(within=(304, 5), opens=(METHOD, KIND)),
    "twilio_form": TWILIO,
    "twilio_json": Material(opens=(METHOD, KIND)),
    "twilio_sharedkey": Material(
        body=TWILIO.body,
        headers=TWILIO.headers,
        takes=Takes.FORM,
        opens=(
            *TWILIO.opens,
            Open(
                where="x-twilio-webhooks-signature-settings",
                region="key=[^,]*",
                why="names the secret, which is known without it",
            ),
        ),
    ),
    "mailgun": Material(
        takes=Takes.OBJECT,
        within=(900, 300),
        where="body",
        digest=r'"signature": "([^"]+)"',
        opens=(
            *AROUND,
            LENGTH,
            body("id", "no more than a time and a random token is signed"),
            body("text", "no more than a time and a random token is signed"),
        ),
        binds_nothing="whoever has one signature can send any event with it",
    ),
    "adyen_payments": Material(
        body=json.dumps(_ADYEN).encode(),
        takes=Takes.OBJECT,
        where="body",
        digest=r'"hmacSignature": "([^"]+)"',
        opens=(
            *AROUND,
            LENGTH,
            body("live", "is none of the eight signed fields"),
            body("cardSummary", "is none of the eight signed fields"),
            body("eventDate", "is none of the eight signed fields"),
        ),
        binds_nothing="eight fields are signed, and no time",
    ),
    "dropbox_sign": Material(
        body=multipart(("json", _DROPBOX_SIGN)),
        headers={"content-type": "multipart/form-data; boundary=XYZ"},
        takes=Takes.FORM,
        where="body",
        digest=r'"event_hash": "([^"]+)"',
        opens=(
            METHOD,
            ADDRESS,
            LENGTH,
            PARTS,
            AFTER_PARTS,
            Open(
                where="body",
                region='"signature_request": [^}]+',
                why="only the event's time and type are signed",
            ),
        ),
        binds_nothing="all events of one type in one second have one signature",
    ),
    "braintree": Material(
        body=b"evt1",
        takes=Takes.FORM,
        where="body",
        digest="%7C([^&]+)",
        opens=(
            *AROUND,
            LENGTH,
            Open(where="body", region="(?<=bt_signature=)[a-z_]+", why="the secret names no public key"),
        ),
    ),
    "transloadit": Material(
        body=b'{"ok":"evt1"}',
        takes=Takes.FORM,
        where="body",
        digest="sha384:([0-9a-f]+)",
        opens=(METHOD, ADDRESS, LENGTH, PARTS, AFTER_PARTS),
    ),
    "inngest": Material(takes=Takes.OBJECT, within=(300, 300), opens=AROUND),
    "contentful": Material(
        within=(29, 300),
        where="x-contentful-signature",
        opens=(
            Open(where="url", region=r"\Ahttps://[^/]+", why="path and query are signed, the origin is not"),
        ),
    ),
    "gitlab_token": STATIC,
    "assemblyai": STATIC,
    "deepgram_basic": Material(
        where="authorization", opens=(*AROUND, SENT_ALONG), binds_nothing=SENT_ALONG.why
    ),
    "msgraph": Material(
        body=b'{"value":[{"id":"evt1"},{"id":"evt1b"}]}',
        takes=Takes.OBJECT,
        where="body",
        digest=r'"clientState": "([^"]+)"',
        opens=(*AROUND, LENGTH, body("id", SENT_ALONG.why)),
        binds_nothing=SENT_ALONG.why,
    ),
}
