"""The schemes whose senders sign with private keys or send tokens; above each, where it is documented."""

from collections.abc import Mapping
from datetime import timedelta

from services.signatures.certificates import (
    PAYPAL_CERTIFICATES,
    SNS_CERTIFICATES,
    PayPalTransmissions,
    SnsMessages,
)
from services.signatures.jwts import ES256, PLAID_KEYS, Jwt
from services.signatures.parts import Encoding, KeyForm
from services.signatures.public_keys import KeyKind, PublicKeys, key_set_at
from services.signatures.scheme import Scheme

PUBLIC_KEYS: Mapping[str, Scheme] = {
    # https://discord.com/developers/docs/interactions/overview#setting-up-an-endpoint
    "discord": PublicKeys(
        signature_header="x-signature-ed25519",
        timestamp_header="x-signature-timestamp",
        template=b"%(timestamp)b%(body)b",
        encoding=Encoding.HEX,
        kind=KeyKind.ED25519,
        key_form=KeyForm.HEX,
    ),
    # https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks#webhook-signature-verification
    "telnyx": PublicKeys(
        signature_header="telnyx-signature-ed25519",
        timestamp_header="telnyx-timestamp",
        template=b"%(timestamp)b|%(body)b",
        encoding=Encoding.BASE64,
        kind=KeyKind.ED25519,
    ),
    # https://docs.fal.ai/model-apis/model-endpoints/webhooks#verifying-your-webhook: one key for all
    "fal": PublicKeys(
        signature_header="x-fal-webhook-signature",
        timestamp_header="x-fal-webhook-timestamp",
        signed_headers=("x-fal-webhook-request-id", "x-fal-webhook-user-id"),
        id_header="x-fal-webhook-request-id",
        template=b"%(x-fal-webhook-request-id)b\n%(x-fal-webhook-user-id)b\n%(timestamp)b\n%(body_sha256)b",
        encoding=Encoding.HEX,
        kind=KeyKind.ED25519,
        key_source=key_set_at("https://rest.fal.ai/.well-known/jwks.json"),
        binds_nothing=True,
    ),
    # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
    "sendgrid": PublicKeys(
        signature_header="x-twilio-email-event-webhook-signature",
        timestamp_header="x-twilio-email-event-webhook-timestamp",
        template=b"%(timestamp)b%(body)b",
        encoding=Encoding.BASE64,
        kind=KeyKind.P256,
        # It repeats a delivery for a day, and does not say that the time is then a new one:
        # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
        past=timedelta(hours=24, minutes=5),
    ),
    # A message keeps the time of its publication while it is sent again, which is done for at most an hour:
    # https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
    "aws_sns": SnsMessages(
        past=timedelta(minutes=65), future=timedelta(minutes=5), key_source=SNS_CERTIFICATES
    ),
    # https://developer.paypal.com/api/rest/webhooks/rest/#link-selfverificationmethod
    # A delivery is repeated for three days, and nothing says that its transmission gets a new time.
    "paypal": PayPalTransmissions(
        past=timedelta(days=3),
        future=timedelta(minutes=5),
        key_source=PAYPAL_CERTIFICATES,
        binds_nothing=True,
    ),
}

JWTS: Mapping[str, Scheme] = {
    # https://plaid.com/docs/api/webhooks/webhook-verification/: the keys are the same for all customers
    "plaid": Jwt(
        signature_header="plaid-verification",
        body_claim="request_body_sha256",
        algorithms=(ES256,),
        sent=("iat",),
        required=("iat",),
        past=timedelta(minutes=5),
        key_source=PLAID_KEYS,
        binds_nothing=True,
    ),
    # https://developer.vonage.com/en/getting-started/concepts/webhooks#decoding-signed-webhooks
    "vonage": Jwt(
        signature_header="authorization",
        bearer=True,
        body_claim="payload_hash",
        algorithms=("HS256",),
        sent=("iat", "jti"),
        required=("iat",),
        past=timedelta(minutes=5),
    ),
    # https://upstash.com/docs/qstash/howto/signature
    "qstash": Jwt(
        signature_header="upstash-signature",
        body_claim="body",
        encoding=Encoding.BASE64_URL,
        url_claim="sub",
        algorithms=("HS256",),
        issuer="Upstash",
        sent=("iat", "nbf", "exp", "jti"),
        required=("nbf", "exp"),
    ),
    # https://docs.livekit.io/home/server/webhooks/#receiving-webhooks
    "livekit": Jwt(
        signature_header="authorization",
        body_claim="sha256",
        encoding=Encoding.BASE64,
        algorithms=("HS256",),
        issuer_in_secret=True,
        sent=("nbf", "exp"),
        required=("exp",),
        leeway=timedelta(minutes=1),  # as its library for Python has it; the one for Node has ten seconds
    ),
    # https://developers.messagebird.com/api/#verifying-http-requests
    "messagebird": Jwt(
        signature_header="messagebird-signature-jwt",
        body_claim="payload_hash",
        empty_body_unnamed=True,
        url_claim="url_hash",
        url_hashed=True,
        algorithms=("HS256", "HS384", "HS512"),
        issuer="MessageBird",
        sent=("nbf", "exp", "jti"),
        required=("exp", "jti"),
        leeway=timedelta(seconds=5),
    ),
}
