"""What every scheme is asked: one table of drafts, fitted to each sender's form.

A draft says what is signed, when and with which secrets, and what is changed afterwards. A sender turns a
draft into a request; a judge, who knows nothing of our code, says whether it would be taken.
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, Protocol

T = 1_700_000_000
URL = "https://hooks.example.com/webhooks/acme?from=acme"
BODY = b'{"id":"evt_1","object":"event"}'
BODIES = {
    "a_pretty_printed_body": b"""{
  "id": "evt_1PgaXx2eZvKYlo2C",
  "created": 1700000000,
  "livemode": false,
  "data": {
    "object": {"amount": 2000, "tax": 0.19, "description": null, "lines": ["a", "b"]}
  }
}
""",
    "a_compact_body": b'{"id":"ufawqhfynnddngldkgtslldrkq","output":["https://x.example/1.png"],"n":1.0}',
    "an_empty_object": b"{}",
    "a_body_with_line_ends_and_a_trailing_blank": b'{\r\n\t"a": 1\r\n} ',
    "a_body_with_text_beyond_ascii": '{"city":"Zürich, 東京 😀"}'.encode(),
    "an_empty_body": b"",
}
NOT_UTF_8 = b'{"name":"Z\xfcrich"}'

Encoding = Literal["hex", "base64", "base64url"]
Unit = Literal["s", "ms", "rfc3339"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it goes over the wire; headers in order, with the sender's own letter case."""

    method: str = "POST"
    url: str = URL
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    body: bytes = BODY

    def header(self, name: str) -> str:
        return ",".join(value for known, value in self.headers if known.lower() == name.lower())

    def has(self, name: str) -> bool:
        return any(known.lower() == name.lower() for known, _ in self.headers)

    def without(self, name: str) -> "Request":
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return replace(self, headers=kept)

    def set(self, name: str, value: str) -> "Request":
        return replace(self.without(name), headers=(*self.without(name).headers, (name, value)))

    def add(self, name: str, value: str) -> "Request":
        return replace(self, headers=(*self.headers, (name, value)))

    @property
    def joined(self) -> dict[str, str]:
        """Return the headers as servers hand them on: names as they are, repeated ones joined."""
        return {name: self.header(name) for name, _ in self.headers}

    @property
    def text(self) -> str:
        return self.body.decode()


Change = Callable[[Request], Request]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A request to be made. `at` is when it is signed, in ms from the judge's clock.

    `signers` and `secrets` are places in the sender's list: 0 the current one, 1 a retired one, 2 another
    customer's. Where they are set, `given` are the secrets themselves, `key` signs instead of one, and
    `digest` and `timestamp` stand for the sender's own hash, and for the moment as it writes it.
    """

    name: str
    verdict: str
    request: Request = Request()
    at: int = 0
    signers: tuple[int, ...] = (0,)
    secrets: tuple[int, ...] = (0,)
    key: str | bytes | None = None
    given: tuple[str, ...] | None = None
    digest: str | None = None
    timestamp: str | None = None
    change: Change = lambda request: request
    keys: tuple[bytes, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a judge is asked."""

    request: Request
    secrets: Sequence[str]
    keys: Sequence[bytes]
    now: int = T


class Judge(Protocol):
    """Somebody who is not us; `name` is told in each case."""

    @property
    def name(self) -> str: ...

    def accepts(self, questions: Sequence[Question]) -> Sequence[bool]: ...


@dataclass(frozen=True, kw_only=True)
class Sender:
    """One scheme: its form, its judge, who else is asked, and where they differ from ours.

    `past` and `future` are the tolerance in ms, None without a timestamp. `stricter` and `wider` say, by
    case, why our verdict is not the judge's: each must be needed, and no other difference may be.
    `not_asked` are cases that make no sense here, `verdicts` other verdicts than the table's.
    """

    scheme: str
    judge: Judge
    secrets: tuple[str, str, str]
    sign: Callable[[Draft], Request]
    signature_header: str | None = None
    timestamp_header: str | None = None
    timestamp_pair: str | None = None
    encoding: Encoding = "hex"
    unit: Unit = "s"
    past: int | None = None
    future: int | None = None
    second: Judge | None = None
    several: bool = False
    url_signed: bool = False
    method_signed: bool = False
    digest_in_verdicts: str = "wrong_signature"
    bodies: Mapping[str, bytes] = field(default_factory=lambda: BODIES)
    body: bytes = BODY
    not_utf_8: bool = False
    keys: tuple[bytes, ...] = ()
    more: Sequence[Draft] = ()
    not_asked: frozenset[str] = frozenset()
    verdicts: Mapping[str, str] = field(default_factory=dict)
    stricter: Mapping[str, str] = field(default_factory=dict)
    wider: Mapping[str, str] = field(default_factory=dict)


def written(at: int, unit: Unit) -> str:
    """Write a moment, in ms from T."""
    moment = T * 1000 + at
    if unit == "s":
        return str(moment // 1000)
    if unit == "ms":
        return str(moment)
    return datetime.fromtimestamp(moment // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def drafts_of(sender: Sender) -> Iterator[Draft]:
    """Fit the table to a sender, and add what is particular to it."""
    for draft in (*_common(sender), *_in_header(sender), *_timed(sender), *sender.more):
        if draft.name not in sender.not_asked:
            yield replace(draft, verdict=sender.verdicts.get(draft.name, draft.verdict))


def _common(sender: Sender) -> Iterator[Draft]:
    plain = Request(body=sender.body)
    for name, body in sender.bodies.items():
        yield Draft(name=name, verdict="verified", request=replace(plain, body=body))
    if sender.not_utf_8:
        yield Draft(
            name="a_body_that_is_not_utf_8", verdict="verified", request=replace(plain, body=NOT_UTF_8)
        )
    if sender.several:
        yield Draft(name="signed_with_both_secrets", verdict="verified", request=plain, signers=(1, 0))
    of_two = Draft(name="signed_with_the_newer_of_two", verdict="verified", request=plain, secrets=(0, 1))
    yield of_two
    yield replace(of_two, name="signed_with_the_older_of_two", signers=(1,))
    yield Draft(name="signed_with_a_retired_secret", verdict="wrong_signature", request=plain, signers=(1,))
    yield Draft(name="signed_with_another_secret", verdict="wrong_signature", request=plain, signers=(2,))
    for name, change in _body_changes(sender.body):
        yield Draft(name=name, verdict="wrong_signature", request=plain, change=change)
    if sender.url_signed:
        for name, url in (
            ("another_host", URL.replace("example.com", "example.org")),
            ("another_path", URL.replace("/acme", "/acmf")),
            ("another_query", URL.replace("?from=acme", "?from=acmf")),
            ("the_query_gone", URL.partition("?")[0]),
        ):
            yield Draft(name=name, verdict="wrong_signature", request=plain, change=_with_url(url))
    if sender.method_signed:
        yield Draft(
            name="another_method",
            verdict="wrong_signature",
            request=plain,
            change=lambda request: replace(request, method="PUT"),
        )


def _with_url(url: str) -> Change:
    return lambda request: replace(request, url=url)


def _body_changes(body: bytes) -> Iterable[tuple[str, Change]]:
    changed = body.replace(b"1", b"2", 1)
    return (
        ("one_byte_of_the_body_changed", lambda request: replace(request, body=changed)),
        ("a_blank_after_the_body", lambda request: replace(request, body=request.body + b" ")),
        ("a_line_end_after_the_body", lambda request: replace(request, body=request.body + b"\n")),
        ("the_body_gone", lambda request: replace(request, body=b"")),
    )


def _in_header(sender: Sender) -> Iterator[Draft]:
    name = sender.signature_header
    if not name:
        return
    plain = Draft(name="", verdict="", request=Request(body=sender.body))

    def changed(case: str, verdict: str, change: Callable[[str], str]) -> Draft:
        return replace(
            plain,
            name=case,
            verdict=verdict,
            change=lambda request: request.set(name, change(request.header(name))),
        )

    yield replace(
        plain,
        name="no_signature_header",
        verdict="no_signature",
        change=lambda request: request.without(name),
    )
    yield changed("an_empty_signature_header", "no_signature", lambda _: "")
    yield replace(
        plain,
        name="the_signature_header_twice",
        verdict=sender.digest_in_verdicts,
        change=lambda request: request.add(name, request.header(name)),
    )
    cut, more = (2, "00") if sender.encoding == "hex" else (4, "AAAA")
    yield changed("a_truncated_digest", sender.digest_in_verdicts, lambda value: value[:-cut])
    yield changed("an_extended_digest", sender.digest_in_verdicts, lambda value: value + more)
    yield changed("a_digest_of_zeros", "wrong_signature", lambda value: _DIGEST.sub(_zeros, value))
    yield changed("a_digest_beyond_ascii", sender.digest_in_verdicts, lambda value: value[:-1] + "é")
    if sender.encoding == "hex":
        yield changed("an_upper_case_digest", "verified", lambda value: _DIGEST.sub(_upper, value))
    else:
        yield changed("an_unpadded_digest", "verified", lambda value: value.rstrip("="))
        yield replace(
            _with_plus_and_slash(sender, name),
            change=lambda request: request.set(name, _DIGEST.sub(_url_safe, request.header(name))),
        )


def _with_plus_and_slash(sender: Sender, name: str) -> Draft:
    """Find a body whose digest is spelt otherwise in the other alphabet."""
    for number in range(1, 1000):
        body = sender.body.replace(b"1", str(number).encode(), 1)
        draft = Draft(name="a_digest_in_the_other_alphabet", verdict="verified", request=Request(body=body))
        digest = _DIGEST.search(sender.sign(draft).header(name))
        if digest and re.search("[+-]", digest.group()) and re.search("[/_]", digest.group()):
            return draft
    raise ValueError("no body has such a digest")


_DIGEST = re.compile(r"[0-9a-zA-Z+/_-]{26,}=*")


def _zeros(found: re.Match[str]) -> str:
    text = found.group()
    if re.fullmatch("[0-9a-f]+", text):
        return "0" * len(text)
    padded = text + "=" * (-len(text) % 4)
    return base64.b64encode(bytes(len(base64.urlsafe_b64decode(padded.translate(_SAFE))))).decode()


_SAFE = str.maketrans("+/", "-_")
_TURNED = str.maketrans("+/-_", "-_+/")


def _upper(found: re.Match[str]) -> str:
    return found.group().upper()


def _url_safe(found: re.Match[str]) -> str:
    return found.group().translate(_TURNED)


def _timed(sender: Sender) -> Iterator[Draft]:
    if sender.past is None or sender.future is None:
        return
    plain = Draft(name="", verdict="", request=Request(body=sender.body))
    step = 1 if sender.unit == "ms" else 1000
    yield replace(plain, name="signed_as_long_ago_as_may_be", verdict="verified", at=-sender.past)
    yield replace(plain, name="signed_too_long_ago", verdict="too_old", at=-sender.past - 1000)
    yield replace(plain, name="signed_a_year_ago", verdict="too_old", at=-365 * 86_400_000)
    yield replace(plain, name="signed_as_far_ahead_as_may_be", verdict="verified", at=sender.future)
    yield replace(plain, name="signed_too_far_ahead", verdict="too_new", at=sender.future + 1000)
    yield replace(plain, name="signed_a_year_ahead", verdict="too_new", at=365 * 86_400_000)
    if step == 1:
        yield replace(plain, name="signed_a_millisecond_too_long_ago", verdict="too_old", at=-sender.past - 1)
        yield replace(
            plain, name="signed_a_millisecond_too_far_ahead", verdict="too_new", at=sender.future + 1
        )
    held, now = sender.timestamp_header or sender.signature_header, written(0, sender.unit)
    if not held:
        return
    name = held
    for case, verdict, text in (
        ("a_later_timestamp", "wrong_signature", written(1000, sender.unit)),
        ("a_timestamp_in_words", "malformed_timestamp", "now"),
        ("a_timestamp_with_a_sign", "malformed_timestamp", f"+{now}"),
        ("a_timestamp_with_a_fraction", "malformed_timestamp", f"{now}.0"),
        ("a_timestamp_of_400_digits", "malformed_timestamp", "9" * 400),
        ("a_timestamp_that_is_not_a_number", "malformed_timestamp", "NaN"),
        ("a_timestamp_in_other_digits", "malformed_timestamp", now.translate(_OTHER_DIGITS)),
    ):
        yield replace(plain, name=case, verdict=verdict, change=_replaced(name, now, text))
    if sender.timestamp_header:
        yield replace(
            plain,
            name="no_timestamp_header",
            verdict="no_timestamp",
            change=lambda request: request.without(name),
        )
        yield replace(
            plain,
            name="the_timestamp_header_twice",
            verdict="malformed_timestamp",
            change=lambda request: request.add(name, request.header(name)),
        )
    elif sender.timestamp_pair:
        yield replace(
            plain,
            name="no_timestamp",
            verdict="no_timestamp",
            change=_replaced(name, sender.timestamp_pair.replace("{ts}", now), ""),
        )


_OTHER_DIGITS = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


def _replaced(name: str, old: str, new: str) -> Change:
    return lambda request: request.set(name, request.header(name).replace(old, new, 1))
