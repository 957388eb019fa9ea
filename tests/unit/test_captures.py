"""Captured deliveries, as tools write them down: the same request each time."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.captures import Capture, read_capture, read_moment
from services.errors import OperatorError

BODY = '{"id":"e1","text":"Zürich"}'
HEADERS = {"content-type": "application/json", "x-signature": "ab"}


def har(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"log": {"version": "1.2", "entries": list(entries)}}).encode()


def entry(url: str = "https://a.example/api/webhooks/acme/tok.en?x=1", **post: str) -> dict[str, Any]:
    return {
        "startedDateTime": "2026-03-01T12:00:00.000+01:00",
        "request": {
            "method": "POST",
            "url": url,
            "headers": [
                {"name": ":authority", "value": "a.example"},
                {"name": "Content-Type", "value": "application/json"},
                {"name": "X-Signature", "value": "ab"},
            ],
            "postData": {"mimeType": "application/json", "text": BODY, **post},
        },
    }


CURLS = {
    "simple quotes": "curl -X POST 'https://a.example/api/webhooks/acme/tok.en?x=1' "
    '-H \'Content-Type: application/json\' -H \'X-Signature: ab\' --data-raw \'{"id":"e1","text":"Zürich"}\'',
    "double quotes, broken lines": "curl --location --request POST \\\n"
    '  --url "https://a.example/api/webhooks/acme/tok.en?x=1" \\\n'
    '  --header "Content-Type: application/json" --header "X-Signature: ab" --compressed \\\n'
    '  -d "{\\"id\\":\\"e1\\",\\"text\\":\\"Zürich\\"}"\n',
    "as browsers escape": "curl 'https://a.example/api/webhooks/acme/tok.en?x=1' "
    "-H 'content-type: application/json' "
    '-H \'x-signature: ab\' --data-binary $\'{"id":"e1","text":"Z\\u00fcrich"}\' -o out',
    "with equals signs": "curl --request=POST --url=https://a.example/api/webhooks/acme/tok.en?x=1 "
    "--header='Content-Type: application/json' --header=X-Signature:\\ ab "
    '--data=\'{"id":"e1",\'\\"text\\":\'"Zürich"}\'',
}


def same(found: Capture, *, host: str = "a.example") -> None:
    assert (found.method, found.path, found.host) == ("POST", "/api/webhooks/acme/tok.en?x=1", host)
    assert found.body == BODY.encode()
    assert {name: found.headers[name] for name in HEADERS} == HEADERS
    assert found.headers["content-length"] == "28"
    assert found.headers["host"] == host


@pytest.mark.parametrize("command", CURLS.values(), ids=CURLS)
def test_a_curl_command_is_read_as_a_shell_would(command: str) -> None:
    same(read_capture(command.encode(), "acme"))


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n  ", b"\xef\xbb\xbf\r\n"])
def test_what_editors_put_before_a_capture_does_not_matter(before: bytes) -> None:
    same(read_capture(before + CURLS["simple quotes"].encode(), "acme"))
    same(read_capture(before + har(entry()), "acme"))


def test_a_har_is_read_with_its_time() -> None:
    found = read_capture(har(entry()), "acme")
    same(found)
    assert found.received_at == datetime(2026, 3, 1, 11, 0, tzinfo=UTC)
    assert ":authority" not in found.headers


def test_a_har_whose_body_is_in_base64_is_read() -> None:
    same(read_capture(har(entry(text=base64.b64encode(BODY.encode()).decode(), encoding="base64")), "acme"))


def test_of_a_har_with_many_requests_the_providers_first_one_counts() -> None:
    other = entry("https://a.example/api/webhooks/other")
    same(read_capture(har(other, entry(), entry(text="second")), "acme"))


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
@pytest.mark.parametrize(
    "target", ["/api/webhooks/acme/tok.en?x=1", "https://a.example/api/webhooks/acme/tok.en?x=1#there"]
)
def test_raw_http_is_read_up_to_its_length(line_end: str, target: str) -> None:
    lines = [
        f"POST {target} HTTP/1.1",
        "Host: a.example",
        "Content-Type: application/json",
        "X-Signature:ab",
        "Content-Length: 28",
        "",
        BODY + "\n",
    ]
    same(read_capture(line_end.join(lines).encode(), "acme"))


def test_raw_http_keeps_every_byte_of_a_body_and_joins_repeated_headers() -> None:
    found = read_capture(b"POST /x HTTP/1.1\r\nA: 1\r\na: 2\r\n\r\n\r\n\xff\x00: \n", "acme")
    assert found.body == b"\r\n\xff\x00: \n"
    assert found.headers["a"] == "1,2"
    assert found.headers["content-length"] == "7"


@pytest.mark.parametrize("document", [b"POST /x HTTP/1.1\r\n\r\nbody", b"POST /x HTTP/1.1\n\nbody"])
def test_raw_http_without_headers_is_read(document: bytes) -> None:
    assert read_capture(document, "acme").body == b"body"


@pytest.mark.parametrize("length", ["9" * 5000, "many", "-1", ""])
def test_a_length_that_is_none_cuts_nothing_off(length: str) -> None:
    document = f"POST /x HTTP/1.1\r\nContent-Length: {length}\r\n\r\nbody".encode()
    assert read_capture(document, "acme").body == b"body"


def test_a_chunked_body_is_what_a_function_would_get() -> None:
    document = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    found = read_capture(document, "acme")
    assert found.body == b""
    assert "content-length" not in found.headers


def test_a_delivery_as_it_is_kept_has_no_address() -> None:
    kept = {
        "provider": "acme",
        "job_id": None,
        "received_at": "2026-03-01T12:00:00+00:00",
        "method": "POST",
        "headers": HEADERS,
        "body": base64.b64encode(BODY.encode()).decode(),
    }
    assert read_capture(json.dumps(kept).encode(), "acme") == Capture(
        form="kept",
        method="POST",
        headers=HEADERS,
        body=BODY.encode(),
        path=None,
        received_at=datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
    )


def test_what_browsers_write_in_two_halves_is_one_character() -> None:
    found = read_capture(b"curl http://a/ -d $'\\ud83d\\ude00\\n\\x41\\''", "acme")
    assert found.body == "😀\nA'".encode()
    assert found.headers["content-type"] == "application/x-www-form-urlencoded"


def test_data_in_parts_is_joined_as_curl_joins_it() -> None:
    found = read_capture(b"curl http://a/ -d a=1 --data-raw @b -A agent", "acme")
    assert (found.method, found.body, found.path) == ("POST", b"a=1&@b", "/")
    assert found.headers["user-agent"] == "agent"
    asked = read_capture(b"curl http://a?x=1", "acme")
    assert (asked.method, asked.path) == ("GET", "/?x=1")
    assert "content-type" not in asked.headers


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"", "this is no captured delivery"),
        (b"hello", "this is no captured delivery"),
        (b"{", "cannot be read as JSON"),
        (b"{}", "this JSON holds no delivery"),
        (b'{"log": {}}', "the HAR holds 0 requests"),
        (har(entry("https://b.example/"), entry("https://c.example/")), "the HAR holds 2 requests"),
        (har(entry(text="?", encoding="base64")), "the HAR's request cannot be read"),
        (har({**entry(), "startedDateTime": "soon"}), "the HAR's request cannot be read"),
        (b'{"provider":"a","method":"POST","headers":[],"body":""}', "has no headers"),
        (b'{"provider":"a","method":"POST","headers":{},"body":"?"}', "body is base64"),
        (b"curl http://a/ -d 'x", "a quote that does not end"),
        (b"curl http://a/ -d @/etc/passwd", "takes its body from a file"),
        (b"curl http://a/ --data-urlencode x", "has --data-urlencode, which is not understood"),
    ],
)
def test_what_is_no_capture_is_said_so(document: bytes, words: str) -> None:
    with pytest.raises(OperatorError, match=words.replace("(", r"\(")):
        read_capture(document, "acme")


def test_a_time_without_a_zone_is_utc() -> None:
    assert read_moment("2026-03-01 12:00") == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert read_moment("2026-03-01T12:00:00+02:00") == datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


@given(
    st.tuples(
        st.sampled_from(
            [b"", b"curl ", b"POST / HTTP/1.1\r\n", b'{"log":', b'{"log":{"entries":[{"request":']
        ),
        st.one_of(st.binary(max_size=60), st.text("curl -dHX'\"\\$\n:{}[]0a@", max_size=60).map(str.encode)),
    )
)
def test_whatever_the_file_holds_it_is_read_or_refused(parts: tuple[bytes, bytes]) -> None:
    try:
        found = read_capture(b"".join(parts), "acme")
    except OperatorError:
        return
    assert found.path is None or found.path.startswith("/")
