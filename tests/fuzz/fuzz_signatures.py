"""Mutated vectors against every signature scheme: verified, or NotVerified with a reason; nothing else.

What is verified is one of the vectors in another spelling, or our signatures can be forged. The secrets are
right, so that OperatorError would blame the operator for what a sender did.

    python -m tests.fuzz.fuzz_signatures -max_total_time=60
"""

import base64
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import atheris

with atheris.instrument_imports(include=["services", "python_multipart", "rfc8785"]):
    from services.errors import NotVerified, Reason
    from services.models import Delivery
    from services.signatures.catalogue import SCHEMES
    from services.signatures.hmacs import Hmac
    from services.signatures.jwts import Jwt
    from services.signatures.scheme import Scheme

from tests.fuzz.wire import Input, fuzz, written
from tests.unit.signatures.key_documents import SHARED, base64url, parties
from tests.unit.signatures.material import MATERIAL, NOW
from tests.vectors.cases import Case, read_cases

NAMES = sorted(SCHEMES)
CASES: dict[str, list[Case]] = {name: read_cases(name) for name in NAMES}
# Of all schemes: Twilio's take each other's, and have one secret in the vectors.
KNOWN = {
    SCHEMES[name].event_id(case.delivery)
    for name, cases in CASES.items()
    for case in cases
    if case.verdict == "verified"
}
HEAD = base64url(b'{"alg":"HS256"}')
SIGN = 128  # in the first byte: sign the rest rightly, and so reach what comes after the signature


def take(given: Input) -> None:
    name = NAMES[given.first % SIGN % len(NAMES)]
    if given.first >= SIGN:
        take_signed(name, given.delivery(NOW))
        return
    case = CASES[name][given.second % len(CASES[name])]
    delivery = given.delivery(case.at)
    if reason_of(name, delivery, case.secrets, case.keys, case.at) is None:
        assert SCHEMES[name].binds_nothing or SCHEMES[name].event_id(delivery) in KNOWN


def take_signed(name: str, delivery: Delivery) -> None:
    scheme, party = SCHEMES[name], parties(name)[0]
    try:
        signed = rightly_signed(scheme, delivery, party.private)
    except NotVerified:
        return
    reason = reason_of(name, signed, party.secrets, party.keys, NOW)
    assert reason is not Reason.WRONG_SIGNATURE
    assert reason or scheme.event_id(signed)


def reason_of(
    name: str, delivery: Delivery, secrets: Sequence[str], keys: Sequence[bytes], now: datetime
) -> Reason | None:
    """Return the reason for which a delivery is refused; None if it is verified."""
    try:
        SCHEMES[name].verify(delivery, secrets, now, keys)
    except NotVerified as refused:
        return Reason(refused.reason)
    return None


def rightly_signed(scheme: Scheme, delivery: Delivery, private: str) -> Delivery:
    """Sign as the sender would, but any bytes: a body without its timestamp, a token of any claims."""
    if isinstance(scheme, Hmac) and scheme.timestamp_member:
        return replace(scheme, timestamp_member=None).sign(delivery, private, NOW)
    if isinstance(scheme, Jwt) and not scheme.key_source and delivery.body.startswith(b"{"):
        content = f"{HEAD}.{base64url(delivery.body)}"
        digest = base64url(hmac.digest(SHARED[0].encode(), content.encode(), "sha256"))
        value = f"{'Bearer ' if scheme.bearer else ''}{content}.{digest}"
        return replace(delivery, headers={scheme.signature_header: value}, body=b"")
    return scheme.sign(delivery, private, NOW)


def seeds() -> Iterator[bytes]:
    for first, name in enumerate(NAMES):
        for second, case in enumerate(CASES[name]):
            yield written(first, second, case.delivery)
        yield written(first + SIGN, 0, MATERIAL[name].unsigned())
        scheme = SCHEMES[name]
        if isinstance(scheme, Jwt) and not scheme.key_source:
            empty = replace(MATERIAL[name].unsigned(), body=b"")
            token = scheme.sign(empty, parties(name)[0].private, NOW).headers[scheme.signature_header]
            claims = base64.urlsafe_b64decode(token.split(".")[1] + "==")
            yield written(first + SIGN, 0, replace(empty, body=claims))


if __name__ == "__main__":
    fuzz("signatures", take, seeds())
