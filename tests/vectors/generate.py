"""Makes the signed requests with the vendors' official libraries: python -m tests.vectors.generate

Each request is signed by the library, changed as the case says, and then judged by the library's own check
at the case's time. Where the library lets something pass that its documentation does not, the case says so
in `stricter`, and the generator stops if that is no longer true.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from importlib.metadata import version
from unittest import mock

import standardwebhooks.webhooks
import stripe

from tests.vectors.cases import HERE, Case, sample, write_cases, write_request

T = 1_700_000_000
CURRENT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RETIRED = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OTHER = "whsec_9kQ7c2rXhWvUeN1mZbYtA3sDfGjL5pQx"
BODIES = {
    "a_pretty_printed_body": sample("stripe", "payment_intent.succeeded"),
    "a_compact_body": sample("replicate", "prediction.succeeded"),
    "an_empty_object": b"{}",
    "a_body_with_line_ends_and_a_trailing_blank": b'{\r\n\t"a": 1\r\n} ',
    "a_body_with_text_beyond_ascii": '{"city":"Zürich, 東京 😀"}'.encode(),
    "an_empty_body": b"",
}


@dataclass(kw_only=True)
class Draft:
    """A request before it is judged; `signed_at` is the time it was signed for."""

    name: str
    verdict: str
    body: bytes = b'{"id":"evt_1","object":"event"}'
    sent_body: bytes | None = None
    signed_at: int = T
    signers: tuple[str, ...] = (CURRENT,)
    secrets: tuple[str, ...] = (CURRENT,)
    change: Callable[[dict[str, str]], dict[str, str]] = lambda headers: headers
    stricter: str = ""


def replaced(header: str, old: str, new: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda headers: headers | {header: headers[header].replace(old, new)}


def without(header: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda headers: {name: value for name, value in headers.items() if name != header}


def common() -> Iterator[Draft]:
    for name, body in BODIES.items():
        yield Draft(name=name, body=body, verdict="verified")
    yield Draft(name="signed_300_seconds_ago", signed_at=T - 300, verdict="verified")
    yield Draft(name="signed_301_seconds_ago", signed_at=T - 301, verdict="too_old")
    yield Draft(name="signed_300_seconds_ahead", signed_at=T + 300, verdict="verified")
    yield Draft(name="signed_with_both_secrets", signers=(RETIRED, CURRENT), verdict="verified")
    yield Draft(
        name="signed_with_the_older_of_two",
        signers=(RETIRED,),
        secrets=(CURRENT, RETIRED),
        verdict="verified",
    )
    yield Draft(name="signed_with_a_retired_secret", signers=(RETIRED,), verdict="wrong_signature")
    yield Draft(name="signed_with_another_secret", signers=(OTHER,), verdict="wrong_signature")
    yield Draft(
        name="one_byte_of_the_body_changed",
        sent_body=b'{"id":"evt_2","object":"event"}',
        verdict="wrong_signature",
    )
    yield Draft(
        name="a_blank_after_the_body",
        sent_body=b'{"id":"evt_1","object":"event"} ',
        verdict="wrong_signature",
    )
    yield Draft(name="the_body_gone", sent_body=b"", verdict="wrong_signature")


def stripe_drafts() -> Iterator[Draft]:
    header = "Stripe-Signature"
    yield from common()
    yield Draft(
        name="signed_301_seconds_ahead",
        signed_at=T + 301,
        verdict="too_new",
        stricter="the library has no limit on the future; ours is the same on both sides",
    )
    yield Draft(name="no_signature_header", change=without(header), verdict="no_signature")
    yield Draft(
        name="only_the_test_scheme_v0", change=replaced(header, "v1=", "v0="), verdict="malformed_signature"
    )
    yield Draft(
        name="v0_beside_v1", change=lambda h: h | {header: h[header] + ",v0=" + "0" * 64}, verdict="verified"
    )
    yield Draft(name="no_timestamp", change=replaced(header, f"t={T},", ""), verdict="no_timestamp")
    yield Draft(
        name="a_later_timestamp", change=replaced(header, f"t={T}", f"t={T + 1}"), verdict="wrong_signature"
    )
    yield Draft(
        name="a_timestamp_in_words", change=replaced(header, f"t={T}", "t=now"), verdict="malformed_timestamp"
    )
    yield Draft(
        name="the_header_twice",
        change=lambda h: h | {header: f"{h[header]},{h[header]}"},
        verdict="malformed_timestamp",
        stricter="the library takes the first of two timestamps",
    )
    yield Draft(
        name="a_timestamp_with_a_sign",
        change=replaced(header, f"t={T}", f"t=+{T}"),
        verdict="malformed_timestamp",
        stricter="the library reads it as a number and signs that",
    )
    yield Draft(
        name="a_truncated_digest", change=lambda h: h | {header: h[header][:-2]}, verdict="wrong_signature"
    )
    yield Draft(
        name="an_extended_digest", change=lambda h: h | {header: h[header] + "00"}, verdict="wrong_signature"
    )


def standardwebhooks_drafts() -> Iterator[Draft]:
    header = "webhook-signature"
    yield from common()
    yield Draft(name="signed_301_seconds_ahead", signed_at=T + 301, verdict="too_new")
    yield Draft(name="no_signature_header", change=without(header), verdict="no_signature")
    yield Draft(name="no_id_header", change=without("webhook-id"), verdict="no_signature")
    yield Draft(name="no_timestamp_header", change=without("webhook-timestamp"), verdict="no_timestamp")
    yield Draft(name="another_id", change=replaced("webhook-id", "msg_", "msx_"), verdict="wrong_signature")
    yield Draft(
        name="a_later_timestamp",
        change=lambda h: h | {"webhook-timestamp": str(T + 1)},
        verdict="wrong_signature",
    )
    yield Draft(name="version_v1a", change=replaced(header, "v1,", "v1a,"), verdict="malformed_signature")
    yield Draft(
        name="version_v2_first", change=lambda h: h | {header: "v2,AAAA " + h[header]}, verdict="verified"
    )
    yield Draft(
        name="a_signature_without_version", change=replaced(header, "v1,", ""), verdict="malformed_signature"
    )
    yield Draft(
        name="a_timestamp_with_a_fraction",
        change=lambda h: h | {"webhook-timestamp": f"{T}.5"},
        verdict="malformed_timestamp",
        stricter="the library cuts the fraction off and signs the rest; the specification says integer",
    )
    yield Draft(
        name="a_truncated_digest", change=lambda h: h | {header: h[header][:-4]}, verdict="wrong_signature"
    )
    yield Draft(
        name="an_extended_digest",
        change=lambda h: h | {header: h[header] + "AAAA"},
        verdict="wrong_signature",
        stricter="the library's base64 reader stops at the first =",
    )


def sign_stripe(draft: Draft) -> dict[str, str]:
    text = draft.body.decode()
    made = [
        stripe.WebhookSignature.generate_signature_header(text, secret, timestamp=draft.signed_at)
        for secret in draft.signers
    ]
    return {"Stripe-Signature": ",".join([made[0], *(one.partition(",")[2] for one in made[1:])])}


def sign_standardwebhooks(draft: Draft) -> dict[str, str]:
    message_id = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"
    when = datetime.fromtimestamp(draft.signed_at, UTC)
    text = draft.body.decode()
    made = [standardwebhooks.Webhook(secret).sign(message_id, when, text) for secret in draft.signers]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(draft.signed_at),
        "webhook-signature": " ".join(made),
    }


def stripe_accepts(headers: dict[str, str], body: bytes, secret: str) -> bool:
    try:
        with mock.patch("time.time", return_value=float(T)):
            stripe.WebhookSignature.verify_header(body, headers.get("Stripe-Signature"), secret, 300)
    except stripe.SignatureVerificationError:
        return False
    return True


def standardwebhooks_accepts(headers: dict[str, str], body: bytes, secret: str) -> bool:
    try:
        with frozen():
            standardwebhooks.Webhook(secret).verify(body, headers, json_parse=False)
    except (standardwebhooks.WebhookVerificationError, ValueError):  # ValueError: it does not catch its own
        return False
    return True


@contextmanager
def frozen() -> Iterator[None]:
    class Frozen(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Frozen":
            return cls.fromtimestamp(T, tz)

    with mock.patch.object(standardwebhooks.webhooks, "datetime", Frozen):
        yield


def write(
    scheme: str,
    library: str,
    drafts: Iterator[Draft],
    sign: Callable[[Draft], dict[str, str]],
    accepts: Callable[[dict[str, str], bytes, str], bool],
) -> None:
    for old in (HERE / scheme).glob("*.http"):
        old.unlink()
    judge, cases = f"{library} {version(library)} (PyPI)", []
    for draft in drafts:
        headers = draft.change(sign(draft))
        body = draft.body if draft.sent_body is None else draft.sent_body
        accepted = any(accepts(headers, body, secret) for secret in draft.secrets)
        if accepted != (draft.verdict == "verified" or bool(draft.stricter)):
            raise SystemExit(f"{scheme}/{draft.name}: {judge} does not agree")
        judged_by = f"{judge} {'accepts' if accepted else 'refuses'} it"
        case = Case(
            name=draft.name,
            secrets=list(draft.secrets),
            now=T,
            verdict=draft.verdict,
            judged_by=f"{judged_by}; {draft.stricter}" if draft.stricter else judged_by,
        )
        write_request(scheme, case, {"Content-Type": "application/json", **headers}, body)
        cases.append(case)
    write_cases(scheme, cases)


if __name__ == "__main__":
    write("stripe", "stripe", stripe_drafts(), sign_stripe, stripe_accepts)
    write(
        "standardwebhooks",
        "standardwebhooks",
        standardwebhooks_drafts(),
        sign_standardwebhooks,
        standardwebhooks_accepts,
    )
