"""HTTP beside AMQP: `GET /health` as Microsoft's emulator has it, and `/faults`, those that are in force."""

import asyncio
import json
import re
from functools import partial
from typing import Any, Final

from .amqp import Server
from .errors import RefusedError
from .faults import read

_LONGEST_WAIT: Final = 5.0  # seconds in which a request has to come
_MOST_BYTES: Final = 64 * 1024
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*(?=\r\n)", re.IGNORECASE)


async def listen(server: Server, host: str, port: int) -> tuple[asyncio.Server, int]:
    """Open the port (0: any that is free) and return what listens and the port's number."""
    listener = await asyncio.start_server(partial(_answer, server), host, port)
    return listener, listener.sockets[0].getsockname()[1]


async def _answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_LONGEST_WAIT):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, *_ = *head.decode("latin-1").split(" ", 2), ""
            lengths = [int(digits) for digits in _LENGTH.findall(head)]
            if method != "PUT":
                status, answer = _respond(server, method, target, b"")
            elif len(lengths) == 1 and lengths[0] <= _MOST_BYTES:
                status, answer = _respond(server, method, target, await reader.readexactly(lengths[0]))
            else:
                status, answer = _wrong(f"a body needs one Content-Length, of {_MOST_BYTES} at most")
            body = json.dumps(answer, separators=(",", ":"))
            lines = f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}"
            writer.write("\r\n".join((*lines, "Connection: close", "", body)).encode())
            await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # whoever asked has gone, or asked for something else
    finally:
        writer.close()


def _respond(server: Server, method: str, target: str, body: bytes) -> tuple[str, Any]:
    """Give the status and what JSON is to say."""
    match method, target.partition("?")[0]:
        case "GET", "/health":
            return "200 OK", {"status": "healthy"}
        case "GET", "/faults":
            return "200 OK", server.faults.show()
        case "DELETE", "/faults":
            taken_back = server.faults.show()
            server.set_faults([])
            return "200 OK", taken_back
        case "PUT", "/faults":
            try:
                faults = read(body)
                for fault in faults:
                    if fault.address is not None:
                        server.broker.check_address(fault.address)
            except ValueError as error:
                return _wrong(str(error))
            except RefusedError as error:
                return _wrong(f"'address': {error}")
            server.set_faults(faults)
            return "200 OK", server.faults.show()
    return "404 Not Found", {"error": "there are GET /health, and GET, PUT and DELETE /faults"}


def _wrong(sentence: str) -> tuple[str, Any]:
    return "400 Bad Request", {"error": sentence}
