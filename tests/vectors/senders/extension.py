"""Length extension: who knows the SHA-256 of a secret and a text can sign a longer text without the secret.

It goes on hashing where the digest leaves off: https://doi.org/10.6028/NIST.FIPS.180-4
"""

import struct

_WORD = 0xFFFFFFFF
_PRIMES = [number for number in range(2, 312) if all(number % other for other in range(2, number))]
_ROUNDS = [int(prime ** (1 / 3) % 1 * 2**32) for prime in _PRIMES]


def padding(length: int) -> bytes:
    """Return what SHA-256 puts behind a text of this many bytes."""
    return b"\x80" + bytes((55 - length) % 64) + struct.pack(">Q", length * 8)


def extended(digest: bytes, length: int, more: bytes) -> bytes:
    """Return the SHA-256 of a text, its padding and more, knowing but the text's digest and length."""
    whole = length + len(padding(length))
    rest = more + padding(whole + len(more))
    state = struct.unpack(">8I", digest)
    for start in range(0, len(rest), 64):
        state = _compressed(state, rest[start : start + 64])
    return struct.pack(">8I", *state)


def _compressed(state: tuple[int, ...], block: bytes) -> tuple[int, ...]:
    words = list(struct.unpack(">16I", block))
    for place in range(16, 64):
        early, late = words[place - 15], words[place - 2]
        near = _turned(early, 7) ^ _turned(early, 18) ^ early >> 3
        far = _turned(late, 17) ^ _turned(late, 19) ^ late >> 10
        words.append((words[place - 16] + near + words[place - 7] + far) & _WORD)
    a, b, c, d, e, f, g, h = state
    for constant, word in zip(_ROUNDS, words, strict=True):
        chosen = (e & f) ^ (~e & g)
        first = h + (_turned(e, 6) ^ _turned(e, 11) ^ _turned(e, 25)) + chosen + constant + word
        most = (a & b) ^ (a & c) ^ (b & c)
        second = (_turned(a, 2) ^ _turned(a, 13) ^ _turned(a, 22)) + most
        a, b, c, d, e, f, g, h = (first + second) & _WORD, a, b, c, (d + first) & _WORD, e, f, g
    return tuple((old + new) & _WORD for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True))


def _turned(word: int, by: int) -> int:
    return (word >> by | word << 32 - by) & _WORD
