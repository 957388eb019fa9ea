"""Vectors: raw signed requests, what we must say of each, and who else judged it.

Each scheme's cases lie in one file, `signatures/<scheme>.json`, and are literal: nothing is computed when
they are read. A body that is not UTF-8 is written as base64.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.models import Delivery

HERE = Path(__file__).parent
SIGNATURES = HERE / "signatures"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request. `verdict` is "verified" or a reason; `judged_by` says who else judged it, and how.

    `stricter` says why we refuse what that judge accepts, `wider` why we accept what it refuses. `keys` are
    the documents that a scheme's key source leads to.
    """

    name: str
    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    secrets: Sequence[str]
    keys: Sequence[bytes]
    now: int
    verdict: str
    judged_by: str
    stricter: str = ""
    wider: str = ""

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    @property
    def delivery(self) -> Delivery:
        """Return the request as it comes in: header names in lower case, repeated headers joined."""
        headers: dict[str, str] = {}
        for name, value in self.headers:
            known = headers.get(name.lower())
            headers[name.lower()] = value if known is None else f"{known},{value}"
        return Delivery(
            method=self.method, url=self.url, headers=headers, body=self.body, received_at=self.at
        )


def sample(provider: str, name: str, form: str = "json") -> bytes:
    """Return a callback's body, or an answer's, in its documented shape."""
    return (HERE / provider / f"{name}.{form}").read_bytes()


def schemes() -> list[str]:
    return sorted(path.stem for path in SIGNATURES.glob("*.json"))


def read_cases(scheme: str) -> list[Case]:
    return [_case(one) for one in json.loads((SIGNATURES / f"{scheme}.json").read_text())]


def write_cases(scheme: str, cases: Sequence[Case]) -> None:
    text = json.dumps([_document(case) for case in cases], indent=1, ensure_ascii=False)
    (SIGNATURES / f"{scheme}.json").write_text(text + "\n")


def _case(document: Mapping[str, Any]) -> Case:
    held = dict(document)
    text, encoded = held.pop("body", ""), held.pop("body_base64", "")
    body = base64.b64decode(encoded) if encoded else text.encode()
    keys = [base64.b64decode(one) for one in held.pop("keys", [])]
    headers = [(name, value) for name, value in held.pop("headers")]
    return Case(**held, headers=headers, body=body, keys=keys)


def _document(case: Case) -> dict[str, Any]:
    try:
        body = {"body": case.body.decode()}
    except UnicodeDecodeError:
        body = {"body_base64": base64.b64encode(case.body).decode()}
    explained = {"stricter": case.stricter, "wider": case.wider}
    return {
        "name": case.name,
        "method": case.method,
        "url": case.url,
        "headers": [list(pair) for pair in case.headers],
        **body,
        "secrets": list(case.secrets),
        "keys": [base64.b64encode(one).decode() for one in case.keys],
        "now": case.now,
        "verdict": case.verdict,
        "judged_by": case.judged_by,
        **{name: text for name, text in explained.items() if text},
    }
