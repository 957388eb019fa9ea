"""Requests that official libraries signed, as literals, one for each scheme; `made_by` says which library.

Static tokens are signed by nobody; theirs are written as the documentation shows them.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from services.models import Delivery

NOW = datetime.fromtimestamp(1_700_000_000, UTC)
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A request, and the secret that signed it."""

    made_by: str
    secret: str
    delivery: Delivery


def request(
    body: bytes = b"", headers: dict[str, str] | None = None, url: str = "https://hooks.example.com/a"
) -> Delivery:
    return Delivery(method="POST", url=url, headers=headers or {}, body=body, received_at=NOW)


def with_header(delivery: Delivery, name: str, value: str | None) -> Delivery:
    headers = {k: v for k, v in delivery.headers.items() if k != name}
    return replace(delivery, headers=headers if value is None else {**headers, name: value})


def multipart(*parts: tuple[str, str], boundary: str = "XYZ") -> bytes:
    """Write a form as Dropbox Sign and Transloadit send it."""
    lines = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts
    )
    return ("".join(lines) + f"--{boundary}--\r\n").encode()


TWILIO_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
TWILIO_FORM = (
    b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"
)
TWILIO_SETTINGS = "key=webhooks_sharedkey_01k9,algorithm=HMAC_SHA256"
TWILIO_JSON = b'{"property": "value", "boolean": true}'
TWILIO_JSON_URL = f"{TWILIO_URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
MAILGUN = (
    b'{"signature":{"token":"a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0","timestamp":"1700000000",'
    b'"signature":"%s"},"event-data":{"id":"CPgfbmQMTCKtHW6uIWtuVe","event":"delivered"}}'
)
ADYEN = (
    b'{"live":"false","notificationItems":[{"NotificationRequestItem":{"additionalData":{"hmacSignature":'
    b'"coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},"amount":{"value":1130,"currency":"EUR"},'
    b'"pspReference":"7914073381342284","eventCode":"AUTHORISATION","eventDate":"2026-11-23T12:00:00+01:00",'
    b'"merchantAccountCode":"TestMerchant","merchantReference":"TestPayment-1407325143704",'
    b'"success":"true"}}]}'
)
DROPBOX_SIGN = (
    '{"event":{"event_type":"signature_request_sent","event_time":"1348177752",'
    '"event_hash":"08d45a6b7677492b78be030cef18cfeaece8fe67e163cc8e526ee638ad483756",'
    '"event_metadata":{"related_signature_id":"ad4d8a769b555fa5ef38691465d426682bf2c992"}},'
    '"signature_request":{"title":"Zürich"}}'
)
BRAINTREE_PAYLOAD = (
    b"PG5vdGlmaWNhdGlvbj48dGltZXN0YW1wIHR5cGU9ImRhdGV0aW1lIj4yMDI2LTExLTIzVDEyOjAw%0A"
    b"OjAwWjwvdGltZXN0YW1wPjxraW5kPmNoZWNrPC9raW5kPjxzdWJqZWN0PjxjaGVjayB0eXBlPSJi%0A"
    b"b29sZWFuIj50cnVlPC9jaGVjaz48L3N1YmplY3Q%2BPC9ub3RpZmljYXRpb24%2B%0A"
)
BRAINTREE = (
    b"bt_signature=integration_public_key%7C719c4ec02108f3b85284a2dc1457be52e1b779b0&bt_payload="
    + BRAINTREE_PAYLOAD
)
TRANSLOADIT = '{"ok":"ASSEMBLY_COMPLETED","assembly_id":"a1","text":"Zürich"}'
TRANSLOADIT_SIGNATURE = (
    "sha384:7aef78214659af56a2278c3523481ab52bfe80eb8846d6ccd83f8d65ebe305870d8e55f947c5968a9daaf7851fc726cb"
)
INNGEST = (
    b'{"steps":{},"ctx":{"run_id":"01H","attempt":0},"event":{"ts":1700000000123,"data":{"n":'
    b"[333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],"
    b'"s":"\\u20ac$\\u000F\\u000aA\'B\\u0022\\\\\\\\\\"/","\\u00e9":1,"e":1.0}}}'
)
CONTENTFUL_HEADERS = {
    "content-type": "application/vnd.contentful.management.v1+json",
    "x-contentful-topic": "ContentManagement.Entry.publish",
    "x-contentful-signature": "be0a97389b6c12c943024d2c7838f4510bb8b10c5ea172e86b92c493f48f5779",
    "x-contentful-signed-headers": (
        "content-type,x-contentful-signed-headers,x-contentful-timestamp,x-contentful-topic"
    ),
    "x-contentful-timestamp": "1700000000000",
}

SAMPLES = {
    "twilio_form": Sample(
        made_by="twilio 9.13.0 (PyPI), twilio 6.2.0 (npm)",
        secret="12345",
        delivery=request(
            TWILIO_FORM,
            {"content-type": FORM, "x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="},
            TWILIO_URL,
        ),
    ),
    "twilio_json": Sample(
        made_by="twilio 9.13.0 (PyPI), twilio 6.2.0 (npm)",
        secret="12345",
        delivery=request(
            TWILIO_JSON,
            {"content-type": "application/json", "x-twilio-signature": "a9nBmqA0ju/hNViExpshrM61xv4="},
            TWILIO_JSON_URL,
        ),
    ),
    "twilio_sharedkey": Sample(
        made_by="twilio 9.13.0 (PyPI)",
        secret="12345",
        delivery=request(
            TWILIO_FORM,
            {
                "content-type": FORM,
                "x-twilio-signature": "033hgUJA9M/hXIZsYjwkerEP/DBm35nEri5FhCYjA5s=",
                "x-twilio-webhooks-signature-settings": TWILIO_SETTINGS,
            },
            TWILIO_URL,
        ),
    ),
    "mailgun": Sample(
        made_by="mailgun 1.10.0 (PyPI)",
        secret="key-3ax6xnjp29jd6fds4gc373sgvjxteol0",
        delivery=request(
            MAILGUN % b"bbae38b90b188e8ae408fa55c78fd0a60ed10c03b4812e310ca9f1be258371f5",
            {"content-type": "application/json"},
        ),
    ),
    "adyen_payments": Sample(
        made_by="Adyen 16.0.0 (PyPI), @adyen/api-library 32.1.0 (npm)",
        secret="44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
        delivery=request(ADYEN, {"content-type": "application/json"}),
    ),
    "dropbox_sign": Sample(
        made_by="dropbox-sign 2.0.0 (PyPI), @dropbox/sign 1.11.0 (npm)",
        secret="324e3b0840f065eb51f3fd63231d0d33daa35d4ed10d27718839e81737065782",
        delivery=request(
            multipart(("json", DROPBOX_SIGN)), {"content-type": "multipart/form-data; boundary=XYZ"}
        ),
    ),
    "braintree": Sample(
        made_by="braintree 4.48.0 (PyPI), braintree 3.40.0 (npm)",
        secret="integration_private_key",
        delivery=request(BRAINTREE, {"content-type": FORM}),
    ),
    "transloadit": Sample(
        made_by="@transloadit/utils 4.8.1 (npm)",
        secret="transloadit-secret",
        delivery=request(
            multipart(("transloadit", TRANSLOADIT), ("signature", TRANSLOADIT_SIGNATURE)),
            {"content-type": "multipart/form-data; boundary=XYZ"},
        ),
    ),
    "inngest": Sample(
        made_by="inngest 0.5.19 (PyPI), inngest 4.24.0 (npm)",
        secret="signkey-prod-12345678",
        delivery=request(
            INNGEST,
            {
                "x-inngest-signature": (
                    "t=1700000000&s=a645501f8c3d94d5d36187b7b5f48b6304cfadb7c86c8216a52b94e30befa140"
                )
            },
        ),
    ),
    "contentful": Sample(
        made_by="@contentful/node-apps-toolkit 3.16.1 (npm)",
        secret="9be8c1c5c2a74f0f9c8b0a2d4f6e8b1a9be8c1c5c2a74f0f9c8b0a2d4f6e8b1a",
        delivery=request(
            '{"sys":{"id":"e1"},"text":"Zürich"}'.encode(),
            CONTENTFUL_HEADERS,
            "https://hooks.example.com/api/webhooks/cms?job=a b&x=1%202",
        ),
    ),
    "gitlab_token": Sample(
        made_by="documentation",
        secret="s3cr3t-token",
        delivery=request(b'{"object_kind":"push"}', {"x-gitlab-token": "s3cr3t-token"}),
    ),
    "assemblyai": Sample(
        made_by="documentation",
        secret="secret-value",
        delivery=request(
            b'{"transcript_id":"5552493-16d8-42d8-8feb-c2a16b56f6e8","status":"completed"}',
            {"x-my-webhook-secret": "secret-value"},
        ),
    ),
    "deepgram_basic": Sample(
        made_by="documentation, base64",
        secret="hooks:p@ss:wörd",
        delivery=request(
            b'{"metadata":{"request_id":"r1"}}', {"authorization": "Basic aG9va3M6cEBzczp3w7ZyZA=="}
        ),
    ),
    "msgraph": Sample(
        made_by="documentation",
        secret="c4b2f3a0-state",
        delivery=request(
            b'{"value":[{"id":"n1","clientState":"c4b2f3a0-state","changeType":"created"},'
            b'{"id":"n2","clientState":"c4b2f3a0-state","changeType":"updated"}]}',
            {"content-type": "application/json"},
        ),
    ),
}
