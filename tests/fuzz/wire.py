"""Requests and answers as bytes that a fuzzer can change, and how a fuzzer is run.

    choice | method " " url | header ": " value, … | empty line | body

The first two bytes choose whom a request is given to; whatever the rest is, it is some request. Bytes that
are not UTF-8 become lone surrogates in headers, as the Functions host hands them over.
"""

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import atheris

from services.models import Delivery

MADE_HERE = Path(".local/fuzz")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,80}")  # https://www.rfc-editor.org/rfc/rfc9110#section-5.1


@dataclass(frozen=True, kw_only=True)
class Input:
    """What one run of a fuzz target is given."""

    first: int
    second: int
    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    def delivery(self, at: datetime = datetime(2026, 11, 23, tzinfo=UTC)) -> Delivery:
        return Delivery(
            method=self.method, url=self.url, headers=self.headers, body=self.body, received_at=at
        )


def read(data: bytes) -> Input:
    first, second = data[:2].ljust(2, b"\0")
    head, _, body = data[2:].partition(b"\n\n")
    line, *lines = head.decode("utf-8", "surrogateescape").split("\n")
    method, _, url = line.partition(" ")
    pairs = (line.partition(": ") for line in lines)
    headers = {name.lower(): value for name, _, value in pairs if _NAME.fullmatch(name)}
    return Input(first=first, second=second, method=method, url=url, headers=headers, body=body)


def written(first: int, second: int, delivery: Delivery) -> bytes:
    lines = [f"{delivery.method} {delivery.url}"]
    lines += [f"{name}: {value}" for name, value in delivery.headers.items()]
    head = "\n".join(lines).encode("utf-8", "surrogatepass")
    return bytes([first, second]) + head + b"\n\n" + delivery.body


def fuzz(name: str, target: Callable[[Input], None], seeds: Iterable[bytes]) -> None:
    """Run a target on the seeds and their offspring, with the options of libFuzzer in the command line.

    What is found to reach new code stays in .local/fuzz, as does an input that makes the target raise.
    https://llvm.org/docs/LibFuzzer.html#options
    """
    found, seeded = MADE_HERE / name, MADE_HERE / f"{name}-seeds"
    for folder in (found, seeded):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (seeded / f"{number:05}").write_bytes(seed)
    options = ["-max_len=16384", "-timeout=10", f"-artifact_prefix={MADE_HERE}/{name}-"]
    atheris.Setup(
        [sys.argv[0], *options, *sys.argv[1:], str(found), str(seeded)], lambda data: target(read(data))
    )
    atheris.Fuzz()
