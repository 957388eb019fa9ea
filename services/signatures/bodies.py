"""Signatures inside a JSON body that leave most of it open; what is open stands in each docstring."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import JsonValue

from services.errors import NotUnderstood, NotVerified, Reason
from services.jsons import parse_object
from services.models import Delivery, JsonObject
from services.signatures.keyed import Found, Keyed, with_body
from services.signatures.parts import Encoding, KeyForm, Unit, read_time, write_time

_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailgun(Keyed):
    """How Mailgun signs: a timestamp and a random token, and nothing of the event.

    Whoever has seen one signature can send any event with it until it is too old; `event_id` is made of the
    token, so that it is one event at most.
    """

    binds_nothing: bool = True
    past: timedelta = timedelta(minutes=15)

    def find(self, delivery: Delivery) -> Sequence[Found]:
        claim = _claim_of(delivery)
        timestamp, token = _timestamp_and_token(claim)
        # A subaccount's event is signed with the parent account's key, too.
        digests = [claim.get(name) for name in ("signature", "parent-signature")]
        texts = tuple(text for text in digests if isinstance(text, str) and text)
        if not texts:
            raise NotVerified(Reason.NO_SIGNATURE)
        sent_at = read_time(timestamp, Unit.SECONDS)
        return [Found(contents=((timestamp + token).encode(),), digests=texts, sent_at=sent_at)]

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Put the signature into the body; raises NotVerified if that is not a JSON object."""
        timestamp, token = write_time(now, Unit.SECONDS), hashlib.sha256(delivery.body).hexdigest()[:50]
        signature = self.write(secret, (timestamp + token).encode())
        claim: JsonObject = {"timestamp": timestamp, "token": token, "signature": signature}
        return with_body(delivery, _written({**_object(delivery), "signature": claim}), _JSON)

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its signed timestamp and token."""
        return hashlib.sha256("".join(_timestamp_and_token(_claim_of(delivery))).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdyenPayments(Keyed):
    """How Adyen signs each item of a payments webhook: eight fields, of which none is the time.

    `additionalData`, `eventDate`, `reason`, `operations`, `paymentMethod` and `live` are open, and an event
    can be sent again at any time. An event that comes again with another reason or date is news, and Adyen
    asks to take the latest: it is named by its whole body.
    """

    binds_nothing: bool = True
    encoding: Encoding = Encoding.BASE64
    key_form: KeyForm = KeyForm.HEX

    def find(self, delivery: Delivery) -> Sequence[Found]:
        return [_found_in(item) for item in _items(_object(delivery))]

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:  # noqa: ARG002 - no time is signed
        """Put a signature into each item; raises NotVerified if the body is no payments webhook."""
        document = _object(delivery)
        for item in _items(document):
            additional = item.setdefault("additionalData", {})
            if not isinstance(additional, dict):
                raise NotVerified(Reason.MALFORMED_SIGNATURE)
            additional["hmacSignature"] = self.write(secret, _signed_of(item))
        return with_body(delivery, _written(document), _JSON)


def _object(delivery: Delivery) -> JsonObject:
    try:
        return parse_object(delivery.body)
    except NotUnderstood:
        raise NotVerified(Reason.MALFORMED_SIGNATURE) from None


def _written(document: JsonObject) -> bytes:
    return json.dumps(document).encode()


def _claim_of(delivery: Delivery) -> JsonObject:
    claim = _object(delivery).get("signature")
    if not isinstance(claim, dict):
        raise NotVerified(Reason.NO_SIGNATURE)
    return claim


def _timestamp_and_token(claim: JsonObject) -> tuple[str, str]:
    timestamp, token = claim.get("timestamp"), claim.get("token")
    if type(timestamp) is int:  # documented as a number, and shown as a text
        timestamp = str(timestamp)
    if not isinstance(timestamp, str):
        raise NotVerified(Reason.MALFORMED_TIMESTAMP if timestamp is not None else Reason.NO_TIMESTAMP)
    if not isinstance(token, str) or not token:
        raise NotVerified(Reason.NO_SIGNATURE)
    return timestamp, token


def _items(document: JsonObject) -> Iterator[JsonObject]:
    listed = document.get("notificationItems")
    if not isinstance(listed, list) or not listed:
        raise NotVerified(Reason.NO_SIGNATURE)
    for one in listed:
        item = one.get("NotificationRequestItem") if isinstance(one, dict) else None
        if not isinstance(item, dict):
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        yield item


def _found_in(item: JsonObject) -> Found:
    additional = item.get("additionalData")
    signature = additional.get("hmacSignature") if isinstance(additional, dict) else None
    if not signature:
        raise NotVerified(Reason.NO_SIGNATURE)
    if not isinstance(signature, str):
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    return Found(contents=(_signed_of(item),), digests=(signature,))


def _signed_of(item: JsonObject) -> bytes:
    amount = item.get("amount")
    if not isinstance(amount, dict):
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    before = [item.get("pspReference"), item.get("originalReference"), item.get("merchantAccountCode")]
    after = [amount.get("value"), amount.get("currency"), item.get("eventCode"), item.get("success")]
    around = [_text(value) for value in before + after]
    # A colon in one field only: else the borders between fields could be shifted.
    if any(":" in text for text in around):
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    reference = _text(item.get("merchantReference"))
    return ":".join([*around[: len(before)], reference, *around[len(before) :]]).encode()


def _text(value: JsonValue) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | str():
            return str(value)
        case _:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
