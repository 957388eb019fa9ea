"""The handshakes by which senders make sure that an address is ours, by the names of their schemes.

Each answers what its sender's documentation asks for and nothing else. What is reflected is short, made of
harmless characters, and told as text or JSON that no browser should take for anything else. What is signed
here with a secret is never a body that could be read: `_TOKEN` has no braces, ampersands or colons in it.
Zoom signs no callback without colons; where X could, a body that is such a token is refused.
"""

import base64
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from pydantic import JsonValue

from services.errors import NotUnderstood, NotVerified, OperatorError, Reason
from services.jsons import at, parse_object
from services.models import Delivery, HttpRequest, JsonObject
from services.providers.base import Handshake, Handshaken, WebhookAnswer
from services.signatures.catalogue import SCHEMES
from services.signatures.parts import KeyForm, usable_keys

MAX_BODY = 8192
_NOSNIFF = {"X-Content-Type-Options": "nosniff"}
_TOKEN = re.compile(r"[A-Za-z0-9_.~+/-]{1,256}={0,2}", re.ASCII)
_NOT_HTML = re.compile(r"[ !#-%(-;=?-_a-~]{1,1024}", re.ASCII)  # printable, without " & ' < > `
_DNS_NAME = re.compile(r"[A-Za-z0-9.-]{1,253}", re.ASCII)
# A region's name has no digit before its end: `sns.s3-us-west-2.amazonaws.com` is somebody's bucket.
_SUBSCRIBE = re.compile(
    r"https://sns\.[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}\.amazonaws\.com(\.cn)?"
    r"/\?Action=ConfirmSubscription&[!-~]{1,2048}",
    re.ASCII,
)


# https://docs.slack.dev/reference/events/url_verification
def _slack(delivery: Delivery, _: Sequence[str]) -> Handshaken | None:
    body = _object(delivery)
    return _reflect(body.get("challenge")) if body.get("type") == "url_verification" else None


# https://developers.zoom.us/docs/api/webhooks/#validate-your-webhook-endpoint
def _zoom(delivery: Delivery, secrets: Sequence[str]) -> Handshaken | None:
    body = _object(delivery)
    token = at(body, "payload.plainToken")
    if body.get("event") != "endpoint.url_validation" or not isinstance(token, str):
        return None
    if not _TOKEN.fullmatch(token):
        return None
    # While the secret is rotated, the answer must be made with the one that the request is signed with.
    secret = max(secrets, key=lambda one: _signs(one, delivery))
    digest = hmac.digest(secret.encode(), token.encode(), "sha256").hex()
    return _tell({"plainToken": token, "encryptedToken": digest})


# https://developers.facebook.com/docs/graph-api/webhooks/getting-started#verification-requests
def _meta(delivery: Delivery, secrets: Sequence[str]) -> Handshaken | None:
    query = _query(delivery)
    if query.get("hub.mode") != "subscribe":
        return None
    given = query.get("hub.verify_token", "").encode(errors="surrogatepass")
    if not any(hmac.compare_digest(given, key) for key in usable_keys(secrets, KeyForm.TEXT)):
        raise NotVerified(Reason.WRONG_TOKEN)
    return _reflect(query.get("hub.challenge"))


# https://docs.x.com/x-api/webhooks/quickstart#2-the-crc-check
def _x_twitter(delivery: Delivery, secrets: Sequence[str]) -> Handshaken | None:
    if delivery.method == "POST":
        # Whoever asks for a token's answer holds the signature of a body that reads the same.
        if _TOKEN.fullmatch(delivery.body.decode("latin-1")):
            raise NotVerified(Reason.WRONG_BODY)
        return None
    token = _query(delivery).get("crc_token", "")
    if not _TOKEN.fullmatch(token):
        return None
    newest, *_ = usable_keys(secrets, KeyForm.TEXT)
    digest = base64.b64encode(hmac.digest(newest, token.encode(), "sha256")).decode()
    return _tell({"response_token": f"sha256={digest}"})


# https://learn.microsoft.com/graph/change-notifications-delivery-webhooks#notificationurl-validation
def _msgraph(delivery: Delivery, _: Sequence[str]) -> Handshaken | None:
    return _reflect(_query(delivery).get("validationToken"), _NOT_HTML)


# https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema
def _eventgrid(delivery: Delivery, _: Sequence[str]) -> Handshaken | None:
    if delivery.method == "OPTIONS":
        return _cloudevents(delivery)
    if delivery.headers.get("aeg-event-type") != "SubscriptionValidation":
        return None
    events = _object(delivery, b'{"events":%b}').get("events")
    if not isinstance(events, list) or len(events) != 1:
        return None
    code = at(events[0], "data.validationCode")
    if not isinstance(code, str) or not _TOKEN.fullmatch(code):
        return None
    return _tell({"validationResponse": code})


# https://learn.microsoft.com/azure/event-grid/end-point-validation-cloud-events-schema and
# https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md#42-validation-response
def _cloudevents(delivery: Delivery) -> Handshaken | None:
    origin = delivery.headers.get("webhook-request-origin", "")
    if not _DNS_NAME.fullmatch(origin):
        return None
    headers = {"Allow": "POST", "WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"}
    return Handshaken(answer=WebhookAnswer(headers=headers))


# https://www.dropbox.com/developers/reference/webhooks#documentation and
# https://developer.nylas.com/docs/v3/notifications/#respond-to-webhook-verification-request
def _challenge(delivery: Delivery, _: Sequence[str]) -> Handshaken | None:
    return _reflect(_query(delivery).get("challenge"))


# https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/#intent-to-receive
def _xero(delivery: Delivery, _: Sequence[str]) -> Handshaken | None:
    body = _object(delivery)
    return Handshaken() if body.get("events") == [] and "entropy" in body else None


# https://developers.notion.com/reference/webhooks#step-2-verifying-the-subscription
def _notion(delivery: Delivery, _: Sequence[str]) -> Handshaken | None:
    token = _object(delivery).get("verification_token")
    if "x-notion-signature" in delivery.headers or not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return None
    return Handshaken(
        step="Notion has made the signing secret: set it, and give it to Notion under Verify",
        handed_over=token,
    )


# https://developers.asana.com/docs/webhooks-guide#the-webhook-handshake
def _asana(delivery: Delivery, _: Sequence[str]) -> Handshaken | None:
    secret = delivery.headers.get("x-hook-secret", "")
    if not _TOKEN.fullmatch(secret):
        return None
    return Handshaken(
        answer=WebhookAnswer(headers={"X-Hook-Secret": secret}),
        step="Asana has made the signing secret of a webhook: set it",
        handed_over=secret,
    )


# https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/#creating-a-webhook and
# https://developers.intercom.com/docs/webhooks/setting-up-webhooks#configuring-your-endpoint-url
def _head(_: Delivery, __: Sequence[str]) -> Handshaken:
    return Handshaken()


# https://docs.discord.com/developers/interactions/overview#setting-up-an-endpoint and
# https://docs.discord.com/developers/events/webhook-events#acknowledging-ping-requests
def _discord(delivery: Delivery, _: Sequence[str]) -> Handshaken | None:
    body = _object(delivery)
    if "event" in body:
        return None
    match body.get("type"):
        case 1:
            return _tell({"type": 1})
        case 0:
            return Handshaken(answer=WebhookAnswer(status=204, content_type="application/json"))
    return None


# https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html and
# https://docs.aws.amazon.com/sns/latest/dg/http-unsubscribe-confirmation-json.html
def _aws_sns(delivery: Delivery, _: Sequence[str]) -> Handshaken | None:
    body = _object(delivery)
    if body.get("Type") == "UnsubscribeConfirmation":
        return Handshaken(step="Amazon SNS has unsubscribed this address: if you did not, subscribe it again")
    url = body.get("SubscribeURL")
    if body.get("Type") != "SubscriptionConfirmation" or not isinstance(url, str):
        return None
    return Handshaken(confirm=HttpRequest(method="GET", url=url)) if _SUBSCRIBE.fullmatch(url) else None


_GET, _POST, _HEAD = frozenset({"GET"}), frozenset({"POST"}), frozenset({"HEAD"})
HANDSHAKES: Mapping[str, Handshake] = {
    "asana": Handshake(methods=_POST, answer=_asana, hands_over=True),
    "aws_sns": Handshake(methods=_POST, answer=_aws_sns, signed=True),
    "discord": Handshake(methods=_POST, answer=_discord, signed=True),
    "dropbox": Handshake(methods=_GET, answer=_challenge),
    "eventgrid": Handshake(methods=_POST | {"OPTIONS"}, answer=_eventgrid),
    "intercom": Handshake(methods=_HEAD, answer=_head),
    "meta": Handshake(methods=_GET, answer=_meta, secret="verify-token"),  # noqa: S106 - a name's last part
    "msgraph": Handshake(methods=_POST, answer=_msgraph),
    "notion": Handshake(methods=_POST, answer=_notion, hands_over=True),
    "nylas": Handshake(methods=_GET, answer=_challenge),
    "slack": Handshake(methods=_POST, answer=_slack, signed=True),
    "trello": Handshake(methods=_HEAD, answer=_head),
    "x_twitter": Handshake(methods=_GET | _POST, answer=_x_twitter),
    # No answer to Xero may have a body, and a forged request is part of its handshake.
    "xero": Handshake(methods=_POST, answer=_xero, signed=True, refusal=WebhookAnswer(status=401)),
    "zoom": Handshake(methods=_POST, answer=_zoom, signed=True),
}


def _object(delivery: Delivery, form: bytes = b"%b") -> JsonObject:
    """Read a body that could be a handshake's: an empty object for any that is too long or none."""
    try:
        return parse_object(form % delivery.body) if len(delivery.body) <= MAX_BODY else {}
    except NotUnderstood:
        return {}


def _query(delivery: Delivery) -> Mapping[str, str]:
    """Read the address's query, decoded once; nothing where a name stands twice."""
    pairs = parse_qsl(delivery.url.partition("?")[2], keep_blank_values=True)
    found = dict(pairs)
    return found if len(found) == len(pairs) else {}


def _reflect(text: JsonValue, form: re.Pattern[str] = _TOKEN) -> Handshaken | None:
    if not isinstance(text, str) or not form.fullmatch(text):
        return None
    return Handshaken(answer=WebhookAnswer(body=text.encode(), headers=_NOSNIFF))


def _tell(value: JsonObject) -> Handshaken:
    body = json.dumps(value).encode()
    return Handshaken(answer=WebhookAnswer(body=body, content_type="application/json", headers=_NOSNIFF))


def _signs(secret: str, delivery: Delivery) -> bool:
    try:
        SCHEMES["zoom"].verify(delivery, [secret], delivery.received_at)
    except (NotVerified, OperatorError):
        return False
    return True
