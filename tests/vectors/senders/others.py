"""Senders that send a secret along as it is, or sign with a key that is fetched: judged by documentation."""

import base64
import datetime
import hmac
import json
import re
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.vectors.drafts import Draft, Question, Request, Sender, T, written
from tests.vectors.judges import Documentation, NodeLibrary
from tests.vectors.senders.bodies import Document, body_sender, compact, in_json, json_draft
from tests.vectors.senders.keys import P256, sign_p256
from tests.vectors.senders.libraries import SECRETS, in_header
from tests.vectors.senders.tokens import base64url, part, sha256_hex

# Secrets as they are

BODY_STAYS = (
    "one_byte_of_the_body_changed",
    "a_blank_after_the_body",
    "a_line_end_after_the_body",
    "the_body_gone",
)


def token_in_header(scheme: str, address: str, name: str) -> Sender:
    """Describe a sender whose header holds the secret; it covers no body."""

    def sign(draft: Draft) -> Request:
        return draft.request.set(name, SECRETS[draft.signers[0]])

    def check(question: Question, secret: str) -> bool:
        return [text for known, text in question.request.headers if known == name] == [secret]

    return Sender(
        scheme=scheme,
        judge=Documentation(address=address, check=check),
        secrets=SECRETS,
        sign=sign,
        not_utf_8=True,
        verdicts=dict.fromkeys(BODY_STAYS, "verified"),
        more=(
            Draft(name="no_token", verdict="no_signature", change=lambda request: request.without(name)),
            Draft(
                name="an_empty_token", verdict="no_signature", change=lambda request: request.set(name, "")
            ),
            Draft(
                name="a_truncated_token",
                verdict="wrong_signature",
                change=in_header(name, lambda text: text[:-1]),
            ),
            Draft(
                name="an_extended_token",
                verdict="wrong_signature",
                change=in_header(name, lambda text: text + "0"),
            ),
            Draft(name="an_upper_case_token", verdict="wrong_signature", change=in_header(name, str.upper)),
            Draft(
                name="a_token_beyond_ascii",
                verdict="wrong_signature",
                change=in_header(name, lambda t: t[:-1] + "é"),
            ),
            Draft(
                name="the_token_twice",
                verdict="wrong_signature",
                change=lambda request: request.add(name, request.header(name)),
            ),
            Draft(
                name="the_token_and_another",
                verdict="wrong_signature",
                change=lambda request: request.add(name, SECRETS[2]),
            ),
        ),
    )


BASIC = ("dg:5f2c8a1e9b7d4036", "dg:0d9e4b7a61c8f352", "dg:c41b7e90a25d83f6")


def deepgram() -> Sender:
    """Describe Deepgram: the callback's address holds user and password, which are sent as Basic does."""
    name = "Authorization"

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    def sign(draft: Draft) -> Request:
        return draft.request.set(name, basic(BASIC[draft.signers[0]]))

    def check(question: Question, secret: str) -> bool:
        return [text for known, text in question.request.headers if known == name] == [basic(secret)]

    return Sender(
        scheme="deepgram_basic",
        judge=Documentation(address="https://developers.deepgram.com/changelog/2026/10/27", check=check),
        secrets=BASIC,
        sign=sign,
        not_utf_8=True,
        verdicts=dict.fromkeys(BODY_STAYS, "verified"),
        wider={
            "a_lower_case_scheme": "the scheme's letter case does not count, RFC 7617",
            "two_blanks": "the credentials are the same",
        },
        more=(
            Draft(
                name="no_credentials", verdict="no_signature", change=lambda request: request.without(name)
            ),
            Draft(
                name="empty_credentials", verdict="no_signature", change=lambda request: request.set(name, "")
            ),
            Draft(
                name="another_user",
                verdict="wrong_signature",
                change=lambda r: r.set(name, basic("dh" + BASIC[0][2:])),
            ),
            Draft(
                name="another_password",
                verdict="wrong_signature",
                change=lambda r: r.set(name, basic(BASIC[0][:-1] + "7")),
            ),
            Draft(name="no_password", verdict="wrong_signature", change=lambda r: r.set(name, basic("dg:"))),
            Draft(
                name="a_bearer",
                verdict="malformed_signature",
                change=in_header(name, lambda t: t.replace("Basic", "Bearer")),
            ),
            Draft(
                name="no_scheme",
                verdict="malformed_signature",
                change=in_header(name, lambda t: t.removeprefix("Basic ")),
            ),
            Draft(
                name="a_lower_case_scheme",
                verdict="verified",
                change=in_header(name, lambda t: t.replace("Basic", "basic")),
            ),
            Draft(
                name="two_blanks", verdict="verified", change=in_header(name, lambda t: t.replace(" ", "  "))
            ),
            Draft(
                name="not_base64",
                verdict="wrong_signature",
                change=lambda r: r.set(name, f"Basic {BASIC[0]}"),
            ),
            Draft(
                name="the_header_twice",
                verdict="wrong_signature",
                change=lambda request: request.add(name, request.header(name)),
            ),
        ),
    )


GRAPH_STATES = ("state-5f2c8a1e9b7d4036", "state-0d9e4b7a61c8f352", "state-c41b7e90a25d83f6")


def msgraph() -> Sender:
    """Describe Microsoft Graph: each notification of the list holds the state that its subscriber gave."""

    def notifications(state: Any, count: int = 1) -> bytes:
        one = {
            "subscriptionId": "sub_1",
            "changeType": "updated",
            "resource": "Users/1",
            "clientState": state,
        }
        return compact({"value": [{**one, "id": f"evt_{number}"} for number in range(count)]})

    bodies = {
        "one_notification": compact({"value": [{"id": "evt_1", "changeType": "updated"}]}),
        "three_notifications": compact({"value": [{"id": f"evt_{number}"} for number in (1, 2, 3)]}),
        "text_beyond_ascii": compact({"value": [{"id": "evt_1", "subject": "Zürich 😀"}]}),
        "with_a_validation_token_beside": compact({"value": [{"id": "evt_1"}], "validationTokens": ["x"]}),
    }

    def sign(draft: Draft) -> Request:
        body = draft.request.body if draft.request.body in bodies.values() else bodies["one_notification"]
        document = json.loads(body)
        for one in document["value"]:
            one["clientState"] = GRAPH_STATES[draft.signers[0]]
        return Request(body=compact(document))

    def check(question: Question, secret: str) -> bool:
        try:
            listed = json.loads(question.request.body)["value"]
            return bool(listed) and all(one["clientState"] == secret for one in listed)
        except (ValueError, KeyError, TypeError):
            return False

    def every(change: Callable[[Any], Any]) -> Callable[[Request], Request]:
        return in_json(lambda document: [change(one) for one in document["value"]])

    def draft(name: str, verdict: str, change: Callable[[Request], Request]) -> Draft:
        return Draft(name=name, verdict=verdict, change=change)

    def with_body(body: bytes) -> Callable[[Request], Request]:
        return lambda request: replace(request, body=body)

    return Sender(
        scheme="msgraph",
        judge=Documentation(
            address="https://learn.microsoft.com/graph/change-notifications-delivery-webhooks", check=check
        ),
        secrets=GRAPH_STATES,
        sign=sign,
        bodies=bodies,
        not_asked=frozenset({"the_body_gone", "one_byte_of_the_body_changed"}),
        verdicts={"a_blank_after_the_body": "verified", "a_line_end_after_the_body": "verified"},
        more=(
            draft(
                "another_change_which_nothing_signs",
                "verified",
                every(lambda one: one.update(changeType="deleted")),
            ),
            draft("no_state", "no_signature", every(lambda one: one.pop("clientState"))),
            draft("an_empty_state", "no_signature", every(lambda one: one.update(clientState=""))),
            draft("a_state_of_null", "no_signature", every(lambda one: one.update(clientState=None))),
            draft("a_state_as_a_number", "malformed_signature", every(lambda one: one.update(clientState=1))),
            draft(
                "a_truncated_state",
                "wrong_signature",
                every(lambda one: one.update(clientState=GRAPH_STATES[0][:-1])),
            ),
            draft(
                "an_upper_case_state",
                "wrong_signature",
                every(lambda one: one.update(clientState=GRAPH_STATES[0].upper())),
            ),
            draft(
                "a_forged_one_behind_a_right_one",
                "wrong_signature",
                in_json(lambda document: document["value"].append({"id": "evt_2", "clientState": "guess"})),
            ),
            draft(
                "one_without_state_behind_a_right_one",
                "no_signature",
                in_json(lambda document: document["value"].append({"id": "evt_2"})),
            ),
            draft("no_notifications", "no_signature", with_body(b'{"value":[]}')),
            draft("no_list", "no_signature", with_body(b"{}")),
            draft("an_empty_body", "malformed_signature", with_body(b"")),
            draft("a_body_that_is_cut_off", "malformed_signature", lambda r: replace(r, body=r.body[:-1])),
            draft(
                "the_state_at_the_top_only",
                "no_signature",
                with_body(compact({"clientState": GRAPH_STATES[0], "value": [{"id": "evt_1"}]})),
            ),
            draft(
                "the_list_twice",
                "malformed_signature",
                with_body(b'{"value":[{"clientState":"guess"}],' + notifications(GRAPH_STATES[0])[1:]),
            ),
        ),
        stricter={"the_list_twice": "JSON readers take one of two, and not all the same"},
    )


# Plaid: ES256, and the key that the token names

PLAID_KEY_ID = "bfbd5111-8e33-4643-8ced-b2e642a72f3c"


def plaid_key(place: int = 0, **other: Any) -> bytes:
    """Write the answer of /webhook_verification_key/get."""
    numbers = P256[place].public_key().public_numbers()
    key = {
        "alg": "ES256",
        "created_at": 1560466143,
        "crv": "P-256",
        "expired_at": None,
        "kid": PLAID_KEY_ID,
        "kty": "EC",
        "use": "sig",
        "x": base64url(numbers.x.to_bytes(32, "big")),
        "y": base64url(numbers.y.to_bytes(32, "big")),
        **other,
    }
    return compact({"key": key, "request_id": "RZ6Omi1bzzwDaLo"})


def es256(head: dict[str, Any], claims: dict[str, Any], place: int = 0) -> str:
    content = f"{part(head)}.{part(claims)}"
    r, s = decode_dss_signature(sign_p256(place, content.encode()))
    return f"{content}.{base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def plaid() -> Sender:
    name = "Plaid-Verification"
    head = {"alg": "ES256", "kid": PLAID_KEY_ID, "typ": "JWT"}

    def claims(request: Request, at: int = T) -> dict[str, Any]:
        return {"iat": at, "request_body_sha256": sha256_hex(request.body)}

    def sign(draft: Draft) -> Request:
        made = es256(head, claims(draft.request, T + draft.at // 1000), draft.signers[0])
        return draft.request.set(name, made)

    def check(question: Question, _: str) -> bool:
        jwt = import_module("jwt")
        try:
            text = question.request.header(name)
            told = jwt.get_unverified_header(text)
            if told["alg"] != "ES256":
                return False
            key = json.loads(question.keys[0])["key"]
            if key["kid"] != told["kid"] or key["expired_at"] is not None:
                return False
            options = {"verify_iat": False}
            made = jwt.decode(text, jwt.PyJWK(key), algorithms=["ES256"], options=options)
            young = question.now - made["iat"] <= 300
            return bool(young and made["request_body_sha256"] == sha256_hex(question.request.body))
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, IndexError):
            return False

    def resigned(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Request], Request]:
        return lambda request: request.set(name, es256(head, change(claims(request))))

    def reheaded(**other: Any) -> Callable[[Request], Request]:
        return lambda request: request.set(name, es256({**head, **other}, claims(request)))

    def hs256(request: Request) -> Request:
        """Sign with the public key as if it were a shared secret."""
        pem = P256[0].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        content = f"{part({**head, 'alg': 'HS256'})}.{part(claims(request))}"
        return request.set(name, f"{content}.{base64url(hmac.digest(pem, content.encode(), 'sha256'))}")

    def unsigned(request: Request) -> Request:
        return request.set(name, f"{part({**head, 'alg': 'none'})}.{part(claims(request))}.")

    def as_der(request: Request) -> Request:
        content = f"{part(head)}.{part(claims(request))}"
        return request.set(name, f"{content}.{base64url(sign_p256(0, content.encode()))}")

    other_body = sha256_hex(b"{}")
    return Sender(
        scheme="plaid",
        judge=Documentation(address="https://plaid.com/docs/api/webhooks/webhook-verification/", check=check),
        secrets=("", "", ""),
        sign=sign,
        keys=(plaid_key(),),
        past=300_000,
        future=300_000,
        not_utf_8=True,
        not_asked=frozenset(
            {"signed_with_the_newer_of_two", "signed_with_the_older_of_two", "signed_with_a_retired_secret"}
        ),
        verdicts=dict.fromkeys(BODY_STAYS, "wrong_body"),
        stricter=dict.fromkeys(
            ("signed_too_far_ahead", "signed_a_year_ahead"), "documented is a limit on the past alone"
        ),
        more=(
            Draft(name="no_key", verdict="unknown_key", keys=()),
            Draft(name="another_key_under_the_same_name", verdict="wrong_signature", keys=(plaid_key(1),)),
            Draft(name="a_key_of_another_name", verdict="unknown_key", keys=(plaid_key(kid="other"),)),
            Draft(
                name="an_expired_key", verdict="untrusted_key", keys=(plaid_key(expired_at=1_690_000_000),)
            ),
            Draft(
                name="a_key_of_another_kind", verdict="untrusted_key", keys=(plaid_key(kty="oct", k="AAAA"),)
            ),
            Draft(name="a_document_that_is_no_key", verdict="unknown_key", keys=(b"<html></html>",)),
            Draft(name="another_key_id_in_the_token", verdict="unknown_key", change=reheaded(kid="other")),
            Draft(name="no_key_id_in_the_token", verdict="unknown_key", change=reheaded(kid=None)),
            Draft(name="the_public_key_as_a_shared_secret", verdict="wrong_algorithm", change=hs256),
            Draft(name="no_algorithm", verdict="wrong_algorithm", change=unsigned),
            Draft(name="es384", verdict="wrong_algorithm", change=reheaded(alg="ES384")),
            Draft(name="a_signature_in_der", verdict="wrong_signature", change=as_der),
            Draft(
                name="the_hash_of_another_body",
                verdict="wrong_body",
                change=resigned(lambda held: {**held, "request_body_sha256": other_body}),
            ),
            Draft(
                name="no_hash_of_the_body",
                verdict="wrong_body",
                change=resigned(lambda held: {"iat": held["iat"]}),
            ),
            Draft(
                name="no_time",
                verdict="no_timestamp",
                change=resigned(lambda held: {"request_body_sha256": held["request_body_sha256"]}),
            ),
            Draft(
                name="a_time_in_words",
                verdict="malformed_timestamp",
                change=resigned(lambda held: {**held, "iat": "now"}),
            ),
            Draft(
                name="no_signature_header",
                verdict="no_signature",
                change=lambda request: request.without(name),
            ),
            Draft(
                name="an_empty_signature_header",
                verdict="no_signature",
                change=lambda request: request.set(name, ""),
            ),
            Draft(
                name="the_signature_header_twice",
                verdict="malformed_signature",
                change=lambda request: request.add(name, request.header(name)),
            ),
            Draft(
                name="a_signature_cut_off",
                verdict="wrong_signature",
                change=in_header(name, lambda text: text.rpartition(".")[0] + "."),
            ),
        ),
    )


# PayPal: RSA, and a certificate at an address that the delivery names

PAYPAL_WEBHOOKS = ("5GP028458E2496506", "1TH92718JH2045731", "9XC61537VB8827314")
CERTIFICATE_URL = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-7f2e64b8"
PAYPAL_HEADERS = {
    "signature": "PAYPAL-TRANSMISSION-SIG",
    "id": "PAYPAL-TRANSMISSION-ID",
    "time": "PAYPAL-TRANSMISSION-TIME",
    "algorithm": "PAYPAL-AUTH-ALGO",
    "certificate": "PAYPAL-CERT-URL",
}


def certificate(key: rsa.RSAPrivateKey, begin: int, end: int) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "messageverificationcerts.paypal.com")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime.fromtimestamp(begin, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(end, datetime.UTC))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def openssl_verifies(pem: bytes, content: bytes, signature: bytes) -> bool:
    """Verify RSA with SHA-256 with the openssl command."""
    with tempfile.TemporaryDirectory() as folder:
        held, key, made = Path(folder, "cert.pem"), Path(folder, "key.pem"), Path(folder, "signature")
        held.write_bytes(pem)
        made.write_bytes(signature)
        ask = ["openssl", "x509", "-in", str(held), "-pubkey", "-noout"]
        read = subprocess.run(ask, capture_output=True, check=False)
        if read.returncode:
            return False
        key.write_bytes(read.stdout)
        command = ["openssl", "dgst", "-sha256", "-verify", str(key), "-signature", str(made)]
        return not subprocess.run(command, input=content, capture_output=True, check=False).returncode


def paypal() -> Sender:
    """Describe PayPal; its keys are made anew each time, and so are these vectors."""
    keys = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
    begin, end = T - 86_400, T + 86_400 * 365
    certificates = [certificate(key, begin, end) for key in keys]
    names = PAYPAL_HEADERS

    def content(request: Request, webhook: str) -> bytes:
        told = request.header(names["id"]), request.header(names["time"]), webhook
        return f"{'|'.join(told)}|{zlib.crc32(request.body)}".encode()

    def signed(request: Request, webhook: str, key: rsa.RSAPrivateKey, digest: Any) -> Request:
        made = key.sign(content(request, webhook), padding.PKCS1v15(), digest)
        return request.set(names["signature"], base64.b64encode(made).decode())

    def sign(draft: Draft) -> Request:
        request = (
            draft.request.set(names["id"], "69cd13f0-d67a-11e5-baa3-778b53f4ae55")
            .set(names["time"], written(draft.at, "rfc3339"))
            .set(names["algorithm"], "SHA256withRSA")
            .set(names["certificate"], CERTIFICATE_URL)
        )
        return signed(request, PAYPAL_WEBHOOKS[draft.signers[0]], keys[0], hashes.SHA256())

    def check(question: Question, webhook: str) -> bool:
        request = question.request
        trusted = re.fullmatch(
            r"https://api(\.sandbox)?\.paypal\.com/.*", request.header(names["certificate"])
        )
        if not trusted or request.header(names["algorithm"]) != "SHA256withRSA" or not question.keys:
            return False
        try:
            made = base64.b64decode(request.header(names["signature"]), validate=True)
        except ValueError:
            return False
        return openssl_verifies(question.keys[0], content(request, webhook), made)

    def by(key: rsa.RSAPrivateKey, digest: Any) -> Callable[[Request], Request]:
        return lambda request: signed(request, PAYPAL_WEBHOOKS[0], key, digest)

    def without(which: str) -> Callable[[Request], Request]:
        return lambda request: request.without(names[which])

    def other(which: str, value: str) -> Callable[[Request], Request]:
        return lambda request: request.set(names[which], value)

    def with_crc(request: Request) -> Request:
        """Find another body with the same checksum."""
        return replace(request, body=forged_crc(b'{"id":"evt_2","note":"', b'"}', zlib.crc32(request.body)))

    host = "https://api.paypal.com"
    return Sender(
        scheme="paypal",
        judge=Documentation(
            address="https://developer.paypal.com/api/rest/webhooks/rest/#link-selfverificationmethod",
            check=check,
        ),
        secrets=PAYPAL_WEBHOOKS,
        sign=sign,
        signature_header=names["signature"],
        timestamp_header=names["time"],
        encoding="base64",
        unit="rfc3339",
        keys=(certificates[0],),
        past=3 * 86_400_000,
        future=300_000,
        digest_in_verdicts="malformed_signature",
        not_utf_8=True,
        verdicts={"a_truncated_digest": "wrong_signature"},
        stricter={
            **dict.fromkeys(
                ("signed_too_long_ago", "signed_a_year_ago", "signed_too_far_ahead", "signed_a_year_ahead"),
                "no age is documented",
            ),
            "a_certificate_that_has_expired": "the documented sample does not look at it",
            "a_certificate_that_is_not_valid_yet": "the documented sample does not look at it",
            "a_key_of_1024_bits": "too short to prove anything",
            "an_address_outside_the_certificates": "nothing but certificates lies under their own path",
        },
        wider={
            "an_unpadded_digest": "the signature is the same",
            "a_digest_in_the_other_alphabet": "the signature is the same",
        },
        more=(
            Draft(name="no_certificate", verdict="unknown_key", keys=()),
            Draft(name="another_certificate", verdict="wrong_signature", keys=(certificates[1],)),
            Draft(name="a_document_that_is_no_certificate", verdict="unknown_key", keys=(b"<html></html>",)),
            Draft(
                name="a_certificate_that_has_expired",
                verdict="untrusted_key",
                keys=(certificate(keys[0], T - 200, T - 100),),
            ),
            Draft(
                name="a_certificate_that_is_not_valid_yet",
                verdict="untrusted_key",
                keys=(certificate(keys[0], T + 100, T + 200),),
            ),
            Draft(
                name="a_key_of_1024_bits",
                verdict="untrusted_key",
                keys=(certificate(short, begin, end),),
                change=by(short, hashes.SHA256()),
            ),
            Draft(name="signed_with_sha1", verdict="wrong_signature", change=by(keys[0], hashes.SHA1())),  # noqa: S303
            Draft(
                name="another_algorithm", verdict="wrong_algorithm", change=other("algorithm", "SHA1withRSA")
            ),
            Draft(name="no_algorithm", verdict="wrong_algorithm", change=without("algorithm")),
            Draft(
                name="another_id",
                verdict="wrong_signature",
                change=other("id", "69cd13f0-d67a-11e5-baa3-778b53f4ae56"),
            ),
            Draft(name="no_id", verdict="no_signature", change=without("id")),
            Draft(name="no_certificate_address", verdict="untrusted_key", change=without("certificate")),
            *(
                Draft(name=name, verdict="untrusted_key", change=other("certificate", address))
                for name, address in (
                    ("a_foreign_host", CERTIFICATE_URL.replace("paypal.com", "paypal.example")),
                    ("a_host_that_begins_alike", CERTIFICATE_URL.replace("paypal.com", "paypal.com.example")),
                    ("a_user_that_looks_like_the_host", f"{host}@evil.example/v1/notifications/certs/CERT-1"),
                    ("no_tls", CERTIFICATE_URL.replace("https:", "http:")),
                    ("an_address_outside_the_certificates", f"{host}/v1/checkout/CERT-1"),
                )
            ),
            Draft(name="another_body_with_the_same_checksum", verdict="verified", change=with_crc),
        ),
    )


def forged_crc(before: bytes, after: bytes, wanted: int) -> bytes:
    """Put letters between two texts so that the whole has this CRC-32, as anybody can.

    The checksum is linear: what each bit of a letter changes is known, and the rest is choosing bits.
    """
    base = bytearray(before + b"@" * 40 + after)
    places = [(len(before) + place, bit) for place in range(40) for bit in (1, 2, 4, 8)]
    effects = []
    for place, bit in places:
        changed = base.copy()
        changed[place] ^= bit
        effects.append(zlib.crc32(changed) ^ zlib.crc32(base))
    for number in _chosen(effects, zlib.crc32(base) ^ wanted):
        place, bit = places[number]
        base[place] ^= bit
    return bytes(base)


def _chosen(effects: list[int], target: int) -> set[int]:
    """Choose effects whose sum, without carry, is the target."""
    basis: dict[int, tuple[int, set[int]]] = {}
    for number, effect in enumerate(effects):
        value, used = effect, {number}
        while value and value.bit_length() in basis:
            held, more = basis[value.bit_length()]
            value, used = value ^ held, used ^ more
        if value:
            basis[value.bit_length()] = (value, used)
    chosen: set[int] = set()
    while target:
        held, used = basis[target.bit_length()]
        target, chosen = target ^ held, chosen ^ used
    return chosen


# Amazon SNS: the same, and signature and address stand in the body

TOPICS = (
    "arn:aws:sns:us-east-1:123456789012:acme",
    "arn:aws:sns:us-east-1:123456789012:acme-old",
    "arn:aws:sns:us-east-1:210987654321:acme",
)
SNS_ADDRESS = (
    "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-9c6465fa7f48f5cacd23014631ec1136.pem"
)
SNS_MESSAGE = {
    "Type": "Notification",
    "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
    "Message": '{"id":"evt_1"}',
    "SignatureVersion": "2",
}
SNS_CONFIRMATION = {
    **SNS_MESSAGE,
    "Token": "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f79",
    "Message": "You have chosen to subscribe to the topic.",
    "SubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription",
}
SNS_BODIES = {
    "a_notification": compact(SNS_MESSAGE),
    "a_notification_with_a_subject": compact({**SNS_MESSAGE, "Subject": "My First Message"}),
    "a_subject_of_null": compact({**SNS_MESSAGE, "Subject": None}),
    "text_beyond_ascii": compact({**SNS_MESSAGE, "Message": "Zürich, 東京 😀", "Subject": "ü"}),
    "an_empty_message": compact({**SNS_MESSAGE, "Message": ""}),
    "line_ends_in_the_message": compact({**SNS_MESSAGE, "Message": "a\r\nb\nc\n"}),
    "signature_version_1": compact({**SNS_MESSAGE, "SignatureVersion": "1"}),
    "a_subscription": compact({**SNS_CONFIRMATION, "Type": "SubscriptionConfirmation"}),
    "an_unsubscription": compact({**SNS_CONFIRMATION, "Type": "UnsubscribeConfirmation"}),
}


def aws_sns() -> Sender:
    """Describe Amazon SNS; its keys are made anew each time, and so are these vectors."""
    keys = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused
    begin, end = T - 86_400 * 10, T + 86_400 * 365

    def signed(document: Document, key: rsa.RSAPrivateKey = keys[0], version: str = "") -> bytes:
        confirming = ("SubscribeURL", "Token") if document["Type"].endswith("Confirmation") else ("Subject",)
        names = sorted(("Message", "MessageId", "Timestamp", "TopicArn", "Type", *confirming))
        lines = [f"{name}\n{document[name]}\n" for name in names if document.get(name) is not None]
        first = (version or document["SignatureVersion"]) == "1"
        digest = hashes.SHA1() if first else hashes.SHA256()  # noqa: S303 - what SNS signs with by default
        made = key.sign("".join(lines).encode(), padding.PKCS1v15(), digest)
        return compact({**document, "Signature": base64.b64encode(made).decode()})

    def embed(document: bytes, topic: str, ts: str) -> Request:
        moment = datetime.datetime.fromtimestamp(int(ts), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        own = {"TopicArn": topic, "Timestamp": moment, "SigningCertURL": SNS_ADDRESS}
        return Request(
            headers=(("Content-Type", "text/plain; charset=UTF-8"),),
            body=signed({**json.loads(document), **own}),
        )

    def resigned(name: str, verdict: str, *, version: str = "", **other: Any) -> Draft:
        """Sign a message that SNS would not send."""

        def change(request: Request) -> Request:
            return replace(request, body=signed({**json.loads(request.body), **other}, version=version))

        return Draft(name=name, verdict=verdict, change=change)

    def by(name: str, verdict: str, key: rsa.RSAPrivateKey, document: bytes) -> Draft:
        return Draft(
            name=name,
            verdict=verdict,
            keys=(document,),
            change=lambda request: replace(request, body=signed(json.loads(request.body), key)),
        )

    def changed(name: str, verdict: str, **other: Any) -> Draft:
        return json_draft(name, verdict, lambda document: document.update(other))

    def gone(name: str, verdict: str, member: str) -> Draft:
        return json_draft(name, verdict, lambda document: document.pop(member))

    host = "https://sns.us-east-1.amazonaws.com"
    file = SNS_ADDRESS.removeprefix(host)
    ours = certificate(keys[0], begin, end)
    not_looked = "the library does not look at it"
    return body_sender(
        "aws_sns",
        NodeLibrary(package="sns-validator", scheme="aws_sns"),
        secrets=TOPICS,
        embed=embed,
        bodies=SNS_BODIES,
        unread="no_signature",
        keys=(ours,),
        past=65 * 60_000,
        future=300_000,
        wider={
            "an_unsubscription": "the library leaves out the token, which the documentation signs along",
        },
        stricter={
            **dict.fromkeys(
                ("signed_too_long_ago", "signed_a_year_ago", "signed_too_far_ahead", "signed_a_year_ahead"),
                "the library asks for no age",
            ),
            **dict.fromkeys(
                ("signed_with_a_retired_secret", "signed_with_another_secret"),
                "the library does not look at the topic, and anybody has one",
            ),
            "a_certificate_that_has_expired": not_looked,
            "a_certificate_that_is_not_valid_yet": not_looked,
            "a_key_of_1024_bits": "too short to prove anything",
            "a_bucket_that_looks_like_the_host": "the library takes any name in the place of the region",
            "an_address_of_another_file": "nothing but its certificates is the sender's own",
            "a_message_that_is_a_number": "documented is a text; the library signs how it writes the number",
            "a_line_end_in_the_subject": "what is signed could be divided in two ways",
            "a_subscribe_url_in_a_notification": "the library signs along what no notification has",
        },
        more=(
            changed("another_message", "wrong_signature", Message='{"id":"evt_2"}'),
            changed("another_id", "wrong_signature", MessageId="22b80b92-fdea-4c2c-8f9d-bdfb0c7bf325"),
            changed("another_type", "malformed_signature", Type="SubscriptionConfirmation"),
            changed("an_unknown_type", "malformed_signature", Type="Note"),
            changed("a_later_timestamp", "wrong_signature", Timestamp="2023-11-14T22:13:21.000Z"),
            changed("a_subject_that_nobody_signed", "wrong_signature", Subject="urgent"),
            changed(
                "a_subscribe_url_that_nobody_signed",
                "malformed_signature",
                SubscribeURL="https://evil.example/",
            ),
            changed("a_member_that_is_never_signed", "verified", UnsubscribeURL="https://evil.example/"),
            changed("the_other_signature_version", "wrong_signature", SignatureVersion="1"),
            changed("an_unknown_signature_version", "wrong_algorithm", SignatureVersion="3"),
            changed("the_signature_version_as_a_number", "wrong_algorithm", SignatureVersion=2),
            changed("an_empty_signature", "no_signature", Signature=""),
            changed("a_signature_that_is_not_base64", "malformed_signature", Signature="not base64!"),
            gone("no_signature", "no_signature", "Signature"),
            gone("no_message", "malformed_signature", "Message"),
            gone("no_timestamp", "malformed_signature", "Timestamp"),
            gone("no_certificate_address", "untrusted_key", "SigningCertURL"),
            resigned("a_message_that_is_a_number", "malformed_signature", Message=1),
            resigned("a_line_end_in_the_subject", "malformed_signature", Subject="a\nTimestamp\nb"),
            resigned("signed_with_sha1_as_version_2", "wrong_signature", version="1"),
            Draft(
                name="a_subscribe_url_in_a_notification",
                verdict="malformed_signature",
                change=lambda request: replace(
                    request, body=with_subscribe_url(json.loads(request.body), keys[0])
                ),
            ),
            by("another_certificate", "wrong_signature", keys[0], certificate(keys[1], begin, end)),
            by(
                "a_certificate_that_has_expired", "untrusted_key", keys[0], certificate(keys[0], begin, T - 1)
            ),
            by(
                "a_certificate_that_is_not_valid_yet",
                "untrusted_key",
                keys[0],
                certificate(keys[0], T + 1, end),
            ),
            by("a_key_of_1024_bits", "untrusted_key", short, certificate(short, begin, end)),
            by("a_document_that_is_no_certificate", "unknown_key", keys[0], b"<html></html>"),
            Draft(name="no_certificate", verdict="unknown_key", keys=()),
            changed(
                "the_address_in_china",
                "verified",
                SigningCertURL=f"https://sns.cn-north-1.amazonaws.com.cn{file}",
            ),
            *(
                changed(name, "untrusted_key", SigningCertURL=address)
                for name, address in (
                    ("a_foreign_host", f"https://sns.us-east-1.amazonaws.example{file}"),
                    ("a_host_that_begins_alike", f"{host}.example{file}"),
                    ("a_user_that_looks_like_the_host", f"{host}@evil.example{file}"),
                    ("a_bucket_that_looks_like_the_host", f"https://sns.s3-us-west-2.amazonaws.com{file}"),
                    ("no_tls", SNS_ADDRESS.replace("https:", "http:")),
                    ("another_port", f"{host}:8443{file}"),
                    ("an_address_of_another_file", f"{host}/evil.pem"),
                )
            ),
        ),
    )


def with_subscribe_url(document: Document, key: rsa.RSAPrivateKey) -> bytes:
    """Sign a notification with an address to subscribe at, which no notification has."""
    document["SubscribeURL"] = "https://evil.example/"
    names = ("Message", "MessageId", "SubscribeURL", "Timestamp", "TopicArn", "Type")
    content = "".join(f"{name}\n{document[name]}\n" for name in names)
    made = key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256())
    return compact({**document, "Signature": base64.b64encode(made).decode()})


OTHERS: list[Sender] = [
    aws_sns(),
    token_in_header(
        "gitlab_token",
        "https://docs.gitlab.com/user/project/integrations/webhooks/#validate-payloads-by-using-a-secret-token",
        "X-Gitlab-Token",
    ),
    token_in_header(
        "assemblyai",
        "https://www.assemblyai.com/docs/pre-recorded-audio/webhooks",
        "X-My-Webhook-Secret",
    ),
    deepgram(),
    msgraph(),
    plaid(),
    paypal(),
]
