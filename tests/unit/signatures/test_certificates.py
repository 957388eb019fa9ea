"""What is particular to signatures with certificates: Amazon SNS and PayPal."""

import json
import re
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.errors import NotVerified, OperatorError, Reason
from services.models import Delivery
from services.signatures.public_catalogue import PUBLIC_KEYS
from tests.unit.signatures.key_documents import (
    TOPIC,
    WEBHOOK_ID,
    certificate,
    ed25519,
    p256,
    pem,
    rsa_key,
)

SNS, PAYPAL = PUBLIC_KEYS["aws_sns"], PUBLIC_KEYS["paypal"]
NOW = datetime.fromtimestamp(1_700_000_000, UTC)
BODY = '{"id":"evt_1","text":"Zürich"}'.encode()

# Made with cryptography 50.0.2. sns-validator 0.3.5 (npm) accepts the first three; of the fourth it leaves
# out the Token, which the documentation signs along. What PayPal signs is what paypalrestsdk 1.13.3 (PyPI)
# expects.
CERTIFICATE = b"""\
-----BEGIN CERTIFICATE-----
MIICsTCCAZmgAwIBAgIBATANBgkqhkiG9w0BAQsFADAcMRowGAYDVQQDDBFzbnMu
YW1hem9uYXdzLmNvbTAeFw0yMzAxMDEwMDAwMDBaFw0zMzAxMDEwMDAwMDBaMBwx
GjAYBgNVBAMMEXNucy5hbWF6b25hd3MuY29tMIIBIjANBgkqhkiG9w0BAQEFAAOC
AQ8AMIIBCgKCAQEAvMMxcSL46uOuSPjVtkrwv4ZkCJtJ0BYxbMQwzUvgdJthKtPb
mYt3gP3IIq9ul+rJwEAHiGFVOHXJoymk6Ox19+Ea7HPdYqUvOVeKkbZDL9F+sxwI
IaOah7lUiBl6IsYFJRPumKuFIFIU4B/Mz5LXIe8A6u8oaC9haTJfXzPckcmO+7DF
yHMMK4RPUHduDwzGBk0xSJ+Fsp3z5wbsygavBHRmiToP89n/wzVbyZOUvaNTNFwb
4OQsIZoiAL3PjLopw+aEDPYNf4N3tbMyiA0zX3/iKQKbLu2AAIDVZxIKvmQzuBLa
jc2bqtHgkTQZCA7CmFwByk5pWoY/q309ldVymQIDAQABMA0GCSqGSIb3DQEBCwUA
A4IBAQCDHPzK7UVUwsONiQ6aVSrFyCwCXpR6Via5H6KWQmlDaTaFlCrBjHOq23qX
0NUHbCAYbwDiWuMT5Bl6WFxHCWfWci31IRkJXPlA10zWVchiuKZ9GngsFj6CPcRP
m16QwROCmEMeeu05WgB+ix7I+vNQygy/V8tpcjxL5QoDQ1MFYybbREPYZ2IHNqek
1jNVvQAvJATSLTNnWLCx4kDeJvU0TENGQeO5h8whllG1jTgUcn+sBbNkMdQO74R3
x+IvfsYgWu7PGi+DiOzGZAgoJhh/I7k6OUCHl6VdUNHliLj0Jzf0/T7/oBxBfYp+
DQ14G/GpVkLIXZ1VTmW5tR7KgNKX
-----END CERTIFICATE-----
"""
NOTIFICATION_1_SIGNATURE = (
    "gyOi3Ncf1wrjAEKjwd6n6bpbj7ySDxh4wGq5muUGsmcdDpCundYy/y4UL4rZSIlqeCB/5k2r1PTY7zt9AHkjmQNbZS0adUm/"
    "5+g03LCEMTTjmboEYqr1CnpwOUw6LFP62RO8wcM97w9qLHocXqZcD6F/fdwOHVkrhAjMhYbWS3Chbac+Ub7kWBpyqQOIzvm9"
    "8WpyHtZAfkRzTQFjfp+onoWn042+SJAlYXAvTEnvhBW3r8NlNcqtKLiwjFdjrGX9XEAbeL6d/wQ+7rZjbJvp6DW2Oqx/zrRY"
    "YrDklL2Ra/DoSYZ/U/XhRTTJf84VoRxlIbkAlxvuXIfNLIPmKuGlOw=="
)
NOTIFICATION_2_SIGNATURE = (
    "qs+OfCwBrApfSiR3+WV56cBauu2clJEyNfO3QJdnicRePiaCUt4XMKuXd/uurovOw1zjVunQvdSMalXi/b7l35AIXxIIRCCH"
    "hylJjeVuP67swNCmVhuvX7JJWvsf2XKq5Dnw1NuUxunbwkK2hAj0oSMdWfUDA1TxrvtR8aAoeqfvTXNLEQv5y4C57VQX4fAN"
    "4ajwONujC2ehfLyZX4CAAQECsczcyvTaIcnrmIUnXfGp9bnW1QHxvKCaBPBUz9XTZA7Xl6y3ajb8jQ1tms+sKFoMStQN5B2w"
    "P5zsMaBYUjRlMOVDL+fhqRo9Aln+HZ5nRMVLlEEM3WhAGTo4b7gpzg=="
)
SUBSCRIPTION_SIGNATURE = (
    "biKpOniR1YBvkiYCZLU1uVNX/CZw6/ZfLGrcgZ014IqR39hXXNQStRTLZIi34SDqHrx685WcHhYmQhhP20ryLcbiYBQ0VFWB"
    "ELIL5CWcs8okgY/myVpenFg+98Q2ULoko7KLPNm+bmMYWGYcdI3AczMk/RlOyDA1X8ZaJyGKBsenBbHi4s2jIM736uv/GkjD"
    "OtEnWSMEsq/fJGymiCyn25bdIOXMOeMithHO4P+uW9giHr9/8i6N4ByjKgX4TPMlKxks0HR0qJJ6UvgL47WKnYwfrBIo78nK"
    "OCkFoXTvPdkw6F5ccY/fTEV9oggpE6mq3nrUAJGm+sunXzGFE7f2JA=="
)
UNSUBSCRIPTION_SIGNATURE = (
    "fvmWWMfiSyFY9q2YtlFSlY+bf9UwTuuDTrwNDTZcbWBSMKysS4YSuzP07LxWuFyrWdmVf5Ujlv+4d/WK97G1VA5C572/SH9S"
    "4F8iKAkGs5xAkUW1nAToyc2qvYGBqAW9B8hg4Avy4WcAXb+iKLmBiT7+XC60phcAUir5KpmoBfc6srTGXyyijePnODbGvoWG"
    "2D+PqpGgcD5J95ssDzAei28NCtHCBN2qXMChvl01Jf9CyjOSLLy+/o/xDWBkSphQy+vZOVFN4bxjwsiL3aq9EGlMERQ2zCS8"
    "s3fNm4DmI8tgpD/4lyj809+b+vye92fsNbXjsOMvl79xx0RTw71Y4A=="
)
PAYPAL_SIGNATURE = (
    "YoDUBZ6qN9EN/Z2P71QCkQ+fJwVkRUDF9jHxvgYSSMA32YVe7DTmUSW5W8FQDZYV7L2eg8syUjl3WES3/QErAMAurwe39zvL"
    "Ku7nU8iIEHt9FVKK0//1EAgZuqRoNOKEDPr7Yaxyg7Aybcy7MzYl3qwlO6U2zk7DflTO49FSlAcUfJqkGAzmjRzGn4kCq80+"
    "KfyJC36/dGS8Xe56NK4uazXiT6ili/jCJlYRpTt1DlIL0oqeaefb+7wy1+zXnMitDeNQoUi8kYHWWX7vbxMfOp+dusizpz0V"
    "7ME/5/OsiaPWf4HsIncdRRllpllRxyouA9z2YGZ3yWCHaVkeD+sxzA=="
)

MEMBERS: dict[str, Any] = {
    "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
    "TopicArn": "arn:aws:sns:us-west-2:123456789012:MyTopic",
    "Timestamp": "2023-11-14T22:13:20.000Z",
    "SigningCertURL": "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem",
}
CONFIRMING = {
    "Message": "You have chosen",
    "Token": "2336412f37",
    "SubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37",
}
VECTORS: dict[str, dict[str, Any]] = {
    "notification-1": {
        **MEMBERS,
        "Type": "Notification",
        "SignatureVersion": "1",
        "Subject": "My First Message",
        "Message": '{"job":"j_1"}\nZürich',
        "Signature": NOTIFICATION_1_SIGNATURE,
    },
    "notification-2": {
        **MEMBERS,
        "Type": "Notification",
        "SignatureVersion": "2",
        "Message": '{"job":"j_1"}',
        "Signature": NOTIFICATION_2_SIGNATURE,
    },
    "subscription": {
        **MEMBERS,
        **CONFIRMING,
        "Type": "SubscriptionConfirmation",
        "SignatureVersion": "1",
        "Signature": SUBSCRIPTION_SIGNATURE,
    },
    "unsubscription": {
        **MEMBERS,
        **CONFIRMING,
        "Type": "UnsubscribeConfirmation",
        "SignatureVersion": "2",
        "Signature": UNSUBSCRIPTION_SIGNATURE,
    },
}
each_vector = pytest.mark.parametrize("name", VECTORS)


def delivery(message: dict[str, Any] | bytes) -> Delivery:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    headers = {"content-type": "text/plain; charset=UTF-8"}
    return Delivery(method="POST", url="https://x.example/", headers=headers, body=body, received_at=NOW)


def reason_of(message: dict[str, Any] | bytes, topic: str = TOPIC) -> Reason:
    with pytest.raises(NotVerified) as refused:
        SNS.verify(delivery(message), [topic], NOW, [CERTIFICATE])
    return refused.value.reason


@each_vector
def test_a_message_of_sns_is_verified(name: str) -> None:
    SNS.verify(delivery(VECTORS[name]), [TOPIC], NOW, [CERTIFICATE])


@each_vector
def test_any_member_that_is_signed_counts(name: str) -> None:
    message = VECTORS[name]
    for member in message.keys() - {"SigningCertURL", "Signature"}:
        assert reason_of({**message, member: f"{message[member]}x"})
        assert reason_of({k: v for k, v in message.items() if k != member})


@each_vector
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("Message", "Your job is done"),
        ("MessageId", "another"),
        ("Timestamp", "2023-11-14T22:13:21.000Z"),
    ],
)
def test_another_message_is_refused(name: str, member: str, value: str) -> None:
    assert reason_of({**VECTORS[name], member: value}) == "wrong_signature"


@each_vector
def test_the_members_may_come_in_any_order_and_with_others(name: str) -> None:
    message = VECTORS[name]
    SNS.verify(delivery(dict(reversed(message.items()))), [TOPIC], NOW, [CERTIFICATE])
    more = {**message, "UnsubscribeURL": "https://x.example/", "MessageAttributes": {"a": {"Type": "String"}}}
    SNS.verify(delivery(more), [TOPIC], NOW, [CERTIFICATE])


def test_a_message_without_a_subject_may_say_so() -> None:
    SNS.verify(delivery({**VECTORS["notification-2"], "Subject": None}), [TOPIC], NOW, [CERTIFICATE])


@each_vector
@pytest.mark.parametrize(
    "kind", ["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation", "Other"]
)
def test_a_message_of_one_type_is_none_of_another(name: str, kind: str) -> None:
    message = VECTORS[name]
    if kind != message["Type"]:
        assert reason_of({**message, "Type": kind}) in {"malformed_signature", "wrong_signature"}


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("notification-2", "Subject"),
        ("notification-1", "SubscribeURL"),
        ("notification-1", "Token"),
        ("subscription", "Subject"),
        ("unsubscription", "Subject"),
    ],
)
def test_a_member_that_others_sign_must_not_come_unsigned(name: str, member: str) -> None:
    reason = reason_of({**VECTORS[name], member: "https://x.example/"})
    assert reason == ("wrong_signature" if name == "notification-2" else "malformed_signature")


def test_a_text_cannot_be_told_as_other_members() -> None:
    """What is signed has no lengths: `Message` may end early only if what follows may hold line ends."""
    text = "paid\nMessageId\nforged\nSubject\nnothing"
    bare = delivery({"Type": "Notification", "MessageId": "1", "Message": text})
    signed = json.loads(SNS.sign(bare, f"{TOPIC}\n{pem(rsa_key())}", NOW).body)
    told = {**signed, "Message": "paid", "MessageId": "forged", "Subject": "nothing\nMessageId\n1"}
    SNS.verify(delivery(signed), [TOPIC], NOW, [certificate(rsa_key())])
    with pytest.raises(NotVerified) as refused:
        SNS.verify(delivery(told), [TOPIC], NOW, [certificate(rsa_key())])
    assert refused.value.reason == "malformed_signature"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"SignatureVersion": "3"}, "wrong_algorithm"),
        ({"SignatureVersion": 1}, "wrong_algorithm"),
        ({"SignatureVersion": None}, "wrong_algorithm"),
        ({"SignatureVersion": ["1"]}, "wrong_algorithm"),
        ({"SignatureVersion": "2"}, "wrong_signature"),
        ({"Signature": None}, "no_signature"),
        ({"Signature": ""}, "no_signature"),
        ({"Signature": 7}, "malformed_signature"),
        ({"Signature": "!"}, "malformed_signature"),
        ({"Signature": "\ud800"}, "malformed_signature"),
        ({"Signature": "AAAA"}, "wrong_signature"),
        ({"Signature": NOTIFICATION_1_SIGNATURE[:-4]}, "wrong_signature"),
        ({"Signature": NOTIFICATION_2_SIGNATURE}, "wrong_signature"),
        ({"Timestamp": ""}, "no_timestamp"),
        ({"Timestamp": "now"}, "malformed_timestamp"),
        ({"Timestamp": "2023-11-14T22:13:20.000"}, "malformed_timestamp"),
        ({"Timestamp": 1_700_000_000}, "malformed_signature"),
        ({"Type": ["Notification"]}, "malformed_signature"),
        ({"Message": {"job": "j_1"}}, "malformed_signature"),
        ({"Subject": 7}, "malformed_signature"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_message_that_is_signed_otherwise_is_refused(change: dict[str, Any], reason: str) -> None:
    assert reason_of({**VECTORS["notification-1"], **change}) == reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"Signature":"AAAA","Signature":"BBBB"}',
        b"{}",
    ],
    ids=["empty", "no-json", "a-list", "null", "no-utf-8", "deep", "twice", "an-object"],
)
def test_a_body_that_is_no_message_is_not_signed(body: bytes) -> None:
    assert reason_of(body) == "no_signature"


FOREIGN = [
    "http://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.us-west-2.amazonaws.com.example.com/SimpleNotificationService-1.pem",
    "https://sns.us-west-2.amazonaws.org/SimpleNotificationService-1.pem",
    "https://evil.example/SimpleNotificationService-1.pem",
    "https://evil.example/https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem",
    "https://xsns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem",
    "https://snsxus-west-2.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.us-west-2xamazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.s3.us-west-2.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.s3.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.us-west-2.amazonaws.com:8443/SimpleNotificationService-1.pem",
    "https://sns.us-west-2.amazonaws.com@evil.example/SimpleNotificationService-1.pem",
    "https://me@sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem?x=1",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem#x",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem/x",
    "https://sns.us-west-2.amazonaws.com/x/SimpleNotificationService-1.pem",
    "https://sns.us-west-2.amazonaws.com/../SimpleNotificationService-1.pem",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-%2e.pem",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-.pem",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.PEM",
    "https://sns.us-west-2.amazonaws.com/?Action=x.pem",
    "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem\n",
    "https://sns.\u0131s-west-2.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.us-west-2.amazonaws.com\\@evil.example/SimpleNotificationService-1.pem",
    "https://169.254.169.254/SimpleNotificationService-1.pem",
    "file:///etc/passwd",
    "",
]


@pytest.mark.parametrize("address", [*FOREIGN, None, 7, ["x"]], ids=repr)
def test_a_certificate_from_elsewhere_is_not_trusted(address: object) -> None:
    message = {**VECTORS["notification-1"], "SigningCertURL": address}
    assert reason_of(message) == "untrusted_key"
    assert SNS.key_source is not None
    with pytest.raises(NotVerified) as refused:
        SNS.key_source.request(delivery(message), "")
    assert refused.value.reason == "untrusted_key"
    assert not isinstance(address, str) or not SNS.key_source.address.fullmatch(address)


@pytest.mark.parametrize(
    "host",
    [
        "sns.us-east-1.amazonaws.com",
        "sns.ap-southeast-2.amazonaws.com",
        "sns.us-gov-west-1.amazonaws.com",
        "sns.cn-north-1.amazonaws.com.cn",
        "sns.me-central-1.amazonaws.com",
    ],
)
def test_every_region_has_its_certificates(host: str) -> None:
    address = f"https://{host}/SimpleNotificationService-010a507c1833636cd94bdb98bd93083a.pem"
    message = {**VECTORS["notification-1"], "SigningCertURL": address}
    assert SNS.key_source is not None
    request = SNS.key_source.request(delivery(message), "")
    assert (request.method, request.url, request.body) == ("GET", address, b"")
    SNS.verify(delivery(message), [TOPIC], NOW, [CERTIFICATE])


def test_only_our_topics_may_send() -> None:
    message = VECTORS["notification-1"]
    other = "arn:aws:sns:us-west-2:999999999999:MyTopic"
    assert reason_of(message, other) == "wrong_signature"
    SNS.verify(delivery(message), [other, TOPIC], NOW, [CERTIFICATE])
    with pytest.raises(OperatorError):
        SNS.verify(delivery(message), [other, "spoilt"], NOW, [CERTIFICATE])


@pytest.mark.parametrize(
    "topic",
    [
        "MyTopic",
        "arn:aws:sqs:us-west-2:123456789012:MyTopic",
        "arn:aws:sns:us-west-2:12345678901:MyTopic",
        "arn:aws:sns:us-west-2:123456789012:*",
        TOPIC + "\n",
        TOPIC + ":5be8f5b2-2c2f-4f38-9a8c-0a4d9f0c2f9e",
    ],
    ids=["name", "queue", "account", "any", "line-end", "subscription"],
)
def test_a_secret_of_sns_is_the_arn_of_a_topic(topic: str) -> None:
    with pytest.raises(OperatorError, match="ARN"):
        SNS.verify(delivery(VECTORS["notification-1"]), [topic], NOW, [CERTIFICATE])
    with pytest.raises(OperatorError, match="ARN"):
        SNS.sign(delivery(b"{}"), f"{topic}\n{pem(rsa_key())}", NOW)


@pytest.mark.parametrize(
    ("topic", "host"),
    [
        (TOPIC + ".fifo", "sns.us-west-2.amazonaws.com"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:T_1-x", "sns.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_what_is_signed_for_a_topic_verifies_for_it(topic: str, host: str) -> None:
    bundle = pem(rsa_key()) + certificate(rsa_key()).decode()
    signed = SNS.sign(delivery(BODY), f"{topic}\n{bundle}", NOW)
    SNS.verify(signed, [topic], NOW, [certificate(rsa_key())])
    address = json.loads(signed.body)["SigningCertURL"]
    assert re.fullmatch(f"https://{host}/SimpleNotificationService-[0-9a-f]{{32}}.pem", address)


@pytest.mark.parametrize("body", [BODY, b'{"Type":"Other"}', b'{"Type":["Notification"]}'])
def test_a_body_is_sent_as_the_message_of_a_notification(body: bytes) -> None:
    message = json.loads(SNS.sign(delivery(body), f"{TOPIC}\n{pem(rsa_key())}", NOW).body)
    assert (message["Type"], message["Message"]) == ("Notification", body.decode())
    assert message["Timestamp"] == "2023-11-14T22:13:20Z"


def test_a_message_of_another_type_is_signed_as_it_is() -> None:
    bare = {k: v for k, v in VECTORS["subscription"].items() if k != "Signature"}
    signed = SNS.sign(delivery(bare), f"{TOPIC}\n{pem(rsa_key())}", NOW)
    assert json.loads(signed.body)["Type"] == "SubscriptionConfirmation"
    SNS.verify(signed, [TOPIC], NOW, [certificate(rsa_key())])


def test_a_message_is_named_by_its_id() -> None:
    assert SNS.event_id(delivery(VECTORS["subscription"])) == "165545c9-2a5c-472c-8df2-7ff2be2b3b1b"


BEFORE, AFTER = NOW - timedelta(days=30), NOW + timedelta(days=30)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("document", "verifies"),
    [
        (certificate(rsa_key(), since=BEFORE, until=AFTER), True),
        (certificate(rsa_key(), since=NOW, until=NOW), True),
        (certificate(rsa_key(), since=BEFORE, until=NOW - SECOND), False),
        (certificate(rsa_key(), since=NOW + SECOND, until=AFTER), False),
        (certificate(rsa_key()) + certificate(rsa_key(1)), True),
        (certificate(rsa_key(bits=1024)), False),
        (certificate(p256()), False),
        (certificate(ed25519()), False),
    ],
    ids=[
        "valid",
        "valid-now",
        "expired",
        "not-yet",
        "with-its-issuer",
        "small",
        "p256",
        "ed25519",
    ],
)
def test_a_certificate_is_held_to_its_dates_and_its_kind(document: bytes, verifies: bool) -> None:
    key = pem(rsa_key())
    sns = SNS.sign(delivery(BODY), f"{TOPIC}\n{key}", NOW)
    paypal = PAYPAL.sign(delivery(BODY), f"{WEBHOOK_ID}\n{key}", NOW)
    for scheme, signed, secret in ((SNS, sns, TOPIC), (PAYPAL, paypal, WEBHOOK_ID)):
        if verifies:
            scheme.verify(signed, [secret], NOW, [document])
            continue
        with pytest.raises(NotVerified) as refused:
            scheme.verify(signed, [secret], NOW, [document])
        assert refused.value.reason == "untrusted_key"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x63"),
        (b"\x02\x82\x01\x01\x00", b"\x03\x82\x01\x01\x00"),
    ],
    ids=["unknown-algorithm", "spoilt-key"],
)
def test_a_certificate_whose_key_cannot_be_read_is_not_trusted(old: bytes, new: bytes) -> None:
    der = ssl.PEM_cert_to_DER_cert(certificate(rsa_key()).decode())
    assert old in der
    spoilt = ssl.DER_cert_to_PEM_cert(der.replace(old, new)).encode()
    with pytest.raises(NotVerified) as refused:
        PAYPAL.verify(transmission(), [WEBHOOK_ID], NOW, [spoilt])
    assert refused.value.reason == "untrusted_key"


def test_a_small_key_is_refused_whatever_it_signed() -> None:
    small = rsa_key(bits=1024)
    signed = SNS.sign(delivery(BODY), f"{TOPIC}\n{pem(small)}", NOW)
    with pytest.raises(NotVerified) as refused:
        SNS.verify(signed, [TOPIC], NOW, [certificate(small)])
    assert refused.value.reason == "untrusted_key"


def transmission(**changes: str) -> Delivery:
    headers = {
        "paypal-transmission-id": "db7dfd7c-a4c4-4e5a-9a6c-0c0c0c0c0c0c",
        "paypal-transmission-time": "2023-11-14T22:13:20Z",
        "paypal-cert-url": "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-5edc0ebc",
        "paypal-auth-algo": "SHA256withRSA",
        "paypal-transmission-sig": PAYPAL_SIGNATURE,
        **{f"paypal-{name.replace('_', '-')}": value for name, value in changes.items()},
    }
    return replace(delivery(BODY), headers=headers)


def paypal_reason(sent: Delivery, webhook: str = WEBHOOK_ID) -> Reason:
    with pytest.raises(NotVerified) as refused:
        PAYPAL.verify(sent, [webhook], NOW, [CERTIFICATE])
    return refused.value.reason


def test_a_transmission_of_paypal_is_verified() -> None:
    PAYPAL.verify(transmission(), ["9XL90610J3647323C", WEBHOOK_ID], NOW, [CERTIFICATE])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"transmission_id": "db7dfd7c-a4c4-4e5a-9a6c-0c0c0c0c0c0d"}, "wrong_signature"),
        ({"transmission_id": "a|b"}, "malformed_signature"),
        ({"transmission_id": "x" * 129}, "malformed_signature"),
        ({"transmission_time": "2023-11-14T22:13:21Z"}, "wrong_signature"),
        ({"transmission_time": "2023-11-14T22:13:20+00:00"}, "wrong_signature"),
        ({"transmission_time": "1700000000"}, "malformed_timestamp"),
        ({"auth_algo": "SHA1withRSA"}, "wrong_algorithm"),
        ({"auth_algo": "none"}, "wrong_algorithm"),
        ({"auth_algo": "sha256withrsa"}, "wrong_algorithm"),
        ({"transmission_sig": PAYPAL_SIGNATURE[:-4]}, "wrong_signature"),
        ({"transmission_sig": "\ud800"}, "malformed_signature"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_transmission_that_is_another_is_refused(change: dict[str, str], reason: str) -> None:
    assert paypal_reason(transmission(**change)) == reason


def test_a_transmission_for_another_webhook_is_refused() -> None:
    assert paypal_reason(transmission(), "9XL90610J3647323C") == "wrong_signature"


@pytest.mark.parametrize("webhook", ["a|b", "a b", "w" * 129, "ü"])
def test_a_webhook_id_that_is_none_is_the_operators(webhook: str) -> None:
    with pytest.raises(OperatorError, match="webhook id"):
        PAYPAL.verify(transmission(), [webhook], NOW, [CERTIFICATE])
    with pytest.raises(OperatorError, match="webhook id"):
        PAYPAL.sign(delivery(BODY), f"{webhook}\n{pem(rsa_key())}", NOW)


def test_a_body_of_paypal_is_bound_by_its_checksum_only() -> None:
    """Two bodies with one CRC-32: what the signature cannot tell apart, the token in the address must."""
    assert PAYPAL.binds_nothing
    signed = PAYPAL.sign(delivery(b"plumless"), f"{WEBHOOK_ID}\n{pem(rsa_key())}", NOW)
    PAYPAL.verify(replace(signed, body=b"buckeroo"), [WEBHOOK_ID], NOW, [certificate(rsa_key())])


@pytest.mark.parametrize(
    "address",
    [
        "http://api.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com.example.com/v1/notifications/certs/CERT-1",
        "https://apixpaypal.com/v1/notifications/certs/CERT-1",
        "https://www.paypal.com/v1/notifications/certs/CERT-1",
        "https://x.api.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com:444/v1/notifications/certs/CERT-1",
        "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
        "https://api.paypal.com/v1/notifications/certs/CERT-1/../../x",
        "https://api.paypal.com/v1/notifications/certs/CERT-1?x",
        "https://api.paypal.com/v1/notifications/certs/",
        "https://api.paypal.com/v1/other/CERT-1",
        "https://evil.example/v1/notifications/certs/CERT-1",
    ],
)
def test_a_certificate_that_is_not_paypals_is_not_trusted(address: str) -> None:
    assert paypal_reason(transmission(cert_url=address)) == "untrusted_key"
    assert PAYPAL.key_source is not None
    with pytest.raises(NotVerified) as refused:
        PAYPAL.key_source.request(transmission(cert_url=address), "")
    assert refused.value.reason == "untrusted_key"
    assert not PAYPAL.key_source.address.fullmatch(address)


@pytest.mark.parametrize("host", ["api", "api-m", "api.sandbox", "api-m.sandbox"])
def test_paypals_own_hosts_have_its_certificates(host: str) -> None:
    address = f"https://{host}.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-5edc0ebc"
    assert PAYPAL.key_source is not None
    request = PAYPAL.key_source.request(transmission(cert_url=address), "")
    assert (request.method, request.url) == ("GET", address)
    PAYPAL.verify(transmission(cert_url=address), [WEBHOOK_ID], NOW, [CERTIFICATE])


def test_a_signed_transmission_looks_like_one_of_paypal() -> None:
    headers = PAYPAL.sign(delivery(BODY), f"{WEBHOOK_ID}\n{pem(rsa_key())}", NOW).headers
    assert re.fullmatch("[0-9a-f]{36}", headers["paypal-transmission-id"])
    assert re.fullmatch(
        "https://api.paypal.com/v1/notifications/certs/CERT-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}",
        headers["paypal-cert-url"],
    )


def test_a_transmission_is_named_by_its_id() -> None:
    assert PAYPAL.event_id(transmission()) == "db7dfd7c-a4c4-4e5a-9a6c-0c0c0c0c0c0c"
    blanks = transmission(transmission_id=" db7dfd7c-a4c4-4e5a-9a6c-0c0c0c0c0c0c ")
    assert PAYPAL.event_id(blanks) == "db7dfd7c-a4c4-4e5a-9a6c-0c0c0c0c0c0c"
