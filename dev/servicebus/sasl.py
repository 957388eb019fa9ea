"""The first bytes of a connection: SASL, where Service Bus asks for nothing, because a token follows.

https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-security-v1.0-os.html#section-sasl
"""

from typing import Final

from .errors import MalformedError

HEADER: Final = b"AMQP\x03\x01\x00\x00"
_MECHANISMS: Final = (b"MSSBCBS", b"ANONYMOUS", b"EXTERNAL")
_INIT: Final = 0x41
_LONGEST: Final = 512
_OK: Final = b"\x00"
_REFUSED: Final = b"\x01"


class Handshake:
    """Bytes in, bytes out; `done` says that AMQP itself begins with what is left."""

    def __init__(self) -> None:
        """Wait for the client's first byte."""
        self.done = False
        self.refused = False
        self.left = b""
        self._greeted = False

    def feed(self, received: bytes) -> bytes:
        """Take bytes and return the answer; raise MalformedError if they are not SASL."""
        self.left += received
        answer = b""
        if not self._greeted:
            if len(self.left) < len(HEADER):
                return answer
            if self.left.startswith(b"AMQP\x00"):
                self.done = True  # no SASL: the AMQP engine answers
                return answer
            if not self.left.startswith(HEADER):
                raise MalformedError("the connection does not begin with a SASL header")
            self._greeted = True
            self.left = self.left[len(HEADER) :]
            symbols = b"".join(bytes([len(name)]) + name for name in _MECHANISMS)
            array = b"\xe0" + bytes([len(symbols) + 2, len(_MECHANISMS), 0xA3]) + symbols
            answer = HEADER + _frame(0x40, b"\xc0" + bytes([len(array) + 1, 1]) + array)
        if len(self.left) < 4:
            return answer
        size = int.from_bytes(self.left[:4])
        if not 8 <= size <= _LONGEST:
            raise MalformedError("a SASL frame has an impossible size")
        if len(self.left) < size:
            return answer
        init, self.left = self.left[:size], self.left[size:]
        self.refused = _mechanism(init) not in _MECHANISMS
        self.done = True
        return answer + _frame(0x44, b"\xc0\x03\x01\x50" + (_REFUSED if self.refused else _OK))


def _frame(code: int, fields: bytes) -> bytes:
    body = bytes([0x02, 0x01, 0x00, 0x00, 0x00, 0x53, code]) + fields
    return (len(body) + 4).to_bytes(4) + body


def _mechanism(init: bytes) -> bytes:
    """Read the mechanism's name, the first field of a sasl-init frame."""
    try:
        at = init[4] * 4
        if init[5] != 1 or init[at : at + 3] != bytes([0x00, 0x53, _INIT]):
            raise MalformedError("a SASL frame is none that a client sends")
        at += 3 + {0xC0: 3, 0xD0: 9}[init[at + 3]]
        length = {0xA3: 1, 0xB3: 4}[init[at]]
    except (IndexError, KeyError) as error:
        raise MalformedError("a SASL frame cannot be decoded") from error
    start = at + 1 + length
    return init[start : start + int.from_bytes(init[at + 1 : start])]
