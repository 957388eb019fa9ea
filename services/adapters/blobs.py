"""Payloads as blobs in one container of Azure Blob Storage."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobClient, ContainerClient

from services.adapters.payload_names import require_payload_name
from services.adapters.reaching import reaching


class BlobPayloads:
    """Bytes by name in a container, which is made at the first write if it is missing.

    The address of a blob carries no access key: a consumer reads it with its own identity.
    """

    def __init__(self, container: ContainerClient, *, budget: timedelta = timedelta(seconds=5)) -> None:
        self._container = container
        self._budget = budget

    async def put(self, name: str, data: bytes) -> str:
        blob = self._blob(name)
        async with self._reaching():
            try:
                await blob.upload_blob(data, overwrite=True)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):  # somebody else was faster
                    await self._container.create_container()
                await blob.upload_blob(data, overwrite=True)
        return blob.url.partition("?")[0]

    async def get(self, name: str) -> bytes | None:
        blob = self._blob(name)
        async with self._reaching():
            try:
                return await (await blob.download_blob()).readall()
            except ResourceNotFoundError:
                return None

    async def delete(self, name: str) -> None:
        blob = self._blob(name)
        async with self._reaching():
            with suppress(ResourceNotFoundError):
                await blob.delete_blob()

    async def names(self, prefix: str, limit: int) -> Sequence[str]:
        found: list[str] = []
        async with self._reaching():
            with suppress(ResourceNotFoundError):  # no container yet, so nothing in it
                pages = self._container.list_blob_names(name_starts_with=prefix, results_per_page=limit)
                async for name in pages:
                    found.append(name)
                    if len(found) == limit:
                        break
        return found

    async def close(self) -> None:
        await self._container.close()

    def _blob(self, name: str) -> BlobClient:
        require_payload_name(name)
        return self._container.get_blob_client(name)

    def _reaching(self) -> AbstractAsyncContextManager[None]:
        return reaching("the payload container", self._budget)
