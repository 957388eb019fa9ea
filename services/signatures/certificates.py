"""Signatures whose key is in an X.509 certificate at an address that the delivery names: Amazon SNS, PayPal.

What makes a certificate the sender's is that it came over TLS from the sender's own host, from under a path
where nothing else lies: the address is held to a pattern here, and again before it is fetched. The
certificate's dates are checked, and that its key is RSA of 2048 bits or more. Its chain is not: neither
sender documents an issuer to hold it to, and TLS has already asked the issuers that everybody trusts.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding as KeyEncoding
from cryptography.hazmat.primitives.serialization import PublicFormat

from services.errors import NotUnderstood, NotVerified, OperatorError, Reason
from services.jsons import parse_object
from services.models import Delivery, HttpRequest, JsonObject
from services.signatures.parts import (
    Encoding,
    Unit,
    check_age,
    header,
    not_signed,
    read_digest,
    read_time,
    write_digest,
    write_time,
)
from services.signatures.public_keys import WRONG_KIND, read_private_key
from services.signatures.scheme import Declared, KeySource

MIN_KEY_BITS = 2048
_PRIVATE_KEY = "-----BEGIN "

# https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "1": hashes.SHA1(),  # noqa: S303 - what SNS signs with unless a topic says otherwise
    "2": hashes.SHA256(),
}
_TOPIC = re.compile(r"arn:aws(-[a-z]+)*:sns:[a-z0-9-]{3,32}:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
# A region's name has no digit before its end: `sns.s3-us-west-2.amazonaws.com` is somebody's bucket.
_SNS_ADDRESS = re.compile(
    r"https://sns\.[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}\.amazonaws\.com(\.cn)?"
    r"/SimpleNotificationService-[0-9A-Za-z-]{1,64}\.pem",
)
_PAYPAL_ADDRESS = re.compile(
    r"https://api(-m)?(\.sandbox)?\.paypal\.com/v1/notifications/certs/CERT-[0-9A-Za-z_-]{1,64}"
)
_TRANSMISSION_HEADERS = (
    "paypal-transmission-sig",
    "paypal-auth-algo",
    "paypal-cert-url",
    "paypal-transmission-time",
    "paypal-transmission-id",
)
_NO_BAR = re.compile(r"[!-{}~]{1,128}")  # a bar divides what PayPal signs


@dataclass(frozen=True, slots=True, kw_only=True)
class SnsMessages(Declared):
    """How Amazon SNS signs: a body that is a JSON object with its signature inside.

    Every AWS account can have a topic of its own send to our address, and SNS signs for all of them: a secret
    is the ARN of a topic that may.
    """

    past: timedelta
    future: timedelta

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], now: datetime, keys: Sequence[bytes] = ()
    ) -> None:
        topics = [secret for secret in secrets if _TOPIC.fullmatch(secret)]
        if not topics:
            raise OperatorError("no topic can be used: set the ARN of one, as AWS shows it")
        message = _message(delivery)
        signature = read_digest(_text(message, "Signature"), Encoding.BASE64)
        if signature is None:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        version = message.get("SignatureVersion")
        if not isinstance(version, str) or version not in _DIGESTS:
            raise NotVerified(Reason.WRONG_ALGORITHM)
        content = _content(message)
        _certificate_of(message)
        sent_at = read_time(_text(message, "Timestamp"), Unit.RFC_3339)
        if message["TopicArn"] not in topics:
            raise not_signed([topic.encode() for topic in topics], secrets)
        if not _is_certified(keys, now, signature, content, _DIGESTS[version]):
            raise NotVerified(Reason.WRONG_SIGNATURE)
        check_age(sent_at, now, past=self.past, future=self.future)

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Sign a message's body, or make another body the message of a notification and sign that.

        `secret` is the topic's ARN, a line end, and a private key in PEM.
        """
        topic, key = _named_key(secret)
        if not _TOPIC.fullmatch(topic):
            raise OperatorError("the topic cannot be used: set its ARN, as AWS shows it")
        try:
            message = parse_object(delivery.body)
        except NotUnderstood:
            message = {}
        kind = message.get("Type")
        if not isinstance(kind, str) or kind not in _SIGNED:
            name = hashlib.sha256(delivery.body).hexdigest()
            text = delivery.body.decode(errors="replace")
            message = {"Type": "Notification", "MessageId": name, "Message": text}
        region = topic.split(":")[3]
        china = ".cn" if topic.startswith("arn:aws-cn:") else ""
        message |= {
            "TopicArn": topic,
            "Timestamp": write_time(now, Unit.RFC_3339),
            "SignatureVersion": "2",
            "SigningCertURL": f"https://sns.{region}.amazonaws.com{china}"
            f"/SimpleNotificationService-{_fingerprint(key)[:32]}.pem",
        }
        signature = key.sign(_content(message), PKCS1v15(), hashes.SHA256())
        message["Signature"] = write_digest(signature, Encoding.BASE64)
        return replace(delivery, body=json.dumps(message).encode())

    def event_id(self, delivery: Delivery) -> str:
        """Name a message by the id that it keeps when it is sent again."""
        return _text(_message(delivery), "MessageId")


@dataclass(frozen=True, slots=True, kw_only=True)
class PayPalTransmissions(Declared):
    """How PayPal signs: a transmission's id and time, the webhook's id, and a checksum of the body.

    The secret is the webhook's id. A CRC-32 binds no body: other bodies with the same one are easily found.
    """

    past: timedelta
    future: timedelta

    def verify(
        self, delivery: Delivery, secrets: Sequence[str], now: datetime, keys: Sequence[bytes] = ()
    ) -> None:
        webhooks = [secret for secret in secrets if _NO_BAR.fullmatch(secret)]
        if not webhooks:
            raise OperatorError("no webhook id can be used: set it, as PayPal shows it")
        text = header(delivery, "paypal-transmission-sig")
        if not text:
            raise NotVerified(Reason.NO_SIGNATURE)
        signature = read_digest(text, Encoding.BASE64)
        if signature is None:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        if header(delivery, "paypal-auth-algo") != "SHA256withRSA":
            raise NotVerified(Reason.WRONG_ALGORITHM)
        _certificate_named(delivery)
        sent_at = read_time(header(delivery, "paypal-transmission-time"), Unit.RFC_3339)
        contents = [_transmission(delivery, webhook) for webhook in webhooks]
        if not any(_is_certified(keys, now, signature, one, hashes.SHA256()) for one in contents):
            raise not_signed([webhook.encode() for webhook in webhooks], secrets)
        check_age(sent_at, now, past=self.past, future=self.future)

    def sign(self, delivery: Delivery, secret: str, now: datetime) -> Delivery:
        """Add the transmission's headers.

        `secret` is the webhook's id, a line end, and a private key in PEM.
        """
        webhook, key = _named_key(secret)
        if not _NO_BAR.fullmatch(webhook):
            raise OperatorError("the webhook id cannot be used: set it, as PayPal shows it")
        name = _fingerprint(key)
        time = write_time(now, Unit.RFC_3339)
        own = {
            "paypal-transmission-id": hashlib.sha256(time.encode() + delivery.body).hexdigest()[:36],
            "paypal-transmission-time": time,
            "paypal-cert-url": "https://api.paypal.com/v1/notifications/certs"
            f"/CERT-{name[:8]}-{name[8:16]}-{name[16:24]}",
            "paypal-auth-algo": "SHA256withRSA",
        }
        named = replace(delivery, headers={**delivery.headers, **own})
        signature = key.sign(_transmission(named, webhook), PKCS1v15(), hashes.SHA256())
        written = write_digest(signature, Encoding.BASE64)
        return replace(named, headers={**named.headers, "paypal-transmission-sig": written})

    def event_id(self, delivery: Delivery) -> str:
        """Name a delivery by its transmission: the event's own id is not truly signed."""
        return header(delivery, "paypal-transmission-id")

    @property
    def headers(self) -> tuple[str, ...]:
        return _TRANSMISSION_HEADERS


# https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
SNS_CERTIFICATES = KeySource(
    request=lambda delivery, _: HttpRequest(method="GET", url=_certificate_of(_message(delivery))),
    address=_SNS_ADDRESS,
)
# https://developer.paypal.com/api/rest/webhooks/rest/#link-selfverificationmethod
PAYPAL_CERTIFICATES = KeySource(
    request=lambda delivery, _: HttpRequest(method="GET", url=_certificate_named(delivery)),
    address=_PAYPAL_ADDRESS,
)


def _message(delivery: Delivery) -> JsonObject:
    try:
        message = parse_object(delivery.body)
    except NotUnderstood:
        raise NotVerified(Reason.NO_SIGNATURE) from None
    if not message.get("Signature"):
        raise NotVerified(Reason.NO_SIGNATURE)
    return message


def _text(message: JsonObject, name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    return value


def _content(message: JsonObject) -> bytes:
    """Put together what is signed.

    Nothing but line ends divides it, so that only one member may have them inside: else a message's text
    could be told as other members. A member that other types sign along must not be there unsigned.
    """
    kind = message.get("Type")
    if not isinstance(kind, str) or kind not in _SIGNED:
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    lines: list[str] = []
    for name in (*_NOTIFICATION, *_CONFIRMATION):
        if name not in _SIGNED[kind] and message.get(name) is not None:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
    for name in _SIGNED[kind]:
        if name == "Subject" and message.get(name) is None:
            continue
        value = _text(message, name)
        if name != "Message" and "\n" in value:
            raise NotVerified(Reason.MALFORMED_SIGNATURE)
        lines += [name, value]
    return "".join(f"{line}\n" for line in lines).encode()


def _certificate_of(message: JsonObject) -> str:
    address = message.get("SigningCertURL")
    if not isinstance(address, str) or not _SNS_ADDRESS.fullmatch(address):
        raise NotVerified(Reason.UNTRUSTED_KEY)
    return address


def _certificate_named(delivery: Delivery) -> str:
    address = header(delivery, "paypal-cert-url")
    if not _PAYPAL_ADDRESS.fullmatch(address):
        raise NotVerified(Reason.UNTRUSTED_KEY)
    return address


def _transmission(delivery: Delivery, webhook: str) -> bytes:
    name = header(delivery, "paypal-transmission-id")
    if not name:
        raise NotVerified(Reason.NO_SIGNATURE)
    if not _NO_BAR.fullmatch(name):
        raise NotVerified(Reason.MALFORMED_SIGNATURE)
    time = header(delivery, "paypal-transmission-time")
    return f"{name}|{time}|{webhook}|{zlib.crc32(delivery.body)}".encode()


def _is_certified(
    documents: Sequence[bytes],
    now: datetime,
    signature: bytes,
    content: bytes,
    digest: hashes.HashAlgorithm,
) -> bool:
    found = [certificate for document in documents if (certificate := _certificate(document))]
    if not found:
        raise NotVerified(Reason.UNKNOWN_KEY)
    keys = [key for certificate in found if (key := _trusted_key(certificate, now))]
    if not keys:
        raise NotVerified(Reason.UNTRUSTED_KEY)
    for key in keys:
        try:
            key.verify(signature, content, PKCS1v15(), digest)
        except InvalidSignature:
            continue
        return True
    return False


def _certificate(document: bytes) -> x509.Certificate | None:
    """Read a certificate, the first one where its issuers follow."""
    try:
        return x509.load_pem_x509_certificate(document)
    except ValueError:
        return None


def _trusted_key(certificate: x509.Certificate, now: datetime) -> RSAPublicKey | None:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return None
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, RSAPublicKey) and key.key_size >= MIN_KEY_BITS else None


def _named_key(secret: str) -> tuple[str, RSAPrivateKey]:
    name, begin, text = secret.partition(_PRIVATE_KEY)
    key = read_private_key(begin + text)
    if not isinstance(key, RSAPrivateKey):
        raise OperatorError(WRONG_KIND)
    return name.removesuffix("\n"), key


def _fingerprint(key: RSAPrivateKey) -> str:
    written = key.public_key().public_bytes(KeyEncoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(written).hexdigest()
