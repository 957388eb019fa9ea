"""The HTTP surface of the local host, over real connections to a real process."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.host.process import start
from dev.process import Running

APPS = Path(__file__).parent / "apps"
KEY = "the key/+="


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(APPS / "surface.py", log=tmp_path_factory.mktemp("host") / "log", key=KEY)
    yield running
    running.stop()


@pytest.fixture
def client(host: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=host.url, timeout=20) as client:
        yield client


def exchange(host: Running, request: bytes) -> bytes:
    """Send these bytes and read until the host closes."""
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def seen_by_echo(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    seen: dict[str, Any] = json.loads(body)
    return seen


def test_the_route_prefix_of_the_host_stands_before_each_route(host: Running, client: httpx.Client) -> None:
    assert host.url.endswith("/api")
    assert client.get("/echo").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{host.port}/echo").status_code == 404


@pytest.mark.parametrize(
    "body",
    [b"\x00\xff\xfe{not json", b'{ "b":1,\r\n"a": 2 }', b"a=1&a=2", "ä€😀".encode()],
    ids=["binary", "spaced json", "form", "utf-8"],
)
@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded"]
)
def test_a_body_reaches_the_function_byte_for_byte(
    client: httpx.Client, body: bytes, content_type: str
) -> None:
    answer = client.post("/echo", content=body, headers={"Content-Type": content_type})
    assert bytes.fromhex(answer.json()["body"]) == body


def test_a_compressed_body_is_not_unpacked(client: httpx.Client) -> None:
    packed = gzip.compress(b"{}", mtime=0)
    answer = client.post("/echo", content=packed, headers={"Content-Encoding": "gzip"})
    assert bytes.fromhex(answer.json()["body"]) == packed


def test_a_chunked_body_reaches_the_function_empty_and_without_an_error(host: Running) -> None:
    answer = exchange(
        host,
        b"POST /api/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n",
    )
    seen = seen_by_echo(answer)
    assert seen["body"] == ""
    assert "content-length" not in seen["headers"]


def test_a_client_that_waits_for_100_continue_gets_it(host: Running) -> None:
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as connection:
        connection.sendall(
            b"POST /api/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.sendall(b"ok")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert seen_by_echo(answer)["body"] == b"ok".hex()


def test_a_body_over_100_mebibytes_is_a_500_that_no_function_sees(host: Running) -> None:
    request = b"POST /api/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 104857601\r\n\r\n"
    head, _, body = exchange(host, request).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500")
    assert body == b""


def test_headers_arrive_in_lower_case_and_repeated_ones_joined_by_a_comma(host: Running) -> None:
    answer = exchange(
        host,
        b"GET /api/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Mixed-Case: A\r\nx-mixed-case: b, c\r\n"
        b"X-Empty:\r\nX-Wide: \xc3\xa4\r\n\r\n",
    )
    headers = seen_by_echo(answer)["headers"]
    assert headers["x-mixed-case"] == "A,b, c"
    assert headers["x-empty"] == ""
    assert headers["x-wide"] == "ä"
    assert [name for name in headers if name != name.lower()] == []


def test_a_header_that_is_no_utf_8_is_refused_with_400(host: Running) -> None:
    answer = exchange(host, b"GET /api/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Bad: \xff\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


def test_a_header_of_30_kilobytes_is_taken(client: httpx.Client) -> None:
    seen = client.get("/echo", headers={"X-Long": "x" * 30_000}).json()
    assert seen["headers"]["x-long"] == "x" * 30_000


def test_empty_query_values_are_dropped_and_repeated_ones_joined(client: httpx.Client) -> None:
    seen = client.get("/echo?a=1&empty=&A=2&bare&a=&plus=x+y&wide=%C3%A4").json()
    assert seen["params"] == {"a": "1,2", "plus": "x y", "wide": "ä"}


def test_the_url_is_the_one_that_was_asked_for_with_its_key(host: Running, client: httpx.Client) -> None:
    seen = client.get("/echo/x%2Fy?code=secret&a=&b=%20").json()
    assert seen["url"] == f"http://127.0.0.1:{host.port}/api/echo/x%2Fy?code=secret&a=&b=%20"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/echo/Ab%20c", {"name": "Ab c"}),
        ("/echo", {}),
        ("/echo/", {}),
        ("/ECHO/x/", {"name": "x"}),
        ("/echo/a%2Fb", {"name": "a%2Fb"}),
        ("/echo/%ff", {"name": "%ff"}),
        ("/echo/line%0Aend", {"name": "line\nend"}),
    ],
    ids=["decoded", "left out", "empty", "any case", "slash stays encoded", "no utf-8", "line end"],
)
def test_route_parameters(client: httpx.Client, path: str, route: dict[str, str]) -> None:
    assert client.get(path).json()["route"] == route


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/typed/-12", 200, "-12"),
        ("/typed/x", 404, ""),
        ("/typed", 404, ""),
        ("/files/a/b.txt", 200, "a/b.txt"),
        ("/files", 200, "-"),
        ("/echo/a/b", 404, ""),
        ("/echo//", 404, ""),
        ("/nowhere", 404, ""),
        ("/order/literal", 200, "parameter"),
    ],
    ids=[
        "a number",
        "no number",
        "a parameter missing",
        "the rest",
        "no rest",
        "too long",
        "an empty segment",
        "unknown",
        "the first function by name takes it though another has the literal",
    ],
)
def test_routing(client: httpx.Client, path: str, status: int, text: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.text) == (status, text)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/posts", 200),
        ("GET", "/posts", 404),
        ("OPTIONS", "/posts", 404),
        ("HEAD", "/reads", 404),
        ("HEAD", "/echo", 200),
        ("PATCH", "/echo", 200),
        ("PROPFIND", "/echo", 200),
    ],
    ids=[
        "a listed method",
        "a method that no function takes is 404 and not 405",
        "OPTIONS is not answered for the app",
        "HEAD does not come with GET",
        "HEAD where all methods are taken",
        "PATCH",
        "an odd method",
    ],
)
def test_methods(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert "allow" not in answer.headers


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "body"),
    [
        ("text", 200, "text/plain; charset=utf-8", b"a str"),
        ("empty", 200, "text/plain; charset=utf-8", b""),
        ("bytes", 200, "application/octet-stream", b"\x00\xff"),
        ("status", 202, "text/plain; charset=utf-8", b""),
        ("typed", 200, "application/problem+json", b"{}"),
        ("latin", 200, "text/plain; charset=latin-1", b"\xe4"),
        ("json", 200, "application/json", b"{}"),
    ],
)
def test_what_a_function_returns_is_what_is_sent(
    client: httpx.Client, kind: str, status: int, content_type: str, body: bytes
) -> None:
    answer = client.get(f"/answer/{kind}")
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (
        status,
        content_type,
        body,
    )


def test_headers_of_an_answer_are_sent(client: httpx.Client) -> None:
    assert client.get("/answer/status").headers["location"] == "/x"
    unchanged = client.get("/answer/not modified")
    assert (unchanged.status_code, unchanged.headers["etag"], unchanged.content) == (304, '"1"', b"")


def test_each_cookie_of_an_answer_is_sent(client: httpx.Client) -> None:
    assert client.get("/answer/cookies").headers.get_list("set-cookie") == ["a=1; Path=/", "b=2; HttpOnly"]


@pytest.mark.parametrize("kind", ["none", "number", "raise", "cancel", "unheard of"])
def test_no_answer_or_an_exception_is_a_500_with_nothing_in_it(client: httpx.Client, kind: str) -> None:
    answer = client.get(f"/answer/{kind}")
    assert (answer.status_code, answer.content) == (500, b"")


def test_a_header_cannot_smuggle_another_one_into_the_answer(client: httpx.Client) -> None:
    answer = client.get("/answer/split")
    assert answer.status_code == 500
    assert "x-injected" not in answer.headers


def test_what_a_function_raises_is_in_the_log(host: Running, client: httpx.Client) -> None:
    client.get("/answer/raise")
    assert "invocation failed function=answer" in host.log.read_text()
    assert "a reason that nobody outside may read" in host.log.read_text()


def test_a_function_that_is_not_async_runs_in_a_thread(client: httpx.Client) -> None:
    assert client.get("/thread").text == "thread"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/echo", {}, 200),
        ("/echo?code=wrong", {}, 200),
        ("/locked", {}, 401),
        ("/locked", {"X-Functions-Key": KEY}, 200),
        ("/locked?code=the%20key%2F%2B%3D", {}, 200),
        ("/locked?code=wrong", {}, 401),
        ("/locked?code=", {}, 401),
        ("/locked?code=the%20key%2F%2B%3D", {"X-Functions-Key": "wrong"}, 401),
        ("/locked?code=%C3%A4", {}, 401),
        ("/locked?code=%ff", {}, 401),
        ("/masters", {}, 401),
        ("/masters", {"X-Functions-Key": KEY}, 200),
    ],
    ids=[
        "anonymous",
        "anonymous with a wrong key",
        "no key",
        "key in the header",
        "key in the query",
        "wrong key",
        "empty key",
        "the header counts before the query",
        "a key that is no ASCII",
        "a key that is no UTF-8",
        "admin without",
        "admin with",
    ],
)
def test_keys(client: httpx.Client, path: str, headers: dict[str, str], status: int) -> None:
    answer = client.get(path, headers=headers)
    assert answer.status_code == status
    assert answer.content == b"" if status == 401 else answer.content


def test_the_context_names_the_function_and_a_fresh_trace(client: httpx.Client) -> None:
    one, two = client.get("/context").json(), client.get("/context").json()
    assert (one["name"], one["directory"], one["retries"]) == ("context_seen", str(APPS), 0)
    assert one["invocation"] != two["invocation"]
    version, trace, span, flags = one["parent"].split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "00")
    assert trace != two["parent"].split("-")[1]


def test_the_context_continues_the_caller_s_trace(client: httpx.Client) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen = client.get("/context", headers={"traceparent": parent, "tracestate": "a=b"}).json()
    version, trace, span, flags = seen["parent"].split("-")
    assert (version, trace, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span != "b7ad6b7169203331"
    assert seen["state"] == "a=b"


@pytest.mark.parametrize(
    "parent",
    ["", "garbage", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "00-" + "A" * 32 + "-b7ad6b7169203331-01"],
    ids=["empty", "garbage", "zero trace", "upper case"],
)
def test_a_bad_traceparent_begins_a_new_trace(client: httpx.Client, parent: str) -> None:
    seen = client.get("/context", headers={"traceparent": parent, "tracestate": "a=b"}).json()
    _, trace, _, _ = seen["parent"].split("-")
    assert len(trace) == 32
    assert trace not in {"0" * 32, "A" * 32}
    assert seen["state"] == ""


def write_app(folder: Path, host_json: object) -> Path:
    (folder / "surface.py").write_bytes((APPS / "surface.py").read_bytes())
    (folder / "host.json").write_text(json.dumps(host_json))
    return folder / "surface.py"


def test_without_a_key_no_function_asks_for_one(tmp_path: Path) -> None:
    app = write_app(tmp_path, {"version": "2.0", "extensions": {"http": {"routePrefix": ""}}})
    host = start(app, log=tmp_path / "log")
    try:
        assert host.url == f"http://127.0.0.1:{host.port}"
        assert httpx.get(f"{host.url}/locked").text == "open"
    finally:
        host.stop()


def wait_for(path: Path, *, there: bool) -> None:
    while path.exists() is not there:
        time.sleep(0.01)


def test_requests_over_the_bound_wait_and_those_over_the_outstanding_bound_get_429(tmp_path: Path) -> None:
    http = {"maxConcurrentRequests": 1, "maxOutstandingRequests": 2}
    app = write_app(tmp_path, {"version": "2.0", "extensions": {"http": http}})
    host = start(app, log=tmp_path / "log")
    first, second = tmp_path / "first", tmp_path / "second"

    def ask(flag: Path) -> httpx.Response:
        return httpx.get(f"{host.url}/slow", params={"flag": str(flag)}, timeout=30)

    try:
        with ThreadPoolExecutor(3) as pool:
            running = pool.submit(ask, first)
            wait_for(first, there=True)
            others = [pool.submit(ask, second), pool.submit(ask, second)]
            refused = next(as_completed(others)).result()
            assert (refused.status_code, refused.headers["x-function-scaleout"]) == (429, "1")
            assert not second.exists()
            first.unlink()
            assert running.result().text == "done"
            wait_for(second, there=True)
            second.unlink()
            assert sorted(other.result().status_code for other in others) == [200, 429]
        assert httpx.get(f"{host.url}/echo").status_code == 200
    finally:
        host.stop()


def test_stopping_lets_a_running_request_end_and_takes_no_other(tmp_path: Path) -> None:
    host = start(APPS / "surface.py", log=tmp_path / "log")
    flag = tmp_path / "flag"
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(httpx.get, f"{host.url}/slow", params={"flag": str(flag)}, timeout=30)
        wait_for(flag, there=True)
        stopped = pool.submit(host.stop)
        while True:
            try:
                httpx.get(f"{host.url}/echo")
            except httpx.HTTPError:
                break
        flag.unlink()
        assert running.result().text == "done"
        stopped.result()
    assert host.process.returncode == 0


def test_a_request_that_outlasts_the_grace_does_not_keep_the_host(tmp_path: Path) -> None:
    host = start(APPS / "surface.py", log=tmp_path / "log", grace=0.1)
    flag = tmp_path / "flag"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(httpx.get, f"{host.url}/slow", params={"flag": str(flag)}, timeout=30)
        wait_for(flag, there=True)
        host.stop()
        assert isinstance(running.exception(), httpx.HTTPError)
    assert host.process.returncode == 0
