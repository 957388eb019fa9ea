"""The schemes that we know, as values; above each, where its sender documents it."""

from collections.abc import Mapping

from services.signatures.hmacs import Hmac, Pairs, Versions
from services.signatures.parts import Encoding, KeyForm
from services.signatures.scheme import Scheme

# https://docs.stripe.com/webhooks?verify=verify-manually#verify-manually
STRIPE = Hmac(
    signature_header="stripe-signature",
    form=Pairs(timestamp="t", version="v1"),
    template=b"%(timestamp)b.%(body)b",
    encoding=Encoding.HEX,
    key_form=KeyForm.TEXT,  # the whole text, `whsec_` included
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

SCHEMES: Mapping[str, Scheme] = {"stripe": STRIPE, "standardwebhooks": STANDARD_WEBHOOKS}
