"""Requests to providers over HTTP, strict about the one question that matters: can it have left?

NotSent means that no byte of the request was written: no name, no connection, no TLS, no time for
them, or a request that cannot be written. Everything after the first byte, the budget's end included,
is AnswerLost. So is an answer that is longer than the limit: what it says is not known.
"""

import asyncio
import time
from datetime import timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from services.errors import AnswerLost, NotSent
from services.models import HttpAnswer, HttpRequest


class HttpxSender:
    """One client for the life of the process.

    Follows no redirect, keeps no cookie, reads no proxy or .netrc from the environment, and takes an
    answer's body up to `max_answer_bytes`.
    """

    def __init__(self, *, max_answer_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=None,  # noqa: S113 the budget of each request bounds the whole exchange
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # a compressed answer could be small on the wire and huge in memory
            headers={"User-Agent": "hookbus", "Accept-Encoding": "identity"},
        )

    async def send(self, request: HttpRequest, *, budget: timedelta) -> HttpAnswer:
        departure = _Departure()
        try:
            async with asyncio.timeout(budget.total_seconds()):
                return await self._exchange(request, departure)
        except Exception as error:  # httpx lets others through too: an OverflowError for port 99999, say
            if departure.possible:
                raise AnswerLost("the request was sent and no whole answer came") from error
            raise NotSent("the request could not be sent") from error

    async def close(self) -> None:
        await self._client.aclose()

    async def _exchange(self, request: HttpRequest, departure: "_Departure") -> HttpAnswer:
        started = time.monotonic()
        async with self._client.stream(
            request.method,
            request.url,
            headers=dict(request.headers),
            content=request.body,
            extensions={"trace": departure.observe},
        ) as response:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > self._max_answer_bytes:
                    raise _TooLong
        return HttpAnswer(
            status=response.status_code,
            headers=dict(response.headers.items()),
            body=bytes(body),
            elapsed=timedelta(seconds=time.monotonic() - started),
        )


class _TooLong(Exception):
    """The answer goes on past the limit."""


class _Departure:
    """Watches one request: can a byte of it have left?

    https://www.encode.io/httpcore/extensions/#trace
    """

    possible = False

    async def observe(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            self.possible = True
        elif event.endswith("send_request_headers.failed"):
            # h11 refuses a header or method that cannot be written before it writes anything
            self.possible = not isinstance(info["exception"], httpcore.LocalProtocolError)
