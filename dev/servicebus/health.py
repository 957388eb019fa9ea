"""Answers `GET /health` as Microsoft's emulator does."""

import asyncio
from typing import Final

_LONGEST_WAIT: Final = 5.0
_ANSWER: Final = (
    "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}"
)


async def listen(host: str, port: int) -> tuple[asyncio.Server, int]:
    """Open the port (0: any that is free) and return the server and the port's number."""
    server = await asyncio.start_server(_answer, host, port)
    return server, server.sockets[0].getsockname()[1]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_LONGEST_WAIT):
            head = await reader.readuntil(b"\r\n\r\n")
            healthy = head.startswith((b"GET /health ", b"GET /health?"))
            status, body = ("200 OK", '{"status":"healthy"}') if healthy else ("404 Not Found", "{}")
            writer.write(_ANSWER.format(status, len(body), body).encode())
            await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # whoever asked has gone, or asked for something else
    finally:
        writer.close()
