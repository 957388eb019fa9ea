"""Payloads as files: a reader sees the old bytes or the new ones, never a part, also after a crash.

A name's folders end with a comma on disk, which no name contains: so `a` and `a/b` can both exist.
A part that is longer than a file name may be is cut into folders that end with a tilde.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from services.adapters.payload_names import require_payload_name
from services.errors import Unavailable

T = TypeVar("T")

_LONGEST = 200


class DirectoryPayloads:
    """Bytes by name below one directory, which is made if it is missing."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    async def put(self, name: str, data: bytes) -> str:
        path = self._path(name)
        await _off_loop(lambda: _replace(path, data))
        return path.as_uri()

    async def get(self, name: str) -> bytes | None:
        path = self._path(name)

        def read() -> bytes | None:
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

        return await _off_loop(read)

    async def delete(self, name: str) -> None:
        path = self._path(name)
        await _off_loop(lambda: path.unlink(missing_ok=True))

    async def names(self, prefix: str, limit: int) -> Sequence[str]:
        return await _off_loop(
            lambda: sorted(name for name in self._all() if name.startswith(prefix))[:limit]
        )

    def _path(self, name: str) -> Path:
        require_payload_name(name)
        *folders, last = name.split("/")
        path = self._root
        for folder in folders:
            *pieces, end = _pieces(folder)
            path = path.joinpath(*(f"{piece}~" for piece in pieces), f"{end},")
        *pieces, end = _pieces(last)
        return path.joinpath(*(f"{piece}~" for piece in pieces), end)

    def _all(self) -> Iterator[str]:
        for folder, _, files in os.walk(self._root):
            parts = Path(folder).relative_to(self._root).parts
            above = "".join(part[:-1] + ("/" if part.endswith(",") else "") for part in parts)
            # what starts with a dot is a write under way, or one that a crash cut short
            yield from (above + file for file in files if not file.startswith("."))


def _pieces(part: str) -> list[str]:
    return [part[start : start + _LONGEST] for start in range(0, len(part), _LONGEST)]


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name is durable only with its folder
    finally:
        os.close(folder)


async def _off_loop(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise Unavailable("the payload directory cannot be used") from error
