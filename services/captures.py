"""Reads a delivery that somebody captured: as a HAR, as a curl command, as raw HTTP, or as we keep them.

What was captured is data to be judged: nothing in it is run, opened or called.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from pydantic import JsonValue

from services.errors import NotUnderstood, OperatorError
from services.jsons import at, parse_object
from services.models import JsonObject

_FORMS = "a HAR, a curl command, a raw HTTP request, or a delivery as it is kept"
_REQUEST_LINE = re.compile(rb"([A-Z]{1,10}) (\S+) HTTP/[0-9.]+\r?\n", re.ASCII)
_HEAD = re.compile(rb"((?:[^\r\n]+\r?\n)*)\r?\n")
_ORIGIN = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_ARGUMENT = re.compile(
    r"""(?P<blank>(?:\s|\\\r?\n)+)|'(?P<single>[^']*)'|\$'(?P<dollar>(?:[^'\\]|\\.)*)'"""
    r"""|"(?P<double>(?:[^"\\]|\\.)*)"|\\(?P<escaped>.)|(?P<plain>[^\s'"\\$]+|\$)""",
    re.DOTALL,
)
_IN_DOUBLE_QUOTES = re.compile(r'\\(\n|["\\$`])')
# https://www.gnu.org/software/bash/manual/html_node/ANSI_002dC-Quoting.html
_IN_DOLLAR_QUOTES = re.compile(r"\\(?:u([0-9A-Fa-f]{1,4})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}
# https://curl.se/docs/manpage.html
_DATA = ("-d", "--data", "--data-raw", "--data-binary", "--data-ascii")
_MEANS_HEADER = {"-A": "user-agent", "--user-agent": "user-agent", "-e": "referer", "--referer": "referer"}
_WITHOUT_VALUE = frozenset(
    {"--compressed", "-k", "--insecure", "-s", "--silent", "-S", "--show-error", "-i", "--include"}
    | {"-v", "--verbose", "-L", "--location", "-g", "--globoff", "--http1.1", "--http2"}
)
_WITH_VALUE = frozenset({"-b", "--cookie", "-m", "--max-time", "--connect-timeout", "-o", "--output"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """A request as it was captured.

    `path` has the query behind it, and is None where the address was not kept; `host` is "" where it is not
    known. `received_at` is None for a form that says no time.
    """

    form: str
    method: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    path: str | None = field(default=None, repr=False)
    host: str = ""
    received_at: datetime | None = None


def read_capture(document: bytes, provider: str) -> Capture:
    """Read a captured delivery; raises OperatorError for what is none.

    A HAR may hold many requests: the first one to this provider's address counts, else the only one.
    """
    start = document.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):
        return _read_json(start, provider)
    if re.match(rb"curl\s", start):
        return _read_curl(start)
    if _REQUEST_LINE.match(start):
        return _read_raw(start)
    raise OperatorError(f"this is no captured delivery: give {_FORMS}")


def read_moment(text: str) -> datetime:
    """Read a time as ISO 8601, in UTC where it has no zone; raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _read_json(text: bytes, provider: str) -> Capture:
    try:
        document = parse_object(text)
    except NotUnderstood as error:
        raise OperatorError(f"the file cannot be read as JSON: {error}") from None
    if isinstance(document.get("log"), dict):
        return _read_har(document, provider)
    if {"provider", "method", "headers", "body"} <= document.keys():
        return _read_kept(document)
    raise OperatorError(f"this JSON holds no delivery: give {_FORMS}")


def _read_kept(document: JsonObject) -> Capture:
    headers, moment = document["headers"], document.get("received_at")
    if not isinstance(headers, dict):
        raise OperatorError("the kept delivery has no headers")
    try:
        return Capture(
            form="kept",
            method=str(document["method"]),
            headers={name.lower(): str(value) for name, value in headers.items()},
            body=base64.b64decode(str(document["body"]), validate=True),
            received_at=read_moment(str(moment)) if moment else None,
        )
    except ValueError:
        raise OperatorError("the kept delivery's body is base64, and its time ISO 8601") from None


# http://www.softwareishard.com/blog/har-12-spec/#request
def _read_har(document: JsonObject, provider: str) -> Capture:
    entries = at(document, "log.entries")
    found = [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    ours = [one for one in found if f"/api/webhooks/{provider}" in str(at(one, "request.url"))]
    if not ours and len(found) != 1:
        raise OperatorError(f"the HAR holds {len(found)} requests, and none to /api/webhooks/{provider}")
    entry = (ours or found)[0]
    text = at(entry, "request.postData.text")
    encoding = at(entry, "request.postData.encoding")
    moment = entry.get("startedDateTime")
    try:
        body = text.encode() if isinstance(text, str) else b""
        return _capture(
            "HAR",
            method=str(at(entry, "request.method")),
            url=str(at(entry, "request.url")),
            headers=list(_har_headers(at(entry, "request.headers"))),
            body=base64.b64decode(body, validate=True) if encoding == "base64" else body,
            received_at=read_moment(moment) if isinstance(moment, str) else None,
        )
    except ValueError:
        raise OperatorError("the HAR's request cannot be read: its body or its time") from None


def _har_headers(headers: JsonValue) -> Iterator[tuple[str, str]]:
    for one in headers if isinstance(headers, list) else []:
        if isinstance(one, dict) and not str(one.get("name")).startswith(":"):  # HTTP/2's own
            yield str(one.get("name")), str(one.get("value"))


# https://www.rfc-editor.org/rfc/rfc9112#section-2.1
def _read_raw(document: bytes) -> Capture:
    line = cast("re.Match[bytes]", _REQUEST_LINE.match(document))
    rest = document[line.end() :]
    head = _HEAD.match(rest)
    text, body = (head[1], rest[head.end() :]) if head else (rest, b"")
    pairs = [one.partition(":") for one in text.decode("latin-1").split("\n") if ":" in one]
    headers = [(name, value.strip()) for name, _, value in pairs]
    lengths = [value for name, value in headers if name.lower() == "content-length" and value.isdecimal()]
    if lengths and len(lengths[0]) < 10:
        body = body[: int(lengths[0])]  # an editor ends a file with a line end that was not sent
    return _capture(
        "raw HTTP", method=line[1].decode(), url=line[2].decode("latin-1"), headers=headers, body=body
    )


def _read_curl(document: bytes) -> Capture:
    words = iter(_words(document.decode("utf-8", "replace")))
    next(words)
    method, url, data = "", "", []
    headers: list[tuple[str, str]] = []
    for word in words:
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if word in _WITHOUT_VALUE:
            continue
        if not word.startswith("-"):
            url = word
            continue
        if not equals:
            value = next(words, "")
        if name in ("-X", "--request"):
            method = value
        elif name in ("-H", "--header"):
            header, _, text = value.partition(":")
            headers.append((header, text.strip()))
        elif name == "--url":
            url = value
        elif name in _DATA:
            if value.startswith("@") and name != "--data-raw":
                raise OperatorError("the curl command takes its body from a file: put the body itself there")
            data.append(value)
        elif name in _MEANS_HEADER:
            headers.append((_MEANS_HEADER[name], value))
        elif name not in _WITH_VALUE:
            raise OperatorError(
                f"the curl command has {name[:40]}, which is not understood here: leave it out"
            )
    if data and "content-type" not in {header.lower() for header, _ in headers}:
        headers.append(("content-type", "application/x-www-form-urlencoded"))
    return _capture(
        "curl",
        method=method or ("POST" if data else "GET"),
        url=url,
        headers=headers,
        body="&".join(data).encode(),
    )


def _words(command: str) -> Iterator[str]:
    """Take a command apart as a shell does; raises OperatorError for a quote that does not end."""
    word, position = None, 0
    while position < len(command):
        found = _ARGUMENT.match(command, position)
        if not found:
            raise OperatorError("the curl command has a quote that does not end")
        position = found.end()
        if found["blank"] is not None:
            if word is not None:
                yield _whole(word)
            word = None
        else:
            word = (word or "") + _unquoted(found)
    if word is not None:
        yield _whole(word)


def _whole(text: str) -> str:
    """Join halves of characters, as browsers write what lies beyond 16 bits."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unquoted(found: re.Match[str]) -> str:
    if found["dollar"] is not None:
        return _IN_DOLLAR_QUOTES.sub(_character, found["dollar"])
    if found["double"] is not None:
        return _IN_DOUBLE_QUOTES.sub(lambda one: one[1].strip("\n"), found["double"])
    kinds = (found["single"], found["escaped"], found["plain"])
    return next(text for text in kinds if text is not None)


def _character(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else _LETTERS.get(found[3], found[3])


def _capture(
    form: str,
    *,
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    received_at: datetime | None = None,
) -> Capture:
    """Bring a request to what a function gets: header names in lower case, repeated ones joined, a length."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.strip().lower()
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    if "chunked" in joined.get("transfer-encoding", "").lower():
        body = b""  # a function gets no more
    else:
        joined.setdefault("content-length", str(len(body)))
    url = url.partition("#")[0]
    absolute = _ORIGIN.fullmatch(url)
    host, path = absolute.groups() if absolute else (joined.get("host", ""), url)
    if host:
        joined.setdefault("host", host)
    return Capture(
        form=form,
        method=method.upper(),
        headers=joined,
        body=body,
        path=path if path.startswith("/") else f"/{path}",
        host=host,
        received_at=received_at,
    )
