"""Senders whose signature is a JSON Web Token, made here by hand so that any can be."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from tests.vectors.drafts import URL, Draft, Judge, Request, Sender, T
from tests.vectors.judges import Library, NodeLibrary
from tests.vectors.senders.libraries import header

Claims = dict[str, Any]
ClaimChange = Claims | Callable[[Claims], Claims]
SECRETS = (
    "sig_7yB2kQ9mX4cV1nZ8rT5wL3pF6hJ0dGsA",
    "sig_3xN8vB1mK7cQ5zR2wT9yL4pH6jF0dGaS",
    "sig_5tR9wQ2mX8cV4nZ1kY7bL3pF6hJ0dGsE",
)
DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def part(document: Mapping[str, Any]) -> str:
    return base64url(json.dumps(document, separators=(",", ":")).encode())


def token(claims: Mapping[str, Any], key: str, *, alg: str = "HS256", **head: Any) -> str:
    content = f"{part({'alg': alg, 'typ': 'JWT', **head})}.{part(claims)}"
    if alg not in DIGESTS:
        return f"{content}."
    return f"{content}.{base64url(hmac.new(key.encode(), content.encode(), DIGESTS[alg]).digest())}"


def sha256_hex(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def token_sender(
    scheme: str,
    judge: Judge,
    *,
    secrets: tuple[str, str, str],
    name: str,
    claims: Callable[[Request, int], Claims],
    key: Callable[[str], str] = lambda secret: secret,
    issuer: Callable[[str], Claims] = lambda _: {},
    before: str = "",
    body_claim: str,
    claim_drafts: Sequence[tuple[str, str, ClaimChange]] = (),
    **rest: Any,
) -> Sender:
    """Describe a sender; `claim_drafts` are name, verdict, and what is other in the claims."""

    def sign(draft: Draft) -> Request:
        secret = draft.key if isinstance(draft.key, str) else secrets[draft.signers[0]]
        made = {**issuer(secret), **claims(draft.request, T + draft.at // 1000)}
        return draft.request.set(name, before + token(made, key(secret)))

    def resigned(change: Callable[[Claims], Claims], **head: Any) -> Callable[[Request], Request]:
        def changed(request: Request) -> Request:
            held = {**issuer(secrets[0]), **claims(request, T)}
            return request.set(name, before + token(change(held), key(secrets[0]), **head))

        return changed

    def reheaded(head: Mapping[str, Any]) -> Callable[[Request], Request]:
        def changed(request: Request) -> Request:
            _, payload, signature = request.header(name).removeprefix(before).split(".")
            return request.set(name, f"{before}{part(head)}.{payload}.{signature}")

        return changed

    def in_parts(change: Callable[[list[str]], list[str]]) -> Callable[[Request], Request]:
        def changed(request: Request) -> Request:
            parts = request.header(name).removeprefix(before).split(".")
            return request.set(name, before + ".".join(change(parts)))

        return changed

    def same(held: Claims) -> Claims:
        return held

    other_body = claims(Request(body=b"{}"), T)
    table: list[tuple[str, str, ClaimChange]] = [
        ("the_hash_of_another_body", "wrong_body", {body_claim: other_body[body_claim]}),
        ("no_hash_of_the_body", "wrong_body", _lacking(body_claim)),
        ("the_hash_is_null", "wrong_body", {body_claim: None}),
        ("the_hash_is_a_number", "wrong_body", {body_claim: 1}),
        *claim_drafts,
    ]
    drafts = [
        Draft(name=case, verdict=verdict, change=resigned(_changing(other))) for case, verdict, other in table
    ]
    drafts += [
        Draft(name="no_algorithm", verdict="wrong_algorithm", change=resigned(same, alg="none")),
        Draft(name="no_algorithm_in_capitals", verdict="wrong_algorithm", change=resigned(same, alg="NONE")),
        Draft(
            name="no_algorithm_with_the_signature_kept",
            verdict="wrong_algorithm",
            change=reheaded({"alg": "none", "typ": "JWT"}),
        ),
        Draft(name="hs512", verdict="wrong_algorithm", change=resigned(same, alg="HS512")),
        Draft(name="an_asymmetric_algorithm", verdict="wrong_algorithm", change=reheaded({"alg": "RS256"})),
        Draft(
            name="another_head_with_the_signature_kept",
            verdict="wrong_signature",
            change=reheaded({"alg": "HS256"}),
        ),
        Draft(
            name="an_unknown_critical_extension",
            verdict="malformed_signature",
            change=resigned(same, crit=["x"], x=1),
        ),
        Draft(name="a_key_id_that_nobody_asked_for", verdict="verified", change=resigned(same, kid="key_1")),
        Draft(name="signed_with_the_empty_secret", verdict="wrong_signature", key=_empty(secrets[0])),
        Draft(
            name="a_signature_cut_off",
            verdict="wrong_signature",
            change=in_parts(lambda parts: [*parts[:2], ""]),
        ),
        Draft(
            name="a_signature_cut_short",
            verdict="wrong_signature",
            change=in_parts(lambda parts: [*parts[:2], parts[2][:-3]]),
        ),
        Draft(name="two_parts", verdict="malformed_signature", change=in_parts(lambda parts: parts[:2])),
        Draft(
            name="four_parts", verdict="malformed_signature", change=in_parts(lambda parts: [*parts, "AAAA"])
        ),
        Draft(
            name="padding_in_the_token",
            verdict="malformed_signature",
            change=in_parts(lambda parts: [*parts[:2], parts[2] + "="]),
        ),
        Draft(
            name="no_signature_header", verdict="no_signature", change=lambda request: request.without(name)
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
    ]
    changed = (
        "one_byte_of_the_body_changed",
        "a_blank_after_the_body",
        "a_line_end_after_the_body",
        "the_body_gone",
    )
    more = (*drafts, *rest.pop("more", ()))
    verdicts = {**dict.fromkeys(changed, "wrong_body"), **rest.pop("verdicts", {})}
    return Sender(
        scheme=scheme,
        judge=judge,
        secrets=secrets,
        sign=sign,
        more=more,
        verdicts=verdicts,
        **rest,
    )


def _empty(secret: str) -> str:
    return secret.partition(":")[0] + ":" if ":" in secret else ""


def _lacking(name: str) -> Callable[[Claims], Claims]:
    return lambda held: {known: value for known, value in held.items() if known != name}


def _changing(other: ClaimChange) -> Callable[[Claims], Claims]:
    return other if callable(other) else lambda held: {**held, **other}


def _in_capitals(held: Claims) -> Claims:
    return {**held, "payload_hash": held["payload_hash"].upper()}


def _and_more(held: Claims) -> str:
    return f"{held['payload_hash']}zz"


UNREAD = "the library does not look at the body"
BODY_CHANGES = dict.fromkeys(
    (
        "one_byte_of_the_body_changed",
        "a_blank_after_the_body",
        "a_line_end_after_the_body",
        "the_body_gone",
        "the_hash_of_another_body",
        "no_hash_of_the_body",
        "the_hash_is_null",
        "the_hash_is_a_number",
    ),
    UNREAD,
)


def vonage(request: Request, secret: str) -> Any:
    value = header(request, "Authorization")
    return import_module("vonage_jwt.verify_jwt").verify_signature(value.removeprefix("Bearer "), secret)


def qstash(request: Request, secret: str) -> Any:
    receiver = import_module("qstash").Receiver(secret, secret)
    value = header(request, "Upstash-Signature")
    return receiver.verify(signature=value, body=request.text, url=request.url)


def livekit(request: Request, secret: str) -> Any:
    api = import_module("livekit.api")
    name, _, key = secret.partition(":")
    parse_error = import_module("google.protobuf.json_format").ParseError
    try:
        return api.WebhookReceiver(api.TokenVerifier(name, key)).receive(
            request.text, header(request, "Authorization")
        )
    except parse_error:  # it reads the body once it has verified it
        return True


def qstash_hash(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode()


def livekit_hash(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


LIVEKIT_SECRETS = (
    "APIcur1a2b3c4d5:5hVbM8sQ2xK9wT4nZ7rL1pF6jD3gY0eA",
    "APIret1a2b3c4d5:8sQ2xK9wT4nZ7rL1pF6jD3gY0eA5hVbM",
    "APIoth1a2b3c4d5:9wT4nZ7rL1pF6jD3gY0eA5hVbM8sQ2xK",
)

PADDING = {"padding_in_the_token": "the library takes padding; RFC 7515 has none"}

ANY_SHARED = "the library for Node takes any algorithm for shared keys"
TEN_SECONDS = "the library for Node grants ten seconds, the one for Python a minute"

TOKENS: list[Sender] = [
    token_sender(
        "vonage",
        Library(package="vonage-jwt", check=vonage),
        second=NodeLibrary(package="@vonage/jwt", scheme="vonage"),
        secrets=SECRETS,
        name="Authorization",
        before="Bearer ",
        body_claim="payload_hash",
        claims=lambda request, at: {
            "iat": at,
            "jti": "c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5",
            "iss": "Vonage",
            "payload_hash": sha256_hex(request.body),
            "api_key": "a1b2c3d4",
            "application_id": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
        },
        past=300_000,
        future=300_000,
        claim_drafts=(
            ("no_time", "no_timestamp", _lacking("iat")),
            ("a_time_in_words", "malformed_timestamp", {"iat": "now"}),
            ("it_expires_now", "too_old", {"exp": T}),
            ("it_expires_in_a_second", "verified", {"exp": T + 1}),
            ("not_valid_yet", "too_new", {"nbf": T + 600}),
        ),
        more=(
            Draft(
                name="no_bearer",
                verdict="no_signature",
                change=lambda r: r.set("Authorization", r.header("Authorization").removeprefix("Bearer ")),
            ),
            Draft(
                name="a_lower_case_bearer",
                verdict="verified",
                change=lambda r: r.set(
                    "Authorization", r.header("Authorization").replace("Bearer", "bearer")
                ),
            ),
        ),
        stricter={
            **BODY_CHANGES,
            **PADDING,
            "signed_too_long_ago": "the library asks for no age unless the token has an expiry",
            "signed_a_year_ago": "the library asks for no age unless the token has an expiry",
            "no_time": "the library asks for no age unless the token has an expiry",
            "a_time_in_words": "the library for Node does not look at it",
            "signed_too_far_ahead": "the library for Node does not look at it",
            "signed_a_year_ahead": "the library for Node does not look at it",
            "an_unknown_critical_extension": "the library for Node does not look at it; RFC 7515 does",
            "no_bearer": "the library takes the token alone; documented is Bearer",
        },
        wider={
            "signed_as_far_ahead_as_may_be": "the library takes no token issued ahead; clocks differ",
            "a_lower_case_bearer": "taking off Bearer is left to the caller; its letter case does not count",
        },
    ),
    token_sender(
        "qstash",
        Library(package="qstash", check=qstash),
        second=NodeLibrary(package="@upstash/qstash", scheme="qstash"),
        secrets=SECRETS,
        name="Upstash-Signature",
        body_claim="body",
        claims=lambda request, at: {
            "iss": "Upstash",
            "sub": request.url,
            "exp": at + 300,
            "nbf": at,
            "iat": at,
            "jti": "jwt_67kxXD6UBAk7DqU6hzuHMDdXFXfP",
            "body": qstash_hash(request.body),
        },
        claim_drafts=(
            ("a_hash_without_padding", "verified", lambda held: {**held, "body": held["body"].rstrip("=")}),
            ("another_address", "wrong_body", {"sub": URL.replace("/acme", "/acmf")}),
            ("an_address_with_another_query", "wrong_body", {"sub": URL.replace("=acme", "=acmf")}),
            ("no_address", "wrong_body", _lacking("sub")),
            ("another_issuer", "untrusted_key", {"iss": "upstash"}),
            ("no_issuer", "untrusted_key", _lacking("iss")),
            ("no_expiry", "no_timestamp", _lacking("exp")),
            ("no_beginning", "no_timestamp", _lacking("nbf")),
            ("it_expires_in_a_second", "verified", {"exp": T + 1}),
            ("it_expires_now", "too_old", {"exp": T}),
            ("it_expired_a_year_ago", "too_old", {"exp": T - 31_536_000}),
            ("it_begins_now", "verified", {"nbf": T}),
            ("it_begins_in_a_second", "too_new", {"nbf": T + 1}),
            ("issued_too_far_ahead", "too_new", {"iat": T + 301}),
            ("an_expiry_in_words", "malformed_timestamp", {"exp": "never"}),
            ("an_expiry_beyond_all_time", "malformed_timestamp", {"exp": 1e300}),
        ),
        stricter={
            **PADDING,
            "hs512": ANY_SHARED,
            "an_expiry_beyond_all_time": "the library compares it as a number",
            **dict.fromkeys(
                ("no_expiry", "no_beginning", "issued_too_far_ahead"),
                "the library for Node looks at the times that it finds",
            ),
        },
    ),
    token_sender(
        "livekit",
        Library(package="livekit-api", check=livekit),
        second=NodeLibrary(package="livekit-server-sdk", scheme="livekit"),
        secrets=LIVEKIT_SECRETS,
        name="Authorization",
        key=lambda secret: secret.partition(":")[2],
        issuer=lambda secret: {"iss": secret.partition(":")[0]},
        body_claim="sha256",
        claims=lambda request, at: {"exp": at + 300, "nbf": at, "sha256": livekit_hash(request.body)},
        claim_drafts=(
            ("another_issuer", "untrusted_key", {"iss": "APIoth1a2b3c4d5"}),
            ("no_issuer", "untrusted_key", _lacking("iss")),
            ("no_expiry", "no_timestamp", _lacking("exp")),
            ("no_beginning", "verified", _lacking("nbf")),
            ("it_expires_in_a_second", "verified", {"exp": T + 1}),
            ("it_expired_nine_seconds_ago", "verified", {"exp": T - 9}),
            ("it_expired_59_seconds_ago", "verified", {"exp": T - 59}),
            ("it_expired_a_minute_ago", "too_old", {"exp": T - 60}),
            ("it_begins_in_ten_seconds", "verified", {"nbf": T + 10}),
            ("it_begins_in_a_minute", "verified", {"nbf": T + 60}),
            ("it_begins_in_a_minute_and_a_second", "too_new", {"nbf": T + 61}),
            ("an_expiry_in_words", "malformed_timestamp", {"exp": "never"}),
        ),
        stricter={**PADDING, "hs512": ANY_SHARED},
        wider={"it_expired_59_seconds_ago": TEN_SECONDS, "it_begins_in_a_minute": TEN_SECONDS},
    ),
    token_sender(
        "messagebird",
        NodeLibrary(package="messagebird", scheme="messagebird"),
        secrets=SECRETS,
        name="MessageBird-Signature-JWT",
        body_claim="payload_hash",
        claims=lambda request, at: {
            "iss": "MessageBird",
            "nbf": at,
            "exp": at + 60,
            "jti": "59a244dc-e9ad-4e23-9778-371faa238f72",
            "url_hash": sha256_hex(request.url.encode()),
            "payload_hash": sha256_hex(request.body),
        },
        url_signed=True,
        verdicts={
            "hs512": "verified",
            **dict.fromkeys(
                ("another_host", "another_path", "another_query", "the_query_gone"), "wrong_body"
            ),
        },
        claim_drafts=(
            ("a_hash_in_capitals", "verified", _in_capitals),
            ("a_hash_and_more", "wrong_body", lambda held: {**held, "payload_hash": _and_more(held)}),
            ("the_hash_of_another_address", "wrong_body", {"url_hash": sha256_hex(b"https://example.com/")}),
            ("no_hash_of_the_address", "wrong_body", _lacking("url_hash")),
            ("another_issuer", "untrusted_key", {"iss": "messagebird"}),
            ("no_issuer", "untrusted_key", _lacking("iss")),
            ("no_id", "malformed_signature", _lacking("jti")),
            ("no_expiry", "no_timestamp", _lacking("exp")),
            ("no_beginning", "verified", _lacking("nbf")),
            ("it_expired_four_seconds_ago", "verified", {"exp": T - 4}),
            ("it_expired_five_seconds_ago", "too_old", {"exp": T - 5}),
            ("it_begins_in_five_seconds", "verified", {"nbf": T + 5}),
            ("it_begins_in_six_seconds", "too_new", {"nbf": T + 6}),
            ("an_expiry_in_words", "malformed_timestamp", {"exp": "never"}),
        ),
        stricter={
            **PADDING,
            "a_hash_and_more": "the library's reader of hex stops at what is none",
            "no_expiry": "each documented token expires, and nothing else bounds its age",
        },
        more=(
            Draft(
                name="an_empty_body_and_no_hash_of_it",
                verdict="verified",
                request=Request(body=b""),
                change=lambda request: request.set(
                    "MessageBird-Signature-JWT",
                    token(
                        {
                            "iss": "MessageBird",
                            "exp": T + 60,
                            "jti": "59a244dc",
                            "url_hash": sha256_hex(request.url.encode()),
                        },
                        SECRETS[0],
                    ),
                ),
            ),
        ),
    ),
]
