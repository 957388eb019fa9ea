"""Vectors: raw signed requests, what we must say of each, and what judged it.

A case's request lies in a file as it would come over the wire: header lines, an empty line, the body.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.models import Delivery

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request. `verdict` is "verified" or a reason; `judged_by` says who else said so."""

    name: str
    secrets: list[str]
    now: int
    verdict: str
    judged_by: str

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


def sample(provider: str, name: str) -> bytes:
    """Return a callback's body, or an answer's, in its documented shape."""
    return (HERE / provider / f"{name}.json").read_bytes()


def read_cases(scheme: str) -> list[Case]:
    found = json.loads((HERE / scheme / "cases.json").read_text())
    return [Case(**one) for one in found]


def read_request(scheme: str, case: Case) -> Delivery:
    head, _, body = (HERE / scheme / f"{case.name}.http").read_bytes().partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n")]
    headers = {name.lower(): value for name, _, value in lines}
    return Delivery(
        method="POST", url="https://hooks.example.com/", headers=headers, body=body, received_at=case.at
    )


def write_request(scheme: str, case: Case, headers: dict[str, str], body: bytes) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
    (HERE / scheme / f"{case.name}.http").write_bytes(head + b"\r\n" + body)


def write_cases(scheme: str, cases: list[Case]) -> None:
    text = json.dumps([asdict(case) for case in cases], indent=1)
    (HERE / scheme / "cases.json").write_text(text + "\n")
