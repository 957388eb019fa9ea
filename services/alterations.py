"""What happens to a delivery on its way to us, undone: each guess is how its sender may have sent it.

Guesses come one by one, so that who tries them can stop; none is the delivery itself. They are for finding
out why a delivery was refused, and for nothing else: what a guess proves is not what came.
"""

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import quote, quote_plus, urlencode

from pydantic import JsonValue

from services.errors import NotUnderstood, Why
from services.jsons import parse_object
from services.models import Delivery
from services.signatures.forms import read_urlencoded

MAX_GROWN = 256 * 1024
_BOM = b"\xef\xbb\xbf"
_PACKED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda")
_CHARSETS = ("utf-8", "latin-1", "cp1252")
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[^/?#:\[\]]*|\[[^/?#\]]*\])(?P<port>:[0-9]{0,5})?(?P<path>[^?#]*)(?P<query>(\?[^#]*)?)",
    re.IGNORECASE | re.DOTALL,
)
# Where proxies write down what was called: the Functions host, Azure's front ends, and most others.
_HOST_HEADERS = ("host", "x-forwarded-host", "x-original-host", "disguised-host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A delivery as it may have been sent; `detail` is one of a few words that say what was changed since."""

    why: Why
    detail: str
    delivery: Delivery


def sent_bodies(delivery: Delivery) -> Iterator[Guess]:
    """Guess the body that was sent, from the one that came."""
    known = {delivery.body, b""}
    for make in (_other_json, _other_line_ends, _unwrapped, _other_form, _other_charsets):
        for why, detail, body in make(delivery):
            if body not in known:
                known.add(body)
                yield Guess(why=why, detail=detail, delivery=replace(delivery, body=body))


def called_urls(delivery: Delivery) -> Iterator[Guess]:
    """Guess the address that was called, from the public one and from what proxies wrote down."""
    known = {delivery.url}
    for detail, url in _other_urls(delivery):
        if url not in known:
            known.add(url)
            yield Guess(why=Why.WRONG_URL, detail=detail, delivery=replace(delivery, url=url))


def was_unpacked(delivery: Delivery) -> bool:
    """Tell whether the body was announced as compressed, and is not."""
    said = delivery.headers.get("content-encoding", "").strip().lower()
    return said in ("gzip", "x-gzip", "deflate") and not delivery.body.startswith(_PACKED)


_Bodies = Iterator[tuple[Why, str, bytes]]


def _other_line_ends(delivery: Delivery) -> _Bodies:
    body, why = delivery.body, Why.BODY_LINE_ENDS
    yield why, "trimmed", body + b"\n"
    yield why, "trimmed", body + b"\r\n"
    yield why, "added", body.rstrip(b" \t\r\n")
    yield why, "added", body.strip(b" \t\r\n")
    unix = body.replace(b"\r\n", b"\n")
    yield why, "to_crlf", unix
    yield why, "to_lf", unix.replace(b"\n", b"\r\n")
    yield why, "mark_added", body.removeprefix(_BOM)
    yield why, "mark_removed", _BOM + body


def _unwrapped(delivery: Delivery) -> _Bodies:
    """Undo what leaves the sender's bytes whole inside: compression, base64, a JSON text around them."""
    body = delivery.body
    if body.startswith(_PACKED):
        unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        with suppress(zlib.error):
            yield Why.BODY_COMPRESSED, "compressed", unpack.decompress(body, MAX_GROWN)
    with suppress(ValueError):
        yield Why.BODY_WRAPPED, "base64", base64.b64decode(body, validate=True)
    if isinstance(text := _json(body), str):
        yield Why.BODY_WRAPPED, "json_text", text.encode()


def _other_json(delivery: Delivery) -> _Bodies:
    """Write a JSON body as the usual libraries do: JavaScript's, Python's, PHP's, Go's, Java's."""
    value = _json(delivery.body)
    if not isinstance(value, dict | list):
        return
    for detail, write in _JSON_WRITERS.items():
        yield Why.BODY_REWRITTEN, detail, write(value).encode()
    for detail, encoder in _INDENTED.items():
        yield Why.BODY_REWRITTEN, detail, _indented(value, encoder).encode()
    yield Why.BODY_REWRITTEN, "compact", _compact(value).encode() + b"\n"  # as Go's Encoder ends it


def _other_form(delivery: Delivery) -> _Bodies:
    if not delivery.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return
    try:
        fields = read_urlencoded(delivery.body)
    except ValueError:
        return
    for order in (fields, sorted(fields)):
        yield Why.BODY_REWRITTEN, "form", urlencode(order, quote_via=quote_plus).encode()
        yield Why.BODY_REWRITTEN, "form", urlencode(order, quote_via=quote).encode()


def _other_charsets(delivery: Delivery) -> _Bodies:
    for came in _CHARSETS:
        for sent in _CHARSETS:
            try:
                yield Why.BODY_RECODED, sent, delivery.body.decode(came).encode(sent)
            except UnicodeError:
                continue


def _json(body: bytes) -> JsonValue:
    """Read any JSON value; None for what is none."""
    try:
        return parse_object(b'{"body":%b}' % body.removeprefix(_BOM)).get("body")
    except NotUnderstood:
        return None


def _php(value: JsonValue) -> str:
    """https://www.php.net/manual/json.constants.php: slashes are escaped unless a flag says otherwise."""
    return json.dumps(value, separators=(",", ":")).replace("/", r"\/")


def _go(value: JsonValue, *, sort: bool) -> str:
    """https://pkg.go.dev/encoding/json#Marshal: what HTML would read is escaped, the names of maps sorted."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=sort)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _indented(value: JsonValue, encoder: json.JSONEncoder) -> str:
    """Write a value in lines; "" if they grow too long, as those of what is nested deeply do."""
    parts: list[str] = []
    left = MAX_GROWN
    for part in encoder.iterencode(value):
        left -= len(part)
        if left < 0:
            return ""
        parts.append(part)
    return "".join(parts)


_compact: Callable[[JsonValue], str] = partial(json.dumps, separators=(",", ":"), ensure_ascii=False)
_JSON_WRITERS: Mapping[str, Callable[[JsonValue], str]] = {
    "compact": _compact,
    "spaced": partial(json.dumps, ensure_ascii=False),
    "compact_escaped": partial(json.dumps, separators=(",", ":")),
    "spaced_escaped": json.dumps,
    "slashes_escaped": _php,
    "html_escaped": partial(_go, sort=False),
    "sorted_html_escaped": partial(_go, sort=True),
    "sorted": partial(json.dumps, separators=(",", ":"), ensure_ascii=False, sort_keys=True),
    "sorted_spaced": partial(json.dumps, ensure_ascii=False, sort_keys=True),
    "sorted_escaped": partial(json.dumps, separators=(",", ":"), sort_keys=True),
    "sorted_spaced_escaped": partial(json.dumps, sort_keys=True),
}
_INDENTED = {
    "indented": json.JSONEncoder(indent=2, ensure_ascii=False),
    "indented_wide": json.JSONEncoder(indent=4, ensure_ascii=False),
}


def _other_urls(delivery: Delivery) -> Iterator[tuple[str, str]]:
    found = _URL.fullmatch(delivery.url)
    if not found:
        return
    scheme, host, path, query = found.group("scheme", "host", "path", "query")
    port = found["port"] or ""
    rest = path + query
    other_scheme = "https" if scheme.lower() == "http" else "http"
    yield "scheme", f"{other_scheme}://{host}{port}{rest}"
    for other in ("", ":443", ":80", f":{delivery.headers.get('x-forwarded-port', '')}"):
        yield "port", f"{scheme}://{host}{other}{rest}"
    here = f"{scheme}://{host}{port}"
    yield "slash", f"{here}{path.removesuffix('/') if path.endswith('/') else path + '/'}{query}"
    yield "query", here + path
    pairs = query.removeprefix("?").split("&")
    yield "query", f"{here}{path}?{'&'.join(sorted(pairs))}"
    yield "query", f"{here}{path}?{'&'.join(reversed(pairs))}"
    original = _rest_of(delivery.headers.get("x-original-url", ""))
    if original:
        yield "path", here + original
    hosts = (delivery.headers.get(name, "").partition(",")[0].strip() for name in _HOST_HEADERS)
    for other_host in filter(None, hosts):
        for one in ("https", "http"):
            yield "host", f"{one}://{other_host}{rest}"
            if original:
                yield "host", f"{one}://{other_host}{original}"


def _rest_of(url: str) -> str:
    """Return an address's path and query, for an address that may have no origin."""
    found = _URL.fullmatch(url)
    return found["path"] + found["query"] if found else url
