"""HttpSender: over real sockets, to servers that behave and to servers that do not."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
import trustme

from services.adapters.http import HttpxSender
from services.adapters.memory import MemorySender
from services.errors import AnswerLost, NotSent, ProviderError
from services.models import HttpAnswer, HttpRequest

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
AMPLE = timedelta(seconds=30)
SHORT = timedelta(milliseconds=200)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """A server on a free port that keeps the heads of the requests that reached it."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.heads: list[str] = []
        self.arrivals: asyncio.Queue[None] = asyncio.Queue()
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/path"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._behaviour(reader, writer)
        writer.close()

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Read a whole request and return its body."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        self.arrivals.put_nowait(None)
        lengths = [
            line.partition(":")[2] for line in head.lower().splitlines() if line.startswith("content-length:")
        ]
        return await reader.readexactly(int(lengths[0])) if lengths else b""


@asynccontextmanager
async def served(
    behaviour: Callable[[Server], Behaviour], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server(lambda reader, writer: behaviour(server)(reader, writer))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


def answering(*answers: bytes) -> Callable[[Server], Behaviour]:
    """Answer each request on a connection with the next of these, then close it."""

    def behaviour(server: Server) -> Behaviour:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for each in answers:
                await server.read(reader)
                writer.write(each)
                await writer.drain()

        return answer

    return behaviour


def silent(server: Server) -> Behaviour:
    async def wait(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        await reader.read()

    return wait


def endless(chunk: bytes) -> Callable[[Server], Behaviour]:
    def behaviour(server: Server) -> Behaviour:
        async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.read(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                await writer.drain()
                await asyncio.sleep(0.001)

        return stream

    return behaviour


@pytest.fixture
async def sender() -> AsyncIterator[HttpxSender]:
    sender = HttpxSender()
    yield sender
    await sender.close()


async def test_the_answer_is_whole_with_lower_case_names_and_repeats_joined(sender: HttpxSender) -> None:
    answer = (
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nX-Two: a\r\nx-two: b\r\n"
        b'Content-Length: 8\r\n\r\n{"a": 1}'
    )
    async with served(answering(answer)) as server:
        got = await sender.send(HttpRequest(method="POST", url=server.url), budget=AMPLE)
    assert (got.status, got.body) == (201, b'{"a": 1}')
    assert got.headers == {"content-type": "application/json", "x-two": "a, b", "content-length": "8"}
    assert timedelta(0) < got.elapsed < AMPLE


async def test_the_request_arrives_as_it_was(sender: HttpxSender) -> None:
    bodies: list[bytes] = []

    def behaviour(server: Server) -> Behaviour:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            bodies.append(await server.read(reader))
            writer.write(OK)

        return answer

    request = HttpRequest(
        method="PUT",
        url="",
        headers={"Authorization": "Bearer abc", "content-type": "application/x-www-form-urlencoded"},
        body=b"a=\x00\xff",
    )
    async with served(behaviour) as server:
        url = f"{server.url}?q=a%20b&empty=&q=2"
        await sender.send(
            HttpRequest(method=request.method, url=url, headers=request.headers, body=request.body),
            budget=AMPLE,
        )
        port = server.port
    assert bodies == [b"a=\x00\xff"]
    assert server.heads[0].splitlines() == [
        "PUT /path?q=a%20b&empty=&q=2 HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Accept: */*",
        "Connection: keep-alive",
        "User-Agent: hookbus",
        "Accept-Encoding: identity",
        "Authorization: Bearer abc",
        "content-type: application/x-www-form-urlencoded",
        "Content-Length: 4",
        "",
    ]


async def test_a_connection_is_used_again(sender: HttpxSender) -> None:
    async with served(answering(OK, OK)) as server:
        for _ in range(2):
            await sender.send(HttpRequest(method="GET", url=server.url), budget=AMPLE)
    assert server.connections == 1


async def test_a_redirect_is_answered_and_not_followed(sender: HttpxSender) -> None:
    async with served(
        answering(b"HTTP/1.1 307 X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", OK)
    ) as server:
        got = await sender.send(HttpRequest(method="POST", url=server.url), budget=AMPLE)
    assert (got.status, got.headers["location"], len(server.heads)) == (307, "/other", 1)


async def test_cookies_are_not_kept_between_requests(sender: HttpxSender) -> None:
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=abc; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with served(answering(cookie, OK)) as server:
        for _ in range(2):
            await sender.send(HttpRequest(method="GET", url=server.url), budget=AMPLE)
    assert ["cookie" in head.lower() for head in server.heads] == [False, False]


async def test_the_environment_sets_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    sender = HttpxSender()
    async with served(answering(OK)) as server:
        assert (await sender.send(HttpRequest(method="GET", url=server.url), budget=AMPLE)).status == 200
    await sender.close()


async def test_100_requests_at_once_all_get_their_own_answers(sender: HttpxSender) -> None:
    def echo(server: Server) -> Behaviour:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            body = await server.read(reader)
            writer.write(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            await writer.drain()

        return answer

    async with served(echo) as server:
        answers = await asyncio.gather(
            *(
                sender.send(HttpRequest(method="POST", url=server.url, body=b"%d" % number), budget=AMPLE)
                for number in range(100)
            )
        )
    assert [json.loads(answer.body) for answer in answers] == list(range(100))


# Not sent


async def test_a_refused_connection_is_not_sent(sender: HttpxSender) -> None:
    async with served(silent) as server:
        url = server.url
    with pytest.raises(NotSent, match=r"^the request could not be sent$"):
        await sender.send(HttpRequest(method="POST", url=url, body=b"1"), budget=AMPLE)


@pytest.mark.parametrize(
    "url",
    [
        "http://nobody.invalid/",
        "ftp://127.0.0.1/",
        "127.0.0.1/no-scheme",
        "",
        "http://",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "http://127.0.0.1/\n",
        "http://\ud800/",
        f"http://{'a' * 64}.example/",
        "http://127.0.0.1:1/" + "a" * 70_000,
    ],
    ids=[
        "no-such-name",
        "scheme",
        "no-scheme",
        "empty",
        "no-host",
        "port",
        "bracket",
        "newline",
        "surrogate",
        "label",
        "long",
    ],
)
async def test_an_address_that_leads_nowhere_is_not_sent(sender: HttpxSender, url: str) -> None:
    with pytest.raises(NotSent):
        await sender.send(HttpRequest(method="POST", url=url), budget=AMPLE)


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest(method="POST", url="", headers={"x": "line\r\nbreak"}),
        HttpRequest(method="POST", url="", headers={"bad name": "x"}),
        HttpRequest(method="POST", url="", headers={"x": "€"}),
        HttpRequest(method="PO ST", url=""),
        HttpRequest(method="", url=""),
    ],
    ids=["line-break", "header-name", "header-value", "method", "no-method"],
)
async def test_a_request_that_cannot_be_written_is_not_sent(
    sender: HttpxSender, request_: HttpRequest
) -> None:
    async with served(answering(OK)) as server:
        with pytest.raises(NotSent):
            await sender.send(
                HttpRequest(method=request_.method, url=server.url, headers=request_.headers), budget=AMPLE
            )
    assert server.heads == []


async def test_a_certificate_that_nobody_vouches_for_is_not_sent(sender: HttpxSender) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with served(answering(OK), tls) as server:
        with pytest.raises(NotSent):
            await sender.send(
                HttpRequest(method="POST", url=server.url.replace("http:", "https:")), budget=AMPLE
            )
    assert server.heads == []


async def test_a_handshake_that_does_not_end_is_not_sent(sender: HttpxSender) -> None:
    async with served(silent) as server:
        with pytest.raises(NotSent):
            await sender.send(
                HttpRequest(method="POST", url=server.url.replace("http:", "https:")), budget=SHORT
            )


async def test_no_time_at_all_is_not_sent(sender: HttpxSender) -> None:
    async with served(answering(OK)) as server:
        with pytest.raises(NotSent):
            await sender.send(HttpRequest(method="POST", url=server.url), budget=timedelta(0))
    assert server.heads == []


async def test_waiting_for_a_free_connection_until_the_budget_ends_is_not_sent(sender: HttpxSender) -> None:
    async with served(silent) as server:
        request = HttpRequest(method="POST", url=server.url)
        holding = [asyncio.create_task(sender.send(request, budget=AMPLE)) for _ in range(100)]
        for _ in range(100):
            await server.arrivals.get()
        with pytest.raises(NotSent):
            await sender.send(request, budget=SHORT)
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)
    assert len(server.heads) == 100


# Answer lost


async def test_a_server_that_says_nothing_is_answer_lost_within_the_budget(sender: HttpxSender) -> None:
    async with served(silent) as server:
        with pytest.raises(AnswerLost, match=r"^the request was sent and no whole answer came$"):
            await sender.send(HttpRequest(method="POST", url=server.url), budget=SHORT)
    assert len(server.heads) == 1


async def test_a_server_that_never_reads_is_answer_lost(sender: HttpxSender) -> None:
    async def never_read(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async with served(lambda _server: never_read) as server:
        with pytest.raises(AnswerLost):
            await sender.send(
                HttpRequest(method="POST", url=server.url, body=b"x" * 20_000_000),
                budget=timedelta(seconds=1),
            )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
    ids=[
        "cut-at-once",
        "cut-in-the-head",
        "cut-in-the-body",
        "cut-in-a-chunk",
        "nonsense",
        "bad-length",
        "bad-gzip",
    ],
)
async def test_an_answer_that_is_cut_or_broken_is_answer_lost(sender: HttpxSender, answer: bytes) -> None:
    async with served(answering(answer)) as server:
        with pytest.raises(AnswerLost):
            await sender.send(HttpRequest(method="POST", url=server.url, body=b"1"), budget=AMPLE)
    assert len(server.heads) == 1


async def test_an_answer_that_drips_for_ever_is_answer_lost_within_the_budget(sender: HttpxSender) -> None:
    async with served(endless(b".")) as server:
        with pytest.raises(AnswerLost):
            await sender.send(HttpRequest(method="GET", url=server.url), budget=SHORT)


async def test_an_answer_that_streams_for_ever_is_answer_lost_at_the_limit(sender: HttpxSender) -> None:
    async with served(endless(b"x" * 100_000)) as server:
        with pytest.raises(AnswerLost):
            await sender.send(HttpRequest(method="GET", url=server.url), budget=AMPLE)


@pytest.mark.parametrize(
    ("length", "whole"),
    [(16_777_216, True), (16_777_217, False)],
    ids=["16M", "16M+1"],
)
async def test_an_answer_has_at_most_16_mebibytes(sender: HttpxSender, length: int, whole: bool) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (length, b"x" * length)
    async with served(answering(answer)) as server:
        try:
            got = await sender.send(HttpRequest(method="GET", url=server.url), budget=AMPLE)
        except AnswerLost:
            assert not whole
        else:
            assert whole
            assert len(got.body) == length


async def test_the_sender_works_after_every_failure(sender: HttpxSender) -> None:
    async with served(silent) as quiet, served(answering(OK)) as server:
        for _ in range(3):
            with pytest.raises(AnswerLost):
                await sender.send(
                    HttpRequest(method="POST", url=quiet.url), budget=timedelta(milliseconds=50)
                )
        assert (await sender.send(HttpRequest(method="POST", url=server.url), budget=AMPLE)).body == b"ok"


async def test_a_caller_that_gives_up_is_not_told_otherwise(sender: HttpxSender) -> None:
    async with served(silent) as server:
        sending = asyncio.create_task(sender.send(HttpRequest(method="GET", url=server.url), budget=AMPLE))
        await server.arrivals.get()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


# In memory


async def test_a_script_answers_or_raises_in_turn_and_keeps_the_requests() -> None:
    answer = HttpAnswer(status=201)
    request = HttpRequest(method="GET", url="http://a")
    sender = MemorySender([answer, NotSent("no")])
    assert await sender.send(request, budget=AMPLE) == answer
    with pytest.raises(ProviderError):
        await sender.send(request, budget=AMPLE)
    with pytest.raises(LookupError):
        await sender.send(request, budget=AMPLE)
    assert sender.requests == [request] * 3


async def test_a_function_can_answer() -> None:
    sender = MemorySender(lambda request: HttpAnswer(status=200, body=request.method.encode()))
    assert (await sender.send(HttpRequest(method="GET", url="http://a"), budget=AMPLE)).body == b"GET"
