"""What it costs to find out why a delivery was refused: `python -m bench.refusals`.

Each case is checked and then looked into, as often as is asked for. What counts is the ratio: how many checks
of the same delivery the search is worth.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Final

from services.errors import NotVerified, Reason
from services.models import Delivery
from services.refusals import Known, find_why
from services.signatures.catalogue import SCHEMES

NOW: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET: Final = "31f290f6bf0629afe4bb98e31c41e8f6b1c9b0a4cf0d6e7a5ab3f4cd81f09a2e"  # noqa: S105 - guards nothing
_FORM_TYPE: Final = "multipart/form-data; boundary=XYZ"
_PART: Final = b'--XYZ\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
_EVENT: Final = b'{"event":{"event_time":"1","event_type":"a","event_hash":"ab"}}'
_HEAD: Final = """\
| | bytes | found | a check | the search | ratio |
|---|--:|---|--:|--:|--:|"""


def usual(size: int) -> bytes:
    """Write an event as most senders do, of about this many bytes."""
    members = {f"field_{number:04}": "Zürich, and some more text" for number in range(size // 48)}
    return json.dumps({"id": "evt_1", "object": members}, separators=(",", ":"), ensure_ascii=False).encode()


# Each by its scheme, with a body that takes much where it is a stranger's who means it.
CASES: Final[Mapping[str, tuple[str, bytes]]] = {
    "usual, 1 KB": ("stripe", usual(1024)),
    "usual, 4 KB": ("stripe", usual(4 * 1024)),
    "usual, 32 KB": ("stripe", usual(32 * 1024)),
    "too long": ("stripe", usual(128 * 1024)),
    "public key, 4 KB": ("discord", usual(4 * 1024)),
    "nested, 32 KB": ("stripe", b'{"a":' + b"[" * 60 + b"1," * 16_000 + b"1" + b"]" * 60 + b"}"),
    "a form of many fields": (
        "dropbox_sign",
        _PART % (b"a", b"") * 990 + _PART % (b"json", _EVENT) + b"--XYZ--\r\n",
    ),
    "canonical JSON, 32 KB": ("inngest", b'{"a":[' + b"1.5e3," * 5_400 + b"1]}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One case: what was found, and seconds of a check and of the search."""

    size: int
    found: str
    check: float
    search: float


def refused(body: bytes) -> Delivery:
    """Return a delivery that is whole, and signed by nobody."""
    stamp = int(NOW.timestamp())
    headers = {
        "content-type": _FORM_TYPE if body.startswith(b"--") else "application/json",
        "host": "app.azurewebsites.net",
        "stripe-signature": f"t={stamp},v1={'ab' * 32}",
        "x-inngest-signature": f"t={stamp}&s={'ab' * 32}",
        "x-signature-ed25519": "ab" * 64,
        "x-signature-timestamp": str(stamp),
    }
    url = "https://hooks.example/api/webhooks/acme"
    return Delivery(method="POST", url=url, headers=headers, body=body, received_at=NOW)


def measure(name: str, rounds: int) -> Measured:
    """Check a case's delivery and look into it this many times, and take the medians."""
    scheme_name, body = CASES[name]
    scheme, delivery = SCHEMES[scheme_name], refused(body)
    known = Known(scheme=scheme, secrets=[SECRET, SECRET[::-1]])
    checks, searches, found = [], [], ""
    for _ in range(rounds):
        began = time.perf_counter()
        try:
            scheme.verify(delivery, known.secrets, NOW)
        except NotVerified as error:
            if error.reason is not Reason.WRONG_SIGNATURE:
                raise
            checked = time.perf_counter()
            found = find_why(error, delivery, known, NOW).why
            searches.append(time.perf_counter() - checked)
            checks.append(checked - began)
    return Measured(size=len(body), found=found, check=median(checks), search=median(searches))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.refusals", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    print(_HEAD)
    for name in CASES:
        one = measure(name, rounds)
        cells = (
            f"{one.size:,}",
            one.found,
            f"{one.check * 1000:.2f} ms",
            f"{one.search * 1000:.1f} ms",
            f"{one.search / one.check:.0f}",
        )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
