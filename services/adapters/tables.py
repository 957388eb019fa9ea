"""Jobs in Azure Table Storage: one entity a job, compare-and-set by ETag.

A job is kept as its JSON document, cut into binary properties because one holds at most 64 KiB; a few
columns beside it are for people who query. Each write carries a token of its own: when the SDK repeats a
write whose answer was lost, the conflict with itself is seen and is no conflict.

    partition   row             written in one transaction with the job
    ─────────   ─────────────   ───────────────────────────────────────
    0a          job_x           the job
    0a          due:job_x       while it is open: when it is due
    0a          ledger:         how many jobs of this partition were accepted, and settled
    3f          link:...        whose external id this is
    3f          pace:stripe     how a provider takes starts

https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar
from uuid import uuid4

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.data.tables import TableEntity, TableErrorCode, TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient

from services.adapters.reaching import reaching
from services.errors import AlreadyExists, VersionConflict
from services.models import (
    Job,
    Ledger,
    Pace,
    Stored,
    Version,
    job_from_json,
    job_to_json,
    pace_from_json,
    pace_to_json,
)

T = TypeVar("T")
Entity = dict[str, Any]
Change = tuple[Any, ...]

_CHUNK_BYTES = 60_000
MAX_DOCUMENT_BYTES = 1_000_000
# A partition serves 2,000 entities a second and an account 20,000, and an audit asks each of them:
# https://learn.microsoft.com/azure/storage/tables/scalability-targets
_PARTITIONS = tuple(f"{number:02x}" for number in range(64))
_AT_ONCE = 16
_LEDGER = "ledger:"
_OPEN_JOBS = "PartitionKey eq @partition and RowKey ge 'due:' and RowKey lt 'due;'"


class TablesJobStore:
    """Jobs, links and paces in one table, which is made at its first use if it is missing.

    `audit_budget` is for what asks every partition.
    """

    def __init__(
        self,
        table: TableClient,
        *,
        budget: timedelta = timedelta(seconds=5),
        audit_budget: timedelta = timedelta(minutes=2),
    ) -> None:
        self._table = table
        self._budget = budget
        self._audit_budget = audit_budget

    async def create(self, job: Job) -> Version:
        entity = _to_entity(job)
        changes: list[Change] = [("create", entity)]
        if job.due_at is not None:
            changes.append(("create", _due_entity(job)))
        async with self._reaching():
            written = await self._transact(job, changes, accepted=1, settled=int(job.due_at is None))
            version = written or await self._version_if_written(job, entity)
        if version is None:
            raise AlreadyExists(job.id)
        return version

    async def load(self, job_id: str) -> Stored | None:
        async with self._reaching():
            entity = await self._get(*_job_key(job_id))
        if entity is None:
            return None
        job = job_from_json(_document(entity))
        return Stored(job=job, version=_version(job, _etag(entity)))

    async def save(self, job: Job, version: Version) -> Version:
        entity = _to_entity(job)
        was_due, _, etag = version.partition(" ")
        changes: list[Change] = [("update", entity, _if_still(etag))]
        settles = job.due_at is None and bool(was_due)
        if settles:
            changes.append(("delete", _due_key(job.id)))
        elif _due(job) != was_due:
            changes.append(("upsert", _due_entity(job)))
        async with self._reaching():
            written = await self._transact(job, changes, settled=int(settles))
            new_version = written or await self._version_if_written(job, entity)
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

    async def ledger(self) -> Ledger:
        found = await self._of_every_partition(self._count)
        return Ledger(
            accepted=sum(one.accepted for one in found),
            settled=sum(one.settled for one in found),
            open=sum(one.open for one in found),
        )

    async def overdue(self, before: datetime, limit: int) -> Sequence[str]:
        async def read(partition: str) -> list[str]:
            query = (
                "PartitionKey eq @partition and RowKey ge 'due:' and RowKey lt 'due;' and due_at lt @before"
            )
            values = {"partition": partition, "before": before.astimezone(UTC)}
            return [name async for name in self._row_names(query, values)][:limit]

        names = [name for some in await self._of_every_partition(read) for name in some]
        return [name.removeprefix("due:") for name in names[:limit]]

    async def load_pace(self, provider: str) -> tuple[Pace, Version] | None:
        async with self._reaching():
            entity = await self._get(*_pace_key(provider))
        if entity is None:
            return None
        return pace_from_json(entity["document"]), Version(_etag(entity))

    async def save_pace(self, provider: str, pace: Pace, version: Version | None) -> Version:
        partition, row = _pace_key(provider)
        entity = {"PartitionKey": partition, "RowKey": row, "document": pace_to_json(pace)}
        async with self._reaching():
            try:
                if version is None:
                    return Version(await self._insert(entity))
                answer = await self._table.update_entity(entity, **_if_still(version))
                return Version(answer["etag"])
            except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError):
                raise VersionConflict(provider) from None

    async def close(self) -> None:
        await self._table.close()

    def _reaching(self, budget: timedelta | None = None) -> AbstractAsyncContextManager[None]:
        return reaching("the job table", budget or self._budget)

    async def _transact(
        self, job: Job, changes: list[Change], *, accepted: int = 0, settled: int = 0
    ) -> Version | None:
        """Write a job, first of the changes, with all that goes with it; None if the job's row forbids it."""
        partition, _ = _job_key(job.id)
        while True:
            counted = await self._counted(partition, accepted, settled) if accepted or settled else []
            try:
                return _version(job, (await self._table.submit_transaction([*changes, *counted]))[0]["etag"])
            except TableTransactionError as error:
                if error.index == 0 and error.status_code in (404, 409, 412):
                    return None
                if error.index != len(changes) or error.status_code not in (409, 412):
                    raise
                # Another job of this partition was counted meanwhile.

    async def _counted(self, partition: str, accepted: int, settled: int) -> list[Change]:
        entity: Entity = {"PartitionKey": partition, "RowKey": _LEDGER}
        known = await self._get(partition, _LEDGER)
        entity["accepted"] = accepted + (known["accepted"] if known else 0)
        entity["settled"] = settled + (known["settled"] if known else 0)
        if known is None:
            return [("create", entity)]
        return [("update", entity, _if_still(_etag(known)))]

    async def _count(self, partition: str) -> Ledger:
        while True:
            before = await self._get(partition, _LEDGER)
            if before is None:
                return Ledger(accepted=0, settled=0, open=0)
            names = [name async for name in self._row_names(_OPEN_JOBS, {"partition": partition})]
            after = await self._get(partition, _LEDGER)
            if after is not None and _etag(after) == _etag(before):
                return Ledger(accepted=before["accepted"], settled=before["settled"], open=len(names))

    async def _row_names(self, query: str, values: dict[str, Any]) -> AsyncIterator[str]:
        with suppress(ResourceNotFoundError):  # there is no table yet
            async for entity in self._table.query_entities(query, parameters=values, select="RowKey"):
                yield entity["RowKey"]

    async def _of_every_partition(self, ask: Callable[[str], Awaitable[T]]) -> list[T]:
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def ask_in_turn(partition: str) -> T:
            async with at_once:
                return await ask(partition)

        async with self._reaching(self._audit_budget):
            return await asyncio.gather(*map(ask_in_turn, _PARTITIONS))

    async def _insert(self, entity: Entity) -> str:
        try:
            return await self._create_entity(entity)
        except ResourceNotFoundError:
            await self._make_table()
            return await self._create_entity(entity)

    async def _create_entity(self, entity: Entity) -> str:
        try:
            answer = await self._table.create_entity(entity)
        except AttributeError as error:
            # Where an answer breaks off, or no token is given, the SDK looks for headers that are not there.
            if isinstance(error.__context__, AzureError):
                raise error.__context__ from None
            raise
        return str(answer["etag"])

    async def _get(self, partition: str, row: str) -> TableEntity | None:
        try:
            return await self._table.get_entity(partition, row)
        except ResourceNotFoundError as error:
            if getattr(error, "error_code", None) == TableErrorCode.TABLE_NOT_FOUND:
                await self._make_table()
            return None

    async def _make_table(self) -> None:
        with suppress(ResourceExistsError):  # somebody else was faster
            await self._table.create_table()

    async def _version_if_written(self, job: Job, entity: Entity) -> Version | None:
        found = await self._get(entity["PartitionKey"], entity["RowKey"])
        if found is None or found["write"] != entity["write"]:
            return None
        return _version(job, _etag(found))


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


def _if_still(etag: str) -> dict[str, Any]:
    # Replaced: a merge would leave chunks of a longer document behind.
    return {"mode": UpdateMode.REPLACE, "etag": etag, "match_condition": MatchConditions.IfNotModified}


def _due_entity(job: Job) -> Entity:
    return {**_due_key(job.id), "due_at": job.due_at}


def _document(entity: TableEntity) -> bytes:
    return b"".join(entity[f"document{number}"] for number in range(entity["chunks"]))


def _etag(entity: TableEntity) -> str:
    return str(entity.metadata["etag"])


def _version(job: Job, etag: str) -> Version:
    """Say which row this is, and when it is due: a save then knows whether the list of open jobs changes."""
    return Version(f"{_due(job)} {etag}")


def _due(job: Job) -> str:
    return "" if job.due_at is None else job.due_at.isoformat()


def _job_key(job_id: str) -> tuple[str, str]:
    return _partition(job_id.encode()), job_id


def _due_key(job_id: str) -> Entity:
    partition, row = _job_key(job_id)
    return {"PartitionKey": partition, "RowKey": f"due:{row}"}


def _pace_key(provider: str) -> tuple[str, str]:
    return _partition(provider.encode()), f"pace:{provider}"


def _link_key(provider: str, external_id: str) -> tuple[str, str]:
    # Keys take no / \ # ? and at most 1 KiB, external ids may be anything. No job's id has a colon.
    name = f"{provider}\n{external_id}".encode("utf-8", "surrogatepass")
    return _partition(name), f"link:{sha256(name).hexdigest()}"


def _partition(name: bytes) -> str:
    return _PARTITIONS[sha256(name).digest()[0] % len(_PARTITIONS)]
