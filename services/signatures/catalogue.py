"""The schemes that we know, as values; above each, where its sender documents it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from services.signatures.bodies import AdyenPayments, Mailgun
from services.signatures.canonical import Contentful, Inngest
from services.signatures.forms import Braintree, DropboxSign, Transloadit
from services.signatures.hmacs import Bare, Hmac, Pairs, Versions
from services.signatures.parts import Encoding, KeyForm, Unit
from services.signatures.scheme import Scheme
from services.signatures.statics import BasicToken, BodyToken, HeaderToken
from services.signatures.twilio import Twilio

# https://docs.stripe.com/webhooks?verify=verify-manually#verify-manually
STRIPE = Hmac(
    signature_header="stripe-signature",
    form=Pairs(timestamp="t", version="v1"),
    template=b"%(timestamp)b.%(body)b",
)

# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#verifying-signatures
STANDARD_WEBHOOKS = Hmac(
    signature_header="webhook-signature",
    timestamp_header="webhook-timestamp",
    id_header="webhook-id",
    form=Versions(version="v1"),
    template=b"%(id)b.%(timestamp)b.%(body)b",
    encoding=Encoding.BASE64,
    key_form=KeyForm.BASE64,
)

# https://docs.svix.com/receiving/verifying-payloads/how-manual: white-labelled senders say `webhook-`
SVIX = replace(
    STANDARD_WEBHOOKS,
    signature_header="svix-signature",
    timestamp_header="svix-timestamp",
    id_header="svix-id",
    header_aliases={
        "svix-signature": "webhook-signature",
        "svix-timestamp": "webhook-timestamp",
        "svix-id": "webhook-id",
    },
)

HMACS: Mapping[str, Hmac] = {
    "stripe": STRIPE,
    "standardwebhooks": STANDARD_WEBHOOKS,
    "svix": SVIX,
    # https://platform.openai.com/docs/guides/webhooks#verifying-webhook-signatures
    "openai": replace(STANDARD_WEBHOOKS, key_form=KeyForm.MARKED_BASE64),
    # https://replicate.com/docs/topics/webhooks/verify-webhook
    "replicate": STANDARD_WEBHOOKS,
    # https://resend.com/docs/webhooks/verify-webhooks-requests
    "resend": SVIX,
    # https://clerk.com/docs/reference/backend/verify-webhook
    "clerk": SVIX,
    # https://docs.lithic.com/docs/events-api#verifying-webhooks
    "lithic": STANDARD_WEBHOOKS,
    # https://polar.sh/docs/integrate/webhooks/delivery: secrets of before September 2026 sign as their text
    "polar": replace(STANDARD_WEBHOOKS, key_form=KeyForm.TEXT, other_key_form=KeyForm.BASE64),
    # https://platform.claude.com/docs/en/api/beta/webhooks/unwrap
    "anthropic": STANDARD_WEBHOOKS,
    # https://gitlab.com/gitlab-org/gitlab/-/merge_requests/230944
    "gitlab_signed": STANDARD_WEBHOOKS,
    # https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
    "github": Hmac(signature_header="x-hub-signature-256", form=Bare(prefix="sha256=")),
    # https://docs.slack.dev/authentication/verifying-requests-from-slack/
    "slack": Hmac(
        signature_header="x-slack-signature",
        timestamp_header="x-slack-request-timestamp",
        form=Bare(prefix="v0="),
        template=b"v0:%(timestamp)b:%(body)b",
    ),
    # https://shopify.dev/docs/apps/build/webhooks/subscribe/https
    "shopify": Hmac(
        signature_header="x-shopify-hmac-sha256",
        encoding=Encoding.BASE64,
        header_aliases={"x-shopify-hmac-sha256": "shopify-hmac-sha256"},
    ),
    # https://mux.com/docs/core/verify-webhook-signatures
    "mux": replace(STRIPE, signature_header="mux-signature"),
    # https://developer.paddle.com/webhooks/about/signature-verification
    "paddle": Hmac(
        signature_header="paddle-signature",
        form=Pairs(timestamp="ts", version="h1", separator=";"),
        template=b"%(timestamp)b:%(body)b",
        past=timedelta(seconds=5),
        future=timedelta(seconds=5),
    ),
    # https://developer.squareup.com/docs/webhooks/step3validate
    "square": Hmac(
        signature_header="x-square-hmacsha256-signature",
        template=b"%(url)b%(body)b",
        encoding=Encoding.BASE64,
    ),
    # https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events
    "zoom": Hmac(
        signature_header="x-zm-signature",
        timestamp_header="x-zm-request-timestamp",
        form=Bare(prefix="v0="),
        template=b"v0:%(timestamp)b:%(body)b",
    ),
    # https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests
    "hubspot_v1": Hmac(signature_header="x-hubspot-signature", keyless=True),
    # https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation
    "hubspot_v2": Hmac(
        signature_header="x-hubspot-signature", template=b"%(method)b%(url)b%(body)b", keyless=True
    ),
    # https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation
    "hubspot_v3": Hmac(
        signature_header="x-hubspot-signature-v3",
        timestamp_header="x-hubspot-request-timestamp",
        template=b"%(method)b%(url)b%(body)b%(timestamp)b",
        unit=Unit.MILLISECONDS,
        encoding=Encoding.BASE64,
        unescaped_in_url=":/?@!$'()*,;",  # the libraries leave this to their callers
    ),
    # https://linear.app/developers/webhooks#securing-webhooks
    "linear": Hmac(
        signature_header="linear-signature",
        timestamp_member="webhookTimestamp",
        unit=Unit.MILLISECONDS,
        past=timedelta(minutes=1),
        future=timedelta(minutes=1),
    ),
    # https://cloudconvert.com/api/v2/webhooks
    "cloudconvert": Hmac(signature_header="cloudconvert-signature"),
    # https://developer.box.com/guides/webhooks/v2/signatures-v2/: a header for each of two keys
    "box": Hmac(
        signature_header="box-signature-primary",
        more_signature_headers=("box-signature-secondary",),
        further_headers={"box-signature-version": "1", "box-signature-algorithm": "HmacSHA256"},
        timestamp_header="box-delivery-timestamp",
        template=b"%(body)b%(timestamp)b",
        unit=Unit.RFC_3339,
        encoding=Encoding.BASE64,
        past=timedelta(minutes=10),
        future=timedelta(0),  # as its libraries have it
        whole_seconds=True,
    ),
    # https://workos.com/docs/events/data-syncing/webhooks
    "workos": Hmac(
        signature_header="workos-signature",
        form=Pairs(timestamp="t", version="v1", separator=", "),
        template=b"%(timestamp)b.%(body)b",
        unit=Unit.MILLISECONDS,
        past=timedelta(minutes=3),
        future=timedelta(minutes=3),
    ),
    # https://developer.gocardless.com/api-reference/#webhooks-signing-webhooks
    "gocardless": Hmac(signature_header="webhook-signature"),
    # https://documentation.onfido.com/api/latest/#verifying-webhook-signatures
    "onfido": Hmac(signature_header="x-sha2-signature"),
    # https://docs.easypost.com/guides/webhooks-guide
    "easypost": Hmac(
        signature_header="x-hmac-signature", form=Bare(prefix="hmac-sha256-hex="), key_form=KeyForm.NFKD
    ),
    # https://razorpay.com/docs/webhooks/validate-test/
    "razorpay": Hmac(signature_header="x-razorpay-signature"),
    # https://docs.retellai.com/features/secure-webhook
    "retell": Hmac(
        signature_header="x-retell-signature",
        form=Pairs(timestamp="v", version="d"),
        template=b"%(body)b%(timestamp)b",
        unit=Unit.MILLISECONDS,
    ),
    # https://developers.line.biz/en/reference/messaging-api/#signature-validation
    "line": Hmac(signature_header="x-line-signature", encoding=Encoding.BASE64),
    # https://elevenlabs.io/docs/product-guides/administration/webhooks
    "elevenlabs": Hmac(
        signature_header="elevenlabs-signature",
        form=Pairs(timestamp="t", version="v0"),
        template=b"%(timestamp)b.%(body)b",
        past=timedelta(minutes=30),
    ),
    # https://github.com/sanity-io/webhook-toolkit
    "sanity": Hmac(
        signature_header="sanity-webhook-signature",
        form=Pairs(timestamp="t", version="v1"),
        template=b"%(timestamp)b.%(body)b",
        unit=Unit.MILLISECONDS,
        encoding=Encoding.BASE64_URL,
    ),
    # https://developers.webflow.com/data/docs/working-with-webhooks#validating-request-signatures
    "webflow": Hmac(
        signature_header="x-webflow-signature",
        timestamp_header="x-webflow-timestamp",
        template=b"%(timestamp)b:%(body)b",
        unit=Unit.MILLISECONDS,
    ),
    # https://docs.cdp.coinbase.com/commerce/api-arcitecture/webhooks-security
    "coinbase_commerce": Hmac(signature_header="x-cc-webhook-signature"),
    # https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures/
    "adyen_platform": Hmac(signature_header="hmacsignature", encoding=Encoding.BASE64, key_form=KeyForm.HEX),
    # https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads
    "meta": Hmac(signature_header="x-hub-signature-256", form=Bare(prefix="sha256=")),
    # https://developers.intercom.com/docs/webhooks/webhook-notifications
    "intercom": Hmac(signature_header="x-hub-signature", form=Bare(prefix="sha1="), digest="sha1"),
    # https://developers.docusign.com/platform/webhooks/connect/hmac: a header for each of up to 100 keys
    "docusign": Hmac(
        signature_header="x-docusign-signature-1",
        more_signature_headers=tuple(f"x-docusign-signature-{number}" for number in range(2, 101)),
        encoding=Encoding.BASE64,
    ),
    # https://developer.zendesk.com/documentation/webhooks/verifying/
    "zendesk": Hmac(
        signature_header="x-zendesk-webhook-signature",
        timestamp_header="x-zendesk-webhook-signature-timestamp",
        template=b"%(timestamp)b%(body)b",
        unit=Unit.RFC_3339,
        encoding=Encoding.BASE64,
    ),
    # https://www.typeform.com/developers/webhooks/secure-your-webhooks/
    "typeform": Hmac(
        signature_header="typeform-signature", form=Bare(prefix="sha256="), encoding=Encoding.BASE64
    ),
    # https://developer.calendly.com/api-docs/overview/webhooks/webhook-signatures
    "calendly": replace(
        STRIPE,
        signature_header="calendly-webhook-signature",
        past=timedelta(minutes=3),
        future=timedelta(minutes=3),
    ),
    # https://www.dropbox.com/developers/reference/webhooks#notifications
    "dropbox": Hmac(signature_header="x-dropbox-signature"),
    # https://docs.withpersona.com/webhooks-best-practices: two sets while a secret is being replaced
    "persona": replace(
        STRIPE, signature_header="persona-signature", form=Pairs(timestamp="t", version="v1", sets=True)
    ),
    # https://docs.lemonsqueezy.com/help/webhooks/signing-requests
    "lemonsqueezy": Hmac(signature_header="x-signature"),
    # https://vercel.com/docs/webhooks/webhooks-api#securing-webhooks
    "vercel": Hmac(signature_header="x-vercel-signature", digest="sha1"),
    # https://developers.notion.com/reference/webhooks
    "notion": Hmac(signature_header="x-notion-signature", form=Bare(prefix="sha256=")),
    # https://developers.asana.com/docs/webhooks-guide#security
    "asana": Hmac(signature_header="x-hook-signature"),
    # https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/#webhook-signatures
    "trello": Hmac(
        signature_header="x-trello-webhook",
        template=b"%(body)b%(url)b",
        encoding=Encoding.BASE64,
        digest="sha1",
    ),
    # https://docs.sentry.io/organization/integrations/integration-platform/webhooks/
    "sentry": Hmac(signature_header="sentry-hook-signature"),
    # https://developer.nylas.com/docs/v3/notifications/
    "nylas": Hmac(signature_header="x-nylas-signature"),
    # https://developer.xero.com/documentation/guides/webhooks/configuring-your-server
    "xero": Hmac(signature_header="x-xero-signature", encoding=Encoding.BASE64),
    # https://docs.x.com/x-api/webhooks/quickstart
    "x_twitter": Hmac(
        signature_header="x-twitter-webhooks-signature",
        form=Bare(prefix="sha256="),
        encoding=Encoding.BASE64,
    ),
    # https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/#Secure-webhooks
    "bitbucket": Hmac(signature_header="x-hub-signature", form=Bare(prefix="sha256=")),
    # https://pusher.com/docs/channels/server_api/webhooks/: the key's name, which the secret goes with
    "pusher": Hmac(
        signature_header="x-pusher-signature",
        further_headers={"x-pusher-key": ""},
        timestamp_member="time_ms",
        unit=Unit.MILLISECONDS,
    ),
}

# Signatures in the address, in a form's fields or inside the body, or over another spelling of the request.
KEYED: Mapping[str, Scheme] = {
    # https://www.twilio.com/docs/usage/webhooks/webhooks-security#validating-signatures-from-twilio
    "twilio_form": Twilio(),
    "twilio_json": Twilio(hashed=True),
    # https://www.twilio.com/docs/usage/webhooks/webhook-shared-keys
    "twilio_sharedkey": Twilio(digest="sha256", settings_header="x-twilio-webhooks-signature-settings"),
    # https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
    "mailgun": Mailgun(),
    # https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures
    "adyen_payments": AdyenPayments(),
    # https://developers.hellosign.com/docs/events/walkthrough/
    "dropbox_sign": DropboxSign(),
    # https://developer.paypal.com/braintree/docs/guides/webhooks/parse
    "braintree": Braintree(),
    # https://transloadit.com/docs/topics/assembly-notifications/
    "transloadit": Transloadit(),
    # https://github.com/inngest/inngest/blob/main/docs/SDK_SPEC.md#413-requirements-when-receiving-requests
    "inngest": Inngest(),
    # https://www.contentful.com/developers/docs/webhooks/request-verification/
    "contentful": Contentful(),
}

STATICS: Mapping[str, Scheme] = {
    # https://docs.gitlab.com/user/project/integrations/webhooks/
    "gitlab_token": HeaderToken(signature_header="x-gitlab-token"),
    # https://www.assemblyai.com/docs/pre-recorded-audio/webhooks: each start names the header; this is theirs
    "assemblyai": HeaderToken(signature_header="x-my-webhook-secret"),
    # https://developers.deepgram.com/changelog/2026/10/27
    "deepgram_basic": BasicToken(),
    # https://learn.microsoft.com/graph/change-notifications-delivery-webhooks#process-the-change-notification
    "msgraph": BodyToken(list_member="value", member="clientState"),
}

_SHARED_SECRETS: Mapping[str, Scheme] = {**HMACS, **KEYED, **STATICS}


class _Schemes(Mapping[str, Scheme]):
    """All by name. Those with public keys and tokens are imported with the first of them that is asked for.

    A cold start then pays for `cryptography` only where a provider needs it.
    """

    def __getitem__(self, name: str) -> Scheme:
        known = _SHARED_SECRETS if name in _SHARED_SECRETS else _public_keys()
        if name not in known:
            raise KeyError(
                f"no scheme is called {name!r}: docs/providers.md lists them, "
                "docs/adding-a-provider.md says how to add one"
            )
        return known[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**_SHARED_SECRETS, **_public_keys()})

    def __len__(self) -> int:
        return len(_SHARED_SECRETS) + len(_public_keys())


def _public_keys() -> Mapping[str, Scheme]:
    from services.signatures import public_catalogue

    return {**public_catalogue.PUBLIC_KEYS, **public_catalogue.JWTS}


SCHEMES: Mapping[str, Scheme] = _Schemes()
