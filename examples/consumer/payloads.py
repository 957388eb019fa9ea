"""Results that are too large for a message: the event has their address in place of them.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/dataref.md
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

from azure.core.exceptions import HttpResponseError
from azure.identity.aio import DefaultAzureCredential
from azure.storage.blob.aio import BlobServiceClient


class Poison(Exception):
    """A message that no retry can help; `reason` is one word for whoever looks at the dead letters."""

    def __init__(self, reason: str, description: str) -> None:
        super().__init__(f"{reason}: {description}")
        self.reason = reason
        self.description = description


class Payloads:
    """Reads payloads, from the app's own store alone.

    `store` is `file:PATH`, a storage connection string, or a blob endpoint `https://….blob.core.windows.net`,
    which is read with this service's identity (it needs Storage Blob Data Reader).

    An address that lies elsewhere is refused before it is looked at: whoever can send to the topic shall not
    make this service read its own disk, or show its token to another host.
    """

    def __init__(self, store: str) -> None:
        self._root: Path | None = None
        self._blobs: BlobServiceClient | None = None
        self._opened = AsyncExitStack()
        if store.startswith("file:"):
            self._root = Path(store.removeprefix("file:")).resolve()
        elif store.startswith("https://"):
            credential = DefaultAzureCredential()
            self._opened.push_async_exit(credential)
            # No retries inside the SDK: the consumer waits, and says so.
            self._blobs = BlobServiceClient(store, credential, retry_total=0)
        else:
            self._blobs = BlobServiceClient.from_connection_string(store, retry_total=0)
        if self._blobs:
            self._opened.push_async_exit(self._blobs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def read(self, address: str) -> bytes:
        """Read a payload; raises Poison if it is not there, AzureError for what may pass."""
        if self._blobs:
            return await _read_blob(self._blobs, address)
        assert self._root is not None  # noqa: S101 - it is one or the other
        return await asyncio.to_thread(_read_file, self._root, address)


def _read_file(root: Path, address: str) -> bytes:
    try:
        url = urlsplit(address)
        path = Path(url2pathname(url.path)).resolve()
        if url.scheme != "file" or not path.is_relative_to(root):
            raise Poison("payload_elsewhere", "the payload is not in the app's payload store")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise Poison("payload_missing", f"the payload cannot be read: {type(error).__name__}") from None


async def _read_blob(blobs: BlobServiceClient, address: str) -> bytes:
    here = f"{blobs.url.partition('?')[0].rstrip('/')}/"  # with the slash: account.example is not account
    container, _, name = address.removeprefix(here).partition("/")
    if not address.startswith(here) or not container or not name:
        raise Poison("payload_elsewhere", "the payload is not in the app's payload store")
    try:
        async with blobs.get_blob_client(container, name) as blob:
            return await (await blob.download_blob()).readall()
    except HttpResponseError as error:
        # 400: no such address can be; 404: it has been deleted. Roles and outages are mended, and pass.
        if error.status_code in {400, 404}:
            raise Poison("payload_missing", f"the payload cannot be read: {error.status_code}") from None
        raise
