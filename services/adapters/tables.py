"""Jobs in Azure Table Storage: one entity a job, compare-and-set by ETag.

A job is kept as its JSON document, cut into binary properties because one holds at most 64 KiB; a few
columns beside it are for people who query. Each write carries a token of its own: when the SDK repeats a
write whose answer was lost, the conflict with itself is seen and is no conflict.

https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
"""

from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import TableEntity, UpdateMode
from azure.data.tables.aio import TableClient

from services.adapters.reaching import reaching
from services.errors import AlreadyExists, VersionConflict
from services.models import Job, Stored, Version, job_from_json, job_to_json

Entity = dict[str, Any]

_CHUNK_BYTES = 60_000
MAX_DOCUMENT_BYTES = 1_000_000


class TablesJobStore:
    """Jobs and links in one table, which is made at the first write if it is missing."""

    def __init__(self, table: TableClient, *, budget: timedelta = timedelta(seconds=5)) -> None:
        self._table = table
        self._budget = budget

    async def create(self, job: Job) -> Version:
        entity = _to_entity(job)
        async with self._reaching():
            try:
                return await self._insert(entity)
            except ResourceExistsError:
                version = await self._version_if_written(entity)
        if version is None:
            raise AlreadyExists(job.id)
        return version

    async def load(self, job_id: str) -> Stored | None:
        async with self._reaching():
            entity = await self._get(*_job_key(job_id))
        if entity is None:
            return None
        return Stored(job=job_from_json(_document(entity)), version=_etag(entity))

    async def save(self, job: Job, version: Version) -> Version:
        entity = _to_entity(job)
        async with self._reaching():
            try:
                answer = await self._table.update_entity(
                    entity,
                    mode=UpdateMode.REPLACE,  # a merge would leave chunks of a longer document behind
                    etag=version,
                    match_condition=MatchConditions.IfNotModified,
                )
                return Version(answer["etag"])
            except (ResourceModifiedError, ResourceNotFoundError):
                new_version = await self._version_if_written(entity)
        if new_version is None:
            raise VersionConflict(job.id)
        return new_version

    async def link(self, provider: str, external_id: str, job_id: str) -> None:
        partition, row = _link_key(provider, external_id)
        entity = {"PartitionKey": partition, "RowKey": row, "provider": provider, "job_id": job_id}
        async with self._reaching():
            try:
                await self._insert(entity)
            except ResourceExistsError:
                return  # the first note stands

    async def find(self, provider: str, external_id: str) -> str | None:
        async with self._reaching():
            entity = await self._get(*_link_key(provider, external_id))
        return None if entity is None else str(entity["job_id"])

    async def close(self) -> None:
        await self._table.close()

    def _reaching(self) -> AbstractAsyncContextManager[None]:
        return reaching("the job table", self._budget)

    async def _insert(self, entity: Entity) -> Version:
        try:
            answer = await self._table.create_entity(entity)
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):  # somebody else was faster
                await self._table.create_table()
            answer = await self._table.create_entity(entity)
        return Version(answer["etag"])

    async def _get(self, partition: str, row: str) -> TableEntity | None:
        try:
            return await self._table.get_entity(partition, row)
        except ResourceNotFoundError:
            return None

    async def _version_if_written(self, entity: Entity) -> Version | None:
        found = await self._get(entity["PartitionKey"], entity["RowKey"])
        return _etag(found) if found is not None and found["write"] == entity["write"] else None


def _to_entity(job: Job) -> Entity:
    document = job_to_json(job)
    if len(document) > MAX_DOCUMENT_BYTES:
        raise ValueError(
            f"a job's document has at most {MAX_DOCUMENT_BYTES} bytes: put its result in the payload store"
        )
    partition, row = _job_key(job.id)
    chunks = [document[start : start + _CHUNK_BYTES] for start in range(0, len(document), _CHUNK_BYTES)]
    return {
        "PartitionKey": partition,
        "RowKey": row,
        "write": uuid4().hex,
        "provider": job.provider,
        "status": job.status.value,
        "deadline_at": job.deadline_at,
        "chunks": len(chunks),
        **{f"document{number}": chunk for number, chunk in enumerate(chunks)},
    }


def _document(entity: TableEntity) -> bytes:
    return b"".join(entity[f"document{number}"] for number in range(entity["chunks"]))


def _etag(entity: TableEntity) -> Version:
    return Version(str(entity.metadata["etag"]))


def _job_key(job_id: str) -> tuple[str, str]:
    return _partition(job_id.encode()), job_id


def _link_key(provider: str, external_id: str) -> tuple[str, str]:
    # Keys take no / \ # ? and at most 1 KiB, external ids may be anything. No job's id has a colon.
    name = f"{provider}\n{external_id}".encode("utf-8", "surrogatepass")
    return _partition(name), f"link:{sha256(name).hexdigest()}"


def _partition(name: bytes) -> str:
    # One partition serves about 2,000 entities a second, 4,096 of them are enough:
    # https://learn.microsoft.com/azure/storage/tables/scalability-targets
    return sha256(name).hexdigest()[:3]
