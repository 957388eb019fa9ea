"""Who judges: a vendor's library for Python or Node, or what its documentation says, by openssl.

Each is asked at the case's own time. Whatever a library raises, it has not accepted.
"""

import base64
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from typing import Any

from tests.vectors.cases import HERE
from tests.vectors.drafts import Question, Request

Check = Callable[[Request, str], Any]


@dataclass(frozen=True, kw_only=True)
class Library:
    """A library on PyPI. `check` refuses by raising, or by returning False or None where `none` says so."""

    package: str
    check: Check
    none_refuses: bool = False

    @property
    def name(self) -> str:
        return f"{self.package} {version(self.package)} (PyPI)"

    def accepts(self, questions: Sequence[Question]) -> list[bool]:
        return [any(self._accepts(one, secret) for secret in one.secrets) for one in questions]

    def _accepts(self, question: Question, secret: str) -> bool:
        travel = import_module("time_machine").travel
        with travel(datetime.fromtimestamp(question.now, UTC), tick=False):
            try:
                answer = self.check(question.request, secret)
            except Exception:  # noqa: BLE001 - each library has its own, and some let others escape
                return False
        return answer is not False and not (answer is None and self.none_refuses)


@dataclass(frozen=True, kw_only=True)
class NodeLibrary:
    """A library on npm: judge.mjs has the check, under the scheme's name."""

    package: str
    scheme: str

    @property
    def name(self) -> str:
        locked = json.loads((HERE / "package-lock.json").read_text())["packages"]
        return f"{self.package} {locked[f'node_modules/{self.package}']['version']} (npm)"

    def accepts(self, questions: Sequence[Question]) -> list[bool]:
        asked = [(one, secret) for one in questions for secret in one.secrets]
        told = json.dumps([_told(one, secret) for one, secret in asked])
        command = ["node", str(HERE / "judge.mjs"), self.scheme]
        answered = subprocess.run(command, input=told, capture_output=True, check=True, text=True)
        answers = zip(asked, json.loads(answered.stdout), strict=True)
        accepted = {id(one) for (one, _), yes in answers if yes}
        return [id(one) in accepted for one in questions]


def _told(question: Question, secret: str) -> dict[str, Any]:
    request = question.request
    return {
        "method": request.method,
        "url": request.url,
        "headers": {name.lower(): value for name, value in request.joined.items()},
        "body": base64.b64encode(request.body).decode(),
        "secret": secret,
        "keys": [base64.b64encode(one).decode() for one in question.keys],
        "now": question.now,
    }


@dataclass(frozen=True, kw_only=True)
class Documentation:
    """What a vendor documents, where it has no library; `check` is written from the text at `address`."""

    address: str
    check: Callable[[Question, str], bool]

    @property
    def name(self) -> str:
        return f"documentation ({self.address})"

    def accepts(self, questions: Sequence[Question]) -> list[bool]:
        return [any(self.check(one, secret) for secret in one.secrets) for one in questions]


def openssl_mac(key: bytes, message: bytes, digest: str) -> bytes:
    """Make an HMAC with the openssl command."""
    command = ["openssl", "dgst", f"-{digest}", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary"]
    return subprocess.run(command, input=message, capture_output=True, check=True).stdout
